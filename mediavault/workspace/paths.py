"""Paths as a person types them and as a tree names them; knows the root, not what stands there."""

import os
from collections.abc import Iterable
from pathlib import Path

from mediavault.errors import UsageError
from mediavault.workspace.layout import PRIVATE_FOLDER


def repository_path(root: Path, cwd: Path, argument: str) -> str:
    """Return what a command-line argument names, relative to the root and `/`-separated; empty for the root.

    The last component may be a link, and is not followed.

    Args:
        root: the repository's root, a real path.
        cwd: what a relative argument starts from.
        argument: as typed.

    Raises:
        UsageError: it is outside the repository or inside its private folder.
    """
    joined = os.path.normpath(cwd / argument)
    relative = os.path.relpath(joined, root)
    if _leaves(relative):  # perhaps the root was named through a link
        parent, name = os.path.split(joined)
        relative = os.path.relpath(os.path.join(os.path.realpath(parent), name), root)  # noqa: PTH118 -- strings, as all around it
        if _leaves(relative):
            relative = os.path.relpath(os.path.realpath(joined), root)
    if _leaves(relative):
        raise UsageError(
            f"{argument!r} is outside the repository {root}.",
            untouched="Nothing was changed.",
            hint="Name files inside it, or name another repository with 'mediagit -C DIR'.",
        )
    path = "" if relative == "." else relative.replace(os.sep, "/")
    if path == PRIVATE_FOLDER or path.startswith(PRIVATE_FOLDER + "/"):
        raise UsageError(
            f"{argument!r} is inside .mediagit, which belongs to the program.",
            untouched="Nothing was changed.",
            hint="Name files outside it.",
        )
    return path


def _leaves(relative: str) -> bool:
    return relative == ".." or relative.startswith(".." + os.sep)


def parent_of(path: str) -> str:
    """Return the folder that a path stands in; empty for the root."""
    return path.rpartition("/")[0]


def folders_above(path: str) -> list[str]:
    """Return the folders that hold a path, nearest first, the root (empty) last."""
    folders = []
    while path:
        path = path.rpartition("/")[0]
        folders.append(path)
    return folders


def is_under(path: str, folder: str) -> bool:
    """Say whether a path is the folder itself or inside it; everything is under the root (empty)."""
    return not folder or path == folder or path.startswith(folder + "/")


def without_nested(paths: Iterable[str]) -> list[str]:
    """Return the paths in tree order, without those that stand under another of them."""
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda path: path + "/"):
        if not (kept and is_under(path, kept[-1])):
            kept.append(path)
    return kept


def shown(path: str) -> str:
    """Return a path as it can be printed, whatever bytes its name has."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
