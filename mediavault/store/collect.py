"""Knows which packs of a local store hold nothing that is needed, and how to remove them so that a crash loses nothing.

What is needed is told by those who call, as objects that something leads to; from there this module follows the links
that frames show in clear. Who calls holds the store alone: a shared store has no such moment, and another protocol.

The order of a collection keeps two promises at every step: what is needed can be read, and an object that is indexed
without a flag has all that it leads to. New packs and their index come first; then one blob flags all packs that will
go; then the index forgets them; then they are deleted. A kept pack never holds metadata that is not needed.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from mediavault.errors import FormatError, IntegrityError
from mediavault.formats.frame import CHECKSUM_BYTES, Frame, parse_frame
from mediavault.formats.index import Located
from mediavault.formats.pack import PackRow
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.store.frames import READ_BYTES, FrameStore
from mediavault.store.keys import PACKS, named_by, pack_key
from mediavault.store.pack_writer import PackWriter
from mediavault.store.reachability import chunk_ids, closure

WASTE: Final = 0.25
"""The share of a pack's bytes that nobody needs from which on the rest of it is copied to a new pack."""
_NODES: Final = (Kind.TREE, Kind.MANIFEST)
_CURRENT, _FORMER, _YOUNG, _STRAY = range(4)
"""Why something stays: the first of these reasons that holds; and the last, when none does."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a collection keeps.

    Attributes:
        current: what branches, tags and HEAD lead to.
        staged: what the next commit will hold; read once.
        former: what was current lately.
        young: packs that are kept whole because they are new.
        pending: packs that are kept because an interrupted writer will come back to them.
    """

    current: Iterable[Link]
    staged: Iterable[Link] = ()
    former: Iterable[Link] = ()
    young: AbstractSet[ObjectId] = frozenset()
    pending: AbstractSet[ObjectId] = frozenset()


@dataclass(slots=True)
class PackUse:
    """What one pack holds, in bytes of frames: needed now, only by former states, only because it is young, or not."""

    size: int
    current: int = 0
    former: int = 0
    young: int = 0
    waste: int = 0
    stray_nodes: int = 0
    stray_objects: int = 0

    @property
    def needed(self) -> int:
        """Bytes that stay."""
        return self.current + self.former + self.young


class _Place(NamedTuple):
    pack: ObjectId
    offset: int


@dataclass(frozen=True, slots=True)
class CollectionPlan:
    """What a collection will do. It holds good as long as the store is held.

    Attributes:
        packs: every pack that is there, by name.
        deleted: those of them that hold nothing needed.
        rewritten: those of which what is needed moves to new packs; then they go too.
        objects: how many objects stay.
        stray: how many objects that nobody needs stand in the packs that go.
        marked: the ids of what stays.
        spare: places of frames that stand elsewhere byte for byte.
    """

    packs: Mapping[ObjectId, PackUse]
    deleted: Sequence[ObjectId]
    rewritten: Sequence[ObjectId]
    objects: int
    stray: int
    marked: Collection[ObjectId] = field(repr=False)
    spare: AbstractSet[_Place] = field(repr=False)

    @property
    def gone(self) -> frozenset[ObjectId]:
        """All packs that go."""
        return frozenset((*self.deleted, *self.rewritten))

    @property
    def bytes_copied(self) -> int:
        """Bytes of frames that move."""
        return sum(self.packs[pack].needed for pack in self.rewritten)

    @property
    def bytes_removed(self) -> int:
        """Bytes of the packs that go; about `bytes_copied` of them come back as new packs."""
        return sum(self.packs[pack].size for pack in self.gone)


def plan_collection(frames: FrameStore, needs: Needs, advance: Callable[[int], None]) -> CollectionPlan:
    """Mark what is needed, and choose the packs that go; nothing is changed.

    Memory: about 120 bytes for each object that stays.

    Args:
        frames: the store.
        needs: what to keep.
        advance: told how many objects were followed.

    Raises:
        IntegrityError: something that is needed is missing or damaged, or an index is.
    """
    index, backend = frames.index, frames.backend
    index.refresh()
    packs = {
        pack: PackUse(stat.size) for stat in backend.scan(PACKS) if (pack := named_by(stat.key)) and _at_home(stat.key)
    }
    indexed = index.packs()
    condemned = {pack.id for blob in index.blobs() for pack in blob.packs if pack.condemned}
    young = (needs.young & packs.keys()) - condemned
    marks = _Marks(frames, advance)
    marks.take(_CURRENT, needs.current)
    marks.take(_CURRENT, needs.staged)
    marks.take(_FORMER, needs.former)
    marks.take(_YOUNG, _standing_in(frames, young, marks))
    spare = _tally(frames, packs, marks, condemned, young)
    deleted, rewritten = [], []
    for pack, use in packs.items():
        if pack in young or (pack in needs.pending and pack not in indexed):
            continue
        if not use.needed:
            deleted.append(pack)
        elif pack in condemned or use.stray_nodes or use.waste >= WASTE * (use.waste + use.needed):
            rewritten.append(pack)
    stray = sum(packs[pack].stray_objects for pack in (*deleted, *rewritten))
    return CollectionPlan(packs, deleted, rewritten, len(marks), stray, marks, spare)


class _Marks(Collection[ObjectId]):
    """The ids of what is needed, in one set for each reason."""

    def __init__(self, frames: FrameStore, advance: Callable[[int], None]) -> None:
        self._frames = frames
        self._advance = advance
        self._commits: list[ObjectId] = []
        self._sets: tuple[set[ObjectId], ...] = (set(), set(), set())

    def __contains__(self, oid: object) -> bool:
        return any(oid in found for found in self._sets)

    def __len__(self) -> int:
        return sum(map(len, self._sets))

    def __iter__(self) -> Iterator[ObjectId]:
        for found in self._sets:
            yield from found

    def reason(self, oid: ObjectId) -> int:
        """Return why an object stays."""
        return next((at for at, found in enumerate(self._sets) if oid in found), _STRAY)

    def take(self, reason: int, links: Iterable[Link]) -> None:
        """Mark what is not marked yet of all that `links` lead to."""
        found = self._sets[reason]
        roots = []
        for link in links:
            if link.id in self:
                continue
            if link.kind == Kind.CHUNK:
                found.add(link.id)
            else:
                roots.append(link)
        # Commits that were followed before spare the work for all that they share with these.
        for batch in closure(self._frames, roots, self._commits):
            for frame in batch:
                found.update(self._unmarked(frame))
            self._advance(len(batch))
        self._commits += [link.id for link in roots if link.kind == Kind.COMMIT]

    def _unmarked(self, frame: Frame) -> set[ObjectId]:
        """Return the ids of a frame and of the chunks that it leads to, but for those that are marked."""
        ids = {frame.header.id}
        if frame.header.kind in _NODES:
            ids.update(chunk_ids(frame))
        return ids.difference(*self._sets)


def _standing_in(frames: FrameStore, packs: AbstractSet[ObjectId], marks: _Marks) -> list[Link]:
    """Return the objects of some packs that are not marked."""
    if not packs:
        return []
    return [
        Link(place.kind, oid)
        for blob in frames.index.blobs()
        if any(pack.id in packs for pack in blob.packs)
        for oid, place in blob.rows()
        if place.pack_id in packs and not place.condemned and oid not in marks
    ]


def _at_home(key: str) -> bool:
    name = named_by(key)
    return name is not None and pack_key(name) == key


def _tally(
    frames: FrameStore,
    packs: Mapping[ObjectId, PackUse],
    marks: _Marks,
    condemned: AbstractSet[ObjectId],
    young: AbstractSet[ObjectId],
) -> AbstractSet[_Place]:
    """Add up what each pack holds; return the places whose frame stands elsewhere byte for byte.

    Raises:
        IntegrityError: an object that is needed stands in no pack that is there.
    """
    several: list[tuple[ObjectId, list[Located]]] = []
    there = 0
    for oid, places in _rows(frames, packs):
        reason = marks.reason(oid)
        if reason != _STRAY:
            there += 1
            if len(places) > 1:
                several.append((oid, places))
                continue
        for place in places:
            _count(packs[place.pack_id], reason, place)
    if there < len(marks):
        _raise_missing(frames, packs, marks)
    return _choose_among(frames, packs, marks, several, lambda pack: (pack in condemned, pack not in young))


def _rows(frames: FrameStore, packs: Mapping[ObjectId, PackUse]) -> Iterator[tuple[ObjectId, list[Located]]]:
    """Yield every indexed object, ids ascending, with its places in packs that are there."""
    merged = heapq.merge(*(blob.rows() for blob in frames.index.blobs()), key=itemgetter(0))
    for oid, rows in groupby(merged, key=itemgetter(0)):
        places = {_Place(place.pack_id, place.offset): place for _, place in rows if place.pack_id in packs}
        if places:
            yield oid, list(places.values())


def _count(use: PackUse, reason: int, place: Located) -> None:
    if reason == _STRAY:
        use.waste += place.length
        use.stray_objects += 1
        use.stray_nodes += place.kind != Kind.CHUNK
    elif reason == _CURRENT:
        use.current += place.length
    elif reason == _FORMER:
        use.former += place.length
    else:
        use.young += place.length


def _choose_among(
    frames: FrameStore,
    packs: Mapping[ObjectId, PackUse],
    marks: _Marks,
    several: list[tuple[ObjectId, list[Located]]],
    last: Callable[[ObjectId], tuple[bool, bool]],
) -> AbstractSet[_Place]:
    """Decide which of several equal frames counts; frames of one id that differ all do, since only a key tells which is good."""
    wasted = {pack: use.waste / use.size for pack, use in packs.items()}
    spare = set()
    for oid, places in several:
        places.sort(key=lambda place: (*last(place.pack_id), wasted[place.pack_id], place.pack_id, place.offset))
        seen = set()
        for place in places:
            use = packs[place.pack_id]
            checksum = frames.backend.read(
                pack_key(place.pack_id), place.offset + place.length - CHECKSUM_BYTES, CHECKSUM_BYTES
            )
            if checksum in seen:
                spare.add(_Place(place.pack_id, place.offset))
                use.waste += place.length
            else:
                seen.add(checksum)
                _count(use, marks.reason(oid), place)
    return spare


def _raise_missing(frames: FrameStore, packs: Mapping[ObjectId, PackUse], marks: _Marks) -> None:
    for oid in marks:
        if not any(place.pack_id in packs for place in frames.index.find(oid)):
            raise IntegrityError(f"Object {oid.hex()} is missing: the pack that held it is gone.")


def run_collection(
    frames: FrameStore,
    plan: CollectionPlan,
    writer: PackWriter,
    *,
    copied: Callable[[int], None],
    settled: Callable[[], None],
) -> int:
    """Carry out a plan.

    Args:
        frames: the store.
        plan: what to do.
        writer: takes what moves; this finishes it.
        copied: told of bytes of frames as they move.
        settled: called when all that stays was found in packs that stay, before anything is removed.

    Returns:
        the bytes of the new packs.

    Raises:
        IntegrityError: something that is needed is missing or damaged; nothing was removed.
        StorageError: the disk is full; nothing was removed.
    """
    before = frames.index.packs()
    _copy(frames, plan, writer, copied)
    frames.index.refresh()
    fresh = {pack: frames.backend.stat(pack_key(pack)).size for pack in frames.index.packs() - before}
    for pack in fresh:
        for _ in _checked_frames(frames, pack, frames.pack_table(pack).rows):
            pass
    staying = (plan.packs.keys() - plan.gone) | fresh.keys()
    for oid in plan.marked:
        if not any(place.pack_id in staying for place in frames.index.find(oid)):
            raise IntegrityError(f"Object {oid.hex()} would be lost.", untouched="Nothing was removed.")
    settled()
    gone = plan.gone
    if gone:
        frames.index.drop(gone, frames.index.condemn(gone))
        for pack in sorted(gone):
            frames.backend.delete(pack_key(pack))
    return sum(fresh.values())


def _copy(frames: FrameStore, plan: CollectionPlan, writer: PackWriter, copied: Callable[[int], None]) -> None:
    todo = []
    for pack in plan.rewritten:
        rows = [
            row
            for row in frames.pack_table(pack).rows
            if row.id in plan.marked and _Place(pack, row.offset) not in plan.spare
        ]
        todo.append((pack, rows))
    while todo:
        again = []
        for pack, rows in todo:
            twins = []
            for row, data in _checked_frames(frames, pack, rows):
                if writer.has(row.id):
                    twins.append(row)  # another frame of the same id: a writer takes one at a time
                    continue
                writer.append(data, row.raw_length or 0)
                copied(row.length)
            if twins:
                again.append((pack, twins))
        writer.finish()
        todo = again


def _checked_frames(
    frames: FrameStore, pack: ObjectId, rows: Sequence[PackRow]
) -> Iterator[tuple[PackRow, memoryview]]:
    """Yield the bytes of some frames of a pack, each as its row says.

    Raises:
        IntegrityError: one is damaged.
    """
    for run in _runs(rows):
        start = run[0].offset
        data = memoryview(frames.backend.read(pack_key(pack), start, run[-1].offset + run[-1].length - start))
        for row in run:
            part = data[row.offset - start : row.offset - start + row.length]
            try:
                frame = parse_frame(part)
            except FormatError as error:
                raise _damaged(pack, row, error.message) from error
            if (frame.header.id, frame.header.kind, frame.size, frame.checksum) != (
                row.id,
                row.kind,
                row.length,
                row.checksum,
            ):
                raise _damaged(pack, row, "Another frame stands there.")
            yield row, part


def _runs(rows: Sequence[PackRow]) -> Iterator[list[PackRow]]:
    """Group rows into ranges worth one reading; what lies between is left out."""
    run: list[PackRow] = []
    size = 0
    for row in rows:
        if run and (size + row.length > READ_BYTES or run[-1].offset + run[-1].length != row.offset):
            yield run
            run, size = [], 0
        run.append(row)
        size += row.length
    if run:
        yield run


def _damaged(pack: ObjectId, row: PackRow, reason: str) -> IntegrityError:
    return IntegrityError(f"Object {row.id.hex()} in pack {pack.hex()} at {row.offset} is damaged: {reason}")
