"""The benchmark harness, in trials so small that only its tables count: their structure, what is checked, what is kept."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import ledger
from benchmarks.ledger import Section

ROOT = Path(__file__).resolve().parents[2]
TITLES = {
    "mixed": ["Add and commit, mixed corpus", "Checkout, mixed corpus", "Revision, time", "Revision, bytes added"],
    "media": ["Add and commit, real media", "Checkout, real media"],
    "small": ["Add and commit, 20 files of 8 KiB", "Status, 20 files unchanged"],
    "padding": ["Stored bytes, mixed corpus"],
    "million": ["Memory and time of 2,000 files"],
    "huge": ["Memory from a file of 1 GB to one of 100 GB"],
}


def _bench(out: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "--scale", "0.002", "--rounds", "1", "--out", str(out)]
    environment = os.environ | {"PATH": path or os.environ["PATH"]}
    return subprocess.run(
        [*command, "--work", str(out.parent), *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _measured(tmp_path: Path, rows: Sequence[str], *peers: str, path: str | None = None) -> dict[str, Section]:
    out = tmp_path / "RESULTS.json"
    result = _bench(out, "--rows", *rows, "--peers", *peers, path=path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert list(tmp_path.iterdir()) in ([out, out.with_suffix(".md")], [out.with_suffix(".md"), out])
    return ledger.load(out)


@pytest.mark.parametrize("group", TITLES)
def test_a_group_gives_its_tables(tmp_path: Path, group: str) -> None:
    section = _measured(tmp_path, [group], "cp")[group]
    assert [table.title for table in section.tables] == TITLES[group]
    _check_tables(section)
    text = (tmp_path / "RESULTS.md").read_text()
    assert not [place for place in (str(tmp_path), str(ROOT), sys.prefix) if place in text]
    assert f"Python {sys.version.split()[0]}" in text


def _check_tables(section: Section) -> None:
    for table in section.tables:
        head, *rows = table.cells
        assert rows
        assert all(len(row) == len(head) for row in rows), table
        assert head[-2:] == ["wanted", "held"]
        assert all((row[-1] in {"yes", "**no**"}) == bool(row[-2]) for row in rows if "not installed" not in row)


def test_branches_and_many_files_are_checked_beside_git(tmp_path: Path) -> None:
    sections = _measured(tmp_path, ["status", "switch"])
    [status], [switch] = sections["status"].tables, sections["switch"].tables
    assert status.title == "Status, 200 files unchanged"
    assert [row[0] for row in status.cells[1:]] == ["mediagit", "git"]
    assert switch.title == "Switch between branches that differ in 1 of 20 files"


def test_one_large_file_is_restored_before_its_peak_counts(tmp_path: Path) -> None:
    [table] = _measured(tmp_path, ["memory"], "cp")["memory"].tables
    ours, cp = table.cells[1:]
    assert ours[4:] == [f"{ours[1]} MB", "≤ 200 MB", "yes"]
    assert cp[0] == "cp"
    assert int(cp[1]) > 0


def test_the_stages_are_all_found_in_real_runs(tmp_path: Path) -> None:
    tables = {table.title: table for table in _measured(tmp_path, ["stages"])["stages"].tables}
    assert list(tables) == [
        "Add and commit, mixed, by stage", "Checkout, mixed, by stage", "Revision, mixed, by stage",
        "Add and commit, video, by stage", "Checkout, video, by stage",
    ]  # fmt: skip
    for title in ("Add and commit, mixed, by stage", "Checkout, mixed, by stage"):
        head, *rows = tables[title].cells
        calls = {row[0]: row[head.index("calls")] for row in rows[:-3]}
        assert not [stage for stage, count in calls.items() if count == "0"], title
        assert [row[0] for row in rows[-3:]] == ["start, imports", "interpreter and the rest", "all"]


def test_a_tool_that_is_not_installed_is_named(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("cp", "sync"):
        (programs / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "out").mkdir()
    section = _measured(tmp_path / "out", ["video"], "cp", "borg", path=str(programs))["video"]
    assert section.absent == ["borg"]
    for table in section.tables:
        assert [row[:2] for row in table.cells if row[0] == "borg"] == [["borg", "not installed"]]
    assert "Not installed: borg." in (tmp_path / "out" / "RESULTS.md").read_text()


def test_a_tool_that_brings_back_something_else_gives_no_row(tmp_path: Path) -> None:
    programs, out = tmp_path / "bin", tmp_path / "RESULTS.json"
    programs.mkdir()
    real = shutil.which("cp")
    (programs / "cp").write_text(
        f'#!/bin/sh\n{real} "$@" || exit\nfor last; do :; done\ncase "$last" in */restored)\n'
        '  printf x | dd of="$last/take0.mov" bs=1 seek=1000 conv=notrunc 2>/dev/null\nesac\n'
    )
    (programs / "cp").chmod(0o755)
    result = _bench(out, "--rows", "video", "--peers", "cp", path=f"{programs}:{os.environ['PATH']}")
    assert result.returncode == 1
    assert "cp restored something else" in result.stderr
    assert "take0.mov: the bytes differ" in result.stderr
    assert not out.exists()


def test_rows_that_are_not_measured_stay(tmp_path: Path) -> None:
    first = _measured(tmp_path, ["startup"])
    second = _measured(tmp_path, ["lookup"])
    assert list(second) == ["startup", "lookup"]
    assert second["startup"] == first["startup"]
    assert [section.tables[0].title for section in second.values()] == [
        "Start-up", "Look-up of 10,000 ids among 200,000 chunks",
    ]  # fmt: skip
    for section in second.values():
        _check_tables(section)


def test_the_kept_results_and_their_document_agree() -> None:
    kept = ROOT / "benchmarks" / "RESULTS.json"
    remarks = (ROOT / "benchmarks" / "REMARKS.md").read_text(encoding="utf-8")
    text = ledger.document(list(ledger.load(kept).values()), remarks)
    assert text == kept.with_suffix(".md").read_text(encoding="utf-8"), "run `python -m benchmarks --render`"
    assert json.loads(kept.read_text(encoding="utf-8"))
