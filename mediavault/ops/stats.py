"""How much all versions are, and how little of it is stored."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mediavault.errors import IntegrityError
from mediavault.model.ids import ObjectId
from mediavault.model.objects import Branch, Commit, TreeNode
from mediavault.ops.census import Census, PathStats, TypeStats, type_of
from mediavault.ops.contents import ChunkSet, chunks_of, is_file, tips, walk_metadata
from mediavault.ops.repository import Repository
from mediavault.progress import Progress


@dataclass(frozen=True, slots=True)
class StatsReport:
    """What all refs lead to.

    Attributes:
        commits: how many.
        logical_bytes: the files of every commit, each commit counted in full: what a copy of the folder for each
            version would take.
        unique_bytes: the distinct chunks before compression.
        unique_chunks: how many they are.
        stored_bytes: what all objects take in packs, compressed and sealed.
        metadata_bytes: the part of it that is no file content: commits, tags, folders, lists of chunks.
        by_type: what it is by kind of file, the one that takes most first; empty unless it was asked for.
        largest: the files whose versions take most; empty unless it was asked for.
    """

    commits: int
    logical_bytes: int
    unique_bytes: int
    unique_chunks: int
    stored_bytes: int
    metadata_bytes: int = 0
    by_type: Sequence[TypeStats] = ()
    largest: Sequence[PathStats] = ()

    @property
    def dedup_ratio(self) -> float:
        """Logical bytes for each unique one; 1 where there is nothing."""
        return self.logical_bytes / self.unique_bytes if self.unique_bytes else 1.0

    @property
    def compression_ratio(self) -> float:
        """Unique bytes for each stored one; 1 where there is nothing."""
        return self.unique_bytes / self.stored_bytes if self.stored_bytes else 1.0


def stats(repository: Repository, progress: Progress, *, by_type: bool = False, largest: int = 0) -> StatsReport:
    """Count what all refs lead to; chunks are looked up and not read.

    Args:
        repository: whose.
        progress: told of each object that is counted.
        by_type: tell by kind of file too.
        largest: name so many files whose versions take most.

    Raises:
        IntegrityError: something is missing or damaged.
    """
    with ChunkSet() as chunks:
        progress.start(None, "objects", "Counting")
        try:
            found = _count_metadata(repository, chunks, progress)
            count = unique = 0
            stored = found.stored
            for oid, length in chunks:
                count += 1
                unique += length
                stored += _stored(repository, oid)
                progress.advance(1)
        finally:
            progress.done()
    types, paths = _census(repository, found, progress, by_type=by_type, largest=largest)
    logical = sum(found.logical.values())
    return StatsReport(len(found.commits), logical, unique, count, stored, found.stored, types, paths)


@dataclass(frozen=True, slots=True)
class _Metadata:
    """What all refs lead to besides chunks: the commits, the bytes of their files by type, and what it takes."""

    commits: Sequence[ObjectId]
    logical: Mapping[str, int]
    stored: int


def _count_metadata(repository: Repository, chunks: ChunkSet, progress: Progress) -> _Metadata:
    totals: dict[ObjectId, Mapping[str, int]] = {}
    commits: list[ObjectId] = []
    logical = Counter[str]()
    stored = 0
    for link, body in walk_metadata(repository.reader, tips(repository)):
        stored += _stored(repository, link.id)
        chunks.add(chunks_of(body))
        if isinstance(body, TreeNode):
            totals[link.id] = _total(body, totals)
        elif isinstance(body, Commit):
            commits.append(link.id)
            logical.update(totals[body.tree])
        progress.advance(1)
    return _Metadata(commits, logical, stored)


def _total(node: TreeNode, totals: Mapping[ObjectId, Mapping[str, int]]) -> Mapping[str, int]:
    """Return the bytes of all files beneath a node, by type."""
    total = Counter[str]()
    for entry in node.entries:
        if isinstance(entry, Branch):
            total.update(totals[entry.child])
        elif is_file(entry):
            total[type_of(entry.name)] += entry.size
        elif entry.child is not None:
            total.update(totals[entry.child.id])
    return dict(total)


def _census(
    repository: Repository, found: _Metadata, progress: Progress, *, by_type: bool, largest: int
) -> tuple[Sequence[TypeStats], Sequence[PathStats]]:
    if not by_type and not largest:
        return (), ()
    reader = repository.reader
    with Census(repository) as census:
        progress.start(len(found.commits), "commits", "Looking through versions")
        try:
            for oid in found.commits:
                commit = reader.commit(oid)
                parent = reader.commit(commit.parents[0]).tree if commit.parents else None
                census.add(parent, commit.tree)
                progress.advance(1)
        finally:
            progress.done()

        def stored(chunk: ObjectId) -> int:
            return _stored(repository, chunk)

        types = census.types(found.logical, stored) if by_type else ()
        return types, census.largest(largest, stored) if largest else ()


def _stored(repository: Repository, oid: ObjectId) -> int:
    place = repository.frames.locate(oid)
    if place is None:
        raise IntegrityError(
            f"Object {oid.hex()} is missing: no index names it.", hint="`mediagit verify` shows what else is damaged."
        )
    return place.length
