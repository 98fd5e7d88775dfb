"""Brings back files from the stage or a commit, into the working tree, the stage, or both."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from mediavault.errors import NeedsDecisionError, NotFoundError
from mediavault.model.ids import ObjectId
from mediavault.model.objects import Mode, TreeEntry
from mediavault.ops.repository import Repository
from mediavault.progress import Progress
from mediavault.workspace.collisions import NameWatch
from mediavault.workspace.materialise import CheckoutPlan, Intent, plan_restore, plan_restore_staged, run_checkout
from mediavault.workspace.paths import is_under, shown, without_nested
from mediavault.workspace.stage import Stage, StageRow, row_of_entry, same_content


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What to bring back: working files by `checkout`; rows to stage and to take out of the stage where only that is asked."""

    checkout: CheckoutPlan | None
    rows: Sequence[StageRow]
    unstaged: Sequence[str]
    paths: Sequence[str]


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was brought back: counts of files. `left` changed meanwhile and were left alone."""

    written: int
    deleted: int
    staged: int
    left: Sequence[str]


def plan_paths(
    repository: Repository,
    stage: Stage,
    paths: Sequence[str],
    *,
    source: ObjectId | None,
    staged: bool,
    worktree: bool,
) -> RestorePlan:
    """Find what to write and what to remove.

    Args:
        repository: where.
        stage: its stage.
        paths: files and folders, relative to the root.
        source: the commit to take from; None takes working files from the stage, and the stage from HEAD.
        staged: change the stage.
        worktree: change working files.

    Raises:
        NotFoundError: a path is neither in the source nor in the stage.
        NeedsDecisionError: what would be staged has names that collide.
    """
    paths = without_nested(paths)
    if not (staged or source):
        return RestorePlan(plan_restore_staged(repository.layout, stage, _staged_rows(stage, paths)), [], [], paths)
    commit = source or (repository.head_commit() if staged else None)
    wanted = dict(_from_commit(repository, commit, paths))
    tracked = [row.path for path in paths for row in stage.under(path)]
    _refuse_unknown(paths, [*wanted, *tracked])
    unwanted = [path for path in tracked if path not in wanted]
    if staged:
        _refuse_collisions(stage, paths, wanted, unwanted)
    if worktree:
        plan = plan_restore(
            repository.layout,
            stage,
            sorted(wanted.items(), key=lambda item: item[0].encode()),
            unwanted,
            keep_stage=not staged,
        )
        return RestorePlan(plan, [], [], paths)
    rows = [row_of_entry(path, entry) for path, entry in wanted.items() if not _is_staged(stage, path, entry)]
    return RestorePlan(None, rows, unwanted, paths)


def _refuse_collisions(stage: Stage, roots: Sequence[str], wanted: Iterable[str], unwanted: Sequence[str]) -> None:
    watch = NameWatch(roots)
    for path in sorted(wanted):
        watch.see(path)
    for collision in watch.refused(stage, unwanted):
        raise NeedsDecisionError(
            f"{shown(collision.first)} and {shown(collision.second)} are one name on many file systems.",
            untouched="Nothing was changed.",
            hint="Rename the one that is there with `mediagit mv`, or leave out --staged and rename the other.",
        )


def _is_staged(stage: Stage, path: str, entry: TreeEntry) -> bool:
    row = stage.get(path)
    return row is not None and same_content(row, entry)


def _from_commit(
    repository: Repository, commit: ObjectId | None, paths: Iterable[str]
) -> Iterator[tuple[str, TreeEntry]]:
    if commit is None:
        return
    tree = repository.tree_of(commit)
    for path in paths:
        entry = repository.reader.tree_entry(tree, path) if path else None
        if path and entry is None:
            continue
        if entry is not None and entry.mode is not Mode.TREE:
            yield path, entry
            continue
        root = entry.child.id if entry and entry.child else tree
        prefix = f"{path}/" if path else ""
        for inner, found in repository.reader.walk_tree(root):
            yield prefix + inner, found


def _staged_rows(stage: Stage, paths: Sequence[str]) -> Iterator[StageRow]:
    """Yield what is staged of paths, in path order: of one path row by row, of several all are held."""
    found = [stage.under(path) for path in paths]
    for number, path in enumerate(paths):
        first = next(found[number], None)
        if first is None and path:
            raise _unknown(path, "was added")
        found[number] = chain(() if first is None else (first,), found[number])
    yield from found[0] if len(found) == 1 else sorted(chain(*found), key=lambda row: row.path.encode())


def _refuse_unknown(paths: Sequence[str], known: Sequence[str]) -> None:
    for path in paths:
        if path and not any(is_under(found, path) for found in known):
            raise _unknown(path, "is in that commit")


def _unknown(path: str, where: str) -> NotFoundError:
    return NotFoundError(
        f"Nothing called {shown(path)} {where}.",
        untouched="Nothing was changed.",
        hint="`mediagit ls` lists what a commit holds.",
    )


def run_restore(repository: Repository, stage: Stage, plan: RestorePlan, progress: Progress) -> RestoreReport:
    """Carry out the plan. The caller holds the lock.

    Raises:
        WouldOverwriteError: files that were never added are in the way.
        StorageError: the disk is full or failed.
        IntegrityError: content is missing or damaged.
    """
    if plan.checkout is None:
        with stage.transaction():
            stage.put_many(plan.rows)
            stage.remove_many(plan.unstaged)
        return RestoreReport(0, 0, len(plan.rows) + len(plan.unstaged), ())
    progress.start(plan.checkout.total, "bytes", "Writing files")
    try:
        report = run_checkout(
            plan.checkout,
            repository.layout,
            stage,
            repository.reader,
            Intent("restore"),
            progress=progress.advance,
        )
    finally:
        progress.done()
    return RestoreReport(report.written, report.deleted, 0, report.left)
