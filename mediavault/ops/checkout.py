"""Brings working files, stage, HEAD and branch from one commit to another, so that a crash leaves one or the other."""

import os
from collections.abc import Callable, Mapping

from mediavault.errors import RefMovedError, WouldOverwriteError
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.ops.repository import Repository
from mediavault.progress import Progress
from mediavault.workspace.materialise import (
    NOTHING_WRITTEN,
    CheckoutPlan,
    CheckoutReport,
    Intent,
    plan_checkout,
    run_checkout,
)
from mediavault.workspace.stage import Stage

KEEP = "Commit it (`mediagit add .`, `mediagit commit`), or give it up with `mediagit restore PATH`."


def plan_move(
    repository: Repository, stage: Stage, target: ObjectId | None, *, base: ObjectId | None, force: bool = False
) -> CheckoutPlan:
    """Plan to go from one commit to another.

    Args:
        repository: where.
        stage: its stage.
        target: the commit to go to; None for an empty project.
        base: the commit that is checked out; None before the first.
        force: give up what was changed and not committed.

    Raises:
        WouldOverwriteError: uncommitted work is in the way.
        NeedsDecisionError: names in the target collide on some systems.
        IntegrityError: the target holds what no checkout may make.
    """
    plan = plan_checkout(
        repository.layout,
        stage,
        repository.reader,
        base=repository.tree_of(base) if base else None,
        target=repository.tree_of(target) if target else None,
        force=force,
    )
    if plan.conflicts:
        raise WouldOverwriteError(plan.conflicts, hint=KEEP)
    return plan


def run_move(
    repository: Repository,
    stage: Stage,
    plan: CheckoutPlan,
    intent: Intent,
    *,
    now: int,
    progress: Progress,
    written: Mapping[int, os.stat_result] = NOTHING_WRITTEN,
) -> CheckoutReport:
    """Carry out a plan. The caller holds the repository's lock.

    Args:
        repository: where.
        stage: its stage.
        plan: what to do.
        intent: what HEAD and ref become.
        now: seconds since 1970-01-01 UTC.
        progress: told of the bytes that are written.
        written: see `mediavault.workspace.materialise.run_checkout`.

    Raises:
        StorageError: the disk is full or failed.
        IntegrityError: content is missing or damaged.
    """
    progress.start(plan.total, "bytes", "Writing files")
    try:
        return run_checkout(
            plan,
            repository.layout,
            stage,
            repository.reader,
            intent,
            finish=mover(repository, now),
            progress=progress.advance,
            written=written,
        )
    finally:
        progress.done()


def mover(repository: Repository, now: int) -> Callable[[Intent], None]:
    """Return what moves an intent's ref; calling it again after a crash does no harm."""

    def move(intent: Intent) -> None:
        state = repository.refs.read(intent.ref)
        at = state.target.id if state.target else b""
        if at == intent.ref_to:
            return
        if at != intent.ref_from:
            raise RefMovedError(
                f"{intent.ref} was moved while its files were brought up to date.",
                untouched="It was left where it is.",
                hint="`mediagit status` shows what differs now.",
            )
        repository.refs.move(state, Link(Kind.COMMIT, intent.ref_to), now)

    return move
