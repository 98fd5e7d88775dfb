"""Trees from staged rows and back; encoding and storing nodes is for `mediavault.objects`."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeAlias

import msgspec

from mediavault.errors import IntegrityError
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.names import MAX_DEPTH
from mediavault.model.objects import Mode, TreeEntry
from mediavault.workspace.stage import Stage, StageRow, row_of_entry

TreeWriter: TypeAlias = Callable[[Iterable[TreeEntry]], ObjectId]
"""Stores one folder, entries ascending by UTF-8 name, and returns its id."""


class TreeReader(Protocol):
    """What reads trees; `mediavault.objects.reader.ObjectReader` is one."""

    def tree(self, root: ObjectId) -> Iterator[TreeEntry]:
        """Yield the entries of one folder, ascending by UTF-8 name."""


class BuiltTree(msgspec.Struct, frozen=True):
    """The root of what is staged, and the trees that were made on the way, by folder.

    Give `folders` to `Stage.remember_trees` once they are stored durably.
    """

    root: ObjectId
    folders: list[tuple[str, ObjectId]]


def build_tree(stage: Stage, write: TreeWriter, has: Callable[[ObjectId], bool]) -> BuiltTree:
    """Write the trees of what is staged, children first; folders that did not change since the last time are not read.

    Args:
        stage: what is staged.
        write: stores one folder.
        has: whether a remembered tree is still stored.

    Raises:
        FormatError: a name or target that a tree may not hold is staged.
    """
    made: list[tuple[str, ObjectId]] = []
    remembered = stage.cached_trees()

    def build(folder: str) -> ObjectId:
        known = remembered.get(folder)
        if known is not None and has(known):
            return known
        inside = stage.children(folder)
        entries = [row.entry() for row in inside.rows.values()]
        prefix = f"{folder}/" if folder else ""
        entries += [
            TreeEntry(name, Mode.TREE, 0, b"", Link(Kind.TREE, build(prefix + name))) for name in inside.folders
        ]
        entries.sort(key=_name)
        oid = write(entries)
        made.append((folder, oid))
        return oid

    return BuiltTree(build(""), made)


def tree_files(reader: TreeReader, root: ObjectId) -> Iterator[tuple[str, TreeEntry]]:
    """Yield path and entry of every file and link in a tree, in path order (UTF-8 bytes of the whole path).

    Raises:
        IntegrityError: a tree is missing or damaged, or folders are nested too deep.
    """
    folders = [iter(_in_path_order("", reader.tree(root)))]
    while folders:
        for path, entry in folders[-1]:
            if entry.mode is not Mode.TREE:
                yield path, entry
            else:
                assert entry.child is not None
                refuse_too_deep(path)
                folders.append(iter(_in_path_order(path + "/", reader.tree(entry.child.id))))
                break
        else:
            folders.pop()


def tree_rows(reader: TreeReader, root: ObjectId | None) -> Iterator[StageRow]:
    """Yield the rows, without stamps, that make a tree; none for no tree."""
    if root is not None:
        for path, entry in tree_files(reader, root):
            yield row_of_entry(path, entry)


def refuse_too_deep(folder: str) -> None:
    """Refuse a folder of a stored tree that no checkout could make; call it before going into one.

    Raises:
        IntegrityError: the folder is deeper than any path may be.
    """
    if folder.count("/") >= MAX_DEPTH - 1:
        raise IntegrityError(
            f"A tree is refused, because it has more than {MAX_DEPTH} folders inside each other: {folder[:40]!r}…",
            untouched="Nothing was changed.",
        )


def find_entry(reader: TreeReader, root: ObjectId, path: str) -> TreeEntry | None:
    """Return what stands at a path of a tree; None when nothing does, and for the root (empty)."""
    entry: TreeEntry | None = None
    for depth, part in enumerate(path.split("/")):
        if depth:
            if entry is None or entry.mode is not Mode.TREE or entry.child is None:
                return None
            root = entry.child.id
        entry = next((found for found in reader.tree(root) if found.name == part), None)
    return entry


def _name(entry: TreeEntry) -> str:
    return entry.name


def _in_path_order(prefix: str, entries: Iterable[TreeEntry]) -> list[tuple[str, TreeEntry]]:
    pairs = [(prefix + entry.name, entry) for entry in entries]
    pairs.sort(key=lambda pair: pair[0] + "/" if pair[1].mode is Mode.TREE else pair[0])
    return pairs
