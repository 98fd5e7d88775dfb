"""Knows how to check the frames of a pack while its bytes come, so that nothing is read again; believes no table."""

from typing import Final

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.frame import MAX_FRAME, MAX_METADATA_FRAME, frame_size, parse_frame
from mediavault.formats.pack import PACK_HEADER_BYTES, PackRow, parse_pack_header, row_of
from mediavault.store.keys import MAX_PACK_ROWS
from mediavault_backends.api import Buffer

_BUFFER: Final = (1 << 20) + max(MAX_FRAME, MAX_METADATA_FRAME)


class FrameStream:
    """Walks the frames of a pack that comes in blocks. Holds about 2 MiB, and a row for each frame.

    `rows` are those of the whole frames so far, from the pack's start, each verified as `parse_frame` does. They end
    where something else stands: the table, or damage. Which of the two is for who has read the table.
    """

    def __init__(self) -> None:
        self.rows: list[PackRow] = []
        self._buffer = memoryview(bytearray(_BUFFER))
        self._filled = 0
        self._start = 0
        self._plain: bool | None = None
        self._ended = False

    def feed(self, data: Buffer) -> None:
        """Take the next bytes; raises nothing, whatever they are."""
        rest = memoryview(data)
        while rest and not self._ended:
            piece = rest[: len(self._buffer) - self._filled]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            rest = rest[len(piece) :]
            try:
                self._walk()
            except (FormatError, UnsupportedFormatError):
                self._ended = True

    def _walk(self) -> None:
        """Take the whole frames in the buffer, and move what is left to its start."""
        filled, at = self._buffer[: self._filled], 0
        if self._plain is None:
            if len(filled) < PACK_HEADER_BYTES:
                return
            self._plain = parse_pack_header(filled).plain
            at = PACK_HEADER_BYTES
        while (size := frame_size(filled, at)) is not None and at + size <= len(filled):
            if len(self.rows) >= MAX_PACK_ROWS:
                raise FormatError("A pack has more frames than a pack may have.")
            self.rows.append(row_of(parse_frame(filled, at), self._start + at, self._plain))
            at += size
        self._filled -= at
        self._start += at
        self._buffer[: self._filled] = filled[at:]
