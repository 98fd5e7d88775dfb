"""A server that repeats what a real one answered, one byte of it changed: heads and bodies, as they go over the wire."""

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PATIENCE = 10.0


@dataclass
class Parrot:
    """Asks the server at `url` what it does not know yet, and repeats what it knows; one connection a request.

    `known` are whole answers, head and body, by whole requests. `lie` replaces one of them.
    """

    url: str
    known: dict[bytes, bytes] = field(default_factory=dict)
    lie: tuple[bytes, bytes] | None = None

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.settimeout(PATIENCE)
                request = _read_request(client)
                if request:
                    client.sendall(self._answer(request))

    def _answer(self, request: bytes) -> bytes:
        if self.lie is not None and self.lie[0] == request:
            return self.lie[1]
        if request not in self.known:
            answer = self._ask(request)
            if self.lie is not None:
                return answer  # what a lie led to is not worth remembering
            self.known[request] = answer
        return self.known[request]

    def _ask(self, request: bytes) -> bytes:
        parts = urlsplit(self.url)
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PATIENCE) as server:
            server.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            return b"".join(iter(lambda: server.recv(1 << 16), b""))


def _read_request(client: socket.socket) -> bytes:
    """Return a whole request; empty when the client sends none."""
    data = b""
    while b"\r\n\r\n" not in data:
        block = client.recv(1 << 16)
        if not block:
            return b""
        data += block
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        body += client.recv(1 << 16)
    return head + b"\r\n\r\n" + body
