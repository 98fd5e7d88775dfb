"""Names the chunks that a working file would be stored as, without storing them."""

import os
from collections.abc import Iterator
from typing import Final

from mediavault.chunking.fastcdc import Chunker
from mediavault.model.objects import ManifestEntry
from mediavault.ops.repository import Repository
from mediavault.progress import Progress
from mediavault.workspace.content import open_at

_WINDOW_BYTES: Final = 4 << 20


def outline(repository: Repository, path: str, progress: Progress) -> Iterator[ManifestEntry]:
    """Yield the chunks of a working file in order, holding one window of it.

    Args:
        repository: whose chunk lengths and names count.
        path: relative to the root.
        progress: told the bytes read.

    Raises:
        OSError: the file cannot be read.
    """
    chunker = Chunker(repository.config.chunker, repository.keys.chunker_seed)
    buffer = memoryview(bytearray(_WINDOW_BYTES + chunker.maximum))
    fd = open_at(repository.layout.root, path)
    try:
        carried, last = 0, False
        while not last:
            filled = _fill(fd, buffer, carried)
            last = filled < len(buffer)
            progress.advance(filled - carried)
            start = 0
            for length in chunker.cut(buffer[:filled], last=last):
                yield ManifestEntry(repository.codec.name_chunk(buffer[start : start + length]), length)
                start += length
            carried = filled - start
            buffer[:carried] = bytes(buffer[start:filled])
    finally:
        os.close(fd)


def _fill(fd: int, buffer: memoryview, filled: int) -> int:
    """Read until the buffer is full or the file ends; return how much of it is filled."""
    while filled < len(buffer):
        count = os.readv(fd, [buffer[filled:]])
        if not count:
            break
        filled += count
    return filled
