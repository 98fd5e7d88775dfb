"""Content-defined cut points by FastCDC 2020; what becomes of the chunks is for others to say.

The cut points are part of the repository format: golden tests pin them.
"""

from collections.abc import Iterator
from typing import Any, Final

import pyfastcdc

from mediavault.formats.config import ChunkerConfig

SEED_MASK: Final = (1 << 48) - 1
"""pyfastcdc XORs the seed over a 64-bit table and shifts it once; larger seeds overflow."""


class Chunker:
    """Cuts buffers at content-defined points.

    Not safe for use by two threads at once: each thread makes its own.

    Args:
        config: the repository's chunk lengths.
        seed: what only key holders know of the cut points; cut to 48 bits.

    Raises:
        ValueError: sizes outside what the algorithm supports.
        RuntimeError: pyfastcdc has no compiled extension here.
    """

    def __init__(self, config: ChunkerConfig, seed: int = 0) -> None:
        self._fastcdc = _compiled()(
            config.average,
            min_size=config.minimum,
            max_size=config.maximum,
            normalized_chunking=config.normalisation,
            seed=seed & SEED_MASK,
        )
        self.minimum = config.minimum
        self.maximum = config.maximum

    def cut(self, window: memoryview, *, last: bool = True) -> list[int]:
        """Return the lengths of the chunks in `window`, which starts at a cut point.

        Args:
            window: bytes of the file, from a cut point on.
            last: the file ends where the window ends. Otherwise only cuts that more bytes could not move are
                returned, and the rest (shorter than `maximum`) must be carried to the front of the next window:
                so the cuts of a file do not depend on how it was read.
        """
        if last:
            if 0 < len(window) <= self.minimum:
                return [len(window)]
            return [chunk.length for chunk in self._fastcdc.cut_buf(window)]
        return list(self._settled(window))

    def _settled(self, window: memoryview) -> Iterator[int]:
        left = len(window) - self.maximum
        if left < 0:
            return
        for chunk in self._fastcdc.cut_buf(window):
            length: int = chunk.length
            yield length
            left -= length
            if left < 0:
                return


def _compiled() -> Any:
    """Return the compiled class: the pure Python one is a hundred times slower and only warns."""
    if not pyfastcdc.FastCDC.__module__.startswith("pyfastcdc.cy."):
        raise RuntimeError("pyfastcdc was installed without its compiled extension; install a wheel for this platform.")
    return pyfastcdc.FastCDC
