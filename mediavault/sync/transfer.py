"""Several transfers at once: bounded, and stopped together when one of them fails."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from mediavault.progress import Progress

Item = TypeVar("Item")


class StoppedError(Exception):
    """Another transfer failed, so this one was given up; never leaves this room."""


class Stop:
    """Tells transfers that are under way to give up."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def now(self) -> None:
        """Ask all to give up."""
        self._event.set()

    def check(self) -> None:
        """Give up if that was asked.

        Raises:
            StoppedError: it was.
        """
        if self._event.is_set():
            raise StoppedError


def run_several(
    work: Callable[[Item, Stop], None], items: Iterable[Item], count: int, abort: Callable[[], None]
) -> None:
    """Call `work` for each item in up to `count` threads; items are taken only when a thread is about to be free.

    The first failure, of `work` or of `items`, stops the rest and is raised when all have ended. `abort` wakes those
    that wait for the network; it is called then, and when the user interrupts.
    """
    stop = Stop()
    failures: list[BaseException] = []

    def guarded(item: Item) -> None:
        try:
            work(item, stop)
        except BaseException as error:
            # At once, not only when this one's turn to be looked at comes; those that end by it fail after it.
            failures.append(error)
            stop.now()
            abort()
            raise

    running: deque[Future[None]] = deque()
    with ThreadPoolExecutor(count, thread_name_prefix="transfer") as pool:
        try:
            for item in items:
                running.append(pool.submit(guarded, item))
                while len(running) > count or (running and running[0].done()):
                    running.popleft().result()
            while running:
                running.popleft().result()
        except BaseException as error:
            first = failures[0] if failures and isinstance(error, Exception) else error
            stop.now()
            abort()
            pool.shutdown(wait=True, cancel_futures=True)
            if first is error:
                raise
            raise first from None


class HighWater:
    """Reports bytes of a transfer that may start over: only what goes beyond the furthest point so far counts."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._highest = 0

    def at(self, position: int) -> None:
        """Tell how far the present try is."""
        if position > self._highest:
            self._progress.advance(position - self._highest)
            self._highest = position
