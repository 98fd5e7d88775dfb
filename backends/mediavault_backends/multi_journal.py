"""Which keys of a pair of stores may differ, written down before they do; leaves making them equal to `multi`.

One folder serves all processes of a machine. Each appends to a file of its own, which it holds locked, and takes over the
files of those that died. A line is an intent, `+NUMBER NANOSECONDS KIND KEY`, or its end, `-NUMBER`; the first line names the
pair. Files only grow until another one has taken their place, so that who reads along goes on where it stopped.
"""

import contextlib
import errno
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

from blake3 import blake3

from mediavault_backends import fsio
from mediavault_backends.errors import BackendSetupError, TransientError, translate_write_error

Kind: TypeAlias = Literal["put", "delete"]

_SUFFIX: Final = ".journal"
_COMPLETE: Final = "complete"
_LOCKS: Final = 4096
"""Keys share this many locks, so that few wait for another key's copy."""
_ROLLED: Final = 1000
"""A file is written anew when it has more than this many lines that say nothing any more, and few that do."""


class BusyError(TransientError):
    """Another thread or process copies the key."""


class Intent(NamedTuple):
    """A change of `key` that may have reached only one store; `time` is in nanoseconds since 1970."""

    number: int
    time: int
    kind: Kind
    key: str


class Due(NamedTuple):
    """The intents of this process on one key whose calls have ended.

    Attributes:
        key: which.
        numbers: of the intents.
        deleted: whether one of them is to delete it.
        since: when the first was written, in nanoseconds since 1970.
    """

    key: str
    numbers: tuple[int, ...]
    deleted: bool
    since: int


@dataclass
class _File:
    """A file of another process, as far as it was read."""

    inode: int
    offset: int = 0
    intents: dict[int, Intent] = field(default_factory=dict)


class Journal:
    """The intents of all processes that share a folder. Safe to use from several threads.

    Args:
        folder: a folder on a local disk; made when it is missing.
        pair: names both stores; a journal of others is refused.
        settle: seconds that a dead process's file must have been left alone before it is taken over: as long as what it
            sent may be under way.
        clock: nanoseconds since 1970.

    Raises:
        BackendSetupError: the folder cannot be used, or holds intents of another pair.
    """

    def __init__(
        self, folder: Path, pair: str, *, settle: float = 0.0, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self.folder = folder
        self._pair = " ".join(pair.split())
        self._settle = settle
        self._clock = clock
        self._lock = threading.RLock()
        self._path: Path | None = None
        self._fd = -1
        self._size = 0
        self._lines = 0
        self._next = 0
        self._mine: dict[int, Intent] = {}
        self._open: set[int] = set()
        self._others: dict[str, _File] = {}
        self._complete = False
        self._complete_text = f"{self._pair}\n".encode()
        try:
            fsio.make_folders(folder / "locks")
            # Through this, the journal is read even where another disk, or none, has come to stand under its path.
            self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, self._folder)
            self._read_others()
        except OSError as error:
            raise BackendSetupError(f"cannot use the journal {folder}: {error.strerror or error}") from error

    # Writing

    def begin(self, key: str, kind: Kind) -> int:
        """Write durably that `key` is about to change; returns the number of the intent.

        Raises:
            StorageFullError: there is no space for it; nothing changed.
            TransientError: it cannot be written; nothing changed.
        """
        with self._lock:
            intent = self._intent(self._clock(), kind, key)
            try:
                self._append([intent])
            except OSError as error:
                raise translate_write_error(error, key) from error
            self._open.add(intent.number)
            return intent.number

    def ready(self, number: int) -> None:
        """Say that the call which wrote the intent has ended: what it did can be copied now."""
        with self._lock:
            self._open.discard(number)

    def forget(self, numbers: Iterable[int]) -> None:
        """Say that the stores are equal as far as these intents go. Lost in a power cut, they are only looked at again."""
        with self._lock:
            gone = [number for number in numbers if self._mine.pop(number, None) is not None]
            self._open.difference_update(gone)
            if not gone or self._fd < 0:
                return
            with contextlib.suppress(OSError):
                self._write("".join(f"-{number}\n" for number in gone), durable=False)
                self._lines += len(gone)
                if self._lines > _ROLLED + 4 * len(self._mine):
                    self._roll()

    def mark_complete(self) -> None:
        """Write down that the second store was filled once with all that the first one held."""
        try:
            fsio.write_atomic(self.complete_file, self._complete_text)
        except OSError as error:
            raise TransientError(f"cannot write the journal {self.folder}: {error}") from error
        self._complete = True

    def mark_empty(self) -> None:
        """Write down that the second store has to be filled."""
        try:
            fsio.remove(self.complete_file)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise TransientError(f"cannot write the journal {self.folder}: {error}") from error
        self._complete = False

    def take_over(self) -> None:
        """Make the intents of processes that died this one's own.

        Raises:
            TransientError: their files cannot be read, or this one's cannot be written.
        """
        try:
            for name in self._files():
                with contextlib.suppress(FileNotFoundError):
                    self._take_over(name)
        except OSError as error:
            raise TransientError(f"cannot use the journal {self.folder}: {error}") from error

    def close(self) -> None:
        """Let go of the file; another process, or the next one, takes it over if it still says something."""
        with self._lock:
            if self._fd < 0:
                return
            if not self._mine and self._path is not None:
                with contextlib.suppress(OSError):
                    fsio.remove(self._path)
            fd, self._fd, self._path = self._fd, -1, None
            os.close(fd)
            self._mine.clear()
            self._open.clear()

    # Reading

    @property
    def is_complete(self) -> bool:
        """Whether the second store was filled once."""
        if not self._complete:
            with contextlib.suppress(OSError), os.fdopen(self._open_file(_COMPLETE), "rb") as file:
                self._complete = file.read() == self._complete_text
        return self._complete

    @property
    def complete_file(self) -> Path:
        """The file that says so."""
        return self.folder / _COMPLETE

    def due(self) -> list[Due]:
        """Return what this process can copy now, oldest first."""
        found: dict[str, list[Intent]] = {}
        with self._lock:
            for intent in self._mine.values():
                if intent.number not in self._open:
                    found.setdefault(intent.key, []).append(intent)
        due = [
            Due(
                key,
                tuple(intent.number for intent in intents),
                any(intent.kind == "delete" for intent in intents),
                min(intent.time for intent in intents),
            )
            for key, intents in found.items()
        ]
        return sorted(due, key=lambda item: item.since)

    def intents(self, *, under_way: bool = True) -> list[Intent]:
        """Return the intents of all processes.

        Args:
            under_way: with those whose calls of this process have not ended.
        """
        with self._lock:
            found = [intent for intent in self._mine.values() if under_way or intent.number not in self._open]
            try:
                self._read_others()
            except OSError as error:
                raise TransientError(f"cannot read the journal {self.folder}: {error}") from error
            for file in self._others.values():
                found += file.intents.values()
            return found

    def kinds(self, key: str) -> frozenset[Kind]:
        """Return how `key` may differ between the stores; empty: not at all."""
        return frozenset(intent.kind for intent in self.intents() if intent.key == key)

    @contextlib.contextmanager
    def lock(self, key: str, *, timeout: float) -> Iterator[None]:
        """Keep other threads and processes from copying `key` from one store to the other.

        Raises:
            BusyError: one was at it for `timeout` seconds.
            TransientError: the journal's folder cannot be used.
        """
        name = int.from_bytes(blake3(key.encode()).digest(2), "big") % _LOCKS
        held = fsio.FileLock(self.folder / "locks" / f"{name:03x}")
        try:
            taken = held.acquire(timeout=timeout)
        except OSError as error:
            raise TransientError(f"cannot lock {key} in the journal {self.folder}: {error}", key=key) from error
        if not taken:
            raise BusyError(f"{key} is being copied", key=key)
        try:
            yield
        finally:
            held.release()

    # One's own file

    def _intent(self, moment: int, kind: Kind, key: str) -> Intent:
        self._next += 1
        return Intent(self._next, moment, kind, key)

    def _append(self, intents: list[Intent]) -> None:
        """Write intents to this process's file, durably."""
        if self._fd < 0:
            self._start(intents)
        else:
            self._write("".join(map(_line, intents)), durable=True)
        self._lines += len(intents)
        self._mine.update((intent.number, intent) for intent in intents)

    def _start(self, intents: Iterable[Intent]) -> None:
        """Make a new file with these intents, locked before it has the name by which others know it."""
        name = os.urandom(8).hex()
        temporary, path = self.folder / f"{name}.new", self.folder / f"{name}{_SUFFIX}"
        fsio.announce("create", temporary)
        fd = os.open(temporary, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            data = (f"={self._pair}\n" + "".join(map(_line, intents))).encode()
            fsio.write_all(fd, (data,))
            fsio.sync_file(fd, temporary)
            fsio.place(temporary, path, exclusive=False)
            fsio.sync_folder(self.folder)
        except BaseException:
            os.close(fd)
            for leftover in (temporary, path):
                with contextlib.suppress(OSError):
                    fsio.unlink(leftover)
            raise
        self._fd, self._path, self._size, self._lines = fd, path, len(data), 0

    def _roll(self) -> None:
        """Go on in a new file that holds only what still says something."""
        former_fd, former = self._fd, self._path
        self._start(self._mine.values())
        os.close(former_fd)
        if former is not None:
            fsio.unlink(former)

    def _write(self, text: str, *, durable: bool) -> None:
        data = text.encode()
        try:
            fsio.write_all(self._fd, (data,))
            if durable:
                fsio.sync_file(self._fd, self._path or fsio.UNNAMED)
        except OSError:
            os.ftruncate(self._fd, self._size)  # half a line would spoil the next one
            raise
        self._size += len(data)

    # The others' files

    def _files(self) -> list[str]:
        """Return the names of the other processes' files.

        Raises:
            OSError: the folder cannot be read, or is gone.
        """
        if not os.fstat(self._folder).st_nlink:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self.folder))
        mine = "" if self._path is None else self._path.name
        with self._lock:  # two listings of one descriptor at once share their place in it, and miss files
            names = os.listdir(self._folder)  # noqa: PTH208 -- of a descriptor, which no Path has
        return sorted(name for name in names if name.endswith(_SUFFIX) and name != mine)

    def _open_file(self, name: str) -> int:
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)

    def _take_over(self, name: str) -> None:
        fd = self._open_file(name)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # its process lives
            status = os.fstat(fd)
            if not status.st_nlink or 0.0 <= self._clock() / 1e9 - status.st_mtime < self._settle:
                return
            intents = self._read(fd, name, _File(status.st_ino)).intents.values()
            with self._lock:
                if intents:
                    self._append([self._intent(intent.time, intent.kind, intent.key) for intent in intents])
                fsio.remove(self.folder / name)
        finally:
            os.close(fd)

    def _read_others(self) -> None:
        """Read along in the files of others; what a file that goes away meanwhile said is in another one by then."""
        while True:
            seen: dict[str, _File] = {}
            try:
                for name in self._files():
                    seen[name] = self._read_along(name)
            except FileNotFoundError:
                continue
            self._others = seen
            return

    def _read_along(self, name: str) -> _File:
        fd = self._open_file(name)
        try:
            status = os.fstat(fd)
            file = self._others.get(name)
            if file is None or file.inode != status.st_ino or status.st_size < file.offset:
                file = _File(status.st_ino)  # shorter: its writer took back a line that it could not write
            return self._read(fd, name, file)
        finally:
            os.close(fd)

    def _read(self, fd: int, name: str, file: _File) -> _File:
        with open(fd, "rb", buffering=0, closefd=False) as stream:
            stream.seek(file.offset)
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]  # the rest is being written, or its call never began
        if not file.offset and whole:
            pair = whole.partition(b"\n")[0].decode(errors="replace").removeprefix("=")
            if pair != self._pair:
                raise BackendSetupError(
                    f"the journal {self.folder / name} is that of {pair}, not of {self._pair}: start once with that configuration and"
                    " let it finish, or remove the file if that pair is no more"
                )
        for line in whole.decode(errors="replace").splitlines():
            _apply(line, file.intents)
        file.offset += len(whole)
        return file


def _line(intent: Intent) -> str:
    return f"+{intent.number} {intent.time} {intent.kind} {intent.key}\n"


def _apply(line: str, intents: dict[int, Intent]) -> None:
    """Take up one line; one that is damaged says nothing."""
    parts = line[1:].split(" ")
    with contextlib.suppress(ValueError):
        if line.startswith("-"):
            intents.pop(int(parts[0]), None)
        elif line.startswith("+") and len(parts) == 4:
            number, moment, kind, key = int(parts[0]), int(parts[1]), parts[2], parts[3]
            if kind in {"put", "delete"}:
                intents[number] = Intent(number, moment, "put" if kind == "put" else "delete", key)
