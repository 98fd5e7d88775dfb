"""Knows how frames become packs: spooled to files, closed with a table, put, then indexed. Never looks into a frame's body.

A spool is a file `<class>-<hex>.spool` that its writer holds under flock(2); beside it a journal `<hex>.packs`, held
alike, lists the packs that the writer has put or was about to put. What a dead writer left is for
`mediavault.store.salvage`.
"""

import errno
import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from mediavault.errors import StorageError
from mediavault.formats.frame import CHECKSUM_BYTES, Frame, parse_frame
from mediavault.formats.pack import NONCE_BYTES, PackRow, encode_footer, encode_pack_header, encode_table, pack_id
from mediavault.model.ids import ID_BYTES, Kind, ObjectId
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import MAX_PACK_ROWS, TARGET_BYTES, pack_key
from mediavault_backends.api import Absent, Backend, Buffer, FileSource
from mediavault_backends.errors import NotFoundError, OutcomeUnknownError, PreconditionFailedError

INDEX_EVERY: Final = 64
"""After how many chunk packs their rows go to an index blob, so that memory stays level however much is written."""
INDEX_ROWS: Final = 1 << 17
"""After how many rows of chunk packs likewise."""
PUTS_AHEAD: Final = 2
CLASSES: Final = ("chunks", "nodes", "history")
"""The packs of one writer: chunks; trees with manifests; commits with tags. In this order they are put."""

SPOOL: Final = ".spool"
JOURNAL: Final = ".packs"

_CLASS_OF: Final = (0, 0, 1, 1, 2, 2)
# In a frame's header the kind is the second byte and the id starts at the eighth: docs/formats/frame.md.
_KIND_AT: Final = 1
_ID_AT: Final = 7
_KINDS: Final = (Kind.CHUNK, *Kind)


class _Spool:
    """One pack that is being written."""

    def __init__(self, path: Path, fd: int, header: bytes) -> None:
        self.path = path
        self.fd = fd
        self.size = len(header)
        self.rows: list[PackRow] = []
        self.pack: ObjectId | None = None
        write_whole(fd, header)

    def close(self) -> None:
        if self.fd >= 0:
            fd, self.fd = self.fd, -1  # in this order: an interrupt between the two closes nothing twice
            os.close(fd)


class PackWriter:
    """Turns frames into packs and index blobs.

    One thread appends. Full packs are put by a thread of the writer's own while appending goes on. As a context
    manager it finishes on a clean exit and aborts on an exception; what was aborted waits for `salvage`.
    """

    def __init__(
        self,
        backend: Backend,
        index: ObjectIndex,
        spool: Path,
        *,
        plain: bool,
        target: int = TARGET_BYTES,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Prepare a writer; nothing is made before the first frame.

        Args:
            backend: where the packs go.
            index: learns of the packs.
            spool: a folder for unfinished packs, made when missing.
            plain: whether the repository is plain, so that rows carry raw lengths.
            target: a pack is closed before it would pass this many bytes.
            random: makes nonces and file names.
        """
        self._backend = backend
        self._index = index
        self._folder = spool
        self._plain = plain
        self._target = target
        self._random = random
        self._open: list[_Spool | None] = [None] * len(CLASSES)
        self._puts: deque[tuple[int, _Spool, Future[ObjectId]]] = deque()
        self._done: list[list[_Spool]] = [[] for _ in CLASSES]
        self._pending: dict[ObjectId, tuple[_Spool, int]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._journal = -1
        self._journal_path = spool
        self.bytes_written = 0
        self.frames_written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
            return
        try:
            self.finish()
        finally:
            self.abort()

    def append(self, frame: Buffer, raw_length: int) -> None:
        """Add a whole frame with one write call; a frame whose id is pending is ignored.

        Args:
            frame: what `formats.frame` built; it is not checked again.
            raw_length: length of the uncompressed, unpadded payload.

        Raises:
            StorageError: the disk is full; the frames before this one are kept.
            BackendError: a full pack could not be put.
        """
        oid = bytes(frame[_ID_AT : _ID_AT + ID_BYTES])
        if oid in self._pending:
            return
        kind = _KINDS[frame[_KIND_AT]]
        place = _CLASS_OF[kind]
        length = len(frame)
        spool = self._open[place]
        if spool is not None and (spool.size + length > self._target or len(spool.rows) >= MAX_PACK_ROWS):
            self._close(place, spool)
            spool = None
        if spool is None:
            spool = self._begin(place)
        write_whole(spool.fd, frame, at=spool.size)
        checksum = bytes(frame[length - CHECKSUM_BYTES :])
        self._pending[oid] = spool, len(spool.rows)
        spool.rows.append(PackRow(oid, kind, spool.size, length, checksum, raw_length if self._plain else None))
        spool.size += length
        self.bytes_written += length
        self.frames_written += 1

    def has(self, oid: ObjectId) -> bool:
        """Tell whether a frame with this id was appended and is not indexed yet."""
        return oid in self._pending

    def read(self, oid: ObjectId) -> Frame | None:
        """Return a frame that was appended and is not indexed yet; None when there is none."""
        found = self._pending.get(oid)
        if found is None:
            return None
        spool, number = found
        row = spool.rows[number]
        if spool.pack is None:
            return parse_frame(os.pread(spool.fd, row.length, row.offset))
        return parse_frame(self._backend.read(pack_key(spool.pack), row.offset, row.length))

    def finish(self) -> None:
        """Put what is open: chunks, then trees and manifests, then commits; then the index. More may be appended later.

        Raises:
            BackendError: a pack or the index could not be put; nothing new is visible but chunks.
        """
        for place in range(len(CLASSES)):
            spool = self._open[place]
            if spool is not None:
                self._close(place, spool)
        while self._puts:
            self._reap()
        self._publish(range(len(CLASSES)))
        if self._journal >= 0:
            journal, self._journal = self._journal, -1
            os.close(journal)
            self._journal_path.unlink(missing_ok=True)

    def abort(self) -> None:
        """Stop: unfinished spools and the journal stay on disk, unlocked, for `salvage`. Does not raise; idempotent."""
        for _, _, future in self._puts:
            future.cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        for spool in (*self._open, *(spool for _, spool, _ in self._puts)):
            if spool is not None:
                spool.close()
        self._puts.clear()
        self._open = [None] * len(CLASSES)
        self._done = [[] for _ in CLASSES]
        self._pending.clear()
        if self._journal >= 0:
            journal, self._journal = self._journal, -1
            os.close(journal)

    def _begin(self, place: int) -> _Spool:
        path, fd = new_locked_file(self._folder, CLASSES[place] + "-", SPOOL, self._random)
        try:
            spool = _Spool(path, fd, encode_pack_header(self._random(NONCE_BYTES), plain=self._plain))
        except BaseException:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        self._open[place] = spool
        return spool

    def _close(self, place: int, spool: _Spool) -> None:
        """Write the table of a spool and hand the pack to the putting thread."""
        table = encode_table(spool.rows, plain=self._plain)
        footer = encode_footer(spool.size, len(spool.rows), table)
        write_whole(spool.fd, table + footer, at=spool.size)
        if self._journal < 0:
            self._journal_path, self._journal = new_locked_file(self._folder, "", JOURNAL, self._random)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="pack-put")
        size = spool.size + len(table) + len(footer)
        self._open[place] = None
        self._puts.append((place, spool, self._pool.submit(self._put, spool, table, size)))
        while len(self._puts) > PUTS_AHEAD:
            self._reap()
        if len(self._done[0]) >= INDEX_EVERY or sum(len(done.rows) for done in self._done[0]) >= INDEX_ROWS:
            self._publish((0,))

    def _put(self, spool: _Spool, table: bytes, size: int) -> ObjectId:
        """Put one pack under a name that was never used; runs in the putting thread."""
        for _ in range(3):
            nonce = self._random(NONCE_BYTES)
            write_whole(spool.fd, encode_pack_header(nonce, plain=self._plain), at=0)
            name = pack_id(nonce, table)
            # Written before the put, so that whoever finds this journal knows every pack that may exist.
            write_whole(self._journal, name)
            try:
                self._backend.put(pack_key(name), FileSource(spool.path, size, adopt=True), when=Absent())
            except OutcomeUnknownError:
                if not pack_is_there(self._backend, name, size):
                    continue
            except PreconditionFailedError:
                continue
            spool.path.unlink(missing_ok=True)
            return name
        raise StorageError(
            f"A pack could not be stored in {self._backend.name}: the store does not say whether it took it.",
            untouched="Nothing refers to it yet.",
            hint="Run the command again; what was prepared is kept.",
        )

    def _reap(self) -> None:
        place, spool, future = self._puts[0]
        spool.pack = future.result()
        self._puts.popleft()
        spool.close()
        self._done[place].append(spool)

    def _publish(self, places: Iterable[int]) -> None:
        """Index the packs of some classes that are in the store, and forget what was pending of them."""
        spools = [spool for place in places for spool in self._done[place]]
        if not spools:
            return
        self._index.add({spool.pack: spool.rows for spool in spools if spool.pack is not None})
        for spool in spools:
            for row in spool.rows:
                del self._pending[row.id]
        for place in places:
            self._done[place].clear()


def pack_is_there(backend: Backend, pack: ObjectId, size: int) -> bool:
    """Tell whether a pack exists whole, after an attempt to put it whose outcome is unknown."""
    try:
        return backend.stat(pack_key(pack)).size == size
    except NotFoundError:
        return False


def new_locked_file(folder: Path, prefix: str, suffix: str, random: Callable[[int], bytes]) -> tuple[Path, int]:
    """Make a file that is locked from the moment anyone can rely on it.

    Returns:
        its path and its descriptor, open for reading and writing and holding flock(2).
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{prefix}{random(8).hex()}{suffix}"
    return path, make_locked(path)


def make_locked(path: Path) -> int:
    """Make a file; return its descriptor, open for reading and writing and holding flock(2).

    Raises:
        FileExistsError: there is such a file.
    """
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd
        # `salvage` was quicker: it locked the empty file between the two calls and removed it.
        os.close(fd)


def write_whole(fd: int, data: Buffer, *, at: int | None = None) -> None:
    """Write all of `data`, at an offset or at the end of what was written.

    Raises:
        StorageError: the disk is full or failed.
    """
    try:
        done = os.write(fd, data) if at is None else os.pwrite(fd, data, at)
        while done < len(data):
            rest = memoryview(data)[done:]
            done += os.write(fd, rest) if at is None else os.pwrite(fd, rest, at + done)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise StorageError(
                "The disk is full.",
                untouched="What was stored before is untouched.",
                hint="Free some space and run the command again: it continues where it stopped.",
            ) from error
        raise StorageError(
            f"Writing failed: {error.strerror}.",
            untouched="What was stored before is untouched.",
            hint="Check the disk, then run the command again: it continues where it stopped.",
        ) from error
