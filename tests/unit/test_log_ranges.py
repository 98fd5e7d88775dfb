"""Parts of history: A..B, A...B, ^A and several of them."""

import pytest

from mediavault.errors import NotFoundError
from mediavault.history.ranges import ends
from mediavault.history.resolve import Resolver
from mediavault.history.walk import walk
from mediavault.model.ids import Kind, Link
from mediavault.model.objects import Tag
from tests.histories import History


class Refs:
    def __init__(self, history: History) -> None:
        self._history = history

    def list(self, prefix: str = "") -> list["Ref"]:
        names = [f"heads/{self._history.name(oid)}" for oid in self._history.commits]
        return [Ref(name, self._history) for name in names if name.startswith(prefix)]


class Ref:
    def __init__(self, name: str, history: History) -> None:
        self.name = name
        self.target: Link | None = Link(Kind.COMMIT, history.id(name.removeprefix("heads/")))


class Tagless(History):
    def tag(self, oid: bytes) -> Tag:
        raise AssertionError(oid)


@pytest.fixture
def history() -> Tagless:
    r"""Return a0 - a1 - a2 - merge - a4, with b1 - b2 from a1 into the merge, and c1 from a2."""
    made = Tagless()
    made.add("a0")
    made.add("a1", "a0")
    made.add("a2", "a1")
    made.add("b1", "a1")
    made.add("b2", "b1")
    made.add("merge", "a2", "b2")
    made.add("a4", "merge")
    made.add("c1", "a2")
    return made


def listed(history: Tagless, *revisions: str, head: str = "a4", also: str = "") -> set[str]:
    find = Resolver(history, Refs(history), history.id(head) if head else None)
    more = [history.id(name) for name in also.split()]
    found = ends(find, history, revisions, history.id(head) if head else None, also=more)
    return {history.name(oid) for oid, _ in walk(history, found.starts, without=found.without)}


@pytest.mark.parametrize(
    ("revisions", "wanted"),
    [
        ("", "a0 a1 a2 b1 b2 merge a4"),
        ("c1", "a0 a1 a2 c1"),
        ("b2 c1", "a0 a1 a2 b1 b2 c1"),
        ("c1..a4", "b1 b2 merge a4"),
        ("^c1 a4", "b1 b2 merge a4"),
        ("a4 ^c1", "b1 b2 merge a4"),
        ("a4..c1", "c1"),
        ("c1...a4", "c1 b1 b2 merge a4"),
        ("a4...c1", "c1 b1 b2 merge a4"),
        ("b2...b2", ""),
        ("c1..", "b1 b2 merge a4"),
        ("..c1", "c1"),
        ("...c1", "c1 b1 b2 merge a4"),
        ("^merge", "a4"),
        ("a4 ^a2 ^b1", "a4 merge b2"),
        ("a4 b1..b2", "merge a4 a2 b2"),
        ("a4~1..a4", "a4"),
    ],
)
def test_ranges(history: Tagless, revisions: str, wanted: str) -> None:
    assert listed(history, *revisions.split()) == set(wanted.split())


def test_more_commits_to_begin_at(history: Tagless) -> None:
    assert listed(history, "^a1", also="c1 b1") == {"c1", "a2", "b1"}
    assert listed(history, also="c1") == {"c1", "a2", "a1", "a0"}


def test_nothing_is_listed_where_nothing_is_committed(history: Tagless) -> None:
    assert listed(history, head="") == set()


def test_a_side_that_is_unknown_is_named(history: Tagless) -> None:
    with pytest.raises(NotFoundError, match="'x1'"):
        listed(history, "x1...a4")
    with pytest.raises(NotFoundError, match="'y1'"):
        listed(history, "^y1")
