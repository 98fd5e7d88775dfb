"""docs/cli.md and the commands say the same."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mediavault.cli.dispatch import VERBS, load
from mediavault.cli.document import document, main
from mediavault.cli.exit_codes import ExitCode
from tests.conftest import PASSPHRASE
from tests.film import Film

FILE = Path(__file__).parents[2] / "docs" / "cli.md"
DOCUMENT = FILE.read_text()
ROW = re.compile(r"^\| `([a-z -]+)` \| (.*) \|$", re.MULTILINE)


def promised() -> dict[str, tuple[bool, set[str]]]:
    """Return for each command whether it answers with a list, and the keys that the document names."""
    rows: dict[str, tuple[bool, set[str]]] = {}
    for command, cell in ROW.findall(DOCUMENT.partition("## JSON documents")[2]):
        own, _, _ = cell.partition(";")
        keys = set(re.findall(r"`([a-z_]+)`", own))
        for other in re.findall(r"those of `([a-z]+)`", own):
            keys = keys - {other} | rows.get(other, (False, {other}))[1]
        rows[command] = (cell.startswith("list of"), keys)
    rows["clone"] = (False, (rows["clone"][1] - {"fetch"}) | rows["fetch"][1])
    return rows


@pytest.fixture
def documents(tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run every command of the table once."""
    monkeypatch.setenv("MEDIAGIT_PASSPHRASE", PASSPHRASE)
    url = f"{serve()}/studio/film"
    place, film = Film(tmp_path), Film(tmp_path / "film")
    found: dict[str, Any] = {"init": place.json("init", "film")}
    film.write("a.txt", "one")
    found["add"] = film.json("add", ".")
    found["commit"] = film.json("commit", "-m", "First cut")
    film("tag", "-m", "words", "v1")
    film("remote", "add", "origin", url)
    found["push"] = film.json("push", "-u", "origin", "main")
    found["clone"] = place.json("clone", url, "copy")
    found["fetch"] = film.json("fetch")
    found["pull"] = film.json("pull")
    found["mirror"] = film.json("mirror", "origin", f"file://{tmp_path}/mirrored")
    (tmp_path / "new").write_text("other words\n")
    found["key add"] = film.json("key", "add", "anna", "--new-passphrase-file", tmp_path / "new")
    found["key list"] = film.json("key", "list")
    film.write("a.txt", "edited")
    lines = (
        "status",
        "log",
        "show",
        "diff",
        "ls",
        "cat a.txt",
        "branch",
        "tag",
        "remote",
        "verify",
        "gc",
        "stats",
        "version",
    )
    for line in (
        *lines,
        "config list",
        "completion bash",
        "config get core.workers",
        "restore a.txt",
        "mv a.txt b.txt",
        "rm --cached b.txt",
    ):
        words = line.split()
        found[" ".join(words[: 2 if words[0] == "config" else 1])] = film.json(*words)
    film("restore", "-SW", ".")
    found["switch"] = film.json("switch", "-c", "grade")
    return found


def test_every_document_has_the_keys_that_are_promised(documents: dict[str, Any]) -> None:
    table = promised()
    assert table.keys() == documents.keys()
    for command, (is_list, keys) in table.items():
        document = documents[command]
        assert isinstance(document, list) == is_list, command
        first = document[0] if is_list else document
        assert set(first) == keys, command


def test_every_verb_is_in_the_table() -> None:
    assert {command.partition(" ")[0] for command in promised()} == set(VERBS)


def test_the_verbs_are_as_the_commands_say(tmp_path: Path) -> None:
    """When this fails: make docs."""
    assert document(DOCUMENT) == DOCUMENT
    outdated = tmp_path / "cli.md"
    outdated.write_text(DOCUMENT.replace("mediagit push -u origin main", "mediagit shove"))
    assert outdated.read_text() != DOCUMENT
    assert main([str(outdated)]) == ExitCode.OK
    assert outdated.read_text() == DOCUMENT
    assert main([]) == ExitCode.USAGE


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_is_explained_with_examples(verb: str) -> None:
    section = DOCUMENT.partition(f"#### mediagit {verb}\n")[2].partition("#### ")[0]
    examples = section.partition("```sh\n")[2].partition("```")[0].splitlines()
    assert len(examples) >= 2, "two examples"
    assert all(re.match(r"mediagit [a-z]+", line) for line in examples)
    prose = section.partition("```")[0].strip().split("\n\n")
    assert len(prose) >= 2, "a sentence and a paragraph"
    command = load(verb)
    for line in examples:
        words = shlex.split(line.partition("  # ")[0].partition(" > ")[0].partition("|")[0])
        other = load(words[1]) if words[1] != verb else command
        parse(other, words[2:])


def parse(command: Any, words: list[str]) -> None:
    """Let the parser of a command judge arguments; nothing is run."""
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    children = getattr(command, "commands", {})
    for at, word in enumerate(words):
        if word == "--":
            return
        if word in children:
            parse(children[word], words[at + 1 :])
            return
        if word.startswith("--"):
            assert word.partition("=")[0] in options, word
        elif word.startswith("-") and word not in options:
            assert all(f"-{letter}" in options for letter in word[1:]), word


def test_every_exit_code_is_explained() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", DOCUMENT, re.MULTILINE)}
    assert codes == {int(code) for code in ExitCode}
