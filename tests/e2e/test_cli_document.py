"""docs/cli.md and the commands say the same."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mediavault.cli.dispatch import VERBS
from mediavault.cli.exit_codes import ExitCode
from tests.conftest import PASSPHRASE
from tests.film import Film

DOCUMENT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
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
        "stats",
        "version",
    )
    for line in (
        *lines,
        "config list",
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


def test_every_exit_code_is_explained() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", DOCUMENT, re.MULTILINE)}
    assert codes == {int(code) for code in ExitCode}
