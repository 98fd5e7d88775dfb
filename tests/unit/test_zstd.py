"""Compression: only when smaller, and never more out than was declared."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard

from mediavault.codecs import zstd
from mediavault.codecs.probe import SMALL, worth_trying
from mediavault.errors import FormatError

TEXT = b"take 12, camera B, colour checked; " * 400
NOISE = random.Random(1).randbytes(200_000)


def frame_of(data: bytes, *, write_checksum: bool = False, write_content_size: bool = True) -> bytes:
    compressor = zstandard.ZstdCompressor(write_checksum=write_checksum, write_content_size=write_content_size)
    return compressor.compress(data)


@pytest.mark.parametrize("level", [1, 3, 9])
def test_round_trip(level: int) -> None:
    packed = zstd.compress(memoryview(TEXT), level)
    assert packed is not None
    assert len(packed) < len(TEXT)
    assert zstd.decompress(memoryview(packed), len(TEXT)) == TEXT


def test_what_does_not_get_smaller_is_not_compressed() -> None:
    assert zstd.compress(NOISE) is None
    assert zstd.compress(b"") is None
    assert zstd.compress(b"a") is None


def test_one_frame_with_its_size_and_without_checksum() -> None:
    packed = zstd.compress(TEXT)
    assert packed is not None
    parameters = zstandard.get_frame_parameters(packed)
    assert parameters.content_size == len(TEXT)
    assert not parameters.has_checksum
    assert parameters.dict_id == 0


@pytest.mark.parametrize("declared", [0, 1, len(TEXT) - 1, len(TEXT) + 1, 1 << 40])
def test_another_length_than_declared_is_refused(declared: int) -> None:
    with pytest.raises(FormatError, match="declares"):
        zstd.decompress(frame_of(TEXT), declared)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x28\xb5\x2f\xfd",
        frame_of(TEXT)[:-1],
        frame_of(TEXT) + b"\0",
        frame_of(TEXT) + frame_of(b""),
        frame_of(TEXT, write_checksum=True),
        frame_of(TEXT, write_content_size=False),
        b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd" + frame_of(TEXT),
        NOISE[:100],
    ],
    ids=["empty", "header", "cut", "byte-after", "frame-after", "checksum", "no-size", "skippable", "noise"],
)
def test_anything_but_one_exact_frame_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        zstd.decompress(data, len(TEXT))


def test_a_frame_that_declares_less_than_it_holds_is_refused() -> None:
    honest = frame_of(bytes(100_000))
    lying = bytearray(frame_of(bytes(70_000)))
    # Same header form with four size bytes in both; the blocks are those of the longer content.
    size = zstandard.frame_header_size(honest)
    with pytest.raises(FormatError):
        zstd.decompress(bytes(lying[:size]) + honest[size:], 70_000)


def test_contexts_are_not_shared_between_threads() -> None:
    def round_trip(number: int) -> bool:
        data = bytes([number]) * 50_000 + NOISE[: number * 50]
        packed = zstd.compress(data)
        return packed is not None and zstd.decompress(packed, len(data)) == data

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(round_trip, range(200)))


def test_the_probe_tries_text_and_pictures_but_not_noise() -> None:
    rows = b"".join(bytes([row % 251]) * 997 for row in range(200))
    assert worth_trying(TEXT * 20)
    assert worth_trying(memoryview(rows))
    assert not worth_trying(memoryview(NOISE))


def test_the_probe_looks_beyond_the_start() -> None:
    assert worth_trying(NOISE[:50_000] + bytes(150_000))
    assert worth_trying(bytes(50_000) + NOISE[:150_000])


def test_small_data_is_always_tried() -> None:
    assert worth_trying(NOISE[: SMALL - 1])
    assert not worth_trying(NOISE[:SMALL])
