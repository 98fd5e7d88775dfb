"""A bucket of Google Cloud Storage as a Backend. Leaves retrying to the wrapper.

A version is the object's generation, and every write says `ifGenerationMatch`: 0 where there must be no object. A body
above 8 MiB goes through a resumable session, whose condition and checksum Google checks when the last byte has arrived;
until then nothing is visible, and a session that failed is cancelled. Every body is sent with its CRC-32C, so it is read
twice. In a bucket with versioning or soft delete, bytes of deleted objects stay and are paid for.

The SDK hands out a body whole or in pieces with a request each, so reading sends its own request.
"""

import base64
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import quote, urlsplit

import google.auth
import google_crc32c
import msgspec
import requests
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage  # type: ignore[import-untyped] # it has no types
from google.oauth2 import service_account
from urllib3.exceptions import MaxRetryError

from mediavault_backends import gcs_signing, gcs_tiers
from mediavault_backends.api import Absent, Blob, Body, Buffer, Condition, Matches, SignedRequest, Stat, Tier, Version
from mediavault_backends.bodies import BLOCK, Answer, check_answer, check_range, give_up_adopted, parts_of, size_of
from mediavault_backends.errors import (
    AccessDeniedError,
    BackendError,
    BackendSetupError,
    NotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StorageFullError,
    TransientError,
)
from mediavault_backends.keys import MAX_KEY, check_key, check_prefix
from mediavault_backends.settings import GcsSettings

WHOLE: Final = 8 << 20
"""Largest body in bytes that is put at once; the SDK takes no larger one."""
CHUNK_SIZE: Final = 16 << 20
"""Bytes of one request of a resumable session, a multiple of 256 KiB: an upload holds two of them in memory."""
PAGE_SIZE: Final = 1000
"""Objects of one page of a listing; Google gives no more."""
TIMEOUT: Final = 60.0
"""Seconds without a byte after which a connection is given up."""

_GOOGLE: Final = "https://storage.googleapis.com"
_SCOPES: Final = ("https://www.googleapis.com/auth/devstorage.read_write",)
_TYPE: Final = "application/octet-stream"
_FARTHEST: Final = 1 << 62
_RESUME: Final = 308
_THROTTLED: Final = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})
_FULL: Final = frozenset({"quotaExceeded", "storageQuotaExceeded"})
_THIS_MACHINE: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_LOST: Final = (requests.exceptions.RequestException, GoogleAuthError)


class GcsBackend:
    """Objects of one bucket, shared by any number of processes.

    Google takes about one write a second to the same key; a faster writer is told to come back later.

    Args:
        settings: the bucket, and how to sign in. An `endpoint` without TLS is an emulator's: no application default
            credentials are used there, and those of `credentials_path` on this machine only.
        chunk_size: bytes of one request of a resumable session, of which an upload holds two in memory; larger bodies
            than this go through one.
        page_size: objects asked for at once when listing.
        timeout: seconds without a byte after which a connection is given up.

    Raises:
        BackendSetupError: a setting is missing or cannot be used.
    """

    def __init__(
        self,
        settings: GcsSettings,
        *,
        chunk_size: int = CHUNK_SIZE,
        page_size: int = PAGE_SIZE,
        timeout: float = TIMEOUT,
    ) -> None:
        if not settings.bucket:
            raise BackendSetupError("storage.gcs.bucket is missing")
        self._prefix = _folder(settings.prefix)
        self._name = f"gs://{settings.bucket}/{self._prefix}".rstrip("/")
        self._settings = settings
        self._chunk_size = chunk_size
        self._page_size = page_size
        self._timeout = (min(10.0, timeout), timeout)
        self._endpoint = _endpoint(settings)
        credentials = _credentials(settings, self._endpoint)
        self._signer = gcs_signing.signer_of(credentials.source) if isinstance(credentials, _Token) else None
        self._session: requests.Session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call] # not annotated
        client = storage.Client(
            project=settings.project or None, credentials=credentials, client_options={"api_endpoint": self._endpoint}
        )
        client._bucket_metadata_cache = None  # noqa: SLF001 -- it asks for the bucket behind our back, to label traces
        self._client = client
        self._bucket = client.bucket(settings.bucket, user_project=settings.project or None)
        self._seen = False

    @property
    def name(self) -> str:
        """How messages call this store."""
        return self._name

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body` whole or not at all, if `when` holds at that instant."""
        blob = self._blob(key)
        generation = _generation(when, key)
        if self._settings.storage_class:
            blob.storage_class = self._settings.storage_class
        if size_of(body) <= min(WHOLE, self._chunk_size):
            data = b"".join(parts_of(body, BLOCK, key))
            with self._translated(key, writes=True):
                blob.upload_from_string(
                    data,
                    content_type=_TYPE,
                    if_generation_match=generation,
                    checksum="crc32c",
                    retry=None,
                    timeout=self._timeout,
                )
            version = _version(blob.generation)
        else:
            version = self._put_chunks(blob, key, body, generation)
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
        blob = self._loaded(key)
        return Stat(key, int(blob.size), _version(blob.generation))

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        """Yield every object whose key starts with `prefix`, keys ascending by code point."""
        check_prefix(prefix)
        return self._scan(prefix)

    def delete(self, key: str) -> None:
        """Remove the object durably; a key without an object is no error."""
        blob = self._blob(key)
        with contextlib.suppress(NotFoundError), self._translated(key):
            blob.delete(retry=None, timeout=self._timeout)

    def sign_get(self, key: str, *, seconds: int) -> SignedRequest | None:
        """Return a request that reads the object or a range of it; None for credentials without a private key."""
        blob = self._blob(key)
        return gcs_signing.sign_get(blob, self._signer, self._endpoint, seconds) if self._signer else None

    def sign_put(self, key: str, *, size: int, sha256: bytes, seconds: int) -> SignedRequest | None:
        """Return a request that creates the object in the bucket's own class; None for credentials without a private key."""
        blob = self._blob(key)
        if self._signer is None:
            return None
        return gcs_signing.sign_put(blob, self._signer, self._endpoint, size=size, sha256=sha256, seconds=seconds)

    def copy(self, source: str, target: str, *, version: Version) -> None:
        """Copy an object within the bucket if it still is of this version."""
        copied = self._blob(target)
        if self._settings.storage_class:
            copied.storage_class = self._settings.storage_class
        with self._translated(source):
            token = None
            while True:
                token, _, _ = copied.rewrite(
                    self._blob(source),
                    token=token,
                    if_source_generation_match=_generation(Matches(version), source),
                    retry=None,
                    timeout=self._timeout,
                )
                if token is None:
                    return

    def tier(self, key: str) -> Tier:
        """Return the class that an object is in."""
        return gcs_tiers.tier_of(self._loaded(key))

    def set_tier(self, key: str, name: str) -> None:
        """Move an object to a class. Its bytes stay the same, and its version changes."""
        blob = self._loaded(key)
        if gcs_tiers.tier_of(blob).name != name:
            with self._translated(key):
                gcs_tiers.move(blob, name, timeout=self._timeout)

    def restore(self, key: str, *, days: int) -> None:
        """Do nothing but look: every class of Google's can be read at once."""
        del days
        self._loaded(key)

    def _loaded(self, key: str) -> Any:
        blob = self._blob(key)
        with self._translated(key):
            blob.reload(retry=None, timeout=self._timeout)
        return blob

    def close(self) -> None:
        """Close the connections."""
        self._session.close()
        self._client.close()

    def _blob(self, key: str) -> Any:
        check_key(key)
        if len(self._prefix) + len(key) > MAX_KEY:
            raise ValueError(f"not a key: {key!r} is too long behind {self._prefix}")
        return self._bucket.blob(self._prefix + key)

    def _put_chunks(self, blob: Any, key: str, body: Body, generation: int) -> Version:
        """Upload through a resumable session, which is cancelled when it does not come to its end."""
        size = size_of(body)
        checksum = _crc32c(body, key)
        blob.crc32c = checksum
        with self._translated(key):
            address = blob.create_resumable_upload_session(
                content_type=_TYPE,
                size=size,
                if_generation_match=generation,
                checksum=None,
                retry=None,
                timeout=self._timeout,
            )
        try:
            stored = self._send_chunks(address, key, body, size)
        except BaseException:
            with contextlib.suppress(*_LOST):
                self._session.delete(address, timeout=self._timeout)
            raise
        if stored.crc32c != checksum:  # Google has compared it before; something in between may not have
            with self._translated(key, writes=True):
                blob.delete(if_generation_match=int(stored.generation), retry=None, timeout=self._timeout)
            raise TransientError(f"{key} was damaged on its way to {self._name}", key=key)
        return _version(stored.generation)

    def _send_chunks(self, address: str, key: str, body: Body, size: int) -> "_Stored":
        sent = 0
        for part in parts_of(body, self._chunk_size, key):
            start, sent = sent, sent + len(part)
            last = sent == size
            headers = {"Content-Range": f"bytes {start}-{sent - 1}/{size}"}
            with self._translated(key, writes=last):
                answer = self._session.put(
                    address, data=bytes(part), headers=headers, timeout=self._timeout, allow_redirects=False
                )
            answer.request.body = None  # it would keep a part that has been sent
            if last and answer.status_code in (200, 201):
                return self._stored(answer, key)
            if answer.status_code in (404, 410):
                raise TransientError(f"the upload of {key} to {self._name} has expired", key=key)
            if answer.status_code != _RESUME:
                raise self._refusal(answer, key, writes=last)
            if answer.headers.get("Range") != f"bytes=0-{sent - 1}":
                break
        raise TransientError(f"{self._name} kept only part of {key}", key=key)

    def _stored(self, answer: requests.Response, key: str) -> "_Stored":
        try:
            return msgspec.json.decode(answer.content, type=_Stored)
        except msgspec.MsgspecError:
            raise OutcomeUnknownError(f"{self._name} confirmed {key} in words that make no sense", key=key) from None

    def _ask(self, key: str, start: int, length: int | None) -> tuple[Answer, Version]:
        """Ask for a range; the answer's body has not been read yet."""
        name = quote(self._blob(key).name, safe="")
        bucket = quote(self._settings.bucket, safe="")
        parameters = {"alt": "media"}
        if self._settings.project:
            parameters["userProject"] = self._settings.project
        headers = {"Accept-Encoding": "identity"}
        if start or length is not None:
            headers["Range"] = f"bytes={start}-{'' if length is None else start + length - 1}"
        with self._translated(key):
            answer = self._session.get(
                f"{self._endpoint}/download/storage/v1/b/{bucket}/o/{name}",
                params=parameters,
                headers=headers,
                timeout=self._timeout,
                stream=True,
            )
        refused = answer.status_code not in (200, 206)
        if refused and answer.status_code != 416:
            raise self._refusal(answer, key)
        size = 0  # 416: the range starts where the object has ended
        if not refused:
            size = check_answer(
                answer.status_code, answer.headers.get("Content-Length"), key, ranged="Range" in headers
            )
        return Answer(
            iter(()) if refused else answer.iter_content(BLOCK),
            size,
            key,
            close=answer.close,
            translate=lambda error: _translate(error, key, self._name),
            errors=_LOST,
        ), _version(answer.headers.get("X-Goog-Generation", ""))

    def _scan(self, prefix: str) -> Iterator[Stat]:
        cut = len(self._prefix)
        found = iter(
            self._client.list_blobs(
                self._bucket,
                prefix=self._prefix + prefix or None,
                page_size=self._page_size,
                fields="items(name,size,generation),nextPageToken",
                retry=None,
                timeout=self._timeout,
            )
        )
        while True:
            try:
                blob = next(found, None)
            except GoogleAPICallError as error:
                if error.code == 404:
                    raise self._no_bucket(prefix) from error
                raise _translate(error, prefix, self._name) from error
            except _LOST as error:
                raise _translate(error, prefix, self._name) from error
            if blob is None:
                return
            key = blob.name[cut:]
            if _is_key(key):
                yield Stat(key, int(blob.size), _version(blob.generation))

    # What went wrong

    @contextlib.contextmanager
    def _translated(self, key: str, *, writes: bool = False) -> Iterator[None]:
        try:
            yield
        except (GoogleAPICallError, *_LOST) as error:
            raise self._told(_translate(error, key, self._name, writes=writes)) from error

    def _refusal(self, answer: requests.Response, key: str, *, writes: bool = False) -> BackendError:
        """Return what a refusing answer to a request of our own means."""
        with contextlib.closing(answer), self._translated(key, writes=writes):
            text = answer.text
        return self._told(_meant(answer.status_code, text, key, self._name, writes=writes))

    def _told(self, error: BackendError) -> BackendError:
        """Tell a missing bucket from a missing object: Google answers both alike, so it is asked once."""
        if not isinstance(error, NotFoundError) or self._seen:
            return error
        bucket = quote(self._settings.bucket, safe="")
        parameters = {"maxResults": "1", "fields": "nextPageToken"}
        if self._settings.project:
            parameters["userProject"] = self._settings.project
        try:
            answer = self._session.get(
                f"{self._endpoint}/storage/v1/b/{bucket}/o", params=parameters, timeout=self._timeout
            )
        except _LOST as lost:
            return _translate(lost, error.key, self._name)
        if answer.status_code == 404:
            return self._no_bucket(error.key)
        if answer.status_code not in (200, 403):  # who may read but not list cannot be told
            return _meant(answer.status_code, answer.text, error.key, self._name, writes=False)
        self._seen = True
        return error

    def _no_bucket(self, key: str) -> BackendSetupError:
        return BackendSetupError(f"{self._name}: there is no such bucket; make it first", key=key)


def _endpoint(settings: GcsSettings) -> str:
    endpoint = settings.endpoint or _GOOGLE
    if not endpoint.startswith(("https://", "http://")):
        raise BackendSetupError(f"storage.gcs.endpoint is no http address: {endpoint}")
    return endpoint.rstrip("/")


def _credentials(settings: GcsSettings, endpoint: str) -> Credentials:
    """Return how to sign in.

    Raises:
        BackendSetupError: there are no credentials, or the file that is named holds none.
    """
    secure = endpoint.startswith("https://")
    if settings.credentials_path:
        if not secure and urlsplit(endpoint).hostname not in _THIS_MACHINE:
            raise BackendSetupError("storage.gcs: a token is not sent in the clear; use an https:// endpoint")
        load: Callable[..., Credentials] = service_account.Credentials.from_service_account_file
        try:
            return _Token(load(settings.credentials_path, scopes=_SCOPES))
        except OSError as error:
            raise BackendSetupError(f"storage.gcs.credentials_path: {error}") from error
        except (ValueError, GoogleAuthError):  # their text may quote the file
            raise BackendSetupError(
                f"storage.gcs.credentials_path: {settings.credentials_path} is not a service account's JSON file"
            ) from None
    if not secure:
        return AnonymousCredentials()  # type: ignore[no-untyped-call] # not annotated
    try:
        credentials, _ = google.auth.default(scopes=_SCOPES)
    except (GoogleAuthError, ValueError, OSError):
        raise BackendSetupError(
            "no credentials for storage.gcs; asked: credentials_path, GOOGLE_APPLICATION_CREDENTIALS, the file of "
            "`gcloud auth application-default login`, the machine's metadata service"
        ) from None
    return _Token(credentials)


class _Token(Credentials):
    """The token of other credentials and no more: those of the SDK also ask Google's IAM for an account's regions.

    They ask in the background and again and again where that service cannot be reached, also when `endpoint` is
    somebody else's.
    """

    def __init__(self, source: Credentials) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # not annotated
        self.source = source

    def refresh(self, request: object) -> None:
        """Fetch a token."""
        self.source.refresh(request)  # type: ignore[no-untyped-call] # not annotated
        self.token, self.expiry = self.source.token, self.source.expiry

    def apply(self, headers: dict[str, str], token: str | None = None) -> None:
        """Sign a request, and name the project of the credentials that is billed, if they have one."""
        self.source.apply(headers, token or self.token)  # type: ignore[no-untyped-call] # not annotated


def _folder(prefix: str) -> str:
    """Return the prefix of a table as the beginning of every name."""
    stripped = prefix.strip("/")
    try:
        check_prefix(stripped)
    except ValueError as error:
        raise BackendSetupError(f"storage.gcs.prefix: {error}") from error
    return f"{stripped}/" if stripped else ""


def _crc32c(body: Body, key: str) -> str:
    """Return the checksum that Google compares, in base64."""
    checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call] # not annotated
    for part in parts_of(body, BLOCK, key):
        checksum.update(bytes(part))
    return base64.b64encode(checksum.digest()).decode()


def _generation(when: Condition, key: str) -> int:
    """Return the generation that must be there; 0 is none."""
    if isinstance(when, Absent):
        return 0
    if not when.version.isdecimal() or not int(when.version):
        raise PreconditionFailedError(f"{key} has changed", key=key)  # another kind of store gave this version
    return int(when.version)


def _version(generation: object) -> Version:
    return Version(str(generation))


def _is_key(name: str) -> bool:
    try:
        check_key(name)
    except ValueError:
        return False
    return True


def _translate(error: Exception, key: str, store: str, *, writes: bool = False) -> BackendError:
    """Return what an error of the SDK or of the connection means.

    Its own text is left out: it may quote what was sent.

    Args:
        error: what was raised.
        key: the object concerned.
        store: how messages call the bucket.
        writes: whether the request could have changed what others see, had it arrived.
    """
    if isinstance(error, GoogleAPICallError):
        text = error.response.text if isinstance(error.response, requests.Response) else ""
        return _meant(int(error.code or 0), text, key, store, writes=writes)
    what = type(error).__name__
    if isinstance(error, GoogleAuthError):
        if error.retryable or isinstance(error, TransportError):
            return TransientError(f"{store}: no token could be fetched ({what})", key=key)
        return AccessDeniedError(f"{store}: cannot sign in ({what})", key=key)
    if isinstance(error, requests.exceptions.ConnectTimeout) or (
        error.args and isinstance(error.args[0], MaxRetryError)  # only what fails before anything is sent is counted
    ):
        return TransientError(f"{store} cannot be reached ({what})", key=key)
    if writes:
        return OutcomeUnknownError(f"{store} did not answer ({what}): whether {key} was written is unknown", key=key)
    return TransientError(f"the answer of {store} about {key} did not come whole ({what})", key=key)


def _meant(status: int, text: str, key: str, store: str, *, writes: bool) -> BackendError:
    """Return what a refusing answer means."""
    reason = _reason(text)
    kind, message = _meaning(status, reason, "crc32c" in text.lower(), writes)
    said = f"{status} {reason}".strip()
    return kind(f"{message.format(key=key, store=store)} ({said})", key=key)


def _reason(text: str) -> str:
    """Return the reason that the JSON of an error names first."""
    try:
        reason = msgspec.json.decode(text, type=_Refusal).error.errors[0].reason
    except (msgspec.MsgspecError, IndexError):
        return ""
    return reason if reason.isalnum() else ""


def _meaning(status: int, reason: str, damaged: bool, writes: bool) -> tuple[type[BackendError], str]:
    """Return what a refusal means; see "HTTP status and error codes for JSON" of Cloud Storage."""
    for held, kind, message in (
        (status in {408, 409, 429, 503}, TransientError, "{store} asks to try {key} again"),
        (reason in _THROTTLED, TransientError, "{store} asks to slow down"),
        (status == 400 and damaged, TransientError, "{key} was damaged on its way to {store}"),
        (status == 507 or reason in _FULL, StorageFullError, "{store} has no room for {key}"),
        (status in {401, 403}, AccessDeniedError, "{store} refuses these credentials"),
        (status == 404 and writes, BackendSetupError, "{store}: there is no such bucket; make it first"),
        (status == 404, NotFoundError, "no object {key}"),
        (status == 412, PreconditionFailedError, "the condition for {key} does not hold"),
        (status >= 500 and writes, OutcomeUnknownError, "{store} failed: whether {key} was written is unknown"),
        (status >= 500, TransientError, "{store} failed at {key}"),
    ):
        if held:
            return kind, message
    return BackendSetupError, "{store} refuses the request: check bucket, project, storage_class and endpoint"


class _Stored(msgspec.Struct):
    generation: str
    crc32c: str


class _Detail(msgspec.Struct):
    reason: str = ""


class _Details(msgspec.Struct):
    errors: list[_Detail] = []


class _Refusal(msgspec.Struct):
    error: _Details
