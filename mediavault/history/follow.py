"""One file through history under the names that it had; showing it is for others."""

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

import msgspec

from mediavault.history.diff import ContentReader, DiffKind, FileDiff, compare_chunks, diff_trees
from mediavault.history.paths import Entries, EntryReader
from mediavault.model.ids import ObjectId
from mediavault.model.objects import Commit, Mode, TreeEntry

ALIKE: Final = 0.5
"""The share of the larger file's bytes that must stand in chunks of both, so that an edited file counts as renamed."""
_MOST_COMPARED: Final = 1000
"""Files that a commit deleted and whose chunks are compared; where there are more, only equal content is found."""


class FileReader(EntryReader, ContentReader, Protocol):
    """What reads commits, folders and lists of chunks; `mediavault.objects.reader.ObjectReader` is one."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """A commit that changed the file: its name there, and the one before where the commit renamed it."""

    path: str
    old_path: str = ""


class Follower:
    """Tells the commits that changed a file, when it is shown commits children first.

    Args:
        reader: reads commits, folders and lists of chunks.
        path: the file, relative to the root, as it is called in the commits where history begins.
        starts: these commits.
    """

    def __init__(self, reader: FileReader, path: str, starts: Iterable[ObjectId]) -> None:
        self._reader = reader
        self._entries = Entries(reader)
        self._names: dict[ObjectId, dict[str, None]] = {start: {path: None} for start in starts}

    def __call__(self, oid: ObjectId, commit: Commit) -> Step | None:
        """Say how a commit changed the file; None where it is the same in one of its parents.

        Raises:
            IntegrityError: an object is missing or damaged.
        """
        steps = [step for path in self._names.pop(oid, ()) if (step := self._step(commit, path)) is not None]
        return steps[0] if steps else None

    def _step(self, commit: Commit, path: str) -> Step | None:
        entry = self._entries.find(commit.tree, path)
        same = False
        old_path = ""
        for parent in commit.parents:
            tree = self._reader.commit(parent).tree
            before = self._entries.find(tree, path)
            name = path
            if before is None and entry is not None:
                name = self._source(tree, commit.tree, path, entry)
                old_path = old_path or name
            same = same or before == entry
            if name:
                self._names.setdefault(parent, {})[name] = None
        if same or (entry is None and not commit.parents):
            return None
        return Step(path, old_path)

    def _source(self, old: ObjectId, new: ObjectId, path: str, entry: TreeEntry) -> str:
        """Return what a file that was added was called before; empty where it is new."""
        if entry.mode is Mode.SYMLINK or not entry.size:
            return ""
        deleted = [change for change in diff_trees(self._reader, old, new) if _lost_file(change)]
        same = [change.path for change in deleted if change.old is not None and change.old.digest == entry.digest]
        if same:
            return min(same, key=lambda source: (_last(source) != _last(path), source))
        close = [change for change in deleted if change.old is not None and _may_be_alike(change.old, entry)]
        if len(close) > _MOST_COMPARED:
            return ""
        best = max(self._shares(close, entry), default=None)
        return best[1] if best is not None and best[0] >= ALIKE else ""

    def _shares(self, deleted: list[FileDiff], entry: TreeEntry) -> Iterator[tuple[float, str]]:
        for change in deleted:
            assert change.old is not None
            shared = compare_chunks(self._reader, change.old, entry).shared_bytes
            yield shared / max(change.old.size, entry.size), change.path


def _lost_file(change: FileDiff) -> bool:
    return change.kind is DiffKind.DELETED and change.old is not None and change.old.mode is not Mode.SYMLINK


def _may_be_alike(old: TreeEntry, new: TreeEntry) -> bool:
    return min(old.size, new.size) >= ALIKE * max(old.size, new.size)


def _last(path: str) -> str:
    return path.rpartition("/")[2]
