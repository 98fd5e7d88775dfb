"""The client's side of signed URLs: where it goes, where it never goes, and when it gives a store up."""

import itertools
import socket
import struct
from collections.abc import Iterator

import pytest

from mediavault.errors import FormatError
from mediavault.formats.wire import (
    CompleteResponse,
    Grant,
    GrantList,
    LocatedRow,
    SignedRows,
    decode_signed_rows,
    encode_signed_rows,
)
from mediavault.wire.http import Patience, UnreachableError
from mediavault.wire.straight import MARGIN, SMALLEST, ExpiredError, Straight
from mediavault.wire.upload import AHEAD, Upload
from tests.unit.test_wire_client import Scripted

PATIENCE = Patience(connect_timeout=5, stall_timeout=20, retries=1)
PACK, OTHER = b"p" * 32, b"q" * 32
ROWS = [LocatedRow(b"a" * 32, PACK, 24, 99), LocatedRow(b"b" * 32, OTHER, 24, 7)]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def part(start: int, body: bytes, promised: int | None = None) -> bytes:
    end = start + (len(body) if promised is None else promised) - 1
    head = f"HTTP/1.1 206 Partial\r\nContent-Range: bytes {start}-{end}/1000\r\nContent-Length: {end + 1 - start}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def status(number: int) -> bytes:
    return f"HTTP/1.1 {number} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


@pytest.fixture
def straight() -> Iterator[Straight]:
    made = Straight(PATIENCE, secure=False)
    yield made
    made.close()


@pytest.fixture
def closed() -> str:
    """The address of a port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


# The answer that carries URLs


def test_signed_rows_are_read_back() -> None:
    for found in (SignedRows(ROWS, 900, {PACK: "https://store/x?sig=1"}), SignedRows([], 0, {})):
        assert decode_signed_rows(encode_signed_rows(found)) == found


def test_signed_rows_are_these_bytes() -> None:
    data = encode_signed_rows(SignedRows(ROWS[:1], 900, {PACK: "http://s/k"}))
    row = b"a" * 32 + PACK + struct.pack("<QI", 24, 99)
    assert (
        data == struct.pack("<I", 1) + row + struct.pack("<II", 900, 1) + PACK + struct.pack("<H", 10) + b"http://s/k"
    )


def test_signed_rows_that_are_none() -> None:
    whole = encode_signed_rows(SignedRows(ROWS, 900, {PACK: "http://s/k"}))
    wrong = [whole[:length] for length in range(len(whole))]
    wrong += [whole + b"x", b"\xff" * len(whole)]
    head = struct.pack("<III", 0, 900, 1) + PACK
    wrong += [head + struct.pack("<H", len(url)) + url for url in (b"", b"a b", b"a\n", b"\xff", b"x" * 4097)]
    url = PACK + struct.pack("<H", 1) + b"u"
    wrong.append(struct.pack("<III", 0, 900, 2) + url + url)
    for data in wrong:
        with pytest.raises(FormatError):
            decode_signed_rows(data)


# Where it goes


def test_a_range_is_read_without_any_secret_of_ours(straight: Straight) -> None:
    store = Scripted(part(10, b"hello"))
    assert b"".join(straight.read(f"{store.url}/pack?X-Sig=a%2Fb", 10, 5)) == b"hello"
    store.close()
    (request,) = store.requests
    assert request.startswith(b"GET /pack?X-Sig=a%2Fb HTTP/1.1\r\n")
    assert b"bytes=10-14" in request
    assert b"authorization" not in request.lower()
    assert b"cookie" not in request.lower()
    assert straight.traffic[:3] == (1, 0, 5)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "//127.0.0.1/x",
        "http://name:password@127.0.0.1/x",
        "http:///x",
        "http://127.0.0.1:port/x",
        "http://[::1/x",
        "http://127.0.0.1/x#y",
        "",
    ],
)
def test_what_is_no_address_of_a_store_is_not_asked(straight: Straight, url: str) -> None:
    straight.remember(SignedRows(ROWS, 900, {PACK: url}))
    assert straight.url_of(PACK) is None
    assert list(straight.read(url, 0, 1)) == []
    assert not straight.put(Grant(url, {}), [b"x"], 1)
    assert straight.traffic.requests == 0


def test_a_server_with_tls_sends_nobody_to_a_store_without() -> None:
    straight = Straight(PATIENCE, secure=True)
    straight.remember(SignedRows(ROWS, 900, {PACK: "http://s/k", OTHER: "https://s/k"}))
    assert (straight.url_of(PACK), straight.url_of(OTHER)) == (None, "https://s/k")
    assert not straight.put(Grant("http://127.0.0.1:9/k", {}), [b"x"], 1)
    assert straight.traffic.requests == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "a"},
        {"Authorization": "a"},
        {"Cookie": "a"},
        {"Transfer-Encoding": "chunked"},
        {"x-amz-a": "a\r\nb: c"},
    ],
)
def test_a_server_cannot_have_other_headers_sent(straight: Straight, headers: dict[str, str]) -> None:
    assert not straight.put(Grant("http://127.0.0.1:9/k", headers), [b"x"], 1)
    assert straight.traffic.requests == 0
    assert (straight.usable, straight.fallbacks) == (False, 1)


def test_a_put_carries_what_was_signed(straight: Straight) -> None:
    store = Scripted(OK)
    headers = {"x-amz-checksum-sha256": "abc=", "If-None-Match": "*", "Content-Length": "2"}
    assert straight.put(Grant(f"{store.url}/q?s=1", headers), [b"xy"], 2)
    store.close()
    lines = store.requests[0].lower().split(b"\r\n")
    assert {b"x-amz-checksum-sha256: abc=", b"if-none-match: *"} <= set(lines)
    assert lines.count(b"content-length: 2") == 1


# When it is given up


def test_nobody_listens(straight: Straight, closed: str) -> None:
    assert list(straight.read(f"{closed}/x", 0, 1)) == []
    assert (straight.usable, straight.fallbacks) == (False, 1)


@pytest.mark.parametrize(
    "answer",
    [
        status(200),
        status(302),
        status(416),
        part(11, b"hello"),
        part(10, b"hell"),
        b"HTTP/1.1 206 Partial\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 10-14/99\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello!",
        b"no http at all\r\n\r\n",
    ],
)
def test_another_answer_than_the_range(straight: Straight, answer: bytes) -> None:
    store = Scripted(answer)
    assert b"".join(straight.read(f"{store.url}/x", 10, 5)) == b""
    store.close()
    assert (straight.usable, straight.fallbacks) == (False, 1)


def test_a_pack_that_is_gone_is_the_servers_affair(straight: Straight) -> None:
    store = Scripted(status(404))
    assert list(straight.read(f"{store.url}/x", 10, 5)) == []
    store.close()
    assert straight.usable


@pytest.mark.parametrize("number", [401, 403])
def test_a_url_that_does_not_open(straight: Straight, number: int) -> None:
    store = Scripted(status(number), status(number))
    with pytest.raises(ExpiredError):
        list(straight.read(f"{store.url}/x", 10, 5))
    with pytest.raises(ExpiredError):
        straight.put(Grant(f"{store.url}/x", {}), [b"x"], 1)
    store.close()


def test_a_store_that_answered_before_may_fail_twice_in_a_row(straight: Straight) -> None:
    cut = part(10, b"he", promised=5)
    store = Scripted(part(10, b"hello"), cut, status(503), part(10, b"hello"), status(503), status(503), status(503))
    url = f"{store.url}/x"
    for _ in range(2):
        assert list(straight.read(url, 10, 5)) == [b"hello"]
        for _ in range(2):
            with pytest.raises(UnreachableError):
                list(straight.read(url, 10, 5))
    assert list(straight.read(url, 10, 5)) == []
    store.close()
    assert (straight.usable, straight.fallbacks) == (False, 1)


def test_urls_are_used_until_shortly_before_they_expire() -> None:
    now = [0.0]
    straight = Straight(PATIENCE, secure=False, clock=lambda: now[0])
    straight.remember(SignedRows(ROWS, 900, {PACK: "http://s/k"}))
    now[0] = 900 - MARGIN - 1
    assert straight.url_of(PACK) == "http://s/k"
    now[0] += 1
    assert straight.url_of(PACK) is None
    assert straight.sample_of(PACK) == b"a" * 32


# A push


class Pack:
    """A pack of zeros."""

    def __init__(self, number: int, size: int = SMALLEST) -> None:
        self.id = bytes([number]) * 32
        self.size = size

    def blocks(self) -> Iterator[bytes]:
        for _ in range(self.size >> 20):
            yield bytes(1 << 20)


class Told:
    """A server that grants everything at one address, and says of packs what it is told to."""

    def __init__(self, url: str, *standings: CompleteResponse) -> None:
        self.asked: list[tuple[str, object]] = []
        self._url = url
        self._standings = iter(standings)

    def __call__(self, path: str, message: object, answer: object) -> object:
        self.asked.append((path, message))
        if answer is GrantList:
            return GrantList(900, [Grant(f"{self._url}/q", {}) for _ in message.packs])  # type: ignore[attr-defined]
        return next(self._standings)


def upload_of(server: Told, straight: Straight, sent: list[Pack]) -> Upload:
    return Upload(server, straight, sent.append, PATIENCE)  # type: ignore[arg-type] # shorter than what it stands for


def test_grants_are_asked_for_large_packs_and_several_at_once(straight: Straight) -> None:
    server = Told("http://127.0.0.1:9")
    packs = [Pack(number) for number in range(AHEAD)] + [Pack(100, SMALLEST - (1 << 20))]
    taken = upload_of(server, straight, []).ahead(packs)
    assert list(itertools.islice(taken, 1)) == packs[:1]
    assert len(server.asked) == 1
    assert list(taken) == packs[1:]
    assert [len(message.packs) for _, message in server.asked] == [AHEAD]  # type: ignore[attr-defined]


def test_what_is_refused_goes_through_the_server(straight: Straight) -> None:
    store = Scripted(OK, OK)
    one, two = Pack(1), Pack(2)
    hexes = one.id.hex(), two.id.hex()
    server = Told(store.url, CompleteResponse([hexes[1]], [hexes[0]]), CompleteResponse([], []))
    sent: list[Pack] = []
    upload = upload_of(server, straight, sent)
    assert [upload.put(pack) for pack in upload.ahead([one, two])] == [True, True]
    store.close()
    assert list(upload.headers) == ["X-Mediagit-Upload"]
    upload.settle()
    assert sent == [one]
    assert upload.headers == {}
    assert [path for path, _ in server.asked].count("/packs/complete") == 2


def test_a_server_that_checks_nothing_is_not_waited_for_for_ever(straight: Straight) -> None:
    store = Scripted(OK)
    pack = Pack(1)
    server = Told(store.url, *[CompleteResponse([pack.id.hex()], [])] * 5)
    upload = upload_of(server, straight, [])
    assert [upload.put(some) for some in upload.ahead([pack])] == [True]
    store.close()
    with pytest.raises(UnreachableError, match="not yet checked"):
        upload.settle()
    assert [path for path, _ in server.asked].count("/packs/complete") == PATIENCE.retries + 1


def test_a_store_that_is_away_costs_one_try(straight: Straight, closed: str) -> None:
    upload = upload_of(Told(closed), straight, [])
    assert [upload.put(pack) for pack in upload.ahead([Pack(1), Pack(2), Pack(3)])] == [False] * 3
    assert (straight.traffic.requests, straight.fallbacks) == (1, 1)
