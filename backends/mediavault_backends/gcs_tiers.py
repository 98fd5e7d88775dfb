"""Storage classes of Google Cloud Storage: read from an object's metadata, changed by rewriting it. Leaves requests' errors to `gcs`.

Every class can be read at once, ARCHIVE too: there is nothing to restore.
"""

from typing import Any, Final

from mediavault_backends.api import Tier

_USUAL: Final = "STANDARD"


def tier_of(blob: Any) -> Tier:
    """Return the class of an object whose metadata was loaded."""
    return Tier(str(blob.storage_class or _USUAL))


def move(blob: Any, name: str, *, timeout: tuple[float, float]) -> None:
    """Rewrite an object whose metadata was loaded in another class, if it is still the same.

    Google does this in one request, or in several where the bytes have to be moved.
    """
    generation = blob.generation
    blob.storage_class = name
    token = None
    while True:
        token, _, _ = blob.rewrite(
            blob,
            token=token,
            if_generation_match=generation,
            if_source_generation_match=generation,
            retry=None,
            timeout=timeout,
        )
        if token is None:
            return
