"""Access tiers of Azure blobs: their names, and what a blob's properties tell of them. Leaves requests to `azure`.

A blob in Archive cannot be read. It comes back by being moved to another tier for good, which takes up to 15 hours; until then its
properties say that it is on its way.
"""

from typing import Final

from azure.storage.blob import BlobProperties, RehydratePriority, StandardBlobTier

from mediavault_backends.api import Tier
from mediavault_backends.errors import BackendSetupError

ARCHIVE: Final = "Archive"
PRIORITY: Final = RehydratePriority.STANDARD
_USUAL: Final = "Hot"


def tier_of(found: BlobProperties) -> Tier:
    """Read the tier of a blob from its properties."""
    name = str(found.blob_tier or _USUAL)
    return Tier(name, readable=name != ARCHIVE, restoring=name == ARCHIVE and bool(found.archive_status))


def tier_named(name: str, key: str) -> StandardBlobTier:
    """Return the tier of this name.

    Raises:
        BackendSetupError: there is none.
    """
    try:
        return StandardBlobTier(name)
    except ValueError:
        known = ", ".join(tier.value for tier in StandardBlobTier)
        raise BackendSetupError(f"Azure has no tier {name!r}; it has {known}", key=key) from None


def restored(name: str) -> StandardBlobTier:
    """Return where a blob comes back to: the tier of new ones, where it can be read there."""
    return StandardBlobTier(name if name and name != ARCHIVE else _USUAL)
