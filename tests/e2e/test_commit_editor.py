"""A commit without -m in a terminal: the editor that opens, and what comes of what it leaves."""

import os
import pty
import select
import subprocess
import time
from pathlib import Path

import pytest

from mediavault.cli.editor import message_of, template
from tests.conftest import installed
from tests.film import Film, new_film


@pytest.fixture
def film(tmp_path: Path) -> Film:
    film = new_film(tmp_path / "film", "--no-encryption")
    film.write("a.txt", "one")
    film("add", ".")
    return film


def in_terminal(film: Film, *arguments: str, typed: bytes = b"", **variables: str) -> tuple[int, str]:
    """Run a command in a terminal of its own; return its exit code and what was shown."""
    leader, follower = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key not in {"VISUAL", "EDITOR"}}
    process = subprocess.Popen(
        [installed("mediagit"), *arguments],
        cwd=film.root,
        env={**environment, "TERM": "dumb", **variables},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    os.write(leader, typed)
    shown = b""
    deadline = time.monotonic() + 120
    try:
        while True:
            ready, _, _ = select.select([leader], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, shown
            try:
                part = os.read(leader, 4096)
            except OSError:  # the last one at the other end has gone
                break
            if not part:
                break
            shown += part
        process.wait(60)
    finally:
        os.close(leader)
        process.kill()
    return process.returncode, shown.decode().replace("\r\n", "\n")


def editor(tmp_path: Path, script: str) -> str:
    """Return an editor's command line, with a space in its name as on many systems."""
    file = tmp_path / "my editor.sh"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return f"'{file}' --wait"


def test_the_message_is_what_the_editor_leaves_without_comments(film: Film, tmp_path: Path) -> None:
    film.write("b.txt", "not added")
    command = editor(
        tmp_path, f'cp "$2" {tmp_path}/seen; printf "Rain\\n\\n  at last \\n# no\\n" | cat - "$2" > x; mv x "$2"'
    )
    code, shown = in_terminal(film, "commit", EDITOR="false", VISUAL=command)
    assert (code, "Rain" in shown) == (0, True), shown
    assert film.json("log")[0]["message"] == "Rain\n\n  at last"
    seen = (tmp_path / "seen").read_text()
    assert "# On branch main:\n#   added:    a.txt\n" in seen
    assert "b.txt" not in seen
    assert not (film.root / ".mediagit/COMMIT_MESSAGE").exists()


def test_an_empty_message_changes_nothing(film: Film, tmp_path: Path) -> None:
    film("commit", "-m", "One")
    film.write("a.txt", "two")
    code, shown = in_terminal(film, "commit", "-a", EDITOR=editor(tmp_path, "true"))
    assert (code, "message is empty" in shown) == (2, True), shown
    assert film.status() == {"modified": ["a.txt"]}, "nothing was added either"
    assert len(film.json("log")) == 1


def test_all_changed_files_are_shown_to_the_writer(film: Film, tmp_path: Path) -> None:
    film.write("c.txt", "c")
    film("add", ".")
    film("commit", "-m", "One")
    film.write("a.txt", "two")
    (film.root / "c.txt").unlink()
    command = editor(tmp_path, f'cp "$2" {tmp_path}/seen; echo Two > "$2"')
    code, shown = in_terminal(film, "commit", "-a", MEDIAGIT_EDITOR=command, VISUAL="false")
    assert code == 0, shown
    seen = (tmp_path / "seen").read_text()
    assert "#   modified: a.txt\n" in seen
    assert "#   deleted:  c.txt\n" in seen
    assert film.status() == {}


@pytest.mark.parametrize("command", ["false", "/no/such/editor", "'"])
def test_an_editor_that_fails_commits_nothing(film: Film, command: str) -> None:
    code, shown = in_terminal(film, "commit", EDITOR=command)
    assert code == 2, shown
    assert "Nothing was" in shown
    assert film.status() == {"staged": ["a.txt"]}


def test_nothing_to_commit_is_said_before_anyone_writes(film: Film, tmp_path: Path) -> None:
    film("commit", "-m", "One")
    code, shown = in_terminal(film, "commit", EDITOR=editor(tmp_path, f"touch {tmp_path}/opened"))
    assert (code, "nothing new to commit" in shown) == (1, True), shown
    assert not (tmp_path / "opened").exists()


def test_without_any_editor_one_line_is_asked_for(film: Film) -> None:
    code, shown = in_terminal(film, "commit", typed=b"One line\n", PATH="/nowhere")
    assert (code, "What changed?" in shown) == (0, True), shown
    assert film.json("log")[0]["message"] == "One line"


def test_without_a_terminal_a_message_is_asked_for(film: Film) -> None:
    assert 'mediagit commit -m "..."' in film("commit", exit_code=2)


def test_long_lists_are_cut_and_odd_names_escaped() -> None:
    text = template(None, [("added", f"{number}\n") for number in range(300)])
    assert "# On no branch:\n" in text
    assert "... and 100 more\n" in text
    assert "\\n" in text
    assert message_of(text.splitlines()) == ""
    assert message_of(["", "  ", "a ", "", "# x", " # kept", ""]) == "a\n\n # kept"
