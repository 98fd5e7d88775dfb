"""Compares and measures folders. Streams contents, so that a harness stays small beside what it measures."""

import os
import stat
from pathlib import Path

BLOCK = 1 << 20
_EXECUTABLE = " executable"


def differences(
    one: Path,
    other: Path,
    *,
    ignore: frozenset[str] = frozenset({".mediagit", ".git"}),
    only_contents: bool = False,
) -> list[str]:
    """Compare two folders byte for byte, with kinds, executable bits and link targets; an empty list means equal.

    Args:
        one: a folder.
        other: the folder that should be the same.
        ignore: names at the top of either folder that do not count.
        only_contents: links and executable bits do not count either.
    """
    first, second = entries(one, ignore=ignore), entries(other, ignore=ignore)
    if only_contents:
        first, second = _files_alone(first), _files_alone(second)
    found = [f"only in {one}: {path}" for path in sorted(first.keys() - second.keys())]
    found += [f"only in {other}: {path}" for path in sorted(second.keys() - first.keys())]
    for path in sorted(first.keys() & second.keys()):
        if first[path] != second[path]:
            found.append(f"{path}: {first[path]} became {second[path]}")
        elif first[path].startswith("file") and not same_bytes(one / path, other / path):
            found.append(f"{path}: the bytes differ")
    return found


def entries(root: Path, *, ignore: frozenset[str] = frozenset()) -> dict[str, str]:
    """Describe every file and link below `root`, by relative path. Folders count only through what they hold."""
    described = {}
    for folder, folders, files in os.walk(root):
        if Path(folder) == root:
            folders[:] = [name for name in folders if name not in ignore]
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in (*files, *links):
            path = Path(folder) / name
            described[path.relative_to(root).as_posix()] = _describe(path)
    return described


def same_bytes(one: Path, other: Path) -> bool:
    """Say whether two files of the same length hold the same bytes."""
    with one.open("rb", buffering=0) as first, other.open("rb", buffering=0) as second:
        while True:
            block = first.read(BLOCK)
            if block != second.read(BLOCK):
                return False
            if not block:
                return True


def total_bytes(root: Path, *, ignore: frozenset[str] = frozenset()) -> int:
    """Add up the lengths of all regular files below `root`, in bytes."""
    return sum(
        path.lstat().st_size
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink() and path.relative_to(root).parts[0] not in ignore
    )


def _files_alone(described: dict[str, str]) -> dict[str, str]:
    """Drop links and executable bits."""
    return {path: words.removesuffix(_EXECUTABLE) for path, words in described.items() if words.startswith("file")}


def _describe(path: Path) -> str:
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        return f"link to {path.readlink()}"
    executable = _EXECUTABLE if info.st_mode & stat.S_IXUSR else ""
    return f"file of {info.st_size} bytes{executable}"
