"""An HTTP proxy that changes what a server says, to play a server that lies, fails, hangs or breaks off."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import urllib3


@dataclass(frozen=True)
class Exchange:
    """A request and its answer on the way back. `send` cuts the answer's body there; `delay` waits before it."""

    method: str
    path: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    send: int | None = None
    delay: float = 0.0


@dataclass
class Meddler:
    """Forwards to `url` and lets `meddle` change each answer; `seen` keeps method and path of every request."""

    url: str
    meddle: Callable[[Exchange], Exchange] = lambda exchange: exchange
    seen: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        meddler = self
        pool = urllib3.connection_from_url(self.url, maxsize=8, retries=False)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _forward(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                body = self.rfile.read(length)
                meddler.seen.append(f"{self.command} {self.path.partition('?')[0]}")
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                answer = pool.request(self.command, self.path, body=body, headers=headers, redirect=False)
                exchange = meddler.meddle(
                    Exchange(self.command, self.path, answer.status, dict(answer.headers), answer.data)
                )
                time.sleep(exchange.delay)
                self.send_response_only(exchange.status)
                kept = {k: v for k, v in exchange.headers.items() if k.lower() not in {"content-length", "connection"}}
                for name, value in kept.items():
                    self.send_header(name, value)
                length = int(answer.headers["Content-Length"]) if self.command == "HEAD" else len(exchange.body)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # the client may have seen enough
                    self.wfile.write(exchange.body[: exchange.send])
                    self.wfile.flush()
                if exchange.send is not None:
                    self.close_connection = True

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _forward  # noqa: N815 -- names that http.server calls

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- as http.server names it
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self._pool = pool
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._pool.close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"


def flipped(body: bytes, at: int) -> bytes:
    """Return `body` with one bit changed."""
    changed = bytearray(body)
    changed[at] ^= 1
    return bytes(changed)


def first_time(
    meddle: Callable[[Exchange], Exchange], applies: Callable[[Exchange], bool]
) -> Callable[[Exchange], Exchange]:
    """Return a `meddle` that changes only the first answer to which `applies` says yes."""
    left = [True]

    def once(exchange: Exchange) -> Exchange:
        if left[0] and applies(exchange):
            left[0] = False
            return meddle(exchange)
        return exchange

    return once


def failing(status: int) -> Callable[[Exchange], Exchange]:
    """Return a `meddle` that answers with a status of a proxy's own making."""
    return lambda exchange: replace(exchange, status=status, headers={"Content-Type": "text/plain"}, body=b"sorry")
