"""Where a remote keeps frames, joined into ranges worth one request each, and cut out of what it sends."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3

from mediavault.errors import FormatError, IntegrityError, UnsupportedFormatError
from mediavault.formats.frame import CHECKSUM_BYTES, MAX_FRAME, Frame, parse_frame
from mediavault.formats.wire import LocatedRow
from mediavault.model.ids import ObjectId
from mediavault.sync.remote import Remote
from mediavault.sync.transfer import Stop

GAP: Final = 64 << 10
"""Frames closer together than this are read in one request, with what lies between them."""
LONGEST: Final = 64 << 20
"""The most that one request asks for; it streams, so this costs no memory."""
SHORTEST: Final = 512 << 10
SHARE: Final = 24
"""Into how many ranges a small whole is cut, so that it takes few requests and a killed client loses little."""
FEW: Final = 2
"""How many ranges of a small whole are read at once."""
_LOCATED_AT_ONCE: Final = 65_536
_PACKED: Final = struct.Struct("<32s32sQI")


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring frames of one pack, read in one request."""

    pack: ObjectId
    rows: list[LocatedRow] = field(default_factory=list)

    @property
    def start(self) -> int:
        """Where it begins in the pack."""
        return self.rows[0].offset

    @property
    def end(self) -> int:
        """Where it ends in the pack."""
        return self.rows[-1].offset + self.rows[-1].length


@dataclass(frozen=True, slots=True)
class PackedRows:
    """Rows that wait for their turn, in 76 bytes each: of millions of chunks all are known before the first is read.

    Attributes:
        data: the rows.
        size: how long their frames are in all, in bytes.
    """

    data: bytes
    size: int

    @classmethod
    def of(cls, rows: Sequence[LocatedRow]) -> "PackedRows":
        """Pack rows."""
        data = b"".join([_PACKED.pack(row.id, row.pack, row.offset, row.length) for row in rows])
        return cls(data, sum(row.length for row in rows))

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.data) // _PACKED.size

    def rows(self) -> list[LocatedRow]:
        """Return the rows again, those of one pack sharing its name."""
        packs: dict[bytes, ObjectId] = {}
        return [
            LocatedRow(ObjectId(oid), packs.setdefault(pack, ObjectId(pack)), offset, length)
            for oid, pack, offset, length in _PACKED.iter_unpack(self.data)
        ]


def locate(remote: Remote, ids: Sequence[ObjectId]) -> list[LocatedRow]:
    """Ask where objects stand; those that the remote lacks are left out.

    Raises:
        IntegrityError: the answer cannot be true.
    """
    rows: list[LocatedRow] = []
    for at in range(0, len(ids), _LOCATED_AT_ONCE):
        asked = set(ids[at : at + _LOCATED_AT_ONCE])
        found = remote.locate(asked)
        if (strange := _impossible(found, asked)) is not None:
            raise IntegrityError(f"{remote.url} says impossible things of where object {strange.hex()} stands.")
        rows += found
    return rows


def _impossible(rows: Iterable[LocatedRow], asked: AbstractSet[ObjectId]) -> ObjectId | None:
    """Return the id of a row that nobody asked for, that is there twice, or that is longer than any frame."""
    left = set(asked)
    for row in rows:
        if row.id not in left or row.length > MAX_FRAME:
            return row.id
        left.remove(row.id)
    return None


def spans(rows: Sequence[LocatedRow], limit: int | None = None) -> Iterator[Span]:
    """Join frames that stand near each other: pack by pack as `rows` first name them, each by its offsets.

    A whole that is small is asked for in smaller ranges: what a server has sent and a killed client has not taken is
    lost, and is not to be a large part of it. `limit` sets their longest, in bytes, where that does not matter.
    """
    if limit is None:
        limit = max(SHORTEST, sum(row.length for row in rows) // SHARE) if _is_small(rows) else LONGEST
    rank: dict[ObjectId, int] = {}
    for row in rows:
        rank.setdefault(row.pack, len(rank))
    span: Span | None = None
    for row in sorted(rows, key=lambda row: (rank[row.pack], row.offset)):
        near = span is not None and row.pack == span.pack and row.offset >= span.end and row.offset - span.end <= GAP
        if span is not None and (not near or row.offset + row.length - span.start > limit):
            yield span
            span = None
        if span is None:
            span = Span(row.pack)
        span.rows.append(row)
    if span is not None:
        yield span


def at_once(rows: Sequence[LocatedRow], connections: int) -> int:
    """Return how many ranges of these rows to read at a time, with so many connections."""
    return min(FEW, connections) if _is_small(rows) else connections


def _is_small(rows: Sequence[LocatedRow]) -> bool:
    return sum(row.length for row in rows) < 8 * LONGEST


def read_frame(row: LocatedRow, data: memoryview) -> Frame:
    """Return the frame that fills `data`.

    Raises:
        FormatError: it is damaged, or not as long as was said.
        UnsupportedFormatError: it is whole, and of a newer version.
    """
    try:
        frame = parse_frame(data)
    except UnsupportedFormatError:
        # A flipped bit in the version is damage, and no reason to install anything.
        if blake3(data[:-CHECKSUM_BYTES]).digest(CHECKSUM_BYTES) != bytes(data[-CHECKSUM_BYTES:]):
            raise FormatError("A frame is damaged: its checksum does not match.") from None
        raise
    if frame.size != row.length:
        raise FormatError("A frame has another length than was said.")
    return frame


def cut(span: Span, blocks: Iterator[bytes], stop: Stop) -> Iterator[tuple[LocatedRow, memoryview]]:
    """Yield each frame's bytes out of a span's blocks; only what lies across two blocks is copied.

    Raises:
        FormatError: the blocks end too early.
    """
    held, at = memoryview(b""), span.start
    for row in span.rows:
        end = row.offset + row.length
        parts: list[memoryview] = []
        while at + len(held) < end:
            parts.append(held[max(0, row.offset - at) :])
            at += len(held)
            stop.check()
            held = memoryview(next(blocks, b""))
            if not held:
                raise FormatError("A range of a pack is cut.")
        parts.append(held[max(0, row.offset - at) : end - at])
        yield row, parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
        held, at = held[end - at :], end
    for _ in blocks:  # to the end of the answer, so that its connection can be used again
        pass
