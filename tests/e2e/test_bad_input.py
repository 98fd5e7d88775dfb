"""Wrong passphrases, settings, names and moments: a clear error with a next step, its exit code, and nothing lost."""

import contextlib
import http.client
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import pytest
from blake3 import blake3

from tests.bad_input import PROJECT, Serve, failed, refused, whole, with_remote
from tests.conftest import PASSPHRASE, installed
from tests.e2e.conftest import Made
from tests.film import Film
from tests.prepared import MIB, copy_of
from tests.snapshot import snapshot

pytestmark = pytest.mark.slow

Mediagit: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


def test_wrong_passphrase(made: Made, mediagit: Mediagit, serve: Serve, tmp_path: Path) -> None:
    url = serve(made.storage) + PROJECT
    stranger = {"MEDIAGIT_HOME": str(tmp_path / "stranger")}
    result = mediagit(
        "clone", url, "copy", exit_code=6, passphrase="guess", env=stranger | {"MEDIAGIT_PASSPHRASE": "guess"}
    )
    assert "next: " in result.stderr
    assert not (tmp_path / "copy").exists()
    mediagit("clone", url, "copy", env=stranger)
    assert snapshot(tmp_path / "copy") == made.tree


def test_wrong_passphrase_of_a_project_on_this_computer(film: Film, made: Made, tmp_path: Path) -> None:
    stranger = {"MEDIAGIT_HOME": str(tmp_path / "stranger")}
    refused(film, "log", exit_code=6, env=stranger | {"MEDIAGIT_PASSPHRASE": "guess"})
    refused(film, "log", exit_code=6, env=stranger)
    assert len(film.json("log", env=stranger | {"MEDIAGIT_PASSPHRASE": PASSPHRASE})) == 2
    whole(film, made.tree)


def test_encrypted_and_plain_are_never_taken_for_each_other(
    made: Made, plain: Film, serve: Serve, tmp_path: Path
) -> None:
    url, elsewhere = serve(made.storage), Film(tmp_path)
    refused(elsewhere, "clone", "--no-encryption", url + PROJECT, "copy", exit_code=2)
    with_remote(plain.root, url)
    refused(plain, "push", "origin", "main", exit_code=3)
    plain("remote", "add", "other", url + "/studio/plain")
    plain("push", "other", "main")
    refused(elsewhere, "clone", url + "/studio/plain", "copy", exit_code=2)
    assert not (tmp_path / "copy").exists()
    elsewhere("clone", "--no-encryption", url + "/studio/plain", "copy")
    assert snapshot(tmp_path / "copy") == made.tree


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ('[core]\npack_sise = "8MiB"\n', "core.pack_size"),
        ("[cora]\nworkers = 1\n", "core.workers"),
        ('[remote.origin]\nulr = "http://x/a/b"\n', "remote.NAME.url"),
        ("[core]\nworkers = 'many'\n", ""),
        ("[core\n", ""),
    ],
)
def test_unknown_settings(film: Film, made: Made, own_user: Path, text: str, near: str) -> None:
    for place in (film.root / ".mediagit/mediagit.toml", own_user / "mediagit.toml"):
        before = place.read_bytes() if place.exists() else b""
        place.write_text(text)
        for verb in ("status", "log", "add", "verify"):
            words = film(verb, *(["."] if verb == "add" else []), exit_code=2)
            assert str(place) in words
            assert near in words
        place.write_bytes(before)
    whole(film, made.tree)


def test_unknown_settings_elsewhere(film: Film, tmp_path: Path) -> None:
    assert "MEDIAGIT_CORE__PACK_SIZE" in film("status", exit_code=2, env={"MEDIAGIT_CORE__PACKSIZE": "8MiB"})
    assert "core.workers" in film("config", "set", "core.worker", "2", exit_code=2)
    settings = tmp_path / "server.toml"
    settings.write_text("[server]\nprot = 3000\n")
    command = [installed("mediagit-server"), "--config", str(settings), "--no-auth"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert result.returncode == 2
    assert "server.port" in result.stderr


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a//b", ".", "a/.", "e vil", "e\nvil", "-evil"])
def test_ref_names_that_lead_away(film: Film, made: Made, name: str) -> None:
    before = sorted(film.root.parent.rglob("*"))
    refused(film, "switch", "-c", name, exit_code=2)
    refused(film, "branch", "--", name, exit_code=2)
    refused(film, "tag", "--", name, exit_code=2)
    assert {path.name for path in film.root.parent.rglob("*")} == {path.name for path in before}
    whole(film, made.tree)


def test_paths_that_lead_away(film: Film, made: Made, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    for path in ("../outside", str(outside), "shots/../../outside"):
        for verb in (("add",), ("rm", "--force"), ("restore",), ("mv", "rushes.mov")):
            refused(film, *verb, path, exit_code=2)
    for path in (".mediagit/HEAD", ".mediagit"):
        failed(film, "add", path, exit_codes=(1, 2), env={})
        failed(film, "rm", "--force", path, exit_codes=(1, 2), env={})
        failed(film, "mv", "rushes.mov", path, exit_codes=(1, 2), env={})
    for text in ("../../../etc/passwd", "HEAD:../outside"):
        failed(film, "show", text, exit_codes=(1, 2), env={})
    assert outside.read_text() == "mine"
    whole(film, made.tree)


HOSTILE_PATHS = [
    "/studio/film/packs/..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/studio/film/packs/../../../../etc/passwd",
    "/studio/film/packs/%2e%2e/%2e%2e/config",
    "/studio/film/chunks/" + "g" * 64,
    "/studio/film/chunks/" + "A" * 64,
    "/studio/film/chunks/" + "a" * 63,
    "/studio/film/refs/heads/../../config",
    "/studio/film/refs/heads%2F..%2F..%2Fconfig",
    "/studio/film/refs/heads/a%00b",
    "/studio/film/keys/..%2fconfig",
    "/studio/film/keys/../config",
    "/studio/../config",
    "/../../etc/passwd",
    "/studio/film/refs/heads/" + "a" * 4000,
]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_server_refuses_paths_that_lead_away(serve: Serve, storage: Path, method: str) -> None:
    address = urlsplit(serve(storage))
    before = snapshot(storage.parent)
    for path in HOSTILE_PATHS:
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=False)
            connection.putheader("Content-Length", "4")
            connection.putheader("If-None-Match", "*")
            connection.endheaders(b"evil")
            with connection.getresponse() as answer:
                assert answer.status in {400, 404, 405, 414}, (path, answer.status)
                body = answer.read()
            assert b"root:" not in body
            assert b"Traceback" not in body
    assert snapshot(storage.parent) == before


def test_many_processes_at_once(film: Film, made: Made) -> None:
    names = [f"take-{number}" for number in range(6)]
    for name in names:
        (film.root / name).write_bytes(blake3(name.encode()).digest(300_000))
    waiting = set(names)
    for _ in range(20):
        running = {
            name: subprocess.Popen(
                [installed("mediagit"), *arguments],
                cwd=film.root,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name, arguments in [("", ["status"]), *((name, ["add", name]) for name in sorted(waiting))]
        }
        for name, process in running.items():
            _, words = process.communicate(timeout=60)
            assert process.returncode == 0 or (name and process.returncode == 3), words
            if process.returncode == 0:
                waiting.discard(name)
        if not waiting:
            break
    assert not waiting
    film("commit", "-m", "All takes")
    assert film.json("verify")["ok"]
    tree = snapshot(film.root)
    for name in names:
        (film.root / name).unlink()
    film("restore", ".")
    assert snapshot(film.root) == tree
    assert tree.items() > made.tree.items()


def test_transfers_and_work_at_once(empty: Film, made: Made, serve: Serve, storage: Path) -> None:
    with_remote(empty.root, serve(storage))
    (empty.root / "take").write_bytes(blake3(b"take").digest(300_000))
    verbs = (["fetch"], ["fetch"], ["add", "."], ["status"])
    running = [
        subprocess.Popen(
            [installed("mediagit"), *verb], cwd=empty.root, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        for verb in verbs
    ]
    for verb, process in zip(verbs, running, strict=True):
        _, words = process.communicate(timeout=60)
        assert process.returncode == 0 or (verb == ["fetch"] and process.returncode == 3), words
    empty("fetch")
    empty("commit", "-m", "Take")
    assert empty.json("verify")["ok"]
    empty("switch", "-c", "theirs", "origin/main")
    assert snapshot(empty.root) == made.tree


def test_two_at_once_push_different_commits(
    film: Film, made: Made, serve: Serve, storage: Path, tmp_path: Path
) -> None:
    url = serve(storage)
    with_remote(film.root, url)
    other = Film(with_remote(copy_of(made.encrypted, tmp_path / "other"), url))
    for one in (film, other):
        (one.root / one.root.name).write_bytes(os.urandom(MIB))
        one("add", ".")
        one("commit", "-m", f"By {one.root.name}")
    running = [
        subprocess.Popen([installed("mediagit"), "push", "origin", "main"], cwd=one.root, stderr=subprocess.PIPE)
        for one in (film, other)
    ]
    codes = []
    for process in running:
        process.communicate(timeout=60)
        codes.append(process.returncode)
    assert sorted(codes) == [0, 3]
    loser = (film, other)[codes.index(3)]
    loser("fetch")
    loser("verify", "--remote", "origin")
    refused(loser, "pull", exit_code=3)
