"""Drawings of history: lanes, and the order that keeps a line of work together."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.history.graph import Graph
from mediavault.history.topology import draw_selected, keep_lines_together
from mediavault.history.walk import walk
from tests.histories import History


def drawing(history: History, *starts: str, without: tuple[str, ...] = (), only: str = "") -> str:
    """Return a drawing with names beside the commits; with `only`, of these alone."""
    ids = [history.id(name) for name in starts]
    found = walk(history, ids, without=[history.id(name) for name in without])
    drawn = list(keep_lines_together(found))
    if only or without:
        selected = {history.id(name) for name in only.split()} if only else {one.id for one in drawn}
        drawn = draw_selected([(one.id, one.parents) for one in drawn], selected.__contains__)
    graph = Graph()
    lines = []
    for one in drawn:
        lines += [row.rstrip() for row in graph.gap(one.id)]
        first, *rest = graph.rows(one.id, one.parents)
        lines += [first.rstrip() + " " + history.name(one.id), *(row.rstrip() for row in rest)]
    return "\n".join(lines)


def shape(text: str) -> str:
    """Return a drawing as it stands in a test: without the indentation and the empty lines around it."""
    lines = text.strip("\n").splitlines()
    return "\n".join(line[4:] for line in lines if line.strip())


@pytest.fixture
def merged() -> History:
    history = History()
    history.add("a")
    history.add("b", "a")
    history.add("c", "a")
    history.add("d", "c")
    history.add("m", "b", "d")
    history.add("e", "m")
    return history


def edges_of(text: str) -> dict[str, set[str]]:
    """Follow the lines of a drawing with the eye; return where those of each commit lead."""
    lanes: dict[int, set[str]] = {}
    found: dict[str, set[str]] = {}
    for row in text.splitlines():
        signs, _, name = row.partition("*")
        if "*" not in row:
            lanes = _led_on(lanes, row)
            continue
        at = len(signs)
        drawn = {place for place, sign in enumerate(row[: at + 1] + name.rpartition(" ")[0]) if sign in "|*"}
        gone = [child for place in lanes.keys() - drawn for child in lanes.pop(place)]
        assert not any(found[child] for child in gone)
        assert drawn - {at} <= lanes.keys()
        for child in lanes.get(at, ()):
            found[child].add(name.split()[-1])
        found[name.split()[-1]] = set()
        lanes[at] = {name.split()[-1]}
    return found


def _led_on(lanes: dict[int, set[str]], row: str) -> dict[int, set[str]]:
    below: dict[int, set[str]] = {}
    for place, children in lanes.items():
        for to in _exits(place, f"{row:<200}"):
            below.setdefault(to, set()).update(children)
    assert {at for at, sign in enumerate(row) if sign == "|"} <= below.keys()
    return below


def _exits(place: int, row: str) -> Iterator[int]:
    if row[place] == "|":
        yield place
    if place and row[place - 1] == "/":
        to = place - 2
        while to > 0 and row[to - 1] == "_":
            to -= 2
        yield to
    if row[place + 1] == "\\":
        to = place + 2
        while row[to + 1] == "_":
            to += 2
        yield to


def test_one_line(merged: History) -> None:
    assert drawing(merged, "d") == "* d\n* c\n* a"


def test_a_merge_shows_what_it_brought_in_beside_the_line_it_went_into(merged: History) -> None:
    assert drawing(merged, "e") == shape(r"""
    * e
    * m
    |\
    | * d
    | * c
    * | b
    |/
    * a
    """)


def test_branches_that_were_not_merged(merged: History) -> None:
    merged.add("x", "c")
    merged.add("y", "x")
    merged.add("z", "y")
    assert drawing(merged, "e", "z") == shape(r"""
    * e
    * m
    |\
    | * d
    * | b
    | | * z
    | | * y
    | | * x
    | |/
    | * c
    |/
    * a
    """)


def test_an_octopus_and_a_merge_into_a_lane_that_is_there() -> None:
    history = History()
    history.add("a")
    for name in "bcd":
        history.add(name, "a")
    history.add("o", "b", "c", "d")
    history.add("e", "o", "d")
    assert drawing(history, "o") == shape(r"""
    * o
    |\
    |\ \
    | | * d
    | * | c
    | |/
    * | b
    |/
    * a
    """)
    assert drawing(history, "e") == shape(r"""
    * e
    |\
    * | o
    |\|
    |\ \
    | | * d
    | * | c
    | |/
    * | b
    |/
    * a
    """)


def test_a_line_that_leads_under_others() -> None:
    history = History()
    history.add("a")
    for name in "bcd":
        history.add(name, "a")
    history.add("x", "b", "d")
    history.add("y", "c")
    history.add("z", "d")
    history.add("w", "z", "x")
    history.add("v", "x", "z")
    assert drawing(history, "w", "y", "v") == shape(r"""
    * v
    |\
    | | * w
    |_|/|
    | |/
    * | x
    |\ \
    * | | b
    | | * z
    | |/
    | * d
    |/
    | * y
    | * c
    |/
    * a
    """)


def test_roots_end_lanes_and_the_rest_moves_up() -> None:
    history = History()
    for name in "rst":
        history.add(name)
    history.add("m", "s", "r")
    history.add("n", "m", "t")
    history.add("q", "r", "n")
    assert drawing(history, "q") == shape(r"""
    * q
    |\
    | * n
    | |\
    | | * t
    | * m
    |/|
    * | r
     /
    * s
    """)


def test_two_roots_do_not_seem_to_be_parent_and_child(merged: History) -> None:
    merged.add("r")
    merged.add("s", "r")
    assert drawing(merged, "r", "c") == "* c\n* a\n\n* r"
    assert drawing(merged, "b", "r", "a") == "* b\n* a\n\n* r"


def test_what_is_left_out_is_not_drawn_and_lines_end_there(merged: History) -> None:
    assert drawing(merged, "e", without=("b",)) == "* e\n* m\n* d\n* c"


def test_lines_lead_past_what_is_not_selected(merged: History) -> None:
    # From e a line leads past m and b to a as well; it says no more than the one by d.
    assert drawing(merged, "e", only="e d a") == "* e\n* d\n* a"
    assert drawing(merged, "e", only="e b c") == "* e\n|\\\n| * c\n* b"
    assert drawing(merged, "e", only="m b c d a").count("|\\") == 1


def test_the_rows_of_one_commit_are_equally_wide(merged: History) -> None:
    graph = Graph()
    rows = graph.rows(merged.id("m"), [merged.id("b"), merged.id("d")])
    assert rows == ["*   ", "|\\  "]
    assert graph.beside() == "| | "


def test_the_newest_commits_of_a_long_history_are_drawn_at_once() -> None:
    history = History()
    history.add("0")
    for number in range(1, 500):
        history.add(str(number), str(number - 1))
    history.add("side", "497")
    history.add("end", "499", "side")
    drawn = keep_lines_together(walk(history, [history.id("end")]))
    assert [history.name(next(drawn).id) for _ in range(4)] == ["end", "side", "499", "498"]
    assert len(history.read) < 10


@st.composite
def histories(draw: st.DrawFn) -> tuple[History, list[str]]:
    """Draw a history with merges of any shape, and commits to begin at."""
    history = History()
    names: list[str] = []
    for number in range(draw(st.integers(1, 14))):
        near = names[-5:]
        parents = draw(st.lists(st.sampled_from(near), max_size=3, unique=True)) if near else []
        name = f"n{number}"
        history.add(name, *parents, seconds=draw(st.integers(0, 5)))
        names.append(name)
    return history, draw(st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True))


@given(histories())
def test_the_lines_of_any_drawing_lead_to_the_parents(made: tuple[History, list[str]]) -> None:
    history, starts = made
    found = edges_of(drawing(history, *starts))
    assert set(found) == set(history.walked(*starts).split())
    for name, parents in found.items():
        assert parents == {history.name(parent) for parent in history.commits[history.id(name)].parents}


@given(histories(), st.data())
def test_the_lines_of_a_selection_lead_to_the_nearest_selected_ones(
    made: tuple[History, list[str]], data: st.DataObject
) -> None:
    history, starts = made
    reached = history.walked(*starts).split()
    selected = data.draw(st.lists(st.sampled_from(reached), min_size=1, unique=True))

    parents = {name: {history.name(parent) for parent in history.commits[history.id(name)].parents} for name in reached}

    def beneath(name: str, lines: dict[str, set[str]]) -> set[str]:
        return {found for below in lines[name] for found in {below} | beneath(below, lines)}

    def nearest(name: str) -> set[str]:
        return {one for parent in parents[name] for one in ({parent} if parent in selected else nearest(parent))}

    found = edges_of(drawing(history, *starts, only=" ".join(selected)))
    assert set(found) == set(selected)
    for name in selected:
        assert parents[name] & set(selected) <= found[name] <= nearest(name)
        assert beneath(name, found) == beneath(name, parents) & set(selected)


@given(histories())
def test_children_come_before_parents(made: tuple[History, list[str]]) -> None:
    history, starts = made
    order = [one.id for one in keep_lines_together(walk(history, [history.id(name) for name in starts]))]
    assert len(order) == len(set(order))
    for at, oid in enumerate(order):
        assert not set(history.commits[oid].parents) & set(order[:at])
