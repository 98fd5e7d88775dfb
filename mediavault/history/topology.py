"""Commits in the order of a drawing: children before parents, and each line of work kept together."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from mediavault.model.ids import ObjectId
from mediavault.model.objects import Commit


class Drawn(msgspec.Struct, frozen=True, gc=False):
    """A commit to draw, and the commits that its lines lead to: its parents, or the nearest ones that are drawn."""

    id: ObjectId
    parents: tuple[ObjectId, ...]


def keep_lines_together(walk: Iterator[tuple[ObjectId, Commit]]) -> Iterator[Drawn]:
    """Yield the commits of a walk so that a line of work is not broken by another one that merely is as old.

    Lazy: reads the walk no further than the commit that comes next; memory grows with how long lines run beside each
    other.

    Args:
        walk: yields commits by falling generation.
    """
    lines = _Lines(walk)
    while lines.ready or lines.explore():
        yield lines.take()


class _Lines:
    """Commits that were read and wait to be yielded; after a merge, the line that it brought in goes first."""

    def __init__(self, walk: Iterator[tuple[ObjectId, Commit]]) -> None:
        self._walk = walk
        self._parents: dict[ObjectId, tuple[ObjectId, ...]] = {}
        self._children: dict[ObjectId, int] = {}
        self.ready: list[ObjectId] = []

    def explore(self) -> bool:
        """Read one commit more, False when there is none; one that no commit leads to begins a line."""
        found = next(self._walk, None)
        if found is None:
            return False
        oid, commit = found
        self._parents[oid] = commit.parents
        for parent in commit.parents:
            self._children[parent] = self._children.get(parent, 0) + 1
        if oid not in self._children:
            self.ready.insert(0, oid)  # lines that have begun are finished first
        return True

    def take(self) -> Drawn:
        """Return the next commit: every commit that leads to it has been returned."""
        oid = self.ready.pop()
        parents = self._parents.pop(oid)
        self._children.pop(oid, None)
        for parent in parents:
            self._children[parent] -= 1
        self.ready += [parent for parent in dict.fromkeys(parents) if self._is_next(parent)]
        return Drawn(oid, parents)

    def _is_next(self, oid: ObjectId) -> bool:
        """Say whether all children of a commit were returned. Their generations are higher: once it is read, they are."""
        if self._children[oid]:
            return False
        while oid not in self._parents:
            if not self.explore():
                return False  # the walk leaves it out
        return not self._children[oid]


def draw_selected(
    commits: Sequence[tuple[ObjectId, tuple[ObjectId, ...]]], selected: Callable[[ObjectId], bool]
) -> list[Drawn]:
    """Return the commits that are selected, each with the nearest selected ones that it leads to.

    A line that leads past what is not selected is left out where another one leads to the same commit.

    Args:
        commits: ids and parents, children before parents; parents that are not among them are no part of the drawing.
        selected: which to keep.
    """
    nearest: dict[ObjectId, tuple[ObjectId, ...]] = {}
    drawing = _Selection()
    for oid, parents in reversed(commits):
        leads_to = tuple(dict.fromkeys(found for parent in parents for found in nearest.get(parent, ())))
        if len(leads_to) > 1:
            leads_to = tuple(one for one in leads_to if one in parents or not drawing.has_longer_way(one, leads_to))
        if selected(oid):
            drawing.add(oid, leads_to)
            nearest[oid] = (oid,)
        else:
            nearest[oid] = leads_to
    return drawing.drawn[::-1]


class _Selection:
    """Selected commits, parents before children, and where their lines lead."""

    def __init__(self) -> None:
        self.drawn: list[Drawn] = []
        self._number: dict[ObjectId, int] = {}

    def add(self, oid: ObjectId, leads_to: tuple[ObjectId, ...]) -> None:
        """Take in a commit; where its lines lead is there already."""
        self._number[oid] = len(self.drawn)
        self.drawn.append(Drawn(oid, leads_to))

    def has_longer_way(self, target: ObjectId, starts: Iterable[ObjectId]) -> bool:
        """Say whether one of the starts, not counting the target itself, leads to the target."""
        front = [oid for oid in starts if oid != target]
        seen = set(front)
        while front:
            at = self._number[front.pop()]
            for oid in self.drawn[at].parents if at > self._number[target] else ():
                if oid == target:
                    return True
                if oid not in seen:
                    seen.add(oid)
                    front.append(oid)
        return False
