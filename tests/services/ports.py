"""What every server under test needs: free ports, a wait for its health, and an end by its own id."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

START_TIMEOUT = 120.0
"""Seconds; a server that takes longer has failed."""


def free_ports(count: int, *, apart: int = 0) -> list[int]:
    """Return ports that were free a moment ago.

    Args:
        count: how many.
        apart: the port this much higher is free as well.
    """
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < count:
            port = _bound(stack, 0)
            if port is not None and (not apart or _bound(stack, port + apart) is not None):
                found.append(port)
    return found


def _bound(stack: contextlib.ExitStack, port: int) -> int | None:
    sock = stack.enter_context(socket.socket())
    try:
        sock.bind(("127.0.0.1", port))
    except (OSError, OverflowError):
        return None
    number: int = sock.getsockname()[1]
    return number


@contextlib.contextmanager
def process(command: Sequence[str | Path], log: Path, healthy: Callable[[], bool], **owner: Any) -> Iterator[None]:
    """Run a server until the block ends; it is killed, for some take half a minute to end by themselves.

    Args:
        command: the program and its arguments.
        log: where its output goes.
        healthy: tells whether it can be used; may raise OSError while it cannot.
        owner: `user`, `group` and `extra_groups` as whom it runs, where that is somebody else.
    """
    with log.open("wb") as output:
        running = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **owner
        )
    try:
        _wait(running, log, healthy)
        yield
    finally:
        running.kill()
        running.wait()


def _wait(running: "subprocess.Popen[bytes]", log: Path, healthy: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and running.poll() is None:
        with contextlib.suppress(OSError):
            if healthy():
                return
        time.sleep(0.1)
    raise RuntimeError(f"{running.args!r} did not start:\n{log.read_text(errors='replace')[-4000:]}")
