"""What long work shows: true figures, also when it stands still, grows or has no end."""

import io
import sys
import threading

import pytest

from mediavault.cli import progress
from mediavault.cli.progress import BarProgress, LineProgress, Meter

MIB = 1 << 20


def test_it_says_how_much_how_fast_and_how_long() -> None:
    meter = Meter(100 * MIB, "bytes", "Adding", 50.0)
    meter.advance(10 * MIB)
    assert meter.words(51.0) == "10.0 MiB of 100 MiB, 10.0 MiB/s, 9 s left"
    meter.advance(40 * MIB)
    assert meter.words(55.0) == "50.0 MiB of 100 MiB, 10.0 MiB/s, 5 s left"


def test_the_rate_is_that_of_the_last_seconds() -> None:
    meter = Meter(910 * MIB, "bytes", "Sending", 0.0)
    for second in range(1, 31):
        meter.advance((20 if second <= 20 else 1) * MIB)
        words = meter.words(float(second))
    assert words.endswith("410 MiB of 910 MiB, 1.0 MiB/s, 8 min 20 s left")


def test_work_that_stands_still_is_said_to() -> None:
    meter = Meter(100 * MIB, "bytes", "Sending", 0.0)
    meter.advance(50 * MIB)
    for second in range(1, 30):
        words = meter.words(float(second))
    assert words == "50.0 MiB of 100 MiB, waiting"


def test_a_count_that_is_full_promises_no_time() -> None:
    meter = Meter(10, "files", "Writing", 0.0)
    meter.advance(10)
    assert meter.words(1.0) == "10 files, finishing"
    meter.advance(5)
    assert meter.amount == 10, "never more than all"
    meter.advance(-100)
    assert meter.amount == 0, "and never less than nothing"


def test_work_without_an_end() -> None:
    meter = Meter(None, "objects", "Looking", 0.0)
    assert meter.words(1.0) == ""
    meter.advance(1200)
    assert meter.words(2.0) == "1,200 objects, 600/s"


def test_several_threads_may_count() -> None:
    meter = Meter(None, "files", "Adding", 0.0)

    def count() -> None:
        for _ in range(3_000):
            meter.advance(1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert meter.amount == 12_000


class Slow(io.StringIO):
    """Tells when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        self.written.set()
        return count


def test_lines_come_even_when_nothing_advances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LINE_EVERY", 0.01)
    out = Slow()
    shown = LineProgress(out)
    shown.start(100, "files", "Adding")
    assert out.written.wait(60)
    shown.start(None, "objects", "Looking")
    out.written.clear()
    assert out.written.wait(60)
    shown.done()
    lines = out.getvalue().splitlines()
    assert lines[0] == "Adding: 0 files of 100"
    assert lines[-1] == "Looking"
    shown.done()
    shown.advance(1)
    assert out.getvalue().splitlines() == lines, "nothing is drawn when the work is done"


def test_quick_work_shows_nothing() -> None:
    out = io.StringIO()
    shown = LineProgress(out)
    shown.start(3, "files", "Adding")
    shown.advance(3)
    shown.done()
    assert out.getvalue() == ""


def test_a_bar_is_drawn_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_BAR_AFTER", 0.01)
    monkeypatch.setattr(progress, "_BAR_EVERY", 0.01)
    screen = Slow()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    bar = BarProgress()
    bar.start(10 * MIB, "bytes", "Adding [all]")
    bar.advance(5 * MIB)
    assert screen.written.wait(60)
    while "5.0 MiB of 10.0 MiB" not in screen.getvalue():
        screen.written.clear()
        assert screen.written.wait(60)
    assert "Adding [all]" in screen.getvalue()
    bar.done()
    assert screen.getvalue().endswith("\x1b[2K"), "its line is cleared"


def test_a_bar_for_quick_work_imports_nothing() -> None:
    bar = BarProgress()
    bar.start(10, "files", "Adding")
    bar.advance(10)
    bar.done()
    assert bar._bar is None
