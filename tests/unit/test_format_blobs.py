"""Refs, config, key slots and the bodies of the protocol's calls."""

from typing import Any

import msgspec
import pytest
from blake3 import blake3

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.config import ChunkerConfig, RepositoryConfig, decode_config, encode_config, fingerprint
from mediavault.formats.ref import (
    decode_ref_value,
    encode_ref_blob,
    encode_ref_value,
    placeholder_value,
    signed_part,
    split_ref_blob,
    value_hash,
)
from mediavault.formats.slot import KeySlot, check_slot_name, decode_slot, encode_slot
from mediavault.formats.wire import (
    CheckRequest,
    LocatedRow,
    Problem,
    RefRow,
    decode_ids,
    decode_json,
    decode_located,
    encode_ids,
    encode_json,
    encode_located,
    etag_of,
    parse_etag,
)
from mediavault.model.ids import Kind, Link
from tests.golden.samples import (
    DELETED,
    MOVED,
    PASSPHRASE_SLOT,
    PLACEHOLDER,
    PLAIN_CONFIG,
    RECOVERY_SLOT,
    REPOSITORY,
    SEALED_CONFIG,
)

replace = msgspec.structs.replace
COMMIT = Link(Kind.COMMIT, bytes(32))


def test_refs_are_read_back() -> None:
    for value in (
        PLACEHOLDER,
        MOVED,
        DELETED,
        replace(MOVED, name="tags/v1", target=Link(Kind.TAG, bytes(32)), time=-1),
    ):
        data = encode_ref_value(value)
        assert decode_ref_value(data) == value
        assert decode_ref_value(memoryview(data)) == value
        assert data == signed_part(value) + value.mac
        assert value_hash(data) == blake3(data).digest()


def test_there_is_one_placeholder_for_a_name() -> None:
    assert placeholder_value(REPOSITORY, "heads/main") == PLACEHOLDER
    fields: dict[str, Any]
    for fields in (
        {"time": 1},
        {"epoch": 1},
        {"target": COMMIT},
        {"previous": b"\1" * 32},
        {"mac": b"\1" * 32},
        {"signature": b"s"},
    ):
        with pytest.raises(FormatError):
            encode_ref_value(replace(PLACEHOLDER, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "main"},
        {"name": "heads/a..b"},
        {"repository": b"short"},
        {"previous": b"short"},
        {"mac": b"short"},
        {"epoch": -1},
        {"epoch": 1 << 32},
        {"seq": 1 << 63},
        {"time": 1 << 63},
        {"signature": bytes((16 << 10) + 1)},
        {"target": Link(Kind.TAG, bytes(32))},
        {"target": Link(Kind.TREE, bytes(32))},
        {"target": Link(Kind.COMMIT, b"short")},
    ],
)
def test_refs_that_break_the_rules(fields: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        encode_ref_value(replace(MOVED, **fields))


def test_ref_bytes_that_do_not_parse() -> None:
    data = encode_ref_value(MOVED)
    flag = 18 + 10 + 12
    for at, value in (
        (flag, 1),
        (flag, 2),
        (flag + 1, 0),
        (flag + 1, 3),
        (flag + 1, 5),
        (flag + 1, 6),
        (18, 0xFF),
        (16, 11),
        (18 + 10 + 4, 0),
    ):
        wrong = bytearray(data)
        wrong[at] = value
        with pytest.raises(FormatError):
            decode_ref_value(wrong)
    nil = bytearray(encode_ref_value(replace(MOVED, target=None)))
    assert nil[flag] == 1
    nil[flag] = 2
    with pytest.raises(FormatError, match="canonical"):
        decode_ref_value(nil)
    for length in range(len(data)):
        with pytest.raises(FormatError):
            decode_ref_value(data[:length])
    with pytest.raises(FormatError):
        decode_ref_value(data + b"\0")
    with pytest.raises(FormatError, match="longer than"):
        decode_ref_value(data + bytes(1 << 17))


def test_the_blob_is_the_value_and_random_bytes() -> None:
    data = encode_ref_value(MOVED)
    assert split_ref_blob(encode_ref_blob(data, b"n" * 16)) == (data, b"n" * 16)
    with pytest.raises(FormatError):
        encode_ref_blob(data, b"n")
    for wrong in (b"", bytes(64), bytes((64 << 10) + 17)):
        with pytest.raises(FormatError):
            split_ref_blob(wrong)


def test_configs_are_read_back() -> None:
    for value in (PLAIN_CONFIG, SEALED_CONFIG, replace(PLAIN_CONFIG, chunker=ChunkerConfig(256, 1024, 64))):
        assert decode_config(encode_config(value)) == value
    assert fingerprint(b"x") == blake3(b"x").digest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"suite":0', b'"suite":2'),
        (b'"suite":0', b'"suite":0,"extra":1'),
        (b',"suite":0', b""),
        (b'"suite":0', b'"suite":"0"'),
        (b'"suite":0', b'"suite":0.0'),
        (b'"suite":0', b'"suite": 0'),
        (b'"suite":0}', b'"suite":0}\n'),
        (b'"format":1', b'"format":0'),
        (b'"format":1', b'"format":"1"'),
        (b"00010203", b"000102"),
        (b"0a0b0c", b"0A0B0C"),
        (b"0a0b0c", b"0g0b0c"),
        (b"131072", b"100"),
        (b"131072", b"65535"),
        (b"65536", b"1048577"),
        (b"524288", b"16777217"),
        (b'"normalisation":1', b'"normalisation":1,"window":4'),
        (b'{"chunker"', b'{"\xff"'),
    ],
)
def test_configs_that_break_the_rules(old: bytes, new: bytes) -> None:
    good = encode_config(PLAIN_CONFIG)
    assert old in good
    with pytest.raises(FormatError):
        decode_config(good.replace(old, new))


def test_configs_of_a_newer_program() -> None:
    good = encode_config(PLAIN_CONFIG)
    for newer in (
        good.replace(b'"format":1', b'"format":2,"more":true'),
        good.replace(b"fastcdc2020", b"fastcdc2030"),
        good.replace(b'"normalisation":1', b'"normalisation":2'),
    ):
        with pytest.raises(UnsupportedFormatError):
            decode_config(newer)


def test_configs_have_a_greatest_length() -> None:
    with pytest.raises(FormatError, match="too long"):
        decode_config(b" " * (65 << 10))
    with pytest.raises(FormatError):
        encode_config(RepositoryConfig(b"short", 0))


@pytest.mark.parametrize("slot", [PASSPHRASE_SLOT, RECOVERY_SLOT, replace(PASSPHRASE_SLOT, label="Größe", epoch=7)])
def test_slots_are_read_back(slot: KeySlot) -> None:
    assert decode_slot(encode_slot(slot)) == slot


@pytest.mark.parametrize(
    "fields",
    [
        {"slot": "Upper"},
        {"slot": "../x"},
        {"slot": ""},
        {"created": "yesterday"},
        {"created": "2026-01-01T00:00:00+01:00"},
        {"label": "x" * 257},
        {"label": "a\nb"},
        {"label": "\udcff"},
        {"repository": "00"},
        {"epoch": -1},
        {"memory": 1 << 32},
        {"salt": bytes(15)},
        {"commitment": bytes(31)},
        {"wrap_salt": bytes(33)},
        {"wrapped": b""},
        {"version": 0},
    ],
)
def test_slots_that_break_the_rules(fields: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        encode_slot(replace(PASSPHRASE_SLOT, **fields))


def test_slot_bytes_that_do_not_parse() -> None:
    good = encode_slot(PASSPHRASE_SLOT)
    for old, new in (
        (b'"passphrase"', b'"password"'),
        (b'"time":3', b'"time":3,"extra":0'),
        (b'"time":3,', b""),
        (b'"time":3', b'"time":3.0'),
        (b'"time":3', b'"time": 3'),
        (b"oKGio6SlpqeoqaqrrK2urw==", b"oKGio6SlpqeoqaqrrK2u"),
        (b"oKGio6SlpqeoqaqrrK2urw==", b"!"),
        (b'"version":1', b'"version":0'),
        (b'"version":1', b'"versio":1'),
    ):
        assert old in good
        with pytest.raises(FormatError):
            decode_slot(good.replace(old, new))
    with pytest.raises(FormatError, match="too long"):
        decode_slot(good + b" " * (16 << 10))
    with pytest.raises(UnsupportedFormatError):
        decode_slot(good.replace(b'"version":1', b'"version":2').replace(b'"time"', b'"times"'))


def test_slot_names() -> None:
    for name in ("a", "passphrase-1", "0", "x" * 64):
        check_slot_name(name)
    for name in ("-a", "a-", "a_b", "a/b", "x" * 65, "a\n"):
        with pytest.raises(FormatError):
            check_slot_name(name)


def test_lists_of_ids() -> None:
    ids = [bytes((number,)) * 32 for number in range(3)]
    assert decode_ids(encode_ids(ids)) == ids
    assert decode_ids(b"") == []
    with pytest.raises(FormatError):
        decode_ids(bytes(33))


def test_lists_of_places() -> None:
    rows = [LocatedRow(bytes(32), b"\1" * 32, 1 << 40, 7), LocatedRow(b"\2" * 32, bytes(32), 0, 0)]
    assert decode_located(encode_located(rows)) == rows
    assert len(encode_located(rows)) == 2 * 76
    with pytest.raises(FormatError):
        decode_located(bytes(75))


def test_etags() -> None:
    digest = blake3(b"x").digest()
    assert parse_etag(etag_of(digest)) == digest
    for text in (
        "",
        "*",
        digest.hex(),
        f'W/"{digest.hex()}"',
        f'"{digest.hex().upper()}"',
        f'"{digest.hex()}',
        f'"{digest.hex()[:-1]}"',
    ):
        with pytest.raises(FormatError):
            parse_etag(text)


def test_messages_are_typed() -> None:
    row = RefRow("heads/main", etag_of(bytes(32)), "AAAA")
    assert decode_json(encode_json(row), RefRow) == row
    assert encode_json(Problem("about:blank", "No", 404)) == b'{"type":"about:blank","title":"No","status":404}'
    for wrong in (b"", b"[]", b'{"chunks":[1]}', b'{"chunks":[],"x":1}', b'{"chunks":["\xff"]}', b"[" * 100_000):
        with pytest.raises(FormatError):
            decode_json(wrong, CheckRequest)
