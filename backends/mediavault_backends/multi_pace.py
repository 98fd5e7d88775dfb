"""When a pair of stores copies, and which of them answers faster; leaves what is copied and read to `multi`."""

import logging
import threading
from collections.abc import Callable
from typing import Final

IDLE: Final = 10.0
"""Seconds after which it is looked whether another process died and left something to do."""
FIRST_PAUSE: Final = 1.0
"""Seconds after the first round that did not finish; each further pause is twice as long."""
LONGEST_PAUSE: Final = 60.0
_JOIN: Final = 5.0
"""Seconds that stopping waits for the copy under way."""
_LOOK_AGAIN: Final = 32
"""One of so many reads goes to the slower store, which may have become the faster one."""
_WEIGHT: Final = 0.5
"""How much the newest read counts in the average."""
_FAILED: Final = 5.0
"""Seconds that a failed read counts as, besides those it took."""

_log = logging.getLogger(__name__)


class Replayer:
    """A thread that does rounds of work: when it is woken, and again, less and less often, while there is work left.

    Args:
        work: one round; returns whether nothing is left to be done.
    """

    def __init__(self, work: Callable[[], bool]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._woken = threading.Event()

    def start(self) -> None:
        """Start the thread if there is none; it looks for work at once."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is not None:
                return
            self._stopped = threading.Event()
            self._thread = threading.Thread(target=self._run, args=(self._stopped,), name="storage-replay", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Say that there is work; no pause after a failure becomes shorter by it."""
        self._woken.set()
        self.start()

    def stop(self) -> None:
        """End the thread; a copy under way is waited for a few seconds."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._stopped.set()
            self._woken.set()
            thread.join(_JOIN)

    def _run(self, stopped: threading.Event) -> None:
        pause = 0.0
        while not stopped.is_set():
            self._woken.clear()
            if self._do():
                pause = 0.0
                self._woken.wait(IDLE)
            else:
                pause = min(2 * pause or FIRST_PAUSE, LONGEST_PAUSE)
                stopped.wait(pause)

    def _do(self) -> bool:
        try:
            return self._work()
        except Exception:  # noqa: BLE001 -- a thread that ends would leave the second store behind for good
            _log.exception("copying failed")
            return False


class Speeds:
    """Moving averages of how long two stores take to answer. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._averages: dict[bool, float] = {}
        self._asked = 0

    def add(self, *, second: bool, seconds: float, failed: bool) -> None:
        """Count a read of the second store, or of the first."""
        taken = seconds + (_FAILED if failed else 0.0)
        with self._lock:
            former = self._averages.get(second, taken)
            self._averages[second] = former + _WEIGHT * (taken - former)

    def prefers_second(self) -> bool:
        """Tell which store to read next; each is asked now and then."""
        with self._lock:
            self._asked += 1
            for second in (False, True):
                if second not in self._averages:
                    return second
            faster = self._averages[True] < self._averages[False]
            return not faster if self._asked % _LOOK_AGAIN == 0 else faster
