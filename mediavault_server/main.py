"""`mediagit-server`: the composition root, which alone reads arguments and the environment, opens storage and listens."""

import argparse
import contextlib
import http.client
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from mediavault.config import load_settings
from mediavault.errors import ConfigError
from mediavault_backends.api import Backend, Replicating
from mediavault_backends.errors import BackendError, OutcomeUnknownError, TransientError
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.multi import MultiBackend
from mediavault_backends.probe import check_conditions
from mediavault_backends.registry import open_backend, open_served
from mediavault_backends.split import SplitBackend
from mediavault_backends.throttle import ThrottledBackend
from mediavault_server.app import create_app
from mediavault_server.connection import GuardedConnection
from mediavault_server.routes import health
from mediavault_server.settings import ServerSettings, server_settings
from mediavault_server.upstream.app import create_upstream_app

KEEP_ALIVE: Final = 75
"""Seconds for which an idle connection is kept."""
START_TIMEOUT: Final = 30.0
"""Seconds after which a server that does not answer itself gives up."""

_ANY: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- what to ask, when listening on all of them


@dataclass(frozen=True, slots=True)
class Application:
    """Makes the application in the process that serves it; it can be pickled, and so travels to worker processes."""

    settings: ServerSettings

    def __call__(self) -> ASGIApp:
        """Open the storage and return the application over it."""
        _log_to_stderr()
        _stop_with_parent()
        if self.settings.upstream:
            return create_upstream_app(self.settings)
        return create_app(self.settings, open_served(self.settings.storage, create=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop, or do what `storage` says; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["storage"]:
        from mediavault_server import storage_command  # noqa: PLC0415 -- who serves needs no bars and tables

        return storage_command.run(words[1:], os.environ, open_backend, _make_ready)
    options = _parser().parse_args(words)
    try:
        settings = _settings(options)
        if not settings.upstream:
            _prepare(settings)
        listener = _listen(settings)
    except ConfigError as error:
        return _complain(error.message, error.untouched, error.hint)
    except BackendError as error:
        return _complain(f"The storage cannot be used: {error}")
    except OSError as error:
        return _complain(f"Cannot listen on {options.host or 'this address'}: {error.strerror or error}.")
    with contextlib.closing(listener):
        return _serve(settings, listener)


def _prepare(settings: ServerSettings) -> None:
    storage = open_served(settings.storage, create=True)
    _make_ready(storage)
    health.mark(storage)
    if isinstance(storage, Replicating):
        storage.close()  # the processes that serve have their own


def _make_ready(storage: Backend) -> None:
    """Tidy up what dead processes left in a store, and make sure that it does what refs need.

    Raises:
        BackendError: it does not, or cannot be asked. The second store of a pair may be out of reach.
    """
    match storage:
        case MultiBackend():
            _make_ready(storage.primary)
            storage.check_pair()
            try:
                _make_ready(storage.secondary)
            except (TransientError, OutcomeUnknownError) as error:
                _log_to_stderr()
                logging.getLogger(__name__).warning("%s cannot be reached now: %s", storage.secondary.name, error)
        case SplitBackend():
            storage.make_ready()
        case ThrottledBackend():
            _make_ready(storage.inner)
        case LocalBackend():
            storage.settle()
            storage.remove_stale()
        case MemoryBackend():
            pass
        case _:
            check_conditions(storage)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mediagit-server",
        description="Keeps MediaVault repositories for their users, without being able to read them.",
        epilog="Settings also come from mediagit.toml and MEDIAGIT_* variables; see docs/protocol.md."
        " `mediagit-server storage --help` tells how to copy, check, tier and mend whole stores.",
    )
    parser.add_argument("--storage", metavar="FOLDER", help="keep repositories in this folder")
    parser.add_argument("--upstream", metavar="URL", help="be a cache of the server at this address")
    parser.add_argument("--cache", metavar="FOLDER", help="keep copies of what is read from afar in this folder")
    parser.add_argument("--cache-size", metavar="SIZE", help="how large the cache may grow (50GiB)")
    parser.add_argument("--config", metavar="FILE", type=Path, help="read this file and no other")
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (3000); 0 takes a free one")
    parser.add_argument("--workers", type=int, help="processes that serve (1)")
    parser.add_argument("--no-auth", action="store_true", help="ask nobody for a key; for this computer alone")
    parser.add_argument("--version", action="version", version=f"mediagit-server {version('mediavault')}")
    return parser


def _settings(options: argparse.Namespace) -> ServerSettings:
    flags = {
        "server.host": options.host,
        "server.port": options.port,
        "server.workers": options.workers,
        "storage.backend": "local" if options.storage else None,
        "storage.local.path": options.storage,
        "storage.cache": options.cache,
        "storage.cache_size": options.cache_size,
        "server.upstream": options.upstream,
    }
    settings = server_settings(
        load_settings(os.environ, file=options.config, flags=flags).settings, no_auth=options.no_auth
    )
    if settings.upstream and not settings.cache:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return msgspec.structs.replace(settings, cache=str(Path(base) / "mediagit-server"))
    return settings


def _listen(settings: ServerSettings) -> socket.socket:
    """Return a socket bound to the address; port 0 becomes a real one here, the same for all workers."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except OSError:
        listener.close()
        raise
    listener.set_inheritable(True)
    return listener


def _serve(settings: ServerSettings, listener: socket.socket) -> int:
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        Application(settings),
        factory=True,
        host=settings.host,
        port=port,
        workers=settings.workers,
        http=GuardedConnection,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=settings.shutdown_timeout,
    )
    # uvicorn raises the signal again when it has shut down; stopping when told to is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    _log_to_stderr()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    threading.Thread(
        target=_announce, args=(_ANY.get(settings.host, settings.host), port, f"http://{host}:{port}"), daemon=True
    ).start()
    if settings.workers > 1:
        Multiprocess(config, sockets=[listener]).run()
        return 0
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _announce(host: str, port: int, url: str) -> None:
    """Print the address once the server answers at it."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(host, port, timeout=5.0)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                print(f"Listening on {url}", flush=True)  # noqa: T201 -- what starts the server waits for this line
                return
        time.sleep(0.02)


def _stop_with_parent() -> None:
    """Let a worker process stop when the process that started it is gone, instead of holding its port for ever."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")


def _complain(message: str, untouched: str = "", hint: str = "") -> int:
    lines = [f"error: {message}", untouched, f"hint: {hint}" if hint else ""]
    sys.stderr.write("\n".join(line for line in lines if line) + "\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
