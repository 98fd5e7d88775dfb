"""Completion: the protocol for every verb, and bash for real."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mediavault.cli.complete import kinds_of, split_line
from mediavault.cli.dispatch import VERBS, load
from tests.conftest import installed
from tests.film import Film, new_film


@pytest.fixture
def film(tmp_path: Path) -> Film:
    film = new_film(tmp_path / "film", "--no-encryption")
    film.write("title.psd", "title")
    film.write("shots/one two.exr", "1")
    film.write("shots/day/0010.exr", "2")
    film("add", ".")
    film("commit", "-m", "First")
    film("branch", "grade")
    film("branch", "gone")
    film("branch", "-D", "gone")
    film("tag", "v1")
    film("remote", "add", "nas", "http://127.0.0.1:1/studio/film")
    return film


def offered(film: Film, line: str, shell: str = "fish", cwd: Path | None = None) -> tuple[str, list[str]]:
    """Return the kind of an answer and its candidates without their meanings."""
    kind, *lines = film("__complete", shell, line, cwd=cwd).splitlines()
    return kind, [line.partition("\t")[0] for line in lines]


def test_verbs_and_the_flags_before_them(film: Film) -> None:
    assert offered(film, "mediagit ") == ("words", list(VERBS))
    assert offered(film, "mediagit st") == ("words", ["status", "stats"])
    assert offered(film, "mediagit --debug ver") == ("words", ["verify", "version"])
    assert offered(film, "mediagit --d") == ("words", ["--debug"])
    assert offered(film, "mediagit -C ")[0] == "files"
    assert offered(film, "mediagit help sw") == ("words", ["switch"])
    assert offered(film, "mediagit nonsense ") == ("words", [])


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", {})
    yield path, command
    for name, child in children.items():
        yield from commands(child, f"{path} {name}")


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_flag_is_offered_and_every_value_was_thought_of(film: Film, verb: str) -> None:
    for path, command in commands(load(verb), verb):
        options = [name for one in command.params if one.param_type_name == "option" for name in one.opts]
        _, found = offered(film, f"mediagit {path} -")
        assert set(found) == {*options, "--help"}, path
        for parameter in command.params:
            if not getattr(parameter, "is_flag", False):
                assert kinds_of(path, parameter.name), f"say in cli/complete.py what {parameter.name} of {path} takes"


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("switch ", "words", ["grade", "main", "v1", "HEAD"]),
        ("switch g", "words", ["grade"]),
        ("branch -d g", "words", ["grade"]),
        ("branch new m", "words", ["main"]),
        ("tag -d ", "words", ["v1"]),
        ("log v1..g", "files", ["v1..grade"]),
        ("log -n ", "words", []),
        ("fetch ", "words", ["nas"]),
        ("push nas m", "words", ["main"]),
        ("verify --remote ", "words", ["nas"]),
        ("verify --remote=n", "words", ["--remote=nas"]),
        ("remote remove ", "words", ["nas"]),
        ("remote add ", "words", []),
        ("remote s", "words", ["set-url"]),
        ("config get core.w", "words", ["core.workers"]),
        ("config get remote", "words", ["remote.nas.url"]),
        ("config set user.name ", "words", []),
        ("restore ", "words", ["title.psd", "shots/"]),
        ("restore --source ", "words", ["grade", "main", "v1", "HEAD"]),
        ("restore -s main t", "words", ["title.psd"]),
        ("restore -- sh", "words", ["shots/"]),
        ("rm shots/", "words", ["shots/one two.exr", "shots/day/"]),
        ('rm "shots/one t', "words", ["shots/one two.exr"]),
        ("rm shots/one\\ t", "words", ["shots/one two.exr"]),
        ("cat main:shots/d", "words", ["main:shots/day/"]),
        ("add ", "files", []),
        ("commit -m ", "words", []),
        ("completion ", "words", ["bash", "zsh", "fish"]),
        ("init --passphrase-file ", "files", []),
    ],
)
def test_names_are_offered(film: Film, line: str, kind: str, words: list[str]) -> None:
    assert offered(film, f"mediagit {line}") == (kind, words)


def test_paths_count_from_the_folder_that_one_is_in(film: Film) -> None:
    assert offered(film, "mediagit rm ", cwd=film.root / "shots") == ("words", ["one two.exr", "day/"])
    assert offered(film, "mediagit rm ../t", cwd=film.root / "shots") == ("words", ["../title.psd"])
    assert offered(film, f"mediagit -C {film.root}/shots rm d", cwd=film.root) == ("words", ["day/"])


def test_bash_gets_what_stands_behind_its_own_breaks(film: Film) -> None:
    assert offered(film, "mediagit cat main:ti", shell="bash") == ("words", ["title.psd"])
    assert offered(film, "mediagit verify --remote=n", shell="bash") == ("words", ["nas"])


def test_it_never_fails(film: Film, tmp_path: Path) -> None:
    for line in ("mediagit rm ", "mediagit switch ", "mediagit config get co", "mediagit log ", "mediagit fetch "):
        kind, _ = offered(film, line, cwd=tmp_path)
        assert kind in {"words", "files"}
    (film.root / ".mediagit/state.sqlite").write_bytes(b"no database")
    (film.root / ".mediagit/mediagit.toml").write_text("[nonsense")
    for ref in (film.root / ".mediagit/store/refs").iterdir():
        ref.write_bytes(b"?")
    for line in ("mediagit rm ", "mediagit switch ", "mediagit fetch ", "mediagit config get x", "mediagit rm 'a"):
        assert set(offered(film, line)[1]) <= {"HEAD"}
    film("__complete", exit_code=2)
    assert (film.root / ".mediagit/state.sqlite").read_bytes() == b"no database"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", [""]),
        ("mediagit", [""]),
        ("mediagit ", [""]),
        ("mediagit a", ["a"]),
        ("mediagit a ", ["a", ""]),
        ("mediagit 'a b", ["a b"]),
        ('mediagit "a ', ["a "]),
        ("mediagit a\\ ", ["a "]),
        ("mediagit a\\", ["a\\"]),
        ("mediagit a 'b' ", ["a", "b", ""]),
    ],
)
def test_unfinished_lines_are_split_as_a_shell_would(line: str, words: list[str]) -> None:
    assert split_line(line) == words


def test_each_script_is_printed(film: Film) -> None:
    for shell in ("bash", "zsh", "fish"):
        script = film("completion", shell)
        assert f"mediagit __complete {shell}" in script
        assert film.json("completion", shell) == {"shell": shell, "script": script}
    film("completion", "tcsh", exit_code=2)


def bash(film: Film, *words: str) -> list[str]:
    """Let bash source the script and complete the last word as it does at the Tab key."""
    quoted = " ".join(f"'{word}'" for word in words)
    script = f"""
        source <(mediagit completion bash)
        complete -p mediagit >/dev/null || exit 9
        COMP_WORDS=({quoted}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        COMP_LINE="${{COMP_WORDS[*]}}"; COMP_POINT=${{#COMP_LINE}}
        _mediagit
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{Path(installed('mediagit')).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=film.root,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_bash_completes(film: Film) -> None:
    assert bash(film, "mediagit", "sta") == ["status", "stats"]
    assert bash(film, "mediagit", "switch", "gr") == ["grade"]
    assert bash(film, "mediagit", "rm", "shots/") == ["shots/one two.exr", "shots/day/"]
    assert bash(film, "mediagit", "add", "ti") == ["title.psd"]
    assert bash(film, "mediagit", "add", "--up") == ["--update"]


def test_bash_completes_at_the_tab_key(film: Film) -> None:
    """An interactive bash in a terminal: what it types in place of the Tab is a whole, quoted name."""
    path = f"{Path(installed('mediagit')).parent}:{os.environ['PATH']}"
    leader, follower = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        cwd=film.root,
        env={**os.environ, "PATH": path, "PS1": "$ ", "TERM": "dumb", "INPUTRC": "/dev/null"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    try:
        os.write(leader, b"source <(mediagit completion bash); printf '<%s>\\n' ready\n")
        read_until(leader, b"<ready>")
        os.write(leader, b"set -- mediagit\nmediagit swi\tgra\t; printf '<%s>\\n' \"$?\"\n")
        seen = read_until(leader, b"<0>")
        assert b"mediagit switch grade" in seen
        os.write(leader, b"mediagit rm shots/one\t; printf '<%s>\\n' \"$?\"\n")
        seen = read_until(leader, b"<0>")
        assert b"shots/one\\ two.exr" in seen
        assert not (film.root / "shots/one two.exr").exists()
    finally:
        shell.kill()
        shell.wait()
        os.close(leader)


def read_until(terminal: int, mark: bytes) -> bytes:
    """Return what a terminal shows up to a mark; fails when it does not come within a minute."""
    seen = b""
    deadline = time.monotonic() + 60
    while mark not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, seen
        seen += os.read(terminal, 4096)
    return seen
