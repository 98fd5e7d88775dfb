"""Calls on working files by paths of any length; what is done with a file is for others.

A kernel takes no more than PATH_MAX bytes in one string (4,096 on Linux, 1,024 on macOS, its closing zero included), and
where the project stands takes some of them. So a path that is refused for its length is named again, relative to the
folder that holds it.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

T = TypeVar("T")

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PIECE_BYTES: Final = 1000
"""As much of a path as every system takes in one string."""
_LONGEST_NAME: Final = 255


def reach(function: Callable[[str, int | None], T], root: str | os.PathLike[str], path: str) -> T:
    """Call `function` with a name of a working file, and the folder that it counts from; return what it returns.

    The first call is with the whole path and None; a second one follows only where that is too long.

    Args:
        function: what to do, such as `lambda name, folder: os.lstat(name, dir_fd=folder)`; may be called twice.
        root: the working tree.
        path: relative to it.

    Raises:
        OSError: as the function.
    """
    try:
        return function(f"{root}/{path}", None)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
    above, _, name = path.rpartition("/")
    with _opened(root, above) as folder:
        return function(name, folder)


def look_at(root: str | os.PathLike[str], path: str) -> os.stat_result:
    """Return the status of what stands at a path; a link at its end is not followed.

    Raises:
        OSError: as os.lstat.
    """
    return reach(lambda name, folder: os.lstat(name, dir_fd=folder), root, path)


def is_there(root: str | os.PathLike[str], path: str) -> bool:
    """Say whether anything stands at a path, be it a link to nothing."""
    try:
        look_at(root, path)
    except OSError:
        return False
    return True


@contextmanager
def listing(root: str | os.PathLike[str], folder: str) -> Iterator[Iterator["os.DirEntry[str]"]]:
    """Open a folder to be listed; its entries can be looked at until the block is left.

    Raises:
        OSError: as os.scandir.
    """
    place = f"{root}/{folder}"
    if len(os.fsencode(place)) + _LONGEST_NAME < _PIECE_BYTES:  # so short that no entry is too far away either
        with os.scandir(place) as found:
            yield found
        return
    with _opened(root, folder.rstrip("/")) as fd, os.scandir(fd) as found:
        yield found


@contextmanager
def _opened(root: str | os.PathLike[str], folder: str) -> Iterator[int]:
    fd = os.open(root, _OPEN)
    try:
        for piece in _pieces(folder):
            below = os.open(piece, _OPEN, dir_fd=fd)
            above, fd = fd, below
            os.close(above)
        yield fd
    finally:
        os.close(fd)


def _pieces(folder: str) -> Iterator[str]:
    """Yield a path in runs of names that are short enough."""
    run: list[str] = []
    length = 0
    for name in folder.split("/") if folder else ():
        length += len(os.fsencode(name)) + 1
        if run and length > _PIECE_BYTES:
            yield "/".join(run)
            run, length = [], len(os.fsencode(name)) + 1
        run.append(name)
    if run:
        yield "/".join(run)
