"""Ctrl-C that leaves no lock of the standard library behind; who cleans up after it is for those it interrupts.

Python raises KeyboardInterrupt between any two steps of the main thread. Locks that are written in Python (conditions,
semaphores, queues, and with them futures and pools of threads) are taken in one step and guarded in a later one: an
interrupt between them leaves the lock taken, and the first thread that wants it, perhaps the one that cleans up, waits for
ever.
"""

import _thread
import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final

_LOCKING: Final = frozenset(
    {
        "_frozen_importlib",
        "concurrent.futures._base",
        "concurrent.futures.thread",
        "importlib._bootstrap",
        "logging",
        "queue",
        "threading",
    }
)
"""Modules that take locks so."""
_LATER: Final = 0.005
"""Seconds until an interrupt is tried again."""
_TRIES: Final = 200
"""How often an interrupt is put off at most."""


@contextlib.contextmanager
def orderly_interrupts() -> Iterator[None]:
    """Put off, while the block runs, interrupts that would come while a lock is taken or given back.

    It is for the main thread of a command that takes interrupts as Python does; elsewhere nothing changes.
    """
    former = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or former is not signal.default_int_handler:
        yield
        return
    handler = _Handler()
    signal.signal(signal.SIGINT, handler.interrupted)
    try:
        yield
    finally:
        handler.is_due = False
        signal.signal(signal.SIGINT, former)


class _Handler:
    """Raises an interrupt, or has it sent again a moment later."""

    def __init__(self) -> None:
        self.is_due = False
        self._frame: FrameType | None = None
        self._step = 0
        self._tries = 0

    def interrupted(self, _number: int, frame: FrameType | None) -> None:
        """Take a signal that came at a step of `frame`."""
        if frame is None or not self._must_wait(frame):
            self.is_due, self._frame, self._tries = False, None, 0
            raise KeyboardInterrupt
        self._frame, self._step = frame, frame.f_lasti
        self._tries += 1
        if not self.is_due:
            self.is_due = True
            # Not a `threading.Thread`: it takes locks when it starts, which the interrupted step may hold.
            _thread.start_new_thread(self._send_again, (threading.get_ident(),))

    def _must_wait(self, frame: FrameType) -> bool:
        # Whoever is found twice at one step waits there for a lock, and has not taken it.
        waits = frame is self._frame and frame.f_lasti == self._step
        return frame.f_globals.get("__name__") in _LOCKING and not waits and self._tries < _TRIES

    def _send_again(self, main: int) -> None:
        while self.is_due:
            time.sleep(_LATER)
            if self.is_due:
                signal.pthread_kill(main, signal.SIGINT)
