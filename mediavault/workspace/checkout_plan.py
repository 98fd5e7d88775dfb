"""What a checkout has to do, and whether it may: nothing is changed here.

A path is written or removed only while its working file holds what is staged for it, and what is staged is what HEAD
has; everything else is somebody's work, and becomes a conflict. Trees are hostile: names that collide, links that lead
out and paths that are too long are refused as a whole.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from mediavault.errors import IntegrityError, NeedsDecisionError
from mediavault.model.ids import ObjectId
from mediavault.model.names import MAX_DEPTH, MAX_PATH_BYTES
from mediavault.model.objects import Mode, TreeEntry
from mediavault.workspace.collisions import Collision, colliding_names
from mediavault.workspace.content import Comparison, holds, same_bytes
from mediavault.workspace.folders import is_folder
from mediavault.workspace.journal import Delete, Lists, WriteList, stamp_of, write_of
from mediavault.workspace.layout import Layout
from mediavault.workspace.links import target_problem
from mediavault.workspace.long_paths import listing, look_at, reach
from mediavault.workspace.paths import folders_above, parent_of
from mediavault.workspace.scan import ScannedFile, scanned
from mediavault.workspace.stage import Children, Stage, StageRow, same_content, trusted
from mediavault.workspace.trees import TreeReader, refuse_too_deep, tree_files

_NO_CHILDREN: Final = Children({}, [])


class CheckoutPlan(msgspec.Struct, frozen=True):
    """What a checkout will do.

    Attributes:
        writes: files and links to write.
        lists: everything else.
        conflicts: paths with work that would be lost; with any, `run_checkout` refuses.
        total: bytes of content to write.
        count: files and links to write.
    """

    writes: WriteList
    lists: Lists
    conflicts: list[str]
    total: int

    @property
    def count(self) -> int:
        """How many files and links are to be written."""
        return len(self.writes)

    @property
    def deletes(self) -> list[str]:
        """The working files to be removed."""
        return [delete.path for delete in self.lists.deletes]

    @property
    def changes_files(self) -> bool:
        """Whether anything in the working tree changes."""
        return bool(len(self.writes) or self.lists.deletes)


def plan_checkout(
    layout: Layout,
    stage: Stage,
    reader: TreeReader,
    *,
    base: ObjectId | None,
    target: ObjectId | None,
    force: bool = False,
) -> CheckoutPlan:
    """Plan to turn the stage and the working tree from one tree into another.

    What is staged or edited and does not differ between the two trees is kept.

    Args:
        layout: the checkout.
        stage: its stage.
        reader: reads trees.
        base: the tree of HEAD; None where there is no commit.
        target: the tree to check out; None for an empty one.
        force: give up what is staged and edited; untracked files are kept even so.

    Raises:
        IntegrityError: the target holds what no checkout may make.
        NeedsDecisionError: names in the target collide.
    """
    planner = _Planner(layout, stage, force=force)
    if not force:
        _Switch(planner, stage, reader).folder("", base, target)
    else:
        wanted = set()
        for path, entry in tree_files(reader, target) if target else ():
            wanted.add(path)
            planner.write(path, entry, stage.get(path))
        planner.refuse_collisions(wanted)
        for row in stage.all():
            if row.path not in wanted:
                planner.delete(row)
    return planner.plan()


def plan_restore(
    layout: Layout,
    stage: Stage,
    wanted: Iterable[tuple[str, TreeEntry]],
    unwanted: Iterable[str] = (),
    *,
    keep_stage: bool = False,
) -> CheckoutPlan:
    """Plan to give paths a content, whatever was edited there; untracked files in the way are conflicts.

    Args:
        layout: the checkout.
        stage: its stage.
        wanted: paths in path order, with the file or link that each is to be.
        unwanted: tracked paths to remove.
        keep_stage: change only working files.

    Raises:
        IntegrityError: a wanted link may not be made, or a path is too long.
        NeedsDecisionError: names collide.
    """
    planner = _Planner(layout, stage, force=True)
    paths = set()
    for path, entry in wanted:
        paths.add(path)
        planner.write(path, entry, stage.get(path))
    planner.refuse_collisions(paths)
    for path in unwanted:
        row = stage.get(path)
        if row is not None:
            planner.delete(row)
    return planner.plan(keep_stage=keep_stage)


def plan_restore_staged(layout: Layout, stage: Stage, rows: Iterable[StageRow]) -> CheckoutPlan:
    """Plan to give working files what is staged of them, whatever was edited there; `rows` are taken one by one.

    Args:
        layout: the checkout.
        stage: its stage, which stays as it is.
        rows: of the stage, in path order.

    Raises:
        IntegrityError: a link may not be made, or a path is too long.
        NeedsDecisionError: names collide.
    """
    planner = _Planner(layout, stage, force=True)
    paths = set()
    for row in rows:
        paths.add(row.path)
        planner.write(row.path, row.entry(), row)
    planner.refuse_collisions(paths)
    return planner.plan(keep_stage=True)


class _Switch:
    """Walks two trees and the stage together, folder by folder, past what is equal."""

    def __init__(self, planner: "_Planner", stage: Stage, reader: TreeReader) -> None:
        self._planner = planner
        self._stage = stage
        self._stage_empty = stage.empty
        self._remembered = stage.cached_trees()
        self._reader = reader

    def folder(self, folder: str, base: ObjectId | None, target: ObjectId | None) -> None:
        """Plan one folder that differs."""
        if base == target:
            if target is not None and self._remembered.get(folder) != target:
                self._planner.stage_differs(folder)
            return
        refuse_too_deep(folder)
        prefix = f"{folder}/" if folder else ""
        before = self._entries(base)
        after = self._entries(target)
        pair = colliding_names(after)
        if pair:
            raise _collision(Collision(prefix + pair[0], prefix + pair[1]))
        staged = _NO_CHILDREN if self._stage_empty else self._stage.children(folder)
        if not before.keys() | after.keys() >= staged.rows.keys() | set(staged.folders):
            self._planner.stage_differs(folder)
        if target is not None:
            self._planner.remember(folder, target)
        for name in sorted(before.keys() | after.keys()):
            self._name(prefix + name, before.get(name), after.get(name), staged.rows.get(name))
            if name in after and after[name].mode is not Mode.TREE and name in staged.folders:
                self._planner.must_be_forgotten(prefix + name)

    def _name(self, path: str, before: TreeEntry | None, after: TreeEntry | None, row: StageRow | None) -> None:
        old, new = _file(before), _file(after)
        if old is not None or new is not None or row is not None:
            self._planner.switch(path, old, new, row)
        old_tree, new_tree = _tree(before), _tree(after)
        if old_tree is not None or new_tree is not None:
            self.folder(path, old_tree, new_tree)
        if new_tree is not None and row is not None and old_tree != new_tree:
            self._planner.must_be_forgotten(path)

    def _entries(self, tree: ObjectId | None) -> dict[str, TreeEntry]:
        return {entry.name: entry for entry in self._reader.tree(tree)} if tree is not None else {}


class _Planner:
    """Decides path by path, and collects what to do."""

    def __init__(self, layout: Layout, stage: Stage, *, force: bool) -> None:
        self._layout = layout
        self._root = str(layout.root)
        self._stage = stage
        self._force = force
        self._folders: dict[str, str | None] = {"": ""}
        self._checked_ns = 0
        self._writes = WriteList()
        self._total = 0
        self._deletes: dict[str, Delete] = {}
        self._kept: list[StageRow] = []
        self._forgotten: set[str] = set()
        self._conflicts: set[str] = set()
        self._blocking: set[str] = set()
        self._covered: list[str] = []
        self._fresh: set[str] = set()
        self._to_forget: list[str] = []
        self._trees: dict[str, ObjectId] = {}
        self._differing: set[str] = set()

    def stage_differs(self, folder: str) -> None:
        """Note that a folder's rows will not make the tree that is checked out, nor will those above it."""
        if folder not in self._differing:
            self._differing.add(folder)
            self._differing.update(folders_above(folder))

    def remember(self, folder: str, tree: ObjectId) -> None:
        """Note the tree that a folder's rows will make, unless `stage_differs` says otherwise."""
        self._trees[folder] = tree

    def must_be_forgotten(self, path: str) -> None:
        """Note that what is staged at or under a path cannot stay beside what comes there."""
        self._to_forget.append(path)

    def switch(self, path: str, old: TreeEntry | None, new: TreeEntry | None, row: StageRow | None) -> None:
        """Plan one path of a checkout that keeps people's work."""
        if _same(row, new):
            return
        if _equal(old, new):  # what is staged does not stand in the way: it is kept
            self.stage_differs(parent_of(path))
        elif not _same(row, old):
            self._conflicts.add(path)
        elif new is not None:
            self.write(path, new, row)
        elif row is not None:
            self.delete(row)

    def write(self, path: str, entry: TreeEntry, row: StageRow | None) -> None:
        """Plan to give a path a content.

        Raises:
            IntegrityError: that path or link must not be made.
        """
        _refuse_unsafe(path, entry)
        before = self._look(path)
        if before is None:
            self._add(path, entry, None)
        elif row is not None and trusted(row, before):
            if same_content(row, entry):
                self._kept.append(row)
            else:
                self._add(path, entry, before, only_mode=_differ_in_mode(row, entry))
        else:
            self._write_over(path, entry, row, before)

    def _write_over(self, path: str, entry: TreeEntry, row: StageRow | None, before: ScannedFile) -> None:
        """Plan to write where a file stands whose stamp proves nothing."""
        checked_ns = self._clock()
        try:
            if self._reads_as(same_bytes, entry, before):
                if before.mode == entry.mode:
                    child, target = entry.child, entry.target
                    kept = StageRow(path, entry.mode, entry.size, entry.digest, child, target)
                    self._kept.append(kept.stamped(before, checked_ns))
                else:
                    self._add(path, entry, before, only_mode=True)
                return
            lost = row is None or not (self._force or self._reads_as(holds, row, before))
        except OSError:
            lost = True
        if lost:
            self._conflicts.add(path)
        else:
            self._add(path, entry, before)

    def _reads_as(self, same: Comparison, wanted: StageRow | TreeEntry, file: ScannedFile) -> bool:
        return reach(
            lambda name, folder: same(wanted, name, file.mode, file.size, dir_fd=folder), self._root, file.path
        )

    def _add(self, path: str, entry: TreeEntry, before: ScannedFile | None, *, only_mode: bool = False) -> None:
        if before is None and (fresh := self._missing_above(path)):
            self._fresh.add(fresh)
        self._writes.append(write_of(path, entry, before, only_mode=only_mode))
        if not only_mode:
            self._total += entry.size

    def delete(self, row: StageRow) -> None:
        """Plan to remove a tracked path."""
        self._forgotten.add(row.path)
        before = self._look(row.path, blocks=False)
        if before is None:
            return
        if not (self._force or trusted(row, before)):
            try:
                clean = self._reads_as(holds, row, before)
            except OSError:
                clean = False
            if not clean:
                self._conflicts.add(row.path)
                return
        self._deletes[row.path] = Delete(row.path, stamp_of(before))

    def refuse_collisions(self, paths: Iterable[str]) -> None:
        """Refuse paths that some file systems take for one.

        Raises:
            NeedsDecisionError: naming two of them.
        """
        names: dict[str, dict[str, None]] = {}
        for path in paths:
            entry = path
            for folder in folders_above(path):
                inside = names.setdefault(folder, {})
                name = entry[len(folder) + 1 :] if folder else entry
                if name in inside:
                    break
                inside[name] = None
                entry = folder
        for folder, inside in names.items():
            pair = colliding_names(inside)
            if pair:
                prefix = f"{folder}/" if folder else ""
                raise _collision(Collision(prefix + pair[0], prefix + pair[1]))

    def plan(self, *, keep_stage: bool = False) -> CheckoutPlan:
        """Return the plan, after the checks that need the whole of it."""
        self._conflicts.update(path for path in self._blocking if path not in self._deletes)
        cleared: list[str] = []
        for folder in self._covered:
            cleared += self._clear(folder)
        for path in self._to_forget:
            self._conflicts.update(row.path for row in self._stage.under(path) if row.path not in self._forgotten)
        lists = Lists(
            [self._deletes[path] for path in sorted(self._deletes)],
            cleared,
            sorted(self._fresh, key=lambda folder: folder + "/"),
            self._kept,
            sorted(self._forgotten),
            sorted((folder, tree) for folder, tree in self._trees.items() if folder not in self._differing),
            keep_stage,
        )
        return CheckoutPlan(self._writes, lists, sorted(self._conflicts), self._total)

    def _clear(self, folder: str) -> list[str]:
        """Return a folder and what is in it, deepest first, if only files that are removed anyway are in it."""
        found = []
        waiting = [folder]
        while waiting:
            inside = waiting.pop()
            found.append(inside)
            with listing(self._root, inside) as entries:
                for entry in entries:
                    path = f"{inside}/{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                    elif path not in self._deletes:
                        self._conflicts.add(path)
        return found[::-1]

    def _clock(self) -> int:
        self._checked_ns = self._checked_ns or self._layout.clock_ns()
        return self._checked_ns

    def _look(self, path: str, *, blocks: bool = True) -> ScannedFile | None:
        """Return what stands at a path; notes what is in the way of writing there where `blocks`."""
        stop = self._stop_at(parent_of(path))
        if stop != "":
            if stop is not None and blocks:
                self._blocking.add(stop)
            return None
        try:
            status = look_at(self._root, path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        file = scanned(path, status)
        if file is None and blocks:
            if is_folder(self._root, path):
                self._covered.append(path)
            else:
                self._conflicts.add(path)
        return file

    def _missing_above(self, path: str) -> str:
        """Return the highest missing folder above a path; empty where its folder is there, or something else is."""
        missing = ""
        folder = parent_of(path)
        while self._stop_at(folder) is None:
            missing, folder = folder, parent_of(folder)
        return missing if self._stop_at(folder) == "" else ""

    def _stop_at(self, folder: str) -> str | None:
        """Return "" where the folder is a real one, None where it is missing, else what stands in the way."""
        if folder in self._folders:
            return self._folders[folder]
        above = self._stop_at(parent_of(folder))
        if above == "":
            there = is_folder(self._root, folder)
            above = "" if there else None if there is None else folder
        self._folders[folder] = above
        return above


def _file(entry: TreeEntry | None) -> TreeEntry | None:
    return entry if entry is not None and entry.mode is not Mode.TREE else None


def _tree(entry: TreeEntry | None) -> ObjectId | None:
    return entry.child.id if entry is not None and entry.mode is Mode.TREE and entry.child is not None else None


def _same(row: StageRow | None, entry: TreeEntry | None) -> bool:
    if row is None or entry is None:
        return row is None and entry is None
    return same_content(row, entry)


def _equal(one: TreeEntry | None, other: TreeEntry | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.digest, one.mode, one.size, one.target) == (other.digest, other.mode, other.size, other.target)


def _differ_in_mode(row: StageRow, entry: TreeEntry) -> bool:
    return row.digest == entry.digest and row.size == entry.size and Mode.SYMLINK not in {row.mode, entry.mode}


def _refuse_unsafe(path: str, entry: TreeEntry) -> None:
    if path.count("/") >= MAX_DEPTH or (len(path) > MAX_PATH_BYTES // 4 and len(path.encode()) > MAX_PATH_BYTES):
        raise IntegrityError(
            f"The tree holds a path that is refused, because it is too long or too deep: {path[:200]!r}.",
            untouched="Nothing was changed.",
        )
    if entry.mode is Mode.SYMLINK and (problem := target_problem(path, entry.target)):
        raise IntegrityError(
            f"The tree holds a link that is refused: {path!r} {problem} ({entry.target[:200]!r}).",
            untouched="Nothing was changed.",
            hint="Take what you need with 'mediagit restore --source COMMIT -- PATH'.",
        )


def _collision(collision: Collision) -> NeedsDecisionError:
    return NeedsDecisionError(
        f"{collision.first!r} and {collision.second!r} are one name on many file systems.",
        untouched="Nothing was changed.",
        hint="Take one of them with 'mediagit restore --source COMMIT -- PATH', and rename it in a new commit.",
    )
