"""Knows what dead writers leave behind, and keeps the chunks of it: a killed command goes on where it was.

Chunks lead nowhere, so a whole frame is worth keeping whoever wrote it and however far they came. Metadata is
dropped: what it leads to may not have been stored.
"""

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from mediavault.errors import FormatError
from mediavault.formats.pack import (
    NONCE_BYTES,
    PACK_HEADER_BYTES,
    PackRow,
    encode_footer,
    encode_pack_header,
    encode_table,
    pack_id,
    parse_pack_header,
    row_of,
    walk_frames,
)
from mediavault.model.ids import ID_BYTES, Kind, ObjectId
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import MAX_PACK_ROWS, pack_key
from mediavault.store.pack_table import PackTable, read_pack_table
from mediavault.store.pack_writer import CLASSES, JOURNAL, SPOOL, new_locked_file, write_whole
from mediavault_backends import fsio
from mediavault_backends.api import Absent, Backend, FileSource
from mediavault_backends.errors import NotFoundError

_CHUNKS: Final = CLASSES[0] + "-"


class Salvaged(msgspec.Struct, frozen=True, gc=False):
    """What was kept: frames, their bytes, and the packs that they are in."""

    frames: int
    bytes: int
    packs: int


def salvage(backend: Backend, index: ObjectIndex, spool: Path, *, plain: bool | None = None) -> Salvaged:
    """Keep the chunks that dead writers left in a spool folder, and remove what they left.

    What a living writer holds is not touched, so several processes may call this at once.

    Args:
        backend: the store that the writers wrote for.
        index: learns of the packs.
        spool: the folder of the writers' spools; need not exist.
        plain: whether the repository is plain; spools of the other sort, which a stranger may have sent, are
            removed. None where only one's own writers write there.

    Raises:
        BackendError: the store failed; what was not kept yet is still in the folder.
    """
    rows: dict[ObjectId, list[PackRow]] = {}
    if not spool.is_dir():
        return Salvaged(0, 0, 0)
    with _dead_files(spool, JOURNAL) as journals, _dead_files(spool, SPOOL) as spools:
        if journals:
            # What a dead writer named without syncing is there for all to see, and gone after a power cut.
            fsio.sync_filesystem(spool)
            index.refresh()
            for _, fd in journals:
                rows.update(_put_but_not_indexed(backend, index, fd))
        if journals or spools:
            own_path, own = new_locked_file(spool, "", JOURNAL, os.urandom)
            journals.append((own_path, own))
            for path, fd in spools:
                if path.name.startswith(_CHUNKS):
                    rows.update(_kept(backend, path, fd, own, wanted=plain))
            index.add(rows)
            for path, _ in (*spools, *journals):
                path.unlink(missing_ok=True)
    found = [row.length for table in rows.values() for row in table]
    return Salvaged(len(found), sum(found), len(rows))


def unsettled_packs(spool: Path) -> frozenset[ObjectId]:
    """Return the packs that a salvage will look at: writers put them, or were about to, and perhaps did not index them."""
    found: set[ObjectId] = set()
    for path in spool.glob("*" + JOURNAL):
        names = path.read_bytes()
        found.update(names[at : at + ID_BYTES] for at in range(0, len(names) - ID_BYTES + 1, ID_BYTES))
    return frozenset(found)


@contextmanager
def _dead_files(folder: Path, suffix: str) -> Iterator[list[tuple[Path, int]]]:
    """Hold the files of writers that no longer hold them."""
    held: list[tuple[Path, int]] = []
    try:
        for path in sorted(folder.glob("*" + suffix)):
            fd = _locked(path)
            if fd >= 0:
                held.append((path, fd))
        yield held
    finally:
        for _, fd in held:
            os.close(fd)


def _locked(path: Path) -> int:
    """Open and lock a file; -1 when someone holds it, or it is gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino == path.stat().st_ino:
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return -1


def _put_but_not_indexed(backend: Backend, index: ObjectIndex, journal: int) -> dict[ObjectId, list[PackRow]]:
    """Return the rows of chunk packs that a writer put before it died; remove its other packs, to which nothing leads."""
    indexed = index.packs()
    names = os.pread(journal, os.fstat(journal).st_size, 0)
    found = {}
    for at in range(0, len(names) - ID_BYTES + 1, ID_BYTES):
        name = names[at : at + ID_BYTES]
        table = None if name in indexed else _table(backend, name)
        if table is None:
            continue
        if all(row.kind == Kind.CHUNK for row in table.rows):
            found[name] = table.rows
        else:
            backend.delete(pack_key(name))
    return found


def _table(backend: Backend, pack: ObjectId) -> PackTable | None:
    try:
        return read_pack_table(backend, pack)
    except (NotFoundError, FormatError):
        return None


def _kept(backend: Backend, path: Path, fd: int, journal: int, *, wanted: bool | None) -> dict[ObjectId, list[PackRow]]:
    """Turn the whole frames at the start of a spool into a pack, in the spool's own file."""
    status = os.fstat(fd)
    # With a second name it is a pack already: its writer died between giving that name and removing this one.
    if status.st_nlink != 1 or status.st_size <= PACK_HEADER_BYTES:
        return {}
    try:
        plain = parse_pack_header(os.pread(fd, PACK_HEADER_BYTES, 0)).plain
    except FormatError:
        return {}
    if wanted is not None and plain != wanted:
        return {}
    rows = _whole_rows(fd, status.st_size, plain=plain)
    if not rows:
        return {}
    end = rows[-1].offset + rows[-1].length
    table = encode_table(rows, plain)
    footer = encode_footer(end, len(rows), table)
    nonce = os.urandom(NONCE_BYTES)
    os.ftruncate(fd, end)
    write_whole(fd, encode_pack_header(nonce, plain), at=0)
    write_whole(fd, table + footer, at=end)
    name = pack_id(nonce, table)
    size = end + len(table) + len(footer)
    # Should this process die too, the next one finds the pack by its name.
    write_whole(journal, name)
    backend.put(pack_key(name), FileSource(path, size, adopt=True), when=Absent())
    return {name: rows}


def _whole_rows(fd: int, size: int, *, plain: bool) -> list[PackRow]:
    rows: list[PackRow] = []
    view = memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_READ))
    for offset, frame in walk_frames(view):
        if frame.header.kind != Kind.CHUNK or len(rows) >= MAX_PACK_ROWS:
            break
        try:
            rows.append(row_of(frame, offset, plain))
        except FormatError:
            break
    return rows
