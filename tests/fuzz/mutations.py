"""Good input made bad, as Hypothesis strategies: bytes flipped, cut, inserted, repeated, spliced; lengths made to lie."""

from collections.abc import Sequence
from typing import Literal

from hypothesis import strategies as st

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)
_MOST = 4


@st.composite
def mutated(draw: st.DrawFn, samples: Sequence[bytes], longest: int) -> bytes:
    """Return a sample after up to four mutations; seldom nothing but noise."""
    if draw(st.integers(0, 15)) == 15:
        return draw(st.binary(max_size=300))
    data = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(0, _MOST))):
        data = draw(_mutation(data, samples))[:longest]
    return data


@st.composite
def _mutation(draw: st.DrawFn, data: bytes, samples: Sequence[bytes]) -> bytes:
    """Replace what stands between two places by something that comes of it, or of another sample."""
    at = draw(st.integers(0, len(data)))
    end = min(len(data), at + draw(st.sampled_from([0, 1, 1, 2, 4, 8, 40, len(data)])))
    before, here, after = data[:at], data[at:end], data[end:]
    other = draw(st.sampled_from(samples))
    bit = 1 << draw(st.integers(0, 7))
    new = draw(
        st.one_of(
            st.just(bytes(byte ^ bit for byte in here[:1]) + here[1:]),
            st.just(b""),
            st.just(here * 31),
            st.just(other[draw(st.integers(0, max(0, len(other) - 1))) :]),
            st.binary(max_size=12),
            st.builds(_number, st.sampled_from(_NUMBERS), st.just(len(here)), st.sampled_from(["little", "big"])),
        )
    )
    return b"".join((before, new, after))


def _number(number: int, width: int, order: Literal["little", "big"]) -> bytes:
    return (number & (1 << 8 * width) - 1).to_bytes(width, order)
