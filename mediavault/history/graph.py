"""Draws lines of history in text, row by row as `git log --graph` does; what stands beside them is for others.

Each lane is a column of two characters that leads down to a commit that is still to come. A row changes one thing:
a merge opens one lane more, or a lane bends into another one that leads to the same commit, or one ends.
"""

from collections.abc import Iterator, Sequence

from mediavault.model.ids import ObjectId


class Graph:
    """The lanes at one place of a drawing, which goes down from children to parents."""

    def __init__(self) -> None:
        self._lanes: list[ObjectId] = []
        self._ended = -1

    def gap(self, oid: ObjectId) -> list[str]:
        """Return what to draw above the next commit, so that a line which begins does not seem to go on with one that ended."""
        return [self.beside()] if self._ended == len(self._lanes) and oid not in self._lanes else []

    def rows(self, oid: ObjectId, parents: Sequence[ObjectId]) -> list[str]:
        """Draw the next commit; return the rows down to the next one, which are as wide as the widest of them.

        The first row holds the commit, as a star.

        Args:
            oid: the commit. All of its children that are drawn were drawn before.
            parents: the commits that its lines lead to, all of which are drawn later.
        """
        if oid not in self._lanes:
            self._lanes.append(oid)
        at = self._lanes.index(oid)
        self._ended = at if not parents and at == len(self._lanes) - 1 else -1
        first = _lines(len(self._lanes))
        first[2 * at] = "*"
        rows = [first, *self._edges(at, list(dict.fromkeys(parents)))]
        width = max(map(len, rows))
        return ["".join(row).ljust(width) for row in rows]

    def beside(self) -> str:
        """Return the row that goes beside more lines of text."""
        return "".join(_lines(len(self._lanes)))

    def _edges(self, at: int, parents: list[ObjectId]) -> Iterator[list[str]]:
        if not parents:
            del self._lanes[at]
            if at < len(self._lanes):
                row = [*_lines(at), " ", " "]
                yield self._moved_left(row, at)
            return
        for parent in reversed(parents[1:]):
            yield self._branch(at, parent)
        self._lanes[at] = parents[0]
        twins = [lane for lane, oid in enumerate(self._lanes) if oid == parents[0]]
        if len(twins) > 1:
            yield self._join(*twins)

    def _branch(self, at: int, parent: ObjectId) -> list[str]:
        """Lead from a lane to a parent's, which is opened beside it where there is none."""
        if parent in self._lanes:
            row = _lines(len(self._lanes))
            to = self._lanes.index(parent)
            row[2 * at + (1 if to > at else -1)] = "\\" if to > at else "/"
            for between in range(at + 1, to) if to > at else range(to, at - 1):
                row[2 * between + 1] = "_"
            return row
        self._lanes.insert(at + 1, parent)
        row = _lines(at + 1)
        for _ in range(at + 1, len(self._lanes)):
            row[-1] = "\\"
            row += [" ", " "]
        return row

    def _join(self, left: int, right: int) -> list[str]:
        """Bend a lane into one to its left."""
        del self._lanes[right]
        row = _lines(right)
        for between in range(left, right - 1):
            row[2 * between + 1] = "_"
        row[2 * right - 1] = "/"
        return self._moved_left([*row, " ", " "], right)

    def _moved_left(self, row: list[str], at: int) -> list[str]:
        """Draw the lanes from `at` on coming from one place further right; `row` ends at that place."""
        for _ in range(at, len(self._lanes)):
            row[-1] = "/"
            row += [" ", " "]
        return row


def _lines(count: int) -> list[str]:
    return ["|", " "] * count
