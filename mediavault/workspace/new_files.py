"""Phase 1 of a checkout: new files written aside, verified down to the whole-file hash, and brought to the disk.

Where they go from there is for `mediavault.workspace.moves`.
"""

import os
from array import array
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from blake3 import blake3

from mediavault.errors import IntegrityError
from mediavault.model.objects import ManifestEntry, Mode
from mediavault.workspace.folders import OpenFolders
from mediavault.workspace.journal import StagedNames, Write, WriteList
from mediavault.workspace.scan import INODE_MASK
from mediavault_backends import fsio
from mediavault_backends.sync_behind import SyncBehind

if TYPE_CHECKING:
    from mediavault.objects.reader import ObjectReader

FEW: Final = 16
"""Up to so many files are synced one by one; more are synced with their whole file system at once."""

SYNC_BYTES: Final = 64 << 20
"""How much of a large file is written before the disk is set to work on it."""

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_new_files(
    folder: Path,
    writes: WriteList,
    fresh: list[str],
    reader: "ObjectReader",
    progress: Callable[[int], None],
    *,
    written: Mapping[int, os.stat_result],
) -> "array[int]":
    """Write all new files, durable when this returns.

    Args:
        folder: where they wait; made, and must not exist unless some are written.
        writes: what to write.
        fresh: see `journal.Lists`.
        reader: reads content.
        progress: told how many bytes were written, now and then.
        written: the status of those that are written already, whole and verified, by the number of their write.

    Returns:
        for each write three numbers: the new file's mtime_ns, ctime_ns and inode; zeros where there is none.

    Raises:
        IntegrityError: content is missing, damaged, or not what its tree promises.
        OSError: the disk failed or is full.
    """
    fsio.make_folders(folder)
    few = len(writes) <= FEW and not written
    names = StagedNames(fresh)
    stamps = array("q")
    with (
        OpenFolders(folder, sync=few) as folders,
        closing(reader.chunks(_chunks_of(writes, written, reader))) as content,
        SyncBehind() as behind,
    ):
        writer = _FileWriter(folders, str(folder), content, progress, behind, sync=few)
        for number, write in enumerate(writes):
            if write.only_mode:
                stamps.extend((0, 0, 0))
                continue
            status = written.get(number)
            if status is None:
                status = writer.write(names.place(number, write.path), write)
            else:
                progress(write.size)
            stamps.extend((status.st_mtime_ns, status.st_ctime_ns, status.st_ino & INODE_MASK))
    if not few:
        fsio.sync_filesystem(folder)
    return stamps


def _chunks_of(writes: Iterable[Write], written: Container[int], reader: "ObjectReader") -> Iterator[ManifestEntry]:
    for number, write in enumerate(writes):
        if write.child and not write.only_mode and number not in written:
            yield from reader.chunk_list(write.link(), write.size)


class _FileWriter:
    """Writes one new file after the other from one stream of verified chunks."""

    def __init__(
        self,
        folders: OpenFolders,
        path: str,
        content: Iterator[bytes | memoryview],
        progress: Callable[[int], None],
        behind: SyncBehind,
        *,
        sync: bool,
    ) -> None:
        self._folders = folders
        self._path = path
        self._content = content
        self._progress = progress
        self._behind = behind
        self._sync = sync

    def write(self, place: str, write: Write) -> os.stat_result:
        """Write one file or link; takes as many bytes from the stream as it is long. Returns its status.

        Raises:
            IntegrityError: the bytes do not have the hash that the tree promises.
        """
        above, _, name = place.rpartition("/")
        folder = self._folders.enter(above, make=True)
        fsio.announce("create", f"{self._path}/{place}")
        self._folders.note_change()
        if write.mode is Mode.SYMLINK:
            if blake3(write.target.encode()).digest() != write.digest:
                raise _wrong_content(write.path)
            os.symlink(write.target, name, dir_fd=folder)
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        fd = os.open(name, _FLAGS, permissions(write.mode), dir_fd=folder)
        try:
            path = Path(self._path, place)
            if self._fill(fd, path, write) != write.digest:
                raise _wrong_content(write.path)
            if self._sync:
                self._behind.file(fd, path)
            return os.fstat(fd)
        finally:
            os.close(fd)

    def _fill(self, fd: int, path: Path, write: Write) -> bytes:
        """Write the file's bytes; return their hash."""
        left = write.size if write.child else 0
        if not left:
            return blake3().digest()
        block = next(self._content, b"")
        if len(block) == left:  # nearly every file has one chunk
            _write_whole(fd, block)
            self._progress(left)
            return blake3(block).digest()
        hasher = blake3()
        waiting = 0
        while block:
            left -= len(block)
            if left < 0:
                break
            hasher.update(block)
            _write_whole(fd, block)
            self._progress(len(block))
            waiting += len(block)
            if waiting >= SYNC_BYTES:
                self._behind.file(fd, path)
                waiting = 0
            block = next(self._content, b"") if left else b""
        if left:
            raise _wrong_content(write.path)
        return hasher.digest()


def permissions(mode: Mode) -> int:
    """Return what a new file is made with; the umask takes away from it."""
    return 0o777 if mode is Mode.EXECUTABLE else 0o666


def _write_whole(fd: int, block: bytes | memoryview) -> None:
    done = os.write(fd, block)
    while done < len(block):
        done += os.write(fd, memoryview(block)[done:])


def _wrong_content(path: str) -> IntegrityError:
    return IntegrityError(
        f"The content of {path!r} is not what its tree promises.",
        untouched="The working tree was not changed.",
        hint="Run 'mediagit verify', or fetch the file again from a remote.",
    )
