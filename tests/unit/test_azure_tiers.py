"""What Azure says of a blob in Archive while it is brought back: Azurite does that at once, so the words are from Azure's documentation.

"Get Blob Properties" (x-ms-access-tier, x-ms-archive-status) and "Blob service error codes".
"""

import pytest
from azure.storage.blob import BlobProperties, StandardBlobTier

from mediavault_backends.api import Tier
from mediavault_backends.azure import _meaning
from mediavault_backends.azure_tiers import restored, tier_of
from mediavault_backends.errors import ArchivedError, RestoringError


@pytest.mark.parametrize(
    ("headers", "tier"),
    [
        ({}, Tier("Hot")),
        ({"x-ms-access-tier": "Cool"}, Tier("Cool")),
        ({"x-ms-access-tier": "Archive"}, Tier("Archive", readable=False)),
        (
            {"x-ms-access-tier": "Archive", "x-ms-archive-status": "rehydrate-pending-to-hot"},
            Tier("Archive", readable=False, restoring=True),
        ),
    ],
)
def test_the_tier_of_a_blob(headers: dict[str, str], tier: Tier) -> None:
    assert tier_of(BlobProperties(**headers)) == tier


def test_a_blob_that_is_brought_back_is_told_from_one_that_is_not() -> None:
    assert _meaning(409, "BlobArchived", False)[0] is ArchivedError
    assert _meaning(409, "BlobBeingRehydrated", False)[0] is RestoringError


@pytest.mark.parametrize(
    ("fresh", "tier"), [("", StandardBlobTier.HOT), ("Cool", StandardBlobTier.COOL), ("Archive", StandardBlobTier.HOT)]
)
def test_where_a_blob_comes_back_to(fresh: str, tier: StandardBlobTier) -> None:
    assert restored(fresh) == tier
