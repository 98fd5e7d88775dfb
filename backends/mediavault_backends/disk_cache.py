"""A bounded folder of copies that many processes share and that may be lost at any time; what they are copies of is not its business.

An entry is one file: its data, then checksums of its blocks and of these checksums. It is written aside and renamed, and each
block is compared with its checksum whenever it is read. So nothing is synced: what a power cut or a bad disk leaves is
noticed, and fetched anew.
"""

import fcntl
import os
import re
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from blake3 import blake3

from mediavault_backends import fsio
from mediavault_backends.api import Buffer

BLOCK: Final = 256 << 10
"""Bytes under one checksum: the least that is read and compared."""
READ: Final = 1 << 20
"""Most bytes that an entry gives at once."""
KEPT: Final = 0.9
"""Part of the bound to which a full cache is emptied, so that it is not full again at once."""
LOCK_PATIENCE: Final = 10.0
"""Seconds to wait while another process makes room; then the entry is not kept."""
TURN_PATIENCE: Final = 60.0
"""Seconds to wait while somebody else fetches the same; then it is fetched twice."""
PAUSE: Final = 10.0
"""Seconds without any try to write after one has failed."""

_CHECKSUM: Final = 16
_END: Final = struct.Struct("<4sHHQ32s16s")
"""Magic, version, length of the note, size of the data, digest of the name, checksum of all before but the data."""
_MAGIC: Final = b"MVCE"
_VERSION: Final = 1
_TURNS: Final = 1024
_NAME: Final = re.compile(r"[0-9a-f]{40}\.[0-9A-Za-z]{1,20}")
_TEMPORARY: Final = re.compile(r"([0-9]{1,18})-[0-9a-f]{16}\.tmp")


class DamagedEntryError(Exception):
    """An entry is not what was written; it is gone from the cache."""


class Entry:
    """An open entry; what was opened can be read to its end, even when the cache drops it meanwhile.

    `size` is that of the data in bytes, `note` what the writer put beside it.
    """

    def __init__(self, fd: int, path: Path, size: int, note: bytes, checksums: bytes) -> None:
        self.size = size
        self.note = note
        self._fd = fd
        self._path = path
        self._checksums = checksums

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1  # in this order: an interrupt between the two closes nothing twice
            os.close(fd)

    def blocks(self, start: int = 0, length: int | None = None) -> Iterator[memoryview]:
        """Yield a range in blocks of at most 1 MiB, each compared with its checksums; fewer bytes where the data ends.

        Raises:
            DamagedEntryError: what follows is not what was written.
        """
        end = self.size if length is None else min(self.size, start + length)
        while start < end:
            base = start // BLOCK * BLOCK
            block = memoryview(self._checked(base, min(READ, self.size - base)))
            taken = block[start - base : end - base]
            start += len(taken)
            yield taken

    def read(self, start: int, length: int) -> bytes:
        """Return a range; fewer bytes where the data ends.

        Raises:
            DamagedEntryError: it is not what was written.
        """
        return b"".join(self.blocks(start, length))

    def _checked(self, base: int, length: int) -> bytes:
        try:
            data = os.pread(self._fd, length, base)
        except OSError:
            data = b""
        if len(data) != length or not self._fits(base, data):
            _remove(self._path, self._fd)
            raise DamagedEntryError(self._path.name)
        return data

    def _fits(self, base: int, data: bytes) -> bool:
        view, first = memoryview(data), base // BLOCK * _CHECKSUM
        found = b"".join(_checksum(view[at : at + BLOCK]) for at in range(0, len(view), BLOCK))
        return found == self._checksums[first : first + len(found)]


class DiskCache:
    """Entries under a name and a part, at most `size` bytes of files in all. Safe to use from threads and processes.

    It fails nobody: where the folder cannot be written or the disk is full, nothing is kept for a while. What is read least
    lately goes first.

    Args:
        folder: made if it is missing; the cache keeps to a subfolder of its own.
        size: the bound in bytes.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self._folder = folder / "mediagit-cache"
        self._temporary = self._folder / "new"
        self._turns = self._folder / "turns"
        self._used = self._folder / "used"
        self._idle_until = 0.0
        self._counted = False
        self._ready = False
        self._lock = threading.Lock()

    @property
    def usable(self) -> bool:
        """Whether entries can be kept, as far as is known."""
        if time.monotonic() < self._idle_until:
            return False
        if not self._ready:
            try:
                self._make_folders()
            except OSError:
                self._rest()
        return self._ready

    def open(self, name: str, part: str = "0") -> Entry | None:
        """Return an entry, or None where there is none or it is damaged."""
        digest = _digest(name, part)
        path = self._path(name, part)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None
        entry = _read_entry(fd, path, digest)
        if entry is None:
            _remove(path, fd)
            os.close(fd)
            return None
        with suppress(OSError):  # a folder that can only be read
            os.utime(fd)
        return entry

    def fetch(self, name: str, part: str, size: int, source: Callable[[], Iterable[Buffer]]) -> Entry | None:
        """Return an entry, made from `source` if there is none; who asks for the same meanwhile waits for it.

        Args:
            name: see `store`.
            part: see `store`.
            size: see `store`.
            source: called at most once, and not at all where an entry is there; what it raises passes through.

        Returns:
            None where nothing can be kept: the caller has to do without.
        """
        entry = self.open(name, part)
        if entry is not None or not self.usable:
            return entry
        with self.turn(name, part):
            return self.open(name, part) or self.store(name, part, size, _lazily(source))

    def store(self, name: str, part: str, size: int, blocks: Iterable[Buffer], *, note: bytes = b"") -> Entry | None:
        """Keep an entry, in place of one that is there.

        Args:
            name: of what it is a copy.
            part: of which part of that; letters and digits.
            size: most bytes that `blocks` yields.
            blocks: the data; what it raises passes through, and nothing is kept.
            note: a few bytes beside the data.

        Returns:
            the entry; None where it cannot be kept, and then some blocks may have been taken.

        Raises:
            ValueError: more than `size` bytes came.
        """
        room = size + len(note) + -(-size // BLOCK) * _CHECKSUM + _END.size
        if room > self.size or not self.usable:
            return None
        writer = _Writer(_digest(name, part), note)
        with ExitStack() as stack:
            temporary = self._temporary / f"{room}-{os.urandom(8).hex()}.tmp"
            try:
                with self._counting() as used:
                    self._reserve(used, room)
                    fd = stack.enter_context(fsio.new_file(temporary, mode=0o600))
            except TimeoutError:
                return None
            except OSError:
                self._rest()
                return None
            whole = False
            try:
                whole = self._fill(fd, writer, size, blocks)
            finally:
                whole = self._finish(temporary, self._path(name, part) if whole else None, room)
            fresh = os.dup(fd) if whole else -1
        return _read_entry(fresh, self._path(name, part), writer.digest) if whole else None

    def forget(self, name: str) -> None:
        """Drop every part of a name."""
        stem = self._path(name, "0").stem
        with suppress(OSError), os.scandir(self._folder / stem[:2]) as found:
            for entry in found:
                if entry.name.startswith(stem):
                    Path(entry.path).unlink(missing_ok=True)

    @contextmanager
    def turn(self, name: str, part: str = "0") -> Iterator[None]:
        """Let one after another do what only the first has to; who waits too long, or cannot, goes on at once."""
        number = int.from_bytes(_digest(name, part)[:2], "big") % _TURNS
        lock = fsio.FileLock(self._turns / str(number))
        with suppress(OSError):
            if self.usable:
                lock.acquire(timeout=TURN_PATIENCE)
        try:
            yield
        finally:
            lock.release()

    def _fill(self, fd: int, writer: "_Writer", size: int, blocks: Iterable[Buffer]) -> bool:
        """Write a whole entry; tells whether the disk took it."""
        for block in chain(blocks, (None,)):
            if block is not None and writer.size + memoryview(block).nbytes > size:
                raise ValueError(f"more than the {size} bytes that were announced")
            try:
                fsio.write_all(fd, (writer.end() if block is None else block,))
            except OSError:
                self._rest()
                return False
            if block is not None:
                writer.add(block)
        return True

    def _finish(self, temporary: Path, path: Path | None, room: int) -> bool:
        """Give a whole entry its name, or drop what was written, and give back the room that it did not take."""
        try:
            with self._counting() as used:
                taken = 0
                if path is None:
                    fsio.unlink(temporary)
                else:
                    path.parent.mkdir(mode=0o700, exist_ok=True)
                    taken = temporary.stat().st_size
                    fsio.place(temporary, path, exclusive=False)
                _write_number(used, max(0, (_read_number(used) or 0) - (room - taken)))
        except OSError:  # the next count finds what is there
            return False
        return path is not None

    def _reserve(self, used: int, room: int) -> None:
        """Count `room` bytes as used, and drop entries if they are too many. The caller holds the count."""
        total = _read_number(used) if self._counted else None
        if total is None or total + room > self.size:
            total = self._make_room(room)
            self._counted = True
        _write_number(used, total + room)

    def _make_room(self, room: int) -> int:
        """Count what is there and drop what was read least lately, until `room` bytes fit in; returns what is left."""
        total = self._under_way()
        entries = sorted(self._entries())
        total += sum(entry.size for entry in entries)
        if total + room <= self.size:
            return total
        goal = min(int(self.size * KEPT), self.size - room)
        for entry in entries:
            if total <= goal:
                break
            with suppress(FileNotFoundError):
                entry.path.unlink()
            total -= entry.size
        return total

    def _entries(self) -> Iterator["_Found"]:
        for number in range(256):
            with suppress(FileNotFoundError), os.scandir(self._folder / f"{number:02x}") as found:
                for entry in found:
                    if _NAME.fullmatch(entry.name):
                        with suppress(FileNotFoundError):
                            stat = entry.stat(follow_symlinks=False)
                            yield _Found(stat.st_mtime_ns, stat.st_size, Path(entry.path))

    def _under_way(self) -> int:
        """Return the room that living writers were given, and remove what dead ones left."""
        total = 0
        for path in list(self._temporary.iterdir()):
            given = _TEMPORARY.fullmatch(path.name)
            with suppress(FileNotFoundError):
                if given and _is_held(path):
                    total += int(given[1])
                elif given:
                    path.unlink()
        return total

    @contextmanager
    def _counting(self) -> Iterator[int]:
        """Give the file that holds how many bytes are used, to one process at a time."""
        with fsio.FileLock(self._folder / "lock").held(timeout=LOCK_PATIENCE):
            fd = os.open(self._used, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                yield fd
            finally:
                os.close(fd)

    def _make_folders(self) -> None:
        with self._lock:
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self._folder, self._temporary, self._turns):
                folder.mkdir(mode=0o700, exist_ok=True)
            self._ready = True

    def _rest(self) -> None:
        self._ready = False
        self._idle_until = time.monotonic() + PAUSE

    def _path(self, name: str, part: str) -> Path:
        stem = blake3(name.encode()).hexdigest()[:40]
        return self._folder / stem[:2] / f"{stem}.{part}"


class _Found(NamedTuple):
    """An entry as a listing sees it: when it was last read (ns), its size on disk."""

    read: int
    size: int
    path: Path


class _Writer:
    """What stands behind an entry's data, made while the data goes by."""

    def __init__(self, digest: bytes, note: bytes) -> None:
        self.size = 0
        self.digest = digest
        self._note = note
        self._checksums = bytearray()
        self._hasher = blake3()
        self._left = BLOCK

    def add(self, data: Buffer) -> None:
        """Take the next bytes."""
        rest = memoryview(data).cast("B")
        self.size += rest.nbytes
        while rest.nbytes:
            piece, rest = rest[: self._left], rest[self._left :]
            self._hasher.update(piece)
            self._left -= piece.nbytes
            if not self._left:
                self._close_block()

    def end(self) -> bytes:
        """Return what follows the data."""
        if self._left < BLOCK:
            self._close_block()
        fixed = _END.pack(_MAGIC, _VERSION, len(self._note), self.size, self.digest, bytes(_CHECKSUM))
        head = self._note + self._checksums + fixed[:-_CHECKSUM]
        return head + _checksum(head)

    def _close_block(self) -> None:
        self._checksums += self._hasher.digest(_CHECKSUM)
        self._hasher, self._left = blake3(), BLOCK


def _read_entry(fd: int, path: Path, digest: bytes) -> Entry | None:
    """Return the entry in a file; None where it is none, or another's. The data itself is compared when it is read."""
    try:
        length = os.fstat(fd).st_size
        end = os.pread(fd, _END.size, max(0, length - _END.size))
        if len(end) < _END.size:
            return None
        magic, version, noted, size, owner, checksum = _END.unpack(end)
        behind = noted + -(-size // BLOCK) * _CHECKSUM
        if magic != _MAGIC or version != _VERSION or owner != digest or size + behind + _END.size != length:
            return None
        head = os.pread(fd, behind, size)
    except OSError:
        return None
    if len(head) != behind or _checksum(head + end[:-_CHECKSUM]) != checksum:
        return None
    return Entry(fd, path, size, head[:noted], head[noted:])


def _lazily(source: Callable[[], Iterable[Buffer]]) -> Iterator[Buffer]:
    yield from source()


def _remove(path: Path, fd: int) -> None:
    """Remove an open file, unless another took its name."""
    with suppress(OSError):
        if path.stat(follow_symlinks=False).st_ino == os.fstat(fd).st_ino:
            path.unlink()


def _is_held(path: Path) -> bool:
    """Tell whether the process that writes a file lives."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _read_number(fd: int) -> int | None:
    data = os.pread(fd, 24, 0)
    if len(data) != 24 or _checksum(data[:8]) != data[8:]:
        return None
    return int.from_bytes(data[:8], "little")


def _write_number(fd: int, number: int) -> None:
    data = number.to_bytes(8, "little")
    os.pwrite(fd, data + _checksum(data), 0)


def _digest(name: str, part: str) -> bytes:
    return blake3(f"{name}\0{part}".encode()).digest()


def _checksum(data: Buffer) -> bytes:
    return blake3(data).digest(_CHECKSUM)
