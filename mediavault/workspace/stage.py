"""The staging index and stat cache: what the next commit holds, and which files are known to hold it still.

It is one SQLite file. A row is what was staged for a path together with the stamp of the working file that had this
content, so that an unchanged stamp saves reading the file again. Trees that were built from rows are remembered by
folder. Where content comes from and where it is stored is for others.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import msgspec

from mediavault.errors import MediaVaultError, RepositoryBusyError, StorageError, UnsupportedFormatError
from mediavault.model.ids import ID_BYTES, Kind, Link, ObjectId
from mediavault.model.objects import Mode, TreeEntry
from mediavault.workspace.paths import folders_above
from mediavault.workspace.scan import ScannedFile

SLACK_NS: Final = 20_000_000
"""How much older than the check a stamp must be: more than a tick of any file system's clock that is in use."""

_FAR_AHEAD_NS: Final = 2_000_000_000
_VERSION: Final = 1
_COLUMNS: Final = "path, mode, size, digest, child_kind, child_id, target, mtime_ns, ctime_ns, inode, checked_ns"
_SELECT: Final = f"SELECT {_COLUMNS} FROM rows WHERE path "  # noqa: S608 -- both parts are constants
_SELECT_STAMPS: Final = "SELECT path, mode, size, mtime_ns, ctime_ns, inode, checked_ns FROM rows"
_INSERT: Final = "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_SCHEMA: Final = """
CREATE TABLE rows (path TEXT PRIMARY KEY, mode INTEGER NOT NULL, size INTEGER NOT NULL, digest BLOB NOT NULL,
  child_kind INTEGER NOT NULL, child_id BLOB NOT NULL, target TEXT NOT NULL, mtime_ns INTEGER NOT NULL,
  ctime_ns INTEGER NOT NULL, inode INTEGER NOT NULL, checked_ns INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE trees (folder TEXT PRIMARY KEY, id BLOB NOT NULL) WITHOUT ROWID;
"""
_FIRST_BATCH: Final = 4
_LARGEST_BATCH: Final = 512


class StageDamagedError(StorageError):
    """The staging index is not readable; it can be made again from the checked-out commit."""


class StageRow(msgspec.Struct, frozen=True, gc=False):
    """What is staged for a path, and the stamp of the working file that was seen with this content.

    Attributes:
        path: relative to the root, `/`-separated.
        mode: a file, an executable or a symlink.
        size: bytes of the content.
        digest: unkeyed BLAKE3 of the content.
        child: CHUNK, MANIFEST, or None for an empty file and a symlink.
        target: a symlink's text.
        mtime_ns: with ctime_ns and inode, the stamp; all 0 where no working file is known to have this content.
        ctime_ns: see mtime_ns.
        inode: modulo 2^63.
        checked_ns: the file system's clock, read before the content was.
    """

    path: str
    mode: Mode
    size: int
    digest: bytes
    child: Link | None
    target: str = ""
    mtime_ns: int = 0
    ctime_ns: int = 0
    inode: int = 0
    checked_ns: int = 0

    def entry(self) -> TreeEntry:
        """Return the tree entry that this row becomes."""
        name = self.path.rpartition("/")[2]
        return TreeEntry(name, self.mode, self.size, self.digest, self.child, self.target)

    def stamped(self, file: ScannedFile, checked_ns: int) -> "StageRow":
        """Return the row with the stamp of a file whose content was read after `checked_ns` and is this one."""
        return row_of(file, self.digest, self.child, self.target, checked_ns, size=self.size)


class StampRow(msgspec.Struct, frozen=True, gc=False):
    """The part of a row that tells whether its working file is known to be unchanged; see StageRow."""

    path: str
    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    checked_ns: int


class Children(NamedTuple):
    """What is staged right inside one folder."""

    rows: dict[str, StageRow]
    folders: list[str]


def row_of(
    file: ScannedFile, digest: bytes, child: Link | None, target: str, checked_ns: int, *, size: int | None = None
) -> StageRow:
    """Return the row for a working file.

    Args:
        file: its stamp, taken before the content was read.
        digest: BLAKE3 of the content (of the target's UTF-8, for a symlink).
        child: where the content is stored.
        target: a symlink's text.
        checked_ns: `Layout.clock_ns`, read before the content was.
        size: bytes of the content where they may differ from the stamp's.
    """
    return StageRow(
        file.path,
        file.mode,
        file.size if size is None else size,
        digest,
        child,
        target,
        file.mtime_ns,
        file.ctime_ns,
        file.inode,
        checked_ns,
    )


def row_of_entry(path: str, entry: TreeEntry) -> StageRow:
    """Return the row for a tree entry, without a stamp."""
    return StageRow(path, entry.mode, entry.size, entry.digest, entry.child, entry.target)


def same_content(row: StageRow, entry: TreeEntry | StageRow) -> bool:
    """Say whether a row and an entry of a tree (or another row) are one content with one mode."""
    return (
        row.digest == entry.digest and row.mode == entry.mode and row.size == entry.size and row.target == entry.target
    )


def trusted(row: StageRow | StampRow, file: ScannedFile) -> bool:
    """Say whether a file's stamp proves that it still holds the row's content.

    A change after the check moves the change time, which no program can set; one in the same tick of the clock as the
    check cannot be seen in the stamp, so stamps that are not clearly older than the check prove nothing.
    """
    newest = row.checked_ns - SLACK_NS
    return (
        row.mtime_ns == file.mtime_ns
        and row.ctime_ns == file.ctime_ns
        and row.size == file.size
        and row.inode == file.inode
        and row.mode == file.mode
        and row.ctime_ns < newest
        # A camera whose clock is ahead leaves times that no edit made now can have.
        and (row.mtime_ns < newest or row.mtime_ns > row.checked_ns + _FAR_AHEAD_NS)
    )


class Stage:
    """The staging index of one checkout; a context manager. Use it from one thread.

    Every method raises StageDamagedError when the file does not read as what it should be, RepositoryBusyError when
    another process keeps it locked, and StorageError when the disk fails or is full.

    Args:
        path: the file; made where it is missing or empty.
        first: the rows of a file that is made, which exists with all of them or not at all. What it raises is raised.

    Attributes:
        made: whether there was no stage.
    """

    def __init__(self, path: Path, first: Callable[[], Iterable[StageRow]] = tuple) -> None:
        self._path = path
        self._first = first
        self.made = False
        with self._errors():
            self._db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what a method has returned from stays."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes of a block take effect together, durably; none when it raises."""
        if self._db.in_transaction:
            yield
            return
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def count(self) -> int:
        """Return the number of rows."""
        with self._errors():
            return int(self._db.execute("SELECT count(*) FROM rows").fetchone()[0])

    @property
    def empty(self) -> bool:
        """Whether nothing is staged."""
        with self._errors():
            return self._db.execute("SELECT 1 FROM rows LIMIT 1").fetchone() is None

    def get(self, path: str) -> StageRow | None:
        """Return the row of a path."""
        if not _is_text(path):
            return None
        with self._errors():
            found = self._db.execute(_SELECT + "= ?", (path,)).fetchone()
            return None if found is None else _row(found)

    def all(self) -> Iterator[StageRow]:
        """Yield every row in path order (UTF-8 bytes). Do not change the stage meanwhile."""
        return self.between("", None)

    def under(self, prefix: str) -> Iterator[StageRow]:
        """Yield the rows of a path and of what is inside it, in path order; all for the root (empty)."""
        if prefix:
            row = self.get(prefix)
            if row is not None:
                yield row
            yield from self.between(prefix + "/", prefix + "0")  # "0" follows "/"
        else:
            yield from self.all()

    def between(self, first: str, end: str | None) -> Iterator[StageRow]:
        """Yield the rows from `first` up to before `end`, in path order."""
        if not _is_text(first):
            return
        bound, values = (">= ?", (first,)) if end is None else (">= ? AND path < ?", (first, end))
        with self._errors():
            cursor = self._db.execute(_SELECT + bound + " ORDER BY path", values)
        batch = _FIRST_BATCH
        while True:
            with self._errors():
                rows = [_row(values) for values in cursor.fetchmany(batch)]
            if not rows:
                return
            yield from rows
            batch = min(2 * batch, _LARGEST_BATCH)

    def stamps(self, prefix: str = "") -> Iterator[StampRow]:
        """Yield the stamps of what `under` yields, at half the cost of whole rows. Change nothing meanwhile."""
        if not _is_text(prefix):
            return
        where = ""
        values: tuple[str, ...] = ()
        if prefix:
            where, values = "WHERE path = ? OR (path > ? AND path < ?) ", (prefix, prefix + "/", prefix + "0")
        with self._errors():
            cursor = self._db.execute(f"{_SELECT_STAMPS} {where}ORDER BY path", values)
        while True:
            with self._errors():
                rows = [StampRow(*values) for values in cursor.fetchmany(_LARGEST_BATCH)]
            if not rows:
                return
            yield from rows

    def children(self, folder: str) -> Children:
        """Return the rows right inside a folder by name, and the names of its folders; costs one look-up a folder."""
        prefix = f"{folder}/" if folder else ""
        end = f"{folder}0" if folder else None
        rows: dict[str, StageRow] = {}
        folders: list[str] = []
        first = prefix
        while True:
            for row in self.between(first, end):
                name, slash, _ = row.path[len(prefix) :].partition("/")
                if slash:
                    folders.append(name)
                    first = f"{prefix}{name}0"
                    break
                rows[name] = row
            else:
                return Children(rows, folders)

    def put(self, row: StageRow) -> None:
        """Stage one path."""
        self.put_many((row,))

    def put_many(self, rows: Iterable[StageRow]) -> None:
        """Stage paths; a row replaces the one with its path. Remembered trees above them are forgotten."""
        touched: set[str] = set()

        def values() -> Iterator[tuple[object, ...]]:
            for row in rows:
                touched.add(row.path)
                yield _values(row)

        with self.transaction(), self._errors():
            self._db.executemany(_INSERT, values())
            self._forget_above(touched)

    def remove(self, path: str) -> None:
        """Take one path out of the stage; no error when it is not in it."""
        self.remove_many((path,))

    def remove_many(self, paths: Iterable[str]) -> None:
        """Take paths out of the stage."""
        gone = list(paths)
        with self.transaction(), self._errors():
            self._db.executemany("DELETE FROM rows WHERE path = ?", ((path,) for path in gone))
            self._forget_above(gone)

    def refresh_many(self, rows: Iterable[StageRow]) -> None:
        """Renew stamps: a row whose content is staged no longer, because another command was first, changes nothing."""
        with self.transaction(), self._errors():
            self._db.executemany(
                "UPDATE rows SET mtime_ns = ?, ctime_ns = ?, inode = ?, checked_ns = ? WHERE path = ? AND digest = ? AND mode = ?",
                (
                    (row.mtime_ns, row.ctime_ns, row.inode, row.checked_ns, row.path, row.digest, int(row.mode))
                    for row in rows
                ),
            )

    def replace_all(self, rows: Iterable[StageRow]) -> None:
        """Stage exactly these rows."""
        with self.transaction(), self._errors():
            self._db.execute("DELETE FROM rows")
            self._db.execute("DELETE FROM trees")
            self._db.executemany(_INSERT, map(_values, rows))

    def cached_tree(self, folder: str) -> ObjectId | None:
        """Return the tree that a folder's rows make, where it is remembered; the root is empty."""
        with self._errors():
            found = self._db.execute("SELECT id FROM trees WHERE folder = ?", (folder,)).fetchone()
            return None if found is None else _tree_id(found[0])

    def cached_trees(self) -> dict[str, ObjectId]:
        """Return all remembered trees by folder."""
        with self._errors():
            return {folder: _tree_id(oid) for folder, oid in self._db.execute("SELECT folder, id FROM trees")}

    def remember_trees(self, trees: Iterable[tuple[str, ObjectId]]) -> None:
        """Remember trees that are stored durably and that the rows as they stand make."""
        with self.transaction(), self._errors():
            self._db.executemany("INSERT OR REPLACE INTO trees VALUES (?, ?)", trees)

    def _forget_above(self, paths: Iterable[str]) -> None:
        folders: set[str] = set()
        for path in paths:
            for folder in folders_above(path):
                if folder in folders:
                    break
                folders.add(folder)
        self._db.executemany("DELETE FROM trees WHERE folder = ?", ((folder,) for folder in folders))

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise UnsupportedFormatError(
                "The staging index was written by a newer version of mediagit.", hint="Update mediagit."
            )
        # Not WAL: its shared memory does not work on network drives, where many projects live.
        self._db.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
        self._db.execute("PRAGMA synchronous = FULL")
        if version == 0:
            with self.transaction():
                if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:  # else another process was first
                    for statement in _SCHEMA.split(";"):
                        self._db.execute(statement)
                    self._db.executemany(_INSERT, map(_values, self._first()))
                    self._db.execute(f"PRAGMA user_version = {_VERSION}")
                    self.made = True

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except MediaVaultError:
            raise
        except sqlite3.Error as error:
            raise _translated(error, self._path) from error


def _translated(error: sqlite3.Error, path: Path) -> MediaVaultError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return RepositoryBusyError(
            "Another mediagit command is working in this repository.",
            untouched="Nothing was changed.",
            hint="Wait until it has ended, then run this one again.",
        )
    if code == sqlite3.SQLITE_FULL:
        return StorageError("The disk is full.", untouched="What is staged is as it was.")
    if code in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}:
        return StorageError(f"The staging index {path} cannot be used: {error}.")
    return StageDamagedError(f"The staging index {path} is damaged ({error}).")


def _is_text(path: str) -> bool:
    """Say whether a path can be staged at all: a name that is not UTF-8 never is, and the database refuses it."""
    if path.isascii():
        return True
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _values(row: StageRow) -> tuple[object, ...]:
    kind, oid = row.child or (0, b"")
    return (
        row.path,
        int(row.mode),
        row.size,
        row.digest,
        int(kind),
        oid,
        row.target,
        row.mtime_ns,
        row.ctime_ns,
        row.inode,
        row.checked_ns,
    )


_MODES: Final = {int(mode): mode for mode in (Mode.FILE, Mode.EXECUTABLE, Mode.SYMLINK)}
_KINDS: Final = {0: Kind.CHUNK, 1: Kind.CHUNK, 2: Kind.MANIFEST}
"""0 stands for no child."""


def _row(values: tuple[str, int, int, bytes, int, bytes, str, int, int, int, int]) -> StageRow:
    path, mode, size, digest, kind, oid, target, mtime_ns, ctime_ns, inode, checked_ns = values
    if kind in _KINDS and mode in _MODES and len(digest) == ID_BYTES and (not kind or len(oid) == ID_BYTES):
        child = Link(_KINDS[kind], oid) if kind else None
        return StageRow(path, _MODES[mode], size, digest, child, target, mtime_ns, ctime_ns, inode, checked_ns)
    raise StageDamagedError(f"The staging index is damaged in the row of {path!r}.")


def _tree_id(oid: bytes) -> ObjectId:
    if len(oid) != ID_BYTES:
        raise StageDamagedError("The staging index is damaged: it remembers a tree that has no id.")
    return oid
