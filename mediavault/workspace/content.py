"""What a working file holds, compared with what is staged: reading and hashing; stamps and trust are for the stage."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from blake3 import blake3

from mediavault.model.objects import Mode, TreeEntry
from mediavault.workspace.long_paths import reach
from mediavault.workspace.stage import StageRow

_BLOCK: Final = 1 << 20


class Comparison(Protocol):
    """`holds` and `same_bytes`."""

    def __call__(
        self, wanted: StageRow | TreeEntry, path: str | Path, mode: Mode, size: int, *, dir_fd: int | None = None
    ) -> bool:
        """Compare."""


def ignore_amount(_amount: int) -> None:
    """Take a number of bytes that nobody counts."""


def open_working_file(path: str | Path, *, dir_fd: int | None = None) -> int:
    """Open a working file for reading, never through a link at its end; return the descriptor.

    Raises:
        OSError: as os.open; ELOOP where a link stands.
    """
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)


def open_at(root: Path, path: str) -> int:
    """Open a working file by its path relative to the root, however long, as `open_working_file` does.

    Raises:
        OSError: as os.open; ELOOP where a link stands.
    """
    return reach(lambda name, folder: open_working_file(name, dir_fd=folder), root, path)


def digest_of(fd: int, *, advance: Callable[[int], None] = ignore_amount) -> tuple[int, bytes]:
    """Read an open file to its end; return its length in bytes and its BLAKE3.

    Args:
        fd: open for reading, at its start.
        advance: told how many bytes were read, now and then.
    """
    hasher, length = blake3(), 0
    buffer = memoryview(bytearray(_BLOCK))
    while count := os.readv(fd, (buffer,)):
        hasher.update(buffer[:count])
        length += count
        advance(count)
    return length, hasher.digest()


def digest_of_small(fd: int, size: int) -> tuple[int, bytes]:
    """Do what `digest_of` does, with fewer calls for a file of about `size` bytes."""
    if size >= _BLOCK:
        return digest_of(fd)
    data = os.read(fd, size + 1)
    if len(data) == size:
        return size, blake3(data).digest()
    os.lseek(fd, 0, os.SEEK_SET)  # it changed size, or was read in part
    return digest_of(fd)


def holds(
    wanted: StageRow | TreeEntry,
    path: str | Path,
    mode: Mode,
    size: int,
    *,
    dir_fd: int | None = None,
) -> bool:
    """Say whether a file or link holds the content of a row or tree entry, by reading it; the executable bit counts.

    Args:
        wanted: the content to compare with.
        path: the file; relative to `dir_fd` where that is given.
        mode: what lstat said that it is.
        size: what lstat said that it has, in bytes.
        dir_fd: the folder it stands in.

    Raises:
        OSError: it cannot be read.
    """
    if mode != wanted.mode:
        return False
    return same_bytes(wanted, path, mode, size, dir_fd=dir_fd)


def same_bytes(
    wanted: StageRow | TreeEntry, path: str | Path, mode: Mode, size: int, *, dir_fd: int | None = None
) -> bool:
    """Say whether a file or link holds the content of a row or tree entry, whatever its executable bit.

    Raises:
        OSError: it cannot be read.
    """
    if (mode is Mode.SYMLINK) != (wanted.mode is Mode.SYMLINK):
        return False
    if mode is Mode.SYMLINK:
        return os.readlink(path, dir_fd=dir_fd) == wanted.target
    if size != wanted.size:
        return False
    fd = open_working_file(path, dir_fd=dir_fd)
    try:
        return digest_of_small(fd, size) == (wanted.size, wanted.digest)
    finally:
        os.close(fd)
