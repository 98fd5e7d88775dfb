"""Phase 3 of a checkout: files removed and renamed into place; when that may begin is for `materialise`.

Nothing is renamed through a link or over a file that does not look as it did when the plan was made. All of it may be
repeated after a crash: what is done already is passed over.
"""

import errno
import os
import stat
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from mediavault.model.objects import Mode
from mediavault.workspace.content import open_working_file
from mediavault.workspace.folders import OpenFolders, rename_exclusive
from mediavault.workspace.journal import Delete, Journal, StagedNames, Stamp, Write, stamp_of
from mediavault.workspace.layout import Layout
from mediavault.workspace.new_files import FEW
from mediavault.workspace.paths import folders_above
from mediavault.workspace.scan import ScannedFile, scanned
from mediavault_backends import fsio

CHECKED_LATER: Final = -1
"""In place of a check time: the stamp is to be checked again once its tick of the clock is over."""

_IN_THE_WAY: Final = frozenset(
    (
        errno.EACCES,
        errno.EPERM,
        errno.EEXIST,
        errno.ENOTEMPTY,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EXDEV,
        errno.EBUSY,
        errno.ETXTBSY,
    )
)
"""Why one path cannot be changed while others can."""

_UNKNOWN: Final = (0, 0, 0, 0)


class Moved(msgspec.Struct, frozen=True):
    """What was found and done.

    Attributes:
        stamps: for each write four numbers: mtime_ns, ctime_ns, inode, and checked_ns or CHECKED_LATER; zeros where
            nothing is known of the file.
        left: paths that changed since the plan and were left alone.
        written: files and links that have their new content.
        deleted: files removed now.
        newest_ns: the newest change time among the stamps to be checked later.
    """

    stamps: "array[int]"
    left: list[str]
    written: int
    deleted: int
    newest_ns: int


class Mover:
    """Does what a journal lists.

    Args:
        layout: the checkout.
        journal: what is to be done.
        staged: the stamps of the new files from `write_new_files`; None after a crash.
        begun_ns: the file system's clock before the first move; 0 after a crash.
    """

    def __init__(self, layout: Layout, journal: Journal, staged: "array[int] | None", begun_ns: int) -> None:
        self._root = layout.root
        self._checkout = layout.checkout
        self._journal = journal
        self._staged = staged
        self._begun_ns = begun_ns
        self._names = StagedNames(journal.lists.fresh)
        self._few = len(journal.writes) + len(journal.lists.deletes) <= FEW
        self._stamps = array("q")
        self._left: list[str] = []
        self._written = 0
        self._deleted = 0
        self._newest_ns = 0

    def run(self) -> Moved:
        """Bring the working tree, durably, to what the journal says.

        Raises:
            OSError: the disk failed or is full; do it again.
        """
        lists = self._journal.lists
        with self._folders() as folders:
            for delete in lists.deletes:
                with self._leaving(delete.path):
                    self._delete(folders, delete)
        with self._folders() as folders:
            for folder in lists.cleared:
                self._remove_empty(folders, folder)
        with self._folders() as folders, OpenFolders(self._checkout, sync=False) as waiting:
            whole = [self._move_folder(folders, waiting, group) for group in range(len(lists.fresh))]
            for number, write in enumerate(self._journal.writes):
                group = self._names.group(write.path)
                if group >= 0 and whole[group]:
                    self._stamps.extend(self._stamp_aside(number))
                    self._written += 1
                else:
                    self._stamps.extend(self._move(folders, waiting, number, write))
        emptied = {folder for delete in lists.deletes for folder in folders_above(delete.path)} - {""}
        with self._folders() as folders:
            for folder in sorted(emptied, reverse=True):
                self._remove_empty(folders, folder)
        if not self._few:
            fsio.sync_filesystem(self._root)
        return Moved(self._stamps, self._left, self._written, self._deleted, self._newest_ns)

    def _folders(self) -> OpenFolders:
        return OpenFolders(self._root, sync=self._few, sync_made=True)

    @contextmanager
    def _leaving(self, path: str) -> Iterator[None]:
        """Leave a path alone, instead of failing for ever, when what stands there now cannot be changed."""
        try:
            yield
        except OSError as error:
            if error.errno not in _IN_THE_WAY:
                raise
            self._left.append(path)

    def _delete(self, folders: OpenFolders, delete: Delete) -> None:
        folder, _, name = delete.path.rpartition("/")
        try:
            fd = folders.enter(folder, make=False)
            now = None if fd is None else _look(name, fd)
        except (NotADirectoryError, IsADirectoryError):  # gone, and what came in its place may be there already
            return
        if now is None:
            return
        if now != delete.before:
            self._left.append(delete.path)
            return
        fsio.announce("unlink", f"{self._root}/{delete.path}")
        os.unlink(name, dir_fd=fd)
        folders.note_change()
        self._deleted += 1

    def _remove_empty(self, folders: OpenFolders, folder: str) -> None:
        """Remove a folder if nothing is in it; one that somebody uses, or that cannot be removed, stays."""
        above, _, name = folder.rpartition("/")
        with suppress(OSError):
            fd = folders.enter(above, make=False)
            if fd is not None:
                fsio.announce("unlink", f"{self._root}/{folder}")
                os.rmdir(name, dir_fd=fd)
                folders.note_change()

    def _move_folder(self, folders: OpenFolders, waiting: OpenFolders, group: int) -> bool:
        """Rename a fresh folder into place with all that is in it; return False where its files must go one by one."""
        folder = self._journal.lists.fresh[group]
        above, _, name = folder.rpartition("/")
        fsio.announce("rename", f"{self._root}/{folder}")
        try:
            target, source = folders.enter(above, make=True), waiting.enter("", make=False)
            assert target is not None
            assert source is not None
            rename_exclusive(self._names.folder(group), source, name, target)
        except FileNotFoundError:  # this was done before the crash
            return True
        except OSError as error:
            if error.errno not in _IN_THE_WAY:
                raise
            return False
        folders.note_change()
        return True

    def _stamp_aside(self, number: int) -> tuple[int, int, int, int]:
        """Return the stamp of a file that nobody else could reach before the moves began."""
        if self._staged is None:
            return _UNKNOWN
        mtime_ns, ctime_ns, inode = self._staged[3 * number : 3 * number + 3]
        return mtime_ns, ctime_ns, inode, self._begun_ns

    def _move(self, folders: OpenFolders, waiting: OpenFolders, number: int, write: Write) -> tuple[int, int, int, int]:
        """Give one path its content; return its stamp."""
        now: ScannedFile | None = None
        with self._leaving(write.path):
            now = self._change_mode(folders, write) if write.only_mode else self._write(folders, waiting, number, write)
        if now is None:
            return _UNKNOWN
        if not write.only_mode:
            aside = self._stamp_aside(number)
            if (now.mtime_ns, now.inode) != (aside[0], aside[2]):  # changed since it was moved, or not known
                return _UNKNOWN
        self._newest_ns = max(self._newest_ns, now.ctime_ns)
        return now.mtime_ns, now.ctime_ns, now.inode, CHECKED_LATER

    def _write(self, folders: OpenFolders, waiting: OpenFolders, number: int, write: Write) -> ScannedFile | None:
        """Rename a new file into place; return what stands there, or None where it was left or had been moved before."""
        folder, _, name = write.path.rpartition("/")
        target = folders.enter(folder, make=True)
        waiting_folder, _, waiting_name = self._names.place(number, write.path).rpartition("/")
        source = waiting.enter(waiting_folder, make=False)
        assert target is not None
        if source is None:
            return None
        fsio.announce("rename", f"{self._root}/{write.path}")
        try:
            if write.before is not None and (now := _look(name, target)) is not None:
                if now != write.before:
                    os.stat(waiting_name, dir_fd=source, follow_symlinks=False)  # missing: done before the crash
                    self._left.append(write.path)
                    return None
                os.rename(waiting_name, name, src_dir_fd=source, dst_dir_fd=target)
            else:
                rename_exclusive(waiting_name, source, name, target)
        except FileNotFoundError:
            return None
        folders.note_change()
        self._written += 1
        return scanned(write.path, os.stat(name, dir_fd=target, follow_symlinks=False))

    def _change_mode(self, folders: OpenFolders, write: Write) -> ScannedFile | None:
        """Set or take the executable bit; return what stands there, or None where it was left or had been done before."""
        folder, _, name = write.path.rpartition("/")
        above = folders.enter(folder, make=False)
        if above is None:
            return None
        try:
            fd = open_working_file(name, dir_fd=above)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(fd)
            file = scanned(write.path, status)
            if file is None or stamp_of(file) != write.before:
                if file is None or not _done_before(stamp_of(file), write):
                    self._left.append(write.path)
                return None
            fsio.announce("change-mode", f"{self._root}/{write.path}")
            bits = stat.S_IMODE(status.st_mode)
            readers = (bits & 0o444) >> 2
            os.fchmod(fd, bits | readers if write.mode is Mode.EXECUTABLE else bits & ~0o111)
            fsio.sync_file(fd, self._root / write.path)
            self._written += 1
            return scanned(write.path, os.fstat(fd))
        finally:
            os.close(fd)


def _look(name: str, folder: int) -> Stamp | None:
    """Return the stamp of what stands under a name of an open folder; None for nothing.

    Raises:
        IsADirectoryError: neither a file nor a link stands there.
    """
    try:
        file = scanned(name, os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return None
    if file is None:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    return stamp_of(file)


def _done_before(now: Stamp, write: Write) -> bool:
    """Say whether a file looks as if only its mode had been changed, as wanted."""
    before = write.before
    return (
        before is not None
        and now.mode == write.mode
        and (now.size, now.mtime_ns, now.inode) == (before.size, before.mtime_ns, before.inode)
    )
