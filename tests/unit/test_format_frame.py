"""Frames and payloads: layout, grammar, limits."""

from typing import Any

import msgspec
import pytest
from blake3 import blake3

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.frame import (
    MAX_CHUNK_STORED,
    MAX_FRAME,
    SUITE_AES_GCM,
    begin_frame,
    build_frame,
    encode_header,
    finish_frame,
    frame_size,
    make_header,
    parse_frame,
)
from mediavault.formats.payload import Codec, decode_payload, encode_payload, padme, payload_parts
from mediavault.model.ids import Kind, Link

ID = bytes(range(32))
CHUNK, MANIFEST, TREE, COMMIT, TAG = Kind
BODY = encode_payload(Codec.RAW, 5, b"hello", padded=False)


def _frame(kind: Kind = CHUNK, kinds: tuple[Kind, ...] = (), **fields: Any) -> bytes:
    links = tuple(Link(link, bytes((number,)) * 32) for number, link in enumerate(kinds))
    return build_frame(make_header(kind, ID, len(BODY), links=links, **fields), [BODY])


def _resealed(frame: bytes, at: int, value: int) -> bytes:
    """Return the frame with one byte changed and a fitting checksum, as a hostile writer would make it."""
    changed = bytearray(frame)
    changed[at] = value
    return bytes(changed[:-16]) + blake3(changed[:-16]).digest(16)


@pytest.mark.parametrize(
    ("kind", "kinds", "generation"),
    [
        (CHUNK, (), 0),
        (MANIFEST, (CHUNK,), 0),
        (MANIFEST, (CHUNK, CHUNK), 0),
        (MANIFEST, (MANIFEST, MANIFEST), 0),
        (TREE, (), 0),
        (TREE, (CHUNK, MANIFEST, TREE), 0),
        (COMMIT, (TREE,), 1),
        (COMMIT, (TREE, COMMIT, COMMIT), 9),
        (TAG, (TREE,), 0),
        (TAG, (COMMIT,), 0),
        (TAG, (TAG,), 0),
    ],
)
def test_what_a_kind_may_link_to(kind: Kind, kinds: tuple[Kind, ...], generation: int) -> None:
    frame = parse_frame(_frame(kind, kinds, generation=generation))
    assert tuple(link.kind for link in frame.header.links) == kinds
    assert (frame.header.kind, frame.header.id, frame.header.generation) == (kind, ID, generation)
    assert bytes(frame.body) == BODY


@pytest.mark.parametrize(
    ("kind", "kinds", "generation"),
    [
        (CHUNK, (CHUNK,), 0),
        (MANIFEST, (), 0),
        (MANIFEST, (CHUNK, MANIFEST), 0),
        (MANIFEST, (TREE,), 0),
        (TREE, (COMMIT,), 0),
        (TREE, (CHUNK, TAG), 0),
        (COMMIT, (), 1),
        (COMMIT, (COMMIT,), 1),
        (COMMIT, (TREE, TREE), 1),
        (COMMIT, (CHUNK, TREE), 1),
        (COMMIT, (TREE, TAG), 1),
        (TAG, (), 0),
        (TAG, (CHUNK,), 0),
        (TAG, (COMMIT, COMMIT), 0),
        (COMMIT, (TREE,), 0),
        (COMMIT, (TREE,), 1 << 63),
        (CHUNK, (), 1),
        (TREE, (), 1),
    ],
)
def test_what_a_kind_may_not_link_to(kind: Kind, kinds: tuple[Kind, ...], generation: int) -> None:
    with pytest.raises(FormatError):
        _frame(kind, kinds, generation=generation)


def test_the_reader_checks_the_grammar_too() -> None:
    manifest = _frame(MANIFEST, (CHUNK, CHUNK))
    for at, value in (
        (43, TREE),
        (43, 0),
        (43, 9),
        (44, 7),
        (43 + 66, 1),
        (1, CHUNK),
        (1, TAG),
        (1, 0),
        (1, 6),
        (3, 1),
        (2, 2),
    ):
        with pytest.raises(FormatError):
            parse_frame(_resealed(manifest, at, value))


def test_links_ascend_strictly() -> None:
    a, b = Link(CHUNK, bytes(32)), Link(CHUNK, bytes((1,)) * 32)
    for links in ((b, a), (a, a), (Link(TREE, bytes(32)), a)):
        header = make_header(TREE, ID, len(BODY), links=links)
        with pytest.raises(FormatError, match="ascending"):
            encode_header(header)


def test_a_newer_frame_is_named_as_such() -> None:
    with pytest.raises(UnsupportedFormatError):
        parse_frame(_resealed(_frame(), 0, 2))
    with pytest.raises(FormatError):
        parse_frame(_resealed(_frame(), 0, 0))


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    frame = _frame(COMMIT, (TREE, COMMIT), generation=2)
    for at in range(8 * len(frame)):
        flipped = bytearray(frame)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises((FormatError, UnsupportedFormatError)):
            parse_frame(flipped)
    for length in range(len(frame)):
        with pytest.raises(FormatError):
            parse_frame(frame[:length])


def test_a_sealed_frame_has_salt_epoch_and_room_for_a_tag() -> None:
    salt = bytes(range(32, 64))
    header = make_header(CHUNK, ID, 40, suite=SUITE_AES_GCM, epoch=7, salt=salt)
    frame = parse_frame(build_frame(header, [bytes(40)]))
    assert frame.header == header
    assert frame.aad == encode_header(header)
    assert len(frame.aad) == 43 + 8 + 32 + 4
    for suite in (2, 255):
        with pytest.raises(FormatError, match="suite"):
            parse_frame(_resealed(bytes(frame.data), 2, suite))
    with pytest.raises(FormatError):
        encode_header(msgspec.structs.replace(header, stored_length=24))
    with pytest.raises(FormatError):
        encode_header(msgspec.structs.replace(header, salt=b"short"))
    with pytest.raises(FormatError):
        encode_header(make_header(CHUNK, ID, 40, epoch=1))


def test_a_frame_is_sealed_in_place() -> None:
    header = make_header(CHUNK, ID, len(BODY))
    frame, body = begin_frame(encode_header(header), len(BODY))
    body[:] = BODY
    finish_frame(frame)
    assert bytes(frame) == build_frame(header, [BODY[:3], memoryview(BODY)[3:]])


def test_a_body_of_another_length_is_refused() -> None:
    with pytest.raises(FormatError):
        build_frame(make_header(CHUNK, ID, len(BODY) + 1), [BODY])


def test_a_frame_is_read_from_within_a_buffer_without_a_copy() -> None:
    one, two = _frame(), _frame(TREE)
    buffer = bytearray(b"??" + one + two + b"!")
    first = parse_frame(buffer, 2)
    second = parse_frame(memoryview(buffer), 2 + first.size)
    assert (first.header.kind, second.header.kind) == (CHUNK, TREE)
    buffer[2] = 9
    assert first.data[0] == 9
    with pytest.raises(FormatError):
        parse_frame(one, -1)
    with pytest.raises(FormatError):
        parse_frame(one, len(one) + 5)


def test_the_size_is_known_as_soon_as_the_header_is_there() -> None:
    frame = _frame(COMMIT, (TREE, COMMIT), generation=2)
    header = 43 + 66 + 12
    assert [frame_size(frame[:length]) for length in range(header)] == [None] * header
    assert frame_size(frame[:header]) == len(frame)
    assert frame_size(b"x" + frame, 1, available=header - 1) is None
    assert frame_size(b"x" + frame, 1, available=header) == len(frame)


def test_lengths_are_limited_before_anything_is_read() -> None:
    def declared(kind: Kind, stored: int) -> bytes:
        fixed = bytes((1, kind, 0)) + bytes(4) + ID + bytes(4)
        return fixed + bytes(8) + stored.to_bytes(4, "little")

    assert frame_size(declared(CHUNK, MAX_CHUNK_STORED)) == 43 + 12 + MAX_CHUNK_STORED + 16 < MAX_FRAME
    assert frame_size(declared(TREE, (1 << 20) - 71)) == 1 << 20
    for kind, stored in ((CHUNK, MAX_CHUNK_STORED + 1), (TREE, (1 << 20) - 70), (CHUNK, 8), (CHUNK, (1 << 32) - 1)):
        with pytest.raises(FormatError):
            frame_size(declared(kind, stored))
    with pytest.raises(FormatError, match="4097 links"):
        frame_size(bytes((1, TREE, 0)) + bytes(4) + ID + (4097).to_bytes(4, "little"))


def test_the_longest_chunk_fits() -> None:
    assert padme(9 + (16 << 20)) + 16 == MAX_CHUNK_STORED


@pytest.mark.parametrize(
    ("length", "padded"),
    [(0, 0), (1, 1), (2, 2), (8, 8), (9, 10), (100, 104), (1000, 1024), (65_537, 67_584), (1 << 20, 1 << 20)],
)
def test_padme(length: int, padded: int) -> None:
    assert padme(length) == padded


def test_padme_costs_at_most_twelve_per_cent_and_three_from_64_kib() -> None:
    assert all(n <= padme(n) <= n * 1.12 and padme(padme(n)) == padme(n) for n in range(1, 5000))
    assert all(padme(n) <= n * 1.032 for n in range(1 << 16, 1 << 21, 4093))


@pytest.mark.parametrize("padded", [False, True])
def test_payloads_are_read_back(padded: bool) -> None:
    for codec, raw_length, data in ((Codec.RAW, 100, bytes(100)), (Codec.ZSTD, 5000, b"z" * 99)):
        encoded = encode_payload(codec, raw_length, data, padded)
        assert b"".join(payload_parts(codec, raw_length, data, padded)) == encoded
        decoded = decode_payload(encoded)
        assert (decoded.codec, decoded.raw_length, bytes(decoded.data)) == (codec, raw_length, data)
        assert len(encoded) == (padme(9 + len(data)) if padded else 9 + len(data))


@pytest.mark.parametrize(
    ("codec", "raw_length", "data"),
    [
        (Codec.RAW, 4, b"hello"),
        (Codec.RAW, 6, b"hello"),
        (Codec.RAW, 0, b""),
        (Codec.ZSTD, 5, b"hello"),
        (Codec.ZSTD, 5, b""),
        (Codec.ZSTD, (16 << 20) + 1, b"hello"),
    ],
)
def test_lengths_that_do_not_fit_the_codec(codec: Codec, raw_length: int, data: bytes) -> None:
    with pytest.raises(FormatError):
        encode_payload(codec, raw_length, data, padded=False)
    stored = bytes((codec,)) + raw_length.to_bytes(4, "little") + len(data).to_bytes(4, "little") + data
    with pytest.raises(FormatError):
        decode_payload(stored)


def test_padding_is_zero_and_of_one_length() -> None:
    padded = encode_payload(Codec.RAW, 100, bytes(100), padded=True)
    assert len(padded) == 112
    for wrong in (
        padded[:-1],
        padded[:-2],
        padded + b"\0",
        padded[:-1] + b"\x01",
        padded[:-3] + b"\x01\0\0",
        padded[:8],
        b"",
    ):
        with pytest.raises(FormatError):
            decode_payload(wrong)


def test_the_reserved_codec_is_refused() -> None:
    for codec in (2, 3, 255):
        with pytest.raises(FormatError, match="unknown codec"):
            decode_payload(bytes((codec,)) + BODY[1:])


def test_the_caller_may_limit_the_raw_length() -> None:
    assert decode_payload(BODY, limit=5).raw_length == 5
    with pytest.raises(FormatError):
        decode_payload(BODY, limit=4)
