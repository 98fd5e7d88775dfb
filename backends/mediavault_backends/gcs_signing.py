"""Requests to one object of a bucket that others may make: Google's V4 signature, by a service account's private key."""

from collections.abc import Mapping
from typing import Any

from google.auth.credentials import Credentials
from google.oauth2 import service_account

from mediavault_backends.api import SignedRequest


def signer_of(credentials: Credentials) -> service_account.Credentials | None:
    """Return what signs for these credentials: themselves with a private key; others would have to ask Google each time."""
    return credentials if isinstance(credentials, service_account.Credentials) else None


def sign_get(blob: Any, signer: service_account.Credentials, endpoint: str, seconds: int) -> SignedRequest:
    """Return a request that reads an object or a range of it."""
    return SignedRequest("GET", _signed(blob, signer, endpoint, seconds), {})


def sign_put(
    blob: Any, signer: service_account.Credentials, endpoint: str, *, size: int, sha256: bytes, seconds: int
) -> SignedRequest:
    """Return a request that creates an object of this size and SHA-256 and replaces none.

    All three are headers that are signed; see "Canonical requests" of Cloud Storage's documentation.

    Args:
        blob: of the SDK.
        signer: credentials with a private key.
        endpoint: where the service answers.
        size: of the body, in bytes.
        sha256: of the body.
        seconds: until it expires.
    """
    headers = {
        "Content-Length": str(size),
        "x-goog-content-sha256": sha256.hex(),
        "x-goog-if-generation-match": "0",
    }
    return SignedRequest("PUT", _signed(blob, signer, endpoint, seconds, headers), headers)


def _signed(
    blob: Any,
    signer: service_account.Credentials,
    endpoint: str,
    seconds: int,
    headers: Mapping[str, str] | None = None,
) -> str:
    billed = {"userProject": blob.user_project} if blob.user_project else {}
    url = blob.generate_signed_url(
        version="v4",
        method="GET" if headers is None else "PUT",
        expiration=seconds,
        headers=dict(headers or {}),
        query_parameters=billed,
        credentials=signer,
        api_access_endpoint=endpoint,
    )
    return str(url)
