"""A server that fails, hangs, breaks off or lies: the client says what is wrong, retries what it may, stores nothing false."""

# ruff: noqa: PLR0917 -- a test takes as many fixtures as it needs

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mediavault.errors import IntegrityError, MediaVaultError, NotAllowedError, RefMovedError, RemoteError
from mediavault.model.ids import Link
from mediavault.wire.client import HttpRemote
from mediavault.wire.http import UnreachableError
from tests.integration.conftest import Server
from tests.integration.meddler import Exchange, Meddler, failing, first_time, flipped
from tests.integration.studio import Studio, noise

Connect = Callable[..., HttpRemote]
FILES = {"a.mov": noise(700_000, 1), "b.txt": b"words " * 2000}


@pytest.fixture
def ann(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "ann")


@pytest.fixture
def ben(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "ben")


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    return "/studio/" + "".join(c if c.isalnum() else "-" for c in request.node.name)[:90]


@pytest.fixture
def honest(shared_server: Server, connect: Connect, project: str) -> HttpRemote:
    """The project, as the server has it."""
    return connect(shared_server.url, project)


@pytest.fixture
def pushed(ann: Studio, honest: HttpRemote) -> Link:
    """A commit that the server has."""
    commit = ann.commit(FILES)
    ann.push(honest, commit)
    return commit


@pytest.fixture
def meddler(shared_server: Server) -> Iterator[Meddler]:
    with Meddler(shared_server.url) as found:
        yield found


@pytest.fixture
def remote(meddler: Meddler, connect: Connect, project: str) -> HttpRemote:
    """The project, as the meddler shows it."""
    return connect(meddler.address, project)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_failure_is_retried(
    meddler: Meddler, pushed: Link, ben: Studio, status: int, remote: HttpRemote
) -> None:
    failed: list[str] = []

    def fail_once_each(exchange: Exchange) -> Exchange:
        call = f"{exchange.method} {exchange.path}"
        if call in failed:
            return exchange
        failed.append(call)
        return failing(status)(exchange)

    meddler.meddle = fail_once_each
    ben.fetch(remote)
    assert ben.files(pushed.id) == FILES
    assert len(failed) >= 4


def test_lasting_failure_is_reported_after_the_retries(
    meddler: Meddler, pushed: Link, ben: Studio, remote: HttpRemote
) -> None:
    meddler.meddle = failing(500)
    with pytest.raises(RemoteError, match="500"):
        ben.fetch(remote)
    assert len(meddler.seen) == 4
    assert ben.frames.missing([pushed.id])


@pytest.mark.parametrize("call", ["PUT", "POST /chunks/check", "PUT /refs"])
def test_push_goes_on_after_answers_were_lost(
    meddler: Meddler, ann: Studio, ben: Studio, call: str, remote: HttpRemote
) -> None:
    method, _, part = call.partition(" ")
    meddler.meddle = first_time(
        lambda exchange: replace(exchange, send=0),
        lambda exchange: exchange.method == method and part in exchange.path and "config" not in exchange.path,
    )
    commit = ann.commit(FILES)
    ann.push(remote, commit)
    ben.fetch(remote)
    assert ben.files(commit.id) == FILES


def test_own_move_is_not_taken_for_somebody_elses(meddler: Meddler, ann: Studio, remote: HttpRemote) -> None:
    """The first answer to the move is lost; the repeated move finds the ref moved, by this very push."""
    meddler.meddle = first_time(failing(503), lambda e: e.method == "PUT" and "/refs/" in e.path)
    report = ann.push(remote, ann.commit(FILES))
    assert len(report.moves) == 1
    meddler.meddle = lambda e: replace(e, status=412, body=b"") if e.method == "PUT" and "/refs/" in e.path else e
    ann.push(remote, ann.commit({"a": b"2"}, [report.moves[0].new.id]))  # type: ignore[union-attr] # just pushed


def test_hanging_server_is_given_up(
    meddler: Meddler, ben: Studio, pushed: Link, connect: Connect, project: str, remote: HttpRemote
) -> None:
    meddler.meddle = lambda exchange: replace(exchange, delay=30.0)
    remote = connect(meddler.address, project, stall_timeout=0.3)
    start = time.monotonic()
    with pytest.raises(UnreachableError, match="timed out"):
        ben.fetch(remote)
    assert time.monotonic() - start < 20
    assert ben.frames.missing([pushed.id])


def test_nobody_listens(ben: Studio, connect: Connect) -> None:
    with pytest.raises(UnreachableError, match="refused"):
        ben.fetch(connect("http://127.0.0.1:9"))


@pytest.mark.parametrize("what", ["/refs", "/objects/pack", "/chunks/locate", "/packs/"])
@pytest.mark.parametrize("where", [0, 40, -20, -1])
def test_flipped_bit_is_noticed(
    meddler: Meddler, pushed: Link, ben: Studio, what: str, where: int, remote: HttpRemote
) -> None:
    def flip(exchange: Exchange) -> Exchange:
        if what not in exchange.path or exchange.status >= 300:
            return exchange
        return replace(exchange, body=flipped(exchange.body, where))

    meddler.meddle = flip
    with pytest.raises((IntegrityError, RemoteError)) as caught:
        ben.fetch(remote)
    assert caught.value.message
    assert ben.frames.missing([pushed.id]) == [pushed.id]
    meddler.meddle = lambda exchange: exchange
    ben.fetch(remote)
    assert ben.files(pushed.id) == FILES


def test_chunks_of_another_pack_are_refused(meddler: Meddler, pushed: Link, ben: Studio, remote: HttpRemote) -> None:
    """Every located chunk is said to be where the first one is."""

    def same_place(exchange: Exchange) -> Exchange:
        if "/chunks/locate" not in exchange.path:
            return exchange
        rows = [exchange.body[at : at + 76] for at in range(0, len(exchange.body), 76)]
        return replace(exchange, body=b"".join(row[:32] + rows[0][32:] for row in rows))

    meddler.meddle = same_place
    with pytest.raises(IntegrityError, match="damaged chunk"):
        ben.fetch(remote)
    assert ben.frames.missing([pushed.id])


@pytest.mark.parametrize(
    ("what", "headers"),
    [
        ("/packs/", {"Content-Range": "bytes 0-9/10"}),
        ("/packs/", {"Content-Range": ""}),
        ("/config", {"X-Mediagit-Protocol": "2"}),
        ("/config", {"X-Mediagit-Max-Pack": "1"}),
        ("/config", {"X-Mediagit-Max-Ids": "many"}),
    ],
)
def test_headers_that_cannot_be_true(
    meddler: Meddler, pushed: Link, ben: Studio, what: str, headers: dict[str, str], remote: HttpRemote
) -> None:
    def lie(exchange: Exchange) -> Exchange:
        if what not in exchange.path:
            return exchange
        return replace(exchange, headers={**{k.title(): v for k, v in exchange.headers.items()}, **headers})

    meddler.meddle = lie
    with pytest.raises((IntegrityError, RemoteError)):
        (remote.config(), ben.fetch(remote))
    assert ben.frames.missing([pushed.id])


def test_refs_under_swapped_names_are_refused(
    meddler: Meddler, ann: Studio, ben: Studio, pushed: Link, remote: HttpRemote, honest: HttpRemote
) -> None:
    ann.push(honest, ann.commit({"a": b"other"}), "heads/other")

    def swap(exchange: Exchange) -> Exchange:
        if not exchange.path.endswith("/refs"):
            return exchange
        document = json.loads(exchange.body)
        one, two = document["refs"]
        one["name"], two["name"] = two["name"], one["name"]
        return replace(exchange, body=json.dumps(document).encode())

    meddler.meddle = swap
    with pytest.raises(IntegrityError, match="mixes up"):
        ben.fetch(remote)
    assert ben.frames.missing([pushed.id])


def test_ref_that_vanishes_is_an_alarm(meddler: Meddler, ann: Studio, pushed: Link, remote: HttpRemote) -> None:
    assert pushed
    meddler.meddle = lambda e: replace(e, body=b'{"refs": []}') if e.path.endswith("/refs") else e
    with pytest.raises(IntegrityError, match="gone"):
        ann.fetch(remote)


def test_server_that_claims_to_miss_what_it_was_not_asked_for(
    meddler: Meddler, ann: Studio, remote: HttpRemote
) -> None:
    meddler.meddle = lambda e: replace(e, body=bytes(32)) if "/chunks/check" in e.path else e
    with pytest.raises(IntegrityError, match="not asked"):
        ann.push(remote, ann.commit(FILES))


def test_redirects_are_not_followed(
    meddler: Meddler, pushed: Link, ben: Studio, shared_server: Server, remote: HttpRemote
) -> None:
    """A key must not travel to wherever a server points."""
    meddler.meddle = lambda e: replace(e, status=302, headers={"Location": shared_server.url + e.path})
    with pytest.raises(RemoteError, match="302"):
        ben.fetch(remote)
    assert ben.frames.missing([pushed.id])


def test_something_that_is_no_server_of_ours(meddler: Meddler, ben: Studio, remote: HttpRemote) -> None:
    page: Callable[[Exchange], Exchange] = lambda e: replace(  # noqa: E731 -- one answer for both cases
        e, status=200, headers={"Content-Type": "text/html"}, body=b"<html>"
    )
    meddler.meddle = page
    for call in (remote.config, lambda: ben.fetch(remote)):
        with pytest.raises(RemoteError):
            call()
    meddler.meddle = lambda e: replace(page(e), status=404)
    with pytest.raises(RemoteError, match="not a MediaVault server"):
        remote.config()


@pytest.mark.parametrize(("status", "error"), [(401, NotAllowedError), (403, NotAllowedError), (412, RefMovedError)])
def test_refusals_keep_their_meaning(
    meddler: Meddler, status: int, error: type[MediaVaultError], remote: HttpRemote
) -> None:
    kind = {401: "unauthenticated", 403: "forbidden", 412: "precondition-failed"}[status]
    body = json.dumps({"type": f"urn:mediavault:problem:{kind}", "title": "No", "status": status}).encode()
    headers = {"Content-Type": "application/problem+json"}
    meddler.meddle = lambda e: replace(e, status=status, headers=headers, body=body)
    with pytest.raises(error):
        remote.refs()
    assert len(meddler.seen) == 1
