"""Knows how to take a pack from someone who is not trusted: to a file first, believed only when all of it is checked."""

import contextlib
import mmap
import os
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from blake3 import blake3

from mediavault.errors import FormatError, IntegrityError, StorageError, UnsupportedFormatError
from mediavault.formats.frame import CHECKSUM_BYTES, Frame, parse_frame
from mediavault.formats.pack import MAX_PACK, PackRow, row_of
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.store.ancestry import parents_of
from mediavault.store.frame_stream import FrameStream
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import pack_key
from mediavault.store.pack_table import PackTable, parse_pack
from mediavault.store.pack_writer import make_locked, pack_is_there, write_whole
from mediavault.store.reachability import missing_beneath
from mediavault_backends.api import Absent, Backend, FileSource
from mediavault_backends.errors import OutcomeUnknownError, PreconditionFailedError
from mediavault_backends.sync_behind import SyncBehind

SYNC_BYTES: Final = 16 << 20
"""How much of a pack is written before the disk is set to work on it."""


class PackReceiver:
    """Takes one pack in blocks, checks it, and publishes it. Used by one thread at a time; a context manager.

    Frames are checked while they come; only what the table contradicts is read again, to say what is wrong with it.
    Memory is bounded by a pack's highest number of rows, whatever is sent.
    """

    def __init__(
        self, spool: Path, declared: ObjectId | None = None, *, max_size: int = MAX_PACK, kept: bool = False
    ) -> None:
        """Make the spool.

        Args:
            spool: a file to be made; removed at the end unless the pack was published.
            declared: the name that the sender gave; None to take any.
            max_size: bytes after which the pack is refused.
            kept: the store takes the spool itself: the disk begins on it while it grows.
        """
        self._path = spool
        self._declared = declared
        self._max_size = max_size
        # Locked, so that nobody takes it for what a dead process left.
        self._fd = make_locked(spool)
        self._stream: FrameStream | None = FrameStream()
        self._view: memoryview | None = None
        self._table: PackTable | None = None
        self._behind = SyncBehind() if kept else None
        self._synced = 0
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def id(self) -> ObjectId:
        """The pack's name, after `finish`."""
        return self._checked().pack_id

    @property
    def rows(self) -> list[PackRow]:
        """The pack's rows, after `finish`."""
        return self._checked().rows

    @property
    def plain(self) -> bool:
        """Whether it belongs to a plain repository, after `finish`."""
        return self._checked().plain

    @property
    def body(self) -> FileSource:
        """The whole pack, after `finish`, for a backend to adopt."""
        self._checked()
        return FileSource(self._path, self.size, adopt=True)

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of objects in it, after `finish`."""
        return frozenset(row.kind for row in self._checked().rows)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes.

        Raises:
            FormatError: the pack is larger than allowed.
            StorageError: the disk is full.
        """
        if self.size + len(data) > self._max_size:
            raise FormatError(f"A pack is larger than the {self._max_size} bytes that are allowed.")
        write_whole(self._fd, data, at=self.size)
        self.size += len(data)
        if self._behind is not None and self.size - self._synced >= SYNC_BYTES:
            self._synced = self.size
            with _said_of_disks():
                self._behind.file(self._fd, self._path)
        if self._stream is not None:
            self._stream.feed(data)

    def finish(self) -> None:
        """Check the whole pack: table against name, each frame against its row.

        Raises:
            FormatError: it is not a pack, is cut or damaged, or holds an object twice.
            IntegrityError: it is not the pack that was declared.
        """
        if not self.size:
            raise FormatError("A pack is empty.")
        if self._behind is not None:
            with _said_of_disks(), self._behind:
                self._behind = None
        view = memoryview(mmap.mmap(self._fd, self.size, access=mmap.ACCESS_READ))
        table = parse_pack(lambda start, length: bytes(view[start : start + length]), self.size)
        if self._declared is not None and table.pack_id != self._declared:
            raise IntegrityError(f"The pack {self._declared.hex()} is in truth {table.pack_id.hex()}.")
        if len({row.id for row in table.rows}) != len(table.rows):
            raise FormatError("A pack holds an object twice.")
        seen = [] if self._stream is None else self._stream.rows
        self._stream = None
        for row, found in zip_longest(table.rows, seen[: len(table.rows)]):
            if found != row and row_of(_frame_of(view, row), row.offset, table.plain) != row:
                raise FormatError(f"A pack's frame at {row.offset} is not the one in its table.")
        self._view, self._table = view, table

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in their order, after `finish`; they are valid as long as they are held."""
        view = self._view
        assert view is not None
        for row in self._checked().rows:
            yield parse_frame(view, row.offset)

    def missing_links(self, frames: FrameStore, limit: int = 1000) -> list[Link]:
        """Return links that lead neither into this pack nor to what is stored, at most `limit` of them."""
        table = self._checked()
        if self.kinds == {Kind.CHUNK}:
            return []
        return missing_beneath(frames, self.frames(), {row.id: row.kind for row in table.rows}, limit)

    def publish(self, backend: Backend, index: ObjectIndex) -> bool:
        """Store the pack durably and index it; whether its links lead anywhere was asked before.

        Returns:
            False when exactly this pack was stored and indexed already.

        Raises:
            IntegrityError: an object is stored with other links or generation, or a commit's generation is wrong.
            BackendError: it could not be stored.
        """
        table = self._checked()
        self._check_clear_fields(FrameStore(backend, index))
        if not self.store(backend):
            index.refresh()
            if table.pack_id in index.packs():
                return False
        index.add({table.pack_id: table.rows})
        return True

    def store(self, backend: Backend) -> bool:
        """Store a checked pack durably without indexing it: for packs of chunks, which lead nowhere.

        Returns:
            False when it was stored already.

        Raises:
            IntegrityError: it is stored with another length.
            BackendError: it could not be stored.
        """
        name = self._checked().pack_id
        try:
            backend.put(pack_key(name), self.body, when=Absent())
        except PreconditionFailedError:
            if not pack_is_there(backend, name, self.size):
                raise IntegrityError(f"Pack {name.hex()} is stored with another length.") from None
            return False
        except OutcomeUnknownError:
            # The sender, who made the name, must take another one if this one did not land.
            if not pack_is_there(backend, name, self.size):
                raise
        return True

    def close(self) -> None:
        """Remove the spool if it is still there; idempotent."""
        if self._behind is not None:
            with contextlib.suppress(OSError), self._behind:
                self._behind = None
        if self._fd >= 0:
            self._view = None
            self._path.unlink(missing_ok=True)
            fd, self._fd = self._fd, -1  # in this order: an interrupt between the two closes nothing twice
            os.close(fd)

    def _checked(self) -> PackTable:
        if self._table is None:
            raise RuntimeError("the pack is not finished")
        return self._table

    def _check_clear_fields(self, frames: FrameStore) -> None:
        """Refuse metadata that contradicts what is stored, in what a keyless reader goes by."""
        if self.kinds == {Kind.CHUNK}:
            return
        generations: dict[ObjectId, int] = {}
        for frame in self.frames():
            header = frame.header
            if header.kind == Kind.CHUNK:
                continue
            if frames.has(header.id):
                stored = frames.read(header.id).header
                if (stored.kind, stored.link_data, stored.generation) != (
                    header.kind,
                    header.link_data,
                    header.generation,
                ):
                    raise IntegrityError(f"Object {header.id.hex()} is stored with other links.")
            if header.kind == Kind.COMMIT:
                generations[header.id] = header.generation
        for frame in self.frames():
            if frame.header.kind == Kind.COMMIT:
                self._check_generation(frames, frame, generations)

    @staticmethod
    def _check_generation(frames: FrameStore, commit: Frame, own: dict[ObjectId, int]) -> None:
        parents = [own[oid] if oid in own else frames.read(oid).header.generation for oid in parents_of(commit)]
        if commit.header.generation != 1 + max(parents, default=0):
            raise IntegrityError(f"Commit {commit.header.id.hex()} has a wrong generation.")


@contextlib.contextmanager
def _said_of_disks() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"Writing failed: {error.strerror}.", untouched="Nothing of the pack was stored.") from error


def _frame_of(view: memoryview, row: PackRow) -> Frame:
    try:
        return parse_frame(view, row.offset)
    except UnsupportedFormatError:
        # A flipped bit in the version is damage, and no reason to install anything.
        whole = view[row.offset : row.offset + row.length]
        if blake3(whole[:-CHECKSUM_BYTES]).digest(CHECKSUM_BYTES) != whole[-CHECKSUM_BYTES:]:
            raise FormatError("A frame's checksum does not match its bytes.") from None
        raise
