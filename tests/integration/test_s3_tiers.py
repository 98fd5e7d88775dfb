"""Storage classes of S3 and restores out of an archive, against a loopback server that answers as AWS documents it.

From the Amazon S3 API reference: HeadObject (x-amz-storage-class, x-amz-restore, x-amz-archive-status), GetObject of an archived
object (403 InvalidObjectState), CopyObject, RestoreObject (202, and 409 RestoreAlreadyInProgress).
"""

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mediavault.config import Storage, Tiers
from mediavault.errors import ConfigError
from mediavault_backends.api import Tier
from mediavault_backends.errors import (
    ArchivedError,
    BackendSetupError,
    NotFoundError,
    PreconditionFailedError,
    RestoringError,
    TransientError,
)
from mediavault_backends.s3 import S3Backend
from mediavault_backends.settings import S3Settings
from mediavault_server.storage_tier import policy_of
from tests.integration.recorder import Asked, Recorder, Reply
from tests.integration.s3_words import forget_clouds, refusal

XML = {"Content-Type": "application/xml"}
COPIED = Reply(200, b"<CopyObjectResult><ETag>&quot;two&quot;</ETag></CopyObjectResult>", XML)


@pytest.fixture(autouse=True)
def no_cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_clouds(monkeypatch, tmp_path)


class Glacier:
    """One object, in a class; a restore takes until `thaw` is called."""

    def __init__(self, storage_class: str = "", restore: str = "") -> None:
        self.storage_class = storage_class
        self.restore = restore
        self.archive_status = ""
        self.lock = threading.Lock()

    def __call__(self, asked: Asked) -> Reply:
        with self.lock:
            return self._answer(asked)

    def thaw(self) -> None:
        self.restore = 'ongoing-request="false", expiry-date="Fri, 21 Dec 2029 00:00:00 GMT"'

    def _answer(self, asked: Asked) -> Reply:
        if asked.method == "HEAD":
            headers = {
                "ETag": '"one"',
                "Content-Type": "binary/octet-stream",
                "x-amz-meta-mtime": "17",
                "x-amz-storage-class": self.storage_class,
                "x-amz-restore": self.restore,
                "x-amz-archive-status": self.archive_status,
            }
            return Reply(200, headers={name: value for name, value in headers.items() if value})
        if asked.method == "GET":
            return Reply(200, b"bytes", {"ETag": '"one"'}) if self.readable else refusal(403, "InvalidObjectState")
        if asked.method == "POST" and "restore" in asked.query:
            if 'ongoing-request="true"' in self.restore:
                return refusal(409, "RestoreAlreadyInProgress")
            self.restore = 'ongoing-request="true"'
            return Reply(202)
        if not self.readable:
            return refusal(403, "InvalidObjectState")
        self.storage_class = asked.headers["x-amz-storage-class"]
        self.restore = ""
        return COPIED

    @property
    def readable(self) -> bool:
        frozen = self.storage_class in {"GLACIER", "DEEP_ARCHIVE"} or bool(self.archive_status)
        return not frozen or 'ongoing-request="false"' in self.restore


@pytest.fixture
def glacier() -> Glacier:
    return Glacier()


@pytest.fixture
def recorder(glacier: Glacier) -> Iterator[Recorder]:
    with Recorder(glacier) as server:
        yield server


def opened(recorder: Recorder, **changes: object) -> S3Backend:
    usual: dict[str, object] = {
        "bucket": "media",
        "prefix": "films",
        "region": "eu-central-1",
        "endpoint": recorder.url,
        "access_key": "AKIATEST",
        "secret_key": "hush",
        "force_path_style": True,
    }
    return S3Backend(S3Settings(**{**usual, **changes}))  # type: ignore[arg-type] # named by the tests


# What is read


@pytest.mark.parametrize(
    ("storage_class", "restore", "status", "tier"),
    [
        ("", "", "", Tier("STANDARD")),
        ("STANDARD_IA", "", "", Tier("STANDARD_IA")),
        ("GLACIER_IR", "", "", Tier("GLACIER_IR")),
        ("GLACIER", "", "", Tier("GLACIER", readable=False)),
        ("DEEP_ARCHIVE", 'ongoing-request="true"', "", Tier("DEEP_ARCHIVE", readable=False, restoring=True)),
        ("GLACIER", 'ongoing-request="false", expiry-date="Fri, 21 Dec 2029 00:00:00 GMT"', "", Tier("GLACIER")),
        ("INTELLIGENT_TIERING", "", "", Tier("INTELLIGENT_TIERING")),
        ("INTELLIGENT_TIERING", "", "ARCHIVE_ACCESS", Tier("INTELLIGENT_TIERING", readable=False)),
        (
            "INTELLIGENT_TIERING",
            'ongoing-request="true"',
            "ARCHIVE_ACCESS",
            Tier("INTELLIGENT_TIERING", readable=False, restoring=True),
        ),
    ],
)
def test_the_class_of_an_object(
    recorder: Recorder, glacier: Glacier, storage_class: str, *, restore: str, status: str, tier: Tier
) -> None:
    glacier.storage_class, glacier.restore, glacier.archive_status = storage_class, restore, status
    assert opened(recorder).tier("packs/a") == tier
    assert [(asked.method, asked.path) for asked in recorder.asked] == [("HEAD", "/media/films/packs/a")]


@pytest.mark.parametrize("storage_class", ["GLACIER", "DEEP_ARCHIVE"])
def test_reading_what_is_archived_says_so(recorder: Recorder, glacier: Glacier, storage_class: str) -> None:
    backend = opened(recorder)
    glacier.storage_class = storage_class
    with pytest.raises(ArchivedError, match="packs/a is archived and has to be restored first") as caught:
        backend.read("packs/a", 0, 5)
    assert not isinstance(caught.value, RestoringError)
    assert caught.value.key == "packs/a"
    backend.restore("packs/a", days=3)
    for call in (lambda: backend.get("packs/a"), lambda: backend.stream("packs/a")):
        with pytest.raises(RestoringError, match="packs/a is on its way out of an archive"):
            call()
    glacier.thaw()
    assert backend.get("packs/a").data == b"bytes"


# What is sent


def test_a_class_is_changed_by_a_copy_onto_itself(recorder: Recorder, glacier: Glacier) -> None:
    backend = opened(recorder, sse="kms", sse_kms_key_id="key", storage_class="ONEZONE_IA")
    backend.set_tier("packs/a%2Fb", "STANDARD_IA")
    copy = recorder.asked[-1]
    assert (copy.method, copy.path) == ("PUT", "/media/films/packs/a%252Fb")
    assert copy.headers["x-amz-copy-source"] == "media/films/packs/a%252Fb"
    assert copy.headers["x-amz-copy-source-if-match"] == '"one"'
    assert copy.headers["x-amz-storage-class"] == "STANDARD_IA"
    assert copy.headers["x-amz-metadata-directive"] == "REPLACE"
    assert copy.headers["content-type"] == "binary/octet-stream"
    assert copy.headers["x-amz-meta-mtime"] == "17"
    assert copy.headers["x-amz-server-side-encryption"] == "aws:kms"
    assert copy.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "key"
    assert glacier.storage_class == "STANDARD_IA"
    asked = len(recorder.asked)
    backend.set_tier("packs/a%2Fb", "STANDARD_IA")
    assert [request.method for request in recorder.asked[asked:]] == ["HEAD"], "it is there already"


def test_a_key_of_ones_own_opens_the_source_and_closes_the_copy(recorder: Recorder) -> None:
    key = bytes(range(32))
    opened(recorder, sse="c", sse_customer_key=base64.b64encode(key).decode()).set_tier("packs/a", "STANDARD_IA")
    head, copy = recorder.asked
    md5 = base64.b64encode(hashlib.md5(key).digest()).decode()
    for asked, start in ((head, "x-amz-"), (copy, "x-amz-"), (copy, "x-amz-copy-source-")):
        assert asked.headers[f"{start}server-side-encryption-customer-algorithm"] == "AES256"
        assert base64.b64decode(asked.headers[f"{start}server-side-encryption-customer-key"]) == key
        assert asked.headers[f"{start}server-side-encryption-customer-key-md5"] == md5


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (refusal(404, "NoSuchKey"), NotFoundError, "no object packs/a"),
        (refusal(412, "PreconditionFailed"), PreconditionFailedError, "does not hold"),
        (refusal(503, "SlowDown"), TransientError, "slow down"),
        (refusal(500, "InternalError"), TransientError, "failed"),
        (Reply(200, refusal(200, "InternalError").body, XML), TransientError, "failed"),
        (Reply(0, lost=True), TransientError, "packs/a"),
        (refusal(403, "InvalidObjectState"), ArchivedError, "archived"),
        (refusal(400, "InvalidStorageClass"), BackendSetupError, "packs/a cannot be moved to the storage class FRIGID"),
    ],
    ids=["gone", "changed", "busy", "failed", "failed with 200", "lost", "archived", "no such class"],
)
def test_a_copy_that_fails(
    recorder: Recorder, glacier: Glacier, reply: Reply, error: type[Exception], words: str
) -> None:
    recorder.answer = lambda asked: glacier(asked) if asked.method == "HEAD" else reply
    with pytest.raises(error, match=words) as caught:
        opened(recorder).set_tier("packs/a", "FRIGID")
    assert "secret words" not in str(caught.value)


def test_a_missing_object_has_no_class(recorder: Recorder) -> None:
    recorder.answer = lambda _: Reply(404)
    backend = opened(recorder)
    calls: list[Callable[[], object]] = [
        lambda: backend.tier("packs/a"),
        lambda: backend.set_tier("packs/a", "STANDARD_IA"),
        lambda: backend.restore("packs/a", days=1),
    ]
    for call in calls:
        with pytest.raises(NotFoundError):
            call()


def test_a_restore_is_asked_for_once(recorder: Recorder, glacier: Glacier) -> None:
    glacier.storage_class = "DEEP_ARCHIVE"
    backend = opened(recorder)
    backend.restore("packs/a", days=12)
    (asked,) = recorder.seen("POST")
    assert (asked.path, asked.query) == ("/media/films/packs/a", {"restore": ""})
    assert b"<Days>12</Days>" in asked.body
    assert b"<Tier>Standard</Tier>" in asked.body
    backend.restore("packs/a", days=12)
    glacier.thaw()
    backend.restore("packs/a", days=12)
    assert len(recorder.seen("POST")) == 1
    glacier.storage_class = "STANDARD"
    backend.restore("packs/a", days=12)
    assert len(recorder.seen("POST")) == 1


def test_a_restore_that_somebody_else_asked_for_is_no_error(recorder: Recorder, glacier: Glacier) -> None:
    glacier.storage_class = "GLACIER"

    def answer(asked: Asked) -> Reply:
        if asked.method == "POST":
            glacier.restore = 'ongoing-request="true"'
            return refusal(409, "RestoreAlreadyInProgress")
        return glacier(asked)

    recorder.answer = answer
    opened(recorder).restore("packs/a", days=1)
    glacier.restore = ""
    recorder.answer = lambda asked: refusal(403, "AccessDenied") if asked.method == "POST" else glacier(asked)
    with pytest.raises(Exception, match="refuses these credentials"):
        opened(recorder).restore("packs/a", days=1)


def test_what_amazon_archived_by_itself_comes_back_for_good(recorder: Recorder, glacier: Glacier) -> None:
    glacier.storage_class, glacier.archive_status = "INTELLIGENT_TIERING", "DEEP_ARCHIVE_ACCESS"
    opened(recorder).restore("packs/a", days=9)
    (asked,) = recorder.seen("POST")
    assert b"Days" not in asked.body


# The policy


def storage(**tiers: Any) -> Storage:
    return Storage(backend="s3", tiers=Tiers(**tiers))


def test_the_policy_is_what_the_configuration_says() -> None:
    assert policy_of(storage(cold="STANDARD_IA"), "STANDARD") == ("STANDARD_IA", "STANDARD", 90, 1 << 20)
    told = policy_of(storage(cold="GLACIER", hot="ONEZONE_IA", keep_days=7, min_pack=5), "STANDARD")
    assert told == ("GLACIER", "ONEZONE_IA", 7, 5)


@pytest.mark.parametrize(
    ("tiers", "words"),
    [
        ({}, "names no class for packs that nothing needs"),
        ({"cold": "STANDARD"}, "and so is the class of what is needed"),
        ({"cold": "A", "hot": "A"}, "and so is the class of what is needed"),
        ({"cold": "STANDARD", "hot": "GLACIER"}, "from which nothing can be read at once"),
        ({"cold": "STANDARD", "hot": "Archive"}, "from which nothing can be read at once"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(tiers: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        policy_of(storage(**tiers), "STANDARD")
