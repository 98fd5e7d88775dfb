from pathlib import Path

import pytest

from mediavault.errors import IntegrityError
from mediavault.history.walk import walk
from tests.checkouts import Project
from tests.histories import History


@pytest.fixture
def history() -> History:
    """Return a fork with a merge: a - b - c - - f - g, and b - d - e - f."""
    made = History()
    made.add("a")
    made.add("b", "a", seconds=1)
    made.add("c", "b", seconds=5)
    made.add("d", "b", seconds=2)
    made.add("e", "d", seconds=3)
    made.add("f", "c", "e", seconds=6)
    made.add("g", "f", seconds=7)
    return made


def test_children_come_before_parents(history: History) -> None:
    assert history.walked("g") == "g f e c d b a"
    assert history.walked("c", "e") == "e c d b a"
    assert history.walked() == ""


def test_each_commit_comes_once(history: History) -> None:
    assert history.walked("g", "f", "g") == "g f e c d b a"


def test_what_others_have_is_left_out(history: History) -> None:
    assert history.walked("g", without=("c",)) == "g f e d"
    assert history.walked("g", without=("g",)) == ""
    assert history.walked("c", without=("e",)) == "c"


def test_a_walk_reads_only_as_far_as_it_is_followed() -> None:
    history = History()
    history.add("0")
    for number in range(1, 500):
        history.add(str(number), str(number - 1))
    first = next(walk(history, [history.id("499")]))
    assert history.name(first[0]) == "499"
    assert len(history.read) <= 3
    history.read.clear()
    assert history.walked("499", without=("497",)) == "499 498"
    assert len(history.read) < 10


def test_generations_that_do_not_descend_are_refused() -> None:
    history = History()
    history.add("a", generation=7)
    history.add("b", "a", generation=7)
    with pytest.raises(IntegrityError):
        history.walked("b")


def test_real_commits_are_walked(tmp_path: Path) -> None:
    with Project(tmp_path) as project:
        tree = project.tree({"a": b""})
        first = project.commit(tree)
        second = project.commit(tree, first)
        assert [oid for oid, _ in walk(project.reader, [second])] == [second, first]
