"""The client against a server that speaks garbage, lies about lengths or never ends: a typed error, soon, in little memory.

How soon is counted in bytes that the client took, not in seconds.
"""

import gzip
import itertools
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings

from mediavault.errors import MediaVaultError
from mediavault.formats import config
from mediavault.wire import http
from mediavault.wire.client import HttpRemote
from mediavault.wire.http import Patience
from tests.fuzz.mutations import mutated
from tests.golden import samples

ENOUGH: Final = 16 << 20
"""Bytes after which whoever still listens to an answer without end would listen for ever."""

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nX-Mediagit-Protocol: 1\r\nX-Mediagit-Max-Pack: 268435456\r\nX-Mediagit-Max-Ids: 65536\r\n"
)
_CONFIG: Final = config.encode_config(samples.PLAIN_CONFIG)
_ID: Final = bytes(range(32))

CALLS: Final[dict[str, Callable[[HttpRemote], object]]] = {
    "config": HttpRemote.config,
    "refs": HttpRemote.refs,
    "slots": HttpRemote.slots,
    "missing": lambda remote: remote.missing([_ID]),
    "locate": lambda remote: remote.locate([_ID]),
    "put_slot": lambda remote: remote.put_slot("r", b"x" * 1000, None),
    "read_pack": lambda remote: sum(map(len, remote.read_pack(_ID, 0, 1000))),
    "metadata": lambda remote: sum(map(len, itertools.islice(remote.metadata([_ID], []), 8))),
}


class Garbler:
    """A server that answers every request with the same bytes, then closes.

    Attributes:
        blocks: makes the answer.
        most: bytes that the client took of one answer.
    """

    def __init__(self) -> None:
        self.blocks: Callable[[], Iterable[bytes]] = lambda: ()
        self.most = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/studio/film"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                # Little buffers, so that what is counted as taken was taken.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 << 10)
                connection.settimeout(20.0)
                connection.recv(64 << 10)
                self._answer(connection)
                connection.shutdown(socket.SHUT_WR)

    def _answer(self, connection: socket.socket) -> None:
        sent = 0
        try:
            for block in self.blocks():
                connection.sendall(block)
                sent += len(block)
                if sent > ENOUGH:
                    return
        finally:
            self.most = max(self.most, sent)


@pytest.fixture(scope="module")
def garbler() -> Iterator[Garbler]:
    server = Garbler()
    yield server
    server.close()


Ask: TypeAlias = Callable[[str, Callable[[], Iterable[bytes]]], object]


@pytest.fixture
def ask(garbler: Garbler, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Make one call to a server that answers so; returns the result, or the error that a person would be shown."""
    monkeypatch.setattr(http, "MAX_ANSWER", 1 << 20)

    def call(name: str, blocks: Callable[[], Iterable[bytes]]) -> object:
        garbler.blocks, garbler.most = blocks, 0
        remote = HttpRemote(garbler.url, patience=Patience(connect_timeout=5.0, stall_timeout=5.0, retries=1))
        remote._wire._sleep = lambda _: None
        try:
            return CALLS[name](remote)
        except MediaVaultError as error:
            return error
        finally:
            remote.close()

    return call


def forever(*start: bytes, block: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: itertools.chain(start, itertools.repeat(block))


ENDLESS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "status line": forever(b"HTTP/1.1 200 ", block=b"O" * 60_000),
    "one header": forever(b"HTTP/1.1 200 OK\r\nX: ", block=b"a" * 60_000),
    "headers": forever(b"HTTP/1.1 200 OK\r\n", block=b"X-A: b\r\n" * 5000),
    "continue": forever(block=b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
    "continue with headers": forever(block=b"HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\n" * 2000),
    "early hints": forever(block=b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 2000),
    "body": forever(_HEAD + b"\r\n", block=b"{" * 60_000),
    "chunks": forever(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", block=b"ea60\r\n" + b"[" * 60_000 + b"\r\n"),
    "chunk size": forever(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", block=b"0" * 60_000),
    "chunk extension": forever(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;a=", block=b"b" * 60_000),
    "chunk below zero": forever(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", block=b"[" * 60_000),
    "trailers": forever(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", block=b"X-A: b\r\n" * 5000),
    "refusal": forever(b"HTTP/1.1 409 Conflict\r\n\r\n", block=b" " * 60_000),
    "failure": forever(b"HTTP/1.1 500 Oops\r\n\r\n", block=b" " * 60_000),
    "part": forever(b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-999/1000\r\n\r\n", block=b"x" * 60_000),
}


@pytest.mark.parametrize("trick", ENDLESS)
@pytest.mark.parametrize("call", CALLS)
def test_answers_without_end_are_left(ask: Ask, garbler: Garbler, call: str, trick: str) -> None:
    result = ask(call, ENDLESS[trick])
    assert isinstance(result, MediaVaultError) or (call, trick) in {("metadata", "body"), ("metadata", "chunks")}
    assert garbler.most <= ENOUGH, "it would have listened for ever"


def whole(head: bytes, body: bytes) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


BOMB: Final = gzip.compress(bytes(8 << 20))
GOOD: Final = (
    whole(_HEAD, _CONFIG),
    whole(_HEAD, b'{"refs":[]}'),
    whole(_HEAD, b'{"slots":["recovery"]}'),
    whole(_HEAD, b""),
    whole(b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-999/1000\r\n", bytes(1000)),
    whole(
        b"HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\n",
        b'{"type":"x","title":"t","status":404}',
    ),
    b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n[1,2]\r\n0\r\n\r\n",
    whole(_HEAD + b"Content-Encoding: gzip\r\n", gzip.compress(_CONFIG)),
)
LIES: Final = (
    b"",
    b"\r\n\r\n",
    bytes(100),
    b"HTTP/9.9 999 x\r\n\r\n",
    b"HTTP/1.1 99999999999999999999 x\r\n\r\n",
    _HEAD + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    _HEAD + b"Content-Length: -1\r\n\r\n{}",
    _HEAD + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}",
    _HEAD + b"Content-Length: \xb2\r\n\r\n{}",
    _HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n",
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}",
    _HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nxx",
    _HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nxx",
    b"HTTP/1.1 200 OK\r\n: x\r\n\x00\xff: y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-Mediagit-Protocol: " + b"9" * 5000 + b"\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 307 x\r\nLocation: \xff://[\r\nContent-Length: 0\r\n\r\n",
    whole(b"HTTP/1.1 206 x\r\nContent-Range: bytes 0-999/1000\r\n", b""),
    whole(b"HTTP/1.1 206 x\r\nContent-Range: bytes 0-999/1000\r\n", bytes(2000)),
    whole(_HEAD, b'{"slots":["\\ud800"]}'),
    whole(_HEAD, b'{"slots":["..","/","a/../../b","%2e","\\u0000"]}'),
    whole(_HEAD, b'{"slots":' + b"[" * 5000),
    whole(_HEAD + b"Content-Encoding: gzip\r\n", BOMB),
)


@pytest.mark.parametrize("call", CALLS)
def test_lies_are_refused_by_typed_errors(ask: Ask, call: str) -> None:
    for lie in LIES:
        result = ask(call, partial(list, (lie,)))
        assert isinstance(result, MediaVaultError) or call not in {"refs", "read_pack"}, lie


@pytest.mark.parametrize("call", CALLS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(data=mutated((*GOOD, *LIES[:-1]), 8192))
def test_garbage_is_refused_by_typed_errors(ask: Ask, call: str, data: bytes) -> None:
    ask(call, lambda: [data])


def test_one_that_says_nothing_is_left(garbler: Garbler) -> None:
    asked = threading.Event()
    left = threading.Event()

    def silence() -> Iterator[bytes]:
        asked.set()
        left.wait(30.0)
        yield b""

    remote = HttpRemote(garbler.url, patience=Patience(stall_timeout=0.2, retries=0))
    garbler.blocks = silence
    with pytest.raises(MediaVaultError):
        remote.config()
    assert asked.is_set()
    left.set()
    remote.close()
