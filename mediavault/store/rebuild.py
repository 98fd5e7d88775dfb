"""Knows how to make the index anew from the packs alone, when it is lost or damaged.

Who calls this holds the store alone. Metadata whose links lead nowhere is left out, until none is left: in a store,
being indexed means being complete.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

import msgspec

from mediavault.errors import FormatError
from mediavault.formats.frame import Frame, parse_frame
from mediavault.formats.index import IndexBlob, encode_index, index_id
from mediavault.formats.pack import PACK_HEADER_BYTES, PackRow, parse_pack_header, row_of, walk_frames_in
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import INDEX, PACKS, index_key, named_by, pack_key
from mediavault.store.pack_table import read_pack_table
from mediavault_backends.api import Absent, Backend
from mediavault_backends.errors import PreconditionFailedError

BLOB_ROWS: Final = 1 << 19
"""How many rows one blob gets, which bounds the memory that chunks take."""


class Rebuilt(msgspec.Struct, frozen=True, gc=False):
    """What the new index covers, how many metadata frames were left out, and packs of which only a part could be read."""

    packs: int
    frames: int
    dropped: int
    cut: list[ObjectId]


class _Node(msgspec.Struct, frozen=True, gc=False):
    """A metadata frame: its place, and the metadata that it links to."""

    pack: ObjectId
    row: PackRow
    links: tuple[Link, ...]


def rebuild_index(backend: Backend, *, clock: Callable[[], int] = time.time_ns) -> Rebuilt:
    """Write a new index over all packs, then remove the old one. A crash between leaves both, which is no harm.

    Args:
        backend: the store, held alone.
        clock: gives the time of writing in ns since 1970-01-01 UTC.

    Raises:
        BackendError: the store failed; the old index is still there.
    """
    old = ObjectIndex(backend, tolerant=True)
    condemned = frozenset(pack.id for blob in old.blobs() for pack in blob.packs if pack.condemned)
    writer = _BlobWriter(backend, clock, condemned)
    cut: list[ObjectId] = []
    with_metadata: dict[ObjectId, list[PackRow]] = {}
    for pack, rows, whole in _packs(backend):
        if not whole:
            cut.append(pack)
        writer.add(pack, [row for row in rows if row.kind == Kind.CHUNK])
        if any(row.kind != Kind.CHUNK for row in rows):
            with_metadata[pack] = [row for row in rows if row.kind != Kind.CHUNK]
    writer.flush()
    nodes, lost = _nodes(backend, with_metadata, writer.has)
    alive = _closed(nodes)
    rows_left: dict[ObjectId, list[PackRow]] = {}
    for node in alive:
        rows_left.setdefault(node.pack, []).append(node.row)
    for pack, rows in rows_left.items():
        writer.add(pack, rows)
    writer.flush()
    for stat in list(backend.scan(INDEX)):
        if named_by(stat.key) not in writer.names:
            backend.delete(stat.key)
    return Rebuilt(len(writer.packs), writer.rows, lost + len(nodes) - len(alive), cut)


class _BlobWriter:
    """Puts index blobs of bounded length, and answers from those that it put."""

    def __init__(self, backend: Backend, clock: Callable[[], int], condemned: frozenset[ObjectId]) -> None:
        self._backend = backend
        self._clock = clock
        self._condemned = condemned
        self._waiting: dict[ObjectId, list[PackRow]] = {}
        self._count = 0
        self._blobs: list[IndexBlob] = []
        self.names: set[ObjectId] = set()
        self.packs: set[ObjectId] = set()
        self.rows = 0

    def add(self, pack: ObjectId, rows: list[PackRow]) -> None:
        if not rows:
            return
        self._waiting[pack] = rows
        self._count += len(rows)
        self.packs.add(pack)
        self.rows += len(rows)
        if self._count >= BLOB_ROWS:
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        data = encode_index(self._waiting, self._clock(), condemned=self._condemned & self._waiting.keys())
        name = index_id(data)
        with suppress(PreconditionFailedError):  # the name vouches for the content
            self._backend.put(index_key(name), data, when=Absent())
        self.names.add(name)
        self._blobs.append(IndexBlob(data))
        self._waiting, self._count = {}, 0

    def has(self, oid: ObjectId) -> bool:
        return any(blob.find(oid) for blob in self._blobs)


def _packs(backend: Backend) -> Iterator[tuple[ObjectId, list[PackRow], bool]]:
    """Yield each pack's name, its rows, and whether its own table gave them."""
    for stat in backend.scan(PACKS):
        pack = named_by(stat.key)
        if pack is None:
            continue
        try:
            yield pack, read_pack_table(backend, pack).rows, True
        except FormatError:
            yield pack, _walked_rows(backend, stat.key, stat.size), False


def _walked_rows(backend: Backend, key: str, size: int) -> list[PackRow]:
    rows = []
    try:
        plain = parse_pack_header(backend.read(key, 0, PACK_HEADER_BYTES)).plain
        for offset, frame in walk_frames_in(lambda start, length: backend.read(key, start, length), end=size):
            rows.append(row_of(frame, offset, plain))
    except FormatError:
        pass  # what was read before is good
    return rows


def _nodes(
    backend: Backend, packs: dict[ObjectId, list[PackRow]], has_chunk: Callable[[ObjectId], bool]
) -> tuple[list[_Node], int]:
    """Return the readable metadata frames whose chunks are there, and how many others there are."""
    nodes = []
    lost = 0
    for pack, rows in packs.items():
        for row in rows:
            frame = _frame(backend, pack, row)
            links = () if frame is None else frame.header.links
            if frame is None or not all(has_chunk(link.id) for link in links if link.kind == Kind.CHUNK):
                lost += 1
                continue
            nodes.append(_Node(pack, row, tuple(link for link in links if link.kind != Kind.CHUNK)))
    return nodes, lost


def _frame(backend: Backend, pack: ObjectId, row: PackRow) -> Frame | None:
    try:
        frame = parse_frame(backend.read(pack_key(pack), row.offset, row.length))
    except FormatError:
        return None
    return frame if (frame.header.id, frame.header.kind) == (row.id, row.kind) else None


def _closed(nodes: list[_Node]) -> list[_Node]:
    """Return those nodes that lead only to others of them; an object counts as long as one of its frames is left."""
    while True:
        there = {Link(node.row.kind, node.row.id) for node in nodes}
        left = [node for node in nodes if there.issuperset(node.links)]
        if len(left) == len(nodes):
            return left
        nodes = left
