"""Large new files of a checkout, written while their content still comes, piece by piece, in whatever order it comes.

They stand where `mediavault.workspace.new_files` would write them, and count only when they are whole and have the hash
that their tree promises. Those that do not get so far are removed, and left to it.
"""

import os
import threading
from bisect import bisect_right
from collections.abc import Container
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from blake3 import blake3

from mediavault.model.ids import ObjectId
from mediavault.model.objects import Mode
from mediavault.workspace.journal import StagedNames, Write
from mediavault.workspace.new_files import SYNC_BYTES, permissions
from mediavault_backends import fsio
from mediavault_backends.sync_behind import SyncBehind

if TYPE_CHECKING:
    from mediavault.objects.reader import ObjectReader
    from mediavault.workspace.checkout_plan import CheckoutPlan

LARGE: Final = 4 << 20
"""From how many bytes on a file is worth it."""
MOST_PLACES: Final = 1 << 17
"""Of how many chunks the places are kept: about 40 GB of large files, 25 MB of memory."""
MOST_OPEN: Final = 128
"""How many files may be begun and not whole."""

_HASHED_AT_ONCE: Final = 8 << 20
_BLOCK: Final = 1 << 20
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _File:
    """One file on its way. `hash_to` and `judge` are for one thread, all else for who holds the lock of all files."""

    def __init__(self, path: Path, write: Write, pieces: int) -> None:
        self.path = path
        self.abandoned = False
        self.status: os.stat_result | None = None
        self._write = write
        self._fd = -1
        self._left = pieces
        self._ready = 0
        self._beyond: dict[int, int] = {}  # where pieces stand beyond `_ready`, and how long they are
        self._asked = 0
        self._hashed = 0
        self._synced = 0
        self._hasher = blake3()

    @property
    def is_written(self) -> bool:
        """Whether every piece is there, so that nobody writes any more."""
        return not self._left

    @property
    def is_open(self) -> bool:
        """Whether it was begun and is not closed again."""
        return self._fd >= 0

    def open(self) -> int:
        """Make the file where that was not done; return its descriptor, good until all pieces are written."""
        if self._fd < 0:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fsio.announce("create", self.path)
            self._fd = os.open(self.path, _FLAGS, permissions(self._write.mode))
        return self._fd

    def note(self, at: int, length: int) -> int:
        """Take notice that a piece is written; return up to where it is time to hash, 0 where it is not."""
        self._left -= 1
        self._beyond[at] = length
        while (more := self._beyond.pop(self._ready, 0)) > 0:
            self._ready += more
        if self._left and self._ready - self._asked < _HASHED_AT_ONCE:
            return 0
        self._asked = self._ready
        return self._asked

    def hash_to(self, end: int, block: memoryview, behind: SyncBehind) -> None:
        """Hash what the file has up to `end`, and have the disk begin on it.

        Raises:
            OSError: the disk failed.
        """
        while self._hashed < end and (count := os.preadv(self._fd, [block[: end - self._hashed]], self._hashed)):
            self._hasher.update(block[:count])
            self._hashed += count
        if self._hashed - self._synced >= SYNC_BYTES:
            behind.file(self._fd, self.path)
            self._synced = self._hashed

    def judge(self) -> None:
        """Give a written file its status if it is what it should be; close it.

        Raises:
            OSError: the disk failed.
        """
        if self._hasher.digest() == self._write.digest:
            self.status = os.fstat(self._fd)
        self.close()

    def close(self) -> None:
        """Close it where it is open."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1  # in this order: an interrupt between the two closes nothing twice
            os.close(fd)


class ArrivingFiles:
    """The files of a plan that can be written from chunks that come; a context manager around their coming.

    A disk that fails makes nothing fail here: then no file counts.

    Args:
        folder: where new files wait; made with the first of them.
        plan: the checkout.
        reader: reads manifests.
        coming: the chunks that will come. A file that needs others besides is left.

    Raises:
        IntegrityError: a manifest is missing or damaged.
    """

    def __init__(self, folder: Path, plan: "CheckoutPlan", reader: "ObjectReader", coming: Container[ObjectId]) -> None:
        self._files: list[tuple[int, _File]] = []
        # The files laid end to end: where each starts, and where each chunk goes, first and again.
        self._starts: list[int] = []
        self._places: dict[ObjectId, int] = {}
        self._again: dict[ObjectId, list[int]] = {}
        self._lock = threading.Lock()
        self._open: set[_File] = set()
        self._pool = ThreadPoolExecutor(1, "new-files")
        self._hashing: list[Future[None]] = []
        self._block = memoryview(bytearray(_BLOCK))
        self._behind = SyncBehind()
        self._broken = False
        names = StagedNames(plan.lists.fresh)
        room, end = MOST_PLACES, 0
        for number, write in enumerate(plan.writes):
            if write.only_mode or write.mode is Mode.SYMLINK or write.size < LARGE:
                continue
            chunks = list(islice(reader.chunk_list(write.link(), write.size), room + 1))
            if len(chunks) > room or not all(entry.chunk in coming for entry in chunks):
                continue
            room -= len(chunks)
            self._files.append((number, _File(folder / names.place(number, write.path), write, len(chunks))))
            self._starts.append(end)
            for entry in chunks:
                if self._places.setdefault(entry.chunk, end) != end:
                    self._again.setdefault(entry.chunk, []).append(end)
                end += entry.length

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        with suppress(OSError):  # which only `finish` has to know
            self._behind.__exit__(kind, error, trace)
        for file in self._open:
            file.close()

    def put(self, oid: ObjectId, content: bytes | memoryview) -> None:
        """Write a verified chunk wherever it belongs, unless it came before. Safe to call from several threads."""
        with self._lock:
            place, again = self._places.pop(oid, None), self._again.pop(oid, ())
        if place is None:
            return
        for at in (place, *again):
            number = bisect_right(self._starts, at) - 1
            self._write(self._files[number][1], at - self._starts[number], content)

    def finish(self) -> dict[int, os.stat_result]:
        """Wait for all that was put; remove the files that are not whole.

        Returns:
            the status of each file that is, by the number of its write. Its last bytes may not be on the disk yet.
        """
        self._pool.shutdown()
        for done in self._hashing:
            done.result()
        try:
            self._behind.__exit__(None, None, None)
        except OSError:
            self._broken = True
        whole = {} if self._broken else {n: file.status for n, file in self._files if file.status is not None}
        for number, file in self._files:
            if number not in whole:
                with suppress(OSError):
                    file.path.unlink()
        return whole

    def _write(self, file: _File, at: int, content: bytes | memoryview) -> None:
        try:
            with self._lock:
                if not file.is_open and len(self._open) >= MOST_OPEN:
                    file.abandoned = True
                if file.abandoned or self._broken:
                    return
                fd = file.open()
                self._open.add(file)
            _write_at(fd, content, at)
        except OSError:
            self._broken = True
            return
        with self._lock:
            end = file.note(at, len(content))
            if end:
                self._hashing.append(self._pool.submit(self._hash, file, end, last=file.is_written))

    def _hash(self, file: _File, end: int, *, last: bool) -> None:
        try:
            file.hash_to(end, self._block, self._behind)
            if last:
                file.judge()
        except OSError:
            self._broken = True
        if not file.is_open:
            with self._lock:
                self._open.discard(file)


def _write_at(fd: int, content: bytes | memoryview, at: int) -> None:
    view = memoryview(content)
    while view:
        done = os.pwrite(fd, view, at)
        view, at = view[done:], at + done
