"""Packs: table, footer, tiling, walking what was cut."""

import pytest

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.pack import (
    MAX_PACK,
    PACK_FOOTER_BYTES,
    PACK_HEADER_BYTES,
    Footer,
    PackRow,
    encode_footer,
    encode_pack_header,
    encode_table,
    pack_id,
    parse_footer,
    parse_pack_header,
    parse_table,
    row_bytes,
    walk_frames,
    walk_frames_in,
)
from mediavault.model.ids import Kind
from tests.golden import samples

PLAIN, ROWS = samples.PLAIN_PACK, samples.PLAIN_ROWS
TABLE = encode_table(ROWS, plain=True)
END = 24 + 85 + 85


def _row(offset: int, length: int = 85, kind: Kind = Kind.CHUNK, raw_length: int | None = 5) -> PackRow:
    return PackRow(bytes(32), kind, offset, length, bytes(16), raw_length)


def _parse(rows: list[PackRow], end: int) -> list[PackRow]:
    table = encode_table(rows, plain=True)
    return parse_table(table, parse_footer(encode_footer(end, len(rows), table)), plain=True)


def test_the_name_covers_nonce_and_table() -> None:
    assert pack_id(samples.NONCE, TABLE) == samples.PLAIN_PACK_ID
    assert pack_id(bytes(16), TABLE) != samples.PLAIN_PACK_ID
    assert pack_id(samples.NONCE, TABLE[:-1] + b"!") != samples.PLAIN_PACK_ID


def test_header() -> None:
    header = encode_pack_header(samples.NONCE, plain=False)
    assert parse_pack_header(header + b"more").nonce == samples.NONCE
    assert not parse_pack_header(header).plain
    with pytest.raises(FormatError):
        encode_pack_header(b"short", plain=False)
    with pytest.raises(UnsupportedFormatError):
        parse_pack_header(header[:4] + b"\x02\0" + header[6:])
    for wrong in (
        b"",
        header[:23],
        b"MVPX" + header[4:],
        header[:4] + bytes(2) + header[6:],
        header[:6] + b"\x02\0" + header[8:],
    ):
        with pytest.raises(FormatError):
            parse_pack_header(wrong)


def test_rows_tile_the_pack() -> None:
    assert _parse(ROWS, END) == ROWS
    assert _parse([_row(24), _row(109, kind=Kind.TREE)], END)[1].kind is Kind.TREE
    for rows, end in (
        ([_row(25)], 110),  # a gap after the header
        ([_row(24), _row(110)], 195),  # a gap between
        ([_row(24), _row(108)], 193),  # an overlap
        ([_row(24)], 110),  # a gap before the table
        ([_row(24, 0), _row(24)], 109),  # no bytes
        ([_row(24), _row(24)], 109),
    ):
        with pytest.raises(FormatError):
            _parse(rows, end)


def test_tables_that_do_not_parse() -> None:
    footer = parse_footer(PLAIN)
    assert footer == Footer(END, 2, footer.table_hash)
    unknown_kind = TABLE[:32] + b"\x06" + TABLE[33:]
    for table, described in (
        (TABLE[:-1], footer),
        (TABLE + b"\0", footer),
        (b"", footer),
        (TABLE[:-1] + b"!", footer),
        (unknown_kind, parse_footer(encode_footer(END, 2, unknown_kind))),
    ):
        with pytest.raises(FormatError):
            parse_table(table, described, plain=True)
    with pytest.raises(FormatError):
        parse_table(TABLE, footer, plain=False)


def test_raw_lengths_stand_in_plain_packs_alone() -> None:
    assert (row_bytes(plain=True), row_bytes(plain=False)) == (65, 61)
    with pytest.raises(FormatError):
        encode_table([_row(24, raw_length=None)], plain=True)
    with pytest.raises(FormatError):
        encode_table([_row(24)], plain=False)
    zero = bytearray(encode_table([_row(24)], plain=True))
    zero[-4:] = bytes(4)
    with pytest.raises(FormatError):
        parse_table(zero, parse_footer(encode_footer(109, 1, zero)), plain=True)


def test_footers_out_of_range() -> None:
    good = encode_footer(END, 2, TABLE)
    assert len(good) == PACK_FOOTER_BYTES
    for wrong in (
        good[1:],
        good[:-1] + b"X",
        encode_footer(END, 0, b""),
        encode_footer(PACK_HEADER_BYTES - 1, 1, TABLE),
        encode_footer(MAX_PACK, 1, TABLE),
        encode_footer(END, MAX_PACK // 61, TABLE),
    ):
        with pytest.raises(FormatError):
            parse_footer(wrong)


def test_a_cut_pack_is_walked_as_far_as_it_goes() -> None:
    whole = [(at, one.header.id) for at, one in walk_frames(PLAIN)]
    assert whole == [(24, samples.HELLO_ID), (109, samples.WORLD_ID)]
    assert [at for at, _ in walk_frames(PLAIN[:193])] == [24]
    assert [at for at, _ in walk_frames(PLAIN, end=194)] == [24, 109]
    assert [at for at, _ in walk_frames(PLAIN, start=109)] == [109]
    assert list(walk_frames(PLAIN[:24])) == []
    assert list(walk_frames(b"")) == []
    damaged = bytearray(PLAIN)
    damaged[30] ^= 1
    assert list(walk_frames(damaged)) == []


def test_a_pack_is_walked_in_ranges() -> None:
    asked: list[int] = []

    def read(offset: int, length: int) -> bytes:
        asked.append(offset)
        return PLAIN[offset : offset + min(length, 100)]  # less than asked for, as a store may do

    assert [at for at, _ in walk_frames_in(read, end=END)] == [24, 109]
    assert asked == [24, 109]
    assert [at for at, _ in walk_frames_in(read, end=150)] == [24]
    assert [at for at, _ in walk_frames_in(lambda at, n: PLAIN[at : at + n], end=len(PLAIN))] == [24, 109]
    assert list(walk_frames_in(lambda _at, _n: b"", end=1000)) == []


def test_a_frame_of_the_other_suite_does_not_fit() -> None:
    from mediavault.formats.frame import parse_frame
    from mediavault.formats.pack import row_of

    with pytest.raises(FormatError):
        row_of(parse_frame(samples.SEALED_FRAME), 24, plain=True)
    with pytest.raises(FormatError):
        row_of(parse_frame(samples.HELLO_FRAME), 24, plain=False)
