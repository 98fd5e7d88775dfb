"""What changed between two trees: files by path, and for a file the chunks that it shares; showing it is for others."""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Protocol

import msgspec

from mediavault.errors import IntegrityError
from mediavault.model.ids import Link, ObjectId
from mediavault.model.names import MAX_DEPTH
from mediavault.model.objects import ManifestEntry, Mode, TreeEntry


class ContentReader(Protocol):
    """What reads trees and lists of chunks; `mediavault.objects.reader.ObjectReader` is one."""

    def tree(self, root: ObjectId) -> Iterator[TreeEntry]:
        """Yield the entries of one folder, ascending by UTF-8 name."""

    def chunk_list(self, child: Link | None, size: int) -> Iterator[ManifestEntry]:
        """Yield the chunks of a file of `size` bytes."""


class DiffKind(StrEnum):
    """What happened to a file."""

    ADDED = "added"
    DELETED = "deleted"
    MODIFIED = "modified"
    MODE = "mode"
    RENAMED = "renamed"


class FileDiff(msgspec.Struct, frozen=True, gc=False):
    """One file that differs: what it was and what it is, None where it was or is not; `old_path` for a renamed one."""

    path: str
    kind: DiffKind
    old: TreeEntry | None
    new: TreeEntry | None
    old_path: str = ""


class ChunkDiff(msgspec.Struct, frozen=True, gc=False):
    """How much of a file's new content its old content has: distinct chunks, and their raw bytes."""

    shared_chunks: int
    new_chunks: int
    shared_bytes: int
    new_bytes: int


def diff_trees(reader: ContentReader, old: ObjectId | None, new: ObjectId | None) -> Iterator[FileDiff]:
    """Yield the files that differ between two trees, folder by folder in the order of names; equal folders are not read.

    Args:
        reader: reads trees.
        old: a tree, None for an empty one.
        new: a tree, None for an empty one.

    Raises:
        IntegrityError: a tree is missing or damaged, or folders are nested too deep.
    """
    yield from _folder(reader, "", old, new)


def _folder(reader: ContentReader, prefix: str, old: ObjectId | None, new: ObjectId | None) -> Iterator[FileDiff]:
    if old == new:
        return
    if prefix.count("/") >= MAX_DEPTH:
        raise IntegrityError(f"A tree has more than {MAX_DEPTH} folders inside each other: {prefix[:40]!r}…")
    before = {entry.name: entry for entry in reader.tree(old)} if old is not None else {}
    after = {entry.name: entry for entry in reader.tree(new)} if new is not None else {}
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        change = file_diff(prefix + name, _as_file(was), _as_file(now))
        if change is not None:
            yield change
        yield from _folder(reader, f"{prefix}{name}/", _as_tree(was), _as_tree(now))


def _as_file(entry: TreeEntry | None) -> TreeEntry | None:
    return entry if entry is not None and entry.mode is not Mode.TREE else None


def _as_tree(entry: TreeEntry | None) -> ObjectId | None:
    return entry.child.id if entry is not None and entry.mode is Mode.TREE and entry.child is not None else None


def file_diff(path: str, old: TreeEntry | None, new: TreeEntry | None) -> FileDiff | None:
    """Return how a file or link differs from what it was; None when it does not. None stands for no file."""
    if old is None:
        return None if new is None else FileDiff(path, DiffKind.ADDED, None, new)
    if new is None:
        return FileDiff(path, DiffKind.DELETED, old, None)
    types_differ = (old.mode is Mode.SYMLINK) != (new.mode is Mode.SYMLINK)
    if (old.digest, old.size) != (new.digest, new.size) or types_differ:
        return FileDiff(path, DiffKind.MODIFIED, old, new)
    return FileDiff(path, DiffKind.MODE, old, new) if old.mode != new.mode else None


def with_renames(changes: Iterable[FileDiff]) -> list[FileDiff]:
    """Return changes in which a deleted and an added file of equal content became one renamed file.

    Empty files and links are left as they are: equal content says nothing there.
    """
    listed = list(changes)
    gone: dict[bytes, list[FileDiff]] = {}
    for change in reversed(listed):
        if change.kind is DiffKind.DELETED and change.old is not None and _tells(change.old):
            gone.setdefault(change.old.digest, []).append(change)
    moved: set[str] = set()
    result = []
    for change in listed:
        if change.kind is DiffKind.ADDED and change.new is not None and _tells(change.new):
            candidates = gone.get(change.new.digest)
            if candidates:
                source = candidates.pop()
                moved.add(source.path)
                result.append(FileDiff(change.path, DiffKind.RENAMED, source.old, change.new, source.path))
                continue
        result.append(change)
    return [change for change in result if change.kind is not DiffKind.DELETED or change.path not in moved]


def _tells(entry: TreeEntry) -> bool:
    return entry.size > 0 and entry.mode is not Mode.SYMLINK


def compare_chunks(reader: ContentReader, old: TreeEntry | None, new: TreeEntry | None) -> ChunkDiff:
    """Compare the chunks of two files; None stands for no file.

    Raises:
        IntegrityError: a manifest is missing or damaged.
    """
    before = set(_chunks(reader, old))
    after = _chunks(reader, new)
    shared = {chunk: length for chunk, length in after.items() if chunk in before}
    fresh = {chunk: length for chunk, length in after.items() if chunk not in before}
    return ChunkDiff(len(shared), len(fresh), sum(shared.values()), sum(fresh.values()))


def _chunks(reader: ContentReader, entry: TreeEntry | None) -> dict[ObjectId, int]:
    if entry is None or entry.mode in {Mode.SYMLINK, Mode.TREE}:
        return {}
    return {part.chunk: part.length for part in reader.chunk_list(entry.child, entry.size)}
