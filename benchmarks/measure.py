"""Runs a command and says how long it took and how much memory it held; knows nothing of what the command does.

This process must stay small: Linux counts the memory of the process that starts a command into that command's peak.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DROP_CACHES = Path("/proc/sys/vm/drop_caches")


@dataclass(frozen=True)
class Command:
    """A command line and the folder in which it runs."""

    arguments: tuple[str, ...]
    cwd: Path


@dataclass(frozen=True)
class Run:
    """What one run took.

    Attributes:
        seconds: wall time of all its commands together.
        peak_bytes: the largest resident set of any one process among them, from the operating system's accounting.
    """

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of some numbers."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Summarise at least one value."""
        known = list(values)
        return cls(statistics.median(known), min(known), max(known))


class CommandFailedError(Exception):
    """A measured command did not exit with 0."""


def run(commands: Sequence[Command], environment: Mapping[str, str], log: Path) -> Run:
    """Run commands one after another, their output going to `log`.

    Raises:
        CommandFailedError: one of them failed; its output is in the message.
    """
    seconds, peak = 0.0, 0
    for command in commands:
        with log.open("wb") as output:
            started = time.perf_counter()
            # os.wait4 reaps the process itself, because only it tells the peak; nothing else may wait for it.
            process = subprocess.Popen(
                command.arguments,
                cwd=command.cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds += time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise CommandFailedError(f"{' '.join(command.arguments)}\n{log.read_text(errors='replace')[-2000:]}")
        peak = max(peak, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    return Run(seconds, peak)


def settle(*, cold: bool) -> None:
    """Let earlier writes reach the disk, so that a run pays only for its own; `cold` also empties the page cache (root only)."""
    os.sync()
    if cold:
        DROP_CACHES.write_text("3\n")
