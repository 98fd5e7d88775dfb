"""Frames are checked while they come, in whatever pieces, and as strictly as when they are read from a file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.formats.pack import PACK_FOOTER_BYTES, encode_footer, encode_pack_header, encode_table
from mediavault.store import frame_stream
from mediavault.store.frame_stream import FrameStream
from tests.stored import Stored, chunk, manifest
from tests.unit.test_receive import row

CHUNKS = [chunk(bytes([n]) * (200 + 90 * n)) for n in range(5)]
OBJECTS = [*CHUNKS, manifest(CHUNKS[0], CHUNKS[1])]


def pack_of(objects: list[Stored]) -> bytes:
    rows, at = [], 24
    for one in objects:
        rows.append(row(one, at))
        at += len(one.frame)
    table = encode_table(rows, plain=True)
    body = b"".join(one.frame for one in objects)
    return encode_pack_header(b"n" * 16, plain=True) + body + table + encode_footer(at, len(rows), table)


PACK = pack_of(OBJECTS)
ROWS = [row(one, 24 + sum(len(before.frame) for before in OBJECTS[:n])) for n, one in enumerate(OBJECTS)]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_any_pieces_give_the_same_rows(lengths: list[int]) -> None:
    stream, at = FrameStream(), 0
    for length in [*lengths, len(PACK)]:
        stream.feed(memoryview(PACK)[at : at + length])
        at += length
    assert stream.rows == ROWS


def test_rows_are_there_as_soon_as_their_frames_are() -> None:
    stream = FrameStream()
    for number, one in enumerate(ROWS):
        stream.feed(PACK[0 if number == 0 else one.offset : one.offset + one.length])
        assert stream.rows == ROWS[: number + 1]


def test_a_large_piece_goes_through_a_small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_stream, "_BUFFER", max(one.length for one in ROWS) + 50)
    stream = FrameStream()
    stream.feed(PACK)
    assert stream.rows == ROWS


@given(st.integers(0, len(PACK) - PACK_FOOTER_BYTES - 65 * len(ROWS) - 1), st.integers(1, 255))
def test_rows_end_before_damage(at: int, flip: int) -> None:
    damaged = bytearray(PACK)
    damaged[at] ^= flip
    stream = FrameStream()
    stream.feed(damaged)
    if 8 <= at < 24:
        assert stream.rows == ROWS  # the nonce is no frame: what it promises is the pack's name
    else:
        sound = [one for one in ROWS if one.offset + one.length <= at] if at >= 24 else []
        assert stream.rows == sound


@given(st.binary(max_size=500))
def test_other_bytes_give_no_rows_and_no_error(data: bytes) -> None:
    stream = FrameStream()
    stream.feed(data)
    stream.feed(data)
    assert stream.rows == []


def test_rows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_stream, "MAX_PACK_ROWS", 3)
    stream = FrameStream()
    stream.feed(PACK)
    assert stream.rows == ROWS[:3]
