"""A main site, or something on the way to it, that answers with other bytes than it was asked for."""

# ruff: noqa: PLR0917 -- a test takes as many fixtures as it needs

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from mediavault.formats.frame import CHECKSUM_BYTES, parse_frame
from mediavault.formats.pack import PACK_HEADER_BYTES
from mediavault.formats.wire import PackRequest
from mediavault.model.ids import Kind, Link
from mediavault.wire import problems
from mediavault.wire.client import HttpRemote
from mediavault.wire.http import Patience
from mediavault_backends.api import Buffer
from mediavault_backends.disk_cache import DiskCache
from mediavault_server.problems import RequestRefusedError
from mediavault_server.upstream.history import CachedHistory
from mediavault_server.upstream.objects import CachedObjects
from mediavault_server.upstream.origin import Caller, Origin, UpstreamAnswerError
from mediavault_server.upstream.packs import CachedPacks
from tests.integration.conftest import Server
from tests.integration.meddler import Exchange, Meddler, flipped
from tests.integration.studio import Studio, noise

Change = Callable[[Exchange], Exchange]
SIZE = 6 << 20
FILM = Caller("/lies/film", "")


@pytest.fixture(scope="module")
def film(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Link, dict[bytes, bytes]]:
    """A commit that was pushed, and the packs that hold its media."""
    studio = Studio(tmp_path_factory.mktemp("ann"))
    commit = studio.commit({"rushes.mov": noise(SIZE, 1)})
    remote = HttpRemote(shared_server.url + FILM.project)
    studio.push(remote, commit, pack_size=8 << 20)
    remote.close()
    files = (shared_server.storage / "lies" / "film" / "packs").rglob("*")
    packs = {bytes.fromhex(path.name): path.read_bytes() for path in files if path.is_file()}
    return commit, {name: data for name, data in packs.items() if len(data) > 1 << 20}


@pytest.fixture
def line(shared_server: Server) -> Iterator[Meddler]:
    with Meddler(shared_server.url) as line:
        yield line


@pytest.fixture
def origin(line: Meddler) -> Iterator[Origin]:
    origin = Origin(line.address, Patience(connect_timeout=10.0, stall_timeout=60.0, retries=0))
    yield origin
    origin.close()


def header(name: str, value: str) -> Change:
    return lambda e: replace(e, headers={**{k: v for k, v in e.headers.items() if k.lower() != name}, name: value})


def body(change: Callable[[bytes], bytes]) -> Change:
    return lambda e: replace(e, body=change(e.body))


LIES: dict[str, Change] = {
    "another-range": header("content-range", "bytes 7-30/6000000"),
    "no-range": header("content-range", ""),
    "all-of-it": lambda e: replace(e, status=200),
    "first-byte": body(lambda data: flipped(data, 0)),
    "last-byte": body(lambda data: flipped(data, len(data) - 1)),
    "in-the-middle": body(lambda data: flipped(data, len(data) // 2)),
    "short": body(lambda data: data[:-1]),
    "long": body(lambda data: data + b"x"),
    "zeros": body(lambda data: bytes(len(data))),
    "cut": lambda e: replace(e, send=len(e.body) // 2),
    "teapot": lambda e: replace(e, status=418, body=b"short and stout"),
}


def taken(blocks: Iterator[Buffer]) -> tuple[bytes, Exception | None]:
    """Return what is given, and what ends it."""
    given = bytearray()
    try:
        for block in blocks:
            given += block
    except (RequestRefusedError, UpstreamAnswerError) as error:
        return bytes(given), error
    return bytes(given), None


@pytest.mark.parametrize("lie", list(LIES))
@pytest.mark.parametrize("folder", ["kept", "nothing-kept"])
@pytest.mark.parametrize("least", [0, 1 << 20])
def test_no_other_byte_of_a_pack_is_given(
    tmp_path: Path,
    line: Meddler,
    origin: Origin,
    film: tuple[Link, dict[bytes, bytes]],
    lie: str,
    folder: str,
    least: int,
) -> None:
    """`least` is how long an answer has to be that is meddled with: 0 for the table, too."""
    if folder == "nothing-kept":
        (tmp_path / folder).write_text("in the way")
    packs = CachedPacks(origin, DiskCache(tmp_path / folder, 64 << 20))
    line.meddle = lambda e: LIES[lie](e) if "/packs/" in e.path and len(e.body) > least else e
    for name, data in film[1].items():
        given, error = taken(packs.stream(FILM, name, 0, len(data)))
        assert data.startswith(given)
        assert error is not None or given == data
        if least == 0 and lie != "cut":  # what is asked for again is not meddled with when it is short, or is cut less
            assert isinstance(error, RequestRefusedError | UpstreamAnswerError)
        if isinstance(error, RequestRefusedError):
            assert error.kind in {problems.DAMAGED, problems.UNAVAILABLE}
    line.meddle = lambda e: e
    for name, data in film[1].items():
        for _ in range(2):
            assert b"".join(map(bytes, packs.stream(FILM, name, 0, len(data)))) == data


@pytest.mark.parametrize(
    "lie", ["first-byte", "last-byte", "in-the-middle", "short", "long", "zeros", "cut", "teapot", "etag", "count"]
)
@pytest.mark.parametrize("folder", ["kept", "nothing-kept"])
def test_no_other_history_is_given_whole(
    tmp_path: Path, line: Meddler, origin: Origin, film: tuple[Link, dict[bytes, bytes]], lie: str, folder: str
) -> None:
    if folder == "nothing-kept":
        (tmp_path / folder).write_text("in the way")
    history = CachedHistory(origin, DiskCache(tmp_path / folder, 64 << 20))
    request = PackRequest([film[0].id.hex()], [])
    others: dict[str, Change] = {
        "etag": header("etag", f'"{"ab" * 32}"'),
        "count": header("x-chunked-objects", "many"),
    }
    line.meddle = (LIES | others)[lie]
    with pytest.raises((RequestRefusedError, UpstreamAnswerError)):
        list(history.assemble(FILM, request).blocks)
    line.meddle = lambda e: e
    found = history.assemble(FILM, request)
    data = b"".join(map(bytes, found.blocks))
    assert len(data) == found.size
    for again in range(2):
        more = history.assemble(FILM, request)
        assert b"".join(map(bytes, more.blocks)) == data or folder == "nothing-kept", again
        more.blocks.close()


def test_an_object_that_stands_elsewhere_is_not_given(
    tmp_path: Path, line: Meddler, origin: Origin, film: tuple[Link, dict[bytes, bytes]]
) -> None:
    packs = CachedPacks(origin, DiskCache(tmp_path, 64 << 20))
    objects = CachedObjects(origin, packs)
    rows = objects.locate(FILM, [film[0].id])
    assert rows is not None
    assert objects.read(FILM, rows[0]).header.kind is Kind.COMMIT
    media = next(iter(film[1]))
    for wrong in (
        rows[0]._replace(pack=media, offset=24),
        rows[0]._replace(offset=rows[0].offset + 1),
        rows[0]._replace(length=rows[0].length - 1),
        rows[0]._replace(length=1 << 30),
        rows[0]._replace(id=b"x" * 32),
    ):
        with pytest.raises(RequestRefusedError) as error:
            objects.read(FILM, wrong)
        assert error.value.kind is problems.DAMAGED
    line.meddle = lambda e: replace(e, body=e.body[:-1])
    with pytest.raises(RequestRefusedError):
        objects.locate(FILM, [film[0].id])


def test_a_frame_that_is_sound_but_another_is_not_given(
    tmp_path: Path, line: Meddler, origin: Origin, film: tuple[Link, dict[bytes, bytes]]
) -> None:
    name, data = next(iter(film[1].items()))
    length = parse_frame(data, PACK_HEADER_BYTES).size

    def forge(exchange: Exchange) -> Exchange:
        if not exchange.headers.get("content-range", "").startswith(f"bytes {PACK_HEADER_BYTES}-"):
            return exchange
        forged = flipped(exchange.body[:length], 100)[:-CHECKSUM_BYTES]
        forged += blake3(forged).digest(CHECKSUM_BYTES)
        return replace(exchange, body=forged + exchange.body[length:])

    packs = CachedPacks(origin, DiskCache(tmp_path, 64 << 20))
    line.meddle = forge
    given, error = taken(packs.stream(FILM, name, 0, len(data)))
    assert isinstance(error, RequestRefusedError)
    assert error.kind is problems.DAMAGED
    assert given == b""
