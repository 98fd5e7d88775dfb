import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.history.merge_base import distance, merge_bases
from mediavault.history.walk import walk
from mediavault.model.ids import ObjectId
from tests.histories import History


@pytest.fixture
def history() -> History:
    made = History()
    for line in ("a", "b a", "c b", "d b", "e d", "x c e", "y e c", "alone"):
        made.add(*line.split())
    return made


@pytest.mark.parametrize(
    ("ours", "theirs", "bases"),
    [
        ("c", "d", "b"),
        ("c", "e", "b"),
        ("e", "d", "d"),
        ("b", "b", "b"),
        ("a", "e", "a"),
        ("c", "alone", ""),
        ("x", "y", "e c"),
    ],
)
def test_bases(history: History, ours: str, theirs: str, bases: str) -> None:
    found = merge_bases(history, history.id(ours), history.id(theirs))
    assert " ".join(map(history.name, found)) == bases
    assert set(merge_bases(history, history.id(theirs), history.id(ours))) == set(found)


@pytest.mark.parametrize(
    ("ours", "theirs", "ahead", "behind"),
    [("c", "e", 1, 2), ("e", "b", 2, 0), ("a", "a", 0, 0), ("x", "y", 1, 1), ("c", "alone", 3, 1)],
)
def test_distances(history: History, ours: str, theirs: str, ahead: int, behind: int) -> None:
    assert distance(history, history.id(ours), history.id(theirs)) == (ahead, behind)
    assert distance(history, history.id(theirs), history.id(ours)) == (behind, ahead)


def test_distance_to_nothing(history: History) -> None:
    assert distance(history, history.id("e"), None) == (4, 0)
    assert distance(history, None, history.id("a")) == (0, 1)
    assert distance(history, None, None) == (0, 0)


def test_a_long_shared_past_is_not_read() -> None:
    history = History()
    history.add("0")
    for number in range(1, 300):
        history.add(str(number), str(number - 1))
    history.add("ours", "299")
    history.add("theirs", "299")
    assert [history.name(oid) for oid in merge_bases(history, history.id("ours"), history.id("theirs"))] == ["299"]
    assert distance(history, history.id("ours"), history.id("theirs")) == (1, 1)
    assert len(history.read) < 20


@given(st.lists(st.sets(st.integers(0, 11), max_size=3), min_size=2, max_size=12), st.data())
def test_any_graph_agrees_with_the_definition(graph: list[set[int]], data: st.DataObject) -> None:
    history = History()
    for number, parents in enumerate(graph):
        history.add(str(number), *(str(parent) for parent in sorted(parents) if parent < number))
    one, two = (data.draw(st.integers(0, len(graph) - 1)) for _ in range(2))
    ours, theirs = history.id(str(one)), history.id(str(two))

    def reach(oid: ObjectId) -> set[ObjectId]:
        return {found for found, _ in walk(history, [oid])}

    common = reach(ours) & reach(theirs)
    best = {oid for oid in common if not any(oid in reach(other) for other in common - {oid})}
    assert set(merge_bases(history, ours, theirs)) == best
    assert distance(history, ours, theirs) == (len(reach(ours) - reach(theirs)), len(reach(theirs) - reach(ours)))
    order = [oid for oid, _ in walk(history, [ours, theirs])]
    for child, parent in itertools.pairwise(order):
        assert child not in history.commits[parent].parents
