"""Packs of the upstream server, read through the cache; each frame is compared with the pack's table before it is kept or sent.

A pack's table is fetched first; its hash is the pack's name. Frames are fetched and kept in runs of about 4 MiB that begin and end
where frames do, so that every byte is vouched for by a checksum of the table.
"""

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing
from typing import Final, NamedTuple

from blake3 import blake3

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.frame import CHECKSUM_BYTES
from mediavault.formats.pack import MAX_PACK, PACK_FOOTER_BYTES, PACK_HEADER_BYTES, PackRow, parse_footer
from mediavault.model.ids import ObjectId
from mediavault.store.keys import MAX_PACK_ROWS
from mediavault.store.pack_table import PackTable, parse_pack
from mediavault_backends.api import Buffer
from mediavault_backends.disk_cache import DamagedEntryError, DiskCache
from mediavault_server.upstream.origin import Caller, Origin, damaged

AHEAD: Final = 4 << 20
"""Bytes of frames that are fetched and kept together, and a frame more."""
TAIL: Final = 64 << 10
"""Bytes of a pack's end that are asked for first: as a rule, the whole table."""
MAX_TABLE: Final = MAX_PACK_ROWS * 65 + PACK_FOOTER_BYTES
KNOWN: Final = 16 << 20
"""Bytes of tables that a process holds."""
_TABLE: Final = "table"


class Outline(NamedTuple):
    """How a pack is cut into runs.

    Attributes:
        size: of the pack in bytes.
        edges: where runs start, and where the last one ends and the table starts.
        around: all bytes that are no frames: header, table, footer.
    """

    size: int
    edges: tuple[int, ...]
    around: bytes


class CachedPacks:
    """The packs of an upstream server. Safe to use from several threads and processes.

    Args:
        origin: where they are.
        cache: where they are kept.
    """

    def __init__(self, origin: Origin, cache: DiskCache) -> None:
        self._origin = origin
        self._cache = cache
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, ObjectId], Outline] = OrderedDict()

    def outline(self, caller: Caller, pack: ObjectId) -> Outline:
        """Return how a pack is cut; who may know it was asked before.

        Raises:
            UpstreamAnswerError: there is no such pack.
            RequestRefusedError: upstream does not answer, or the pack is damaged there.
        """
        key = (caller.project, pack)
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
        found = self._kept_outline(caller, pack) or self._fetched_outline(caller, pack)
        with self._lock:
            self._known[key] = found
            while len(self._known) > 1 and sum(len(o.around) for o in self._known.values()) > KNOWN:
                self._known.popitem(last=False)
        return found

    def stream(self, caller: Caller, pack: ObjectId, start: int, length: int) -> Iterator[Buffer]:
        """Yield a range within a pack, block by block; only frames that the table vouches for.

        Raises:
            UpstreamAnswerError: there is no such pack.
            RequestRefusedError: upstream does not answer, or the pack is damaged there.
        """
        outline = self.outline(caller, pack)
        at, end, frames_end = start, start + length, outline.edges[-1]
        while at < min(end, frames_end):
            upto = min(end, outline.edges[bisect_right(outline.edges, at)])
            yield from self._run(caller, pack, outline, at, upto)
            at = upto
        if at < end:
            first = PACK_HEADER_BYTES + at - frames_end
            yield outline.around[first : first + end - at]

    def _run(self, caller: Caller, pack: ObjectId, outline: Outline, at: int, upto: int) -> Iterator[Buffer]:
        """Yield the bytes from `at` to `upto`, which are in one run."""
        number = bisect_right(outline.edges, at) - 1
        base, stop = outline.edges[number : number + 2]
        for _ in range(2):
            entry = self._cache.fetch(
                self._name(caller, pack),
                str(number),
                stop - base,
                lambda: self._fetched(caller, pack, outline, base, stop),
            )
            if entry is None:
                break
            with entry:
                try:
                    for block in entry.blocks(at - base, upto - at):
                        yield block
                        at += len(block)
                except DamagedEntryError:
                    continue
            return
        for frame in self._fetched(caller, pack, outline, base, stop):
            wanted = memoryview(frame)[max(0, at - base) : max(0, upto - base)]
            if wanted:
                yield wanted
            base += len(frame)

    def _fetched(self, caller: Caller, pack: ObjectId, outline: Outline, base: int, stop: int) -> Iterator[bytes]:
        """Yield a run frame by frame, each checked; what came damaged is fetched once more."""
        rows = [row for row in _parsed(outline.around, pack).rows if base <= row.offset < stop]
        if base < PACK_HEADER_BYTES:
            yield outline.around[:PACK_HEADER_BYTES]
        for again in (False, True):
            with closing(self._origin.pack_bytes(caller, pack, rows[0].offset, stop - rows[0].offset)) as blocks:
                for frame in _frames(blocks, list(rows)):
                    if frame is None:
                        break
                    yield frame
                    rows.pop(0)
            if not rows:
                return
            if again:
                raise damaged(f"Pack {pack.hex()} at {rows[0].offset}: a frame's checksum does not match its bytes.")

    def _kept_outline(self, caller: Caller, pack: ObjectId) -> Outline | None:
        entry = self._cache.open(self._name(caller, pack), _TABLE)
        if entry is None:
            return None
        with entry:
            try:
                around = entry.read(0, entry.size)
                return _cut(around, _parsed(around, pack))
            except (DamagedEntryError, FormatError, UnsupportedFormatError):
                return None

    def _fetched_outline(self, caller: Caller, pack: ObjectId) -> Outline:
        name = self._name(caller, pack)
        with self._cache.turn(name, _TABLE):
            kept = self._kept_outline(caller, pack)
            if kept is not None:
                return kept
            outline = self._checked_outline(caller, pack)
            entry = self._cache.store(name, _TABLE, len(outline.around), (outline.around,))
            if entry is not None:
                entry.close()
        return outline

    def _checked_outline(self, caller: Caller, pack: ObjectId) -> Outline:
        """Fetch and check a pack's table; one that came damaged once more."""
        for again in (False, True):
            try:
                around = self._table_bytes(caller, pack)
                return _cut(around, _parsed(around, pack))
            except (FormatError, UnsupportedFormatError) as error:
                if again:
                    raise damaged(f"Pack {pack.hex()}: {error.message}") from error
        raise AssertionError

    def _table_bytes(self, caller: Caller, pack: ObjectId) -> bytes:
        end, size = self._origin.pack_end(caller, pack, TAIL)
        footer = parse_footer(end)
        length = size - footer.table_offset
        if not PACK_FOOTER_BYTES < length <= MAX_TABLE or size > MAX_PACK:
            raise FormatError("A pack's footer does not agree with its size.")
        missing = length - len(end)
        if missing > 0:
            end = b"".join(self._origin.pack_bytes(caller, pack, footer.table_offset, missing)) + end
        head = b"".join(self._origin.pack_bytes(caller, pack, 0, PACK_HEADER_BYTES))
        return head + end[-length:]

    def _name(self, caller: Caller, pack: ObjectId) -> str:
        return f"{self._origin.url}{caller.project}/packs/{pack.hex()}"


def _frames(blocks: Iterator[bytes], rows: list[PackRow]) -> Iterator[bytes | None]:
    """Yield the frames of these rows from the bytes of all of them; None for the first that is not what its row says."""
    pending = bytearray()
    for block in blocks:
        pending += block
        while rows and len(pending) >= rows[0].length:
            row = rows.pop(0)
            frame = bytes(memoryview(pending)[: row.length])
            del pending[: row.length]
            if frame[-CHECKSUM_BYTES:] != row.checksum or not _is_sound(frame):
                yield None
                return
            yield frame


def _is_sound(frame: bytes) -> bool:
    return blake3(memoryview(frame)[:-CHECKSUM_BYTES]).digest(CHECKSUM_BYTES) == frame[-CHECKSUM_BYTES:]


def _parsed(around: bytes, pack: ObjectId) -> PackTable:
    """Read a pack's table from all of it that is no frame.

    Raises:
        FormatError: it is damaged, or another pack's.
        UnsupportedFormatError: a newer version made it.
    """
    end = parse_footer(around).table_offset
    size = end + len(around) - PACK_HEADER_BYTES

    def read(start: int, length: int) -> bytes:
        first = start if start < PACK_HEADER_BYTES else start - end + PACK_HEADER_BYTES
        return around[first : first + length]

    table = parse_pack(read, size)
    if table.pack_id != pack:
        raise FormatError("A pack's table does not match its name.")
    return table


def _cut(around: bytes, table: PackTable) -> Outline:
    edges = [0]
    for row in table.rows:
        if row.offset - edges[-1] >= AHEAD:
            edges.append(row.offset)
    return Outline(table.end + len(around) - PACK_HEADER_BYTES, (*edges, table.end), around)
