"""Which S3 service is meant, where it answers and who signs: from settings to botocore's client. Leaves objects to `s3`.

Credentials come from the settings, or from the first that has some: environment, IAM role (web identity, container,
machine), profile files. botocore asks profiles before roles; the order here is the one that MediaVault documents. The region
comes from the settings, `AWS_REGION` (which botocore does not read), `AWS_DEFAULT_REGION`, the profile, or from the bucket.
"""

import base64
import binascii
import string
from collections.abc import Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session

from mediavault_backends.errors import BackendSetupError
from mediavault_backends.keys import check_prefix
from mediavault_backends.settings import S3Settings

ENDPOINTS: Final[Mapping[str, str]] = {
    "minio": "http://minio:9000",
    "b2": "https://s3.{region}.backblazeb2.com",
    "spaces": "https://{region}.digitaloceanspaces.com",
    "wasabi": "https://s3.{region}.wasabisys.com",
}
"""Where the providers answer, from their documentation. R2's address holds the account and has to be given."""
TRIED: Final = "environment, IAM role, profile files"
CONNECT_TIMEOUT: Final = 10.0
POOL: Final = 64
"""Connections that are kept open: as many as a server process uses at once, and the parts of an upload besides."""

_REGION: Final[Any] = {"region": ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], None, None)}
_FIRST: Final = ("env", "assume-role-with-web-identity", "container-role", "iam-role")
_FROZEN: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})


def check_settings(settings: S3Settings) -> None:
    """Check what can be checked without asking anybody.

    Raises:
        BackendSetupError: a setting is missing, or two do not go together.
    """
    if not settings.bucket:
        raise BackendSetupError("storage.s3.bucket is missing: the bucket that holds the objects")
    try:
        check_prefix(settings.prefix.strip("/"))
    except ValueError:
        raise BackendSetupError(f"storage.s3.prefix cannot begin a key: {settings.prefix!r}") from None
    if bool(settings.access_key) != bool(settings.secret_key):
        missing = "secret_key" if settings.access_key else "access_key"
        raise BackendSetupError(f"storage.s3.{missing} is missing: access_key and secret_key belong together")
    if settings.provider == "r2" and not settings.endpoint:
        raise BackendSetupError(
            "storage.s3.endpoint is missing: for r2 it is https://ACCOUNT.r2.cloudflarestorage.com, with your account's id"
        )
    if settings.storage_class in _FROZEN:
        raise BackendSetupError(
            f"storage.s3.storage_class = {settings.storage_class!r} cannot be read at once, which a repository must be"
        )
    _check_endpoint(settings.endpoint)
    _check_encryption(settings)


def _check_endpoint(endpoint: str) -> None:
    if not endpoint:
        return
    try:
        parts = urlsplit(endpoint)
        names = [name for _, name, _, _ in string.Formatter().parse(endpoint) if name is not None]
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and set(names) <= {"region"}
        secret = parts.username is not None
    except ValueError:
        usable = secret = False
    if secret:
        raise BackendSetupError("storage.s3.endpoint holds a name or password: use access_key and secret_key")
    if not usable:
        raise BackendSetupError("storage.s3.endpoint is no address such as https://s3.example.com")


def _check_encryption(settings: S3Settings) -> None:
    if settings.sse_kms_key_id and settings.sse != "kms":
        raise BackendSetupError('storage.s3.sse_kms_key_id does nothing without sse = "kms"')
    if settings.sse_customer_key and settings.sse != "c":
        raise BackendSetupError('storage.s3.sse_customer_key does nothing without sse = "c"')
    if settings.sse == "c":
        customer_key(settings)


def customer_key(settings: S3Settings) -> bytes:
    """Return the key of `sse = "c"`.

    Raises:
        BackendSetupError: it is not 32 bytes in base64.
    """
    try:
        key = base64.b64decode(settings.sse_customer_key, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != 32:
        raise BackendSetupError("storage.s3.sse_customer_key is not 32 bytes in base64")
    return key


def make_client(settings: S3Settings, *, timeout: float) -> Any:
    """Return a client that tries everything once; asks for credentials and, where nothing names it, for the region.

    Args:
        settings: checked.
        timeout: seconds without a byte until an answer is given up.

    Raises:
        BackendSetupError: the endpoint needs a region, and none is known.
        BotoCoreError: the service or the credential chain did not answer.
    """
    session = Session(session_vars=_REGION)
    _order_credentials(session)
    region = settings.region or session.get_config_variable("region") or ("auto" if settings.provider == "r2" else "")
    endpoint = _endpoint(settings, region)
    if not region:
        region = _ask_region(settings.bucket, _client(session, settings, "us-east-1", endpoint, timeout))
    return _client(session, settings, region, endpoint, timeout)


def _order_credentials(session: Session) -> None:
    resolver: Any = session.get_component("credential_provider")
    by_name = {provider.METHOD: provider for provider in resolver.providers}
    first = [by_name[name] for name in _FIRST if name in by_name]
    resolver.providers[:] = first + [provider for provider in resolver.providers if provider not in first]


def _endpoint(settings: S3Settings, region: str) -> str | None:
    template = settings.endpoint or ENDPOINTS.get(settings.provider, "")
    if "{region}" in template and not region:
        raise BackendSetupError(f"storage.s3.region is missing: it is part of the address {template}")
    return template.replace("{region}", region) or None


def _client(session: Session, settings: S3Settings, region: str, endpoint: str | None, timeout: float) -> Any:
    style: Literal["auto", "virtual", "path"] = (
        "virtual" if endpoint else "auto"
    )  # auto: an address from AWS_ENDPOINT_URL gets the bucket in its path
    if settings.force_path_style or settings.provider == "minio":
        style = "path"
    return session.create_client(
        "s3",
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id=settings.access_key or None,
        aws_secret_access_key=settings.secret_key or None,
        config=Config(
            signature_version="s3v4",  # which binds headers in signed URLs; botocore's own choice for those is version 2
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=timeout,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=POOL + settings.max_concurrent_parts,
            tcp_keepalive=True,
            s3={"addressing_style": style},
            # The adapter sends its checksums as plain headers, which every service takes.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _ask_region(bucket: str, client: Any) -> str:
    """Return the region in which a bucket is; services tell it even to those who may not enter."""
    try:
        answer = client.head_bucket(Bucket=bucket)
    except ClientError as error:
        answer = error.response
    finally:
        client.close()
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("x-amz-bucket-region") or "us-east-1")
