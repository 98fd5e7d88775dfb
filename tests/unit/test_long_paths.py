"""Working files whose paths are longer than one string that the kernel takes."""

import os
from pathlib import Path

import pytest

from mediavault.workspace.long_paths import is_there, listing, look_at, reach


@pytest.fixture
def deep(tmp_path: Path) -> str:
    """Make a file at a path of 4,096 bytes; return the path."""
    *folders, name = (*(letter * 250 for letter in "abcdefghijklmnop"), "q" * 80)
    fd = os.open(tmp_path, os.O_RDONLY)
    for folder in folders:
        os.mkdir(folder, dir_fd=fd)
        below = os.open(folder, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    file = os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=fd)
    os.write(file, b"here")
    os.close(file)
    os.close(fd)
    return "/".join([*folders, name])


def open_files() -> set[Path]:
    return set(Path("/dev/fd").iterdir())


def test_a_path_of_any_length_is_reached(tmp_path: Path, deep: str) -> None:
    assert len(deep) == 4096
    before = open_files()
    with pytest.raises(OSError, match="name too long"):
        os.lstat(tmp_path / deep)
    assert look_at(tmp_path, deep).st_size == 4
    assert is_there(tmp_path, deep)
    assert not is_there(tmp_path, deep[:-1])
    with pytest.raises(FileNotFoundError):
        look_at(tmp_path, deep[:-1] + "r")
    fd = reach(lambda name, folder: os.open(name, os.O_RDONLY, dir_fd=folder), tmp_path, deep)
    assert os.read(fd, 9) == b"here"
    os.close(fd)
    assert open_files() == before


def test_a_folder_of_any_length_is_listed(tmp_path: Path, deep: str) -> None:
    before = open_files()
    folder = deep
    while folder:
        folder, _, name = folder.rpartition("/")
        for written in (folder, f"{folder}/" if folder else ""):
            with listing(tmp_path, written) as entries:
                assert [(entry.name, entry.stat(follow_symlinks=False).st_size > 0) for entry in entries] == [
                    (name, True)
                ]
    with pytest.raises(FileNotFoundError), listing(tmp_path, "nowhere"):
        pass
    with pytest.raises(FileNotFoundError), listing(tmp_path, "x" * 200 + "/" + "y" * 200 + "/" + "z" * 250):
        pass
    assert open_files() == before


def test_other_failures_are_not_tried_again(tmp_path: Path) -> None:
    calls = []

    def fail(name: str, folder: int | None) -> None:
        calls.append((name, folder))
        raise PermissionError(13, "Permission denied")

    with pytest.raises(PermissionError):
        reach(fail, tmp_path, "a/b")
    assert calls == [(f"{tmp_path}/a/b", None)]
