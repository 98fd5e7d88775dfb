"""One object to a frame and back: what is compressed, padded and named, and what is refused on the way out."""

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mediavault.codecs import zstd
from mediavault.codecs.seal import PlainSealer
from mediavault.errors import IntegrityError
from mediavault.formats.frame import CHECKSUM_BYTES, Frame, build_frame, make_header, parse_frame
from mediavault.formats.payload import Codec, decode_payload, encode_payload, padme
from mediavault.model.ids import Kind, Link, Namer, ObjectId
from mediavault.objects.codec import ObjectCodec
from tests.vault import Vault, noise

TEXT = b"layer 3, opacity 80 %\n" * 5000
LINKS = [Link(Kind.TREE, b"t" * 32), Link(Kind.COMMIT, b"c" * 32)]
SECRET = b"s" * 32
PLAIN = ObjectCodec(Namer(SECRET), PlainSealer(), padded=False)


def plain_frame(kind: Kind, oid: ObjectId, payload: bytes) -> Frame:
    """Return a frame as someone makes it who has no key and needs none: plain repositories."""
    return parse_frame(build_frame(make_header(kind, oid, len(payload)), [payload]))


@pytest.mark.parametrize("codec", [Vault().codec, Vault(plain=True).codec], ids=["sealed", "plain"])
@given(raw=st.binary(min_size=1, max_size=5000) | st.builds(lambda n: b"ab" * n, st.integers(1, 90_000)))
def test_chunks_round_trip(codec: ObjectCodec, raw: bytes) -> None:
    oid = codec.name_chunk(raw)
    for try_compress in (True, False):
        frame = parse_frame(codec.encode_chunk(oid, memoryview(raw), try_compress))
        assert bytes(codec.open(frame, oid, Kind.CHUNK)) == raw


@pytest.mark.parametrize("codec", [Vault().codec, Vault(plain=True).codec], ids=["sealed", "plain"])
@pytest.mark.parametrize("raw", [b"x", TEXT, noise(300_000), noise(1 << 20), noise(3 << 20), TEXT * 20])
def test_a_chunk_can_be_looked_into_whatever_its_size(codec: ObjectCodec, raw: bytes) -> None:
    other = codec.name_chunk(b"other")
    oid, between = codec.name_chunk(raw), parse_frame(codec.encode_chunk(other, b"other"))
    frame = parse_frame(codec.encode_chunk(oid, raw))
    assert bytes(codec.look_into(frame, oid)) == raw
    assert bytes(codec.look_into(between, other)) == b"other"
    assert bytes(codec.look_into(frame, oid)) == raw
    with pytest.raises(IntegrityError):
        codec.look_into(frame, other)
    damaged = bytearray(frame.data)
    damaged[-CHECKSUM_BYTES - 1] ^= 1
    with pytest.raises(IntegrityError):
        codec.look_into(parse_frame(damaged, checked=False), oid)


@pytest.mark.parametrize("codec", [Vault().codec, Vault(plain=True).codec], ids=["sealed", "plain"])
def test_metadata_round_trips_with_links_and_generation(codec: ObjectCodec) -> None:
    oid, data = codec.encode_metadata(Kind.COMMIT, LINKS, TEXT, 7)
    frame = parse_frame(data)
    assert (frame.header.generation, list(frame.header.links)) == (7, LINKS)
    assert codec.open(frame, oid, Kind.COMMIT) == TEXT


def test_names_do_not_depend_on_how_an_object_is_stored() -> None:
    assert PLAIN.name_chunk(TEXT) == Namer(SECRET).chunk(TEXT)
    assert PLAIN.name_metadata(Kind.COMMIT, LINKS, TEXT) == Namer(SECRET).metadata(Kind.COMMIT, LINKS, TEXT)
    assert PLAIN.encode_metadata(Kind.COMMIT, LINKS, TEXT, 1)[0] == Namer(SECRET).metadata(Kind.COMMIT, LINKS, TEXT)


def test_only_what_gets_smaller_is_compressed() -> None:
    for raw, try_compress, codec in [
        (TEXT, True, Codec.ZSTD),
        (TEXT, False, Codec.RAW),
        (noise(100_000), True, Codec.RAW),
        (noise(100), True, Codec.RAW),
    ]:
        frame = parse_frame(PLAIN.encode_chunk(PLAIN.name_chunk(raw), raw, try_compress))
        assert decode_payload(frame.body).codec is codec


@pytest.mark.parametrize("length", [1, 100, 65_536, 200_000, 1_500_000])
def test_padding_covers_the_whole_payload(length: int) -> None:
    codec = Vault().codec
    raw = noise(length)
    frame = parse_frame(codec.encode_chunk(codec.name_chunk(raw), raw))
    assert len(frame.body) == padme(9 + length) + 16
    assert codec.open(frame, codec.name_chunk(raw), Kind.CHUNK) == raw


def test_a_frame_of_another_object_or_kind_is_refused() -> None:
    oid = PLAIN.name_chunk(TEXT)
    frame = parse_frame(PLAIN.encode_chunk(oid, TEXT))
    with pytest.raises(IntegrityError, match=oid.hex()):
        PLAIN.open(frame, b"x" * 32, Kind.CHUNK)
    with pytest.raises(IntegrityError, match="tree"):
        PLAIN.open(frame, oid, Kind.TREE)


def test_the_id_is_computed_again() -> None:
    """A plain frame with honest checksum and other content, and a sealed one by another holder of the key."""
    oid = PLAIN.name_chunk(TEXT)
    with pytest.raises(IntegrityError, match="other content"):
        PLAIN.open(plain_frame(Kind.CHUNK, oid, encode_payload(Codec.RAW, 4, b"evil", padded=False)), oid, Kind.CHUNK)
    sealed = Vault().codec
    with pytest.raises(IntegrityError, match="other content"):
        sealed.open(parse_frame(sealed.encode_chunk(oid, b"evil")), oid, Kind.CHUNK)


def test_links_cannot_be_exchanged() -> None:
    oid, data = PLAIN.encode_metadata(Kind.COMMIT, LINKS, TEXT, 1)
    frame = parse_frame(data)
    links = [Link(Kind.TREE, b"T" * 32), LINKS[1]]
    header = make_header(Kind.COMMIT, oid, len(frame.body), links=links, generation=1)
    with pytest.raises(IntegrityError, match="other content"):
        PLAIN.open(parse_frame(build_frame(header, [frame.body])), oid, Kind.COMMIT)


def test_a_chunk_never_poses_as_a_tree() -> None:
    oid = PLAIN.name_chunk(b"\0\0\0\0" + b"payload")
    frame = plain_frame(Kind.TREE, oid, encode_payload(Codec.RAW, 7, b"payload", padded=False))
    with pytest.raises(IntegrityError, match="other content"):
        PLAIN.open(frame, oid, Kind.TREE)


def bomb(declared: int) -> bytes:
    packed = zstd.compress(bytes(1 << 22))
    assert packed is not None
    return encode_payload(Codec.ZSTD, declared, packed, padded=False)


@pytest.mark.parametrize(
    "payload",
    [
        bomb(1 << 22)[:-4] + b"oops",
        bomb((1 << 22) - 1),
        bomb((1 << 22) + 1),
        encode_payload(Codec.RAW, 4, b"evil", padded=False) + bytes(2),
        b"\x02" + encode_payload(Codec.ZSTD, 9, b"12345678", padded=False)[1:],
        bytes(9),
    ],
    ids=["damaged", "holds-more", "holds-less", "bytes-after", "codec-2", "empty"],
)
def test_payloads_that_are_not_as_they_say_are_refused(payload: bytes) -> None:
    oid = PLAIN.name_chunk(bytes(1 << 22))
    with pytest.raises(IntegrityError, match=f"Object {oid.hex()} is damaged"):
        PLAIN.open(plain_frame(Kind.CHUNK, oid, payload), oid, Kind.CHUNK)


def test_metadata_has_a_lower_limit_than_chunks() -> None:
    payload = bomb(1 << 22)
    oid = PLAIN.name_metadata(Kind.TREE, [], bytes(1 << 22))
    with pytest.raises(IntegrityError, match="damaged"):
        PLAIN.open(plain_frame(Kind.TREE, oid, payload), oid, Kind.TREE)


def test_any_changed_byte_is_noticed() -> None:
    codec = Vault().codec
    oid = codec.name_chunk(b"content")
    data = codec.encode_chunk(oid, b"content")
    for at in range(len(data) - CHECKSUM_BYTES):
        changed = bytearray(data)
        changed[at] ^= 0x80
        changed[-CHECKSUM_BYTES:] = blake3(memoryview(changed)[:-CHECKSUM_BYTES]).digest(CHECKSUM_BYTES)
        with pytest.raises(Exception, match=r".") as caught:
            codec.open(parse_frame(changed), oid, Kind.CHUNK)
        assert type(caught.value).__module__ == "mediavault.errors"
