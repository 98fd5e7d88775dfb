"""Sending what a remote lacks, then moving its refs: planned first, interrupted anywhere, continued by the next push."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import chain
from typing import Final

from mediavault.errors import DivergedError, NotFoundError, RefMovedError
from mediavault.formats.pack import MAX_PACK
from mediavault.model.ids import Link, ObjectId
from mediavault.progress import SILENT, Progress
from mediavault.refs.observed import Observed, check_observed
from mediavault.refs.ref_store import RefState, next_value
from mediavault.refs.signing import RefSigner
from mediavault.store.ancestry import is_ancestor, peel
from mediavault.store.assemble import PackSource, plan_packs
from mediavault.store.frames import FrameStore
from mediavault.store.reachability import collect
from mediavault.sync.remote import Remote
from mediavault.sync.survey import Survey, survey
from mediavault.sync.transfer import HighWater, Stop, run_several
from mediavault.wire.http import UnreachableError
from mediavault_backends.api import Buffer

PACK_BYTES: Final = 64 << 20
CONNECTIONS: Final = 3


class Lease(Enum):
    """What a push expects of a remote's ref."""

    ANYTHING = "anything"


ANYTHING: Final = Lease.ANYTHING
"""The ref may point anywhere, as long as the move loses nothing."""


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """A wish: let `name` point to `target` at the remote; None deletes it.

    `force` allows a move that loses commits. With `expected`, the ref must point there now (None: must not exist).
    `seen` says that it was there when the remote was last asked: a deletion that finds it gone was done by a push that
    was stopped, or by somebody else, and is no mistake.
    """

    name: str
    target: Link | None
    force: bool = False
    expected: Link | Lease | None = ANYTHING
    seen: bool = False


@dataclass(frozen=True, slots=True)
class RefMove:
    """A ref that moves or moved: from where, to where, and whether commits are lost that way."""

    name: str
    old: Link | None
    new: Link | None
    forced: bool


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What a push will send.

    `chunks` in the order of files, `nodes` (trees and manifests) children first, `history` (commits, then tags)
    parents first; `size` is the bytes of their frames. `unchanged` names refs that point there already.
    """

    survey: Survey
    moves: Sequence[RefMove]
    unchanged: Sequence[str]
    chunks: Sequence[ObjectId]
    nodes: Sequence[ObjectId]
    history: Sequence[ObjectId]
    size: int


@dataclass(frozen=True, slots=True)
class PushReport:
    """What a push did: refs moved, objects and packs sent, traffic, and what was seen of the remote's refs at its end."""

    moves: Sequence[RefMove]
    unchanged: Sequence[str]
    chunks: int
    objects: int
    packs: int
    bytes_sent: int
    requests: int
    observed: Mapping[str, Observed]


def plan_push(
    frames: FrameStore,
    remote: Remote,
    updates: Iterable[RefUpdate],
    *,
    repository: bytes,
    signer: RefSigner,
    observed: Mapping[str, Observed],
    nothing_there: bool = False,
) -> PushPlan:
    """Find out what the remote lacks; changes nothing. Takes about 100 bytes of memory for each object to send.

    Args:
        frames: the local store.
        remote: the other side.
        updates: what is wished.
        repository: the repository's id.
        signer: checks the MACs of the remote's refs.
        observed: what was seen of them before.
        nothing_there: there is no repository yet, so nothing is asked.

    Raises:
        DivergedError: a move that is not forced would lose commits.
        RefMovedError: a ref is not where an update expects it.
        NotFoundError: a ref to delete is not there.
        IntegrityError: the remote's refs are not authentic or went back, or a local object is missing.
    """
    seen = Survey({}, {}) if nothing_there else survey(remote, repository=repository, signer=signer, observed=observed)
    moves, unchanged = [], []
    for update in updates:
        move = _judge(frames, seen, update)
        if move is None:
            unchanged.append(update.name)
        else:
            moves.append(move)
    wants = [move.new for move in moves if move.new is not None]
    haves = [ref.target.id for ref in seen.refs.values() if ref.target is not None]
    reached = collect(frames, wants, haves)
    missing: Callable[[Iterable[ObjectId]], list[ObjectId]] = list if nothing_there else remote.missing
    metadata = set(chain(reached.nodes, reached.commits, reached.tags))
    absent = missing(chain(metadata, reached.chunks))
    lacking = metadata.intersection(absent)
    chunks = [oid for oid in absent if oid not in metadata]
    nodes = [oid for oid in reached.nodes if oid in lacking]
    history = [oid for oid in chain(reached.commits, reached.tags) if oid in lacking]
    size = sum(_stored_size(frames, oid) for oid in absent)
    return PushPlan(seen, moves, unchanged, chunks, nodes, history, size)


def run_push(
    plan: PushPlan,
    frames: FrameStore,
    remote: Remote,
    *,
    repository: bytes,
    plain: bool,
    signer: RefSigner,
    now: int,
    progress: Progress = SILENT,
    pack_size: int = PACK_BYTES,
    connections: int = CONNECTIONS,
) -> PushReport:
    """Send what `plan` found: chunks, several packs at once; then metadata, children first; at last the refs.

    Args:
        plan: what to send.
        frames: the local store.
        remote: the other side.
        repository: the repository's id.
        plain: whether it is plain.
        signer: makes the MACs of the refs' new values.
        now: seconds since 1970-01-01 UTC, stored in the refs' values.
        progress: is told of bytes.
        pack_size: target size of a pack, in bytes.
        connections: packs sent at once.

    Raises:
        RefMovedError: someone else moved a ref in the meantime; what was sent is there and needs not be sent again.
        RemoteError: the remote failed; the next push continues.
    """
    before = remote.traffic
    target = min(pack_size, remote.max_pack, MAX_PACK)
    pack = partial(plan_packs, frames, plain=plain, target=target)
    sent = Sender(remote, progress)
    if plan.size:
        progress.start(plan.size, "bytes", "Sending")
    try:
        run_several(sent.send, remote.ahead(pack(plan.chunks)), connections, remote.abort)
        for source in chain(pack(plan.nodes, ordered=True), pack(plan.history, ordered=True)):
            sent.send(source, Stop())
    finally:
        progress.done()
    observed = dict(plan.survey.observed)
    make = partial(next_value, repository, signer, time=now)
    for move in plan.moves:
        observed[move.name] = _move(remote, plan.survey, move, make)
    if not plan.moves:
        _confirm(remote, plan)
    after = remote.traffic
    return PushReport(
        moves=plan.moves,
        unchanged=plan.unchanged,
        chunks=len(plan.chunks),
        objects=len(plan.chunks) + len(plan.nodes) + len(plan.history),
        packs=sent.packs,
        bytes_sent=after.sent - before.sent,
        requests=after.requests - before.requests,
        observed=observed,
    )


def planned_packs(plan: PushPlan, frames: FrameStore, remote: Remote, *, plain: bool, pack_size: int) -> list[int]:
    """Return the sizes in bytes of the packs that a push of this plan sends, unless it is interrupted."""
    pack = partial(plan_packs, frames, plain=plain, target=min(pack_size, remote.max_pack, MAX_PACK))
    packs = chain(pack(plan.chunks), pack(plan.nodes, ordered=True), pack(plan.history, ordered=True))
    return [source.size for source in packs]


class Sender:
    """Sends packs, and counts them. Safe to use from several threads.

    Args:
        remote: where to.
        progress: told the bytes.
        pace: called with how many bytes are about to go; returns when they may.
    """

    def __init__(self, remote: Remote, progress: Progress, pace: Callable[[int], object] | None = None) -> None:
        self._remote = remote
        self._progress = progress
        self._pace = pace
        self._counts: list[int] = []

    @property
    def packs(self) -> int:
        """How many packs were sent whole."""
        return len(self._counts)

    @property
    def size(self) -> int:
        """Their bytes."""
        return sum(self._counts)

    def send(self, source: PackSource, stop: Stop) -> None:
        """Send a pack; after a try whose fate is unknown ask what is missing, and send that under a fresh name."""
        goal, failures = source.size, 0
        mark = HighWater(self._progress)
        while True:
            try:
                self._remote.put_pack(_Body(source, goal - source.size, mark, stop, self._pace))
                break
            except UnreachableError as error:
                stop.check()
                if failures >= self._remote.retries:
                    raise
                self._remote.wait(failures, error.retry_after)
            missing = self._remote.missing(row.id for row in source.rows)
            if not missing:
                break
            # A server keeps the whole chunks of an upload that broke off.
            failures = failures + 1 if len(missing) == len(source.rows) else 0
            source = source.only(missing)
        mark.at(goal)
        self._counts.append(goal)


class _Body:
    """A pack on its way: tells how far it is, and stops when asked."""

    def __init__(
        self,
        source: PackSource,
        position: int,
        mark: HighWater,
        stop: Stop,
        pace: Callable[[int], object] | None,
    ) -> None:
        self.id = source.id
        self.size = source.size
        self._position = position
        self._source = source
        self._mark = mark
        self._stop = stop
        self._pace = pace

    def blocks(self) -> Iterator[Buffer]:
        """Yield the pack."""
        position = self._position
        for block in self._source.blocks():
            self._stop.check()
            if self._pace is not None:
                self._pace(len(block))
            yield block
            position += len(block)
            self._mark.at(position)


def _judge(frames: FrameStore, seen: Survey, update: RefUpdate) -> RefMove | None:
    """Return the move that an update comes to; None when the ref is there already."""
    old = seen.target(update.name)
    if not isinstance(update.expected, Lease) and update.expected != old:
        raise RefMovedError(
            f"{_plain(update.name)} at the server was changed since you last fetched it.",
            untouched="Nothing was sent.",
            hint="`mediagit fetch` gets what is new; look at it, and decide again.",
        )
    if old == update.target:
        if update.target is None and not update.seen:
            kind, _, name = update.name.partition("/")
            raise NotFoundError(
                f"There is no {'tag' if kind == 'tags' else 'branch'} {name} at the server.",
                untouched="Nothing was changed.",
                hint="`mediagit fetch`, then `mediagit branch --all` and `mediagit tag`, show the names.",
            )
        return None
    loses = old is not None and update.target is not None and not _keeps(frames, update.name, old, update.target)
    if loses and not update.force:
        raise DivergedError(
            f"{_plain(update.name)} at the server has commits that are not here; this push would lose them.",
            untouched="Nothing was sent.",
            hint="`mediagit pull` brings them, then push again. To replace them: push with --force-with-lease.",
        )
    return RefMove(update.name, old, update.target, loses)


def _plain(name: str) -> str:
    """Return a ref's name as people know it: `main`, `the tag v1`."""
    kind, _, rest = name.partition("/")
    return f"the tag {rest}" if kind == "tags" else rest


def _keeps(frames: FrameStore, name: str, old: Link, new: Link) -> bool:
    """Tell whether a move loses nothing: a branch goes forward, a tag does not move at all."""
    if name.startswith("tags/") or frames.missing([old.id]):
        return False
    return is_ancestor(frames, peel(frames, old).id, peel(frames, new).id)


def _move(remote: Remote, seen: Survey, move: RefMove, make: Callable[[RefState, Link | None], bytes]) -> Observed:
    ref = seen.refs.get(move.name)
    state = RefState(move.name) if ref is None else RefState(move.name, ref.value, ref.value_bytes)
    value_bytes = make(state, move.new)
    remote.put_ref(value_bytes, None if ref is None else ref.etag, force=move.forced)
    observed = check_observed(move.name, seen.observed.get(move.name), value_bytes)
    assert observed is not None
    return observed


def _confirm(remote: Remote, plan: PushPlan) -> None:
    """Ask once more for a move that was made already, where there is no other to make.

    That a ref can be read where it was to go does not say that a push has succeeded: of two stores, the first may have it
    alone. The answer to a move comes only when all that was put there before is where it has to be.
    """
    there = next((ref for name in plan.unchanged if (ref := plan.survey.refs.get(name)) is not None), None)
    if there is not None:
        remote.put_ref(there.value_bytes, there.etag)


def _stored_size(frames: FrameStore, oid: ObjectId) -> int:
    place = frames.locate(oid)
    return 0 if place is None else place.length
