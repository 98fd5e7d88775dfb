"""Runs a command and says what it took: time, memory, disk reads. Brings the machine into the same state before each run.

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
from typing import IO

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
QUIET_SECONDS = 0.1
PATIENCE_SECONDS = 5.0
"""How long to wait for a disk to fall silent for QUIET_SECONDS; one that others keep busy never does."""

_BLOCK = 1 << 20
_SECTOR = 512


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
        cpu_seconds: processor time of all its commands together, in user and in kernel mode.
        disk_bytes: what they had to read from the disk because it was not in memory.
    """

    seconds: float
    peak_bytes: int
    cpu_seconds: float
    disk_bytes: int


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

    def text(self, digits: int = 2) -> str:
        """Return it as the tables show it."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


class CommandFailedError(Exception):
    """A measured command did not exit with 0, or what it brought back is not what was put in."""


def run(commands: Sequence[Command], environment: Mapping[str, str], log: Path) -> Run:
    """Run commands one after another, their output going to `log`.

    Raises:
        CommandFailedError: one of them failed; its output is in the message.
    """
    runs = []
    for command in commands:
        with log.open("wb") as output:
            started = time.perf_counter()
            process = _start(command, environment, output, output)
            runs.append(_ended(process, command, started, log))
    return Run(
        sum(run.seconds for run in runs),
        max(run.peak_bytes for run in runs),
        sum(run.cpu_seconds for run in runs),
        sum(run.disk_bytes for run in runs),
    )


def run_into(command: Command, environment: Mapping[str, str], log: Path, original: Path) -> tuple[Run, bool]:
    """Run a command that writes a file's content to its standard output; also say whether it is that of `original`.

    Raises:
        CommandFailedError: it failed; what it complained about is in the message.
    """
    with log.open("wb") as complaints, original.open("rb", buffering=0) as expected:
        started = time.perf_counter()
        process = _start(command, environment, subprocess.PIPE, complaints)
        assert process.stdout is not None
        with process.stdout as output:
            equal = True
            while block := output.read(_BLOCK):
                equal = equal and block == expected.read(len(block))
        equal = equal and not expected.read(1)
        return _ended(process, command, started, log), equal


def _start(
    command: Command, environment: Mapping[str, str], output: IO[bytes] | int, complaints: IO[bytes]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command.arguments,
        cwd=command.cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=complaints,
    )


def _ended(process: subprocess.Popen[bytes], command: Command, started: float, log: Path) -> Run:
    # os.wait4 reaps the process itself, because only it tells the peak; nothing else may wait for it.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise CommandFailedError(f"{' '.join(command.arguments)}\n{log.read_text(errors='replace')[-2000:]}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Run(seconds, peak, usage.ru_utime + usage.ru_stime, usage.ru_inblock * _SECTOR)


def settle(folder: Path, *, cold: bool, reads: Iterable[Path] = (), patience: float = PATIENCE_SECONDS) -> None:
    """Bring the machine into the same state before every run, whichever tool's it is.

    Earlier writes are on the disk, and the disk has fallen silent: removing gigabytes leaves it busy for a while after
    `sync` returns, where the file system tells it of freed blocks. Then either the page cache is empty, or it holds
    what the run will read: without that, what was stored some runs ago may have been evicted for what came after.

    Args:
        folder: something on the disk that is measured.
        cold: empty the page cache (root only).
        reads: files and folders that the run reads.
        patience: seconds to wait for the disk at most.
    """
    os.sync()
    _wait_for_silence(folder, patience)
    if cold:
        DROP_CACHES.write_text("3\n")
        return
    buffer = memoryview(bytearray(_BLOCK))
    for path in reads:
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file() and not file.is_symlink():
                with file.open("rb", buffering=0) as stream:
                    while stream.readinto(buffer):
                        pass


def _wait_for_silence(folder: Path, patience: float) -> None:
    device = folder.stat().st_dev
    counters = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    if not counters.is_file():
        return
    deadline = time.monotonic() + patience
    before = None
    while time.monotonic() < deadline:
        now = counters.read_text().split()
        # The ninth figure is what is in flight; all others only grow while the disk works.
        if now == before and now[8] == "0":
            return
        before = now
        time.sleep(QUIET_SECONDS)


def can_drop_caches() -> bool:
    """Say whether this process may empty the page cache."""
    return os.access(DROP_CACHES, os.W_OK)
