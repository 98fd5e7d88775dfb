"""Commits in an order in which children come before their parents; what to show of them is for others."""

import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from mediavault.errors import IntegrityError
from mediavault.model.ids import ObjectId
from mediavault.model.objects import Commit


class CommitReader(Protocol):
    """What reads commits; `mediavault.objects.reader.ObjectReader` is one."""

    def commit(self, oid: ObjectId) -> Commit:
        """Return a commit.

        Raises:
            IntegrityError: it is missing or damaged.
        """


class Painted(NamedTuple):
    """A commit and the marks of all starts that lead to it."""

    id: ObjectId
    commit: Commit
    marks: int


class Painting:
    """A walk from marked starts towards the roots: iterate it, and each commit comes with all marks that reach it.

    A commit comes after every commit that leads to it, since its generation is lower; among equals the newer comes
    first. Its parents wait already, and may be given more marks by `spread`.

    Args:
        reader: reads commits.
        starts: commits and their marks (bits).
    """

    def __init__(self, reader: CommitReader, starts: Iterable[tuple[ObjectId, int]]) -> None:
        self._reader = reader
        self._marks: dict[ObjectId, int] = {}
        self._queue: list[tuple[int, int, ObjectId, Commit]] = []
        for oid, marks in starts:
            self._reach(oid, marks, None)

    def __iter__(self) -> Iterator[Painted]:
        """Yield commits.

        Raises:
            IntegrityError: a commit is missing, damaged, or not younger than its parents.
        """
        while self._queue:
            *_, oid, commit = heapq.heappop(self._queue)
            self.spread(oid, commit)
            yield Painted(oid, commit, self._marks[oid])
            del self._marks[oid]

    def spread(self, oid: ObjectId, commit: Commit, more: int = 0) -> None:
        """Give a commit's marks, and `more`, to its parents."""
        for parent in commit.parents:
            self._reach(parent, self._marks[oid] | more, commit)

    def waits_only_for(self, marks: int) -> bool:
        """Say whether every commit that is to come now has all of these marks."""
        return all(self._marks[oid] & marks == marks for *_, oid, _ in self._queue)

    def _reach(self, oid: ObjectId, marks: int, child: Commit | None) -> None:
        known = self._marks.get(oid)
        if known is not None:
            self._marks[oid] = known | marks
            return
        commit = self._reader.commit(oid)
        if child is not None and commit.generation >= child.generation:
            raise IntegrityError(f"Commit {oid.hex()} is not of an earlier generation than its child.")
        self._marks[oid] = marks
        heapq.heappush(self._queue, (-commit.generation, -commit.committed.seconds, oid, commit))


_WANTED, _HIDDEN = 1, 2


def walk(
    reader: CommitReader, starts: Iterable[ObjectId], *, without: Iterable[ObjectId] = ()
) -> Iterator[tuple[ObjectId, Commit]]:
    """Yield the commits that `starts` lead to, each once, children before parents, newest first.

    Lazy: only what is yielded and its parents are read.

    Args:
        reader: reads commits.
        starts: where to begin.
        without: leave out these commits and all that they lead to.

    Raises:
        IntegrityError: a commit is missing or damaged.
    """
    hidden = [(oid, _HIDDEN) for oid in without]
    painting = Painting(reader, [*((oid, _WANTED) for oid in starts), *hidden])
    for oid, commit, marks in painting:
        if not marks & _HIDDEN:
            yield oid, commit
        if hidden and painting.waits_only_for(_HIDDEN):
            return
