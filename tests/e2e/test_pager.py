"""Long output on a terminal goes through a pager; everything else does not."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import installed
from tests.film import Film, new_film

PAGER = """\
import sys
text = sys.stdin.read()
open(sys.argv[1], "w").write(text)
print("paged", len(text.splitlines()))
"""
QUITTER = """\
import sys
sys.stdin.readline()
print("seen enough")
"""


class Shown(NamedTuple):
    """What a terminal received, and how the command ended."""

    text: str
    code: int


@pytest.fixture
def film(tmp_path: Path) -> Film:
    made = new_film(tmp_path / "film", "--no-encryption")
    for number in range(3):
        made.write("a.txt", f"{number}\n" * 9000)
        made("add", ".")
        made("commit", "-m", f"Commit {number}")
    return made


@pytest.fixture
def pager(tmp_path: Path) -> str:
    """Return a command line for a pager that writes what it gets into `seen`."""
    (tmp_path / "pager.py").write_text(PAGER)
    (tmp_path / "quitter.py").write_text(QUITTER)
    return f"{sys.executable} {tmp_path / 'pager.py'} {tmp_path / 'seen'}"


def on_terminal(film: Film, *arguments: str, **variables: str) -> Shown:
    """Run the installed command with a terminal of its own for what it writes."""
    leader, follower = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in {"PAGER", "LESS", "NO_COLOR"}}
    process = subprocess.Popen(
        [installed("mediagit"), *arguments],
        cwd=film.root,
        env={**environment, "TERM": "xterm", **variables},
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    received = b""
    try:
        while data := os.read(leader, 65536):
            received += data
    except OSError:
        pass  # Linux says so when nobody holds the other end any more
    finally:
        os.close(leader)
    return Shown(received.decode().replace("\r\n", "\n"), process.wait(timeout=60))


def seen(tmp_path: Path) -> str:
    return (tmp_path / "seen").read_text()


@pytest.mark.parametrize("variable", ["PAGER", "MEDIAGIT_PAGER"])
def test_output_on_a_terminal_is_paged_in_colour(film: Film, pager: str, tmp_path: Path, variable: str) -> None:
    shown = on_terminal(film, "log", "--oneline", **{variable: pager})
    assert shown == Shown("paged 3\n", 0)
    assert "\x1b[33m" in seen(tmp_path)
    assert "Commit 0\n" in seen(tmp_path)
    assert on_terminal(film, "log", "--no-color", "--oneline", **{variable: pager}) == Shown("paged 3\n", 0)
    assert "\x1b" not in seen(tmp_path)


def test_ours_goes_before_the_one_for_all(film: Film, pager: str) -> None:
    assert on_terminal(film, "log", "--oneline", PAGER="false", MEDIAGIT_PAGER=pager).text == "paged 3\n"


@pytest.mark.parametrize("verb", ["log", "show", "diff HEAD~1"])
def test_verbs_that_look_back_are_paged_unless_it_is_refused(film: Film, pager: str, verb: str) -> None:
    words = verb.split()
    assert "paged" in on_terminal(film, *words, PAGER=pager).text
    assert "paged" not in on_terminal(film, *words, "--no-pager", PAGER=pager).text
    assert "paged" not in on_terminal(film, *words, "--json", PAGER=pager).text
    assert "paged" not in on_terminal(film, *words, PAGER=pager, MEDIAGIT_PAGER="cat").text
    assert "paged" not in on_terminal(film, *words, PAGER=pager, TERM="dumb").text
    assert "paged" not in film(*words, env={"PAGER": pager})


def test_leaving_the_pager_early_is_no_failure(film: Film, tmp_path: Path, pager: str) -> None:
    del pager
    quitter = f"{sys.executable} {tmp_path / 'quitter.py'}"
    assert on_terminal(film, "show", PAGER=quitter) == Shown("seen enough\n", 0)
    assert on_terminal(film, "diff", "HEAD~1", "--exit-code", PAGER=quitter) == Shown("seen enough\n", 1)


def test_words_on_stderr_go_to_the_pager_as_well_once_it_shows_something(
    film: Film, pager: str, tmp_path: Path
) -> None:
    film.write("new.txt", "x")
    assert on_terminal(film, "diff", "HEAD~1", "--stat", PAGER=pager).code == 0
    assert "Not compared: 1 file" in seen(tmp_path)
    shown = on_terminal(film, "log", "--grep", "nowhere", PAGER=pager)
    assert shown == Shown("No commit fits.\n", 0)


def test_a_pager_that_is_not_there_is_told_and_done_without(film: Film) -> None:
    shown = on_terminal(film, "log", "--oneline", "--no-color", PAGER="no-such-pager -R")
    assert "warning: the pager no-such-pager does not start (No such file or directory)." in shown.text
    assert shown.text.count("Commit ") == 3
    assert shown.code == 0
    shown = on_terminal(film, "log", "--oneline", "--no-color", PATH="/nowhere")
    assert "warning" not in shown.text
    assert shown.text.count("Commit ") == 3
    assert on_terminal(film, "log", PAGER="'").code == 2


def test_an_error_is_shown_after_the_pager_has_ended(film: Film, pager: str) -> None:
    shown = on_terminal(film, "log", "nope", PAGER=pager)
    assert shown.code == 1, shown.text
    assert "Nothing is called 'nope'" in shown.text
    assert "paged" not in shown.text
