"""Knows how to read what a pack says of itself, its table, and nothing more of the pack than that needs."""

from collections.abc import Callable

import msgspec

from mediavault.errors import FormatError
from mediavault.formats.pack import (
    PACK_FOOTER_BYTES,
    PACK_HEADER_BYTES,
    PackRow,
    pack_id,
    parse_footer,
    parse_pack_header,
    parse_table,
    row_bytes,
)
from mediavault.model.ids import ObjectId
from mediavault.store.keys import MAX_PACK_ROWS, pack_key
from mediavault_backends.api import Backend, Buffer


class PackTable(msgspec.Struct, frozen=True, gc=False):
    """A pack's name, whether its rows carry raw lengths, its rows by offset, and where the frames end."""

    pack_id: ObjectId
    plain: bool
    rows: list[PackRow]
    end: int


def read_pack_table(backend: Backend, pack: ObjectId) -> PackTable:
    """Read and verify the table of a stored pack, with three small reads.

    Raises:
        FormatError: the pack is cut or damaged, or is not what its name says.
        NotFoundError: there is no such pack (of the Backend's errors).
    """
    key = pack_key(pack)
    table = parse_pack(lambda start, length: backend.read(key, start, length), backend.stat(key).size)
    if table.pack_id != pack:
        raise FormatError("A pack's table does not match its name.")
    return table


def parse_pack(read: Callable[[int, int], Buffer], size: int) -> PackTable:
    """Read a pack's header, footer and table.

    Args:
        read: returns the bytes of a range given as offset and length.
        size: of the whole pack in bytes.

    Raises:
        FormatError: the pack is cut or damaged, or has more rows than a pack may have.
    """
    if size < PACK_HEADER_BYTES + PACK_FOOTER_BYTES:
        raise FormatError("A pack is cut.")
    header = parse_pack_header(read(0, PACK_HEADER_BYTES))
    footer = parse_footer(read(size - PACK_FOOTER_BYTES, PACK_FOOTER_BYTES))
    if footer.row_count > MAX_PACK_ROWS:
        raise FormatError(f"A pack has {footer.row_count} frames; {MAX_PACK_ROWS} are the most.")
    length = footer.row_count * row_bytes(header.plain)
    if footer.table_offset + length + PACK_FOOTER_BYTES != size:
        raise FormatError("A pack's footer does not agree with its size.")
    table = read(footer.table_offset, length)
    rows = parse_table(table, footer, header.plain)
    return PackTable(pack_id(header.nonce, table), header.plain, rows, footer.table_offset)
