"""Work that goes on when its request is answered: a few threads at a time, which end with the process and not before it."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

THREADS: Final = 2
"""How much of it a process does at once, for each repository."""

T = TypeVar("T")


class Background(Generic[T]):
    """Runs calls in threads of its own, in their order; a process that ends does not wait for them."""

    def __init__(self, threads: int = THREADS) -> None:
        self._lock = threading.Lock()
        self._queue: deque[tuple[Future[T], Callable[[], T]]] = deque()
        self._threads = threads
        self._running = 0

    def run(self, work: Callable[[], T]) -> "Future[T]":
        """Do something soon; what it raises is the future's."""
        future: Future[T] = Future()
        with self._lock:
            self._queue.append((future, work))
            if self._running < self._threads:
                self._running += 1
                threading.Thread(target=self._serve, daemon=True, name="background").start()
        return future

    def _serve(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._running -= 1
                    return
                future, work = self._queue.popleft()
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 -- whoever waits for it gets it
                future.set_exception(error)
