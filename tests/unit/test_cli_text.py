"""Words for sizes, times and names, and what a hostile name cannot do to a terminal."""

import io
import json
import time

import pytest

from mediavault.cli.progress import BarProgress, LineProgress, _make_bar, describe
from mediavault.cli.render import Console, to_json
from mediavault.cli.text import byte_size, counted, duration, plain_time, printable, printable_lines, rfc3339
from mediavault.model.objects import Moment


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (100 << 10, "100 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (3 << 29, "1.5 GiB"),
        (1 << 50, "1024 TiB"),
    ],
)
def test_sizes_are_short(count: int, words: str) -> None:
    assert byte_size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7300, "2 h 1 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_counts() -> None:
    assert [counted(n, "file") for n in (0, 1, 2000)] == ["0 files", "1 file", "2,000 files"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ünï ok 漢", "ünï ok 漢"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\u202eexe.mov", "\\u202eexe.mov"),
        ("\udcff.mov", "\\xff.mov"),
        ("\U000e0001x", "\\U000e0001x"),
    ],
)
def test_a_name_cannot_command_the_terminal(name: str, shown: str) -> None:
    assert printable(name) == shown


def test_a_message_keeps_its_lines_and_nothing_else() -> None:
    assert printable_lines("one\n\ttwo\x07\n") == ["one", "        two\\u0007"]


def test_times_keep_their_zone() -> None:
    moment = Moment(1_770_000_000, 90)
    assert rfc3339(moment) == "2026-02-02T04:10:00+01:30"
    assert plain_time(moment).endswith("2026 04:10:00 +0130")


def test_times_that_no_calendar_has_are_still_shown() -> None:
    assert rfc3339(Moment(1 << 60, 0)).startswith("1970")
    assert rfc3339(Moment(0, 100_000)).startswith("1970")


def test_json_takes_names_that_are_not_utf8() -> None:
    assert json.loads(to_json({"path": "ü"})) == {"path": "ü"}
    assert "ü" in to_json({"path": "ü"})
    text = to_json({"path": "\udcff"})
    assert text.isascii()
    assert json.loads(text) == {"path": "\udcff"}


def test_progress_in_lines_says_how_much_how_fast_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    out = io.StringIO()
    progress = LineProgress(out)
    progress.start(100 << 20, "bytes", "Adding")
    progress.advance(10 << 20)
    assert not out.getvalue(), "quick work says nothing"
    clock[0] += 6
    progress.advance(50 << 20)
    progress.advance(1)
    clock[0] += 6
    progress.done()
    progress.advance(1)
    assert out.getvalue() == "Adding: 60.0 MiB of 100 MiB, 10.0 MiB/s, 4 s left\n"


def test_progress_without_an_end() -> None:
    assert describe("Checking", 1200, None, "objects", 2.0) == "Checking: 1,200 objects, 600/s"


def test_quiet_and_json_leave_results_out_but_not_data(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("quiet", "json"):
        console = Console()
        setattr(console, flag, True)
        console.result("done")
        console.line("data")
        assert capsys.readouterr().out == "data\n"


def test_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    console.settle(no_color=False)
    assert console.paint("red", "x") == "\x1b[31mx\x1b[0m"
    console.settle(no_color=True)
    assert console.paint("red", "x") == "x"


def test_a_bar_is_drawn_only_for_work_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("mediavault.cli.progress.time.monotonic", lambda: clock[0])
    drawn: list[str] = []

    class Bar:
        def add_task(self, label: str, total: int | None) -> int:
            drawn.append(f"{label} of {total}")
            return 7

        def start(self) -> None:
            drawn.append("start")

        def update(self, task: int, completed: int) -> None:
            drawn.append(f"{task}: {completed}")

        def stop(self) -> None:
            drawn.append("stop")

    monkeypatch.setattr("mediavault.cli.progress._make_bar", lambda _unit: Bar())
    progress = BarProgress()
    progress.start(10, "files", "Adding")
    progress.advance(3)
    assert not drawn
    clock[0] += 2
    progress.advance(4)
    progress.done()
    progress.done()
    assert drawn == ["Adding of 10", "start", "7: 7", "stop"]


@pytest.mark.parametrize("unit", ["bytes", "files"])
def test_a_bar_has_all_its_columns(unit: str) -> None:
    bar = _make_bar(unit)
    bar.add_task("Adding", total=10)
    assert bar.get_renderable() is not None
