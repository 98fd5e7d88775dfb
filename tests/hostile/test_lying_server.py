"""A server that answers with other things than were asked for, more of them or fewer: told, and nothing of it is used."""

import base64
import json
import logging
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from mediavault.formats.frame import MAX_FRAME
from mediavault.formats.ref import decode_ref_value, encode_ref_value, placeholder_value, value_hash
from mediavault.formats.wire import LOCATED_ROW_BYTES, etag_of
from mediavault.model.ids import Kind
from mediavault_backends.local import LocalBackend
from tests.bad_input import IMPATIENT, PROJECT, with_remote
from tests.film import Film
from tests.hostile.owner import Owner, frames_of, kind_of, pack_of
from tests.hostile.reading import read_project
from tests.hostile.served import Served, served
from tests.hostile.tiny import REPOSITORY, Tiny, blobs_of
from tests.integration.meddler import Exchange, Meddler
from tests.snapshot import snapshot

pytestmark = pytest.mark.usefixtures("remembered_argon2")

UNREACHABLE, DAMAGED = 4, 5
Lie = Callable[[Exchange], Exchange]


@pytest.fixture(autouse=True)
def quiet_server() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def server(tiny: Tiny) -> Iterator[Served]:
    with served(LocalBackend(tiny.storage)) as running:
        yield running


@pytest.fixture
def meddler(server: Served) -> Iterator[Meddler]:
    with Meddler(server.url) as found:
        yield found


def about(call: str, lie: Callable[[bytes], bytes]) -> Lie:
    """Return a lie in the bodies of the good answers to one call."""

    def meddle(exchange: Exchange) -> Exchange:
        path = exchange.path.partition("?")[0].removeprefix(PROJECT)
        if exchange.status >= 300 or not (path == call or (call.endswith("/") and path.startswith(call))):
            return exchange
        return replace(exchange, body=lie(exchange.body))

    return meddle


def rows(change: Callable[[list[bytes]], list[bytes]]) -> Lie:
    """Return a lie in the list of where objects stand."""
    size = LOCATED_ROW_BYTES
    return about(
        "/chunks/locate",
        lambda body: b"".join(change([body[at : at + size] for at in range(0, len(body), size)])),
    )


def placed(row: bytes, *, offset: int | None = None, length: int | None = None) -> bytes:
    """Return a row with another offset or length."""
    old = struct.unpack("<QI", row[64:])
    return row[:64] + struct.pack("<QI", old[0] if offset is None else offset, old[1] if length is None else length)


def refs(change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> Lie:
    """Return a lie in the list of refs."""
    return about("/refs", lambda body: json.dumps({"refs": change(json.loads(body)["refs"])}).encode())


def invented(found: list[dict[str, str]]) -> list[dict[str, str]]:
    """Add a branch that points where another one does."""
    value = decode_ref_value(base64.b64decode(found[0]["value"]))
    made = encode_ref_value(
        type(value)(**{**{name: getattr(value, name) for name in value.__struct_fields__}, "name": "heads/new"})
    )
    return [*found, {"name": "heads/new", "etag": etag_of(value_hash(made)), "value": base64.b64encode(made).decode()}]


def odd_ref(name: str) -> Callable[[list[dict[str, str]]], list[dict[str, str]]]:
    return lambda found: [{**found[0], "name": name}, *found[1:]]


LIES: Mapping[str, tuple[Lie, int]] = {
    "fewer places": (rows(lambda found: found[1:]), DAMAGED),
    "no places": (rows(lambda _: []), DAMAGED),
    "a place twice": (rows(lambda found: [*found, found[0]]), DAMAGED),
    "places of what was not asked for": (rows(lambda found: [*found, bytes(32) + found[0][32:]]), DAMAGED),
    "places too long": (rows(lambda found: [placed(row, length=MAX_FRAME + 1) for row in found]), DAMAGED),
    "places of nothing": (rows(lambda found: [placed(row, length=0) for row in found]), DAMAGED),
    "places far away": (rows(lambda found: [placed(row, offset=2**64 - 1) for row in found]), DAMAGED),
    "all in one place": (rows(lambda found: [row[:32] + found[0][32:] for row in found]), DAMAGED),
    "half a place": (rows(lambda found: [*found, found[0][:10]]), DAMAGED),
    "ranges too long": (about("/packs/", lambda body: body + b"more"), DAMAGED),
    "ranges of zeros": (about("/packs/", lambda body: bytes(len(body))), DAMAGED),
    "ranges turned round": (about("/packs/", lambda body: body[::-1]), DAMAGED),
    "no history": (about("/objects/pack", lambda _: b""), DAMAGED),
    "half a history": (about("/objects/pack", lambda body: body[: len(body) // 2]), DAMAGED),
    "history in a pack of its own kind": (about("/objects/pack", lambda body: body[24:]), DAMAGED),
    "a ref twice": (refs(lambda found: [*found, found[0]]), DAMAGED),
    "a ref of a wrong name": (refs(odd_ref("heads/other")), DAMAGED),
    "a ref that leads away": (refs(odd_ref("heads/../../config")), DAMAGED),
    "a ref without a value": (refs(lambda found: [{**found[0], "value": ""}, *found[1:]]), DAMAGED),
    "refs that are no list": (about("/refs", lambda _: b'{"refs": 5}'), UNREACHABLE),
    "another config": (about("/config", lambda body: body.replace(b"256", b"257")), DAMAGED),
}
SEALED_LIES: Mapping[str, tuple[Lie, int]] = {
    "an invented ref": (refs(invented), DAMAGED),
    "a slot that leads away": (about("/keys", lambda _: b'{"slots": ["../../config"]}'), DAMAGED),
    "slots that are none": (about("/keys/", lambda _: b"{}"), DAMAGED),
    "slots in each other's places": (about("/keys", lambda _: b'{"slots": []}'), 6),
}


@pytest.mark.parametrize(("lie", "code"), LIES.values(), ids=LIES)
def test_answers_that_were_not_asked_for(tiny: Tiny, meddler: Meddler, tmp_path: Path, lie: Lie, code: int) -> None:
    if not tiny.encrypted and lie is LIES["another config"][0]:
        code = 0  # nothing tells a newcomer which config a plain repository has but its fingerprint
    tell(tiny, meddler, tmp_path, lie, code)


@pytest.mark.parametrize("tiny", ["encrypted"], indirect=True)
@pytest.mark.parametrize(("lie", "code"), SEALED_LIES.values(), ids=SEALED_LIES)
def test_answers_that_no_key_holder_made(tiny: Tiny, meddler: Meddler, tmp_path: Path, lie: Lie, code: int) -> None:
    tell(tiny, meddler, tmp_path, lie, code)


def tell(tiny: Tiny, meddler: Meddler, folder: Path, lie: Lie, code: int) -> None:
    """Clone from the liar: an error in words and no file; then from the honest server, into the same folder."""
    film, copy = Film(folder), folder / "copy"
    flags = () if tiny.encrypted else ("--no-encryption",)
    alone = {**IMPATIENT, "MEDIAGIT_HOME": str(folder / "alone")}
    before = set(folder.iterdir())
    meddler.meddle = lie
    found = film.attempt("clone", *flags, meddler.address + PROJECT, copy, env=alone)
    assert found == code, film.errors
    assert set(folder.iterdir()) - before <= {copy, folder / "alone"}
    tree = snapshot(copy) if copy.exists() else {}
    assert tree == ({} if code else tiny.trees["main"])
    if not code:
        return
    assert "next: " in film.errors
    assert "should not have happened" not in film.errors
    if (copy / ".mediagit/HEAD").exists():
        assert read_project(copy).refs == {}
    meddler.meddle = lambda exchange: exchange
    film("clone", *flags, meddler.address + PROJECT, copy, env=alone)
    assert snapshot(copy) == tiny.trees["main"]
    assert Film(copy).json("verify", env=alone)["ok"]


def test_more_history_than_was_asked_for_is_not_kept(tiny: Tiny, meddler: Meddler, tmp_path: Path) -> None:
    """Objects of the right repository that nothing leads to, chunks among them, and one twice."""
    nodes = [frame for frames in Owner(tiny.hosted, plain=not tiny.encrypted).packs() for frame in frames]
    stray = next(frame for frame in nodes if kind_of(frame) is Kind.CHUNK)

    def with_more(body: bytes) -> bytes:
        return pack_of([stray, *frames_of(body)], plain=not tiny.encrypted)[1]

    def twice(body: bytes) -> bytes:
        frames = frames_of(body)
        return pack_of([*frames, frames[0]], plain=not tiny.encrypted)[1]

    tell(tiny, meddler, tmp_path, about("/objects/pack", twice), DAMAGED)
    meddler.meddle = about("/objects/pack", with_more)
    flags = () if tiny.encrypted else ("--no-encryption",)
    report = Film(tmp_path).json("clone", *flags, meddler.address + PROJECT, tmp_path / "second", env=IMPATIENT)
    assert snapshot(tmp_path / "second") == tiny.trees["main"]
    assert report["objects"] == len(nodes)


def test_other_history_than_was_asked_for(tiny: Tiny, meddler: Meddler, tmp_path: Path) -> None:
    """Whole and authentic, but without the commits that the refs point at."""

    def without_commits(body: bytes) -> bytes:
        kept = [frame for frame in frames_of(body) if kind_of(frame) is not Kind.COMMIT]
        return pack_of(kept, plain=not tiny.encrypted)[1]

    tell(tiny, meddler, tmp_path, about("/objects/pack", without_commits), DAMAGED)


def test_a_placeholder_in_the_place_of_a_ref(tiny: Tiny, meddler: Meddler) -> None:
    """Anyone can make the empty value that a ref begins with; who saw the ref is not deceived by it."""

    def begin_anew(found: list[dict[str, str]]) -> list[dict[str, str]]:
        value = encode_ref_value(placeholder_value(REPOSITORY, found[0]["name"]))
        encoded = base64.b64encode(value).decode()
        return [{"name": found[0]["name"], "etag": etag_of(value_hash(value)), "value": encoded}, *found[1:]]

    film = Film(with_remote(tiny.project, meddler.address))
    before, files = read_project(tiny.project), snapshot(tiny.project)
    meddler.meddle = refs(begin_anew)
    for verb in ("fetch", "pull", "push"):
        assert film.attempt(verb, env=IMPATIENT) == DAMAGED, film.errors
        assert "went back on its history" in film.errors
    assert (read_project(tiny.project), snapshot(tiny.project)) == (before, files)


@pytest.mark.parametrize("claim", [b"", b"all"], ids=["nothing is missing", "everything is missing"])
def test_a_server_that_lies_about_what_it_has(tiny: Tiny, meddler: Meddler, claim: bytes) -> None:
    """No ref moves to what is not there; what is sent twice does no harm."""
    film = Film(with_remote(tiny.project, meddler.address))
    film.write("new.txt", "news\n")
    film("add", ".")
    film("commit", "-m", "News")
    asked: list[bytes] = []

    def check(exchange: Exchange) -> Exchange:
        if exchange.path.endswith("/chunks/check"):
            asked.append(exchange.body)
            return replace(exchange, body=b"" if not claim else exchange.body)
        return exchange

    refs_before = {path: path.read_bytes() for path in blobs_of(tiny.hosted / "refs")}
    meddler.meddle = check
    code = film.attempt("push", env=IMPATIENT)
    assert asked
    if claim:
        assert code == 0, film.errors
    else:
        assert code in {1, 4, DAMAGED}, film.errors
        assert {path: path.read_bytes() for path in blobs_of(tiny.hosted / "refs")} == refs_before
        meddler.meddle = lambda exchange: exchange
        film("push")
    assert film.json("verify", "--remote", "origin")["ok"]
