"""Results are kept group by group, say what is missed, and a harness that measures the wrong thing says so."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import known, ledger, measure, spans, trees
from benchmarks.bench import Bench, Options, Table, verdict
from benchmarks.ledger import Section
from benchmarks.measure import Command, CommandFailedError, Run
from benchmarks.tools import PEERS, Cp

ORDER = ("small", "mixed")


def _section(key: str, date: str, figure: str = "0.30") -> Section:
    cells = [["tool", "s", "÷ it", "wanted", "held"], ["restic", "9", figure, *verdict(float(figure), 0.4)]]
    return Section(
        key, date, "commit 1234567", "1 core", f"make bench {key}", "scale 1", [["restic", "0.1", "encrypted"]], ["borg"],
        [Table(f"Work of {key}", "A note.", cells)], {"restic: ingest": ["restic backup ."]},
    )  # fmt: skip


def test_a_group_that_is_measured_anew_replaces_only_itself(tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.json"
    both = {"small": _section("small", "2026-01-01"), "mixed": _section("mixed", "2026-01-02")}
    ledger.save(out, both, ORDER)
    again = _section("small", "2026-02-02", figure="0.70")
    ledger.save(out, ledger.load(out) | {again.key: again}, ORDER)
    found = ledger.load(out)
    assert found == {"small": again, "mixed": both["mixed"]}
    assert list(found) == ["small", "mixed"]
    text = out.with_suffix(".md").read_text()
    assert "2026-01-02, commit 1234567" in text
    assert "2026-02-02" in text
    assert "2026-01-01" not in text


def test_cold_and_warm_stand_beside_each_other(tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.json"
    for key in ("mixed cold", "mixed", "small"):
        ledger.save(out, ledger.load(out) | {key: _section(key, "2026-01-01")}, ORDER)
    assert list(ledger.load(out)) == ["small", "mixed", "mixed cold"]


def test_what_is_missed_is_listed_with_by_how_much() -> None:
    held, missed = _section("mixed", "2026-01-01", "0.40"), _section("small", "2026-01-01", "0.41")
    text = ledger.document([held, missed])
    assert "- Work of small, restic: 0.41, wanted ≤ 0.4" in text
    assert "- Work of mixed" not in text
    assert "Nothing." in ledger.document([held])


def test_remarks_stand_under_the_group_they_speak_of() -> None:
    sections = [_section("mixed", "2026-01-01"), _section("small", "2026-01-01")]
    lines = ledger.document(sections, "For all.\n\n## small\n\nOnly here.\n\n## gone\n\nNowhere.\n").splitlines()
    assert lines.index("For all.") < lines.index("## What was compared")
    assert lines.index("## small") < lines.index("Only here.") < lines.index("### Work of small")
    assert "Nowhere." not in lines


def _bench(work: Path, absent: tuple[str, ...] = ()) -> Bench:
    return Bench(Options(work, 0.01, 1, cold=False, peers=[Cp], absent=absent))


def test_a_tool_that_is_not_installed_keeps_its_row(tmp_path: Path) -> None:
    bench = _bench(tmp_path, ("borg",))
    run = Run(1.0, 1_000_000, 1.0, 0)
    bench.times("Work", "", {"mediagit": [run], "cp": [replace(run, seconds=0.25)]}, {"borg": 0.4, "cp": 3.0}, size=10)
    head, ours, cp, borg = bench.tables[0].cells
    assert [len(row) for row in (ours, cp, borg)] == [len(head)] * 3
    assert cp[-3:] == ["4.00 (4.00-4.00)", "≤ 3", "**no**"]
    assert borg[:2] == ["borg", "not installed"]
    assert borg[-2:] == ["≤ 0.4", ""]
    assert bench.tables[0].missed() == ["Work, cp: 4.00 (4.00-4.00), wanted ≤ 3"]


def test_runs_that_read_from_the_disk_are_named(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    runs = {"mediagit": [Run(1.0, 1, 1.0, 0)], "cp": [Run(1.0, 1, 1.0, 5_000_000)]}
    bench.times("Work", "A note.", runs, {})
    assert bench.tables[0].note == "A note.\nMost read from the disk in one run: cp 5 MB."


def test_no_machine_path_stands_in_a_command_line(tmp_path: Path) -> None:
    command = Command((sys.executable, "-m", "benchmarks.known", str(tmp_path / "store")), tmp_path)
    assert _bench(tmp_path).without_paths(command) == "python -m benchmarks.known $WORK/store"


def test_a_command_that_fails_is_no_result(tmp_path: Path) -> None:
    command = Command((sys.executable, "-c", "import sys; sys.exit('out of luck')"), tmp_path)
    with pytest.raises(CommandFailedError, match="out of luck"):
        measure.run([command], {}, tmp_path / "log")


@pytest.mark.parametrize(("written", "equal"), [("abc", True), ("abd", False), ("ab", False), ("abcd", False)])
def test_what_a_command_writes_is_compared_to_its_end(tmp_path: Path, written: str, equal: bool) -> None:
    (tmp_path / "original").write_text("abc")
    command = Command((sys.executable, "-c", f"print({written!r}, end='')"), tmp_path)
    assert measure.run_into(command, {}, tmp_path / "log", tmp_path / "original")[1] is equal


def test_contents_alone_can_be_compared(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "render.sh").write_text("go")
    (one / "render.sh").chmod(0o755)
    (other / "render.sh").chmod(0o644)
    (one / "latest").symlink_to("render.sh")
    assert len(trees.differences(one, other)) == 2
    assert trees.differences(one, other, only_contents=True) == []
    (other / "render.sh").write_text("no")
    assert trees.differences(one, other, only_contents=True) == ["render.sh: the bytes differ"]


def test_a_look_up_with_a_wrong_answer_is_no_result(tmp_path: Path) -> None:
    known.write(tmp_path / "store", 20_000)
    assert known.find(tmp_path / "store", 20_000) > 0
    for blob in (tmp_path / "store" / "index").iterdir():
        blob.unlink()
    with pytest.raises(SystemExit, match="wrong answer"):
        known.find(tmp_path / "store", 20_000)


def test_a_stage_whose_function_is_gone_is_an_error() -> None:
    with pytest.raises(AttributeError):
        spans.attach((spans.Place("cut", "benchmarks.spans:Stopwatches.cut"),), spans.Stopwatches())


def test_a_call_within_a_stage_belongs_to_the_outer_one() -> None:
    watches = spans.Stopwatches()
    inner = watches.around("compress", lambda: 1)
    assert watches.around("probe", lambda: inner() + inner())() == 2
    assert inner() == 1
    assert {stage: figures[0] for stage, figures in watches.totals().items()} == {"probe": 1, "compress": 1}


def test_every_tool_says_under_which_conditions_it_ran() -> None:
    assert all("sync" in tool.conditions for tool in PEERS.values())
