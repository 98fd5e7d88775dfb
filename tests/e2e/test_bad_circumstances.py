"""Full disks, interrupts, other processes, damaged files: a clear error, the right code, and nothing lost."""

import contextlib
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mediavault.formats.config import decode_config
from mediavault.workspace.layout import PRIVATE_FOLDER, Layout
from mediavault_backends import fsio
from tests.conftest import installed
from tests.film import Film, new_film


@pytest.fixture
def film(tmp_path: Path) -> Film:
    made = new_film(tmp_path / "film", "--no-encryption")
    made.write("a.txt", "one")
    made("add", ".")
    made("commit", "-m", "First cut")
    return made


def intact(film: Film) -> None:
    """Check that what was committed before is there, and that work can go on."""
    assert film.json("log")[-1]["message"] == "First cut"
    film("verify")
    film.write("later.txt", "later")
    film("add", "later.txt")
    film("commit", "-m", "Later")
    film("verify")


def test_another_command_in_the_same_repository(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediavault.ops.repository.LOCK_SECONDS", 0.05)
    film.write("b.txt", "two")
    lock = fsio.FileLock(Layout(film.root).lock_file)
    assert lock.acquire()
    for verb in (
        ("add", "."),
        ("commit", "-am", "x"),
        ("switch", "-c", "x"),
        ("restore", "a.txt"),
        ("rm", "a.txt"),
        ("pull",),
    ):
        assert "Another mediagit command" in film(*verb, exit_code=3)
    assert film.status() == {"untracked": ["b.txt"]}, "looking is always possible"
    assert len(film.json("log")) == 1
    lock.release()
    film("add", ".")


def test_a_disk_that_fills_up_while_adding(film: Film) -> None:
    film.write("big.mov", os.urandom(3 << 20))

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))

    done = subprocess.run(
        [installed("mediagit"), "add", "."],
        cwd=film.root,
        preexec_fn=small_files_only,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "untouched" in done.stderr
    assert film.status() == {"untracked": ["big.mov"]}
    film("add", ".")
    film("commit", "-m", "Big")
    intact(film)


@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_a_file_that_changes_while_it_is_added(film: Film, mode: str) -> None:
    file = film.write("take.mov", os.urandom(32 << 20))
    stop = threading.Event()

    def record() -> None:
        with file.open(mode, buffering=0) as camera:  # it grows, or keeps its size
            while not stop.is_set():
                camera.write(os.urandom(64))

    camera = threading.Thread(target=record)
    camera.start()
    try:
        shown = film("add", ".", exit_code=1)
    finally:
        stop.set()
        camera.join()
    assert "take.mov changed while it was added" in shown
    assert film.status() == {"untracked": ["take.mov"]}
    film("add", ".")
    film("commit", "-m", "Whole")
    intact(film)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_add_that_is_stopped_is_continued(film: Film, number: signal.Signals) -> None:
    film.write("big.mov", os.urandom(200 << 20))
    with subprocess.Popen(
        [installed("mediagit"), "add", "."],
        cwd=film.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in the background of a shell inherit that an interrupt is ignored.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 -- it only sets a signal
    ) as process:
        spool = film.root / ".mediagit" / "store" / ".tmp" / "spool"
        deadline = time.monotonic() + 60
        while _size_of(spool) < (8 << 20):
            assert process.poll() is None, "it was quicker than the test"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number is signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in err
    assert ("Run the same command again" in err) == (number is signal.SIGINT)
    assert film.status() == {"untracked": ["big.mov"]}
    report = film.json("add", ".")
    assert report["bytes_stored"] < 199 << 20, "what was stored before is not stored again"
    film("commit", "-m", "Big")
    intact(film)


def _size_of(folder: Path) -> int:
    try:
        return sum(file.stat().st_size for file in folder.iterdir())
    except FileNotFoundError:
        return 0


def test_a_damaged_stage_is_made_again(film: Film) -> None:
    stage = Layout(film.root).stage_file
    stage.write_bytes(b"SQLite format 3\0" + os.urandom(4096))
    film.write("b.txt", "two")
    film("status")
    assert "staging index was damaged" in film.errors
    assert film.status() == {"untracked": ["b.txt"]}
    intact(film)


@pytest.mark.parametrize("lost", ["removed", "emptied"])
def test_a_lost_stage_is_no_empty_stage(film: Film, lost: str) -> None:
    stage = Layout(film.root).stage_file
    stage.unlink() if lost == "removed" else stage.write_bytes(b"")
    assert film.status() == {}
    assert "staging index was lost" in film.errors
    film("status")
    assert not film.errors
    intact(film)


def test_a_damaged_head_says_how_to_mend_it(film: Film) -> None:
    head = Layout(film.root).head
    head.write_text("nonsense\n")
    assert "ref: heads/main" in film("status", exit_code=5)
    head.write_text("ref: heads/main\n")
    intact(film)


def test_a_missing_or_newer_config_is_refused(film: Film) -> None:
    config = Layout(film.root).store / "config"
    data = config.read_bytes()
    config.write_bytes(data.replace(b'"format":1', b'"format":2'))
    assert "newer version" in film("status", exit_code=1)
    config.write_bytes(data + b" ")
    film("status", exit_code=5)
    config.unlink()
    assert "Clone the repository anew" in film("log", exit_code=5)
    config.write_bytes(data)
    assert decode_config(data).suite == 0
    intact(film)


def test_damage_is_found_named_and_kept_away_from_working_files(film: Film) -> None:
    film.write("a.txt", "edited, with enough words to be found again in the pack" * 4)
    film("commit", "-am", "Edited")
    packs = sorted((Layout(film.root).store / "packs").rglob("*"), key=lambda file: file.stat().st_mtime)
    flipped = 0
    for pack in packs:
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            data[80] ^= 1
            pack.chmod(0o644)
            pack.write_bytes(data)
            flipped += 1
    assert flipped
    film("verify", exit_code=5)
    film.write("a.txt", "work in progress")
    film("restore", "--source", "HEAD~1", "a.txt", exit_code=5)
    assert film.read("a.txt") == "work in progress"


def test_a_server_that_cannot_be_reached(film: Film) -> None:
    film("remote", "add", "origin", "http://127.0.0.1:1/studio/film")
    film("config", "set", "network.retries", "0")
    for verb in ("push", "fetch", "pull"):
        assert "cannot be reached" in film(verb, exit_code=4)
    intact(film)


@contextlib.contextmanager
def dying_when_files_move(film: Film) -> Iterator[None]:
    """Stop a command at the instant when the first new file would come to its place."""

    def die(step: fsio.Step) -> None:
        if step.kind == "rename" and PRIVATE_FOLDER not in step.path.relative_to(film.root).parts:
            raise KeyboardInterrupt

    with fsio.observe(die):
        yield


def test_an_interrupted_checkout_is_finished_and_said(film: Film) -> None:
    film("switch", "-c", "grade")
    film.write("a.txt", "graded")
    film("commit", "-am", "Graded")
    with dying_when_files_move(film):
        film("switch", "main", exit_code=130)
    film("status")
    assert "interrupted switch to main" in film.errors
    assert film.json("status")["branch"] == "main"
    assert film.read("a.txt") == "one"
    assert film.status() == {}


def test_an_interrupted_pull_moves_the_branch_when_it_is_finished(
    film: Film, serve: Callable[..., str], tmp_path: Path
) -> None:
    url = f"{serve()}/studio/film"
    film("remote", "add", "origin", url)
    film("push", "-u", "origin", "main")
    film("clone", "--no-encryption", url, tmp_path / "copy")
    film.write("a.txt", "theirs")
    film("commit", "-am", "Theirs")
    film("push")
    copy = Film(tmp_path / "copy")
    with dying_when_files_move(copy):
        copy("pull", exit_code=130)
    assert copy.json("log") == film.json("log")
    assert "interrupted pull of origin/main was finished" in copy.errors
    assert copy.read("a.txt") == "theirs"
    assert copy.status() == {}
