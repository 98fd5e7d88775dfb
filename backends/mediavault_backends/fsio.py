"""The only durable local writes, for every room; leaves the meaning of the files to those who call.

Every function that changes the disk announces each durable step to the observers before the step takes effect, so a
crash test can stop a writer there (by raising) and look at what it left behind. OSError passes through unchanged.
"""

import errno
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from mediavault_backends.api import Buffer

StepKind: TypeAlias = Literal[
    "create", "sync-file", "link", "rename", "unlink", "make-folder", "sync-folder", "sync-filesystem", "change-mode"
]
UNNAMED: Final = Path("unnamed")
"""The path of a sync-file step whose caller gave only a descriptor."""

_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Step:
    """A durable change that is about to happen; for link and rename `path` is the new name."""

    kind: StepKind
    path: Path


Observer: TypeAlias = Callable[[Step], None]
_observers: list[Observer] = []


@contextmanager
def observe(callback: Observer) -> Iterator[None]:
    """Call `callback` before each durable step of this process, in the thread that takes it, until the block ends."""
    _observers.append(callback)
    try:
        yield
    finally:
        _observers.remove(callback)


def announce(kind: StepKind, path: Path | str) -> None:
    """Tell the observers of a durable step that is about to be taken; for those who take one outside this module."""
    for observer in tuple(_observers):
        observer(Step(kind, Path(path)))


def sync_file(fd: int, path: Path = UNNAMED) -> None:
    """Bring an open file's bytes to stable storage; `path` only names it to observers."""
    announce("sync-file", path)
    _flush(fd)


def sync_folder(path: Path) -> None:
    """Bring a folder's entries (names made, replaced and removed) to stable storage."""
    announce("sync-folder", path)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems keep folders durable and refuse to be asked
            raise
    finally:
        os.close(fd)


def sync_filesystem(path: Path) -> None:
    """Bring everything written to the file system that holds `path` to stable storage, in one call."""
    announce("sync-filesystem", path)
    if not sys.platform.startswith("linux"):
        os.sync()
        return
    import ctypes  # noqa: PLC0415 - only checkouts sync a whole file system; ctypes costs every start

    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syncfs(fd) != 0:
            code = ctypes.get_errno()
            if code != errno.ENOSYS:
                raise OSError(code, os.strerror(code), str(path))
            os.sync()
    finally:
        os.close(fd)


def make_folders(path: Path) -> None:
    """Make a folder and its missing parents; each entry on the way that this or a dead process made is durable afterwards.

    Raises:
        FileExistsError: one of them is something else than a folder.
    """
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    if _is_empty(path):
        # Whoever made it may have died, or be about to sync; one that holds something was synced by who put that there.
        with suppress(PermissionError):  # a folder whose parent is not ours was not made by us
            sync_folder(path.parent)
    for folder in reversed(missing):
        announce("make-folder", folder)
        try:
            folder.mkdir()
        except FileExistsError:
            if not folder.is_dir():  # else another writer was first
                raise
        sync_folder(folder.parent)


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def remove(path: Path) -> None:
    """Remove a file; durable afterwards.

    Raises:
        FileNotFoundError: there is no such file.
    """
    unlink(path)
    sync_folder(path.parent)


def unlink(path: Path) -> None:
    """Remove a file whose coming back after a power cut would do no harm."""
    announce("unlink", path)
    path.unlink()


def place(temporary: Path, target: Path, *, exclusive: bool) -> None:
    """Give a synced file its final name in one step; the caller syncs the target's folder.

    Args:
        temporary: the file, on the same file system as the target; gone afterwards.
        target: its name.
        exclusive: fail rather than replace.

    Raises:
        FileExistsError: `exclusive`, and the target exists; nothing changed.
    """
    if exclusive:
        announce("link", target)
        os.link(temporary, target, follow_symlinks=False)
    else:
        announce("rename", target)
        temporary.replace(target)


def write_atomic(path: Path, data: Buffer, *, exclusive: bool = False, mode: int = 0o644) -> None:
    """Write a small file whole or not at all; durable afterwards.

    Args:
        path: the file; its folder must exist.
        data: the content.
        exclusive: fail rather than replace.
        mode: permissions, less the umask.

    Raises:
        FileExistsError: `exclusive`, and the file exists; nothing changed.
    """
    temporary = path.parent / f".{os.urandom(8).hex()}.tmp"
    with new_file(temporary, mode=mode) as fd:
        write_all(fd, (data,))
        sync_file(fd, temporary)
        place(temporary, path, exclusive=exclusive)
        sync_folder(path.parent)


@contextmanager
def new_file(path: Path, *, mode: int = 0o644) -> Iterator[int]:
    """Make a file that only this process writes, locked so that others see that its writer lives.

    Yields:
        its descriptor, open for reading and writing. When the block ends, however it ends, the file is closed
        and the name `path` is gone, unless the block gave the file another name by renaming it.
    """
    announce("create", path)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield fd
    finally:
        os.close(fd)
        if os.path.lexists(path):
            with suppress(OSError):  # a temporary file that stays does no harm, and must not hide the outcome
                unlink(path)


def write_all(fd: int, blocks: Iterable[Buffer]) -> None:
    """Write every byte of `blocks` in order at the descriptor's position."""
    for block in blocks:
        view = memoryview(block).cast("B")
        while view:
            view = view[os.write(fd, view) :]


def adopt(source: Path, target: Path, *, exclusive: bool) -> None:
    """Turn a finished file into `target` without copying it; durable afterwards, and `source` is gone.

    Both must be on one file system and the target's folder must exist. After any error before the target has
    its name, `source` is untouched.

    Raises:
        FileExistsError: `exclusive`, and the target exists.
        OSError: errno EXDEV, when they are on different file systems.
    """
    fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        sync_file(fd, source)
    finally:
        os.close(fd)
    place(source, target, exclusive=exclusive)
    sync_folder(target.parent)
    if exclusive:
        with suppress(OSError):  # as the target it is whole; a second name does no harm
            unlink(source)


def _flush(fd: int) -> None:
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)  # there, fsync leaves the bytes in the drive's cache
        except OSError:
            os.fsync(fd)  # network drives know no F_FULLFSYNC
    else:
        os.fsync(fd)


class FileLock:
    """A lock between processes and threads, by flock(2) on a file that is never removed; a dead holder frees it.

    One object serves one holder at a time: threads that compete each make their own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def acquire(self, *, shared: bool = False, timeout: float = 0.0) -> bool:
        """Try to take the lock for up to `timeout` seconds; return whether it is held now.

        Raises:
            FileNotFoundError: the lock file's folder does not exist.
            RuntimeError: this object holds it already.
        """
        if self._fd >= 0:
            raise RuntimeError(f"lock {self._path} is held already")
        operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
        deadline = time.monotonic() + timeout
        pause = _FIRST_PAUSE
        fd = self._open(read_only_suffices=shared)
        try:
            while not _try_flock(fd, operation):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                time.sleep(min(pause, left))
                pause = min(2 * pause, _LONGEST_PAUSE)
            self._fd, fd = fd, -1
            return True
        finally:
            if fd >= 0:
                os.close(fd)

    def release(self) -> None:
        """Give the lock back; no error when it is not held."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1  # in this order: an interrupt between the two closes nothing twice
            os.close(fd)

    @contextmanager
    def held(self, *, shared: bool = False, timeout: float = 0.0) -> Iterator[None]:
        """Hold the lock for a block.

        Raises:
            TimeoutError: others held it for `timeout` seconds.
        """
        if not self.acquire(shared=shared, timeout=timeout):
            raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock", str(self._path))
        try:
            yield
        finally:
            self.release()

    def _open(self, *, read_only_suffices: bool) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if read_only_suffices and error.errno in {errno.EACCES, errno.EROFS}:
                return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            raise


def _try_flock(fd: int, operation: int) -> bool:
    try:
        fcntl.flock(fd, operation)
    except BlockingIOError:
        return False
    return True
