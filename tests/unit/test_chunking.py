"""Cut points: pinned for ever, and the same however a file is read."""

import pyfastcdc
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from pyfastcdc.py.fastcdc import FastCDC as SlowCutter

from mediavault.chunking.fastcdc import SEED_MASK, Chunker
from mediavault.formats.config import ChunkerConfig

SMALL = ChunkerConfig(average=1024, minimum=256, maximum=4096)

# Changing one of these breaks deduplication with everything stored before.
GOLDEN_FIRST = [248894, 131883, 203935, 148889, 220222, 143311]
GOLDEN_PLAIN = "53f1eed3fb1e87d8"
GOLDEN_SEEDED = "f174afa8e86fa807"
GOLDEN_SMALL = "3e14911f7a1526f2"


def stream(length: int, name: bytes = b"chunking") -> memoryview:
    """Return bytes that look random and never change."""
    return memoryview(blake3(name).digest(length))


def digest(lengths: list[int]) -> str:
    return blake3(b"".join(length.to_bytes(4, "little") for length in lengths)).hexdigest(8)


def windowed(chunker: Chunker, data: memoryview, window: int) -> list[int]:
    """Cut as a reader does that holds at most `window` new bytes and carries the rest."""
    lengths: list[int] = []
    start = at = 0
    while True:
        at = min(at + window, len(data))
        cuts = chunker.cut(data[start:at], last=at == len(data))
        lengths += cuts
        start += sum(cuts)
        if at == len(data):
            return lengths


def test_cut_points_are_those_of_every_earlier_version() -> None:
    data = stream(8 << 20)
    assert Chunker(ChunkerConfig()).cut(data)[:6] == GOLDEN_FIRST
    assert digest(Chunker(ChunkerConfig()).cut(data)) == GOLDEN_PLAIN
    assert digest(Chunker(ChunkerConfig(), seed=0x123456789ABC).cut(data)) == GOLDEN_SEEDED
    assert digest(Chunker(SMALL, seed=1).cut(data[: 1 << 20])) == GOLDEN_SMALL


@pytest.mark.parametrize("seed", [0, 7, SEED_MASK])
def test_the_librarys_python_version_cuts_alike(seed: int) -> None:
    data = stream(256 << 10)
    slow = SlowCutter(1024, min_size=256, max_size=4096, normalized_chunking=1, seed=seed)
    assert [chunk.length for chunk in slow.cut_buf(data)] == Chunker(SMALL, seed).cut(data)


def test_chunks_keep_to_their_bounds_and_cover_everything() -> None:
    data = stream(8 << 20)
    lengths = Chunker(ChunkerConfig()).cut(data)
    assert sum(lengths) == len(data)
    assert min(lengths[:-1]) >= 64 << 10
    assert max(lengths) <= 512 << 10


def test_an_edit_moves_only_the_cuts_near_it() -> None:
    data = bytes(stream(4 << 20))
    before = Chunker(ChunkerConfig()).cut(memoryview(data))
    after = Chunker(ChunkerConfig()).cut(memoryview(data[: 2 << 20] + b"inserted" + data[2 << 20 :]))
    assert before[:5] == after[:5]
    assert before[-5:] == after[-5:]


def test_a_long_run_of_zeros_is_cut_at_the_maximum() -> None:
    assert Chunker(SMALL).cut(memoryview(bytes(10_000))) == [4096, 4096, 1808]


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, 40_000), window=st.integers(1, 12_000), seed=st.integers(0, SEED_MASK))
def test_cuts_do_not_depend_on_how_a_file_is_read(length: int, window: int, seed: int) -> None:
    data = stream(length)
    chunker = Chunker(SMALL, seed)
    assert windowed(chunker, data, window) == chunker.cut(data)


def test_what_is_carried_is_shorter_than_the_longest_chunk() -> None:
    chunker = Chunker(SMALL)
    for length in range(0, 20_000, 997):
        assert length - sum(chunker.cut(stream(length), last=False)) < SMALL.maximum


@pytest.mark.parametrize("length", [1, 255, 256, 257])
def test_short_files_are_one_chunk(length: int) -> None:
    assert Chunker(SMALL).cut(stream(length)) == [length]


def test_an_empty_file_has_no_chunk() -> None:
    assert Chunker(SMALL).cut(memoryview(b"")) == []


def test_the_seed_counts_and_is_cut_to_48_bits() -> None:
    data = stream(1 << 20)
    plain, seeded = Chunker(SMALL).cut(data), Chunker(SMALL, 7).cut(data)
    assert plain != seeded
    assert Chunker(SMALL, 7 + (1 << 63)).cut(data) == seeded


def test_the_slow_fallback_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fallback = type("FastCDC", (), {"__module__": "pyfastcdc.py.fastcdc"})
    monkeypatch.setattr(pyfastcdc, "FastCDC", fallback)
    with pytest.raises(RuntimeError, match="compiled extension"):
        Chunker(SMALL)
