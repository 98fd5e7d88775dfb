"""A TCP proxy between client and servers: round robin, counting, and able to break what passes through it."""

import contextlib
import selectors
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


def _go_on(total: int) -> bool:
    return total >= 0


class Proxy:
    """Forwards each connection to the next server. `up` and `down` count the bytes to and from the servers.

    `on_up` and `on_down` are called with the total before each piece is passed on; returning False cuts that
    connection instead.
    """

    def __init__(self, *urls: str) -> None:
        self.targets = [(parts.hostname or "", parts.port or 0) for parts in map(urlsplit, urls)]
        self.up = self.down = self.connections = 0
        self.on_up = self.on_down = _go_on
        self._next = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._closing = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        # Wakes the thread that accepts; closing alone would leave it waiting.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _connect(self) -> socket.socket | None:
        for _ in self.targets:
            with self._lock:
                target = self.targets[self._next % len(self.targets)]
                self._next += 1
            with contextlib.suppress(OSError):
                return socket.create_connection(target, timeout=5)
        return None

    def _serve(self, client: socket.socket) -> None:
        server = self._connect()
        if server is None:
            client.close()
            return
        with client, server:
            with self._lock:
                self.connections += 1
                self._open |= {client, server}
            with contextlib.suppress(OSError):
                self._copy(client, server)
            with self._lock:
                self._open -= {client, server}

    def _copy(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in ready.select():
                    source = client if key.fileobj is client else server
                    data = source.recv(256 << 10)
                    if not data or not self._count(len(data), up=source is client):
                        return
                    key.data.sendall(data)

    def _count(self, size: int, *, up: bool) -> bool:
        with self._lock:
            if up:
                self.up += size
                total = self.up
            else:
                self.down += size
                total = self.down
        return (self.on_up if up else self.on_down)(total)
