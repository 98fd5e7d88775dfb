"""What differs between commits, the stage and the working files: per file its size, and the chunks that are new."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from blake3 import blake3

from mediavault.errors import UsageError
from mediavault.history.diff import ChunkDiff, FileDiff, compare_chunks, diff_trees, file_diff, with_renames
from mediavault.history.merge_base import merge_bases
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.objects import ManifestEntry, Mode, TreeEntry
from mediavault.ops.outline import outline
from mediavault.ops.repository import Repository
from mediavault.ops.revisions import resolver
from mediavault.progress import Progress
from mediavault.workspace.content import same_bytes
from mediavault.workspace.ignore import IgnoreRules
from mediavault.workspace.long_paths import reach
from mediavault.workspace.paths import is_under
from mediavault.workspace.scan import Problem, ScannedFile
from mediavault.workspace.stage import Stage
from mediavault.workspace.status import staged_changes, working_changes

WORKING = "working files"
STAGED = "next commit"


@dataclass(frozen=True, slots=True)
class MeasuredDiff:
    """A file that differs, and how much of its new content its old content has."""

    file: FileDiff
    chunks: ChunkDiff


@dataclass(frozen=True, slots=True)
class DiffReport:
    """What differs.

    Attributes:
        old: what the older side is called.
        new: what the newer side is called.
        files: in path order.
        untracked: how many files were never added; they are not compared.
        problems: what cannot be versioned.
        working: the working files that stand behind links to nothing stored.
    """

    old: str
    new: str
    files: Sequence[MeasuredDiff]
    untracked: int = 0
    problems: Sequence[Problem] = ()
    working: Mapping[Link, ScannedFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DiffPlan:
    """The two sides of a comparison: commits (None: nothing was committed yet), the stage, or the working files."""

    old: str
    new: str
    old_commit: ObjectId | None = None
    new_commit: ObjectId | None = None


def plan_diff(repository: Repository, revisions: Sequence[str], *, staged: bool = False) -> DiffPlan:
    """Find which two states are meant.

    Args:
        repository: whose states.
        revisions: none for the stage, one commit, two, `A..B`, or `A...B` for B since it left A.
        staged: compare the stage instead of the working files.

    Raises:
        UsageError: too many revisions, or revisions that do not go with `staged`.
        NotFoundError: a revision names nothing.
    """
    find = resolver(repository)
    first, dots, last = revisions[0].partition("..") if len(revisions) == 1 else ("", "", "")
    if len(revisions) > 2 or (staged and (dots or len(revisions) > 1)):
        raise UsageError(
            "A comparison has two sides.", untouched="Nothing was compared.", hint="`mediagit diff --help` shows them."
        )
    if dots:
        since_split, last = last.startswith("."), last.removeprefix(".")
        old, new = find.resolve(first or "HEAD").commit, find.resolve(last or "HEAD").commit
        if since_split:
            bases = merge_bases(repository.reader, old, new)
            name = f"where {last or 'HEAD'} left {first or 'HEAD'}"
            return DiffPlan(name, last or "HEAD", bases[0] if bases else None, new)
        return DiffPlan(first or "HEAD", last or "HEAD", old, new)
    commits = [find.resolve(revision).commit for revision in revisions]
    if len(commits) == 2:
        return DiffPlan(revisions[0], revisions[1], commits[0], commits[1])
    if staged:
        name = revisions[0] if revisions else "last commit"
        return DiffPlan(name, STAGED, commits[0] if commits else repository.head_commit())
    if commits:
        return DiffPlan(revisions[0], WORKING, commits[0])
    return DiffPlan(STAGED, WORKING)


def run_diff(
    repository: Repository, stage: Stage, plan: DiffPlan, progress: Progress, paths: tuple[str, ...] = ()
) -> DiffReport:
    """Compare the two sides of a plan.

    Args:
        repository: whose states.
        stage: its stage; stamps of files that had to be read are renewed in it.
        plan: what to compare.
        progress: told the bytes of working files that are read.
        paths: files and folders to look at, relative to the root; empty for all.

    Raises:
        IntegrityError: a tree or manifest is damaged.
        OSError: a working file cannot be read.
    """
    compare = _Comparison(repository, stage, progress, paths)
    tree = repository.tree_of(plan.old_commit) if plan.old_commit else None
    if plan.new == WORKING:
        found = compare.working(tree, against_stage=plan.old == STAGED)
    elif plan.new == STAGED:
        found = compare.staged(tree)
    else:
        new = repository.tree_of(plan.new_commit) if plan.new_commit else None
        found = compare.trees(tree, new)
    files = compare.measured(found)
    return DiffReport(plan.old, plan.new, files, compare.untracked, compare.problems, compare.unstored)


class _Comparison:
    """Finds the files that differ between states of one repository."""

    def __init__(self, repository: Repository, stage: Stage, progress: Progress, paths: tuple[str, ...]) -> None:
        self._repository = repository
        self._stage = stage
        self._progress = progress
        self._paths = paths
        self.unstored: dict[Link, ScannedFile] = {}
        self.untracked = 0
        self.problems: Sequence[Problem] = ()

    def trees(self, old: ObjectId | None, new: ObjectId | None) -> Iterator[FileDiff]:
        """Compare two commits."""
        found = diff_trees(self._repository.reader, old, new)
        return (change for change in found if self._selected(change.path))

    def staged(self, tree: ObjectId | None) -> Iterator[FileDiff]:
        """Compare a commit with the stage."""
        for change in staged_changes(self._stage, lambda: self._repository.reader, tree):
            if self._selected(change.path):
                row = self._stage.get(change.path)
                yield from _one(change.path, self._entry(tree, change.path), row.entry() if row else None)

    def working(self, tree: ObjectId | None, *, against_stage: bool) -> Iterator[FileDiff]:
        """Compare the stage or a commit with the files that were ever added."""
        rules = IgnoreRules(self._repository.layout.root)
        changes = working_changes(self._repository.layout, self._stage, rules, self._paths)
        if changes.refreshed:
            self._stage.refresh_many(changes.refreshed)
        self.untracked, self.problems = len(changes.untracked), changes.problems
        modified = {file.path: file for file in changes.modified}
        staged = set()
        if not against_stage:
            found = staged_changes(self._stage, lambda: self._repository.reader, tree)
            staged = {change.path for change in found if self._selected(change.path)}
        gone = set(changes.deleted)
        for path in sorted(staged | modified.keys() | gone):
            row = self._stage.get(path)
            entry = row.entry() if row else None
            old = self._entry(tree, path) if path in staged else entry
            if path in gone:
                entry = None
            elif path in modified:
                entry = self._working_entry(modified[path], old)
            yield from _one(path, old, entry)

    def measured(self, found: Iterable[FileDiff]) -> list[MeasuredDiff]:
        """Count the chunks of what differs; working files are read."""
        return measure(self._repository, with_renames(found), self.unstored, self._progress)

    def _entry(self, tree: ObjectId | None, path: str) -> TreeEntry | None:
        entry = self._repository.reader.tree_entry(tree, path) if tree else None
        return None if entry is None or entry.mode is Mode.TREE else entry

    def _working_entry(self, file: ScannedFile, old: TreeEntry | None) -> TreeEntry:
        """Return what a working file would be stored as; without a hash where that is new content."""
        root = self._repository.layout.root
        name = file.path.rpartition("/")[2]
        if old is not None and reach(
            lambda place, folder: same_bytes(old, place, file.mode, file.size, dir_fd=folder), root, file.path
        ):
            return TreeEntry(name, file.mode, old.size, old.digest, old.child, old.target)
        if file.mode is Mode.SYMLINK:
            target = reach(lambda place, folder: os.readlink(place, dir_fd=folder), root, file.path)
            data = os.fsencode(target)
            return TreeEntry(name, file.mode, len(data), blake3(data).digest(), None, target)
        child = Link(Kind.MANIFEST, blake3(os.fsencode(file.path)).digest())
        self.unstored[child] = file
        return TreeEntry(name, file.mode, file.size, b"", child)

    def _selected(self, path: str) -> bool:
        return not self._paths or any(is_under(path, wanted) for wanted in self._paths)


def _one(path: str, old: TreeEntry | None, new: TreeEntry | None) -> Iterator[FileDiff]:
    change = file_diff(path, old, new)
    if change is not None:
        yield change


def measure(
    repository: Repository, changes: Iterable[FileDiff], unstored: Mapping[Link, ScannedFile], progress: Progress
) -> list[MeasuredDiff]:
    """Count the chunks that each file shares with what it was.

    Args:
        repository: where contents are stored.
        changes: what differs.
        unstored: the working files that stand behind links to nothing stored.
        progress: told the bytes of these that are read; the files that are compared where there are none.
    """
    listed = list(changes)
    reader = _Contents(repository, unstored, progress)
    if unstored:
        progress.start(sum(file.size for file in unstored.values()), "bytes", "Comparing")
    else:
        progress.start(len(listed), "files", "Comparing")
    measured = []
    try:
        for change in listed:
            measured.append(MeasuredDiff(change, compare_chunks(reader, change.old, change.new)))
            progress.advance(0 if unstored else 1)
    finally:
        progress.done()
    return measured


class _Contents:
    """Reads lists of chunks: stored ones, and those that working files would be cut into."""

    def __init__(self, repository: Repository, unstored: Mapping[Link, ScannedFile], progress: Progress) -> None:
        self._repository = repository
        self._unstored = unstored
        self._progress = progress

    def tree(self, root: ObjectId) -> Iterator[TreeEntry]:
        return self._repository.reader.tree(root)

    def chunk_list(self, child: Link | None, size: int) -> Iterator[ManifestEntry]:
        file = self._unstored.get(child) if child else None
        if file is not None:
            return outline(self._repository, file.path, self._progress)
        return self._repository.reader.chunk_list(child, size)
