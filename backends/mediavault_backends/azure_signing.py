"""Shared access signatures for one blob, made with the account's key. Leaves the key and the blob's address to `azure`."""

from datetime import UTC, datetime, timedelta
from typing import Final

from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob import BlobClient, BlobSasPermissions, generate_blob_sas

from mediavault_backends.api import SignedRequest

COPY_SECONDS: Final = 900
"""How long Azure may take to begin a copy of its own."""

_SKEW: Final = timedelta(minutes=5)
"""How far the clocks of this machine and of Azure may be apart: a signature starts this long ago."""


def sign_get(blob: BlobClient, credential: AzureNamedKeyCredential, seconds: int) -> SignedRequest:
    """Return a request that reads a blob or a range of it."""
    return SignedRequest("GET", _signed(blob, credential, BlobSasPermissions(read=True), seconds), {})


def sign_put(blob: BlobClient, credential: AzureNamedKeyCredential, *, size: int, seconds: int) -> SignedRequest:
    """Return a request that creates a blob and replaces none: it has the right to create, not to write.

    A signature binds neither size nor checksum: whoever holds it may send any body. The size is only told.
    """
    url = _signed(blob, credential, BlobSasPermissions(create=True), seconds)
    return SignedRequest("PUT", url, {"Content-Length": str(size), "x-ms-blob-type": "BlockBlob"})


def _signed(blob: BlobClient, credential: AzureNamedKeyCredential, may: BlobSasPermissions, seconds: int) -> str:
    now = datetime.now(UTC)
    signature = generate_blob_sas(
        credential.named_key.name,
        blob.container_name,
        blob.blob_name,
        account_key=credential.named_key.key,
        permission=may,
        start=now - _SKEW,
        expiry=now + timedelta(seconds=seconds),
    )
    return f"{blob.url}?{signature}"
