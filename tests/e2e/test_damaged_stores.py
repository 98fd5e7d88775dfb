"""Frames, packs, indexes, refs and configs that are damaged, or of a newer format, here and at a server: found, named, survived."""

import contextlib
import http.client
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mediavault.model.ids import Kind
from tests.bad_input import (
    CHUNKS,
    HISTORY,
    IMPATIENT,
    NODES,
    PROJECT,
    Damage,
    Serve,
    cut,
    damaged,
    failed,
    flip,
    overwrite,
    packs_of,
    refused,
    whole,
    with_remote,
)
from tests.e2e.conftest import Made
from tests.film import Film
from tests.integration.meddler import flipped
from tests.snapshot import snapshot

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize("kinds", [CHUNKS, NODES, HISTORY], ids=["chunks", "nodes", "history"])
def test_damaged_pack(film: Film, made: Made, kinds: Sequence[Kind], damage: Damage) -> None:
    pack = packs_of(film.root / ".mediagit/store", kinds)[-1]
    with damaged(pack, damage):
        film("verify", "--json", exit_code=5)
        report = json.loads(film.output)
        assert pack.name in {found["pack"] for found in report["damage"]}
        assert kinds is not CHUNKS or "rushes.mov" in report["affected"]
        (film.root / "rushes.mov").unlink()
        assert pack.name in refused(film, "restore", "--source", "HEAD", "rushes.mov", exit_code=5)
        assert not (film.root / "rushes.mov").exists()
    film("restore", "rushes.mov")
    whole(film, made.tree)


def test_verify_finds_a_flipped_bit_anywhere_in_a_pack(film: Film, made: Made) -> None:
    pack = packs_of(film.root / ".mediagit/store", CHUNKS)[-1]
    size = pack.stat().st_size
    # Magic, nonce; the first frame's version, id, salt and body; table; offset, hash and magic in the footer.
    for at in (0, 10, 24, 32, 80, 5000, size - 60, size - 48, size - 30, size - 1):
        with damaged(pack, partial(flipped, at=at)):
            film("verify", "--json", exit_code=5)
            assert json.loads(film.output)["damage"][0]["pack"] == pack.name
    whole(film, made.tree)


@pytest.mark.parametrize("damage", [flip, cut, lambda _: b""])
def test_damaged_index(film: Film, made: Made, damage: Damage) -> None:
    index = max((film.root / ".mediagit/store/index").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    with damaged(index, damage):
        film("verify", exit_code=5)
        assert index.name in film.output
        assert index.name in refused(film, "log", exit_code=5)
        (film.root / "rushes.mov").unlink()
        refused(film, "restore", "--source", "HEAD", "rushes.mov", exit_code=5)
    film("restore", "rushes.mov")
    whole(film, made.tree)


@pytest.mark.parametrize("damage", [flip, cut, lambda _: b""])
def test_damaged_ref(film: Film, made: Made, damage: Damage) -> None:
    (film.root / "new").write_text("new")
    film("add", "new")
    with damaged(film.root / ".mediagit/store/refs/heads%2Fmain", damage):
        film("verify", exit_code=5)
        assert "heads/main" in film.output
        assert "heads/main" in refused(film, "log", exit_code=5)
        refused(film, "commit", "-m", "On top of what?", exit_code=5)
    film("rm", "--force", "new")
    whole(film, made.tree)


@pytest.mark.parametrize("damage", [flip, cut, lambda _: b""])
def test_damaged_config(film: Film, made: Made, damage: Damage) -> None:
    with damaged(film.root / ".mediagit/store/config", damage):
        for verb in ("status", "verify", "log"):
            refused(film, verb, exit_code=5)
    whole(film, made.tree)


@pytest.mark.parametrize("damage", [cut, lambda _: b"", lambda data: b"\xff" * len(data)])
def test_damaged_stage_is_made_again(film: Film, made: Made, damage: Damage) -> None:
    stage = film.root / ".mediagit/state.sqlite"
    overwrite(stage, damage(stage.read_bytes()))
    assert film.status() == {}
    assert "add" in film.errors
    whole(film, made.tree)


@pytest.mark.parametrize("kinds", [CHUNKS, NODES, HISTORY], ids=["chunks", "nodes", "history"])
@pytest.mark.parametrize("damage", [flip, cut])
def test_damaged_pack_at_the_server(
    made: Made, serve: Serve, storage: Path, kinds: Sequence[Kind], damage: Damage
) -> None:
    url = serve(storage) + PROJECT
    here, copy = Film(storage.parent), Film(storage.parent / "copy")
    with damaged(packs_of(storage / "studio/film", kinds)[-1], damage):
        refused(here, "clone", url, "copy", exit_code=5, env=IMPATIENT)
        assert snapshot(copy.root) == {}
        copy("verify", "--remote", "origin", exit_code=5, env=IMPATIENT)
    here("clone", url, "copy")
    copy("verify", "--remote", "origin")
    whole(copy, made.tree)


@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize("what", ["refs/heads%2Fmain", "index/*", "config"])
def test_other_damage_at_the_server(made: Made, serve: Serve, storage: Path, what: str, damage: Damage) -> None:
    url = serve(storage) + PROJECT
    here, copy = Film(storage.parent), Film(storage.parent / "copy")
    with contextlib.ExitStack() as stack:
        for path in sorted((storage / "studio/film").glob(what)):
            stack.enter_context(damaged(path, damage))
        words = failed(here, "clone", url, "copy", env=IMPATIENT, exit_codes=(4, 5))
        assert "next: " in words
        assert not copy.root.exists() or snapshot(copy.root) == {}
    here("clone", url, "copy")
    whole(copy, made.tree)


def newer(data: bytes) -> bytes:
    return data.replace(b'"format":1', b'"format":2')


def test_newer_format(film: Film, made: Made, serve: Serve, storage: Path, tmp_path: Path) -> None:
    url = serve(storage)
    with damaged(film.root / ".mediagit/store/config", newer):
        for verb in ("status", "log", "verify"):
            assert "newer" in refused(film, verb, exit_code=1)
        assert "newer" in refused(film, "add", ".", exit_code=1)
    with_remote(film.root, url)
    with damaged(storage / "studio/film/config", newer):
        refused(film, "fetch", exit_code=1, env=IMPATIENT)
        refused(film, "push", exit_code=1, env=IMPATIENT)
        refused(Film(tmp_path), "clone", url + PROJECT, "copy", exit_code=1, env=IMPATIENT)
    assert not (tmp_path / "copy").exists()
    film("fetch")
    whole(film, made.tree)


def test_a_pack_under_another_name(film: Film, made: Made) -> None:
    chunks, nodes = (packs_of(film.root / ".mediagit/store", kinds)[-1] for kinds in (CHUNKS, NODES))
    ours, theirs = chunks.read_bytes(), nodes.read_bytes()
    with damaged(chunks, lambda _: theirs), damaged(nodes, lambda _: ours):
        film("verify", "--json", exit_code=5)
        assert {chunks.name, nodes.name} <= {found["pack"] for found in json.loads(film.output)["damage"]}
        (film.root / "rushes.mov").unlink()
        refused(film, "restore", "--source", "HEAD", "rushes.mov", exit_code=5)
    film("restore", "rushes.mov")
    whole(film, made.tree)


def test_a_pack_under_another_name_at_the_server(
    film: Film, made: Made, empty: Film, serve: Serve, storage: Path
) -> None:
    url = serve(storage)
    with_remote(film.root, url)
    chunks = packs_of(storage / "studio/film", NODES) + packs_of(storage / "studio/film", CHUNKS)
    data = chunks[-1].read_bytes()
    with damaged(chunks[-1], lambda _: chunks[0].read_bytes()):
        film("verify", "--remote", "origin", exit_code=5)
    assert put(url, f"/packs/{'ab' * 32}", data) == 422
    assert put(url, f"/packs/{chunks[-1].name}", flip(data)) == 422
    assert not list(storage.rglob("ab" * 32))
    with_remote(empty.root, url)
    empty("fetch")
    empty("verify", "--remote", "origin")
    whole(film, made.tree)


def put(url: str, path: str, data: bytes) -> int:
    """Send bytes to the project on a server; return the status of its answer."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    with contextlib.closing(connection):
        connection.request("PUT", PROJECT + path, data, {"Content-Type": "application/octet-stream"})
        with connection.getresponse() as answer:
            return answer.status
