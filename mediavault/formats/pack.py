"""The pack: frames one after another, then a table of them and a footer. What goes into which pack is left to the store."""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
from blake3 import blake3

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.frame import MAX_FRAME, SUITE_PLAIN, Buffer, Frame, frame_size, parse_frame
from mediavault.formats.payload import decode_payload
from mediavault.model.ids import Kind, ObjectId

PACK_VERSION = 1
NONCE_BYTES = 16
PACK_HEADER_BYTES = 24
PACK_FOOTER_BYTES = 48
MAX_PACK = 256 << 20

_HEADER = struct.Struct("<4sHH16s")
_FOOTER = struct.Struct("<QI32s4s")
_ROW = struct.Struct("<32sBQI16s")
_PLAIN_ROW = struct.Struct("<32sBQI16sI")
_MAGIC = b"MVPK"
_END_MAGIC = b"MVPE"
_FLAG_PLAIN = 1
_KINDS = dict(enumerate(Kind, start=1))


class PackHeader(msgspec.Struct, frozen=True, gc=False):
    """How a pack begins: its nonce, and whether it belongs to a plain repository (its rows carry raw lengths)."""

    nonce: bytes
    plain: bool


class PackRow(msgspec.Struct, frozen=True, gc=False):
    """One frame of a pack: `offset` from the pack's start and `length`, both in bytes; `raw_length` only in plain packs."""

    id: ObjectId
    kind: Kind
    offset: int
    length: int
    checksum: bytes
    raw_length: int | None = None


class Footer(msgspec.Struct, frozen=True, gc=False):
    """How a pack ends: where the table starts, its rows, and its BLAKE3."""

    table_offset: int
    row_count: int
    table_hash: bytes


def row_bytes(plain: bool) -> int:
    """Return the length of one table row in bytes."""
    return _PLAIN_ROW.size if plain else _ROW.size


def pack_id(nonce: bytes, table: bytes | bytearray | memoryview) -> bytes:
    """Return a pack's name: BLAKE3 of nonce and table."""
    hasher = blake3(nonce)
    hasher.update(table)
    return hasher.digest()


def encode_pack_header(nonce: bytes, plain: bool) -> bytes:
    """Return the first 24 bytes of a pack; `nonce` is 16 random bytes."""
    if len(nonce) != NONCE_BYTES:
        raise FormatError("A pack's nonce has 16 bytes.")
    return _HEADER.pack(_MAGIC, PACK_VERSION, _FLAG_PLAIN if plain else 0, nonce)


def parse_pack_header(data: Buffer) -> PackHeader:
    """Read the header at the start of `data`.

    Raises:
        FormatError: this is no pack.
        UnsupportedFormatError: a newer version wrote it.
    """
    if len(data) < PACK_HEADER_BYTES:
        raise FormatError("A pack is cut within its header.")
    magic, version, flags, nonce = _HEADER.unpack_from(data)
    if magic != _MAGIC or version == 0:
        raise FormatError("This is not a pack.")
    if version > PACK_VERSION:
        raise UnsupportedFormatError(
            f"A pack has version {version}; this program reads version {PACK_VERSION}.",
            hint="Install a newer version of MediaVault.",
        )
    if flags & ~_FLAG_PLAIN:
        raise FormatError("A pack has unknown flags.")
    return PackHeader(nonce, flags == _FLAG_PLAIN)


def encode_table(rows: Iterable[PackRow], plain: bool) -> bytes:
    """Return the table; rows stand in the order of their offsets.

    Raises:
        FormatError: a raw length is missing in a plain pack or given in another.
    """
    if plain:
        pack = _PLAIN_ROW.pack
        parts = [pack(row.id, row.kind, row.offset, row.length, row.checksum, row.raw_length or 0) for row in rows]
        if any(part[-4:] == b"\0\0\0\0" for part in parts):
            raise FormatError("A row of a plain pack lacks its raw length.")
    else:
        parts = []
        for row in rows:
            if row.raw_length is not None:
                raise FormatError("A row of an encrypted pack tells a raw length.")
            parts.append(_ROW.pack(row.id, row.kind, row.offset, row.length, row.checksum))
    return b"".join(parts)


def encode_footer(table_offset: int, row_count: int, table: Buffer) -> bytes:
    """Return the last 48 bytes of a pack."""
    return _FOOTER.pack(table_offset, row_count, blake3(table).digest(), _END_MAGIC)


def parse_footer(tail: Buffer) -> Footer:
    """Read the footer from the last 48 bytes of `tail`, which ends where the pack ends.

    The table is what stands between `table_offset` and the footer; `parse_table` refuses it at any other length.

    Raises:
        FormatError: the pack is cut, empty or larger than the format allows.
    """
    if len(tail) < PACK_FOOTER_BYTES:
        raise FormatError("A pack is cut.")
    table_offset, row_count, table_hash, magic = _FOOTER.unpack_from(tail, len(tail) - PACK_FOOTER_BYTES)
    if magic != _END_MAGIC:
        raise FormatError("A pack does not end with a footer: it is cut.")
    size = table_offset + row_count * _ROW.size + PACK_FOOTER_BYTES
    if not row_count or table_offset < PACK_HEADER_BYTES or size > MAX_PACK:
        raise FormatError("A pack's footer is out of range.")
    return Footer(table_offset, row_count, table_hash)


def parse_table(table: Buffer, footer: Footer, plain: bool) -> list[PackRow]:
    """Read the table that `footer` describes.

    Raises:
        FormatError: a wrong hash or length, an unknown kind, or rows whose frames do not tile the pack exactly.
    """
    if len(table) != footer.row_count * row_bytes(plain):
        raise FormatError("A pack's table is cut.")
    if blake3(table).digest() != footer.table_hash:
        raise FormatError("A pack's table does not match its footer.")
    try:
        if plain:
            rows = [
                PackRow(oid, _KINDS[kind], offset, length, checksum, raw)
                for oid, kind, offset, length, checksum, raw in _PLAIN_ROW.iter_unpack(table)
            ]
        else:
            rows = [
                PackRow(oid, _KINDS[kind], offset, length, checksum)
                for oid, kind, offset, length, checksum in _ROW.iter_unpack(table)
            ]
    except KeyError as error:
        raise FormatError("A pack's table names an unknown kind.") from error
    _check_tiling(rows, footer.table_offset)
    return rows


def _check_tiling(rows: Sequence[PackRow], end: int) -> None:
    at = PACK_HEADER_BYTES
    for row in rows:
        if row.offset != at or not 0 < row.length <= MAX_FRAME or row.raw_length == 0:
            raise FormatError("A pack's rows do not follow one another.")
        at += row.length
    if at != end:
        raise FormatError("A pack's frames do not end where its table starts.")


def row_of(frame: Frame, offset: int, plain: bool) -> PackRow:
    """Return the table row of a frame that starts at `offset`.

    Raises:
        FormatError: the frame's suite does not fit the pack, or its payload does not parse (plain packs).
    """
    header = frame.header
    if (header.suite == SUITE_PLAIN) != plain:
        raise FormatError("A frame's suite does not fit its pack.")
    raw_length = decode_payload(frame.body).raw_length if plain else None
    return PackRow(header.id, header.kind, offset, frame.size, frame.checksum, raw_length)


def walk_frames(data: Buffer, *, start: int = PACK_HEADER_BYTES, end: int | None = None) -> Iterator[tuple[int, Frame]]:
    """Yield offset and frame for each whole frame from `start` on, and stop at the first byte that starts none.

    This is how the rows of a cut pack, or of a spool, are made again. Works on a memory map without copying.
    """
    limit = len(data) if end is None else end
    view = memoryview(data)[:limit]
    at = start
    while at < limit:
        try:
            frame = parse_frame(view, at)
        except (FormatError, UnsupportedFormatError):
            return
        yield at, frame
        at += frame.size


def walk_frames_in(
    read: Callable[[int, int], bytes], *, start: int = PACK_HEADER_BYTES, end: int
) -> Iterator[tuple[int, Frame]]:
    """Like `walk_frames`, for what can only be read in ranges; holds one window of 8 MiB or one frame.

    Args:
        read: returns the bytes from an offset on, at most as many as asked, fewer only at the end.
        start: where the first frame begins.
        end: where the frames or the bytes end.
    """
    at, window_at, window = start, start, b""
    while at < end:
        frame = _whole_frame(window, at - window_at)
        if frame is None:
            fresh = read(at, min(max(8 << 20, MAX_FRAME), end - at))
            if window_at == at and len(fresh) <= len(window):
                return
            window_at, window = at, fresh
            frame = _whole_frame(window, 0)
            if frame is None:
                return
        yield at, frame
        at += frame.size


def _whole_frame(window: bytes, offset: int) -> Frame | None:
    try:
        size = frame_size(window, offset)
        if size is None or offset + size > len(window):
            return None
        return parse_frame(window, offset)
    except (FormatError, UnsupportedFormatError):
        return None
