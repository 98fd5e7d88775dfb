"""Requests to one object of a bucket that others may make: AWS Signature, version 4, in the query. Leaves credentials to `s3_client`."""

import base64
from collections.abc import Mapping
from typing import Any, Final

from botocore.exceptions import NoCredentialsError, PartialCredentialsError

from mediavault_backends.api import SignedRequest


def sign_get(client: Any, bucket: str, key: str, seconds: int) -> SignedRequest | None:
    """Return a request that reads an object or a range of it; None without credentials."""
    url = _signed(client, "get_object", {"Bucket": bucket, "Key": key}, seconds)
    return SignedRequest("GET", url, {}) if url else None


def sign_put(
    client: Any, bucket: str, key: str, *, size: int, sha256: bytes, seconds: int, encryption: Mapping[str, str]
) -> SignedRequest | None:
    """Return a request that creates an object of this size and SHA-256 and replaces none; None without credentials.

    All of it is bound: the three headers are among those that are signed, and the service compares the checksum.

    Args:
        client: of botocore, which signs with version 4.
        bucket: where.
        key: the object's, with the prefix of the table.
        size: of the body, in bytes.
        sha256: of the body.
        seconds: until it expires.
        encryption: what botocore calls the service's own encryption.
    """
    checksum = base64.b64encode(sha256).decode()
    arguments = {"Bucket": bucket, "Key": key, "ContentLength": size, "ChecksumSHA256": checksum, "IfNoneMatch": "*"}
    url = _signed(client, "put_object", {**arguments, **encryption}, seconds)
    headers = {"Content-Length": str(size), "x-amz-checksum-sha256": checksum, "If-None-Match": "*"}
    headers |= {_HEADERS[name]: value for name, value in encryption.items()}
    return SignedRequest("PUT", url, headers) if url else None


_HEADERS: Final = {
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
}


def _signed(client: Any, operation: str, arguments: Mapping[str, object], seconds: int) -> str:
    try:
        return str(client.generate_presigned_url(operation, Params=dict(arguments), ExpiresIn=seconds))
    except (NoCredentialsError, PartialCredentialsError):
        return ""
