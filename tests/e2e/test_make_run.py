"""What `make run` shows, with a small project: it passes, and it fails when a clone is not what was committed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import tour, trees

ROOT = Path(__file__).resolve().parents[2]


def test_the_tour_ends_with_two_identical_checkouts() -> None:
    command = [sys.executable, "-m", "benchmarks.tour", "--detail", "0.05"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"^Identical +24 files", result.stdout, re.MULTILINE)
    first, second = re.findall(r"push +([\d.]+) (MB|kB) in (\d+) requests", result.stdout)
    assert float(first[0]) > 1
    assert (first[1], second[1]) == ("MB", "kB")


def test_a_clone_that_differs_fails_the_tour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def compare(one: Path, other: Path) -> list[str]:
        (other / "scripts/render.sh").chmod(0o644)
        return trees.differences(one, other)

    monkeypatch.setattr(tour, "differences", compare)
    with pytest.raises(SystemExit) as end:
        tour.take(tmp_path, 0.02)
    assert end.value.code == 1
    assert "scripts/render.sh" in capsys.readouterr().err
