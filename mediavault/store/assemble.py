"""Knows how to make new packs out of frames that are stored, byte for byte, without holding or opening them."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Final, TypeAlias

from mediavault.errors import IntegrityError
from mediavault.formats.pack import (
    NONCE_BYTES,
    PACK_FOOTER_BYTES,
    PACK_HEADER_BYTES,
    PackRow,
    encode_footer,
    encode_pack_header,
    encode_table,
    pack_id,
    row_bytes,
)
from mediavault.model.ids import ObjectId
from mediavault.store.frames import FrameStore
from mediavault.store.keys import MAX_PACK_ROWS, TARGET_BYTES, pack_key
from mediavault.store.pack_table import PackTable
from mediavault_backends.api import Backend, Buffer

SLICE_IDS: Final = 1 << 14
"""How many objects are looked up at a time when their order is to be kept."""


Part: TypeAlias = tuple[ObjectId, PackRow]
"""A frame: the pack in which it stands, and its row there."""
Copy: TypeAlias = Callable[[Sequence[Part]], Iterator[Buffer]]
"""Yields the bytes of frames, one after another, in this order."""


class PackSource:
    """A pack that exists as a plan: its table is made, its frames are read where they stand when it is sent.

    Fulfils the Backend's Source protocol.
    """

    def __init__(
        self,
        copy: Copy,
        parts: Sequence[Part],
        *,
        plain: bool,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Plan a pack under a fresh nonce.

        Args:
            copy: reads the frames.
            parts: the frames.
            plain: whether the repository is plain, so that rows carry raw lengths.
            random: makes the nonce.
        """
        self._copy = copy
        self._plain = plain
        self._random = random
        self._parts = parts
        self.rows = _moved_rows(parts)
        end = self.rows[-1].offset + self.rows[-1].length
        self._table = encode_table(self.rows, plain)
        self._footer = encode_footer(end, len(self.rows), self._table)
        self._nonce = random(NONCE_BYTES)
        self.size = end + len(self._table) + len(self._footer)
        self.id = pack_id(self._nonce, self._table)

    def blocks(self) -> Iterator[Buffer]:
        """Yield the pack from its start.

        Raises:
            IntegrityError: the frames are no longer what the plan was made from.
        """
        yield encode_pack_header(self._nonce, self._plain)
        yield from self._copy(self._parts)
        yield self._table + self._footer

    def renewed(self) -> "PackSource":
        """Return the same frames under a fresh name, for another attempt after one of unknown outcome."""
        return PackSource(self._copy, self._parts, plain=self._plain, random=self._random)

    def only(self, ids: Iterable[ObjectId]) -> "PackSource":
        """Return a pack of some of these frames, under a fresh name: what an attempt of unknown outcome did not bring."""
        left = set(ids)
        parts = [part for part in self._parts if part[1].id in left]
        return PackSource(self._copy, parts, plain=self._plain, random=self._random)


def plan_packs(
    frames: FrameStore,
    ids: Iterable[ObjectId],
    *,
    plain: bool,
    ordered: bool = False,
    target: int = TARGET_BYTES,
    random: Callable[[int], bytes] = os.urandom,
) -> Iterator[PackSource]:
    """Yield packs that hold the frames of `ids`, each once; packs of one class of kinds are the caller's business.

    Args:
        frames: the store.
        ids: what to pack.
        plain: whether the repository is plain.
        ordered: keep the order of `ids`, over all packs; else frames that stand together are kept together.
        target: a pack is closed before it would pass this many bytes.
        random: makes the nonces.

    Raises:
        IntegrityError: an object is missing, or the table of its pack is damaged.
    """
    located = _in_order(frames, ids) if ordered else _in_place(frames, ids)
    for parts in grouped(located, plain=plain, target=target):
        yield PackSource(partial(_copied, frames.backend), parts, plain=plain, random=random)


def grouped(located: Iterable[Part], *, plain: bool, target: int) -> Iterator[list[Part]]:
    """Yield the frames of one pack after another.

    Args:
        located: frames in their order.
        plain: whether the repository is plain, so that rows carry raw lengths.
        target: a pack is closed before it would pass this many bytes.
    """
    parts: list[Part] = []
    overhead = PACK_HEADER_BYTES + PACK_FOOTER_BYTES
    size = overhead
    for part in located:
        cost = part[1].length + row_bytes(plain)
        if parts and (size + cost > target or len(parts) >= MAX_PACK_ROWS):
            yield parts
            parts, size = [], overhead
        parts.append(part)
        size += cost
    if parts:
        yield parts


def packed_size(parts: Sequence[Part], *, plain: bool) -> int:
    """Return how many bytes a pack of these frames has."""
    frames = sum(row.length for _, row in parts)
    return PACK_HEADER_BYTES + frames + len(parts) * row_bytes(plain) + PACK_FOOTER_BYTES


def _copied(backend: Backend, parts: Sequence[Part]) -> Iterator[Buffer]:
    for pack, start, length in _ranges(parts):
        left = length
        for block in backend.stream(pack_key(pack), start=start, length=length):
            left -= len(block)
            yield block
        if left:
            raise IntegrityError(f"Pack {pack.hex()} is cut.", hint="Run `mediagit verify` to see what is damaged.")


def _in_place(frames: FrameStore, ids: Iterable[ObjectId]) -> Iterator[Part]:
    """Yield the frames pack by pack, by offset."""
    for pack, wanted in _by_pack(frames, ids).items():
        yield from ((pack, row) for row in _rows(frames.pack_table(pack), wanted))


def _in_order(frames: FrameStore, ids: Iterable[ObjectId]) -> Iterator[Part]:
    left = iter(dict.fromkeys(ids))
    while some := list(islice(left, SLICE_IDS)):
        found = {part[1].id: part for part in _in_place(frames, some)}
        yield from (found[oid] for oid in some)


def _by_pack(frames: FrameStore, ids: Iterable[ObjectId]) -> dict[ObjectId, set[ObjectId]]:
    packs: dict[ObjectId, set[ObjectId]] = {}
    for oid in ids:
        place = frames.locate(oid)
        if place is None:
            raise IntegrityError(f"Object {oid.hex()} is missing: no index names it.")
        packs.setdefault(place.pack_id, set()).add(oid)
    return packs


def _rows(table: PackTable, wanted: set[ObjectId]) -> list[PackRow]:
    # By id, because a pack may hold an object twice.
    found = {row.id: row for row in table.rows if row.id in wanted}
    if len(found) < len(wanted):
        lost = next(iter(wanted - found.keys()))
        raise IntegrityError(f"Pack {table.pack_id.hex()} does not hold object {lost.hex()}, as an index says.")
    return sorted(found.values(), key=lambda row: row.offset)


def _moved_rows(parts: Iterable[Part]) -> list[PackRow]:
    rows = []
    at = PACK_HEADER_BYTES
    for _, row in parts:
        rows.append(PackRow(row.id, row.kind, at, row.length, row.checksum, row.raw_length))
        at += row.length
    return rows


def _ranges(parts: Iterable[Part]) -> Iterator[tuple[ObjectId, int, int]]:
    """Join frames that follow one another in one pack."""
    current, start, end = b"", 0, 0
    for pack, row in parts:
        if pack == current and row.offset == end:
            end += row.length
            continue
        if end > start:
            yield current, start, end - start
        current, start, end = pack, row.offset, row.offset + row.length
    if end > start:
        yield current, start, end - start
