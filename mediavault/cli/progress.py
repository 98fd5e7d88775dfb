"""Progress on stderr: a bar on a terminal, now and then a plain line otherwise.

Both are drawn by a thread of their own, so that work that stands still is seen to stand still. The rate is that of the
last seconds, because that is what the time left depends on. When all is counted and the work goes on (the disk is to
confirm, a last reply is on its way), the words say so instead of promising no time.
"""

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final, TextIO

from mediavault.cli.text import byte_size, duration

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_BAR_AFTER: Final = 1.0
_BAR_EVERY: Final = 0.25
_LINE_EVERY: Final = 5.0
_WINDOW: Final = 4.0
"""Seconds that the rate is taken over."""


class Meter:
    """How much of a piece of work is done, and how fast it goes. Safe to call from several threads."""

    def __init__(self, total: int | None, unit: str, label: str, now: float) -> None:
        self.total = total
        self.unit = unit
        self.label = label
        self._amount = 0
        self._lock = threading.Lock()
        self._seen: deque[tuple[float, int]] = deque([(now, 0)])

    @property
    def amount(self) -> int:
        """What is done, in units; never below 0 nor beyond the total."""
        most = self._amount if self.total is None else min(self._amount, self.total)
        return max(0, most)

    def advance(self, amount: int) -> None:
        """Add to what is done."""
        with self._lock:
            self._amount += amount

    def words(self, now: float) -> str:
        """Return how much of how much, how fast, how long still; and remember the moment for the rate."""
        amount = self.amount
        rate = self._rate(now, amount)
        if self.total and amount >= self.total:
            return f"{self._count(amount)}, finishing"
        parts = [f"{self._count(amount)} of {self._size(self.total)}" if self.total else self._count(amount)]
        if rate > 0:
            parts.append(f"{byte_size(int(rate))}/s" if self.unit == "bytes" else f"{rate:,.0f}/s")
            if self.total:
                parts.append(f"{duration((self.total - amount) / rate)} left")
        elif amount:
            parts.append("waiting")
        return ", ".join(part for part in parts if part)

    def _rate(self, now: float, amount: int) -> float:
        self._seen.append((now, amount))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _WINDOW:
            self._seen.popleft()
        start, before = self._seen[0]
        return (amount - before) / (now - start) if now > start else 0.0

    def _count(self, amount: int) -> str:
        if self.unit == "bytes":
            return byte_size(amount)
        return f"{amount:,} {self.unit}" if amount or self.total else ""

    def _size(self, amount: int) -> str:
        return byte_size(amount) if self.unit == "bytes" else f"{amount:,}"


class _Ticking:
    """Shows a meter after a while, and again and again until the work is done."""

    def __init__(self, after: float, every: float) -> None:
        self._after = after
        self._every = every
        self._meter: Meter | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, total: int | None, unit: str, label: str) -> None:
        """Begin a piece of work; one that is under way ends."""
        self.done()
        self._meter = Meter(total, unit, label, time.monotonic())
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._tick, args=(self._meter, self._end), name="progress", daemon=True)
        self._thread.start()

    def advance(self, amount: int) -> None:
        """Add to what is done."""
        if self._meter is not None:
            self._meter.advance(amount)

    def done(self) -> None:
        """End the piece of work; nothing is drawn afterwards."""
        if self._thread is not None:
            self._end.set()
            self._thread.join()
            self._thread = self._meter = None

    def _tick(self, meter: Meter, end: threading.Event) -> None:
        pause = self._after
        try:
            while not end.wait(pause):
                self._show(meter, time.monotonic())
                pause = self._every
        finally:
            self._hide()

    def _show(self, meter: Meter, now: float) -> None:
        raise NotImplementedError

    def _hide(self) -> None:
        """Take away what was shown."""


class LineProgress(_Ticking):
    """Writes a plain line every few seconds; work that is soon done writes nothing."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(_LINE_EVERY, _LINE_EVERY)
        self._stream = stream

    def _show(self, meter: Meter, now: float) -> None:
        self._stream.write(f"{meter.label}: {meter.words(now)}".rstrip(": ") + "\n")
        self._stream.flush()


class BarProgress(_Ticking):
    """Draws a bar with rich once the work has taken a second; quicker work draws nothing and imports nothing."""

    def __init__(self) -> None:
        super().__init__(_BAR_AFTER, _BAR_EVERY)
        self._bar: RichProgress | None = None

    def _show(self, meter: Meter, now: float) -> None:
        if self._bar is None:
            self._bar = _make_bar()
            self._bar.add_task(meter.label, total=meter.total or None, words="")
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=meter.amount, words=meter.words(now))

    def _hide(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _make_bar() -> "RichProgress":
    from rich import progress  # noqa: PLC0415 -- costs more than most commands take
    from rich.console import Console  # noqa: PLC0415 -- as above

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.TextColumn("{task.fields[words]}", markup=False),
    )
    return progress.Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4)
