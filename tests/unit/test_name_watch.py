"""Names that are one on other systems, watched while paths go by."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.model.names import collision_key
from mediavault.model.objects import Mode
from mediavault.workspace.collisions import Collision, NameWatch
from mediavault.workspace.stage import Stage, StageRow


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path / "state") as made:
        yield made


def rows(*paths: str) -> list[StageRow]:
    return [StageRow(path, Mode.FILE, 0, bytes(32), None) for path in paths]


def refused(stage: Stage, *new: str, roots: tuple[str, ...] = ("",), gone: tuple[str, ...] = ()) -> list[Collision]:
    """Watch new paths, and what is staged under the roots, as an add does."""
    watch = NameWatch(roots)
    staged = [row.path for root in roots for row in stage.under(root) if row.path not in gone]
    for path in sorted({*staged, *new}):
        watch.see(path)
    return list(watch.refused(stage, gone))


def test_what_is_staged_stays(stage: Stage) -> None:
    stage.put_many(rows("Readme", "dir/a", "dir/b"))
    assert refused(stage, "new", "dir/c") == []
    assert refused(stage, "README") == [Collision("README", "Readme")]
    assert refused(stage, "Dir/x", "Dir/y") == [Collision("Dir", "dir")]
    assert refused(stage, "dir/A") == [Collision("dir/A", "dir/a")]
    assert refused(stage, "DIR") == [Collision("DIR", "dir")]


def test_of_new_names_none_is_better(stage: Stage) -> None:
    assert refused(stage, "x/\u00e9", "x/e\u0301") == [
        Collision("x/e\u0301", "x/\u00e9"),
        Collision("x/\u00e9", "x/e\u0301"),
    ]
    found = refused(stage, "a", "A/1", "A/2")
    assert found == [Collision("A", "a"), Collision("a", "A")]
    assert [collision.first for collision in refused(stage, "b", "B", "ß", "ss", "SS")] == ["B", "b", "SS", "ss", "ß"]


def test_a_name_that_goes_makes_room(stage: Stage) -> None:
    stage.put_many(rows("Main", "Reel/1", "Reel/2"))
    assert refused(stage, "main", gone=("Main",)) == []
    assert refused(stage, "reel/1", gone=("Reel/1", "Reel/2")) == []
    assert refused(stage, "reel/1", gone=("Reel/1",)) == [Collision("reel", "Reel")]


def test_what_stands_beside_the_roots_counts_too(stage: Stage) -> None:
    stage.put_many(rows("Main", "Reel/1", "shots/a/1", "shots/b"))
    assert refused(stage, "main", roots=("main",)) == [Collision("main", "Main")]
    assert refused(stage, "main", roots=("main", "Main"), gone=("Main",)) == []
    assert refused(stage, "reel/1", roots=("reel/1",)) == [Collision("reel", "Reel")]
    assert refused(stage, "shots/A/1", "shots/B", roots=("shots/A", "shots/B")) == [
        Collision("shots/A", "shots/a"),
        Collision("shots/B", "shots/b"),
    ]
    assert refused(stage, "shots/a/2", roots=("shots/a/2",)) == []


NAMES = st.sampled_from(["a", "A", "b", "B", "é", "e\u0301", "É"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@given(new=st.sets(PATHS, max_size=8))
def test_what_is_left_never_collides(tmp_path_factory: pytest.TempPathFactory, new: set[str]) -> None:
    # A file and a folder of one name cannot both be there.
    new = {path for path in new if not any(other.startswith(path + "/") for other in new)}
    with Stage(tmp_path_factory.mktemp("stage") / "state") as stage:
        away = {collision.first for collision in refused(stage, *new)}
    left = [path for path in new if not any(f"{path}/".startswith(f"{entry}/") for entry in away)]
    assert len({collision_key(path) for path in left}) == len(left)
    colliding = {path for path in new if any(_meet(path, other) for other in new)}
    assert set(left) >= new - colliding, "nothing else is refused"


def _meet(one: str, other: str) -> bool:
    """Say whether two paths have different names at one place of which all above are equal."""
    for first, second in zip(one.split("/"), other.split("/"), strict=False):
        if first != second:
            return collision_key(first) == collision_key(second)
    return False
