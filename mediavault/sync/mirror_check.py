"""Comparing a mirror with its source, byte by byte and without a key: everything there is read, and known by its checksum here."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from mediavault.errors import IntegrityError, NotFoundError, UnsupportedFormatError
from mediavault.formats.config import decode_config
from mediavault.formats.frame import Frame
from mediavault.formats.ref import decode_ref_value
from mediavault.formats.wire import LocatedRow
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.progress import SILENT, Progress
from mediavault.store.frames import FrameStore
from mediavault.store.verify import Damage
from mediavault.sync.mirror import CONNECTIONS
from mediavault.sync.mirror_walk import Walk
from mediavault.sync.ranges import LONGEST, Span, cut, locate, read_frame, spans
from mediavault.sync.relay import table_of
from mediavault.sync.remote import Remote
from mediavault.sync.transfer import Stop, run_several
from mediavault.wire.client import RemoteRef

AT_ONCE: Final = 16_384
"""How many objects are compared before what was found is told."""


class _Face(NamedTuple):
    """What a frame shows without a key: its checksum, and what every frame of its id has in common."""

    checksum: bytes
    kind: Kind
    links: bytes
    generation: int


_Found: TypeAlias = tuple[LocatedRow, _Face]
"""Where a frame stands at the mirror, and what it shows there."""


class Comparison:
    """What is damaged or missing at a mirror, one after another; when it has been iterated, how many objects were compared.

    `others` are objects whose frames are whole and differ: two clients sealed the same, or somebody who can compute a checksum
    was there. Which of the two only a key holder can tell.

    Args:
        source: what is mirrored.
        mirror: its copy.
        frames: an empty store in a folder, which gets all metadata of the source.
        spool: a folder for packs on their way.
        progress: told of objects.
        connections: ranges read at once.
    """

    def __init__(
        self,
        source: Remote,
        mirror: Remote,
        frames: FrameStore,
        spool: Path,
        *,
        progress: Progress = SILENT,
        connections: int = CONNECTIONS,
    ) -> None:
        self._source = source
        self._mirror = mirror
        self._frames = frames
        self._spool = spool
        self._progress = progress
        self._connections = connections
        self.objects = 0
        self.others = 0

    def __iter__(self) -> Iterator[Damage]:
        """Yield what is damaged, missing or another one.

        Raises:
            IntegrityError: the source itself is damaged.
            RemoteError: one of them failed.
        """
        config = self._source.config() or b""
        mine, theirs = self._source.refs(), self._mirror.refs()
        for name, ref in mine.items():
            if name not in theirs or theirs[name].value_bytes != ref.value_bytes:
                yield Damage(f"The mirror has another value of the ref {name}, or none.")
        plain = decode_config(config).suite == 0
        try:
            with self._frames.writer(self._spool, plain=plain) as writer:
                walk = Walk(self._source, list, writer, self._spool, plain=plain, progress=self._progress)
                self._progress.start(None, "objects", "Reading the source's history")
                walk.follow(self._wanted(mine), [])
            nodes, history = walk.metadata()
            chunks = walk.take_chunks()
            self._progress.start(len(nodes) + len(history) + len(chunks), "objects", "Comparing")
            for ids in (history, nodes):
                for some in _batches(ids):
                    yield from self._compare(
                        some, {frame.header.id: _face(frame) for frame in self._frames.read_many(some)}
                    )
            for some in _batches(chunks):
                yield from self._compare(some, self._faces(some))
        finally:
            self._progress.done()

    def _wanted(self, refs: Mapping[str, RemoteRef]) -> list[Link]:
        """Return what the refs lead to, and what the mirror's led to before, as far as the source has it."""
        values = [ref.value_bytes for ref in refs.values()]
        former = [value for name in refs for value in self._mirror.ref_log(name)]
        targets = [decode_ref_value(value).target for value in (*values, *former)]
        links = dict.fromkeys(target for target in targets if target is not None)
        gone = set(self._source.missing([link.id for link in links])) - _ids(values)
        return [link for link in links if link.id not in gone]

    def _faces(self, chunks: Sequence[ObjectId]) -> dict[ObjectId, _Face]:
        """Return what chunks show at the source, as their packs say it."""
        places = {(row.pack, row.offset) for row in locate(self._source, chunks)}
        tables = [table_of(self._source, pack) for pack in sorted({pack for pack, _ in places})]
        return {
            row.id: _Face(row.checksum, Kind.CHUNK, b"", 0)
            for table in tables
            for row in table.rows
            if (table.pack_id, row.offset) in places
        }

    def _compare(self, ids: Sequence[ObjectId], faces: Mapping[ObjectId, _Face]) -> Iterator[Damage]:
        rows = locate(self._mirror, ids)
        lost = set(ids) - {row.id for row in rows}
        yield from (Damage("The mirror lacks it.", object=oid) for oid in sorted(lost))
        found: list[_Found] = []
        damage: list[Damage] = []
        read = partial(self._read, found, damage)
        run_several(read, spans(rows, LONGEST), self._connections, self._mirror.abort)
        yield from sorted(damage, key=lambda one: (one.pack or b"", one.offset or 0))
        yield from self._judge(found, faces)
        self.objects += len(ids)
        self._progress.advance(len(lost))

    def _read(self, found: list[_Found], damage: list[Damage], span: Span, stop: Stop) -> None:
        """Read a range of a pack; where it cannot be had whole, its parts."""
        left = {row.id: row for row in span.rows}
        try:
            with closing(self._mirror.read_pack(span.pack, span.start, span.end - span.start)) as blocks:
                for row, data in cut(span, blocks, stop):
                    self._read_one(found, damage, row, data)
                    del left[row.id]
        except NotFoundError:
            damage += [_damaged(row, "The pack is missing.") for row in left.values()]
        except IntegrityError as error:
            rest = list(left.values())
            if len(rest) == 1:
                damage.append(_damaged(rest[0], error.message))
                return
            for part in (rest[: len(rest) // 2], rest[len(rest) // 2 :]):
                self._read(found, damage, Span(span.pack, part), stop)

    def _read_one(self, found: list[_Found], damage: list[Damage], row: LocatedRow, data: memoryview) -> None:
        self._progress.advance(1)
        try:
            frame = read_frame(row, data)
        except (IntegrityError, UnsupportedFormatError) as error:
            damage.append(_damaged(row, error.message))
            return
        if frame.header.id != row.id:
            damage.append(_damaged(row, "Another object stands there."))
            return
        found.append((row, _face(frame)))

    def _judge(self, found: Sequence[_Found], faces: Mapping[ObjectId, _Face]) -> Iterator[Damage]:
        """Compare frames that are whole with their packs' tables, and with the source's."""
        packs: dict[ObjectId, list[_Found]] = {}
        for one in found:
            packs.setdefault(one[0].pack, []).append(one)
        for pack, some in sorted(packs.items()):
            try:
                said = {row.offset: (row.id, row.checksum) for row in table_of(self._mirror, pack).rows}
            except (IntegrityError, UnsupportedFormatError) as error:
                yield Damage(error.message, pack=pack)
                continue
            for row, face in some:
                mine = faces.get(row.id)
                if said.get(row.offset) != (row.id, face.checksum):
                    yield _damaged(row, "The frame is not the one in the pack's table.")
                elif mine is None or mine[1:] != face[1:]:
                    yield _damaged(row, "It leads elsewhere than at the source.")
                else:
                    self.others += mine.checksum != face.checksum


def _face(frame: Frame) -> _Face:
    header = frame.header
    return _Face(frame.checksum, header.kind, header.link_data, header.generation)


def _batches(ids: Sequence[ObjectId]) -> Iterator[Sequence[ObjectId]]:
    return (ids[at : at + AT_ONCE] for at in range(0, len(ids), AT_ONCE))


def _ids(values: Sequence[bytes]) -> set[ObjectId]:
    targets = (decode_ref_value(value).target for value in values)
    return {target.id for target in targets if target is not None}


def _damaged(row: LocatedRow, reason: str) -> Damage:
    return Damage(reason, object=row.id, pack=row.pack, offset=row.offset)
