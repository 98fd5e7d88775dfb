"""Which commits changed some files or folders, told by ids: no content is read, and folders that are equal are not opened."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Protocol

from mediavault.history.walk import CommitReader
from mediavault.model.ids import ObjectId
from mediavault.model.objects import Commit, Mode, TreeEntry

_REMEMBERED: Final = 4096
"""Names of folders that are kept: a commit is compared with its parents, and these then with theirs."""


class EntryReader(CommitReader, Protocol):
    """What finds one name in a folder; `mediavault.objects.reader.ObjectReader` is one."""

    def tree_entry(self, root: ObjectId, path: str) -> TreeEntry | None:
        """Return the entry at a path below `root`; None when there is none."""


class Entries:
    """Finds what stands at a path of a tree, and remembers the folders on the way."""

    def __init__(self, reader: EntryReader) -> None:
        self._reader = reader
        self._known: OrderedDict[tuple[ObjectId, str], TreeEntry | None] = OrderedDict()

    def find(self, tree: ObjectId, path: str) -> TreeEntry | None:
        """Return the entry at a path; None when there is none.

        Raises:
            IntegrityError: a tree is missing or damaged.
        """
        entry: TreeEntry | None = None
        for name in path.split("/"):
            if entry is not None:
                if entry.mode is not Mode.TREE or entry.child is None:
                    return None
                tree = entry.child.id
            entry = self._in_folder(tree, name)
            if entry is None:
                return None
        return entry

    def same(self, one: ObjectId, other: ObjectId, path: str) -> bool:
        """Say whether two trees have the same at a path, the empty one being all; equal folders are not opened.

        Raises:
            IntegrityError: a tree is missing or damaged.
        """
        if not path:
            return one == other
        *above, last = path.split("/")
        left, right = one, other
        for name in above:
            if left == right:
                return True
            inside = [_folder(self._in_folder(folder, name)) for folder in (left, right)]
            if inside[0] is None or inside[1] is None:
                return self.find(one, path) == self.find(other, path)
            left, right = inside[0], inside[1]
        return left == right or self._in_folder(left, last) == self._in_folder(right, last)

    def _in_folder(self, folder: ObjectId, name: str) -> TreeEntry | None:
        key = (folder, name)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        found = self._known[key] = self._reader.tree_entry(folder, name)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found


def _folder(entry: TreeEntry | None) -> ObjectId | None:
    return entry.child.id if entry is not None and entry.mode is Mode.TREE and entry.child is not None else None


class PathChanges:
    """Tells the commits that changed one of some paths.

    Args:
        reader: reads commits and folders.
        paths: relative to the root; the empty path is the whole project.
    """

    def __init__(self, reader: EntryReader, paths: Sequence[str]) -> None:
        self._reader = reader
        self._entries = Entries(reader)
        self._paths = paths

    def __call__(self, commit: Commit) -> bool:
        """Say whether a commit differs at these paths from each of its parents, from nothing where it has none.

        Raises:
            IntegrityError: a commit or tree is missing or damaged.
        """
        if not commit.parents:
            return any(not path or self._entries.find(commit.tree, path) is not None for path in self._paths)
        return all(self._differs(self._reader.commit(parent).tree, commit.tree) for parent in commit.parents)

    def _differs(self, old: ObjectId, new: ObjectId) -> bool:
        return any(not self._entries.same(old, new, path) for path in self._paths)
