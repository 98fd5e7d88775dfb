"""Repositories that earlier versions wrote: this version opens, verifies and checks them out, byte for byte."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.film import Film
from tests.golden.repositories import AUTHOR, FOLDER, KINDS, PASSPHRASE, summary
from tests.snapshot import snapshot

SMALL = 200_000
"""Bytes that one repository may take here."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def expected(kind: str) -> dict[str, Any]:
    """Give what was written down when the repository was made."""
    found: dict[str, Any] = json.loads((FOLDER / f"{kind}.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def film(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    """Put the store into a project without any other state, for a user who knows the passphrase."""
    monkeypatch.setenv("MEDIAGIT_PASSPHRASE", PASSPHRASE)
    private = tmp_path / "film/.mediagit"
    shutil.copytree(FOLDER / kind, private / "store")
    (private / "HEAD").write_text("ref: heads/main\n")
    return Film(private.parent)


def test_is_small(kind: str) -> None:
    assert 0 < sum(path.stat().st_size for path in (FOLDER / kind).rglob("*") if path.is_file()) < SMALL


def test_everything_is_intact(film: Film) -> None:
    report = film.json("verify")
    assert report["ok"]
    assert report["packs"] >= 8
    assert report["objects"] > 12


def test_history(film: Film, expected: dict[str, Any]) -> None:
    first, second, warm, credits_ = expected["log"]
    log = film.json("log")
    assert [entry["id"] for entry in log] == [credits_, second, first]
    assert [entry["parents"] for entry in log] == [[second], [first], []]
    assert log[1]["message"] == "Second cut\n\nWith a body, and an umlaut: ü"
    assert AUTHOR in json.dumps(log[0]["author"], ensure_ascii=False)
    assert film.json("log", "grade/warm")[0]["id"] == warm
    assert {entry["name"] for entry in film.json("branch")} == {"main", "grade/warm"}
    assert {entry["name"] for entry in film.json("tag")} == {"dailies", "v1.0"}


def test_every_tree_is_checked_out(film: Film, expected: dict[str, Any]) -> None:
    film("restore", "--source", "main", "--staged", "--worktree", ".")
    assert film.status() == {}
    trees = expected["trees"]
    assert summary(snapshot(film.root)) == trees.pop("main")
    for name, tree in trees.items():
        film("switch", *([] if name == "grade/warm" else ["--detach"]), name)
        assert summary(snapshot(film.root)) == tree


def test_is_served_and_cloned(
    film: Film, kind: str, expected: dict[str, Any], serve: Callable[..., str], tmp_path: Path
) -> None:
    shutil.copytree(FOLDER / kind, tmp_path / "srv/studio/film")
    url = serve(tmp_path / "srv") + "/studio/film"
    Film(tmp_path)("clone", *KINDS[kind], url, "copy")
    assert summary(snapshot(tmp_path / "copy")) == expected["trees"]["main"]
    copy = Film(tmp_path / "copy")
    copy.write("new", "from today's version\n")
    copy("add", ".")
    copy("commit", "-m", "Goes on")
    copy("push")
    assert copy.json("verify", "--remote", "origin")["ok"]
    assert film.json("log")[0]["id"] == copy.json("log")[1]["id"]


@pytest.mark.parametrize("kind", ["encrypted"], indirect=True)
def test_recovery_code_opens_it(film: Film, expected: dict[str, Any], tmp_path: Path) -> None:
    alone = {"MEDIAGIT_HOME": str(tmp_path / "alone")}
    film("log", exit_code=6, env={**alone, "MEDIAGIT_PASSPHRASE": "not it"})
    assert len(film.json("log", env={**alone, "MEDIAGIT_PASSPHRASE": expected["recovery_code"]})) == 3
