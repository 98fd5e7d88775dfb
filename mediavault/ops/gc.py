"""Removes stored objects that nothing leads to any more from a checkout's own store."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from mediavault.errors import IntegrityError, NeedsDecisionError
from mediavault.formats.ref import RefValue
from mediavault.model.ids import Link, ObjectId
from mediavault.ops.clone import is_unfinished_clone
from mediavault.ops.contents import tips
from mediavault.ops.repository import Repository
from mediavault.progress import Progress
from mediavault.store.collect import CollectionPlan, Needs, plan_collection, run_collection
from mediavault.store.keys import PACKS, named_by
from mediavault.store.salvage import unsettled_packs
from mediavault.workspace.stage import Stage

_DAY: Final = 24 * 3600
_UNTOUCHED: Final = "Nothing was removed."


@dataclass(frozen=True, slots=True)
class GcPlan:
    """What a gc will do: to the packs, and which former values of refs it forgets."""

    collection: CollectionPlan
    forgotten: Sequence[RefValue]
    remembered: int
    keep_days: int
    grace_days: int


@dataclass(frozen=True, slots=True)
class GcReport:
    """What a gc did, or would do.

    Attributes:
        done: whether it did it.
        bytes_freed: bytes of packs that went, less those of new ones; in a dry run about that.
        packs_deleted: packs that held nothing needed.
        packs_rewritten: packs of which the needed part was copied to new packs.
        packs_kept: those that stay as they are.
        objects_kept: everything that something leads to.
        objects_removed: in packs that went.
        states_forgotten: former values of branches and tags that can no longer be returned to.
        states_kept: those that still can.
        bytes_kept: all packs afterwards.
        bytes_former: of these, what only former states need.
        bytes_young: of these, what nothing needs, but is younger than the days of grace.
        bytes_waste: of these, what nothing needs, in packs of which most is needed.
        keep_days: how long former states are kept.
        grace_days: how long what is new is kept.
    """

    done: bool
    bytes_freed: int
    packs_deleted: int
    packs_rewritten: int
    packs_kept: int
    objects_kept: int
    objects_removed: int
    states_forgotten: int
    states_kept: int
    bytes_kept: int
    bytes_former: int
    bytes_young: int
    bytes_waste: int
    keep_days: int
    grace_days: int


def plan_gc(
    repository: Repository, stage: Stage, now_ns: int, progress: Progress, *, keep_days: int, grace_days: int
) -> GcPlan:
    """Find out what is needed and what is not; nothing is changed.

    Args:
        repository: whose store; the caller keeps every other verb out of it until the gc is done.
        stage: what was added and not committed is needed too.
        now_ns: the time, in ns since 1970-01-01 UTC.
        progress: told of objects that were followed.
        keep_days: a value that a branch or tag had is needed for so many days after it changed.
        grace_days: a pack is kept whole until it is so many days old; 0 for none.

    Raises:
        NeedsDecisionError: an interrupted clone is to be finished first.
        IntegrityError: something that is needed is missing or damaged.
    """
    if is_unfinished_clone(repository.layout):
        raise NeedsDecisionError(
            "This clone is not finished: what it received so far would count as not needed.",
            untouched=_UNTOUCHED,
            hint="Run the same `mediagit clone` again, which continues it.",
        )
    progress.start(None, "objects", "Looking for what is needed")
    try:
        limit = now_ns // 1_000_000_000 - keep_days * _DAY if keep_days else None
        remembered, forgotten = _former(repository, limit)
        needs = Needs(
            current=tips(repository),
            staged=_staged(stage),
            former=[value.target for value in remembered if value.target is not None],
            young=_young(repository, now_ns - grace_days * _DAY * 1_000_000_000) if grace_days else frozenset(),
            pending=unsettled_packs(repository.spool),
        )
        collection = plan_collection(repository.frames, needs, progress.advance)
    except IntegrityError as error:
        raise _refused(error) from error
    finally:
        progress.done()
    states = sum(value.target is not None for value in remembered)
    return GcPlan(collection, forgotten, states, keep_days, grace_days)


def run_gc(repository: Repository, plan: GcPlan, progress: Progress) -> GcReport:
    """Carry out a plan. Stopped anywhere, nothing that is needed is lost, and the next gc finishes.

    Raises:
        IntegrityError: something that is needed is missing or damaged; nothing was removed.
        StorageError: the disk is full; nothing was removed.
    """
    collection = plan.collection

    def forget() -> None:
        # Before their objects go: a later gc that keeps more days must not look for them.
        for value in plan.forgotten:
            repository.refs.forget(value)

    progress.start(collection.bytes_copied or None, "bytes", "Copying what is needed")
    try:
        with repository.writer() as writer:
            copied = run_collection(repository.frames, collection, writer, copied=progress.advance, settled=forget)
    except IntegrityError as error:
        raise _refused(error) from error
    finally:
        progress.done()
    repository.tidy()
    return report_of(plan, copied)


def report_of(plan: GcPlan, copied: int | None = None) -> GcReport:
    """Return what a gc did that wrote new packs of `copied` bytes; without them, what it would do."""
    collection = plan.collection
    new = collection.bytes_copied if copied is None else copied
    kept = [use for pack, use in collection.packs.items() if pack not in collection.gone]
    moved = [collection.packs[pack] for pack in collection.rewritten]
    return GcReport(
        done=copied is not None,
        bytes_freed=collection.bytes_removed - new,
        packs_deleted=len(collection.deleted),
        packs_rewritten=len(collection.rewritten),
        packs_kept=len(kept),
        objects_kept=collection.objects,
        objects_removed=collection.stray,
        states_forgotten=sum(value.target is not None for value in plan.forgotten),
        states_kept=plan.remembered,
        bytes_kept=sum(use.size for use in kept) + new,
        bytes_former=sum(use.former for use in (*kept, *moved)),
        bytes_young=sum(use.young for use in (*kept, *moved)),
        bytes_waste=sum(use.waste for use in kept),
        keep_days=plan.keep_days,
        grace_days=plan.grace_days,
    )


def _former(repository: Repository, limit: int | None) -> tuple[list[RefValue], list[RefValue]]:
    """Return the former values of all refs: those that were replaced after `limit`, in seconds, and the others.

    Without a limit all are others, whatever a clock said when they were written.
    """
    remembered: list[RefValue] = []
    forgotten: list[RefValue] = []
    for state in repository.refs.list():
        values = list(repository.refs.log(state.name))
        if state.value is None:
            continue  # a ref without a value never had another one
        for value, successor in pairwise([*values, state.value]):
            (remembered if limit is not None and successor.time > limit else forgotten).append(value)
    return remembered, forgotten


def _staged(stage: Stage) -> Iterator[Link]:
    for row in stage.all():
        if row.child is not None:
            yield row.child


def _young(repository: Repository, limit_ns: int) -> frozenset[ObjectId]:
    """Return the packs that were made after `limit_ns`."""
    young = set()
    for stat in repository.backend.scan(PACKS):
        pack = named_by(stat.key)
        if pack is not None and (repository.layout.store / stat.key).stat().st_mtime_ns > limit_ns:
            young.add(pack)
    return frozenset(young)


def _refused(error: IntegrityError) -> IntegrityError:
    return IntegrityError(
        f"Something that is needed is damaged, so nothing can be called superfluous: {error.message}",
        untouched=_UNTOUCHED,
        hint="`mediagit verify` lists what is damaged. Mend that first: a server or another clone may have it whole.",
    )
