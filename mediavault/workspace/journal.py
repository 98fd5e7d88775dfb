"""The records of a checkout and their bytes on disk: what is to be moved, removed and noted; doing it is for others.

File: magic, then blocks of u32 LE length and msgpack, then BLAKE3 of all before it. The first block is the Intent, the
second the small lists, and each that follows holds up to 512 writes.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3

from mediavault.errors import IntegrityError
from mediavault.model.ids import Kind, Link
from mediavault.model.objects import Mode, TreeEntry
from mediavault.workspace.layout import Head
from mediavault.workspace.scan import ScannedFile
from mediavault.workspace.stage import StageRow
from mediavault_backends import fsio

_MAGIC: Final = b"MVCJ\x01\n"
_BLOCK_WRITES: Final = 512
_HASH_BYTES: Final = 32
_NOWHERE: Final = frozenset(("", ".", ".."))
_CHILDREN: Final = frozenset((b"", bytes((Kind.CHUNK,)), bytes((Kind.MANIFEST,))))


class Intent(msgspec.Struct, frozen=True):
    """What a checkout is part of, so that it can be finished after a crash.

    Attributes:
        verb: for messages, such as "switch to 'grade'".
        head: what HEAD says afterwards; None leaves it.
        ref: a ref to move afterwards, empty for none.
        ref_from: the commit it stood at, empty for none.
        ref_to: the commit it moves to.
    """

    verb: str
    head: Head | None = None
    ref: str = ""
    ref_from: bytes = b""
    ref_to: bytes = b""


class Stamp(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """How a working file looked when the plan was made; it is touched only while it still looks so."""

    mode: Mode
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Write(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A path and the content that it is to have.

    Attributes:
        path: relative to the root.
        mode: a file, an executable or a symlink.
        size: bytes of the content.
        digest: BLAKE3 of the content.
        child: kind and id of what holds the content; empty for none.
        target: a symlink's text.
        before: what stands there now; None for nothing.
        only_mode: the content is there already, only the executable bit is to change.
    """

    path: str
    mode: Mode
    size: int
    digest: bytes
    child: bytes
    target: str
    before: Stamp | None
    only_mode: bool = False

    def link(self) -> Link | None:
        """Return what holds the content."""
        return Link(Kind(self.child[0]), self.child[1:]) if self.child else None

    def row(self) -> StageRow:
        """Return the row of this content, without a stamp."""
        return StageRow(self.path, self.mode, self.size, self.digest, self.link(), self.target)


class Delete(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A working file to remove, as it stands."""

    path: str
    before: Stamp


class Lists(msgspec.Struct, frozen=True):
    """What a checkout does besides writing.

    Attributes:
        deletes: working files to remove.
        cleared: folders to remove first, deepest first, because a file comes in their place.
        fresh: folders that do not exist yet, none inside another, in path order; each is made aside and renamed whole.
        kept: rows of files that have the wanted content already.
        forgotten: paths to take out of the stage.
        trees: folders whose remembered trees are known afterwards.
        keep_stage: leave the stage's content alone and only renew stamps.
    """

    deletes: list[Delete]
    cleared: list[str]
    fresh: list[str]
    kept: list[StageRow]
    forgotten: list[str]
    trees: list[tuple[str, bytes]]
    keep_stage: bool


def stamp_of(file: ScannedFile) -> Stamp:
    """Return the stamp of a scanned file."""
    return Stamp(file.mode, file.size, file.mtime_ns, file.ctime_ns, file.inode)


def write_of(path: str, entry: TreeEntry, before: ScannedFile | None, *, only_mode: bool = False) -> Write:
    """Return the record that gives a path an entry's content."""
    child = bytes((entry.child.kind,)) + entry.child.id if entry.child else b""
    stamp = None if before is None else stamp_of(before)
    return Write(path, entry.mode, entry.size, entry.digest, child, entry.target, stamp, only_mode)


class WriteList:
    """A long list of writes in the little memory of its stored form; add to it, then iterate as often as needed."""

    def __init__(self, blocks: Iterable[bytes] = ()) -> None:
        self._blocks = list(blocks)
        self._last: list[Write] = []
        self._count = sum(len(_decode_block(block)) for block in self._blocks)

    def append(self, write: Write) -> None:
        """Add one."""
        self._last.append(write)
        self._count += 1
        if len(self._last) == _BLOCK_WRITES:
            self._blocks.append(msgspec.msgpack.encode(self._last))
            self._last = []

    def blocks(self) -> Iterator[bytes]:
        """Yield the stored form."""
        yield from self._blocks
        if self._last:
            yield msgspec.msgpack.encode(self._last)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Write]:
        for block in self._blocks:
            yield from _decode_block(block)
        yield from self._last


_writes_decoder = msgspec.msgpack.Decoder(list[Write])


def _decode_block(block: bytes) -> list[Write]:
    return _writes_decoder.decode(block)


class StagedNames:
    """Where the new file of each write waits in `.mediagit/checkout`.

    Args:
        fresh: see Lists.
    """

    def __init__(self, fresh: Sequence[str]) -> None:
        self._prefixes = [folder + "/" for folder in fresh]

    def group(self, path: str) -> int:
        """Return which of the fresh folders a path is in; -1 for none."""
        at = bisect_right(self._prefixes, path) - 1
        return at if at >= 0 and path.startswith(self._prefixes[at]) else -1

    def place(self, number: int, path: str) -> str:
        """Return the file's place: the write's number, or for a fresh folder its path inside the folder's stand-in."""
        group = self.group(path)
        return str(number) if group < 0 else f"{self.folder(group)}/{path[len(self._prefixes[group]) :]}"

    def folder(self, group: int) -> str:
        """Return the stand-in of a fresh folder."""
        return f"f{group}"


class Journal(msgspec.Struct, frozen=True):
    """A checkout that is to be finished whatever happens."""

    intent: Intent
    lists: Lists
    writes: WriteList


def encode_journal(journal: Journal) -> Iterator[bytes]:
    """Yield the file's bytes in parts."""
    hasher = blake3()
    for part in _parts(journal):
        hasher.update(part)
        yield part
    yield hasher.digest()


def _parts(journal: Journal) -> Iterator[bytes]:
    yield _MAGIC
    first = (msgspec.msgpack.encode(journal.intent), msgspec.msgpack.encode(journal.lists))
    for block in (*first, *journal.writes.blocks()):
        yield len(block).to_bytes(4, "little")
        yield block


def write_journal(path: Path, journal: Journal) -> None:
    """Write a journal whole or not at all; durable afterwards.

    Raises:
        OSError: the disk failed or is full.
    """
    temporary = path.with_suffix(".new")
    with fsio.new_file(temporary) as fd:
        fsio.write_all(fd, encode_journal(journal))
        fsio.sync_file(fd, temporary)
        fsio.place(temporary, path, exclusive=False)
        fsio.sync_folder(path.parent)


def read_journal(path: Path) -> Journal | None:
    """Read a journal back; None where there is none.

    Raises:
        IntegrityError: it is damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return decode_journal(data, path)


def decode_journal(data: bytes, path: Path) -> Journal:
    """Read a journal's bytes; `path` is for messages.

    Raises:
        IntegrityError: it is damaged.
    """
    body, digest = data[:-_HASH_BYTES], data[-_HASH_BYTES:]
    if not body.startswith(_MAGIC) or blake3(body).digest() != digest:
        raise _damaged(path)
    try:
        intent, lists, *writes = _blocks(body)
        journal = Journal(
            msgspec.msgpack.decode(intent, type=Intent), msgspec.msgpack.decode(lists, type=Lists), WriteList(writes)
        )
    except (ValueError, msgspec.MsgspecError, RecursionError) as error:
        raise _damaged(path) from error
    if not all(map(_stays_inside, _paths(journal))) or not all(
        write.child[:1] in _CHILDREN for write in journal.writes
    ):
        raise _damaged(path)
    return journal


def _paths(journal: Journal) -> Iterator[str]:
    """Yield what a checkout writes, removes and makes."""
    yield from (write.path for write in journal.writes)
    yield from (delete.path for delete in journal.lists.deletes)
    yield from journal.lists.cleared
    yield from journal.lists.fresh


def _stays_inside(path: str) -> bool:
    """Say whether a path is relative to the root and does not lead out of it: whoever made the file could sign it."""
    return not any(name in _NOWHERE for name in path.split("/"))


def _blocks(body: bytes) -> Iterator[bytes]:
    at = len(_MAGIC)
    while at < len(body):
        end = at + 4 + int.from_bytes(body[at : at + 4], "little")
        yield body[at + 4 : end]
        at = end


def _damaged(path: Path) -> IntegrityError:
    return IntegrityError(
        "The journal of a checkout that was interrupted is damaged.",
        untouched="Files of the working tree may be the old ones or the new ones.",
        hint=f"Remove {path}, then compare with 'mediagit status'.",
    )
