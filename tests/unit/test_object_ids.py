"""Ids and links."""

import pytest
from blake3 import blake3

from mediavault.errors import FormatError, UsageError
from mediavault.model.ids import PLAIN_ID_SECRET, Kind, Link, Namer, decode_links, encode_links, parse_id

A, B = bytes(32), bytes((1,)) * 32


def test_a_chunk_is_named_by_its_bytes_under_a_derived_key() -> None:
    key = blake3(b"mediavault/1/id\x01", key=PLAIN_ID_SECRET).digest()
    assert Namer(PLAIN_ID_SECRET).chunk(b"x") == blake3(b"x", key=key).digest()


def test_metadata_is_named_by_links_and_payload() -> None:
    key = blake3(b"mediavault/1/id\x04", key=PLAIN_ID_SECRET).digest()
    links = (Link(Kind.TREE, A),)
    expected = blake3(b"\x01\0\0\0" + b"\x03" + A + b"payload", key=key).digest()
    assert Namer(PLAIN_ID_SECRET).metadata(Kind.COMMIT, links, b"payload") == expected


def test_no_two_kinds_share_an_id() -> None:
    namer = Namer(PLAIN_ID_SECRET)
    ids = {namer.metadata(kind, (), b"x") for kind in Kind} | {namer.chunk(b"x"), namer.chunk(b"\0\0\0\0x")}
    assert len(ids) == 7 - 1  # CHUNK as a metadata kind is the chunk of the same bytes


def test_secrets_separate_repositories() -> None:
    assert Namer(A).chunk(b"x") != Namer(B).chunk(b"x")


def test_links_are_stored_by_kind_and_id() -> None:
    links = (Link(Kind.CHUNK, B), Link(Kind.TREE, A), Link(Kind.TREE, B))
    assert decode_links(encode_links(links)) == links
    assert encode_links(links)[:2] == b"\x01\x01"


@pytest.mark.parametrize("data", [b"\x01", b"\0" + A, b"\x06" + A, (b"\x01" + A) * 2, b"\x02" + A + b"\x01" + B])
def test_links_that_do_not_parse(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode_links(data)


def test_ids_are_read_from_hex() -> None:
    assert parse_id("00" * 32) == A
    for text in ("", "0" * 63, "0" * 65, "G" * 64, "AB" * 32, " " * 64, "\u0660" * 64):
        with pytest.raises(UsageError):
            parse_id(text)
