"""Index blobs: look-up, order, merging, damage."""

import struct

import pytest
from blake3 import blake3

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.index import IndexBlob, IndexedPack, Located, encode_index, index_id, merge_indexes
from mediavault.formats.pack import PackRow
from mediavault.model.ids import Kind

P1, P2, P3 = (bytes((number,)) * 32 for number in (1, 2, 3))


def _id(number: int) -> bytes:
    return blake3(number.to_bytes(4, "little")).digest()


def _row(oid: bytes, offset: int = 24, length: int = 100, kind: Kind = Kind.CHUNK) -> PackRow:
    return PackRow(oid, kind, offset, length, bytes(16))


def _blob(tables: dict[bytes, list[PackRow]], condemned: frozenset[bytes] = frozenset()) -> IndexBlob:
    return IndexBlob(encode_index(tables, 99, condemned=condemned))


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 500, 5000])
def test_what_is_there_is_found_and_nothing_else(count: int) -> None:
    blob = _blob({P1: [_row(_id(number), 24 + number) for number in range(count)]})
    assert len(blob) == count
    for number in range(count):
        assert blob.find(_id(number)) == [Located(P1, 24 + number, 100, Kind.CHUNK)]
    for number in range(count, count + 3000):
        assert blob.find(_id(number)) == []


def test_the_filter_turns_most_absent_ids_away() -> None:
    data = bytearray(encode_index({P1: [_row(_id(number)) for number in range(1000)]}, 0))
    rows_at = len(data) - 33 - 49 * 1000
    passed = 0
    data[rows_at:-33] = b"\xff" * (49 * 1000)
    blob = IndexBlob(data)
    fan_out = 32 + 4 * ((1 << data[16]) + 1)
    # With a fan-out table that does not ascend, an id that passes the filter raises.
    data[32:fan_out] = struct.pack("<I", 1 << 31) * ((fan_out - 32) // 4)
    for number in range(1000, 5000):
        try:
            blob.find(_id(number))
        except FormatError:
            passed += 1
    assert 0 < passed < 4000 * 0.035


def test_an_id_in_several_packs_is_found_in_all_in_order() -> None:
    oid = _id(7)
    many = {_id(number): [_row(oid, 24 + number)] for number in range(300)}
    many[P1] = [_row(oid, 900), _row(oid, 500), _row(_id(8))]
    blob = _blob(many)
    assert [place.offset for place in blob.find(oid)] == [24 + number for number in range(300)] + [500, 900]
    assert blob.find(_id(8)) == [Located(P1, 24, 100, Kind.CHUNK)]


def test_ids_with_one_prefix_are_bisected() -> None:
    ids = [b"\x42\x42" + _id(number)[2:] for number in range(2000)]
    blob = _blob({P1: [_row(oid, number) for number, oid in enumerate(ids)]})
    assert all(blob.find(oid)[0].offset == number for number, oid in enumerate(ids))
    assert blob.find(b"\x42\x42" + _id(5000)[2:]) == []


def test_an_id_that_stands_across_two_rows_is_not_found() -> None:
    # The bytes of the looked-up id begin within one row and end in the next.
    low, high = bytes(32), b"\0" * 4 + b"\x01" * 28
    data = encode_index({P1: [_row(low, 24), _row(high, 24)]}, 0)
    rows = data[-33 - 98 : -33]
    blob = bytearray(data)
    oid = rows[30:62]
    for probe in struct.unpack_from("<III", oid, 4):
        bit = probe & ((1 << data[17]) - 1)
        blob[-33 - 98 - 2 + (bit >> 3)] |= 1 << (bit & 7)
    assert data[17] == 4
    assert IndexBlob(blob).find(oid) == []


def test_rows_come_back_sorted() -> None:
    tables = {P2: [_row(_id(n), n) for n in range(50)], P1: [_row(_id(n), n + 1000) for n in range(25, 75)]}
    rows = list(_blob(tables).rows())
    assert [oid for oid, _ in rows] == sorted(oid for oid, _ in rows)
    assert len(rows) == 100
    twice = [place for oid, place in rows if oid == _id(30)]
    assert [place.pack_id for place in twice] == [P2, P1]  # by pack number, not by the pack's id


def test_condemned_packs_are_flagged() -> None:
    blob = _blob({P1: [_row(_id(1))], P2: [_row(_id(1))]}, frozenset({P2}))
    assert blob.packs == (IndexedPack(P1), IndexedPack(P2, condemned=True))
    assert [place.condemned for place in blob.find(_id(1))] == [False, True]


def test_the_name_is_the_hash() -> None:
    data = encode_index({}, 5)
    assert index_id(data) == blake3(data).digest()
    assert IndexBlob(data).written_ns == 5


def test_blobs_are_merged() -> None:
    first = _blob({P1: [_row(_id(1)), _row(_id(2))], P2: [_row(_id(1), 500)]})
    second = _blob({P2: [_row(_id(1), 500)], P3: [_row(_id(3))]}, frozenset({P2}))
    merged = IndexBlob(merge_indexes([first, second], 7, dropped={P3}, condemned={P1}))
    assert merged.packs == (IndexedPack(P1, condemned=True), IndexedPack(P2, condemned=True))
    assert len(merged) == 3
    assert [(place.pack_id, place.offset) for place in merged.find(_id(1))] == [(P1, 24), (P2, 500)]
    assert merged.find(_id(3)) == []
    everything = IndexBlob(merge_indexes([first, second], 7))
    assert [entry.id for entry in everything.packs] == [P1, P2, P3]
    assert everything.find(_id(3)) == [Located(P3, 24, 100, Kind.CHUNK)]


def test_headers_that_do_not_parse() -> None:
    good = encode_index({P1: [_row(_id(1))]}, 0)
    with pytest.raises(UnsupportedFormatError):
        IndexBlob(good[:4] + b"\x02\0" + good[6:])
    for at, value in (
        (0, 0),
        (4, 0),
        (6, 1),
        (8, 2),
        (12, 2),
        (16, 17),
        (16, 1),
        (17, 2),
        (17, 33),
        (17, 5),
        (18, 1),
        (23, 1),
    ):
        wrong = bytearray(good)
        wrong[at] = value
        with pytest.raises(FormatError):
            IndexBlob(wrong)
    for length in (0, 31, len(good) - 1):
        with pytest.raises(FormatError):
            IndexBlob(good[:length])


def test_rows_that_do_not_parse_raise_when_they_are_used() -> None:
    good = encode_index({P1: [_row(_id(1))]}, 0)
    row = len(good) - 33 - 49
    for at, value in ((row + 32, 0), (row + 32, 6), (row + 33, 1), (len(good) - 1, 2), (32, 2), (36, 9)):
        wrong = bytearray(good)
        wrong[at] = value
        blob = IndexBlob(wrong)
        with pytest.raises(FormatError):
            blob.find(_id(1))
    wrong = bytearray(good)
    wrong[row + 33] = 1
    with pytest.raises(FormatError):
        list(IndexBlob(wrong).rows())
    with pytest.raises(FormatError):
        merge_indexes([IndexBlob(wrong)], 0)


def test_a_pack_may_not_be_listed_twice() -> None:
    good = bytearray(encode_index({P1: [_row(_id(1))], P2: []}, 0))
    good[-33:-1] = P1
    with pytest.raises(FormatError, match="twice"):
        IndexBlob(good).find(_id(1))
