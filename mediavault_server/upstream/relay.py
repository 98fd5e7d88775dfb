"""Calls that only upstream can answer: passed on as they are, uploads while they come, and its answers passed back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from mediavault.wire import problems
from mediavault.wire.http import Answer
from mediavault_server.problems import RequestRefusedError
from mediavault_server.streams import body_blocks, declared_length, whole_body
from mediavault_server.upstream.origin import Caller, Origin

WHOLE: Final = 4 << 20
"""Bytes of a body that is held in memory; a larger one, or one of unknown length, is passed on while it comes."""
CALLS: Final = 32
"""Small calls that a process has under way at once; they never wait for packs or uploads."""
UPLOADS: Final = 32
"""Bodies that a process passes on at once; others wait for their turn."""

_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""What belongs to one connection (RFC 9110, 7.6.1)."""
_NOT_SENT: Final = _HOP | {"host", "content-length", "accept-encoding", "authorization", "expect"}
_NOT_RETURNED: Final = _HOP | {"content-length", "date", "server"}

T = TypeVar("T")


class Relay:
    """Passes calls on to upstream.

    Args:
        origin: where to.
        max_body: bytes of the largest body.
    """

    def __init__(self, origin: Origin, max_body: int) -> None:
        self._origin = origin
        self._max_body = max_body
        self._calls = ThreadPoolExecutor(CALLS, thread_name_prefix="call")
        self._uploads = ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload")

    def close(self) -> None:
        """End the threads; nothing is under way."""
        for threads in (self._calls, self._uploads):
            threads.shutdown(wait=True, cancel_futures=True)

    async def ask(
        self,
        caller: Caller,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make a call of this server's own; see `Origin.ask`."""
        work = partial(self._origin.ask, caller, method, path, body, headers)
        return await asyncio.get_running_loop().run_in_executor(self._calls, work)

    async def pass_on(self, request: Request, caller: Caller, path: str) -> Answer:
        """Return upstream's answer to a request.

        Args:
            request: its method, headers and body are passed on.
            caller: with whose key.
            path: below the repository, with the query.

        Raises:
            RequestRefusedError: upstream does not answer; the body is too large or stopped coming.
            ClientDisconnect: the client went away.
        """
        left_out = _NOT_SENT | {name.strip().lower() for name in request.headers.get("connection", "").split(",")}
        headers = {name: value for name, value in request.headers.items() if name not in left_out}
        size = declared_length(request)
        if size is None and "transfer-encoding" not in request.headers:
            size = 0
        if size is not None and size <= WHOLE:
            body = await whole_body(request, WHOLE)
            sent = body if size or request.method in {"POST", "PUT"} else None
            return await self.ask(caller, request.method, path, sent, headers)
        if size is not None and size > self._max_body:
            raise RequestRefusedError(
                problems.TOO_LARGE, f"At most {self._max_body} bytes.", headers={"Connection": "close"}
            )
        blocks = _Pulled(body_blocks(request, self._max_body))
        send = partial(self._origin.send, caller, request.method, path, blocks, size=size, headers=headers)
        return await blocks.consumed_by(self._uploads, send)


def respond(answer: Answer, *, head: bool = False) -> Response:
    """Return an answer of upstream as one of this server."""
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_RETURNED}
    response = Response(answer.body, answer.status, headers)
    if head and "Content-Length" in answer.headers:
        response.headers["content-length"] = answer.headers["Content-Length"]
    return response


class _Pulled:
    """The blocks of a body that comes on the event loop, for a thread that sends them on."""

    def __init__(self, blocks: AsyncIterator[list[bytes]]) -> None:
        self._blocks = blocks
        self._loop = asyncio.get_running_loop()
        self._asked: Future[list[bytes]] | None = None
        self._given_up = False

    async def consumed_by(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        """Run `work`, which iterates over this, on a thread; when this ends, it has ended."""
        running = self._loop.run_in_executor(threads, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._given_up = True
            while not running.done():  # it may be about to ask once more
                if self._asked is not None:
                    self._asked.cancel()
                await asyncio.wait([running], timeout=0.1)
            raise

    def __iter__(self) -> Iterator[bytes]:
        while not self._given_up:
            self._asked = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
            pieces = self._asked.result()
            if not pieces:
                return
            yield from pieces
        raise ClientDisconnect  # a body that just ended would be taken for a whole one

    async def _next(self) -> list[bytes]:
        return await anext(self._blocks, [])
