"""A folder as a Backend: one file an object. Leaves syncing, naming and locking to fsio.

Temporary files, spools and lock files live in `.tmp` under the root, a name that no key can have. A version is the hash
of a small object's content, and size, modification time and inode of a large one. Create-only is link(2), which fails
when the name exists; replacing and deleting hold a lock, one of 256 chosen by the key.

Reading opens the file each time: that costs what asking a cached descriptor whether it is still the right one would.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from blake3 import blake3

from mediavault_backends import fsio
from mediavault_backends.api import Absent, Blob, Body, Buffer, Condition, FileSource, Matches, Stat, Version, blocks_of
from mediavault_backends.errors import (
    BackendSetupError,
    NotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    TransientError,
    translate_read_error,
    translate_write_error,
)
from mediavault_backends.keys import check_key, check_prefix

_BLOCK: Final = 1 << 20
_HASHED: Final = 1 << 16
"""Largest object whose version is its hash. What is ever replaced (refs, leases, config) is far smaller; what is larger
is listed without being read."""
_FARTHEST: Final = 1 << 62
"""No file reaches this far; the system refuses offsets that come near the end of its numbers."""
_LOCK_TIMEOUT: Final = 30.0
"""Seconds to wait for another process; the lock is held for milliseconds, so longer means that its holder is stopped."""
_STALE: Final = 24 * 3600.0
_OPEN: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS})


class LocalBackend:
    """Objects as files under a root folder, shared by any number of processes.

    Args:
        root: the folder.
        create: make it when it is missing.

    Raises:
        BackendSetupError: the folder is missing (without `create`) or cannot be made.
    """

    def __init__(self, root: Path, *, create: bool = False) -> None:
        self._root = root.absolute()
        self._base = f"{self._root}/"
        self._scratch = self._root / ".tmp"
        try:
            if create:
                fsio.make_folders(self._root)
            if not self._root.is_dir():
                raise BackendSetupError(f"there is no folder {self._root}")
        except OSError as error:
            raise BackendSetupError(f"cannot make the folder {self._root}: {error.strerror}") from error

    @property
    def name(self) -> str:
        """How messages call this store."""
        return f"folder {self._root}"

    @property
    def spool_folder(self) -> Path:
        """A private folder on the same file system as the objects; never listed by `scan`."""
        # A look at this property must not fail (isinstance takes one); where it cannot be made, opening a spool fails.
        with contextlib.suppress(OSError):
            return self._scratch_folder("spool")
        return self._scratch / "spool"

    @property
    def journal_folder(self) -> Path:
        """A private folder for records about the objects; never listed by `scan`, nor tidied by `remove_stale`."""
        return self._scratch / "journal"

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body` whole or not at all, if `when` holds at that instant."""
        check_key(key)
        target = self._root / key
        try:
            self._prepare(key, target, when)
            if isinstance(body, FileSource) and body.adopt:
                return self._adopt(key, target, body, when)
            return self._copy(key, target, body, when)
        except OSError as error:
            raise translate_write_error(error, key) from error

    def get(self, key: str) -> Blob:
        """Return a whole object."""
        with self._opened(key) as fd:
            status = os.fstat(fd)
            data = _read_range(fd, 0, status.st_size)
            return Blob(data, _version(status, data))

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from offset `start`; fewer only where the object ends."""
        if start < 0 or length < 0:
            raise ValueError(f"not a range: {length} bytes from {start}")
        check_key(key)
        try:
            fd = os.open(self._base + key, _OPEN)
            try:
                return _read_range(fd, start, length)
            finally:
                os.close(fd)
        except OSError as error:
            raise translate_read_error(error, key) from error

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        """Yield a range of an object in blocks of at most 1 MiB; to its end when `length` is None."""
        if start < 0 or (length is not None and length < 0):
            raise ValueError(f"not a range: {length} bytes from {start}")
        with self._opened(key) as fd:
            size = os.fstat(fd).st_size
            end = size if length is None else min(size, start + length)
            return _Blocks(os.dup(fd), key, start, end)

    def stat(self, key: str) -> Stat:
        """Return size and version."""
        with self._opened(key) as fd:
            return _stat(key, fd)

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        """Yield every object whose key starts with `prefix`, keys ascending by code point."""
        check_prefix(prefix)
        return self._scan(prefix)

    def delete(self, key: str) -> None:
        """Remove the object durably; a key without an object is no error."""
        check_key(key)
        target = self._root / key
        try:
            with self._locked(key):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    if not target.is_dir():
                        fsio.unlink(target)
                # Even when it was gone: whoever removed it may have died before syncing.
                if target.parent.is_dir():
                    _sync_or_unknown(target, key)
        except OSError as error:
            raise translate_write_error(error, key) from error

    def map(self, key: str) -> memoryview:
        """Return the whole object as read-only memory, valid until it is garbage collected."""
        with self._opened(key) as fd:
            if os.fstat(fd).st_size == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(fd, 0, access=mmap.ACCESS_READ))

    def settle(self) -> None:
        """Make durable what dead processes left here without syncing it; for who is about to build on it."""
        fsio.sync_filesystem(self._root)

    def remove_stale(self, *, older_than: float = _STALE) -> int:
        """Remove temporary files and spools whose writers died, and return how many.

        Args:
            older_than: seconds since the last write below which a file is left alone.
        """
        removed = 0
        for kind in ("write", "spool"):
            for folder, _, names in os.walk(self._scratch / kind):
                removed += sum(_remove_if_stale(Path(folder, name), time.time() - older_than) for name in names)
        return removed

    def _scratch_folder(self, kind: str) -> Path:
        folder = self._scratch / kind
        if not folder.is_dir():
            fsio.make_folders(folder)
        return folder

    def _prepare(self, key: str, target: Path, when: Condition) -> None:
        """Fail early where `when` cannot come to hold, and make the key's folder."""
        if isinstance(when, Matches):
            if not target.is_file():
                raise PreconditionFailedError(f"{key} has changed", key=key)
            return
        if target.is_dir() and not _remove_empty(target):
            raise ValueError(f"{key} is a folder of other keys")
        if target.exists():
            raise _exists_already(key, target)
        try:
            fsio.make_folders(target.parent)
        except (FileExistsError, NotADirectoryError):
            raise ValueError(f"{key} is under another object") from None

    def _copy(self, key: str, target: Path, body: Body, when: Condition) -> Version:
        temporary = self._scratch_folder("write") / f"{os.urandom(16).hex()}.tmp"
        with fsio.new_file(temporary) as fd:
            fsio.write_all(fd, blocks_of(body))
            version = self._finish(fd, temporary)
            self._place(key, temporary, target, when)
        if isinstance(body, FileSource) and body.adopt:
            with contextlib.suppress(OSError):  # the object stands; a file that stays does no harm
                fsio.unlink(body.path)
        return version

    def _adopt(self, key: str, target: Path, body: FileSource, when: Condition) -> Version:
        fd = os.open(body.path, _OPEN)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_size != body.size:
                raise ValueError(f"{body.path} is not a file of the {body.size} bytes it declares")
            if status.st_dev != target.parent.stat().st_dev:
                return self._copy(key, target, body, when)
            version = self._finish(fd, body.path)
        finally:
            os.close(fd)
        try:
            self._place(key, body.path, target, when)
        except OSError as error:
            if error.errno != errno.EXDEV:  # one device may be mounted twice
                raise
            return self._copy(key, target, body, when)
        if isinstance(when, Absent):
            with contextlib.suppress(OSError):  # as above
                fsio.unlink(body.path)
        return version

    def _finish(self, fd: int, path: Path) -> Version:
        """Make a complete file durable under its temporary name, and return its version."""
        # The clock that stamps files is coarse; two large objects must not share time, size and a reused inode.
        with contextlib.suppress(PermissionError):
            now = time.time_ns()
            os.utime(fd, ns=(now, now))
        fsio.sync_file(fd, path)
        return _stat("", fd).version

    def _place(self, key: str, temporary: Path, target: Path, when: Condition) -> None:
        """Give a durable file its key if `when` holds."""
        if isinstance(when, Absent):
            try:
                fsio.place(temporary, target, exclusive=True)
            except FileExistsError:
                raise _exists_already(key, target) from None
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                raise BackendSetupError(
                    f"{self.name} is on a file system without hard links: {error.strerror}"
                ) from error
            _sync_or_unknown(target, key)
            return
        with self._locked(key):
            try:
                current = self.stat(key).version
            except NotFoundError:
                current = None
            if current != when.version:
                raise PreconditionFailedError(f"{key} has changed", key=key)
            fsio.place(temporary, target, exclusive=False)
            _sync_or_unknown(target, key)

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        """Keep others from replacing or deleting the object."""
        lock = fsio.FileLock(self._scratch_folder("locks") / blake3(key.encode()).hexdigest(length=1))
        if not lock.acquire(timeout=_LOCK_TIMEOUT):
            raise TransientError(f"another process holds the lock of {key}", key=key)
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _opened(self, key: str) -> Iterator[int]:
        check_key(key)
        try:
            fd = os.open(self._base + key, _OPEN)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise NotFoundError(f"no object {key}", key=key)
                yield fd
            finally:
                os.close(fd)
        except OSError as error:
            raise translate_read_error(error, key) from error

    def _scan(self, prefix: str) -> Iterator[Stat]:
        folder, _, start = prefix.rpartition("/")
        for name, is_folder in self._entries(folder):
            if not name.startswith(start):
                continue
            key = f"{folder}/{name}" if folder else name
            if is_folder:
                yield from self._scan(f"{key}/")
                continue
            with contextlib.suppress(NotFoundError):  # deleted since it was listed
                yield self.stat(key)

    def _entries(self, folder: str) -> list[tuple[str, bool]]:
        """List the names in a folder that may be keys, in the order of the keys that they lead to."""
        try:
            with os.scandir(self._base + folder) as entries:
                found = [
                    (entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries if not entry.is_symlink()
                ]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise translate_read_error(error, folder) from error
        found = [(name, is_folder) for name, is_folder in found if _is_segment(name)]
        found.sort(key=lambda entry: f"{entry[0]}/" if entry[1] else entry[0])
        return found


class _Blocks:
    """A range of an open file in blocks; owns the descriptor and closes it at the end, or when it is dropped."""

    def __init__(self, fd: int, key: str, start: int, end: int) -> None:
        self._fd = fd
        self._key = key
        self._offset = start
        self._end = end

    def __iter__(self) -> Iterator[Buffer]:
        return self

    def __next__(self) -> Buffer:
        wanted = min(_BLOCK, self._end - self._offset)
        if self._fd < 0 or wanted <= 0:
            self.close()
            raise StopIteration
        try:
            block = os.pread(self._fd, wanted, self._offset)
        except OSError as error:
            raise translate_read_error(error, self._key) from error
        if not block:
            self.close()
            raise StopIteration
        self._offset += len(block)
        return block

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1  # in this order: an interrupt between the two closes nothing twice
            os.close(fd)

    def __del__(self) -> None:
        self.close()


def _read_range(fd: int, start: int, length: int) -> bytes:
    if start > _FARTHEST:
        return b""
    if length > _BLOCK:  # a buffer is made before the system looks how much there is
        length = min(length, max(0, os.fstat(fd).st_size - start))
    data = os.pread(fd, length, start)
    if len(data) == length:
        return data
    parts = [data]
    while data:  # the system reads at most 2 GiB at once
        length -= len(data)
        start += len(data)
        data = os.pread(fd, length, start)
        parts.append(data)
    return b"".join(parts)


def _version(status: os.stat_result, data: bytes) -> Version:
    if status.st_size <= _HASHED:
        return Version(f"b3-{blake3(data).hexdigest()}")
    return Version(f"st-{status.st_size}-{status.st_mtime_ns}-{status.st_ino}")


def _stat(key: str, fd: int) -> Stat:
    status = os.fstat(fd)
    data = _read_range(fd, 0, status.st_size) if status.st_size <= _HASHED else b""
    return Stat(key, status.st_size, _version(status, data))


def _exists_already(key: str, target: Path) -> PreconditionFailedError:
    # Whoever is told that it exists will rely on it: it may have been named by a writer that died before syncing.
    fsio.sync_folder(target.parent)
    return PreconditionFailedError(f"{key} exists already", key=key)


def _sync_or_unknown(target: Path, key: str) -> None:
    """Make a changed name durable; from here on a failure leaves it open whether the change lasts."""
    try:
        fsio.sync_folder(target.parent)
    except OSError as error:
        raise OutcomeUnknownError(f"{key} may not survive a power cut: {error.strerror}", key=key) from error


def _remove_empty(folder: Path) -> bool:
    """Remove a folder that deleted objects left; return whether it held none."""
    for inner, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # not empty
            Path(inner).rmdir()
    return not folder.exists()


def _is_segment(name: str) -> bool:
    try:
        check_key(name)
    except ValueError:
        return False
    return True


def _remove_if_stale(path: Path, before: float) -> bool:
    try:
        fd = os.open(path, _OPEN)
        try:
            if os.fstat(fd).st_mtime >= before:
                return False
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fsio.unlink(path)
        finally:
            os.close(fd)
    except OSError:  # its writer lives, or it is gone
        return False
    return True
