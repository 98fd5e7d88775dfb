"""Bringing a repository's copy at one remote to where another remote has it, without a key: planned first, refs last.

Frames and refs go as they are. What is there already is not sent again, so a run that was stopped anywhere is continued by
the next one. The mirror takes nothing on trust: each pack is received as a push is, and a ref moves only to what is whole.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Final

from mediavault.errors import DivergedError, IntegrityError, NeedsDecisionError, NotFoundError, RefMovedError
from mediavault.formats.config import decode_config
from mediavault.formats.pack import MAX_PACK, PackRow
from mediavault.formats.ref import decode_ref_value, value_hash
from mediavault.formats.wire import LocatedRow, etag_of
from mediavault.model.ids import Kind, ObjectId
from mediavault.progress import SILENT, Progress
from mediavault.store.assemble import PackSource, grouped, packed_size, plan_packs
from mediavault.store.frames import FrameStore
from mediavault.sync.lineage import Course, Refusal, course_of, without
from mediavault.sync.mirror_walk import Missing, Walk
from mediavault.sync.push import Sender
from mediavault.sync.ranges import PackedRows, locate
from mediavault.sync.relay import relayed
from mediavault.sync.remote import Remote
from mediavault.sync.transfer import Stop, run_several
from mediavault.wire.client import RemoteRef

PACK_BYTES: Final = 64 << 20
CONNECTIONS: Final = 3
CHUNKS_AT_ONCE: Final = 1 << 16
"""Of how many chunks the places are unpacked at a time: 70 MB of memory at most."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Key slots to be put, by name: the bytes, and those that they replace. `kept` are the mirror's alone."""

    changes: Mapping[str, tuple[bytes, bytes | None]]
    kept: Sequence[str]


@dataclass(frozen=True, slots=True)
class MirrorPlan:
    """What a mirror lacks.

    Attributes:
        config: the repository's.
        created: there is no repository yet.
        slots: key slots to be put.
        refs: what the source's refs are, by name.
        courses: how those of the mirror get there that are elsewhere.
        kept_refs: refs that only the mirror has.
        chunks: where the chunks that it lacks stand at the source.
        nodes: trees and manifests that it lacks, children first.
        history: commits and tags, likewise.
        packs: sizes in bytes of the packs that these make.
    """

    config: bytes
    created: bool
    slots: Slots
    refs: Mapping[str, RemoteRef]
    courses: Sequence[Course]
    kept_refs: Sequence[str]
    chunks: Sequence[PackedRows]
    nodes: Sequence[ObjectId]
    history: Sequence[ObjectId]
    packs: Sequence[int]

    @property
    def chunk_count(self) -> int:
        """How many chunks are to be sent."""
        return sum(part.count for part in self.chunks)

    @property
    def writes(self) -> int:
        """How many things are to be put: packs, values of refs, key slots, the config."""
        return (
            len(self.packs)
            + sum(len(course.values) for course in self.courses)
            + len(self.slots.changes)
            + self.created
        )


def plan_mirror(
    source: Remote,
    destination: Remote,
    frames: FrameStore,
    spool: Path,
    *,
    force: bool = False,
    progress: Progress = SILENT,
    pack_size: int = PACK_BYTES,
) -> MirrorPlan:
    """Find out what the mirror lacks; changes nothing at either side. Takes about 800 bytes of memory for each object to send.

    Args:
        source: what to mirror.
        destination: the mirror.
        frames: an empty store in a folder, which gets the metadata that is to be sent.
        spool: a folder for packs on their way.
        force: give up what others moved at the mirror.
        progress: told of objects.
        pack_size: target size of a pack, in bytes.

    Raises:
        NotFoundError: there is no repository at the source.
        NeedsDecisionError: another repository is in the mirror's place.
        DivergedError: a ref of the mirror was moved by others, and not `force`.
        IntegrityError: the source is not whole, or sends something damaged.
    """
    config, created = _same_repository(source, destination)
    plain = decode_config(config).suite == 0
    mine = source.refs()
    theirs = {} if created else destination.refs()
    courses = _courses(source, destination, mine, theirs, force=force)
    missing: Missing = list if created else destination.missing
    with frames.writer(spool, plain=plain) as writer:
        walk = Walk(source, missing, writer, spool, plain=plain, progress=progress)
        progress.start(None, "objects", "Looking what is missing")
        try:
            walk.follow(chain.from_iterable(course.targets for course in courses), _targets(theirs.values()))
            chunks = _places(source, walk.take_chunks())
        finally:
            progress.done()
    nodes, history = walk.metadata()
    return MirrorPlan(
        config=config,
        created=created,
        slots=_slots(source.slots(), {} if created else destination.slots()),
        refs=mine,
        courses=courses,
        kept_refs=sorted(theirs.keys() - mine.keys()),
        chunks=chunks,
        nodes=nodes,
        history=history,
        packs=_pack_sizes(chunks, _metadata_packs(frames, nodes, history, plain, pack_size), plain, pack_size),
    )


def run_mirror(
    plan: MirrorPlan,
    source: Remote,
    destination: Remote,
    frames: FrameStore,
    *,
    progress: Progress = SILENT,
    pace: Callable[[int], object] | None = None,
    pack_size: int = PACK_BYTES,
    connections: int = CONNECTIONS,
) -> Sender:
    """Send what `plan` found: keys, chunks, metadata with children first, refs; then ask the mirror what it has now.

    Args:
        plan: what to send.
        source: what is mirrored.
        destination: the mirror.
        frames: has the metadata.
        progress: told of bytes.
        pace: called with how many bytes are about to go; returns when they may.
        pack_size: target size of a pack, in bytes.
        connections: packs sent at once.

    Returns:
        what counted the packs.

    Raises:
        RefMovedError: somebody moved a ref of the mirror meanwhile.
        IntegrityError: the source sent something damaged, or the mirror does not have what it took.
        RemoteError: one of them failed; the next run continues.
    """
    plain = decode_config(plan.config).suite == 0
    target = min(pack_size, destination.max_pack, MAX_PACK)
    sender = Sender(destination, progress, pace)

    def abort() -> None:
        source.abort()
        destination.abort()

    if plan.created:
        destination.create(plan.config, {})
    for name, (slot, former) in plan.slots.changes.items():
        destination.put_slot(name, slot, former)
    if plan.packs:
        progress.start(sum(plan.packs), "bytes", "Mirroring")
    try:
        for part in plan.chunks:
            run_several(sender.send, relayed(source, part.rows(), plain=plain, target=target), connections, abort)
        for pack in _metadata_packs(frames, plan.nodes, plan.history, plain, target):
            sender.send(pack, Stop())
    finally:
        progress.done()
    for course in plan.courses:
        _move(destination, course)
    if not plan.courses:
        _confirm(plan, destination)
    _check_arrived(plan, destination)
    return sender


def _same_repository(source: Remote, destination: Remote) -> tuple[bytes, bool]:
    """Return the source's config, and whether the mirror is yet to be made."""
    mine, theirs = source.config(), destination.config()
    if mine is None:
        raise NotFoundError(
            f"There is no repository at {source.url}.",
            untouched="Nothing was sent.",
            hint="Check the source's address.",
        )
    if theirs is not None and theirs != mine:
        one, other = decode_config(mine).repository.hex(), decode_config(theirs).repository.hex()
        raise NeedsDecisionError(
            f"Another repository lives at {destination.url}: {other}; that of {source.url} is {one}.",
            untouched="Nothing was sent.",
            hint="Mirror to another place.",
        )
    return mine, theirs is None


def _courses(
    source: Remote, destination: Remote, mine: Mapping[str, RemoteRef], theirs: Mapping[str, RemoteRef], *, force: bool
) -> list[Course]:
    found = [
        course_of(
            name,
            mine[name],
            theirs.get(name),
            log=partial(source.ref_log, name),
            their_log=partial(destination.ref_log, name),
            force=force,
        )
        for name in sorted(mine)
    ]
    refusals = [course for course in found if isinstance(course, Refusal)]
    if refusals:
        raise _diverged(source, destination, refusals)
    courses = [course for course in found if isinstance(course, Course)]
    targets = dict.fromkeys(link.id for course in courses for link in course.targets)
    missing = set(source.missing(targets))
    return [without(course, missing, source.url) for course in courses]


def _diverged(source: Remote, destination: Remote, refusals: Sequence[Refusal]) -> DivergedError:
    words = [f"{one.name} {'is ahead' if one.ahead else 'was moved by others'} there" for one in refusals[:5]]
    more = f", and {len(refusals) - 5} more" if len(refusals) > 5 else ""
    return DivergedError(
        f"{destination.url} does not follow {source.url}: {', '.join(words)}{more}.",
        untouched="Nothing was sent.",
        hint="Fetch from the mirror and push to the source what was made there. To give it up: --force. Commits that only the"
        " mirror's refs lead to are lost then, and who fetched them from it is warned.",
    )


def _targets(refs: Iterable[RemoteRef]) -> list[ObjectId]:
    targets = (decode_ref_value(ref.value_bytes).target for ref in refs)
    return list(dict.fromkeys(target.id for target in targets if target is not None))


def _places(source: Remote, chunks: list[ObjectId]) -> list[PackedRows]:
    """Ask where chunks stand; `chunks` is emptied, because of millions their ids and places need not both be held."""
    found = []
    while chunks:
        some = chunks[:CHUNKS_AT_ONCE]
        del chunks[:CHUNKS_AT_ONCE]
        rows = locate(source, some)
        if lost := set(some) - {row.id for row in rows}:
            raise IntegrityError(
                f"{source.url} lacks chunk {next(iter(lost)).hex()} and {len(lost) - 1} more that its history needs.",
                untouched="Nothing was sent.",
                hint="Push from a checkout that has them, then run the command again.",
            )
        found.append(PackedRows.of(rows))
    return found


def _slots(mine: Mapping[str, bytes], theirs: Mapping[str, bytes]) -> Slots:
    changes = {name: (slot, theirs.get(name)) for name, slot in mine.items() if theirs.get(name) != slot}
    return Slots(changes, sorted(theirs.keys() - mine.keys()))


def _metadata_packs(
    frames: FrameStore, nodes: Sequence[ObjectId], history: Sequence[ObjectId], plain: bool, target: int
) -> Iterable[PackSource]:
    pack = partial(plan_packs, frames, plain=plain, ordered=True, target=target)
    return chain(pack(nodes), pack(history))


def _pack_sizes(chunks: Sequence[PackedRows], metadata: Iterable[PackSource], plain: bool, target: int) -> list[int]:
    sizes = []
    for part in chunks:
        rows = sorted(part.rows(), key=lambda row: (row.pack, row.offset))
        parts = ((row.pack, _row_of(row)) for row in rows)
        sizes += [packed_size(some, plain=plain) for some in grouped(parts, plain=plain, target=target)]
    return sizes + [source.size for source in metadata]


def _row_of(row: LocatedRow) -> PackRow:
    return PackRow(row.id, Kind.CHUNK, row.offset, row.length, b"")


def _move(destination: Remote, course: Course) -> None:
    """Let a ref of the mirror go through its values, each in the place of the one before."""
    expected = course.expected
    for number, value in enumerate(course.values):
        adopt = course.adopted and number == 0
        try:
            # What the source's log shows was decided there, also where commits were given up.
            destination.put_ref(value, expected, force=course.proven or number > 0, adopt=adopt)
        except RefMovedError as error:
            raise RefMovedError(
                f"{course.name} at {destination.url} was moved by somebody else meanwhile.",
                untouched="It is where they moved it; what was sent is kept.",
                hint="Run the command again: it tells whether the mirror still follows.",
            ) from error
        except DivergedError as error:
            raise DivergedError(
                f"{course.name} at {destination.url} has commits that the source's lacks, whose log does not reach so far back.",
                untouched="That ref was left as it is.",
                hint="Fetch from the mirror and push to the source what was made there. To give it up: --force.",
            ) from error
        expected = etag_of(value_hash(value))


def _confirm(plan: MirrorPlan, destination: Remote) -> None:
    """Ask once more for a move that was made already; as a push does, and for its reason."""
    for ref in islice(plan.refs.values(), 1):
        destination.put_ref(ref.value_bytes, ref.etag)


def _check_arrived(plan: MirrorPlan, destination: Remote) -> None:
    """Ask the mirror itself what it has now.

    Raises:
        RefMovedError: a ref is elsewhere already.
        IntegrityError: something is not as it was sent.
    """
    refs = destination.refs()
    slots = destination.slots()
    moved = [name for name, ref in plan.refs.items() if name not in refs or refs[name].value_bytes != ref.value_bytes]
    if moved:
        raise RefMovedError(
            f"{moved[0]} at {destination.url} is not where it was put.",
            untouched="What was sent is kept.",
            hint="Somebody else works there. Run the command again: it tells whether the mirror still follows.",
        )
    lacking = destination.missing(_targets(plan.refs.values()))
    changed = [name for name, (slot, _) in plan.slots.changes.items() if slots.get(name) != slot]
    if destination.config() != plan.config or lacking or changed:
        raise IntegrityError(
            f"{destination.url} does not have what it took.",
            untouched="The source was not changed.",
            hint="Do not rely on that mirror. Run the command again, with --verify.",
        )
