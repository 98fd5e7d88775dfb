"""Sealing: one key for each frame, everything in the header bound, nothing opened that was not sealed here."""

import hmac
import itertools
from collections.abc import Callable

import pytest
from blake3 import blake3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mediavault.codecs.seal import FrameSealer, PlainSealer, Sealer
from mediavault.errors import IntegrityError, NotAllowedError, UnsupportedFormatError
from mediavault.formats.frame import CHECKSUM_BYTES, parse_frame
from mediavault.formats.payload import Codec, encode_payload
from mediavault.model.ids import Kind, Link

REPOSITORY = bytes(range(16))
DATA_KEYS = {0: b"d" * 32, 1: b"D" * 32}
META_KEYS = {0: b"m" * 32, 1: b"M" * 32}
OID = b"o" * 32
RAW = encode_payload(Codec.RAW, 5, b"hello", padded=True)


def counting() -> Callable[[int], bytes]:
    numbers = itertools.count()
    return lambda length: next(numbers).to_bytes(length, "little")


def stuck(length: int) -> bytes:
    """Return the same "random" bytes for ever, as in a machine restored from a snapshot."""
    return b"r" * length


def sealer(repository: bytes = REPOSITORY, *, epoch: int = 0, random: Callable[[int], bytes] | None = None) -> Sealer:
    return Sealer(repository, data_keys=DATA_KEYS, meta_keys=META_KEYS, epoch=epoch, random=random or counting())


def resealed(frame: bytes | bytearray) -> bytes:
    """Return the frame with a fresh checksum, as someone makes it who has no key."""
    body = bytes(frame[:-CHECKSUM_BYTES])
    return body + blake3(body).digest(CHECKSUM_BYTES)


@pytest.mark.parametrize("one", [PlainSealer(), sealer()], ids=["plain", "sealed"])
def test_round_trip_with_links_and_generation(one: FrameSealer) -> None:
    links = [Link(Kind.TREE, b"t" * 32), Link(Kind.COMMIT, b"c" * 32)]
    frame = parse_frame(one.seal(Kind.COMMIT, OID, RAW, links=links, generation=7))
    assert (frame.header.kind, frame.header.id, frame.header.generation) == (Kind.COMMIT, OID, 7)
    assert list(frame.header.links) == links
    assert bytes(one.open(frame)) == RAW


@pytest.mark.parametrize(("kind", "keys"), [(Kind.CHUNK, DATA_KEYS), (Kind.TREE, META_KEYS)])
def test_the_seal_is_what_the_format_says(kind: Kind, keys: dict[int, bytes]) -> None:
    """Open a frame with nothing but the documented steps, in another implementation of HKDF."""
    frame = parse_frame(sealer(epoch=1).seal(kind, OID, RAW))
    info = b"mediavault/1/frame" + b"\x01\x01" + REPOSITORY + bytes((kind,)) + OID
    key = HKDF(hashes.SHA256(), 32, frame.header.salt, info).derive(keys[1])
    assert AESGCM(key).decrypt(bytes(12), bytes(frame.body), frame.aad) == RAW
    assert frame.header.epoch == 1


def test_the_same_payload_never_gets_the_same_key() -> None:
    one = sealer()
    frames = {bytes(one.seal(Kind.CHUNK, OID, RAW)) for _ in range(20)}
    assert len({parse_frame(frame).header.salt for frame in frames}) == 20


def test_repeating_random_bytes_repeat_no_key_for_another_content() -> None:
    one = sealer(random=stuck)
    payloads = [
        (OID, RAW),
        (b"p" * 32, RAW),
        (OID, encode_payload(Codec.RAW, 5, b"hello", padded=False) + b"\0"),
        (OID, encode_payload(Codec.ZSTD, 9, b"12345678", padded=False)),
        (OID, encode_payload(Codec.ZSTD, 9, b"1234567X", padded=False)),
    ]
    salts = [parse_frame(one.seal(Kind.CHUNK, oid, payload)).header.salt for oid, payload in payloads]
    assert len(set(salts)) == len(payloads)
    assert parse_frame(one.seal(Kind.CHUNK, *payloads[3])).header.salt == salts[3]


def test_every_byte_of_a_sealed_frame_counts() -> None:
    one = sealer()
    frame = bytes(one.seal(Kind.COMMIT, OID, RAW, links=[Link(Kind.TREE, b"t" * 32)], generation=1))
    for at in range(len(frame) - CHECKSUM_BYTES):
        changed = bytearray(frame)
        changed[at] ^= 1
        with pytest.raises((IntegrityError, NotAllowedError, UnsupportedFormatError)):
            one.open(parse_frame(resealed(changed)))
    assert one.open(parse_frame(resealed(frame))) == RAW


def test_a_frame_of_another_repository_does_not_open() -> None:
    frame = parse_frame(sealer(bytes(16)).seal(Kind.CHUNK, OID, RAW))
    with pytest.raises(IntegrityError, match=OID.hex()):
        sealer().open(frame)


def test_an_unknown_epoch_is_named() -> None:
    frame = parse_frame(sealer(epoch=1).seal(Kind.CHUNK, OID, RAW))
    only_first = Sealer(REPOSITORY, data_keys={0: b"d" * 32}, meta_keys=META_KEYS, epoch=0, random=counting())
    with pytest.raises(NotAllowedError, match="epoch 1"):
        only_first.open(frame)
    with pytest.raises(NotAllowedError):
        sealer(epoch=2)


def test_suites_do_not_open_each_other() -> None:
    with pytest.raises(IntegrityError, match="suite 0"):
        sealer().open(parse_frame(PlainSealer().seal(Kind.CHUNK, OID, RAW)))
    with pytest.raises(IntegrityError, match="suite 1"):
        PlainSealer().open(parse_frame(sealer().seal(Kind.CHUNK, OID, RAW)))


def test_the_key_of_a_chunk_is_no_key_of_metadata() -> None:
    frame = parse_frame(sealer().seal(Kind.CHUNK, OID, RAW))
    swapped = Sealer(REPOSITORY, data_keys=META_KEYS, meta_keys=DATA_KEYS, epoch=0, random=counting())
    with pytest.raises(IntegrityError):
        swapped.open(frame)


def test_the_salt_is_keyed_by_the_random_bytes() -> None:
    frame = parse_frame(sealer(random=stuck).seal(Kind.CHUNK, OID, RAW))
    committed = OID + b"\0" + len(RAW).to_bytes(4, "little")
    assert hmac.compare_digest(frame.header.salt, blake3(committed, key=b"r" * 32).digest())
