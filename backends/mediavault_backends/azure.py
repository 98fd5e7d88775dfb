"""A container of Azure Blob Storage as a Backend: one block blob an object. Leaves retrying to the wrapper.

Create-only is `If-None-Match: *`, which Azure refuses with 409 or 412, replacing is `If-Match`; a version is the ETag. A
body above the block size is staged in blocks, and becomes visible with the block list, under the condition. Blocks of an
upload that failed are never visible; Azure has no way to remove them at once, and drops them after a week. Every block
and every single put carries its MD5, which Azure checks before it answers.

The SDK asks for a body in pieces of its own, and again when one is cut off, so reading sends its own request.
"""

import base64
import binascii
import secrets
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any, Final

from azure.core import MatchConditions, PipelineClient
from azure.core.credentials import AzureNamedKeyCredential, TokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    IncompleteReadError,
    ServiceRequestError,
)
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, SansIOHTTPPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest, HttpResponse
from azure.identity import ManagedIdentityCredential
from azure.storage.blob import BlobBlock, BlobClient, ContainerClient, StandardBlobTier

from mediavault_backends import azure_signing, azure_tiers
from mediavault_backends.api import Absent, Blob, Body, Buffer, Condition, SignedRequest, Stat, Tier, Version
from mediavault_backends.bodies import BLOCK, Answer, check_answer, check_range, give_up_adopted, parts_of, size_of
from mediavault_backends.errors import (
    AccessDeniedError,
    ArchivedError,
    BackendError,
    BackendSetupError,
    NotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    RestoringError,
    StorageFullError,
    TransientError,
)
from mediavault_backends.keys import MAX_KEY, check_key, check_prefix
from mediavault_backends.settings import AzureSettings

BLOCK_SIZE: Final = 16 << 20
"""Bytes of a staged block, and the largest body that is put at once: an upload holds two of them in memory."""
PAGE_SIZE: Final = 5000
"""Objects of one page of a listing; Azure gives no more."""
TIMEOUT: Final = 60.0
"""Seconds without a byte after which a connection is given up."""

_MOST_BLOCKS: Final = 50_000
_SCOPE: Final = "https://storage.azure.com/.default"
_FARTHEST: Final = 1 << 62
_PACKS: Final = "/packs/"
_EXISTS: Final = frozenset({"BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet"})
_NO_BLOB: Final = frozenset({"", "BlobNotFound"})
_DENIED: Final = frozenset({"BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold"})
_AGAIN: Final = frozenset(
    {"InvalidBlockList", "InvalidBlobOrBlock", "Md5Mismatch", "InvalidOperation", "LeaseIdMissing"}
)
"""Another writer's commit threw our blocks away; bytes changed on the way (Azurite's word for it is InvalidOperation);
somebody holds a lease. Nothing changed."""
_BUSY: Final = frozenset({408, 429, 503})


class AzureBackend:
    """Objects as block blobs of one container, shared by any number of processes.

    Args:
        settings: the container, and how to sign in. `tier = "Archive"` is given to packs alone: everything else has to
            be read at every use.
        block_size: bytes of a staged block; an upload holds two in memory. Larger where a body needs more than 50,000.
        page_size: objects asked for at once when listing.
        timeout: seconds without a byte after which a connection is given up.

    Raises:
        BackendSetupError: a setting is missing or cannot be used. Nothing is sent.
    """

    def __init__(
        self,
        settings: AzureSettings,
        *,
        block_size: int = BLOCK_SIZE,
        page_size: int = PAGE_SIZE,
        timeout: float = TIMEOUT,
    ) -> None:
        credential = _credential(settings)
        self._signer = credential if isinstance(credential, AzureNamedKeyCredential) else None
        self._prefix = _folder(settings.prefix)
        self._name = f"az://{settings.container}/{self._prefix}".rstrip("/")
        self._tier = settings.tier
        self._block_size = block_size
        self._page_size = page_size
        endpoint = settings.endpoint or f"https://{settings.account_name}.blob.core.windows.net"
        transport = RequestsTransport(
            connection_timeout=min(10.0, timeout), read_timeout=timeout, connection_data_block_size=BLOCK
        )
        try:
            self._container = ContainerClient(
                endpoint.rstrip("/"),
                settings.container,
                credential=credential,
                transport=transport,
                max_single_put_size=max(block_size, BLOCK),
                retry_total=0,
            )
        except ValueError as error:
            raise BackendSetupError(f"storage.azure: {error}") from error
        signing = self._container.credential  # the SDK's policy for a key, the credential itself for an identity
        policy = signing if isinstance(signing, SansIOHTTPPolicy) else BearerTokenCredentialPolicy(signing, _SCOPE)
        self._reader: PipelineClient[HttpRequest, HttpResponse] = PipelineClient(
            endpoint, policies=[policy], transport=transport
        )

    @property
    def name(self) -> str:
        """How messages call this store."""
        return self._name

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body` whole or not at all, if `when` holds at that instant."""
        blob = self._blob(key)
        size = size_of(body)
        if size <= self._block_size:
            version = self._put_whole(blob, key, b"".join(parts_of(body, BLOCK, key)), when)
        else:
            version = self._put_blocks(blob, key, body, when, max(self._block_size, -(-size // _MOST_BLOCKS)))
        give_up_adopted(body)
        return version

    def get(self, key: str) -> Blob:
        """Return a whole object."""
        answer, version = self._ask(key, 0, None)
        return Blob(answer.read(), version)

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from offset `start`; fewer only where the object ends."""
        return b"".join(self.stream(key, start=start, length=length))

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        """Yield a range of an object in blocks of at most 1 MiB; to its end when `length` is None."""
        check_range(start, length)
        if length == 0 or start > _FARTHEST:
            self.stat(key)
            return iter(())
        return iter(self._ask(key, start, length)[0])

    def stat(self, key: str) -> Stat:
        """Return size and version."""
        try:
            found = self._blob(key).get_blob_properties()
        except AzureError as error:
            raise _translate(error, key, self._name) from error
        return Stat(key, found.size, _version(found.etag))

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        """Yield every object whose key starts with `prefix`, keys ascending by code point."""
        check_prefix(prefix)
        return self._scan(prefix)

    def delete(self, key: str) -> None:
        """Remove the object durably; a key without an object is no error."""
        try:
            self._blob(key).delete_blob()
        except AzureError as error:
            translated = _translate(error, key, self._name)  # deleting twice does no harm
            if not isinstance(translated, NotFoundError):
                raise translated from error

    def sign_get(self, key: str, *, seconds: int) -> SignedRequest | None:
        """Return a request that reads the object or a range of it; None with a managed identity, which has no key."""
        blob = self._blob(key)
        return azure_signing.sign_get(blob, self._signer, seconds) if self._signer else None

    def sign_put(self, key: str, *, size: int, sha256: bytes, seconds: int) -> SignedRequest | None:
        """Return a request that creates the object, of whatever bytes; None with a managed identity."""
        del sha256  # which Azure cannot be told
        blob = self._blob(key)
        return azure_signing.sign_put(blob, self._signer, size=size, seconds=seconds) if self._signer else None

    def copy(self, source: str, target: str, *, version: Version) -> None:
        """Copy an object of up to 256 MiB within the container if it still is of this version."""
        signed = self.sign_get(source, seconds=azure_signing.COPY_SECONDS)
        if signed is None:
            raise BackendSetupError(f"{self._name} copies nothing by itself with a managed identity", key=source)
        try:
            self._blob(target).start_copy_from_url(
                signed.url,
                requires_sync=True,
                source_etag=f'"{version}"',
                source_match_condition=MatchConditions.IfNotModified,
                standard_blob_tier=self._tier_of(target),
            )
        except AzureError as error:
            raise _translate(error, source, self._name) from error

    def tier(self, key: str) -> Tier:
        """Return the tier that an object is in."""
        try:
            return azure_tiers.tier_of(self._blob(key).get_blob_properties())
        except AzureError as error:
            raise _translate(error, key, self._name) from error

    def set_tier(self, key: str, name: str) -> None:
        """Move an object to a tier. Its bytes stay the same, and its version."""
        self._move(key, azure_tiers.tier_named(name, key))

    def restore(self, key: str, *, days: int) -> None:
        """Ask that an archived object can be read, which is for good here; asking twice is no error."""
        del days
        found = self.tier(key)
        if not found.readable and not found.restoring:
            self._move(key, azure_tiers.restored(self._tier), rehydrate_priority=azure_tiers.PRIORITY)

    def _move(self, key: str, tier: StandardBlobTier, **options: Any) -> None:
        try:
            self._blob(key).set_standard_blob_tier(tier, **options)
        except AzureError as error:
            raise _translate(error, key, self._name) from error

    def close(self) -> None:
        """Close the connections."""
        self._container.close()

    def _blob(self, key: str) -> BlobClient:
        check_key(key)
        if len(self._prefix) + len(key) > MAX_KEY:
            raise ValueError(f"not a key: {key!r} is too long behind {self._prefix}")
        return self._container.get_blob_client(self._prefix + key)

    def _tier_of(self, key: str) -> StandardBlobTier | None:
        """Return the tier of a new object; None is the account's default."""
        if not self._tier or (self._tier == "Archive" and _PACKS not in f"/{key}"):
            return None
        return StandardBlobTier(self._tier)

    def _put_whole(self, blob: BlobClient, key: str, data: bytes, when: Condition) -> Version:
        try:
            answer = blob.upload_blob(
                data,
                length=len(data),
                overwrite=True,
                standard_blob_tier=self._tier_of(key),
                validate_content=True,
                **_conditions(when),
            )
        except AzureError as error:
            raise _translate(error, key, self._name, commits=True) from error
        return _version(str(answer["etag"]))

    def _put_blocks(self, blob: BlobClient, key: str, body: Body, when: Condition, size: int) -> Version:
        # Two writers of one key must not mix their blocks: every upload names its own.
        upload = secrets.token_hex(8)
        blocks = []
        for number, part in enumerate(parts_of(body, size, key)):
            block = BlobBlock(f"{upload}-{number:05}")
            try:
                blob.stage_block(block.id, bytes(part), length=len(part), validate_content=True)
            except AzureError as error:
                raise _translate(error, key, self._name) from error
            blocks.append(block)
        try:
            answer = blob.commit_block_list(
                blocks, standard_blob_tier=self._tier_of(key), validate_content=True, **_conditions(when)
            )
        except AzureError as error:
            raise _translate(error, key, self._name, commits=True) from error
        return _version(str(answer["etag"]))

    def _ask(self, key: str, start: int, length: int | None) -> tuple[Answer, Version]:
        """Ask for a range; the answer's body has not been read yet."""
        headers = {
            "x-ms-version": self._container.api_version,
            "x-ms-date": formatdate(usegmt=True),
            "Accept-Encoding": "identity",
        }
        if start or length is not None:
            headers["x-ms-range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        try:
            response = self._reader.send_request(HttpRequest("GET", self._blob(key).url, headers=headers), stream=True)
            refused = response.status_code not in (200, 206)
            if refused:
                response.read()  # leaves the connection fit for the next request
        except AzureError as error:
            raise _translate(error, key, self._name) from error
        if refused and response.status_code != 416:
            raise _translate(HttpResponseError(response=response), key, self._name)
        size = 0  # 416: the range starts where the object has ended
        if not refused:
            ranged = "x-ms-range" in headers
            size = check_answer(response.status_code, response.headers.get("Content-Length"), key, ranged=ranged)
        answer = Answer(
            iter(()) if refused else response.iter_raw(),
            size,
            key,
            close=response.close,
            translate=lambda error: _translate(error, key, self._name),
            errors=(AzureError,),
        )
        return answer, _version(response.headers.get("ETag"))

    def _scan(self, prefix: str) -> Iterator[Stat]:
        cut = len(self._prefix)
        found = iter(
            self._container.list_blobs(name_starts_with=self._prefix + prefix or None, results_per_page=self._page_size)
        )
        while True:
            try:
                blob = next(found, None)
            except AzureError as error:
                raise _translate(error, prefix, self._name) from error
            if blob is None:
                return
            key = blob.name[cut:]
            if _is_key(key):
                yield Stat(key, blob.size, _version(blob.etag))


def _credential(settings: AzureSettings) -> AzureNamedKeyCredential | TokenCredential:
    """Return how to sign in.

    Raises:
        BackendSetupError: a setting is missing, or two contradict each other.
    """
    for setting in ("account_name", "container"):
        if not getattr(settings, setting):
            raise BackendSetupError(f"storage.azure.{setting} is missing")
    if settings.use_managed_identity:
        if settings.account_key:
            raise BackendSetupError(
                "storage.azure has an account_key and use_managed_identity = true: take one of them out"
            )
        return ManagedIdentityCredential()
    if not settings.account_key:
        raise BackendSetupError(
            "storage.azure.account_key is missing; to sign in as this machine, set storage.azure.use_managed_identity"
        )
    try:
        base64.b64decode(settings.account_key, validate=True)
    except binascii.Error:
        raise BackendSetupError("storage.azure.account_key is not base64: copy the whole key") from None
    return AzureNamedKeyCredential(settings.account_name, settings.account_key)


def _folder(prefix: str) -> str:
    """Return the prefix of a table as the beginning of every name."""
    stripped = prefix.strip("/")
    try:
        check_prefix(stripped)
    except ValueError as error:
        raise BackendSetupError(f"storage.azure.prefix: {error}") from error
    return f"{stripped}/" if stripped else ""


def _conditions(when: Condition) -> dict[str, Any]:
    if isinstance(when, Absent):
        return {"match_condition": MatchConditions.IfMissing}
    return {"match_condition": MatchConditions.IfNotModified, "etag": f'"{when.version}"'}


def _version(etag: str | None) -> Version:
    return Version((etag or "").strip('"'))  # a listing leaves the quotes out


def _is_key(name: str) -> bool:
    try:
        check_key(name)
    except ValueError:
        return False
    return True


def _translate(error: Exception, key: str, store: str, *, commits: bool = False) -> BackendError:
    """Return what an error of the SDK means.

    Its own text is left out: it may quote what was sent.

    Args:
        error: what was raised.
        key: the object concerned.
        store: how messages call the container.
        commits: whether the request could have changed what others see, had it arrived.
    """
    response: Any = error.response if isinstance(error, HttpResponseError) else None
    code = response.headers.get("x-ms-error-code", "") if response is not None else ""
    if isinstance(error, ClientAuthenticationError) and not code:  # the metadata service's answer, or none
        return AccessDeniedError(f"{store}: cannot sign in; the machine's managed identity gave no token", key=key)
    if response is not None and response.status_code >= 400:
        kind, message = _meaning(response.status_code, code, commits)
        said = f"{response.status_code} {code}".strip()
        return kind(f"{message.format(key=key, store=store)} ({said})", key=key)
    if isinstance(error, ServiceRequestError):
        return TransientError(f"{store} cannot be reached", key=key)
    if commits:
        return OutcomeUnknownError(f"{store} did not answer: whether {key} was written is unknown", key=key)
    what = "broke off in the middle" if isinstance(error, IncompleteReadError) else "did not answer"
    return TransientError(f"{store} {what}", key=key)


def _meaning(status: int, code: str, commits: bool) -> tuple[type[BackendError], str]:
    """Return what a refusal means; the codes are those of Azure's "Blob service error codes"."""
    for held, kind, message in (
        (code == "BlobArchived", ArchivedError, "{key} in {store} is archived and has to be restored first"),
        (code == "BlobBeingRehydrated", RestoringError, "{key} in {store} is on its way out of Archive"),
        (code in _AGAIN or status in _BUSY, TransientError, "{store} asks to try {key} again"),
        (code in _EXISTS or status == 412, PreconditionFailedError, "the condition for {key} does not hold"),
        (status in {401, 403} or code in _DENIED, AccessDeniedError, "{store} refuses these credentials"),
        (status == 404 and commits and code in _NO_BLOB, PreconditionFailedError, "{key} has no object to replace"),
        (status == 404 and code in _NO_BLOB, NotFoundError, "no object {key}"),
        (status == 507, StorageFullError, "{store} has no room for {key}"),
        (status >= 500 and commits, OutcomeUnknownError, "{store} failed: whether {key} was written is unknown"),
        (status >= 500, TransientError, "{store} failed at {key}"),
        (code.startswith("Container"), BackendSetupError, "{store} does not exist; make the container first"),
    ):
        if held:
            return kind, message
    return BackendSetupError, "{store} refuses the request: check account_name, container and endpoint"
