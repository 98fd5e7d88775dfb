"""The real server application on a real socket in this process, so that its storage and its memory can be tampered with."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from mediavault_backends.api import Backend
from mediavault_server.app import create_app
from mediavault_server.connection import GuardedConnection
from mediavault_server.settings import ServerSettings


@dataclass(frozen=True)
class Served:
    """A server; `url` is its address."""

    url: str
    app: Any

    def forget(self) -> None:
        """Let it forget the repositories that it has open, as a server does that is started anew."""
        repositories = self.app._app.state.repositories
        with repositories._lock:
            repositories._open.clear()


@contextmanager
def served(storage: Backend) -> Iterator[Served]:
    """Serve a storage; ends when the block does."""
    app = create_app(ServerSettings(storage={}, shutdown_timeout=2), storage)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        config = uvicorn.Config(
            app,
            http=GuardedConnection,
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", app)
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
