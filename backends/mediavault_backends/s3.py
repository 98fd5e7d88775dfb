"""A bucket of an S3-compatible store as a Backend. Leaves finding and signing to `s3_client`, trying again to `retry`.

A version is the object's ETag. Conditions are the store's own (If-None-Match and If-Match on PutObject and
CompleteMultipartUpload); a store that ignores them is found by `probe`. Some stores keep conditions on the first and ignore
them on the second, so an upload in parts looks at the key before it starts, and nothing that is ever replaced (refs, leases,
config) is as large as a part. In a bucket with versioning, delete hides the object and its bytes stay.

An upload in parts holds at most `max_concurrent_parts` of them in memory, and none where the body is a file. When it fails,
it is aborted once no part is on its way any more; a process that is killed leaves parts, which a lifecycle rule for
incomplete uploads removes.
"""

import base64
import contextlib
import hashlib
import os
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
    ResponseStreamingError,
)
from botocore.parsers import ResponseParserError

from mediavault_backends import s3_signing, s3_tiers
from mediavault_backends.api import (
    Absent,
    Blob,
    Body,
    Buffer,
    Condition,
    FileSource,
    SignedRequest,
    Stat,
    Tier,
    Version,
)
from mediavault_backends.bodies import check_range, give_up_adopted, parts_of, size_of
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
    translate_write_error,
)
from mediavault_backends.keys import check_key, check_prefix
from mediavault_backends.s3_client import TRIED, check_settings, customer_key, make_client
from mediavault_backends.s3_listing import in_order
from mediavault_backends.settings import S3Settings

_BLOCK: Final = 1 << 20
_SMALLEST_PART: Final = 5 << 20
_MOST_PARTS: Final = 10_000
_LAST_OFFSET: Final = (1 << 63) - 1

_DENIED: Final = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId"})
_THROTTLED: Final = frozenset(
    {"SlowDown", "ServiceUnavailable", "TooManyRequests", "RequestLimitExceeded", "Throttling"}
)
_PASSING: Final = frozenset(
    {"RequestTimeout", "BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
)
_FULL: Final = frozenset({"XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "StorageCapExceeded"})
_NOT_SENT: Final = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
_LOST: Final = (HTTPClientError, ResponseStreamingError, IncompleteReadError, ResponseParserError)

_Piece: TypeAlias = "bytes | bytearray | _Window"


def translate_error(error: Exception, key: str, *, bucket: str, writing: bool) -> BackendError:
    """Return what an error of botocore means to the caller; the message names no secret.

    Args:
        error: what botocore raised.
        key: the object concerned.
        bucket: for messages.
        writing: the request would have changed the object under the key.
    """
    if isinstance(error, ClientError):
        return _translate_answer(error, key, bucket, writing)
    kind: type[BackendError]
    kind, message = BackendSetupError, f"bucket {bucket} cannot be used with these settings"
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        message = f"no complete credentials for bucket {bucket}; asked: settings, {TRIED}"
    elif isinstance(error, CredentialRetrievalError | MetadataRetrievalError):
        kind, message = TransientError, f"credentials for bucket {bucket} could not be fetched"
    elif isinstance(error, _NOT_SENT):
        kind, message = TransientError, f"cannot reach the store of bucket {bucket}"
    elif isinstance(error, _LOST) and writing:
        kind, message = OutcomeUnknownError, f"the answer for {key} was lost"
    elif isinstance(error, _LOST):
        kind, message = TransientError, f"the answer for {key} did not come whole"
    return kind(f"{message}: {type(error).__name__}", key=key)


def _translate_answer(error: ClientError, key: str, bucket: str, writing: bool) -> BackendError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = f"{code} ({status})" if code != str(status) else code
    kind, message = _meaning(code, status, writing)
    return kind(f"{message.format(key=key, bucket=bucket)}: {said}", key=key)


def _meaning(code: str, status: int, writing: bool) -> tuple[type[BackendError], str]:
    """Return what a refusal means; the codes are those of the S3 API reference, "Error responses"."""
    for held, kind, message in (
        (code == "NoSuchBucket", BackendSetupError, "there is no bucket {bucket}; make it first"),
        (code == "InvalidObjectState", ArchivedError, "{key} is archived and has to be restored first"),
        (code == "NoSuchUpload", TransientError, "the upload of {key} was aborted by somebody else"),
        (status == 412, PreconditionFailedError, "the condition for {key} does not hold"),
        (status == 404 and writing, PreconditionFailedError, "{key} has no object to replace"),
        (status == 404, NotFoundError, "no object {key}"),
        (code == "RequestTimeTooSkewed", AccessDeniedError, "the clock of this computer is wrong"),
        (status in {401, 403} or code in _DENIED, AccessDeniedError, "bucket {bucket} refuses these credentials"),
        (status == 507 or code in _FULL, StorageFullError, "bucket {bucket} has no room for {key}"),
        (status in {429, 503} or code in _THROTTLED, TransientError, "bucket {bucket} asks to slow down"),
        (status in {408, 409, 425} or code in _PASSING, TransientError, "{key} met a conflict or a broken transfer"),
        (status >= 500 and status != 501 and writing, OutcomeUnknownError, "the store failed at {key}"),
        (status >= 500 and status != 501, TransientError, "the store failed at {key}"),
    ):
        if held:
            return kind, message
    return BackendSetupError, "bucket {bucket} refuses requests with these settings"


class S3Backend:
    """Objects of a bucket, all below one prefix; connects at the first call.

    Args:
        settings: which bucket, where, as whom and how.
        page_size: keys that one request of a listing asks for.
        timeout: seconds without a byte until an answer is given up.

    Raises:
        BackendSetupError: a setting is missing, or two do not go together.
    """

    def __init__(self, settings: S3Settings, *, page_size: int = 1000, timeout: float = 60.0) -> None:
        check_settings(settings)
        self._settings = settings
        self._bucket = settings.bucket
        prefix = settings.prefix.strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._page_size = page_size
        self._timeout = timeout
        self._lock = threading.Lock()
        self._opened: Any = None
        self._reading = _customer_key(settings)
        self._writing = {**self._reading, **_writing_options(settings)}

    @property
    def name(self) -> str:
        """How messages call this store."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body` whole or not at all, if `when` holds at that instant."""
        check_key(key)
        size = size_of(body)
        try:
            if size > self._part_size(size):
                version = self._put_parts(key, body, size, when)
            else:
                version = self._put_whole(key, body, size, when)
        except OSError as error:
            raise translate_write_error(error, key) from error
        give_up_adopted(body)
        return version

    def get(self, key: str) -> Blob:
        """Return a whole object."""
        answer = self._fetch(key)
        return Blob(b"".join(self._blocks(key, answer, 0, None)), _version_of(answer))

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from offset `start`; fewer only where the object ends."""
        return b"".join(self.stream(key, start=start, length=length))

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        """Yield a range of an object in blocks of at most 1 MiB; to its end when `length` is None."""
        check_key(key)
        check_range(start, length)
        if length == 0 or start > _LAST_OFFSET:
            self.stat(key)
            return iter(())
        if start == 0 and length is None:
            return self._blocks(key, self._fetch(key), 0, None)
        last = "" if length is None else min(start + length - 1, _LAST_OFFSET)
        try:
            answer = self._fetch(key, Range=f"bytes={start}-{last}")
        except _BeyondEndError:
            return iter(())
        skipped = 0 if "ContentRange" in answer else start  # a store may answer a range with everything
        return self._blocks(key, answer, skipped, length)

    def stat(self, key: str) -> Stat:
        """Return size and version."""
        check_key(key)
        try:
            answer = self._call("head_object", key, **self._reading)
        except NotFoundError:
            # The answer to HEAD has no body: it does not tell a missing object from a missing bucket.
            with contextlib.suppress(_BeyondEndError):
                self._fetch(key, Range="bytes=0-0")["Body"].close()
            answer = self._call("head_object", key, **self._reading)
        return Stat(key, int(answer["ContentLength"]), _version_of(answer))

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        """Yield every object whose key starts with `prefix`, keys ascending by code point."""
        check_prefix(prefix)
        return self._listed(prefix)

    def delete(self, key: str) -> None:
        """Remove the object durably; a key without an object is no error."""
        check_key(key)
        with contextlib.suppress(NotFoundError):
            self._call("delete_object", key)

    def sign_get(self, key: str, *, seconds: int) -> SignedRequest | None:
        """Return a request that reads the object or a range of it; None with a key that must not leave (`sse = "c"`)."""
        check_key(key)
        if self._reading:
            return None
        with self._translated(key):
            return s3_signing.sign_get(self._client(), self._bucket, self._prefix + key, seconds)

    def sign_put(self, key: str, *, size: int, sha256: bytes, seconds: int) -> SignedRequest | None:
        """Return a request that creates the object in the bucket's own class; None with `sse = "c"`."""
        check_key(key)
        if self._reading:
            return None
        encryption = {name: value for name, value in self._writing.items() if name != "StorageClass"}
        with self._translated(key):
            return s3_signing.sign_put(
                self._client(),
                self._bucket,
                self._prefix + key,
                size=size,
                sha256=sha256,
                seconds=seconds,
                encryption=encryption,
            )

    def copy(self, source: str, target: str, *, version: Version) -> None:
        """Copy an object of up to 5 GB within the bucket if it still is of this version."""
        check_key(source)
        check_key(target)
        with self._translated(source):
            self._client().copy_object(
                Bucket=self._bucket,
                Key=self._prefix + target,
                CopySource={"Bucket": self._bucket, "Key": self._prefix + source},
                CopySourceIfMatch=f'"{version}"',
                **self._writing,
                **{f"CopySource{name}": value for name, value in self._reading.items()},
            )

    def tier(self, key: str) -> Tier:
        """Return the class that an object is in."""
        check_key(key)
        return s3_tiers.tier_of(self._call("head_object", key, **self._reading))

    def set_tier(self, key: str, name: str) -> None:
        """Move an object to a class. Its bytes stay the same; its version may change."""
        check_key(key)
        path = self._prefix + key
        s3_tiers.move(self._call, self._bucket, path, key, name, reading=self._reading, writing=self._writing)

    def restore(self, key: str, *, days: int) -> None:
        """Ask that an archived object can be read for so many days; asking twice is no error."""
        check_key(key)
        s3_tiers.restore(self._call, key, days, reading=self._reading)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    # One request

    def _client(self) -> Any:
        with self._lock:
            if self._opened is None:
                self._opened = make_client(self._settings, timeout=self._timeout)
            return self._opened

    def _call(self, operation: str, key: str, *, writing: bool = False, **arguments: Any) -> Any:
        with self._translated(key, writing=writing):
            call: Callable[..., Any] = getattr(self._client(), operation)
            return call(Bucket=self._bucket, Key=self._prefix + key, **arguments)

    @contextlib.contextmanager
    def _translated(self, key: str, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            raise translate_error(error, key, bucket=self._bucket, writing=writing) from error

    # Reading

    def _fetch(self, key: str, **arguments: str) -> Any:
        check_key(key)
        try:
            with self._translated(key):
                try:
                    return self._client().get_object(
                        Bucket=self._bucket, Key=self._prefix + key, **self._reading, **arguments
                    )
                except ClientError as error:
                    if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 416:
                        raise _BeyondEndError from error
                    raise
        except ArchivedError as error:
            if self._is_restoring(key):  # which the refusal does not tell
                raise RestoringError(f"{key} is on its way out of an archive", key=key) from error
            raise

    def _is_restoring(self, key: str) -> bool:
        try:
            return self.tier(key).restoring
        except BackendError:
            return False

    def _blocks(self, key: str, answer: Any, skipped: int, length: int | None) -> Iterator[Buffer]:
        """Yield the body of an answer without its first `skipped` bytes, at most `length` of them."""
        left = length
        with contextlib.closing(answer["Body"]) as body:
            while left is None or left > 0:
                with self._translated(key):
                    block = body.read(_BLOCK)
                if not block:
                    return
                skip = min(skipped, len(block))
                skipped -= skip
                block = block[skip:] if left is None else block[skip : skip + left]
                if left is not None:
                    left -= len(block)
                if block:
                    yield block

    def _listed(self, prefix: str) -> Iterator[Stat]:
        cut = len(self._prefix)
        for entry in in_order(self._page, self._prefix + prefix):
            yield Stat(entry["Key"][cut:], int(entry["Size"]), _version_of(entry))

    def _page(self, prefix: str, **arguments: str) -> Mapping[str, Any]:
        with self._translated(prefix):
            page: Mapping[str, Any] = self._client().list_objects_v2(
                Bucket=self._bucket, Prefix=prefix, MaxKeys=self._page_size, **arguments
            )
        return page

    # Writing

    def _part_size(self, size: int) -> int:
        return max(self._settings.part_size, _SMALLEST_PART, -(-size // _MOST_PARTS))

    def _put_whole(self, key: str, body: Body, size: int, when: Condition) -> Version:
        piece = next(_pieces(body, size, size, key), b"")
        answer = self._send("put_object", key, piece, **self._writing, **_condition(when))
        return _version_of(answer)

    def _send(self, operation: str, key: str, piece: _Piece, **arguments: Any) -> Any:
        """Send a body with its checksum; what reading the body raises goes before what became of the request."""
        arguments.update(self._checksum(piece))
        try:
            return self._call(operation, key, writing=operation == "put_object", Body=piece, **arguments)
        except BackendError:
            if isinstance(piece, _Window) and piece.failure is not None:
                raise piece.failure from None
            raise

    def _checksum(self, piece: _Piece) -> dict[str, Any]:
        """Return the checksum that the store compares: CRC-32 where it is known to be taken, MD5 elsewhere."""
        blocks = piece.blocks() if isinstance(piece, _Window) else (piece,)
        if _takes_crc(self._settings):
            crc = 0
            for block in blocks:
                crc = zlib.crc32(block, crc)
            return {"ChecksumCRC32": base64.b64encode(crc.to_bytes(4, "big")).decode()}
        digest = hashlib.md5(usedforsecurity=False)
        for block in blocks:
            digest.update(block)
        return {"ContentMD5": base64.b64encode(digest.digest()).decode()}

    def _put_parts(self, key: str, body: Body, size: int, when: Condition) -> Version:
        self._check_condition(key, when)
        pieces = _pieces(body, size, self._part_size(size), key)
        first = next(pieces)  # a body that cannot be read starts no upload
        kind: dict[str, Any] = {"ChecksumAlgorithm": "CRC32"} if _takes_crc(self._settings) else {}
        upload = self._call("create_multipart_upload", key, **self._writing, **kind)["UploadId"]
        try:
            parts = self._send_parts(key, upload, first, pieces)
            answer = self._call(
                "complete_multipart_upload",
                key,
                writing=True,
                UploadId=upload,
                MultipartUpload={"Parts": parts},
                **self._reading,
                **_condition(when),
            )
        except BaseException:
            # A key may hold the whole upload already when only the answer was lost: then there is nothing to abort.
            with contextlib.suppress(BackendError):
                self._call("abort_multipart_upload", key, UploadId=upload)
            raise
        return _version_of(answer)

    def _check_condition(self, key: str, when: Condition) -> None:
        """Look before uploading what the end would refuse."""
        try:
            found = self.stat(key).version
        except NotFoundError:
            found = None
        if found != (None if isinstance(when, Absent) else when.version):
            raise PreconditionFailedError(f"the condition for {key} does not hold", key=key)

    def _send_parts(self, key: str, upload: str, first: _Piece, rest: Iterator[_Piece]) -> list[dict[str, Any]]:
        """Upload the pieces, several at a time; when this returns or raises, no part is on its way."""
        limit = self._settings.max_concurrent_parts
        done: list[dict[str, Any]] = []
        pending: deque[Future[dict[str, Any]]] = deque()
        with ThreadPoolExecutor(limit, "s3-part") as pool:
            try:
                piece: _Piece | None = first
                while piece is not None:
                    pending.append(pool.submit(self._send_part, key, upload, len(done) + len(pending) + 1, piece))
                    piece = None
                    if len(pending) == limit:
                        done.append(pending.popleft().result())
                    piece = next(rest, None)
                done += [future.result() for future in pending]
            except BaseException:
                for future in pending:
                    future.cancel()
                raise
        return done

    def _send_part(self, key: str, upload: str, number: int, piece: _Piece) -> dict[str, Any]:
        answer = self._send("upload_part", key, piece, UploadId=upload, PartNumber=number, **self._reading)
        part = {"PartNumber": number, "ETag": answer["ETag"]}
        if "ChecksumCRC32" in answer:
            part["ChecksumCRC32"] = answer["ChecksumCRC32"]
        return part


class _BeyondEndError(Exception):
    """A range starts where the object has ended."""


class _Window:
    """A stretch of a file as the body of a request; `failure` is what reading it raised."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._path = path
        self._start = start
        self._size = size
        self._at = 0
        self.failure: OSError | ValueError | None = None

    def __len__(self) -> int:
        return self._size

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = None) -> bytes:
        left = max(self._size - self._at, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        if not wanted:
            return b""
        data = self._read_at(self._start + self._at, wanted)
        self._at += len(data)
        return data

    def blocks(self) -> Iterator[bytes]:
        """Yield everything, and go back to the start."""
        self.seek(0)
        while block := self.read(_BLOCK):
            yield block
        self.seek(0)

    def _read_at(self, offset: int, size: int) -> bytes:
        try:
            with self._path.open("rb", buffering=0) as file:
                data = os.pread(file.fileno(), size, offset)
            if not data:
                raise ValueError(f"{self._path} became shorter while it was read")  # noqa: TRY301 -- kept like the rest
        except (OSError, ValueError) as error:
            self.failure = error
            raise
        return data


def _pieces(body: Body, size: int, length: int, key: str) -> Iterator[_Piece]:
    """Yield a body in pieces of `length` bytes, the last one shorter: stretches of a file, bytes of any other body.

    Raises:
        ValueError: a Source yields more or fewer bytes than its size says.
        BackendError: reading a Source failed.
    """
    if isinstance(body, FileSource):
        _check_file(body)
        for start in range(0, size, max(length, 1)):
            yield _Window(body.path, start, min(length, size - start))
    else:
        for part in parts_of(body, max(length, 1), key):
            yield bytes(part) if isinstance(part, memoryview) else part


def _check_file(source: FileSource) -> None:
    with source.path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
    if size != source.size:
        raise ValueError(
            f"the body has {'more' if size > source.size else 'fewer'} than the {source.size} bytes it declares"
        )


def _condition(when: Condition) -> dict[str, Any]:
    return {"IfNoneMatch": "*"} if isinstance(when, Absent) else {"IfMatch": f'"{when.version}"'}


def _version_of(answer: Mapping[str, Any]) -> Version:
    return Version(str(answer["ETag"]).strip('"'))


def _customer_key(settings: S3Settings) -> dict[str, Any]:
    """Return what every request on an object has to say when the caller's key encrypts it; botocore adds the key's MD5."""
    if settings.sse != "c":
        return {}
    return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": customer_key(settings)}


def _writing_options(settings: S3Settings) -> dict[str, str]:
    options = {}
    if settings.sse == "s3":
        options["ServerSideEncryption"] = "AES256"
    if settings.sse == "kms":
        options["ServerSideEncryption"] = "aws:kms"
    if settings.sse_kms_key_id:
        options["SSEKMSKeyId"] = settings.sse_kms_key_id
    if settings.storage_class:
        options["StorageClass"] = settings.storage_class
    return options


def _takes_crc(settings: S3Settings) -> bool:
    return settings.provider in {"aws", "minio", "r2"} or (not settings.provider and not settings.endpoint)
