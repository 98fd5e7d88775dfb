"""The limits on a connection that no handler can set: time and size of a request's head, a peer that stops reading."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mediavault.formats.wire import Problem, encode_json
from mediavault.wire import problems

MAX_HEAD: Final = 64 << 10
"""Bytes of a request's line and headers together."""


class GuardedConnection(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 connection with a deadline for heads, a bound on their size, and no patience for stalls.

    The timeouts (seconds) come from the application's lifespan state: `header_timeout`, `stall_timeout`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_timeout: float = self.app_state["header_timeout"]
        self._stall_timeout: float = self.app_state["stall_timeout"]
        self._head_size = 0
        self._head_deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn types it
        """Start the clock for the first head."""
        super().connection_made(transport)
        self._head_deadline = self.loop.call_later(self._header_timeout, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all clocks."""
        self._stop_clocks()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Start the clock for a head that begins on a connection kept alive."""
        waiting = self.cycle is not None and self.cycle.response_complete
        if waiting and self._head_deadline is None and not self.transport.is_closing():
            self._head_deadline = self.loop.call_later(self._header_timeout, self.transport.abort)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin to count a new head."""
        self._head_size = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the request line."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: its clock stops, and one that was too large is not served."""
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, unless its head was refused."""
        if self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request, unless its head was refused."""
        if self.cycle is not None:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with a problem document too; then the connection ends."""
        kind = problems.BAD_REQUEST
        body = encode_json(Problem(kind.uri, kind.title, kind.status, msg))
        head = (
            f"HTTP/1.1 {kind.status} Bad Request\r\ncontent-type: {problems.MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def pause_writing(self) -> None:
        """The peer reads slower than the answer comes: from now on it must take bytes within each stall timeout."""
        super().pause_writing()
        self._expect_reading(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """The peer reads again."""
        super().resume_writing()
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _expect_reading(self, waiting: int) -> None:
        self._write_deadline = self.loop.call_later(self._stall_timeout, self._check_reading, waiting)

    def _check_reading(self, before: int) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting >= before:
            self.transport.abort()
        else:
            self._expect_reading(waiting)

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > MAX_HEAD and not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            self.transport.close()

    def _stop_clocks(self) -> None:
        for deadline in (self._head_deadline, self._write_deadline):
            if deadline is not None:
                deadline.cancel()
        self._head_deadline = self._write_deadline = None
