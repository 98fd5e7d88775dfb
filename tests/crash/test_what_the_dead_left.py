"""What a command that died leaves to the next one: unsynced names, half-made repositories, clones and renames."""

import shutil
from pathlib import Path

import pytest

from mediavault.errors import UsageError
from mediavault.ops.repository import locked
from mediavault.store.salvage import salvage
from mediavault.workspace.layout import Layout
from mediavault.workspace.stage import Stage, StageDamagedError, StageRow
from mediavault_backends import fsio
from mediavault_backends.local import LocalBackend
from tests.film import Film, new_film
from tests.stored import open_store


def syncs(action: object) -> list[Path]:
    """Return which file systems are synced while something is called."""
    steps: list[fsio.Step] = []
    assert callable(action)
    with fsio.observe(steps.append):
        action()
    return [step.path for step in steps if step.kind == "sync-filesystem"]


@pytest.fixture
def film(tmp_path: Path) -> Film:
    return new_film(tmp_path / "film", "--no-encryption")


def test_what_a_dead_holder_of_the_lock_left_is_synced_before_it_is_built_on(film: Film) -> None:
    layout = Layout(film.root)

    def work() -> None:
        with locked(layout):
            pass

    assert syncs(work) == []
    layout.lock_file.write_bytes(b"1")  # as who dies with the lock leaves it
    assert syncs(work) == [layout.folder]
    assert syncs(work) == []


def test_only_an_end_that_may_have_left_something_unsynced_counts_as_a_death(film: Film) -> None:
    layout = Layout(film.root)

    def work(error: BaseException) -> None:
        with pytest.raises(type(error)), locked(layout):
            raise error

    work(UsageError("a mistake"))
    assert layout.lock_file.read_bytes() == b""
    for error in (OSError("the disk failed"), KeyboardInterrupt()):
        work(error)
        assert layout.lock_file.read_bytes() == b"1"


def test_packs_that_a_dead_writer_named_are_synced_before_they_are_indexed(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path, create=True)
    index = open_store(backend).index
    assert syncs(lambda: salvage(backend, index, backend.spool_folder)) == []
    (backend.spool_folder / "0.packs").write_bytes(b"")
    assert syncs(lambda: salvage(backend, index, backend.spool_folder)) == [backend.spool_folder]


def test_a_storage_is_settled_as_a_whole(tmp_path: Path) -> None:
    assert syncs(LocalBackend(tmp_path).settle) == [tmp_path]


def test_a_stage_is_made_with_all_its_rows_or_not_at_all(tmp_path: Path) -> None:
    rows = [StageRow(name, 1, 0, bytes(32), None) for name in "ab"]  # type: ignore[arg-type] # as it is stored

    def broken() -> list[StageRow]:
        raise StageDamagedError("no rows")

    with pytest.raises(StageDamagedError):
        Stage(tmp_path / "stage", broken)
    with Stage(tmp_path / "stage", lambda: rows) as stage:
        assert stage.made
        assert [row.path for row in stage.all()] == ["a", "b"]
    with Stage(tmp_path / "stage", broken) as stage:
        assert not stage.made
        assert stage.count() == 2


def test_init_removes_what_a_dead_one_left_and_nothing_of_a_living_one(tmp_path: Path) -> None:
    dead, living = (Layout(tmp_path / f".mediagit-new-{name}") for name in ("dead", "living"))
    for layout in (dead, living):
        layout.folder.mkdir(parents=True)
        (layout.folder / "HEAD").write_bytes(b"half")
    (tmp_path / ".mediagit-new-none").mkdir()
    with fsio.FileLock(living.lock_file).held():
        new_film(tmp_path, "--no-encryption")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mediagit", ".mediagit-new-living"]


def test_a_clone_that_is_not_finished_says_so_and_lets_nobody_change_it(film: Film) -> None:
    film.write("a.txt", "a")
    film("add", ".")
    film("commit", "-m", "First")
    Layout(film.root).clone_marker.write_bytes(b"")
    (film.root / "a.txt").unlink()
    assert film.json("status")["unfinished"] == "clone"
    assert "mediagit clone" in film.errors
    for command in (["commit", "-am", "All gone"], ["add", "."], ["switch", "-c", "new"], ["restore", "a.txt"]):
        assert "mediagit clone" in film(*command, exit_code=3)
    Layout(film.root).clone_marker.unlink()
    assert film.json("status")["unfinished"] is None
    assert film.status() == {"deleted": ["a.txt"]}


def test_mv_notes_what_stands_at_its_new_place_already(film: Film) -> None:
    for path in ("a.txt", "b.txt", "shots/c.txt"):
        film.write(path, path)
    film("add", ".")
    film("commit", "-m", "First")
    (film.root / "a.txt").rename(film.root / "z.txt")
    (film.root / "shots").rename(film.root / "plates")
    film("mv", "a.txt", "z.txt")
    film("mv", "shots", "plates")
    film("mv", "b.txt", "plates")
    assert film.status() == {"staged": ["a.txt", "b.txt", "plates/b.txt", "plates/c.txt", "shots/c.txt", "z.txt"]}
    (film.root / "z.txt").unlink()
    film.write("new.txt", "never added")
    assert "is not a file" in film("mv", "z.txt", "nowhere.txt", exit_code=1)
    shutil.copy(film.root / "new.txt", film.root / "other.txt")
    assert "already" in film("mv", "plates/b.txt", "other.txt", exit_code=2)


def test_a_rename_that_was_stopped_goes_on_and_no_other_does(film: Film) -> None:
    film.write("a.txt", "a")
    film("add", ".")
    film("commit", "-m", "First")
    film("branch", "trunk")
    assert "already" in film("branch", "-m", "main", "trunk", exit_code=2)
    Layout(film.root).renaming.write_text("main\ntrunk\n")
    film("branch", "-m", "main", "trunk")
    assert film.json("status")["branch"] == "trunk"
    assert [entry["name"] for entry in film.json("branch")] == ["trunk"]
    assert not Layout(film.root).renaming.exists()


def test_a_switch_to_a_new_branch_goes_on_where_the_branch_is_unused(film: Film) -> None:
    film.write("a.txt", "a")
    film("add", ".")
    film("commit", "-m", "First")
    film("branch", "new")
    film("switch", "-c", "new")
    assert "already" in film("switch", "-c", "new", exit_code=2)
    film("commit", "--allow-empty", "-m", "Second")
    film("switch", "main")
    assert "already" in film("switch", "-c", "new", exit_code=2)
