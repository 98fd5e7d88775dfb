"""Removes files from the project: from the stage, and from the working tree where nothing would be lost."""

from collections.abc import Sequence
from dataclasses import dataclass

from mediavault.errors import NotFoundError, UsageError, WouldOverwriteError
from mediavault.ops.repository import Repository
from mediavault.workspace.ignore import IgnoreRules
from mediavault.workspace.materialise import CheckoutPlan, Intent, plan_restore, run_checkout
from mediavault.workspace.paths import shown, without_nested
from mediavault.workspace.stage import Stage
from mediavault.workspace.status import ChangeKind, compare


@dataclass(frozen=True, slots=True)
class RemovePlan:
    """What to remove: tracked paths, and the working files among them (None: those stay)."""

    paths: Sequence[str]
    checkout: CheckoutPlan | None


@dataclass(frozen=True, slots=True)
class RemoveReport:
    """What was removed. `left` changed meanwhile and were left alone."""

    paths: Sequence[str]
    left: Sequence[str]


def plan_remove(
    repository: Repository,
    stage: Stage,
    paths: Sequence[str],
    *,
    recursive: bool = False,
    cached: bool = False,
    force: bool = False,
) -> RemovePlan:
    """Find what to remove.

    Args:
        repository: where.
        stage: its stage.
        paths: files and folders, relative to the root.
        recursive: folders may be named.
        cached: keep the working files.
        force: remove changed files too.

    Raises:
        NotFoundError: a path is not tracked.
        UsageError: a folder was named without `recursive`.
        WouldOverwriteError: a file has changes that no commit holds.
    """
    tracked: list[str] = []
    for path in without_nested(paths):
        rows = [row.path for row in stage.under(path)]
        if not rows:
            raise NotFoundError(
                f"{shown(path)} is not part of the project.",
                untouched="Nothing was removed.",
                hint="`mediagit ls` lists what is. Other files you can simply delete.",
            )
        if rows != [path] and not recursive:
            raise UsageError(
                f"{shown(path) or '.'} is a folder with {len(rows)} files.",
                untouched="Nothing was removed.",
                hint=f"mediagit rm -r {shown(path) or '.'}",
            )
        tracked += rows
    if not force:
        _refuse_unsaved(repository, stage, tuple(paths), cached=cached)
    if cached:
        return RemovePlan(tracked, None)
    return RemovePlan(tracked, plan_restore(repository.layout, stage, (), tracked))


def _refuse_unsaved(repository: Repository, stage: Stage, paths: tuple[str, ...], *, cached: bool) -> None:
    commit = repository.head_commit()
    tree = repository.tree_of(commit) if commit else None
    rules = IgnoreRules(repository.layout.root)
    report = compare(repository.layout, stage, lambda: repository.reader, tree, rules, paths=paths)
    staged = {change.path for change in report.staged if change.kind is not ChangeKind.DELETED}
    unsaved = staged & set(report.modified) if cached else staged | set(report.modified)
    if unsaved:
        raise WouldOverwriteError(
            sorted(unsaved),
            untouched="Nothing was removed.",
            hint="Commit it first, keep the file with `mediagit rm --cached`, or remove it for good with `mediagit rm -f`.",
        )


def run_remove(repository: Repository, stage: Stage, plan: RemovePlan) -> RemoveReport:
    """Carry out the plan. The caller holds the lock."""
    if plan.checkout is None:
        stage.remove_many(plan.paths)
        return RemoveReport(plan.paths, ())
    report = run_checkout(plan.checkout, repository.layout, stage, repository.reader, Intent("rm"))
    return RemoveReport(plan.paths, report.left)
