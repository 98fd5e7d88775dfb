"""Folders of a working tree held open while files in them are moved; no step ever goes through a link.

Every folder is opened from the one above it with O_NOFOLLOW, and files are named relative to an open folder, so a link
that someone puts in the way is met as an error instead of followed. What to move is for others.
"""

import errno
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from mediavault.workspace.long_paths import look_at
from mediavault_backends import fsio

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOREPLACE: Final = 1
_DARWIN_EXCL: Final = 4
_UNSUPPORTED: Final = frozenset((errno.EINVAL, errno.ENOSYS, errno.ENOTSUP))


class OpenFolders:
    """The folders on the way to the file at hand; a context manager. Ask in path order and each is opened once.

    Args:
        root: the working tree.
        sync: bring each folder that was changed to stable storage when it is left; else the caller does.
        sync_made: bring the name of a folder that was made to stable storage before it is entered, so that no power cut
            takes back the folder and leaves a file that was moved into it without a name.
    """

    def __init__(self, root: Path, *, sync: bool, sync_made: bool = False) -> None:
        self._root = str(root)
        self._sync = sync
        self._sync_made = sync_made
        self._names: list[str] = []
        self._fds: list[int] = []
        self._changed: list[bool] = []
        self._at: str | None = None

    def __enter__(self) -> Self:
        self._fds.append(os.open(self._root, _OPEN))
        self._changed.append(False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sync = self._sync and kind is None
        while self._fds:
            self._leave()

    def enter(self, folder: str, *, make: bool) -> int | None:
        """Return the descriptor of a folder, valid until the next call.

        Args:
            folder: relative to the root; empty for the root.
            make: make it, and what is missing above it; else None is returned where it is missing.

        Raises:
            NotADirectoryError: a file or a link stands at it or above it.
        """
        if folder == self._at:
            return self._fds[-1]
        names = folder.split("/") if folder else []
        common = 0
        while common < len(self._names) and common < len(names) and self._names[common] == names[common]:
            common += 1
        self._at = None
        while len(self._names) > common:
            self._leave()
        for name in names[common:]:
            fd = self._open(name, make=make)
            if fd is None:
                return None
            self._names.append(name)
            self._fds.append(fd)
            self._changed.append(False)
        self._at = folder
        return self._fds[-1]

    def note_change(self) -> None:
        """Say that an entry of the folder at hand was made, replaced or removed."""
        self._changed[-1] = True

    def _open(self, name: str, *, make: bool) -> int | None:
        try:
            return _open_folder(name, self._fds[-1])
        except FileNotFoundError:
            if not make:
                return None
        fsio.announce("make-folder", "/".join((self._root, *self._names, name)))
        with suppress(FileExistsError):  # whatever it is now, opening tells
            os.mkdir(name, dir_fd=self._fds[-1])
            self._changed[-1] = True
            if self._sync_made:
                fsio.announce("sync-folder", "/".join((self._root, *self._names)))
                os.fsync(self._fds[-1])
        return _open_folder(name, self._fds[-1])

    def _leave(self) -> None:
        fd, changed = self._fds.pop(), self._changed.pop()
        try:
            if changed and self._sync:
                fsio.announce("sync-folder", "/".join((self._root, *self._names)))
                os.fsync(fd)
        finally:
            os.close(fd)
            if self._names:
                self._names.pop()


def _open_folder(name: str, above: int) -> int:
    try:
        return os.open(name, _OPEN, dir_fd=above)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK, errno.ENOTDIR}:  # a link: systems differ in the number
            raise NotADirectoryError(errno.ENOTDIR, "a file or a link stands where a folder should", name) from error
        raise


def rename_exclusive(source: str, source_fd: int, target: str, target_fd: int) -> None:
    """Rename a file within two open folders, never replacing anything.

    Raises:
        FileExistsError: the target exists; nothing changed.
        FileNotFoundError: the source does not.
    """
    call = _native_rename()
    if call is not None:
        code = call(source_fd, os.fsencode(source), target_fd, os.fsencode(target))
        if code == 0:
            return
        if code not in _UNSUPPORTED:
            raise OSError(code, os.strerror(code), target)
    # A network file system, perhaps: look, then rename; someone who makes the name in between loses it.
    try:
        os.stat(target, dir_fd=target_fd, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
        return
    os.stat(source, dir_fd=source_fd, follow_symlinks=False)
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)


@cache
def _native_rename() -> Callable[[int, bytes, int, bytes], int] | None:
    """Return the system's rename that does not replace, giving 0 or an error number; None where there is none."""
    import ctypes  # noqa: PLC0415 -- only checkouts need it, and it costs every start

    libc = ctypes.CDLL(None, use_errno=True)
    name, flag = ("renameatx_np", _DARWIN_EXCL) if sys.platform == "darwin" else ("renameat2", _NOREPLACE)
    function: Any = getattr(libc, name, None)
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)

    def call(source_fd: int, source: bytes, target_fd: int, target: bytes) -> int:
        return 0 if function(source_fd, source, target_fd, target, flag) == 0 else ctypes.get_errno()

    return call


def is_folder(root: str, path: str) -> bool | None:
    """Say whether a real folder stands at a path: False for anything else, links included; None for nothing."""
    try:
        return stat.S_ISDIR(look_at(root, path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
