"""Words for sizes, times and names, and what a hostile name cannot do to a terminal."""

import json

import pytest

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
