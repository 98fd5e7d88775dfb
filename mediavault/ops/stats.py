"""How much all versions are, and how little of it is stored."""

from dataclasses import dataclass

from mediavault.errors import IntegrityError
from mediavault.model.ids import ObjectId
from mediavault.model.objects import Branch, Commit, TreeNode
from mediavault.ops.contents import ChunkSet, chunks_of, is_file, tips, walk_metadata
from mediavault.ops.progress import Progress
from mediavault.ops.repository import Repository


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
    """

    commits: int
    logical_bytes: int
    unique_bytes: int
    unique_chunks: int
    stored_bytes: int

    @property
    def dedup_ratio(self) -> float:
        """Logical bytes for each unique one; 1 where there is nothing."""
        return self.logical_bytes / self.unique_bytes if self.unique_bytes else 1.0

    @property
    def compression_ratio(self) -> float:
        """Unique bytes for each stored one; 1 where there is nothing."""
        return self.unique_bytes / self.stored_bytes if self.stored_bytes else 1.0


def stats(repository: Repository, progress: Progress) -> StatsReport:
    """Count what all refs lead to; chunks are looked up and not read.

    Raises:
        IntegrityError: something is missing or damaged.
    """
    with ChunkSet() as chunks:
        progress.start(None, "objects", "Counting")
        try:
            commits, logical, stored = _count_metadata(repository, chunks, progress)
            count = unique = 0
            for oid, length in chunks:
                count += 1
                unique += length
                stored += _stored(repository, oid)
                progress.advance(1)
        finally:
            progress.done()
    return StatsReport(commits, logical, unique, count, stored)


def _count_metadata(repository: Repository, chunks: ChunkSet, progress: Progress) -> tuple[int, int, int]:
    """Return the number of commits, their logical bytes, and what metadata takes."""
    totals: dict[ObjectId, int] = {}
    commits = logical = stored = 0
    for link, body in walk_metadata(repository.reader, tips(repository)):
        stored += _stored(repository, link.id)
        chunks.add(chunks_of(body))
        if isinstance(body, TreeNode):
            totals[link.id] = _total(body, totals)
        elif isinstance(body, Commit):
            commits += 1
            logical += totals[body.tree]
        progress.advance(1)
    return commits, logical, stored


def _total(node: TreeNode, totals: dict[ObjectId, int]) -> int:
    total = 0
    for entry in node.entries:
        if isinstance(entry, Branch):
            total += totals[entry.child]
        elif is_file(entry):
            total += entry.size
        elif entry.child is not None:
            total += totals[entry.child.id]
    return total


def _stored(repository: Repository, oid: ObjectId) -> int:
    place = repository.frames.locate(oid)
    if place is None:
        raise IntegrityError(
            f"Object {oid.hex()} is missing: no index names it.", hint="`mediagit verify` shows what else is damaged."
        )
    return place.length
