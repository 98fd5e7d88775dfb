"""A clone writes files while their content still comes, and is no less careful for it."""

import errno
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from mediavault.errors import IntegrityError, RemoteError
from mediavault.ops import files_ahead
from mediavault.sync.direct import DirectRemote
from mediavault.workspace import arriving_files
from mediavault.workspace.arriving_files import ArrivingFiles
from mediavault_backends import fsio
from tests.film import Film, new_film
from tests.full_disk import say_full

SECONDS = 20
FILES = {f"shots/{n}.exr": os.urandom(900_000) for n in range(12)}
FORMER = os.urandom(700_000)
Reading = Callable[[int], None]


@pytest.fixture(autouse=True)
def all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving_files, "LARGE", 500_000)


@pytest.fixture
def remote(tmp_path: Path) -> str:
    """Push two versions of some files; return the remote's address."""
    film = new_film(tmp_path / "film", "--no-encryption")
    film.write("shots/0.exr", FORMER)
    film("add", ".")
    film("commit", "-m", "first")
    for path, content in FILES.items():
        film.write(path, content)
    film("add", ".")
    film("commit", "-m", "second")
    film("branch", "grade", "HEAD~1")
    url = f"file://{tmp_path}/nas/film"
    film("remote", "add", "origin", url)
    film("push", "-u", "origin", "main")
    film("push", "origin", "grade")
    return url


@pytest.fixture
def each_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[Reading], None]:
    """Return what has a function called before each range that is read, with its number from 0."""
    real = DirectRemote.read_pack

    def watch(before: Reading) -> None:
        count = iter(range(1 << 20))

        def read_pack(self: DirectRemote, pack: bytes, start: int, length: int) -> Generator[bytes]:
            before(next(count))
            yield from real(self, pack, start, length)

        monkeypatch.setattr(DirectRemote, "read_pack", read_pack)

    return watch


@pytest.fixture
def cable_out_at(each_read: Callable[[Reading], None]) -> Callable[[int], None]:
    """Return what breaks the transfer off once, before a range that is named by its number."""

    def break_off(at: int) -> None:
        cable = ["out"]

        def fail(number: int) -> None:
            if number == at and cable:
                raise RemoteError(f"The cable is {cable.pop()}.")

        each_read(fail)

    return break_off


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return of each clone how many files were written ahead."""
    found: list[int] = []
    real = ArrivingFiles.finish

    def finish(self: ArrivingFiles) -> dict[int, os.stat_result]:
        written = real(self)
        found.append(len(written))
        return written

    monkeypatch.setattr(ArrivingFiles, "finish", finish)
    return found


def clone(tmp_path: Path, url: str, *options: str, exit_code: int = 0) -> Film:
    film = Film(tmp_path / "copy")
    film("clone", "--no-encryption", *options, url, film.root, exit_code=exit_code, cwd=tmp_path)
    return film


def ahead(root: Path) -> list[Path]:
    """Return the files that are written and not in their place."""
    return [path for path in (root / ".mediagit/checkout").rglob("*") if path.is_file()]


def content(film: Film) -> dict[str, bytes]:
    return {str(path.relative_to(film.root)): path.read_bytes() for path in film.root.glob("shots/*")}


def test_files_are_written_before_all_content_came(
    tmp_path: Path, remote: str, each_read: Callable[[Reading], None]
) -> None:
    seen: list[bytes] = []

    def wait_for_a_file(number: int) -> None:
        deadline = time.monotonic() + SECONDS
        while number == 14 and not seen and time.monotonic() < deadline:
            seen.extend(data for path in ahead(tmp_path / "copy") if (data := path.read_bytes()) in FILES.values())
            time.sleep(0.01)

    each_read(wait_for_a_file)
    film = clone(tmp_path, remote)
    assert seen
    assert content(film) == FILES
    assert film.status() == {}
    assert ahead(film.root) == []


def test_a_clone_that_breaks_off_has_no_file_in_its_place_and_goes_on(
    tmp_path: Path, remote: str, cable_out_at: Callable[[int], None]
) -> None:
    cable_out_at(4)
    film = clone(tmp_path, remote, exit_code=4)
    assert "The cable is out." in film.errors
    assert [path.name for path in film.root.iterdir()] == [".mediagit"]
    assert not (film.root / ".mediagit/checkout").exists()
    assert content(clone(tmp_path, remote)) == FILES


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_what_fails_ahead_is_done_again(tmp_path: Path, remote: str, error: int) -> None:
    failed: list[Path] = []

    def fail(step: fsio.Step) -> None:
        if step.kind == "create" and "checkout" in step.path.parts and not failed:
            failed.append(step.path)
            raise OSError(error, os.strerror(error))

    with fsio.observe(fail):
        film = clone(tmp_path, remote)
    assert len(failed) == 1
    assert content(film) == FILES
    assert film.status() == {}


def test_a_disk_that_cannot_hold_both_gets_content_first(
    tmp_path: Path, remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_ahead, "has_room", lambda *_: False)
    monkeypatch.setattr(ArrivingFiles, "put", lambda *_: pytest.fail("it was begun"))
    assert content(clone(tmp_path, remote)) == FILES


def test_files_that_do_not_fit_leave_what_was_received(tmp_path: Path, remote: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        say_full(patch)
        film = clone(tmp_path, remote, exit_code=1)
    assert "The working tree was not changed. What was received is kept in" in film.errors
    assert [path.name for path in film.root.iterdir()] == [".mediagit"]
    assert film.json("verify")["ok"]
    assert content(clone(tmp_path, remote)) == FILES


def test_where_very_much_comes_nothing_is_planned_before(
    tmp_path: Path, remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_ahead, "MOST_CHUNKS", 3)
    monkeypatch.setattr(files_ahead, "plan_checkout", lambda *_, **__: pytest.fail("it was planned"))
    assert content(clone(tmp_path, remote)) == FILES


@pytest.mark.parametrize("error", [OSError(errno.EIO, "disk"), IntegrityError("A tree is odd.")])
def test_what_cannot_be_planned_ahead_is_planned_afterwards(
    tmp_path: Path, remote: str, monkeypatch: pytest.MonkeyPatch, taken: list[int], error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(files_ahead, "plan_checkout", fail)
    assert content(clone(tmp_path, remote)) == FILES
    assert taken == []


def test_a_clone_that_goes_on_writes_ahead_what_is_still_to_come(
    tmp_path: Path, remote: str, cable_out_at: Callable[[int], None], taken: list[int]
) -> None:
    cable_out_at(6)
    clone(tmp_path, remote, exit_code=4)
    assert content(clone(tmp_path, remote)) == FILES
    assert len(taken) == 1
    assert 0 < taken[0] < len(FILES)


def test_the_branch_that_was_asked_for_is_the_one_that_is_written(
    tmp_path: Path, remote: str, taken: list[int]
) -> None:
    assert content(clone(tmp_path, remote, "--branch", "grade")) == {"shots/0.exr": FORMER}
    assert taken == [1]


def test_a_clone_stays_with_the_commit_that_it_chose_before_it_broke_off(
    tmp_path: Path, remote: str, taken: list[int]
) -> None:
    def fail(step: fsio.Step) -> None:
        if step.kind == "rename" and step.path.name == "journal":
            raise OSError(errno.EIO, "disk")

    with fsio.observe(fail):
        clone(tmp_path, remote, exit_code=1)
    film = Film(tmp_path / "film")
    film.write("shots/0.exr", os.urandom(900_000))
    film("commit", "-a", "-m", "third")
    film("push")
    copy = clone(tmp_path, remote)
    assert content(copy) == FILES
    assert copy.status() == {}
    assert taken == [len(FILES)]


def test_a_branch_that_is_not_there_is_told_when_all_is_fetched(tmp_path: Path, remote: str) -> None:
    film = clone(tmp_path, remote, "--branch", "none", exit_code=1)
    assert "The branches are: grade, main." in film.errors
    assert not (film.root / "shots").exists()


def test_what_somebody_puts_there_meanwhile_is_left_alone(
    tmp_path: Path, remote: str, each_read: Callable[[Reading], None]
) -> None:
    def put(number: int) -> None:
        if number == 4:
            (tmp_path / "copy/shots").mkdir()
            (tmp_path / "copy/shots/2.exr").write_bytes(b"mine")

    each_read(put)
    film = clone(tmp_path, remote)
    assert "shots/2.exr was changed meanwhile" in film.errors
    assert content(film) == FILES | {"shots/2.exr": b"mine"}
