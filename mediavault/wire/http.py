"""HTTP to one server: connections, patience, retries and counting. What the requests mean is not its business."""

import contextlib
import io
import random
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any, Final, NamedTuple

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, SSLError
from urllib3.response import BaseHTTPResponse

from mediavault.errors import RemoteError

READ_BLOCK: Final = 1 << 20
SEND_BLOCK: Final = 256 << 10
"""Bytes given to the socket at once; its timeout is for one such block, so that slow lines are no stalls."""
MAX_ANSWER: Final = 64 << 20
"""Bytes of an answer that is held in memory as a whole."""
MAX_LINES: Final = 512 << 10
"""Bytes of an answer that are neither its body nor in proportion to it: head, interim answers, trailers."""
RETRIED: Final = frozenset({408, 429, 500, 502, 503, 504})
MAX_DELAY: Final = 20.0
MAX_RETRY_AFTER: Final = 120.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a server.

    `connect_timeout`: seconds for a connection to stand. `stall_timeout`: seconds without a byte after which a
    transfer counts as dead. `retries`: how often what may be repeated is repeated without any progress.
    `connections`: how many are kept open.
    """

    connect_timeout: float = 10.0
    stall_timeout: float = 60.0
    retries: int = 5
    connections: int = 4


class Traffic(NamedTuple):
    """What went over the wire so far: requests tried, bytes of bodies sent and received.

    Where the other side is a store, also which of the requests were puts, listings and readings there.
    """

    requests: int
    sent: int
    received: int
    writes: int = 0
    lists: int = 0
    reads: int = 0


class UnreachableError(RemoteError):
    """A server did not answer, or answered that it cannot now; trying again may help.

    `retry_after` is how many seconds the server asked to wait, or None.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(
            message, untouched="What was transferred is kept.", hint="Run the command again: it continues."
        )
        self.retry_after = retry_after


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Lines(io.BufferedReader):
    """What a server sends, with a bound on lines: heads, interim answers and trailers without end are no answer."""

    allowance = MAX_LINES

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self.allowance -= len(line)
        if self.allowance < 0:
            raise HTTPException("it sends headers without end")
        return line

    def read(self, size: int | None = None, /) -> bytes:
        if size is not None and size < 0:  # a chunk's, which the standard library takes as it comes
            raise HTTPException("it sends a chunk of less than nothing")
        data = super().read(size)
        self.allowance += len(data)  # a body in small chunks has a line for each
        return data

    def readinto(self, buffer: Any, /) -> int:
        count = super().readinto(buffer)
        self.allowance += count
        return count


class _Response(HTTPResponse):
    """An answer of the standard library's, read through `_Lines`."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = _Lines(sock.makefile("rb", buffering=0))


class _Tracked:
    """A connection that can be broken off from another thread, and that sends with the stall timeout.

    urllib3 leaves the connect timeout on a socket until an answer is read.
    """

    response_class = _Response
    stall_timeout: float = 60.0
    live: weakref.WeakSet[socket.socket]

    def connect(self) -> None:
        super().connect()  # type: ignore[misc] # HTTPConnection follows in the order of resolution
        self.live.add(self.sock)  # type: ignore[attr-defined]

    def send(self, data: Any) -> None:
        sock = getattr(self, "sock", None)
        if sock is not None:
            sock.settimeout(self.stall_timeout)
        super().send(data)  # type: ignore[misc]


class Wire:
    """Requests to one server. Safe to use from several threads.

    Args:
        origin: `scheme://host:port`.
        headers: sent with every request.
        patience: see there.
        sleep: waits; tests put something quicker in its place.
        jitter: a random number between 0 and 1.
    """

    def __init__(
        self,
        origin: str,
        headers: Mapping[str, str],
        patience: Patience,
        *,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.origin = origin
        self.patience = patience
        self._sleep = sleep
        self._jitter = jitter
        self._lock = threading.Lock()
        self._traffic = Traffic(0, 0, 0)
        pool: urllib3.HTTPConnectionPool = urllib3.connection_from_url(
            origin,
            maxsize=patience.connections,
            timeout=urllib3.Timeout(connect=patience.connect_timeout, read=patience.stall_timeout),
            retries=False,
            headers={"User-Agent": "mediagit", "Accept-Encoding": "identity", **headers},
        )
        base = HTTPSConnection if origin.startswith("https:") else HTTPConnection
        self._live: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        tracked = type("Connection", (_Tracked, base), {"stall_timeout": patience.stall_timeout, "live": self._live})
        pool.ConnectionCls = tracked
        self._pool = pool

    @property
    def traffic(self) -> Traffic:
        """What was sent and received so far."""
        with self._lock:
            return self._traffic

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def abort(self) -> None:
        """Break off every transfer that is under way, in whatever thread; each ends with UnreachableError."""
        for sock in list(self._live):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        repeat: bool = True,
    ) -> Answer:
        """Send a request and return its whole answer, whatever its status.

        Args:
            method: of HTTP.
            target: path and query.
            body: of the request.
            headers: more of them.
            repeat: whether a failed try may be repeated.

        Raises:
            UnreachableError: no answer, or only such as may be better later.
        """
        failures = 0
        while True:
            try:
                with self._open(method, target, body, headers) as response:
                    answer = Answer(response.status, response.headers, self._read_all(response))
                if answer.status not in RETRIED or not repeat:
                    return answer
                if failures >= self.patience.retries:
                    return answer
                self.wait(failures, _retry_after(answer.headers))
            except UnreachableError:
                if not repeat or failures >= self.patience.retries:
                    raise
                self.wait(failures, None)
            failures += 1

    def send(
        self, method: str, target: str, blocks: Iterable[Any], size: int | None, headers: Mapping[str, str]
    ) -> Answer:
        """Send a streamed body of `size` bytes, or of unknown size, once and return the whole answer.

        Raises:
            UnreachableError: no answer: whether the server took the body is not known.
        """
        length = {} if size is None else {"Content-Length": str(size)}
        headers = {"Content-Type": "application/octet-stream", **headers, **length}
        with self._open(method, target, self._counted(blocks), headers) as response:
            return Answer(response.status, response.headers, self._read_all(response))

    @contextlib.contextmanager
    def stream(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[tuple[BaseHTTPResponse, Iterator[bytes]]]:
        """Send a request once and give its answer with the blocks of its body.

        Raises:
            UnreachableError: no answer; while reading, also a connection that breaks before the end.
        """
        with self._open(method, target, body, headers) as response:
            yield response, self._blocks(response)

    def whole(self, response: BaseHTTPResponse) -> Answer:
        """Return the rest of an answer that was opened by `stream`.

        Raises:
            RemoteError: it is longer than an answer may be that is held in memory.
        """
        return Answer(response.status, response.headers, self._read_all(response))

    def wait(self, failures: int, retry_after: float | None) -> None:
        """Wait before another try: longer with each failure, never in step with other clients."""
        delay = min(MAX_DELAY, 0.25 * 2**failures) * (0.5 + self._jitter())
        if retry_after is not None:
            delay = min(MAX_RETRY_AFTER, retry_after) + delay * 0.1
        self._sleep(delay)

    @contextlib.contextmanager
    def _open(
        self, method: str, target: str, body: Any, headers: Mapping[str, str] | None
    ) -> Iterator[BaseHTTPResponse]:
        self._count(requests=1, sent=len(body) if isinstance(body, bytes) else 0)
        response: BaseHTTPResponse | None = None
        try:
            response = self._pool.urlopen(
                method,
                target,
                body=body,
                headers={**(self._pool.headers or {}), **(headers or {})},
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            yield response
        except (HTTPError, OSError, ssl.SSLError) as error:
            if isinstance(error, SSLError) or isinstance(error.__cause__, ssl.SSLCertVerificationError):
                raise RemoteError(
                    f"No trusted connection to {self.origin}: {error}.",
                    untouched="Nothing was sent.",
                    hint="Check the address and the server's certificate.",
                ) from error
            raise UnreachableError(f"The server {self.origin} cannot be reached: {_reason(error)}.") from error
        finally:
            if response is not None:
                # What was not read to its end cannot carry another request.
                if response.closed or getattr(response, "length_remaining", None) == 0:
                    response.release_conn()
                else:
                    response.close()

    def _blocks(self, response: BaseHTTPResponse) -> Iterator[bytes]:
        while block := response.read(READ_BLOCK, decode_content=False):
            self._count(received=len(block))
            yield block

    def _read_all(self, response: BaseHTTPResponse) -> bytes:
        parts, size = [], 0
        for block in self._blocks(response):
            parts.append(block)
            size += len(block)
            if size > MAX_ANSWER:
                raise RemoteError(f"The server {self.origin} sends an answer without end.")
        return b"".join(parts)

    def _counted(self, blocks: Iterable[Any]) -> Iterator[memoryview]:
        for block in blocks:
            view = memoryview(block)
            for at in range(0, len(view), SEND_BLOCK):
                piece = view[at : at + SEND_BLOCK]
                yield piece
                self._count(sent=len(piece))

    def _count(self, *, requests: int = 0, sent: int = 0, received: int = 0) -> None:
        with self._lock:
            old = self._traffic
            self._traffic = Traffic(old.requests + requests, old.sent + sent, old.received + received)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds a server asks to wait, or None; the form with a date is not used by this protocol."""
    return _retry_after(headers)


def _reason(error: BaseException) -> str:
    """Return in a few words what went wrong on the way to a server."""
    within = [error, *(arg for arg in error.args if isinstance(arg, BaseException)), error.__cause__, error.__context__]
    for found in within:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
    if any(isinstance(found, TimeoutError | urllib3.exceptions.TimeoutError) for found in within):
        return "it timed out"
    return str(error.args[0] if error.args else type(error).__name__).partition("(")[0].strip(" .:")
