"""Knows how to make new packs out of frames that are stored, byte for byte, without holding or opening them."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

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


class PackSource:
    """A pack that exists as a plan: its table is made, its frames are read from the store when it is sent.

    Fulfils the Backend's Source protocol.
    """

    def __init__(
        self,
        backend: Backend,
        parts: Sequence[tuple[ObjectId, PackRow]],
        *,
        plain: bool,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Plan a pack under a fresh nonce.

        Args:
            backend: the store that holds the frames.
            parts: for each frame, the pack in which it stands and its row there.
            plain: whether the repository is plain, so that rows carry raw lengths.
            random: makes the nonce.
        """
        self._backend = backend
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
            IntegrityError: the store no longer holds what the plan was made from.
        """
        yield encode_pack_header(self._nonce, self._plain)
        for pack, start, length in _ranges(self._parts):
            yield from self._copied(pack, start, length)
        yield self._table + self._footer

    def renewed(self) -> "PackSource":
        """Return the same frames under a fresh name, for another attempt after one of unknown outcome."""
        return PackSource(self._backend, self._parts, plain=self._plain, random=self._random)

    def _copied(self, pack: ObjectId, start: int, length: int) -> Iterator[Buffer]:
        for block in self._backend.stream(pack_key(pack), start=start, length=length):
            length -= len(block)
            yield block
        if length:
            raise IntegrityError(f"Pack {pack.hex()} is cut.", hint="Run `mediagit verify` to see what is damaged.")


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
    parts: list[tuple[ObjectId, PackRow]] = []
    overhead = PACK_HEADER_BYTES + PACK_FOOTER_BYTES
    size = overhead
    for part in located:
        cost = part[1].length + row_bytes(plain)
        if parts and (size + cost > target or len(parts) >= MAX_PACK_ROWS):
            yield PackSource(frames.backend, parts, plain=plain, random=random)
            parts, size = [], overhead
        parts.append(part)
        size += cost
    if parts:
        yield PackSource(frames.backend, parts, plain=plain, random=random)


def _in_place(frames: FrameStore, ids: Iterable[ObjectId]) -> Iterator[tuple[ObjectId, PackRow]]:
    """Yield the frames pack by pack, by offset."""
    for pack, wanted in _by_pack(frames, ids).items():
        yield from ((pack, row) for row in _rows(frames.pack_table(pack), wanted))


def _in_order(frames: FrameStore, ids: Iterable[ObjectId]) -> Iterator[tuple[ObjectId, PackRow]]:
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


def _moved_rows(parts: Iterable[tuple[ObjectId, PackRow]]) -> list[PackRow]:
    rows = []
    at = PACK_HEADER_BYTES
    for _, row in parts:
        rows.append(PackRow(row.id, row.kind, at, row.length, row.checksum, row.raw_length))
        at += row.length
    return rows


def _ranges(parts: Iterable[tuple[ObjectId, PackRow]]) -> Iterator[tuple[ObjectId, int, int]]:
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
