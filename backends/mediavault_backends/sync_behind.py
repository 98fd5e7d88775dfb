"""Lets the disk begin on a large file while it is still being written, so that its last sync has little left to do."""

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mediavault_backends import fsio

AHEAD: Final = 4
"""How many syncs may wait for the one that is under way."""


class SyncBehind:
    """Syncs files in a thread of its own while others are written; leaving the block waits for all.

    Raises when it is left, or when it is given a file:
        OSError: one of them could not be synced.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "sync")
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        while kind is None and self._pending:
            self._pending.popleft().result()

    def file(self, fd: int, path: Path) -> None:
        """Bring what was written to a file so far to the disk; the caller may close `fd` at once."""
        self._pending.append(self._pool.submit(_sync, os.dup(fd), path))
        if len(self._pending) > AHEAD:
            self._pending.popleft().result()


def _sync(fd: int, path: Path) -> None:
    try:
        fsio.sync_file(fd, path)
    finally:
        os.close(fd)
