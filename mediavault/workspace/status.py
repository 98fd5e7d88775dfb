"""What differs between HEAD, the stage and the working tree; deciding what to do about it is for others."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from enum import StrEnum

import msgspec

from mediavault.errors import RepositoryBusyError, StorageError
from mediavault.model.ids import ObjectId
from mediavault.model.objects import Mode, TreeEntry
from mediavault.workspace.content import holds
from mediavault.workspace.ignore import IgnoreRules
from mediavault.workspace.layout import Layout
from mediavault.workspace.links import LINK_HINT, target_problem
from mediavault.workspace.long_paths import reach
from mediavault.workspace.packed_list import PackedList
from mediavault.workspace.paths import shown
from mediavault.workspace.scan import Problem, Scan, ScannedFile, lstat_file, unreadable
from mediavault.workspace.stage import Stage, StageRow, StampRow, same_content, trusted
from mediavault.workspace.trees import TreeReader, refuse_too_deep, tree_files


class ChangeKind(StrEnum):
    """What happened to a path."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"


class Change(msgspec.Struct, frozen=True, gc=False):
    """A path that the next commit changes."""

    path: str
    kind: ChangeKind


class StatusReport(msgspec.Struct, frozen=True):
    """Paths, each list in path order.

    Attributes:
        staged: HEAD and the stage differ.
        modified: the stage and the working file differ.
        deleted: staged, and no working file is there.
        untracked: neither staged nor ignored.
        problems: what cannot be versioned.
    """

    staged: list[Change]
    modified: list[str]
    deleted: list[str]
    untracked: list[str]
    problems: list[Problem]

    @property
    def clean(self) -> bool:
        """Whether nothing would be lost if the working tree became HEAD's; untracked files aside."""
        return not (self.staged or self.modified or self.deleted)


class WorkingChanges(msgspec.Struct, frozen=True):
    """How the working tree differs from the stage; `refreshed` are rows whose stamps were renewed."""

    modified: list[ScannedFile]
    deleted: list[str]
    untracked: list[ScannedFile]
    refreshed: PackedList[StageRow]
    problems: list[Problem]


def compare(
    layout: Layout,
    stage: Stage,
    reader: Callable[[], TreeReader],
    head_tree: ObjectId | None,
    rules: IgnoreRules,
    *,
    paths: tuple[str, ...] = (),
) -> StatusReport:
    """Compare HEAD, the stage and the working tree; renews the stamps of files that had to be read.

    Args:
        layout: the checkout.
        stage: its stage.
        reader: gives what reads trees; called only where the stage differs from HEAD.
        head_tree: the tree of the checked-out commit, None before the first.
        rules: what to ignore.
        paths: files and folders to look at; empty for everything.

    Raises:
        ConfigError: an ignore file is not usable.
        IntegrityError: HEAD's trees are damaged.
    """
    working = working_changes(layout, stage, rules, paths)
    if len(working.refreshed):
        with suppress(RepositoryBusyError, StorageError):  # it only saves reading the same files the next time
            stage.refresh_many(working.refreshed)
    staged = [change for change in staged_changes(stage, reader, head_tree) if _selected(change.path, paths)]
    return StatusReport(
        staged,
        [file.path for file in working.modified],
        working.deleted,
        [file.path for file in working.untracked],
        working.problems,
    )


def working_changes(layout: Layout, stage: Stage, rules: IgnoreRules, paths: tuple[str, ...] = ()) -> WorkingChanges:
    """Compare the stage and the working tree: by stamps, and by content where a stamp proves nothing.

    Raises:
        ConfigError: an ignore file is not usable.
    """
    comparison = _WorkingComparison(layout, stage)
    scan = Scan(layout.root, rules, paths)
    comparison.meet(_stamps_of(stage, paths), scan)
    found = comparison.result()
    problems_of_tracked = {shown(file.path) for file in found.modified}
    found.problems.extend(problem for problem in scan.problems if problem.path not in problems_of_tracked)
    refused = [problem for file in found.untracked if (problem := _link_problem(layout, file))]
    if refused:
        found.problems.extend(refused)
        paths_refused = {problem.path for problem in refused}
        found.untracked[:] = [file for file in found.untracked if shown(file.path) not in paths_refused]
    found.problems.sort(key=lambda problem: problem.path)
    return found


def _link_problem(layout: Layout, file: ScannedFile) -> Problem | None:
    """Return why an untracked link could not be added."""
    if file.mode is not Mode.SYMLINK:
        return None
    try:
        text = reach(lambda name, folder: os.readlink(name, dir_fd=folder), layout.root, file.path)
    except OSError:  # gone or replaced since
        return None
    reason = target_problem(file.path, text)
    return Problem(shown(file.path), reason, LINK_HINT) if reason else None


class _WorkingComparison:
    """Compares staged paths with working files: first all stamps, then the content of what no stamp vouches for."""

    def __init__(self, layout: Layout, stage: Stage) -> None:
        self._layout = layout
        self._stage = stage
        self._found = WorkingChanges([], [], [], PackedList(StageRow), [])
        self._doubtful = PackedList(ScannedFile)

    def meet(self, rows: Iterator[StampRow], files: Iterable[ScannedFile]) -> None:
        """Go through both in path order."""
        row = next(rows, None)
        untracked = self._found.untracked
        for file in files:
            while row is not None and row.path < file.path:
                self._unseen(row)
                row = next(rows, None)
            if row is None or row.path != file.path:
                untracked.append(file)
                continue
            if not trusted(row, file):
                self._doubtful.append(file)
            row = next(rows, None)
        while row is not None:
            self._unseen(row)
            row = next(rows, None)

    def _unseen(self, row: StampRow) -> None:
        """Look for a file that the scan did not meet: it is gone, or ignored though tracked."""
        file = lstat_file(self._layout.root, row.path)
        if file is None:
            self._found.deleted.append(row.path)
        elif not trusted(row, file):
            self._doubtful.append(file)

    def result(self) -> WorkingChanges:
        """Decide about the doubtful files, with nothing of the stage held open."""
        # The clock is read once, before the first file is: an earlier time only makes trust harder to earn.
        checked_ns = self._layout.clock_ns() if len(self._doubtful) else 0
        for file in self._doubtful:
            row = self._stage.get(file.path)
            if row is not None and self._same(row, file):
                self._found.refreshed.append(row.stamped(file, checked_ns))
            else:
                self._found.modified.append(file)
        return self._found

    def _same(self, row: StageRow, file: ScannedFile) -> bool:
        try:
            return reach(
                lambda name, folder: holds(row, name, file.mode, file.size, dir_fd=folder),
                self._layout.root,
                file.path,
            )
        except OSError as error:
            self._found.problems.append(unreadable(file.path, error))
            return False


def _stamps_of(stage: Stage, paths: tuple[str, ...]) -> Iterator[StampRow]:
    if not paths or "" in paths:
        return stage.stamps()
    rows = {row.path: row for path in paths for row in stage.under(path)}
    return iter([_stamp_of(rows[path]) for path in sorted(rows)])


def _stamp_of(row: StageRow) -> StampRow:
    return StampRow(row.path, row.mode, row.size, row.mtime_ns, row.ctime_ns, row.inode, row.checked_ns)


def _selected(path: str, paths: tuple[str, ...]) -> bool:
    return not paths or any(not wanted or path == wanted or path.startswith(wanted + "/") for wanted in paths)


def staged_changes(stage: Stage, reader: Callable[[], TreeReader], head_tree: ObjectId | None) -> list[Change]:
    """Compare HEAD's tree with the stage, in path order; folders whose remembered tree is HEAD's are not read."""
    if head_tree is None:
        return [Change(row.path, ChangeKind.ADDED) for row in stage.all()]
    remembered = stage.cached_trees()
    if remembered.get("") == head_tree:
        return []
    comparison = _Comparison(stage, reader(), remembered)
    comparison.folder("", head_tree)
    return sorted(comparison.changes, key=lambda change: change.path)


class _Comparison:
    """Compares trees with the stage, folder by folder."""

    def __init__(self, stage: Stage, trees: TreeReader, remembered: dict[str, ObjectId]) -> None:
        self._stage = stage
        self._trees = trees
        self._remembered = remembered
        self.changes: list[Change] = []

    def folder(self, folder: str, tree: ObjectId) -> None:
        """Add what differs inside a folder that both sides have."""
        if self._remembered.get(folder) == tree:
            return
        refuse_too_deep(folder)
        prefix = f"{folder}/" if folder else ""
        staged = self._stage.children(folder)
        new_folders = set(staged.folders)
        for entry in self._trees.tree(tree):
            path = prefix + entry.name
            row = staged.rows.pop(entry.name, None)
            if entry.mode is not Mode.TREE:
                self._file(path, row, entry)
                continue
            if row is not None:
                self.changes.append(Change(path, ChangeKind.ADDED))
            assert entry.child is not None
            if entry.name in new_folders:
                new_folders.remove(entry.name)
                self.folder(path, entry.child.id)
            else:
                below = tree_files(self._trees, entry.child.id)
                self.changes.extend(Change(f"{path}/{inner}", ChangeKind.DELETED) for inner, _ in below)
        self.changes.extend(Change(row.path, ChangeKind.ADDED) for row in staged.rows.values())
        for name in new_folders:
            inside = self._stage.between(f"{prefix}{name}/", f"{prefix}{name}0")
            self.changes.extend(Change(row.path, ChangeKind.ADDED) for row in inside)

    def _file(self, path: str, row: StageRow | None, entry: TreeEntry) -> None:
        if row is None:
            self.changes.append(Change(path, ChangeKind.DELETED))
        elif not same_content(row, entry):
            self.changes.append(Change(path, ChangeKind.MODIFIED))
