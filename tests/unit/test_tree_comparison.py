"""The comparison that the tour and the benchmarks rest on sees every kind of difference."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import trees


def _replace_link(copy: Path) -> None:
    (copy / "latest").unlink()
    (copy / "latest").symlink_to("elsewhere")


def _follow_link(copy: Path) -> None:
    (copy / "latest").unlink()
    (copy / "latest").mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "one byte": lambda copy: (copy / "a/plate.mov").write_bytes(b"frameZ"),
    "length": lambda copy: (copy / "a/plate.mov").write_bytes(b"frame"),
    "executable bit": lambda copy: (copy / "run.sh").chmod(0o644),
    "missing": lambda copy: (copy / "empty").unlink(),
    "extra": lambda copy: (copy / "a/extra").touch(),
    "link target": _replace_link,
    "link became a folder": _follow_link,
}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    one = tmp_path / "one"
    (one / "a").mkdir(parents=True)
    (one / "a/plate.mov").write_bytes(b"frames")
    (one / "run.sh").touch(mode=0o755)
    (one / "empty").touch()
    (one / "latest").symlink_to("a")
    shutil.copytree(one, tmp_path / "other", symlinks=True)
    return one, tmp_path / "other"


def test_equal_trees_are_equal_whatever_their_private_folders_hold(pair: tuple[Path, Path]) -> None:
    (pair[1] / ".mediagit").mkdir()
    (pair[1] / ".mediagit/HEAD").touch()
    assert trees.differences(*pair) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_difference_is_seen(pair: tuple[Path, Path], change: str) -> None:
    CHANGES[change](pair[1])
    assert len(trees.differences(*pair)) == 1


def test_total_bytes_counts_files_and_not_links(pair: tuple[Path, Path]) -> None:
    assert trees.total_bytes(pair[0]) == len(b"frames")
