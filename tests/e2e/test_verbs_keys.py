"""Passphrases, the recovery code and where keys stay: init, key, and unlocking on another computer."""

import fcntl
import os
import pty
import re
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PASSPHRASE, installed
from tests.film import Film

CODE = re.compile(r"(?:[A-Z2-7]{4}-){13}[A-Z2-7]{4}")


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    monkeypatch.setenv("MEDIAGIT_PASSPHRASE", PASSPHRASE)
    (tmp_path / "film").mkdir()
    made = Film(tmp_path / "film")
    made("init", ".")
    monkeypatch.delenv("MEDIAGIT_PASSPHRASE")
    made.write("a.txt", "secret")
    made("add", ".")
    made("commit", "-m", "x")
    return made


def unlocks(film: Film, home: Path, secret: str, *, exit_code: int = 0) -> None:
    """Check whether a secret opens the repository for a user who never had it open."""
    film("log", exit_code=exit_code, env={"MEDIAGIT_HOME": str(home), "MEDIAGIT_PASSPHRASE": secret})


def test_a_key_that_is_kept_is_not_asked_for_again(film: Film, own_user: Path, tmp_path: Path) -> None:
    assert film.json("log")[0]["message"] == "x"
    (kept,) = (own_user / "keys").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    assert "MEDIAGIT_PASSPHRASE" in film("log", exit_code=6, env={"MEDIAGIT_HOME": str(tmp_path / "b")})
    unlocks(film, tmp_path / "b", "wrong", exit_code=6)
    unlocks(film, tmp_path / "b", PASSPHRASE)
    film("log", env={"MEDIAGIT_HOME": str(tmp_path / "b")})


def test_a_key_file_that_others_may_read_is_refused(film: Film, own_user: Path) -> None:
    (kept,) = (own_user / "keys").iterdir()
    kept.chmod(0o644)
    assert "chmod 600" in film("log", exit_code=6)


def test_the_passphrase_may_come_from_a_file(film: Film, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    other = {"MEDIAGIT_HOME": str(tmp_path / "b"), "MEDIAGIT_PASSPHRASE": "wrong, and not looked at"}
    file.write_text("")
    film("log", "--passphrase-file", file, exit_code=2, env=other)
    film("log", "--passphrase-file", tmp_path / "absent", exit_code=2, env=other)
    file.write_text(PASSPHRASE + "\r\nsecond line\n")
    film("log", "--passphrase-file", file, env=other)


def test_keys_are_added_listed_and_removed(film: Film, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("another passphrase\n")
    film("key", "add", "anna", "--label", "Anna's laptop", "--new-passphrase-file", tmp_path / "new")
    listed = film.json("key", "list")
    assert [(entry["name"], entry["type"]) for entry in listed] == [
        ("anna", "passphrase"),
        ("passphrase", "passphrase"),
        ("recovery", "recovery"),
    ]
    assert listed[0]["label"] == "Anna's laptop"
    unlocks(film, tmp_path / "b", "another passphrase")
    film("key", "remove", "anna")
    unlocks(film, tmp_path / "c", "another passphrase", exit_code=6)
    unlocks(film, tmp_path / "c", PASSPHRASE)


def test_key_refuses_what_makes_no_sense(film: Film, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("words\n")
    new = ("--new-passphrase-file", tmp_path / "new")
    film("key", "add", "passphrase", *new, exit_code=2)
    film("key", "add", "Not A Name", *new, exit_code=2)
    assert "--new-passphrase-file" in film("key", "add", "anna", exit_code=6)
    film("key", "remove", "nobody", exit_code=1)
    film("key", "remove", "recovery")
    assert "last key" in film("key", "remove", "passphrase", exit_code=2)
    film("key", exit_code=2)


def test_the_recovery_code_opens_and_a_new_one_replaces_it(tmp_path: Path) -> None:
    film = Film(tmp_path)
    shown = film("init", "film", env={"MEDIAGIT_PASSPHRASE": PASSPHRASE})
    (first,) = CODE.findall(shown)
    film.root = tmp_path / "film"
    unlocks(film, tmp_path / "b", first.lower().replace("-", " "))
    (second,) = CODE.findall(film("key", "export-recovery"))
    assert second != first
    unlocks(film, tmp_path / "c", first, exit_code=6)
    unlocks(film, tmp_path / "c", second)
    unlocks(film, tmp_path / "c", PASSPHRASE)


def test_keys_change_at_the_remotes_too(film: Film, tmp_path: Path, serve: Callable[..., str]) -> None:
    film("remote", "add", "origin", f"{serve()}/studio/film")
    film("push", "-u", "origin", "main")
    (tmp_path / "new").write_text("another passphrase\n")
    report = film.json("key", "add", "anna", "--new-passphrase-file", tmp_path / "new")
    assert report["remotes"] == ["origin"]
    url = film("remote", "get-url", "origin").strip()
    anna = {"MEDIAGIT_HOME": str(tmp_path / "anna"), "MEDIAGIT_PASSPHRASE": "another passphrase"}
    film("clone", url, tmp_path / "a", env=anna)
    film("key", "remove", "anna")
    assert [entry["name"] for entry in film.json("key", "list", "--remote", "origin")] == ["passphrase", "recovery"]
    film("clone", url, tmp_path / "b", exit_code=6, env=anna | {"MEDIAGIT_HOME": str(tmp_path / "b-home")})
    film("remote", "set-url", "origin", "http://127.0.0.1:1/studio/film")
    film("key", "add", "anna", "--new-passphrase-file", tmp_path / "new", exit_code=4)
    film("key", "add", "anna", "--local", "--new-passphrase-file", tmp_path / "new")


def test_a_plain_repository_has_no_keys(tmp_path: Path) -> None:
    film = Film(tmp_path)
    film("init", "--no-encryption", ".")
    assert film.json("key", "list") == []
    film("key", "export-recovery", exit_code=2)
    film("key", "remove", "x", exit_code=2)


def test_without_a_passphrase_nothing_is_made(tmp_path: Path) -> None:
    Film(tmp_path)("init", "film", exit_code=6)
    assert not (tmp_path / "film").exists()


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        ((PASSPHRASE, PASSPHRASE), 0, "Recovery code"),
        ((PASSPHRASE, "a slip"), 6, "differ"),
        (("",), 6, "empty"),
    ],
)
def test_on_a_terminal_the_passphrase_is_asked_twice(
    tmp_path: Path, typed: tuple[str, ...], code: int, words: str
) -> None:
    leader, terminal = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [installed("mediagit"), "init", "film"],
        cwd=tmp_path,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=take_terminal,  # noqa: PLW1509 -- one ioctl, and the child runs no Python afterwards
        pass_fds=(terminal,),
    )
    os.close(terminal)
    shown, answers = "", list(typed)
    while True:
        try:
            data = os.read(leader, 4096)
        except OSError:  # the terminal is closed
            break
        if not data:
            break
        shown += data.decode()
        if answers and shown.endswith(": "):
            os.write(leader, (answers.pop(0) + "\n").encode())
            shown += "|"
    os.close(leader)
    assert process.wait(timeout=60) == code, shown
    assert words in shown
    assert PASSPHRASE not in shown, "what is typed is not shown"
    assert (tmp_path / "film").exists() == (code == 0)
