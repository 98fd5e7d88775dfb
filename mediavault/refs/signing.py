"""Knows how a ref's value is authenticated under keys that it is given; deriving them is left to `mediavault.keys`."""

from collections.abc import Mapping
from typing import Protocol

from blake3 import blake3

from mediavault.errors import IntegrityError
from mediavault.formats.ref import NO_MAC, RefValue, signed_part


class RefSigner(Protocol):
    """Makes and checks the MAC of ref values."""

    @property
    def epoch(self) -> int:
        """The key epoch that new values name."""

    def mac(self, data: bytes) -> bytes:
        """Return the 32 bytes that authenticate a value's signed part in the current epoch."""

    def check(self, value: RefValue) -> None:
        """Check a value that was read; the placeholder (seq 0), which anyone may make, passes.

        Raises:
            IntegrityError: the MAC is not that of a key holder.
        """


class KeyedSigner:
    """Keyed BLAKE3 under the ref key of each epoch; the highest epoch signs."""

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        self._keys = dict(keys)
        self._epoch = max(keys)

    @property
    def epoch(self) -> int:
        """The key epoch that new values name."""
        return self._epoch

    def mac(self, data: bytes) -> bytes:
        """Return the 32 bytes that authenticate a value's signed part in the current epoch."""
        return blake3(data, key=self._keys[self._epoch]).digest()

    def check(self, value: RefValue) -> None:
        """Check a value that was read.

        Raises:
            IntegrityError: a wrong MAC, or an epoch without a key.
        """
        if value.seq == 0:
            return
        key = self._keys.get(value.epoch)
        if key is None:
            raise IntegrityError(
                f"{value.name} was signed in key epoch {value.epoch}, whose key is not here.",
                untouched="Nothing was changed.",
            )
        right = blake3(signed_part(value), key=key).digest()
        # Hashed once more under the key, so that the time of the comparison tells nothing of the right MAC.
        if blake3(right, key=key).digest() != blake3(value.mac, key=key).digest():
            raise IntegrityError(
                f"{value.name} was not written by anyone with the repository's key.",
                untouched="Nothing was changed.",
                hint="The store may have been tampered with; compare with another copy of the repository.",
            )


class PlainSigner:
    """The zero MAC of plain repositories: it authenticates nothing."""

    @property
    def epoch(self) -> int:
        """Always 0."""
        return 0

    def mac(self, data: bytes) -> bytes:
        """Return 32 zero bytes."""
        del data
        return NO_MAC

    def check(self, value: RefValue) -> None:
        """Check that the value is one of a plain repository.

        Raises:
            IntegrityError: it has an epoch or a MAC.
        """
        if value.epoch or value.mac != NO_MAC:
            raise IntegrityError(f"{value.name} is signed, in a repository without a key.")
