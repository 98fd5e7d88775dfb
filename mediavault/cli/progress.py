"""Progress on stderr: a bar on a terminal, now and then a plain line otherwise."""

import threading
import time
from typing import TYPE_CHECKING, TextIO

from mediavault.cli.text import byte_size, duration

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_QUIET_SECONDS = 1.0
_LINE_SECONDS = 5.0


class LineProgress:
    """Writes a plain line every few seconds; work that is soon done writes nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._total: int | None = None
        self._unit = ""
        self._label = ""
        self._amount = 0
        self._started = 0.0
        self._next = float("inf")

    def start(self, total: int | None, unit: str, label: str) -> None:
        """Begin a piece of work."""
        with self._lock:
            self._total, self._unit, self._label, self._amount = total, unit, label, 0
            self._started = time.monotonic()
            self._next = self._started + _LINE_SECONDS

    def advance(self, amount: int) -> None:
        """Add to what is done."""
        with self._lock:
            self._amount += amount
            now = time.monotonic()
            if now >= self._next:
                self._next = now + _LINE_SECONDS
                self._stream.write(
                    describe(self._label, self._amount, self._total, self._unit, now - self._started) + "\n"
                )
                self._stream.flush()

    def done(self) -> None:
        """End the piece of work."""
        with self._lock:
            self._next = float("inf")


class BarProgress:
    """Draws a bar with rich once the work has taken a second; quicker work draws nothing and imports nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total: int | None = None
        self._unit = ""
        self._label = ""
        self._amount = 0
        self._show_at = float("inf")
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None

    def start(self, total: int | None, unit: str, label: str) -> None:
        """Begin a piece of work."""
        self.done()
        with self._lock:
            self._total, self._unit, self._label, self._amount = total, unit, label, 0
            self._show_at = time.monotonic() + _QUIET_SECONDS

    def advance(self, amount: int) -> None:
        """Add to what is done."""
        with self._lock:
            self._amount += amount
            if self._bar is None and time.monotonic() >= self._show_at:
                self._bar = _make_bar(self._unit)
                self._task = self._bar.add_task(self._label, total=self._total)
                self._bar.start()
            if self._bar is not None and self._task is not None:
                self._bar.update(self._task, completed=self._amount)

    def done(self) -> None:
        """End the piece of work and take the bar away."""
        with self._lock:
            self._show_at = float("inf")
            if self._bar is not None:
                self._bar.stop()
                self._bar = self._task = None


def _make_bar(unit: str) -> "RichProgress":
    from rich import progress  # noqa: PLC0415 -- costs more than most commands take
    from rich.console import Console  # noqa: PLC0415 -- as above

    columns: list[progress.ProgressColumn] = [progress.TextColumn("{task.description}"), progress.BarColumn()]
    if unit == "bytes":
        columns += [progress.DownloadColumn(binary_units=True), progress.TransferSpeedColumn()]
    else:
        columns += [progress.MofNCompleteColumn(), progress.TextColumn(unit)]
    columns.append(progress.TimeRemainingColumn())
    return progress.Progress(*columns, console=Console(stderr=True), transient=True)


def describe(label: str, amount: int, total: int | None, unit: str, seconds: float) -> str:
    """Return one line on work under way: how much of how much, how fast, how long still."""
    rate = amount / seconds if seconds > 0 else 0.0
    if unit == "bytes":
        done, whole, speed = byte_size(amount), byte_size(total or 0), f"{byte_size(int(rate))}/s"
    else:
        done, whole, speed = f"{amount:,} {unit}", f"{total or 0:,}", f"{rate:,.0f}/s"
    parts = [f"{done} of {whole}" if total else done, speed]
    if total and rate and amount < total:
        parts.append(f"{duration((total - amount) / rate)} left")
    return f"{label}: {', '.join(parts)}"
