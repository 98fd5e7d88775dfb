"""Bodies on their way in and out: bounded, never stalled, with all storage work off the event loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mediavault.wire import problems
from mediavault_backends.api import Buffer
from mediavault_server.problems import RequestRefusedError

BLOCK: Final = 1 << 20
"""Bytes that are handed to a thread at once; smaller ones cost more in hand-overs than in work (performance.md)."""

T = TypeVar("T")


async def in_thread(work: Callable[[], T]) -> T:
    """Run blocking work on the process's pool of threads."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


def declared_length(request: Request) -> int | None:
    """Return Content-Length, or None for a body of unknown length.

    Raises:
        RequestRefusedError: not a number.
    """
    text = request.headers.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise RequestRefusedError(problems.BAD_REQUEST, "Content-Length is no number.")
    return int(text)


async def in_order(work: Callable[[T], object], items: AsyncIterator[T]) -> None:
    """Call blocking `work` for each item, one after another in threads, while the next item is on its way.

    When this ends, however it ends, no work is under way. What `work` raises is raised.
    """
    running: asyncio.Future[object] | None = None
    try:
        async for item in items:
            if running is not None:
                await asyncio.shield(running)
            running = asyncio.ensure_future(in_thread(partial(work, item)))
        if running is not None:
            await asyncio.shield(running)
    finally:
        if running is not None:
            await asyncio.wait([running])
            running.exception()  # raised above, or of no interest beside what is


async def body_blocks(request: Request, limit: int) -> AsyncIterator[list[bytes]]:
    """Yield the body in the pieces in which it came, about 1 MiB of them at a time.

    Raises:
        RequestRefusedError: more than `limit` bytes, declared or sent; or no byte within the stall timeout.
        ClientDisconnect: the connection broke before the end.
    """
    declared = declared_length(request)
    if declared is not None and declared > limit:
        raise _too_large(limit)
    stall: float = request.app.state.settings.stall_timeout
    total, held, size, pieces = 0, list[bytes](), 0, request.stream().__aiter__()
    while True:
        try:
            async with asyncio.timeout(stall):
                piece = await anext(pieces)
        except StopAsyncIteration:
            break
        except TimeoutError:
            raise RequestRefusedError(problems.TOO_SLOW, headers={"Connection": "close"}) from None
        total += len(piece)
        if total > limit:
            raise _too_large(limit)
        held.append(piece)
        size += len(piece)
        if size >= BLOCK:
            yield held
            held, size = [], 0
    if size:
        yield held


async def whole_body(request: Request, limit: int) -> bytes:
    """Return a small body.

    Raises:
        RequestRefusedError: see `body_blocks`.
    """
    return b"".join([piece async for pieces in body_blocks(request, limit) for piece in pieces])


def _too_large(limit: int) -> RequestRefusedError:
    return RequestRefusedError(problems.TOO_LARGE, f"At most {limit} bytes.", headers={"Connection": "close"})


class BlockResponse(Response):
    """An answer whose blocks come from storage: read in a thread, one block ahead of the network.

    A failure after the first block cuts the connection, so that a client never takes a part for the whole.

    Args:
        blocks: the body; its first block is read before the head is sent, so that an early failure gets its status.
        status_code: of the answer.
        headers: of the answer; with Content-Length where the length is known.
        media_type: of the body.
    """

    def __init__(
        self,
        blocks: Iterable[Buffer],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str = "application/octet-stream",
    ) -> None:
        super().__init__(None, status_code, headers, media_type)
        if not any(name.lower() == "content-length" for name in headers or ()):
            del self.headers["content-length"]  # which Starlette gives to an empty body
        self._blocks: Iterator[Buffer] = iter(blocks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send head and body; stops reading storage when the client is gone."""
        del scope
        gone = asyncio.Event()
        watch = asyncio.create_task(_watch(receive, gone))
        ahead: asyncio.Future[Buffer] | None = None
        try:
            block = await in_thread(self._next)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while block and not gone.is_set():
                ahead = asyncio.ensure_future(in_thread(self._next))
                await send({"type": "http.response.body", "body": block, "more_body": True})
                block = await ahead
            if not gone.is_set():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            watch.cancel()
            if ahead is not None and not ahead.done():
                with contextlib.suppress(Exception):
                    await ahead
            close = getattr(self._blocks, "close", None)
            if close is not None:
                await in_thread(close)

    def _next(self) -> Buffer:
        for block in self._blocks:
            if len(block):
                return block
        return b""


async def _watch(receive: Receive, gone: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()
