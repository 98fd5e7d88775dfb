"""A loopback HTTP server between a client and a store: it writes down what it received, and misbehaves where it is told to."""

import contextlib
import dataclasses
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

from tests.services.certificates import Certificate


@dataclass(frozen=True)
class Request:
    """What a client sent; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """Answer this, and forward nothing."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """Forward, promise the whole body, and hang up after so many bytes of it."""

    after: int


@dataclass(frozen=True)
class Lose:
    """Forward if told so, and hang up without an answer."""

    forward: bool


@dataclass(frozen=True)
class Hold:
    """Forward nothing, and answer nothing before `until` is set."""

    until: threading.Event


@dataclass(frozen=True)
class Alter:
    """Forward what this makes of the body, which stays as long as it was."""

    change: Callable[[bytes], bytes]


Act: TypeAlias = Reply | Cut | Lose | Hold | Alter
Rule: TypeAlias = Callable[[Request], Act | None]


@dataclass
class Relay:
    """Where the relay is, what came to it, and what it does with it: `rule` says None where it simply forwards."""

    url: str
    requests: list[Request] = field(default_factory=list)
    rule: Rule = lambda _: None

    def once(self, matches: Callable[[Request], bool], act: Act) -> None:
        """Do this to the first request that matches from now on."""
        left = [act]
        self.rule = lambda request: left.pop() if left and matches(request) else None

    def always(self, matches: Callable[[Request], bool], act: Act) -> None:
        """Do this to all requests that match from now on."""
        self.rule = lambda request: act if matches(request) else None


@contextlib.contextmanager
def relaying(upstream: str = "", certificate: Certificate | None = None, *, renamed: bool = False) -> Iterator[Relay]:
    """Run a relay on a port that the system chooses.

    Args:
        upstream: where requests are forwarded to, as `http://host:port`; without one, the rule has to answer them all.
        certificate: serve HTTPS with this one.
        renamed: name the upstream as the host, for one that answers under its own name alone.
    """
    server = _Server(("127.0.0.1", 0), _Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.path, certificate.key_path)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.relay = Relay(f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}")
    server.upstream = urlsplit(upstream).netloc
    server.renamed = renamed
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.relay
    finally:
        server.shutdown()
        server.hang_up()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128
    relay: Relay
    upstream: str
    renamed: bool

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.open: set[socket.socket] = set()

    def hang_up(self) -> None:
        """Break off every connection, so that no thread waits for a client."""
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that hangs up is what some tests want."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 -- the name that http.server gives it
        pass

    def handle_expect_100(self) -> bool:
        """Tell a client at once that it may send its body: it would wait a second for that."""
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def _serve(self) -> None:
        request = self._received()
        self.server.relay.requests.append(request)
        match self.server.relay.rule(request):
            case Reply(status, body, headers):
                self._answer(status, {"Content-Length": str(len(body)), **headers}, body)
            case Cut(after):
                status, headers, body = self._forwarded(request)
                self._answer(status, headers, body[:after])
                self.close_connection = True
            case Lose(forward):
                if forward:
                    self._forwarded(request)
                self.close_connection = True
            case Alter(change):
                self._answer(*self._forwarded(dataclasses.replace(request, body=change(request.body))))
            case Hold(until):
                until.wait()
                self.close_connection = True
            case None:
                self._answer(*self._forwarded(request))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_CONNECT = _serve  # noqa: N815 -- the names http.server looks for

    def _received(self) -> Request:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = self.path if self.command == "CONNECT" else url.path
        return Request(self.command, path, query, headers, body)

    def _forwarded(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        with contextlib.closing(http.client.HTTPConnection(self.server.upstream)) as connection:
            sent = dict(self.headers.items())
            if self.server.renamed:
                sent["Host"] = self.server.upstream
            connection.request(request.method, self.path, request.body, sent)
            answer = connection.getresponse()
            body = answer.read()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _PER_CONNECTION}
        if request.method != "HEAD":
            headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
            headers["Content-Length"] = str(len(body))
        return answer.status, headers, body

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"date", "server"}:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()


_PER_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding"})
