"""Signed requests as the adapters make them, without any store: what is bound, and who cannot sign."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2 import service_account

from mediavault_backends import gcs_signing
from mediavault_backends.api import Backend, SignedRequest, copying_of, signing_of
from mediavault_backends.azure import AzureBackend
from mediavault_backends.gcs import GcsBackend
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.prefix import prefixed
from mediavault_backends.retry import retrying
from mediavault_backends.s3 import S3Backend
from mediavault_backends.settings import AzureSettings, GcsSettings, S3Settings

SHA256 = hashlib.sha256(b"pack").digest()
CHECKSUM = base64.b64encode(SHA256).decode()
SECRET = "wJalrXUtnFEMI"


def query(request: SignedRequest) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}


def s3(**changes: str) -> S3Backend:
    usual = {
        "bucket": "media",
        "prefix": "p",
        "region": "eu-central-1",
        "access_key": "AKIA",
        "secret_key": SECRET,
        "endpoint": "http://127.0.0.1:9",
        "provider": "minio",
    }
    return S3Backend(S3Settings(**{**usual, **changes}))  # type: ignore[arg-type] # all of them are text


@pytest.fixture
def azure() -> Iterator[AzureBackend]:
    key = base64.b64encode(b"k" * 64).decode()
    made = AzureBackend(AzureSettings(account_name="studio", account_key=key, container="media", prefix="p"))
    yield made
    made.close()


def put(backend: S3Backend | AzureBackend | GcsBackend) -> SignedRequest:
    request = backend.sign_put("quarantine/x", size=4, sha256=SHA256, seconds=900)
    assert request is not None
    assert request.method == "PUT"
    return request


def test_s3_binds_size_checksum_and_newness() -> None:
    request = put(s3())
    assert urlsplit(request.url).path == "/media/p/quarantine/x"
    told = query(request)
    assert told["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert told["X-Amz-SignedHeaders"] == "content-length;host;if-none-match;x-amz-checksum-sha256"
    assert told["X-Amz-Expires"] == "900"
    assert request.headers == {"Content-Length": "4", "x-amz-checksum-sha256": CHECKSUM, "If-None-Match": "*"}
    assert SECRET not in request.url


def test_s3_keeps_the_encryption_of_the_settings_and_leaves_the_class_to_the_bucket() -> None:
    request = put(s3(sse="kms", sse_kms_key_id="k1", storage_class="STANDARD_IA"))
    assert request.headers["x-amz-server-side-encryption"] == "aws:kms"
    assert request.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "k1"
    assert "x-amz-server-side-encryption-aws-kms-key-id" in query(request)["X-Amz-SignedHeaders"]
    assert not any("storage-class" in name for name in [*request.headers, *query(request)])


def test_s3_reads() -> None:
    request = s3().sign_get("packs/x", seconds=60)
    assert request is not None
    assert (request.method, request.headers) == ("GET", {})
    assert query(request)["X-Amz-Expires"] == "60"


def test_a_customers_key_does_not_leave() -> None:
    backend = s3(sse="c", sse_customer_key=base64.b64encode(b"k" * 32).decode())
    assert backend.sign_get("packs/x", seconds=60) is None
    assert backend.sign_put("packs/x", size=4, sha256=SHA256, seconds=60) is None


def test_azure_may_create_and_not_write(azure: AzureBackend) -> None:
    request = put(azure)
    assert request.url.startswith("https://studio.blob.core.windows.net/media/p/quarantine/x?")
    assert (query(request)["sp"], query(request)["sr"]) == ("c", "b")
    assert request.headers["x-ms-blob-type"] == "BlockBlob"
    read = azure.sign_get("packs/x", seconds=60)
    assert read is not None
    assert query(read)["sp"] == "r"


def test_a_managed_identity_cannot_sign() -> None:
    backend = AzureBackend(AzureSettings(account_name="studio", container="media", use_managed_identity=True))
    assert backend.sign_get("packs/x", seconds=60) is None
    assert backend.sign_put("packs/x", size=4, sha256=SHA256, seconds=60) is None
    backend.close()


def test_google_binds_size_checksum_and_newness() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    load: Callable[..., service_account.Credentials] = service_account.Credentials.from_service_account_info
    signer = load({"private_key": pem.decode(), "client_email": "a@b.example", "token_uri": "http://127.0.0.1:9"})
    backend = GcsBackend(GcsSettings(bucket="media", endpoint="http://127.0.0.1:9"))
    assert backend.sign_get("packs/x", seconds=60) is None  # nobody to sign for
    assert backend.sign_put("packs/x", size=4, sha256=SHA256, seconds=60) is None
    blob = backend._blob("quarantine/x")
    request = gcs_signing.sign_put(blob, signer, "http://127.0.0.1:9", size=4, sha256=SHA256, seconds=900)
    signed = query(request)["X-Goog-SignedHeaders"]
    assert signed == "content-length;host;x-goog-content-sha256;x-goog-if-generation-match"
    assert request.headers["x-goog-content-sha256"] == SHA256.hex()
    assert request.headers["x-goog-if-generation-match"] == "0"
    backend.close()


def test_wrappers_lead_to_the_store_that_signs() -> None:
    def wrapped(backend: Backend) -> Backend:
        return prefixed(retrying(backend, 2, lambda _: None, lambda: 0.5), "studio/film/")

    found = signing_of(wrapped(s3()), "packs/x")
    assert found is not None
    request = found[0].sign_get(found[1], seconds=60)
    assert request is not None
    assert urlsplit(request.url).path == "/media/p/studio/film/packs/x"
    copying = copying_of(wrapped(s3()), "quarantine/x", "packs/x")
    assert copying is not None
    assert copying[1:] == ("studio/film/quarantine/x", "studio/film/packs/x")
    assert signing_of(wrapped(MemoryBackend()), "packs/x") is None
    assert copying_of(wrapped(MemoryBackend()), "quarantine/x", "packs/x") is None
