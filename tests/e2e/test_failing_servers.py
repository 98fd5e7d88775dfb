"""Servers that fail, hang, break off, lie or set traps: a typed error, nothing believed, and the next fetch goes on."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from mediavault.formats.wire import RefList, RefRow, SlotList, decode_json, encode_json
from tests.bad_input import IMPATIENT, PROJECT, Serve, failed, refused, with_remote
from tests.e2e.conftest import Made
from tests.film import Film
from tests.integration.meddler import Exchange, Meddler, failing, flipped

pytestmark = pytest.mark.slow


@pytest.fixture
def meddler(made: Made, serve: Serve) -> Iterator[Meddler]:
    """Stand between the commands and a server that holds the project."""
    with Meddler(serve(made.storage)) as between:
        yield between


def not_fetched(film: Film, meddler: Meddler, exit_code: int) -> None:
    """Check that a fetch fails in that way, and that it succeeds once the server is itself again."""
    with_remote(film.root, meddler.address)
    words = refused(film, "fetch", exit_code=exit_code, env=IMPATIENT)
    assert film.json("log") == []
    assert words
    meddler.meddle = lambda exchange: exchange
    film("fetch")
    film("restore", "--source", "origin/main", "--staged", "--worktree", ".")
    assert film.json("verify")["ok"]


def is_bulk(exchange: Exchange) -> bool:
    return "/packs/" in exchange.path or exchange.path.endswith("/objects/pack")


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_that_answers_500(empty: Film, meddler: Meddler, status: int) -> None:
    meddler.meddle = failing(status)
    not_fetched(empty, meddler, 4)


def test_a_server_that_hangs(empty: Film, meddler: Meddler) -> None:
    meddler.meddle = lambda exchange: replace(exchange, delay=8.0) if is_bulk(exchange) else exchange
    not_fetched(empty, meddler, 4)


def test_a_server_that_cuts_the_connection(empty: Film, meddler: Meddler) -> None:
    def meddle(exchange: Exchange) -> Exchange:
        return replace(exchange, send=len(exchange.body) // 2) if is_bulk(exchange) else exchange

    meddler.meddle = meddle
    not_fetched(empty, meddler, 4)


def test_a_server_that_is_not_there(empty: Film) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with_remote(empty.root, f"http://127.0.0.1:{port}")
    refused(empty, "fetch", exit_code=4, env=IMPATIENT)
    refused(empty, "clone", f"http://127.0.0.1:{port}{PROJECT}", "copy", exit_code=4, env=IMPATIENT)


@pytest.mark.parametrize("what", ["/packs/", "/objects/pack"])
@pytest.mark.parametrize("at", [0.01, 0.5, 0.99])
def test_a_server_that_lies_about_a_hash(empty: Film, meddler: Meddler, what: str, at: float) -> None:
    def meddle(exchange: Exchange) -> Exchange:
        if what not in exchange.path:
            return exchange
        return replace(exchange, body=flipped(exchange.body, int(at * len(exchange.body))))

    meddler.meddle = meddle
    not_fetched(empty, meddler, 5)


def test_a_server_that_answers_with_anything(empty: Film, meddler: Meddler) -> None:
    with_remote(empty.root, meddler.address)
    for body in (b"", b"<html>Log in to the hotel's network</html>", b"{}", b"[]", b"null", b"\xff" * 999):
        meddler.meddle = partial(replace, status=200, body=body)
        words = failed(empty, "fetch", env=IMPATIENT, exit_codes=(4, 5))
        assert "next: " in words
    meddler.meddle = lambda exchange: exchange
    empty("fetch")


def test_a_server_that_makes_names_up(empty: Film, meddler: Meddler, tmp_path: Path) -> None:
    names = ["heads/../../evil", "../../evil", "heads/evil/../../../evil", "heads/", "heads/e\x00vil", "evil", "/evil"]

    def renamed(name: str, exchange: Exchange) -> Exchange:
        if not exchange.path.endswith("/refs"):
            return exchange
        (row,) = decode_json(exchange.body, RefList).refs
        return replace(exchange, body=encode_json(RefList([RefRow(name, row.etag, row.value)])))

    before = set(tmp_path.rglob("*"))
    with_remote(empty.root, meddler.address)
    for name in names:
        meddler.meddle = partial(renamed, name)
        refused(empty, "fetch", exit_code=5, env=IMPATIENT)
    assert not list(tmp_path.rglob("*evil*"))
    assert set(tmp_path.rglob("*")) >= before


def test_a_server_that_names_key_slots_to_escape(ann: Made, meddler: Meddler, tmp_path: Path) -> None:
    names = ["../../evil", "a/../../../evil", "/tmp/evil", "..", "e\x00vil", ""]

    slot = (ann.storage / "studio/film/keys/passphrase").read_bytes()

    def renamed(name: str, exchange: Exchange) -> Exchange:
        if exchange.path.endswith("/keys"):
            return replace(exchange, body=encode_json(SlotList([name])))
        return replace(exchange, status=200, body=slot) if "/keys/" in exchange.path else exchange

    for name in names:
        meddler.meddle = partial(renamed, name)
        refused(Film(tmp_path), "clone", meddler.address + PROJECT, "copy", exit_code=5, env=IMPATIENT)
        assert not list(tmp_path.rglob("*evil*"))
