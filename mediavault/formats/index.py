"""The index blob: which object stands where in which packs, as one sorted table that can be mapped.

An index is not authenticated: it can only hide or misplace, since every frame it leads to is checked. So a reader
validates the lengths at once and each row when it is used. Choosing which blobs exist is left to the store.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet

import msgspec
from blake3 import blake3

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.frame import Buffer
from mediavault.formats.pack import PackRow
from mediavault.model.ids import ID_BYTES, Kind, ObjectId

INDEX_VERSION = 1
INDEX_HEADER_BYTES = 32
INDEX_ROW_BYTES = 49
INDEX_PACK_BYTES = 33
_MAGIC = b"MVIX"
_HEADER = struct.Struct("<4sHHIIBB6sQ")
_ROW = struct.Struct("<32sBIQI")
_PLACE = struct.Struct("<BIQI")
_PAIR = struct.Struct("<II")
_PROBES = struct.Struct("<III")
_CONDEMNED = 1
_MAX_FAN_OUT_BITS = 16
_MIN_FILTER_BITS = 3
_MAX_FILTER_BITS = 32
_SCAN_ROWS = 64
_KINDS = dict(enumerate(Kind, start=1))


class Located(msgspec.Struct, frozen=True, gc=False):
    """One place of an object: pack, offset and length in bytes; `condemned` packs are read but not relied upon."""

    pack_id: bytes
    offset: int
    length: int
    kind: Kind
    condemned: bool = False


class IndexedPack(msgspec.Struct, frozen=True, gc=False):
    """A pack that an index blob covers."""

    id: bytes
    condemned: bool = False


def index_id(blob: Buffer) -> bytes:
    """Return an index blob's name: its BLAKE3."""
    return blake3(blob).digest()


def encode_index(
    rows_by_pack: Mapping[bytes, Iterable[PackRow]],
    written_ns: int,
    *,
    condemned: AbstractSet[bytes] = frozenset(),
) -> bytes:
    """Return an index blob over packs.

    Args:
        rows_by_pack: the table of each pack.
        written_ns: time of writing, nanoseconds since 1970.
        condemned: those of the packs that are flagged.
    """
    pack = _ROW.pack
    rows = [
        pack(row.id, row.kind, number, row.offset, row.length)
        for number, table in enumerate(rows_by_pack.values())
        for row in table
    ]
    return _assemble(rows, [IndexedPack(name, name in condemned) for name in rows_by_pack], written_ns)


def merge_indexes(
    blobs: Iterable["IndexBlob"],
    written_ns: int,
    *,
    dropped: AbstractSet[bytes] = frozenset(),
    condemned: AbstractSet[bytes] = frozenset(),
) -> bytes:
    """Return one index blob over all packs of `blobs` but the `dropped` ones.

    A pack that stands in several blobs is taken from the first; it is flagged if any of them flags it, or `condemned`
    names it.

    Raises:
        FormatError: a row does not parse.
    """
    rows: list[bytes] = []
    numbers: dict[bytes, int] = {}
    flagged = set(condemned)
    for blob in blobs:
        flagged.update(entry.id for entry in blob.packs if entry.condemned)
        renumbered: dict[int, int] = {}
        for number, entry in enumerate(blob.packs):
            if entry.id not in dropped and entry.id not in numbers:
                renumbered[number] = numbers[entry.id] = len(numbers)
        rows.extend(blob.renumbered(renumbered))
    return _assemble(rows, [IndexedPack(name, name in flagged) for name in numbers], written_ns)


def _assemble(rows: list[bytes], packs: list[IndexedPack], written_ns: int) -> bytes:
    """Sort packed rows, then put fan-out table, filter, rows and packs together."""
    rows.sort()
    count = len(rows)
    fan_out_bits = min(_MAX_FAN_OUT_BITS, max(0, (count // 16).bit_length()))
    filter_bits = min(_MAX_FILTER_BITS, max(_MIN_FILTER_BITS, (8 * count - 1).bit_length() if count else 0))
    mask = (1 << filter_bits) - 1
    bloom = bytearray(1 << (filter_bits - 3))
    counts = [0] * ((1 << fan_out_bits) + 1)
    shift = 16 - fan_out_bits
    probes = _PROBES.unpack_from
    previous = b""
    twins = False
    for row in rows:
        a, b, c = probes(row, 4)
        a &= mask
        b &= mask
        c &= mask
        bloom[a >> 3] |= 1 << (a & 7)
        bloom[b >> 3] |= 1 << (b & 7)
        bloom[c >> 3] |= 1 << (c & 7)
        counts[((row[0] << 8 | row[1]) >> shift) + 1] += 1
        name = row[:ID_BYTES]
        twins |= name == previous
        previous = name
    if twins:
        # Raw bytes order equal ids by their little-endian numbers; the format wants the numbers themselves.
        rows.sort(key=_row_order)
    total = 0
    for at, number in enumerate(counts):
        total += number
        counts[at] = total
    head = _HEADER.pack(_MAGIC, INDEX_VERSION, 0, count, len(packs), fan_out_bits, filter_bits, bytes(6), written_ns)
    pack_list = [entry.id + bytes((_CONDEMNED if entry.condemned else 0,)) for entry in packs]
    return b"".join((head, struct.pack(f"<{len(counts)}I", *counts), bloom, *rows, *pack_list))


def _row_order(row: bytes) -> tuple[bytes, int, int]:
    _, number, offset, _ = _PLACE.unpack_from(row, ID_BYTES)
    return row[:ID_BYTES], number, offset


class IndexBlob:
    """A view of one index blob, read straight from its buffer: nothing is copied or decoded before it is asked for.

    Safe to read from several threads.

    Attributes:
        written_ns: time of writing, nanoseconds since 1970.
    """

    __slots__ = (
        "_count", "_fan_out_at", "_filter_at", "_mask", "_pack_count", "_packs", "_packs_at", "_rows_at", "_shift",
        "_view", "written_ns",
    )  # fmt: skip

    def __init__(self, buffer: Buffer) -> None:
        """Check header and lengths.

        Raises:
            FormatError: this is no index blob, or it is cut.
            UnsupportedFormatError: a newer version wrote it.
        """
        view = memoryview(buffer)
        if len(view) < INDEX_HEADER_BYTES:
            raise FormatError("An index is cut within its header.")
        magic, version, flags, count, packs, fan_out_bits, filter_bits, rest, written = _HEADER.unpack_from(view)
        if magic != _MAGIC or version == 0:
            raise FormatError("This is not an index.")
        if version > INDEX_VERSION:
            raise UnsupportedFormatError(
                f"An index has version {version}; this program reads version {INDEX_VERSION}.",
                hint="Install a newer version of MediaVault.",
            )
        if (
            flags
            or any(rest)
            or fan_out_bits > _MAX_FAN_OUT_BITS
            or not _MIN_FILTER_BITS <= filter_bits <= _MAX_FILTER_BITS
        ):
            raise FormatError("An index has a header that breaks the format's rules.")
        self._view = view
        self._count: int = count
        self._pack_count = packs
        self._shift = 16 - fan_out_bits
        self._mask = (1 << filter_bits) - 1
        self._fan_out_at = INDEX_HEADER_BYTES
        self._filter_at = self._fan_out_at + 4 * ((1 << fan_out_bits) + 1)
        self._rows_at = self._filter_at + (1 << (filter_bits - 3))
        self._packs_at = self._rows_at + count * INDEX_ROW_BYTES
        self._packs: tuple[IndexedPack, ...] | None = None
        self.written_ns: int = written
        if self._packs_at + packs * INDEX_PACK_BYTES != len(view):
            raise FormatError("An index is not as long as its header says.")

    def __len__(self) -> int:
        return self._count

    @property
    def packs(self) -> tuple[IndexedPack, ...]:
        """The packs that this blob covers, in the order of their numbers.

        Raises:
            FormatError: unknown flags, or a pack twice.
        """
        if self._packs is None:
            self._packs = self._read_packs()
        return self._packs

    def _read_packs(self) -> tuple[IndexedPack, ...]:
        data = bytes(self._view[self._packs_at :])
        if any(flag > _CONDEMNED for flag in data[ID_BYTES::INDEX_PACK_BYTES]):
            raise FormatError("An index has a pack with unknown flags.")
        packs = tuple(
            IndexedPack(data[at : at + ID_BYTES], data[at + ID_BYTES] == _CONDEMNED)
            for at in range(0, len(data), INDEX_PACK_BYTES)
        )
        if len({entry.id for entry in packs}) != len(packs):
            raise FormatError("An index lists a pack twice.")
        return packs

    def find(self, oid: ObjectId) -> list[Located]:
        """Return every place of an object, in the order of pack numbers; empty when it stands in none of these packs.

        Raises:
            FormatError: the rows around it do not parse.
        """
        view = self._view
        mask = self._mask
        base = self._filter_at
        a, b, c = _PROBES.unpack_from(oid, 4)
        a &= mask
        if not view[base + (a >> 3)] >> (a & 7) & 1:
            return []
        b &= mask
        if not view[base + (b >> 3)] >> (b & 7) & 1:
            return []
        c &= mask
        if not view[base + (c >> 3)] >> (c & 7) & 1:
            return []
        low, high = _PAIR.unpack_from(view, self._fan_out_at + 4 * ((oid[0] << 8 | oid[1]) >> self._shift))
        if low > high or high > self._count:
            raise FormatError("An index has a fan-out table that does not ascend.")
        if high - low > _SCAN_ROWS:
            low, high = self._narrow(oid, low, high)
        rows_at = self._rows_at
        bucket = bytes(view[rows_at + low * INDEX_ROW_BYTES : rows_at + high * INDEX_ROW_BYTES])
        at = bucket.find(oid)
        while at >= 0 and at % INDEX_ROW_BYTES:
            at = bucket.find(oid, at + 1)
        if at < 0:
            return []
        return self._places(oid, bucket, at, high)

    def _narrow(self, oid: ObjectId, low: int, high: int) -> tuple[int, int]:
        """Bisect to a range of rows that holds the first row of `oid`, if there is one, at its start or within."""
        view, rows_at = self._view, self._rows_at
        end = high
        while high - low > _SCAN_ROWS // 2:
            middle = (low + high) // 2
            at = rows_at + middle * INDEX_ROW_BYTES
            if bytes(view[at : at + ID_BYTES]) < oid:
                low = middle + 1
            else:
                high = middle
        return low, min(end, high + 1)

    def _places(self, oid: ObjectId, bucket: bytes, at: int, end: int) -> list[Located]:
        """Collect the rows of `oid` from `at` in `bucket` on, which ends before row `end`, and beyond it."""
        packs = self.packs
        found = []
        try:
            while bucket[at : at + ID_BYTES] == oid:
                kind, number, offset, length = _PLACE.unpack_from(bucket, at + ID_BYTES)
                entry = packs[number]
                found.append(Located(entry.id, offset, length, _KINDS[kind], entry.condemned))
                at += INDEX_ROW_BYTES
                if at == len(bucket) and end < self._count:
                    start = self._rows_at + end * INDEX_ROW_BYTES
                    bucket, at, end = bytes(self._view[start : start + INDEX_ROW_BYTES]), 0, end + 1
        except (IndexError, KeyError) as error:
            raise FormatError("An index has a row with an unknown pack or kind.") from error
        return found

    def rows(self) -> Iterator[tuple[ObjectId, Located]]:
        """Yield id and place of every row, in order.

        Raises:
            FormatError: a row does not parse.
        """
        packs = self.packs
        try:
            for oid, kind, number, offset, length in self._raw_rows():
                entry = packs[number]
                yield oid, Located(entry.id, offset, length, _KINDS[kind], entry.condemned)
        except (IndexError, KeyError) as error:
            raise FormatError("An index has a row with an unknown pack or kind.") from error

    def _raw_rows(self) -> Iterator[tuple[bytes, int, int, int, int]]:
        yield from _ROW.iter_unpack(self._view[self._rows_at : self._packs_at])

    def renumbered(self, numbers: Mapping[int, int]) -> Iterator[bytes]:
        """Yield the stored rows of the packs in `numbers`, with their pack numbers replaced; rows of others are left out.

        Raises:
            FormatError: a row does not parse.
        """
        pack_count = self._pack_count
        pack = _ROW.pack
        for oid, kind, number, offset, length in self._raw_rows():
            if number >= pack_count or kind not in _KINDS:
                raise FormatError("An index has a row with an unknown pack or kind.")
            fresh = numbers.get(number)
            if fresh is not None:
                yield pack(oid, kind, fresh, offset, length)
