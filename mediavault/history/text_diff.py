"""Two texts line by line: what goes, what comes, and the lines around it; the time is bounded whatever they hold.

Lines that occur once on both sides and in the same order hold the two texts together (patience diff); what lies between
them is compared by difflib, whose time grows with the cube of its input, as long as it is small; else it is one block.
"""

import difflib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

_BUDGET: Final = 20_000_000
"""Steps that difflib may take at worst for one pair of texts: some seconds."""


class Block(NamedTuple):
    """Lines `old_start` to `old_end` became lines `new_start` to `new_end`, counted from 0, ends left out."""

    old_start: int
    old_end: int
    new_start: int
    new_end: int


class Hunk(NamedTuple):
    """Changes that stand close together, with the lines around them.

    Attributes:
        old_start: the first line of the older text, counted from 0.
        old_count: how many of its lines there are.
        new_start: the first line of the newer text.
        new_count: how many of its lines there are.
        lines: each with its sign: a space, `-` or `+`; as they stand in the texts, with their ends.
    """

    old_start: int
    old_count: int
    new_start: int
    new_count: int
    lines: Sequence[tuple[str, str]]


def split_lines(text: str) -> list[str]:
    """Return the lines of a text with their ends; only a line feed ends a line."""
    lines = text.split("\n")
    last = lines.pop()
    return [line + "\n" for line in lines] + ([last] if last else [])


def hunks(old: Sequence[str], new: Sequence[str], context: int) -> Iterator[Hunk]:
    """Yield the places where two texts differ.

    Args:
        old: lines with their ends.
        new: lines with their ends.
        context: equal lines to show before and after a change.
    """
    group: list[Block] = []
    for block in changed_blocks(old, new):
        if group and block.old_start - group[-1].old_end > 2 * context:
            yield _hunk(old, new, group, context)
            group = []
        group.append(block)
    if group:
        yield _hunk(old, new, group, context)


def changed_blocks(old: Sequence[str], new: Sequence[str]) -> Iterator[Block]:
    """Yield what differs between two texts, from the top; no two blocks touch each other."""
    pending: Block | None = None
    comparison = _Comparison(old, new)
    for block in comparison.between(Block(0, len(old), 0, len(new))):
        if pending and (pending.old_end, pending.new_end) == (block.old_start, block.new_start):
            pending = Block(pending.old_start, block.old_end, pending.new_start, block.new_end)
            continue
        if pending:
            yield pending
        pending = block
    if pending:
        yield pending


class _Comparison:
    """Compares parts of two texts, and keeps account of the time that it may take."""

    def __init__(self, old: Sequence[str], new: Sequence[str]) -> None:
        self._old = old
        self._new = new
        self._budget = _BUDGET

    def between(self, whole: Block) -> Iterator[Block]:
        """Yield what differs in a part."""
        part = self._trimmed(whole)
        if part.old_start == part.old_end or part.new_start == part.new_end:
            if part.old_end - part.old_start or part.new_end - part.new_start:
                yield part
            return
        old_at, new_at = part.old_start, part.new_start
        for old_line, new_line in self._anchors(part):
            yield from self._small(self._trimmed(Block(old_at, old_line, new_at, new_line)))
            old_at, new_at = old_line + 1, new_line + 1
        yield from self._small(self._trimmed(Block(old_at, part.old_end, new_at, part.new_end)))

    def _trimmed(self, part: Block) -> Block:
        """Return a part without the lines that are equal at its start and at its end."""
        old_start, old_end, new_start, new_end = part
        old, new = self._old, self._new
        while old_start < old_end and new_start < new_end and old[old_start] == new[new_start]:
            old_start, new_start = old_start + 1, new_start + 1
        while old_start < old_end and new_start < new_end and old[old_end - 1] == new[new_end - 1]:
            old_end, new_end = old_end - 1, new_end - 1
        return Block(old_start, old_end, new_start, new_end)

    def _anchors(self, part: Block) -> list[tuple[int, int]]:
        """Return places of lines that occur once on both sides, as many as stand in the same order."""
        old_counts = Counter(self._old[part.old_start : part.old_end])
        new_counts = Counter(self._new[part.new_start : part.new_end])
        places = {
            line: at
            for at, line in enumerate(self._new[part.new_start : part.new_end], part.new_start)
            if new_counts[line] == 1
        }
        pairs = [
            (at, places[line])
            for at, line in enumerate(self._old[part.old_start : part.old_end], part.old_start)
            if old_counts[line] == 1 and line in places
        ]
        return _longest_ascending(pairs)

    def _small(self, part: Block) -> Iterator[Block]:
        """Yield what differs in a part without lines to hold on to; all of it where comparing would take long."""
        old_count, new_count = part.old_end - part.old_start, part.new_end - part.new_start
        cost = old_count * new_count * min(old_count, new_count)
        if not old_count or not new_count or cost > self._budget:
            if old_count or new_count:
                yield part
            return
        self._budget -= cost
        matcher = difflib.SequenceMatcher(
            None, self._old[part.old_start : part.old_end], self._new[part.new_start : part.new_end], autojunk=False
        )
        for kind, old_from, old_to, new_from, new_to in matcher.get_opcodes():
            if kind != "equal":
                yield Block(
                    part.old_start + old_from,
                    part.old_start + old_to,
                    part.new_start + new_from,
                    part.new_start + new_to,
                )


def _longest_ascending(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the longest run of pairs whose second numbers ascend, as their first ones do (patience sorting)."""
    tops: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for number, (_, value) in enumerate(pairs):
        pile = bisect_left(tops, value)
        before.append(ends[pile - 1] if pile else -1)
        tops[pile : pile + 1] = [value]
        ends[pile : pile + 1] = [number]
    found = []
    at = ends[-1] if ends else -1
    while at >= 0:
        found.append(pairs[at])
        at = before[at]
    return found[::-1]


def _hunk(old: Sequence[str], new: Sequence[str], group: Sequence[Block], context: int) -> Hunk:
    first, last = group[0], group[-1]
    lead = min(context, first.old_start)
    tail = min(context, len(old) - last.old_end)
    lines: list[tuple[str, str]] = []
    at = first.old_start - lead
    for block in group:
        lines += [(" ", line) for line in old[at : block.old_start]]
        lines += [("-", line) for line in old[block.old_start : block.old_end]]
        lines += [("+", line) for line in new[block.new_start : block.new_end]]
        at = block.old_end
    lines += [(" ", line) for line in old[at : at + tail]]
    old_start, new_start = first.old_start - lead, first.new_start - lead
    return Hunk(old_start, last.old_end + tail - old_start, new_start, last.new_end + tail - new_start, lines)
