"""Very many files: every verb works, and memory is bounded, whatever their number."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import installed

MIB = 1 << 20


# A process of its own between: the system counts for a child what its parent held when it was made, and pytest holds much.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def fill(root: Path, folders: int, files: int) -> None:
    """Write small files that all differ: `folders` folders of `files` each, or all in the root for no folder."""
    for folder in range(max(folders, 1)):
        place = root / f"reel{folder:04d}" if folders else root
        place.mkdir(exist_ok=True)
        for number in range(files):
            fd = os.open(f"{place}/f{number:06d}", os.O_WRONLY | os.O_CREAT, 0o644)
            os.write(fd, b"%04d-%06d" % (folder, number))
            os.close(fd)


class Measured:
    """Runs the installed command, and keeps the most memory that one run had, in bytes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.peaks: dict[str, int] = {}

    def __call__(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        command = [sys.executable, "-c", MEASURED, installed("mediagit"), *map(str, arguments)]
        result = subprocess.run(command, cwd=cwd or self.root, capture_output=True, text=True, check=False)
        assert result.returncode == 0, (arguments, result.stderr)
        verb = str(arguments[0])
        peak = int(result.stderr.splitlines()[-1]) << 10
        self.peaks[verb] = max(self.peaks.get(verb, 0), peak)
        return result.stdout


def through_every_verb(root: Path, count: int, changed: str, url: str) -> dict[str, int]:
    """Add, commit, look, change, switch, push and clone; return the peak memory of each verb in bytes."""
    run = Measured(root)
    run("init", "--no-encryption", ".")
    assert f"{count:,} new files" in run("add", ".")
    run("commit", "-m", "All")
    assert "Nothing to commit" in run("status")
    (root / changed).write_text("changed")
    assert f"modified: {changed}" in run("status")
    run("switch", "-c", "edited")
    run("commit", "-am", "One")
    run("switch", "main")
    assert (root / changed).read_text() != "changed"
    assert "Nothing to commit" in run("status")
    assert run("ls").count("\n") == count
    run("remote", "add", "origin", url)
    run("push", "origin", "main", "edited")
    run("clone", "--no-encryption", "--branch", "edited", url, root.parent / "copy", cwd=root.parent)
    assert (root.parent / "copy" / changed).read_text() == "changed"
    assert "Nothing to commit" in run("status", cwd=root.parent / "copy")
    assert sum(len(files) for _, _, files in _walk(root.parent / "copy")) == count
    return run.peaks


def _walk(root: Path) -> Any:
    for place, folders, files in os.walk(root):
        if ".mediagit" in folders:
            folders.remove(".mediagit")
        yield place, folders, files


def test_ten_thousand_files_in_folders(tmp_path: Path, serve: Callable[..., str]) -> None:
    root = tmp_path / "film"
    root.mkdir()
    fill(root, 100, 100)
    peaks = through_every_verb(root, 10_000, "reel0042/f000042", f"{serve(tmp_path / 'srv')}/studio/film")
    assert max(peaks.values()) < 200 * MIB, peaks


def test_a_hundred_thousand_files_in_one_folder(tmp_path: Path) -> None:
    root = tmp_path / "film"
    root.mkdir()
    fill(root, 0, 100_000)
    run = Measured(root)
    run("init", "--no-encryption", ".")
    assert "100,000 new files" in run("add", ".")
    run("commit", "-m", "All")
    assert "Nothing to commit" in run("status")
    (root / "f042042").write_text("changed")
    assert "modified: f042042" in run("status")
    run("switch", "-c", "edited")
    run("commit", "-am", "One")
    run("switch", "main")
    assert (root / "f042042").read_bytes() == b"0000-042042"
    assert "Nothing to commit" in run("status")
    assert max(run.peaks.values()) < 300 * MIB, run.peaks


@pytest.mark.deep
@pytest.mark.timeout(3600)
def test_a_million_files(tmp_path: Path, serve: Callable[..., str]) -> None:
    root = tmp_path / "film"
    root.mkdir()
    fill(root, 1000, 1000)
    peaks = through_every_verb(root, 1_000_000, "reel0042/f000042", f"{serve(tmp_path / 'srv')}/studio/film")
    print({verb: f"{peak // MIB} MiB" for verb, peak in peaks.items()})
    assert max(peaks.values()) < 500 * MIB, peaks
