"""Changes to another branch, or to a commit without one."""

from collections.abc import Sequence
from dataclasses import dataclass

from mediavault.errors import NotFoundError, UsageError
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.names import check_ref_name
from mediavault.ops.checkout import plan_move, run_move
from mediavault.ops.repository import Repository
from mediavault.ops.revisions import resolve
from mediavault.ops.settings import change_settings
from mediavault.progress import Progress
from mediavault.workspace.layout import Head
from mediavault.workspace.materialise import CheckoutPlan, Intent
from mediavault.workspace.stage import Stage


@dataclass(frozen=True, slots=True)
class SwitchPlan:
    """Where to go: HEAD afterwards, the commit, a branch to be made there, and what it is to follow."""

    head: Head
    commit: ObjectId | None
    create: bool
    follow: tuple[str, str] | None
    checkout: CheckoutPlan | None


@dataclass(frozen=True, slots=True)
class SwitchReport:
    """Where the checkout is now, and how many files changed. `left` changed meanwhile and were left alone."""

    branch: str | None
    commit: ObjectId | None
    created: bool
    follow: tuple[str, str] | None
    written: int
    deleted: int
    left: Sequence[str]


def plan_switch(
    repository: Repository,
    stage: Stage,
    name: str,
    *,
    create: bool = False,
    start: str | None = None,
    detach: bool = False,
    discard: bool = False,
) -> SwitchPlan:
    """Find where to go, and what that means for the working files.

    Args:
        repository: where.
        stage: its stage.
        name: a branch; with `detach` any revision.
        create: make the branch.
        start: where a new branch begins; None for HEAD.
        detach: check out a commit without a branch.
        discard: give up uncommitted changes.

    Raises:
        NotFoundError: there is no such branch.
        UsageError: a branch to be made exists, or cannot have this name.
        WouldOverwriteError: uncommitted work is in the way.
    """
    base = repository.head_commit()
    follow = None
    if detach:
        commit: ObjectId | None = resolve(repository, name).commit
        head = Head(None, commit)
    elif create:
        commit = _start_of_new(repository, name, start, base)
        head = Head(name)
    else:
        commit, follow = _existing(repository, name)
        head, create = Head(name), follow is not None
    if commit == base and not discard:
        return SwitchPlan(head, commit, create, follow, None)
    checkout = plan_move(repository, stage, commit, base=base, force=discard)
    return SwitchPlan(head, commit, create, follow, checkout)


def _start_of_new(repository: Repository, name: str, start: str | None, base: ObjectId | None) -> ObjectId | None:
    check_ref_name(f"heads/{name}")
    if name == "HEAD":
        raise UsageError("A branch cannot be called HEAD.", untouched="Nothing was changed.")
    state = repository.refs.read(f"heads/{name}")
    unused = state.target is None or (repository.refs.just_made(state) and repository.layout.read_head().branch != name)
    commit = (resolve(repository, start).commit if start else base) if unused else None
    # One that stands there and was never used is what a switch that was stopped has left: it is finished.
    if not unused or (state.target is not None and state.target.id != commit):
        raise UsageError(
            f"There is a branch {name} already.", untouched="Nothing was changed.", hint=f"mediagit switch {name}"
        )
    return commit


def _existing(repository: Repository, name: str) -> tuple[ObjectId | None, tuple[str, str] | None]:
    check_ref_name(f"heads/{name}")
    target = repository.refs.read(f"heads/{name}").target
    if target is not None:
        return target.id, None
    if repository.layout.read_head().branch == name:
        return None, None
    remotes = [
        (remote, found.id)
        for remote in sorted(repository.settings.remote)
        if (found := repository.refs.read(f"remotes/{remote}/{name}").target) is not None
    ]
    if len(remotes) == 1:
        remote, commit = remotes[0]
        return commit, (remote, name)
    if remotes:
        raise UsageError(
            f"Several remotes have a branch {name}.",
            untouched="Nothing was changed.",
            hint=f"mediagit switch -c {name} {remotes[0][0]}/{name}",
        )
    raise NotFoundError(
        f"There is no branch {name}.",
        untouched="Nothing was changed.",
        hint=f"`mediagit switch -c {name}` makes it; `mediagit branch` lists what there is.",
    )


def run_switch(repository: Repository, stage: Stage, plan: SwitchPlan, now: int, progress: Progress) -> SwitchReport:
    """Make the branch where that is asked for, then change files, stage and HEAD. The caller holds the lock.

    Raises:
        StorageError: the disk is full or failed.
        IntegrityError: content is missing or damaged.
    """
    layout = repository.layout
    if plan.follow:  # before the branch: stopped in between, the next try finds none and does both
        remote, merge = plan.follow
        branch = plan.head.branch
        change_settings(layout.settings_file, {f"branch.{branch}.remote": remote, f"branch.{branch}.merge": merge})
    if plan.create and plan.commit is not None:
        state = repository.refs.read(f"heads/{plan.head.branch}")
        if state.target is None:
            repository.refs.move(state, Link(Kind.COMMIT, plan.commit), now)
    written = deleted = 0
    left: Sequence[str] = ()
    if plan.checkout is None:
        layout.write_head(branch=plan.head.branch, commit=plan.head.commit)
    else:
        place = plan.head.branch or (plan.commit or b"").hex()[:12]
        intent = Intent(f"switch to {place}", plan.head)
        report = run_move(repository, stage, plan.checkout, intent, now=now, progress=progress)
        written, deleted, left = report.written, report.deleted, report.left
    return SwitchReport(plan.head.branch, plan.commit, plan.create, plan.follow, written, deleted, left)
