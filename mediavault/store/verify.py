"""Knows how to check all that is stored without a key: packs, tables, frames, the index, and that links lead somewhere."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.frame import Frame, parse_frame
from mediavault.formats.index import IndexBlob, Located
from mediavault.formats.pack import PackRow, row_of
from mediavault.model.ids import Kind, ObjectId
from mediavault.store.frames import READ_BYTES
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import PACKS, named_by, pack_key
from mediavault.store.pack_table import PackTable, read_pack_table
from mediavault_backends.api import Backend
from mediavault_backends.errors import NotFoundError

_UNREADABLE: Final = (FormatError, UnsupportedFormatError)


class Damage(msgspec.Struct, frozen=True, gc=False):
    """One thing that is not as it should be; `object`, `pack` and `offset` where they are known."""

    reason: str
    object: ObjectId | None = None
    pack: ObjectId | None = None
    offset: int | None = None


def scrub(
    backend: Backend,
    *,
    on_pack: Callable[[ObjectId, int], None] | None = None,
    judge: Callable[[Frame], str] | None = None,
) -> Iterator[Damage]:
    """Read everything that is stored and yield what is damaged; holds one read of 8 MiB and one pack's table.

    Args:
        backend: the store; nothing is changed.
        on_pack: called with the name and size in bytes of each pack after it was checked.
        judge: says what else is wrong with a frame whose checksum holds, or nothing (empty): a key holder opens it.
    """
    index = ObjectIndex(backend, tolerant=True)
    index.refresh()
    for key, reason in index.damaged.items():
        yield Damage(f"The index {key} is damaged: {reason}")
    claims = []
    for blob in index.blobs():
        try:
            claims.append(Counter(place.pack_id for _, place in blob.rows()))
        except FormatError as error:
            yield Damage(f"An index is damaged: {error.message}")
    there = set()
    for stat in backend.scan(PACKS):
        pack = named_by(stat.key)
        if pack is None or pack_key(pack) != stat.key:
            yield Damage(f"{stat.key} is not the name of a pack.")
            continue
        there.add(pack)
        yield from _scrub_pack(backend, index, pack, [claim[pack] for claim in claims if pack in claim], judge)
        if on_pack is not None:
            on_pack(pack, stat.size)
    for pack in sorted(index.packs() - there):
        rows = max((claim[pack] for claim in claims), default=0)
        yield Damage(f"The pack is missing; {rows} objects stood in it.", pack=pack)


def pack_fault(backend: Backend, pack: ObjectId) -> str:
    """Return what is wrong with a pack, read whole: its table, its name, or a frame; empty when all is right.

    Raises:
        NotFoundError: of the backend: it is gone.
    """
    try:
        table = read_pack_table(backend, pack)
    except _UNREADABLE as error:
        return error.message
    return next((found for _, found in _read(backend, table) if isinstance(found, str)), "")


def _scrub_pack(
    backend: Backend,
    index: ObjectIndex,
    pack: ObjectId,
    claims: Sequence[int],
    judge: Callable[[Frame], str] | None,
) -> Iterator[Damage]:
    try:
        table = read_pack_table(backend, pack)
    except NotFoundError:
        return  # removed since it was listed
    except _UNREADABLE as error:
        yield Damage(error.message, pack=pack)
        yield from _scrub_by_index(backend, index, pack)
        return
    indexed = 0
    for row, found in _read(backend, table):
        named = _is_indexed(index, pack, row)
        indexed += named
        if isinstance(found, str):
            yield Damage(found, row.id, pack, row.offset)
        elif judge is not None and (reason := judge(found)):
            yield Damage(reason, row.id, pack, row.offset)
        elif named and row.kind != Kind.CHUNK and index.has(row.id):
            # What stands in condemned packs alone is on its way out, and what it leads to may be gone already.
            yield from _dangling(index, found)
        elif claims and not named and row.kind == Kind.CHUNK:
            # Metadata may be left out on purpose, when what it leads to was lost.
            yield Damage("The index does not lead to this frame.", row.id, pack, row.offset)
    if max(claims, default=0) > indexed:
        yield Damage("An index names objects in this pack that do not stand there.", pack=pack)


def _read(backend: Backend, table: PackTable) -> Iterator[tuple[PackRow, Frame | str]]:
    """Yield each row with its frame, or with what is wrong with it."""
    key = pack_key(table.pack_id)
    for run in _runs(table.rows):
        start = run[0].offset
        data = memoryview(backend.read(key, start, run[-1].offset + run[-1].length - start))
        for row in run:
            try:
                frame = parse_frame(data, row.offset - start)
                same = row_of(frame, row.offset, table.plain) == row
            except _UNREADABLE as error:
                yield row, error.message
                continue
            yield row, frame if same else "The frame is not the one in the pack's table."


def _runs(rows: Sequence[PackRow]) -> Iterator[list[PackRow]]:
    run: list[PackRow] = []
    size = 0
    for row in rows:
        if run and size + row.length > READ_BYTES:
            yield run
            run, size = [], 0
        run.append(row)
        size += row.length
    yield run


def _is_indexed(index: ObjectIndex, pack: ObjectId, row: PackRow) -> bool:
    wanted = (pack, row.offset, row.length, row.kind)
    return any((place.pack_id, place.offset, place.length, place.kind) == wanted for place in index.find(row.id))


def _dangling(index: ObjectIndex, frame: Frame) -> Iterator[Damage]:
    header = frame.header
    for link in header.links:
        if not any(place.kind == link.kind for place in index.find(link.id)):
            yield Damage(f"It is missing; {header.kind.name.lower()} {header.id.hex()} leads to it.", link.id)


def _scrub_by_index(backend: Backend, index: ObjectIndex, pack: ObjectId) -> Iterator[Damage]:
    """Check the frames of a pack whose table is lost, at the places where the index has them."""
    seen = set()
    for oid, place in _places(index.blobs(), pack):
        if (oid, place.offset) in seen:
            continue
        seen.add((oid, place.offset))
        try:
            frame = parse_frame(backend.read(pack_key(pack), place.offset, place.length))
            reason = "" if frame.header.id == oid else "Another frame stands there."
        except NotFoundError:
            return
        except _UNREADABLE as error:
            reason = error.message
        if reason:
            yield Damage(reason, oid, pack, place.offset)


def _places(blobs: Sequence[IndexBlob], pack: ObjectId) -> Iterator[tuple[ObjectId, Located]]:
    for blob in blobs:
        if any(entry.id == pack for entry in blob.packs):
            try:
                yield from ((oid, place) for oid, place in blob.rows() if place.pack_id == pack)
            except FormatError:
                continue  # reported when the index itself was checked
