"""What changed in text files, line by line; which files are text, and when that would take too much, is decided here."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from mediavault.history.diff import DiffKind, FileDiff
from mediavault.history.text_diff import Hunk, hunks, split_lines
from mediavault.model.ids import Link
from mediavault.model.objects import ManifestEntry, Mode, TreeEntry
from mediavault.ops.repository import Repository
from mediavault.workspace.content import open_at
from mediavault.workspace.scan import ScannedFile

TEXT_BYTES: Final = 1 << 20
"""Larger files are not compared line by line."""


@dataclass(frozen=True, slots=True)
class TextChange:
    """What changed in a text file.

    Attributes:
        file: which.
        hunks: its places; None where the file is too large for that.
        returns: whether every line of both sides ends with a carriage return too, so that these need not be shown.
    """

    file: FileDiff
    hunks: Sequence[Hunk] | None
    returns: bool = False


def text_change(
    repository: Repository, change: FileDiff, working: Mapping[Link, ScannedFile], context: int = 3
) -> TextChange | None:
    """Compare the two sides of a file line by line; None where one of them is no text, or none of it changed.

    Text is what is UTF-8, without NUL.

    Args:
        repository: where contents are stored.
        change: the file.
        working: the working files that stand behind links to nothing stored.
        context: equal lines to show around a change.

    Raises:
        IntegrityError: stored content is missing or damaged.
        OSError: a working file cannot be read.
    """
    if change.kind in {DiffKind.RENAMED, DiffKind.MODE}:
        return None
    sides = [entry for entry in (change.old, change.new) if entry is not None]
    if any(entry.mode is Mode.SYMLINK for entry in sides):
        return None
    contents = _Contents(repository, working)
    if any(entry.size > TEXT_BYTES for entry in sides):
        is_text = change.kind is DiffKind.MODIFIED and all(contents.begins_as_text(entry) for entry in sides)
        return TextChange(change, None) if is_text else None
    old, new = (contents.text(entry) if entry else "" for entry in (change.old, change.new))
    if old is None or new is None:
        return None
    before, after = split_lines(old), split_lines(new)
    returns = all(line.endswith("\r\n") for line in (*before, *after))
    return TextChange(change, list(hunks(before, after, context)), returns)


class _Contents:
    """Reads small contents, stored ones and those of working files."""

    def __init__(self, repository: Repository, working: Mapping[Link, ScannedFile]) -> None:
        self._repository = repository
        self._working = working

    def text(self, entry: TreeEntry) -> str | None:
        """Return a file's text; None where it is none."""
        data = self._data(entry)
        if data is None or b"\0" in data:
            return None
        try:
            return data.decode()
        except UnicodeDecodeError:
            return None

    def begins_as_text(self, entry: TreeEntry) -> bool:
        """Say whether the beginning of a file may be text."""
        data = self._beginning(entry)
        # A character may be cut at the end of what was read.
        return b"\0" not in data and any(_decodes(data[: len(data) - cut]) for cut in range(4))

    def _data(self, entry: TreeEntry) -> bytes | None:
        """Return a file's content; None where its beginning tells that it is no text, or it has grown."""
        if self._unstored(entry):
            data = self._beginning(entry)
            return data if len(data) <= TEXT_BYTES else None
        if b"\0" in self._beginning(entry):
            return None
        return b"".join(self._repository.reader.file(entry))

    def _beginning(self, entry: TreeEntry) -> bytes:
        file = self._unstored(entry)
        if file is None:
            first = islice(self._chunks(entry), 1)
            return b"".join(self._repository.reader.chunks(first))
        with os.fdopen(open_at(self._repository.layout.root, file.path), "rb") as stream:
            return stream.read(TEXT_BYTES + 1)

    def _chunks(self, entry: TreeEntry) -> Iterator[ManifestEntry]:
        return self._repository.reader.chunk_list(entry.child, entry.size)

    def _unstored(self, entry: TreeEntry) -> ScannedFile | None:
        return self._working.get(entry.child) if entry.child is not None else None


def _decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
