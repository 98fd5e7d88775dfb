"""How each byte of a store is changed, one after another, and what is counted of the answers."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from mediavault.errors import IntegrityError, MediaVaultError, NotAllowedError, UnsupportedFormatError
from mediavault.formats.frame import CHECKSUM_BYTES
from mediavault.store.pack_table import parse_pack
from mediavault_backends.keys import decode_segment

Record: TypeAlias = Callable[[str, object], None]
"""pytest's `record_property`."""

TYPED: Final = (IntegrityError, UnsupportedFormatError, NotAllowedError)
"""What a read of damaged bytes may raise."""
ALL_BITS_EVERY: Final = 64
"""At each position one bit is flipped; at every one that this divides, each bit alone and all together."""


@dataclass
class Tally:
    """What came of a sweep: `positions` visited, `flips` made there, and how many were refused or did no harm."""

    where: str
    positions: int = 0
    flips: int = 0
    refused: int = 0
    right: int = 0
    unseen: Counter[str] = field(default_factory=Counter)
    """Of those that did no harm, by what they were in."""

    def harmless(self, what: str) -> None:
        """Count a flip after which all bytes were right."""
        self.right += 1
        self.unseen[what] += 1

    def report(self) -> str:
        """Return one line of figures; print it where `pytest -rP` shows it."""
        assert self.flips == self.refused + self.right
        harmless = ", ".join(f"{count:,} in {what}" for what, count in sorted(self.unseen.items()))
        return (
            f"every byte: {self.where}: {self.positions:,} positions, {self.flips:,} flips: "
            f"{self.refused:,} refused, {self.right:,} harmless ({harmless or 'none'}), 0 wrong"
        )


def masks(at: int) -> Sequence[int]:
    """Return which bits to flip at a position."""
    return (*(1 << bit for bit in range(8)), 0xFF) if at % ALL_BITS_EVERY == 0 else (1 << at % 8,)


def flips(data: bytes, tally: Tally, every: int = 1) -> Iterator[tuple[int, bytes]]:
    """Yield position and changed bytes for each flip; `every` visits a share of the positions, whatever precedes them."""
    for at in range(-tally.positions % every, len(data), every):
        tally.positions += 1
        for mask in masks(at):
            tally.flips += 1
            changed = bytearray(data)
            changed[at] ^= mask
            yield at, bytes(changed)


def flips_on_disk(path: Path, tally: Tally, every: int = 1) -> Iterator[int]:
    """Flip a file's bytes in place, one after another, and yield each position while it is wrong."""
    data = path.read_bytes()
    fd = os.open(path, os.O_WRONLY)
    try:
        for at, changed in flips(data, tally, every):
            os.pwrite(fd, changed[at : at + 1], at)
            yield at
            os.pwrite(fd, data[at : at + 1], at)
    finally:
        os.pwrite(fd, data, 0)
        os.close(fd)


def tell(tally: Tally, record: Record) -> None:
    """Tell what a sweep came to."""
    record("every byte", tally.report())
    print(tally.report())


def judge(
    tally: Tally,
    read: Callable[[], object],
    right: object,
    *,
    what: str,
    names: Sequence[str],
    typed: tuple[type[MediaVaultError], ...] = TYPED,
) -> None:
    """Count what a read of changed bytes comes to: what is right, or a typed error that names what is damaged.

    Raises:
        AssertionError: it gave something else, or raised anything else.
    """
    try:
        found = read()
    except typed as error:
        check_names(error, names)
        tally.refused += 1
        return
    assert found == right, f"wrong bytes were believed: {what}"
    tally.harmless(what)


def check_names(error: MediaVaultError, names: Sequence[str]) -> None:
    """Check that an error names one of what may be damaged."""
    assert any(name in error.message for name in names), f"{error.message!r} names none of {names}"


def names_in(store: Path, blob: Path) -> Sequence[str]:
    """Return how an error may name what stands in a blob: its name, or that of an object in it."""
    key = blob.relative_to(store)
    part = key.parts[0]
    if part == "packs":
        return (key.name, *(oid.hex() for oid in objects_in(blob.read_bytes())))
    if part == "refs":
        return (decode_segment(key.name), "bject ")
    if part == "logs":
        return (decode_segment(key.parts[2]),)
    return {"config": ("config", "repository"), "keys": (key.name,), "index": (key.name,)}[part]


def objects_in(pack: bytes) -> Mapping[bytes, range]:
    """Return where each object of a pack stands in it."""
    table = parse_pack(lambda start, length: pack[start : start + length], len(pack))
    return {row.id: range(row.offset, row.offset + row.length) for row in table.rows}


def places_in(store: Path, blob: Path) -> Callable[[int], str]:
    """Return what says in words what a position of a blob is in; call this while the blob is whole."""
    part = blob.relative_to(store).parts[0]
    if part != "packs":
        return lambda _: part
    objects = list(objects_in(blob.read_bytes()).values())

    def say(at: int) -> str:
        found = next((where for where in objects if at in where), None)
        if found is None:
            return "pack tables, heads and feet"
        return "frames' checksums" if at >= found.stop - CHECKSUM_BYTES else "frames"

    return say
