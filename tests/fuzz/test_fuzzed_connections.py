"""Bytes on a connection to a real server that are nearly requests: an answer or a closed connection, and nothing breaks.

The same requests, past the HTTP parser and guided by coverage, are the target `request`.
"""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings

from mediavault.wire import problems
from tests.fuzz import asgi
from tests.fuzz.mutations import mutated
from tests.integration.conftest import Server, launch

HUNG: Final = 60.0
"""Seconds without a byte after which the server counts as hung; its own patience here is one second."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("fuzzed")
    patience = {"MEDIAGIT_SERVER__HEADER_TIMEOUT": "1", "MEDIAGIT_SERVER__STALL_TIMEOUT": "1"}
    default = {"MEDIAGIT_SERVER__DEFAULT_REPOSITORY": "studio/film"}
    server = launch(folder / "srv", folder / "server.log", "--no-auth", env={**patience, **default})
    for seed in asgi.SEEDS[:5]:
        assert re.match(rb"HTTP/1.1 20[01] ", exchange(server, on_the_wire(seed)))
    yield server
    assert server.process.poll() is None, server.output
    assert exchange(server, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").startswith(
        b"HTTP/1.1 200 "
    )
    assert server.stop() == 0
    assert "Traceback" not in server.output, server.output


def on_the_wire(request: bytes) -> bytes:
    """Return a request as HTTP/1.1 wants it."""
    head, _, body = request.partition(b"\n\n")
    line, *fields = head.split(b"\n")
    if not any(field.startswith(b"content-length") for field in fields):
        fields.append(b"content-length: %d" % len(body))
    return b"\r\n".join([line + b" HTTP/1.1", *fields, b"connection: close", b"", body])


def exchange(server: Server, data: bytes, patience: float = HUNG) -> bytes:
    """Send bytes, and return what comes until the server closes; after `patience` seconds of silence it is told the end."""
    parts = urlsplit(server.url)
    answer = b""
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=HUNG) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        connection.settimeout(patience)
        with suppress(ConnectionError):
            try:
                while block := connection.recv(65536):
                    answer += block
            except TimeoutError:
                connection.settimeout(HUNG)
                connection.shutdown(socket.SHUT_WR)
                while block := connection.recv(65536):
                    answer += block
    return answer


def check(answer: bytes) -> None:
    """Assert what holds of the first answer: it is whole enough to be judged, no failure, and a refusal has its document."""
    if not answer:
        return
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    status = int(line.split()[1])
    headers = dict(field.lower().split(": ", 1) for field in fields)
    assert status < 500, answer
    if status in {400, 401, 403, 404, 405, 409, 412, 413, 416, 422, 428} and body:
        assert headers["content-type"] == problems.MEDIA_TYPE, answer
        assert json.loads(body[: int(headers["content-length"])])["status"] == status


PLAIN: Final = tuple(map(on_the_wire, asgi.SEEDS))
ODD: Final = (
    b"\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"GET http://localhost/refs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /refs HTTP/0.9\r\n\r\n",
    b"GET /refs HTTP/2.0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /refs\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /refs#x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET //refs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET ?x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /refs HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /refs HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nxx",
    b"POST /chunks/check HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx",
    b"POST /chunks/check HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nx",
    b"POST /chunks/check HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n"
    + bytes(32)
    + b"\r\n0\r\nX: y\r\n\r\n",
    b"POST /chunks/check HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\nx",
    b"POST /chunks/check HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\nx",
    b"POST /chunks/check HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 32\r\n\r\n" + bytes(32),
    PLAIN[5] * 20,
    b"GET /refs HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 9000 + b"\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
)


@pytest.mark.parametrize("number", range(len(ODD)))
def test_odd_requests_get_their_answer(server: Server, number: int) -> None:
    check(exchange(server, ODD[number], 0.5))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=250)
@given(data=mutated((*PLAIN, *ODD[:-3]), 8192))
def test_mutated_requests_get_their_answer(server: Server, data: bytes) -> None:
    check(exchange(server, data, 0.1))
