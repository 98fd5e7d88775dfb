"""Whose content takes how much: every version of every file that refs lead to, by kind of file and by path."""

import heapq
import re
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Final, Self, TypeAlias

from blake3 import blake3

from mediavault.history.diff import diff_trees
from mediavault.model.ids import ObjectId
from mediavault.model.objects import TreeEntry
from mediavault.ops.contents import is_file
from mediavault.ops.repository import Repository

NO_TYPE: Final = ""
"""What files without an extension are counted under."""

_TYPE: Final = re.compile(r"\.(?=[0-9]*[a-z])[a-z0-9]{1,10}")
_PARTS: Final = 64
_ROW: Final = struct.Struct("<I32sQ")
_READ_ROWS: Final = 16384

Measure: TypeAlias = Callable[[ObjectId], int]
"""Tells how many bytes a chunk takes in its pack; raises IntegrityError where it is missing."""


@dataclass(frozen=True, slots=True)
class TypeStats:
    """What files with one extension come to.

    Attributes:
        type: the extension in small letters with its dot; empty for none.
        files: distinct paths, in all commits together.
        versions: distinct contents at each path.
        logical_bytes: these files of every commit, each commit counted in full.
        unique_bytes: their distinct chunks before compression; one that several types share is split evenly among them.
        stored_bytes: what these chunks take in packs, split alike.
    """

    type: str
    files: int
    versions: int
    logical_bytes: int
    unique_bytes: int
    stored_bytes: int

    @property
    def dedup_ratio(self) -> float:
        """Logical bytes for each unique one; 1 where there is nothing."""
        return self.logical_bytes / self.unique_bytes if self.unique_bytes else 1.0

    @property
    def compression_ratio(self) -> float:
        """Unique bytes for each stored one; 1 where there is nothing."""
        return self.unique_bytes / self.stored_bytes if self.stored_bytes else 1.0


@dataclass(frozen=True, slots=True)
class PathStats:
    """What all versions of one file come to.

    Attributes:
        path: its path.
        versions: distinct contents that it had.
        logical_bytes: these versions in full.
        stored_bytes: what their chunks take in packs; one that other files have too counts in full.
    """

    path: str
    versions: int
    logical_bytes: int
    stored_bytes: int


def type_of(name: str) -> str:
    """Return a file's type: its extension in small letters, such as `.mov`; empty where it has none.

    Digits alone are the number of a frame, not an extension.
    """
    found = name.lower().rpartition(".")
    extension = f".{found[2]}" if found[1] and found[0] else ""
    return extension if _TYPE.fullmatch(extension) else NO_TYPE


class Census:
    """Takes in the versions of files, commit by commit, and tells what they come to.

    Memory grows by about 100 bytes a path and a version; chunks wait in temporary files, a 64th of which is held at once.
    A context manager; the files are gone at its end.

    Args:
        repository: whose files.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._stack = ExitStack()
        self._types: dict[str, int] = {}
        self._paths: dict[str, int] = {}
        self._seen: set[bytes] = set()
        self._versions: Counter[int] = Counter()
        self._sizes: Counter[int] = Counter()

    def __enter__(self) -> Self:
        self._by_chunk = self._stack.enter_context(_Rows())
        self._by_path = self._stack.enter_context(_Rows())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, old: ObjectId | None, new: ObjectId) -> None:
        """Take in what a commit's tree has and its parent's has not.

        Raises:
            IntegrityError: a tree or manifest is damaged.
        """
        for change in diff_trees(self._repository.reader, old, new):
            if change.new is not None and is_file(change.new):
                self._add(change.path, change.new)

    def _add(self, path: str, entry: TreeEntry) -> None:
        name = path.encode(errors="surrogateescape")
        version = blake3(len(name).to_bytes(8, "little") + name + entry.digest).digest(16)
        if version in self._seen:
            return
        self._seen.add(version)
        number = self._paths.setdefault(path, len(self._paths))
        kind = self._types.setdefault(type_of(entry.name), len(self._types))
        self._versions[number] += 1
        self._sizes[number] += entry.size
        for chunk in self._repository.reader.chunk_list(entry.child, entry.size):
            self._by_chunk.add(chunk.chunk[0], kind, chunk.chunk, chunk.length)
            self._by_path.add(number, number, chunk.chunk, chunk.length)

    def types(self, logical: Mapping[str, int], stored: Measure) -> list[TypeStats]:
        """Return what each type comes to, the one that takes most first.

        Args:
            logical: the bytes of each type, each commit counted in full.
            stored: tells what a chunk takes in its pack.

        Raises:
            IntegrityError: a chunk is missing.
        """
        unique, kept = Counter[int](), Counter[int]()
        for rows in self._by_chunk.parts():
            owners: dict[bytes, int] = {}
            lengths: dict[bytes, int] = {}
            for kind, oid, length in rows:
                owners[oid] = owners.get(oid, 0) | 1 << kind
                lengths[oid] = length
            for oid, mask in owners.items():
                kinds = [kind for kind in range(mask.bit_length()) if mask >> kind & 1]
                for kind, raw, packed in _shares(kinds, lengths[oid], stored(oid)):
                    unique[kind] += raw
                    kept[kind] += packed
        files, versions = Counter[int](), Counter[int]()
        for path, number in self._paths.items():
            kind = self._types[type_of(path.rpartition("/")[2])]
            files[kind] += 1
            versions[kind] += self._versions[number]
        found = [
            TypeStats(name, files[kind], versions[kind], logical.get(name, 0), unique[kind], kept[kind])
            for name, kind in self._types.items()
        ]
        return sorted(found, key=lambda one: (-one.stored_bytes, one.type))

    def largest(self, count: int, stored: Measure) -> list[PathStats]:
        """Return the files whose versions take most room, the largest first.

        Raises:
            IntegrityError: a chunk is missing.
        """
        return heapq.nsmallest(count, self._path_stats(stored), key=lambda one: (-one.stored_bytes, one.path))

    def _path_stats(self, stored: Measure) -> Iterator[PathStats]:
        names = list(self._paths)
        empty = set(range(len(names)))
        for rows in self._by_path.parts():
            chunks: dict[int, set[bytes]] = {}
            for number, oid, _ in rows:
                chunks.setdefault(number, set()).add(oid)
            for number, ids in chunks.items():
                empty.discard(number)
                yield PathStats(names[number], self._versions[number], self._sizes[number], sum(map(stored, ids)))
        for number in empty:
            yield PathStats(names[number], self._versions[number], 0, 0)


def _shares(kinds: Sequence[int], raw: int, stored: int) -> Iterator[tuple[int, int, int]]:
    """Split a chunk evenly among the types that have it; what is left over goes to the first ones."""
    count = len(kinds)
    for place, kind in enumerate(kinds):
        yield kind, raw // count + (place < raw % count), stored // count + (place < stored % count)


class _Rows:
    """Chunks with a number each, in temporary files by a key; a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._files: list[IO[bytes]] = []

    def __enter__(self) -> Self:
        for _ in range(_PARTS):
            self._files.append(self._stack.enter_context(tempfile.TemporaryFile()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, key: int, number: int, chunk: ObjectId, length: int) -> None:
        """Keep a row with the others whose keys are alike."""
        self._files[key % _PARTS].write(_ROW.pack(number, chunk, length))

    def parts(self) -> Iterator[Iterator[tuple[int, ObjectId, int]]]:
        """Yield the rows, those with one key together."""
        for file in self._files:
            file.seek(0)
            yield _read(file)


def _read(file: IO[bytes]) -> Iterator[tuple[int, ObjectId, int]]:
    while data := file.read(_READ_ROWS * _ROW.size):
        yield from _ROW.iter_unpack(data)
