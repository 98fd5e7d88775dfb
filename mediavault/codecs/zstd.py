"""Compression of one payload to one zstd frame, with limits; when it is worth trying is for `probe` to say."""

import threading
from typing import TypeAlias

import zstandard

from mediavault.errors import FormatError

Buffer: TypeAlias = bytes | bytearray | memoryview


class _Contexts(threading.local):
    """The contexts of one thread: they are costly to make, and hold state."""

    def __init__(self) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor = zstandard.ZstdDecompressor()

    def compressor(self, level: int) -> zstandard.ZstdCompressor:
        found = self.compressors.get(level)
        if found is None:
            found = zstandard.ZstdCompressor(
                level=level, write_checksum=False, write_content_size=True, write_dict_id=False
            )
            self.compressors[level] = found
        return found


_contexts = _Contexts()


def compress(data: Buffer, level: int = 1) -> bytes | None:
    """Return `data` as one zstd frame (content size, no checksum, no dictionary), or None when that is not smaller."""
    packed = _contexts.compressor(level).compress(data)
    return packed if len(packed) < len(data) else None


def decompress(data: Buffer, raw_length: int) -> bytes:
    """Return the content of the one zstd frame that `data` is.

    Raises:
        FormatError: another declared size than `raw_length` (checked before memory is taken), a checksum or a
            dictionary, damage, or bytes after the frame.
    """
    try:
        parameters = zstandard.get_frame_parameters(data)
        if parameters.content_size != raw_length:
            raise FormatError(f"A compressed payload declares {parameters.content_size} bytes instead of {raw_length}.")
        if parameters.has_checksum or parameters.dict_id:
            raise FormatError("A compressed payload has a checksum or a dictionary.")
        raw = _contexts.decompressor.decompress(data, max_output_size=raw_length, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise FormatError(f"A compressed payload is damaged: {error}.") from error
    if len(raw) != raw_length:
        raise FormatError(f"A compressed payload holds {len(raw)} bytes instead of {raw_length}.")
    return raw
