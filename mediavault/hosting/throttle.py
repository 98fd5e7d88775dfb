"""Keeps all threads of a transfer below a rate together; what they transfer is their business."""

import threading
import time
from collections.abc import Callable


class Throttle:
    """Lets bytes pass at a rate. Safe to use from several threads.

    Args:
        rate: bytes a second.
        clock: seconds that never go back.
        sleep: waits for that many seconds.
    """

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if rate <= 0:
            raise ValueError(f"not a rate: {rate}")
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free = 0.0

    def take(self, count: int) -> None:
        """Wait until `count` bytes more may have passed."""
        with self._lock:
            now = self._clock()
            self._free = max(now, self._free) + count / self._rate
            wait = self._free - now
        self._sleep(wait)
