"""mediagit mirror: as an operator types it, without any key, and a clone of what it made."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from mediavault_backends.throttle import Throttle
from tests.conftest import PASSPHRASE, installed
from tests.film import Film, new_film
from tests.integration.proxy import Proxy


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    """An encrypted repository that was pushed to a folder."""
    monkeypatch.setenv("MEDIAGIT_PASSPHRASE", PASSPHRASE)
    made = new_film(tmp_path / "film")
    made.write("a.mov", os.urandom(3_000_000))
    made.write("shots/b.txt", "two")
    made("add", ".")
    made("commit", "-m", "First cut")
    made("remote", "add", "origin", f"file://{tmp_path}/nas")
    made("push", "-u", "origin", "main")
    return made


@pytest.fixture
def operator(tmp_path: Path, film: Film, monkeypatch: pytest.MonkeyPatch) -> Film:  # noqa: ARG001 -- it is made before
    """Somebody who has neither the passphrase, nor a key, nor a checkout; from now on that is who we are."""
    monkeypatch.delenv("MEDIAGIT_PASSPHRASE")
    monkeypatch.setenv("MEDIAGIT_HOME", str(tmp_path / "operator-home"))
    (tmp_path / "operator").mkdir()
    return Film(tmp_path / "operator")


@pytest.mark.parametrize("kind", ["server", "folder"])
def test_disaster_recovery(tmp_path: Path, film: Film, operator: Film, serve: Callable[..., str], kind: str) -> None:
    nas = f"file://{tmp_path}/nas"
    copy = f"{serve()}/studio/film" if kind == "server" else f"file://{tmp_path}/copy"
    said = operator("mirror", nas, copy)
    assert f"Made the mirror at {copy}" in said
    assert "main at " in said
    assert "up to date" in operator("mirror", nas, copy)
    shutil.rmtree(tmp_path / "nas")
    home = {"MEDIAGIT_HOME": str(tmp_path / "other-home"), "MEDIAGIT_PASSPHRASE": PASSPHRASE}
    operator("clone", copy, tmp_path / "again", env=home)
    for path in ("a.mov", "shots/b.txt"):
        assert (tmp_path / "again" / path).read_bytes() == (film.root / path).read_bytes()
    assert not (tmp_path / "operator-home" / "keys").exists()


def test_the_way_back(tmp_path: Path, film: Film) -> None:
    """As docs/operations/mirrors.md says: the source is lost, the mirror lags, a checkout has more than both."""
    nas, copy = f"file://{tmp_path}/nas", f"file://{tmp_path}/copy"
    film("mirror", nas, copy)
    film.write("c.txt", "after the last night")
    film("add", ".")
    film("commit", "-m", "Second cut")
    film("push")
    shutil.rmtree(tmp_path / "nas")
    film("mirror", "--verify", copy, nas)
    assert "went back on its history" in film("fetch", exit_code=5)
    film("remote", "remove", "origin")
    film("remote", "add", "origin", nas)
    film("push", "origin", "main")
    assert "Nothing new" in film("fetch")
    assert film.json("mirror", "origin", copy)["refs"][0]["moves"] == 1


def test_remotes_are_named_in_a_checkout(tmp_path: Path, film: Film) -> None:
    film("remote", "add", "offsite", f"file://{tmp_path}/copy")
    film("mirror", "origin", "offsite")
    assert "Everything is at offsite already" in film("push", "offsite", "main")
    assert "no remote named nowhere" in film("mirror", "origin", "nowhere", exit_code=1)
    assert "the same" in film("mirror", "origin", "origin", exit_code=2)


def test_a_dry_run_says_what_would_go(tmp_path: Path, film: Film) -> None:
    said = film("mirror", "--dry-run", "origin", f"file://{tmp_path}/copy")
    assert "Would make the mirror" in said
    assert "3 packs" in said
    assert "Nothing was sent" in said
    assert not (tmp_path / "copy").exists()
    planned = film.json("mirror", "--dry-run", "origin", f"file://{tmp_path}/copy")
    sent = film.json("mirror", "origin", f"file://{tmp_path}/copy")
    for key in ("packs", "bytes", "chunks", "objects", "refs", "writes", "slots"):
        assert planned[key] == sent[key]
    assert (planned["dry_run"], sent["dry_run"]) == (True, False)
    assert sent["asked"]["destination"]["sent"] >= sent["bytes"] > 3_000_000
    assert film.json("mirror", "--dry-run", "origin", f"file://{tmp_path}/copy")["writes"] == 0


def test_verify_finds_a_flipped_byte(tmp_path: Path, operator: Film) -> None:
    nas, copy = f"file://{tmp_path}/nas", f"file://{tmp_path}/copy"
    assert "All good." in operator("mirror", "--verify", nas, copy)
    pack = max((tmp_path / "copy" / "packs").glob("*/*"), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)
    assert "up to date" in operator("mirror", nas, copy)
    said = operator.attempt("mirror", "--verify", nas, copy)
    assert said == 5
    assert pack.name in operator.output
    assert "1 problem found" in operator.output
    assert "Mirror it to a new place" in operator.errors
    assert operator.attempt("mirror", "--verify", "--json", nas, copy) == 5
    (damage,) = json.loads(operator.output)["verified"]["damage"]
    assert damage["pack"] == pack.name
    assert "Compared" in operator("mirror", "--verify", nas, f"file://{tmp_path}/anew")


def test_what_others_moved_is_given_up_by_force_alone(tmp_path: Path, film: Film) -> None:
    copy = f"file://{tmp_path}/copy"
    film("mirror", "origin", copy)
    film("clone", copy, tmp_path / "other")
    other = Film(tmp_path / "other")
    other.write("c.txt", "made at the mirror")
    other("add", ".")
    other("commit", "-m", "Elsewhere")
    other("push")
    refused = film("mirror", "origin", copy, exit_code=3)
    assert "heads/main is ahead there" in refused
    assert "Commits that only the mirror's refs lead to are lost" in refused
    said = film("mirror", "--force", "origin", copy)
    assert "replaced  main" in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--bandwidth", "fast"), "Not a size: 'fast'"),
        (("--bandwidth", "20"), "less than 1KiB"),
        (("--dry-run", "--verify"), "--dry-run sends nothing"),
    ],
)
def test_flags_that_make_no_sense(tmp_path: Path, film: Film, flags: tuple[str, ...], words: str) -> None:
    assert words in film("mirror", *flags, "origin", f"file://{tmp_path}/copy", exit_code=2)
    assert not (tmp_path / "copy").exists()


def test_a_rate_is_kept(tmp_path: Path, film: Film) -> None:
    waits: list[float] = []
    standing = {"clock": lambda: 100.0, "sleep": waits.append}
    with mock.patch.dict(Throttle.__init__.__kwdefaults__, standing):
        sent = film.json("mirror", "--bandwidth", "20MB", "origin", f"file://{tmp_path}/copy")
    # Nobody really waited, so each call was told to wait until all before it had gone.
    assert max(waits) == pytest.approx(sent["bytes"] / 20e6, rel=0.01)


def test_a_killed_run_goes_on(film: Film, serve: Callable[..., str]) -> None:
    with Proxy(serve()) as proxy:
        copy = f"{proxy.url}/studio/film"
        process = subprocess.Popen(
            [installed("mediagit"), "mirror", "origin", copy], cwd=film.root, stderr=subprocess.DEVNULL
        )

        def kill_at_half(total: int) -> bool:
            if total > 1_500_000:
                process.kill()
            return True

        proxy.on_up = kill_at_half
        assert process.wait(timeout=120) == -signal.SIGKILL
        proxy.on_up = lambda total: total > 0
        (left,) = (Path(os.environ["MEDIAGIT_HOME"]) / "mirrors").iterdir()
        assert (left / "work").is_dir()
        sent = film.json("mirror", "--verify", "origin", copy)
    assert sent["refs"]
    assert sent["verified"]["ok"]
    assert not (left / "work").exists()
