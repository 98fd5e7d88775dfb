"""What people read: the commands' words without --json."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.film import Film, new_film


@pytest.fixture
def film(tmp_path: Path) -> Film:
    made = new_film(tmp_path / "film", "--no-encryption")
    made.write("a.txt", "one")
    made("add", ".")
    made("commit", "-m", "First cut\n\nWith a second paragraph.")
    return made


def test_init_and_add_say_what_happened(tmp_path: Path) -> None:
    film = Film(tmp_path)
    shown = film("init", "--no-encryption", "film")
    assert shown.startswith("Made a repository WITHOUT encryption in ")
    assert "Fingerprint  " in shown
    film.root = tmp_path / "film"
    for number in range(12):
        film.write(f"frames/{number:02}.txt", f"frame {number}")
    shown = film("add", ".")
    assert "  + frames/00.txt" in shown
    assert "  + ... and 2 more" in shown
    assert "12 new files:" in shown
    assert film("add", ".").strip() == "Nothing new to add."
    assert "12 new files, 0 changed, 0 deleted" in film("commit", "-m", "Frames")


def test_status_says_what_is_where_and_what_to_type(film: Film) -> None:
    assert "Nothing to commit" in film("status")
    film.write("b.txt", "two")
    film("add", ".")
    film.write("a.txt", "edited")
    film.write("c.txt", "three")
    shown = film("status")
    for words in (
        "On branch main",
        "In the next commit:",
        "  added:    b.txt",
        "Changed, not chosen yet:",
        "  modified: a.txt",
        "New, never added:",
        "  new:      c.txt",
        "mediagit restore --staged PATH",
    ):
        assert words in shown


def test_status_tells_the_way_to_the_server(film: Film, serve: Callable[..., str], tmp_path: Path) -> None:
    url = f"{serve()}/studio/film"
    film("remote", "add", "origin", url)
    shown = film("push", "-u", "origin", "main")
    assert f"Made the project at {url}" in shown
    assert "new       main at " in shown
    assert "main follows origin/main from now on." in shown
    assert "On branch main, as origin/main" in film("status")
    assert "Everything is at origin already." in film("push")
    copied = Film(tmp_path)("clone", "--no-encryption", url, "copy")
    assert "On branch main at " in copied
    copy = Film(tmp_path / "copy")
    copy.write("b.txt", "two")
    copy("add", ".")
    copy("commit", "-m", "Second")
    assert "1 commit to push (origin/main)" in copy("status")
    assert "moved     main from" in copy("push")
    assert "Received " in film("fetch")
    assert "1 commit to pull (origin/main)" in film("status")
    film("commit", "--allow-empty", "-m", "Aside")
    assert "1 commit to push, 1 commit to pull (origin/main)" in film("status")
    film("switch", "-c", "again", "HEAD~1")
    assert "moved from" in film("pull", "origin", "main")
    assert "again is up to date with origin/main." in film("pull", "origin", "main")
    assert film("remote", "-v").split() == ["origin", url]
    assert film("remote").split() == ["origin"]


def test_log_and_switch_read_well(film: Film) -> None:
    shown = film("log")
    assert shown.startswith("commit ")
    assert "(HEAD -> main)" in shown
    assert "Author:  " in shown
    assert "    First cut\n\n    With a second paragraph.\n" in shown
    assert "On new branch grade" in film("switch", "-c", "grade")
    shown = film("switch", "--detach", "main")
    assert "on no branch" in shown
    assert "mediagit switch -c NAME" in shown
    assert "on no branch" in film("status")


def test_restore_rm_and_mv_count_files(film: Film) -> None:
    film.write("a.txt", "edited")
    assert film("restore", "a.txt").strip() == "1 file restored."
    assert film("mv", "a.txt", "z.txt").strip() == "1 file moved."
    assert film("restore", "--staged", ".").startswith("2 files restored in what the next commit")
    film("add", ".")
    assert film("rm", "--cached", "z.txt").strip() == "1 file removed from the project; the files stay."


def test_config_says_where_it_wrote(film: Film) -> None:
    assert "mediagit.toml" in film("config", "set", "core.workers", "2")
    assert film("config", "list").strip() == "core.workers = 2"
    assert "not encrypted" in (film("key", "list"), film.errors)[1]


def test_quiet_leaves_only_data(film: Film) -> None:
    film.write("b.txt", "two")
    assert not film("add", "--quiet", ".")
    assert not film("commit", "--quiet", "-m", "x")
    assert film("log", "--quiet", "--oneline").count("\n") == 2
    assert not film.errors


def test_hostile_names_and_messages_cannot_command_the_terminal(film: Film) -> None:
    film.write("red\u202eexe.txt", "x")
    film("commit", "--allow-empty", "-m", "title\x1b[31m\n\nbody\x07")
    for command in (("log",), ("log", "--oneline"), ("status",)):
        shown = film(*command)
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "\u202e" not in shown
