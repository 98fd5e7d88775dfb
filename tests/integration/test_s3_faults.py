"""What S3 and the way to it do wrong, and which error the adapter makes of it."""

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mediavault_backends.api import Absent, Backend, Condition, FileSource, Matches, Version
from mediavault_backends.errors import (
    AccessDeniedError,
    ArchivedError,
    BackendError,
    BackendSetupError,
    NotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StorageFullError,
    TransientError,
)
from mediavault_backends.retry import retrying
from mediavault_backends.s3 import S3Backend
from mediavault_backends.settings import S3Settings
from tests.contract.clauses import Blocks
from tests.integration.recorder import Asked, Recorder, Reply, in_turn
from tests.integration.s3_words import STORED, content, forget_clouds, obliging, refusal

MIB = 1 << 20
LARGE = bytes(6_000_000)


@pytest.fixture(autouse=True)
def no_cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_clouds(monkeypatch, tmp_path)


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder(obliging) as server:
        yield server


@pytest.fixture
def backend(recorder: Recorder) -> Iterator[S3Backend]:
    store = opened(recorder.url)
    yield store
    store.close()


def opened(url: str, timeout: float = 60.0) -> S3Backend:
    settings = S3Settings(
        bucket="media",
        region="us-east-1",
        endpoint=url,
        access_key="AKIATEST",
        secret_key="hush",
        force_path_style=True,
        part_size=5_000_000,
    )
    return S3Backend(settings, timeout=timeout)


def read_all(backend: Backend) -> list[Callable[[], object]]:
    return [
        lambda: backend.get("a"),
        lambda: backend.read("a", 0, 10),
        lambda: b"".join(backend.stream("a")),
        lambda: b"".join(backend.stream("a", start=2)),
        lambda: list(backend.scan()),
    ]


def everything(backend: Backend) -> list[Callable[[], object]]:
    """Return a call of every kind: the one that deletes, then the one that puts, come last."""
    rest: list[Callable[[], object]] = [
        lambda: backend.stat("a"),
        lambda: backend.delete("a"),
        lambda: backend.put("a", b"1", when=Absent()),
    ]
    return read_all(backend) + rest


# Answers that refuse

READING = [
    (400, "ExpiredToken", AccessDeniedError),
    (400, "RequestTimeout", TransientError),
    (400, "AuthorizationHeaderMalformed", BackendSetupError),
    (401, "Unauthorized", AccessDeniedError),
    (403, "AccessDenied", AccessDeniedError),
    (403, "InvalidAccessKeyId", AccessDeniedError),
    (403, "InvalidObjectState", ArchivedError),
    (403, "RequestTimeTooSkewed", AccessDeniedError),
    (403, "SignatureDoesNotMatch", AccessDeniedError),
    (404, "NoSuchBucket", BackendSetupError),
    (404, "NoSuchKey", NotFoundError),
    (429, "TooManyRequests", TransientError),
    (500, "InternalError", TransientError),
    (501, "NotImplemented", BackendSetupError),
    (502, "BadGateway", TransientError),
    (503, "SlowDown", TransientError),
    (503, "ServiceUnavailable", TransientError),
]
WRITING = [
    *[(status, code, kind) for status, code, kind in READING if status != 404 and status < 500],
    (400, "BadDigest", TransientError),
    (404, "NoSuchBucket", BackendSetupError),
    (404, "NoSuchKey", PreconditionFailedError),
    (409, "ConditionalRequestConflict", TransientError),
    (409, "OperationAborted", TransientError),
    (412, "PreconditionFailed", PreconditionFailedError),
    (500, "InternalError", OutcomeUnknownError),
    (502, "BadGateway", OutcomeUnknownError),
    (503, "SlowDown", TransientError),
    (504, "GatewayTimeout", OutcomeUnknownError),
    (507, "XMinioStorageFull", StorageFullError),
]


@pytest.mark.parametrize(("status", "code", "kind"), READING)
def test_refused_reading(
    recorder: Recorder, backend: S3Backend, status: int, code: str, kind: type[BackendError]
) -> None:
    recorder.answer = lambda _: refusal(status, code)
    for call in read_all(backend):
        with pytest.raises(BackendError) as caught:
            call()
        assert type(caught.value) is kind
        assert code in str(caught.value)
        assert not any(word in str(caught.value) for word in ("hush", "AKIATEST", "secret words"))


@pytest.mark.parametrize(("status", "code", "kind"), WRITING)
@pytest.mark.parametrize("when", [Absent(), Matches(Version("one"))], ids=["absent", "matches"])
def test_refused_writing(
    recorder: Recorder, backend: S3Backend, *, status: int, code: str, kind: type[BackendError], when: Condition
) -> None:
    recorder.answer = lambda _: refusal(status, code)
    with pytest.raises(BackendError) as caught:
        backend.put("a/b", b"1", when=when)
    assert type(caught.value) is kind
    assert caught.value.key == "a/b"
    assert not any(word in str(caught.value) for word in ("hush", "AKIATEST", "secret words"))
    assert len(recorder.asked) == 1, "the adapter tried again"


def test_a_missing_bucket_is_no_missing_object(recorder: Recorder, backend: S3Backend) -> None:
    recorder.answer = lambda _: refusal(404, "NoSuchBucket")
    for call in everything(backend)[:-2]:
        with pytest.raises(BackendSetupError, match="no bucket media"):
            call()


def test_an_answer_that_is_not_s3(recorder: Recorder, backend: S3Backend) -> None:
    recorder.answer = lambda _: Reply(200, b"<html><p>Welcome", {"Content-Type": "text/html"})
    with pytest.raises(TransientError):
        list(backend.scan())


# Answers that do not come, or not whole


@pytest.mark.parametrize("size", [10, 3 * MIB])
@pytest.mark.parametrize("cut", [1, 5])
def test_a_body_that_is_cut_is_never_whole(recorder: Recorder, backend: S3Backend, size: int, cut: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)

    def answer(asked: Asked) -> Reply:
        if "range" not in asked.headers:
            return content(data, cut=cut)
        start, _, end = asked.headers["range"].removeprefix("bytes=").partition("-")
        part = data[int(start) : int(end or size) + 1]
        return content(part, cut=cut, start=int(start), whole=size)

    recorder.answer = answer
    for call in [lambda: backend.read("a", 0, size), lambda: backend.read("a", 1, size // 2), *read_all(backend)[:4]]:
        with pytest.raises(TransientError):
            call()


@pytest.mark.parametrize("cut", [1, 40])
def test_a_listing_that_is_cut_is_never_whole(recorder: Recorder, backend: S3Backend, cut: int) -> None:
    page = b"<ListBucketResult><Contents><Key>a</Key><Size>1</Size><ETag>1</ETag></Contents></ListBucketResult>"
    recorder.answer = lambda _: Reply(200, page)
    assert [stat.key for stat in backend.scan()] == ["a"]
    recorder.answer = lambda _: Reply(200, page, cut=cut)
    with pytest.raises(TransientError):
        list(backend.scan())


def test_an_answer_that_is_lost(recorder: Recorder, backend: S3Backend) -> None:
    recorder.answer = lambda _: Reply(lost=True)
    for call in everything(backend)[:-1]:
        with pytest.raises(TransientError):
            call()
    with pytest.raises(OutcomeUnknownError) as caught:
        backend.put("a", b"1", when=Absent())
    assert caught.value.key == "a"


def test_a_server_that_is_gone() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        backend = opened(f"http://127.0.0.1:{sock.getsockname()[1]}")
        for call in everything(backend):
            with pytest.raises(TransientError, match="cannot reach"):
                call()


def test_a_server_that_says_nothing(recorder: Recorder) -> None:
    done = threading.Event()

    def answer(asked: Asked) -> Reply:
        done.wait(60)
        return obliging(asked)

    recorder.answer = answer
    backend = opened(recorder.url, timeout=0.2)
    with pytest.raises(TransientError):
        backend.get("a")
    with pytest.raises(OutcomeUnknownError):
        backend.put("a", b"1", when=Absent())
    done.set()


def test_a_server_that_answers_a_range_with_everything(recorder: Recorder, backend: S3Backend) -> None:
    recorder.answer = lambda _: content(b"0123456789")
    assert backend.read("a", 3, 4) == b"3456"
    assert b"".join(backend.stream("a", start=7)) == b"789"
    assert backend.read("a", 8, 5) == b"89"


def test_a_listing_out_of_order_is_refused(recorder: Recorder, backend: S3Backend) -> None:
    entry = "<Contents><Key>{}</Key><Size>1</Size><ETag>1</ETag></Contents>"
    page = f"<ListBucketResult>{entry.format('b')}{entry.format('a')}</ListBucketResult>".encode()
    recorder.answer = lambda _: Reply(200, page)
    with pytest.raises(BackendSetupError, match="in order: a after b"):
        list(backend.scan())


# Uploads in parts


def aborted(recorder: Recorder) -> bool:
    last = recorder.asked[-1]
    return last.method == "DELETE" and "uploadId" in last.query and len(recorder.seen("DELETE")) == 1


def completed(recorder: Recorder) -> bool:
    return any("uploadId" in asked.query for asked in recorder.seen("POST"))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("mine")])
def test_a_source_that_fails_aborts_its_upload(recorder: Recorder, backend: S3Backend, error: BaseException) -> None:
    with pytest.raises(type(error)):
        backend.put("a", Blocks(12_000_000, (LARGE, b"1"), error), when=Absent())
    assert aborted(recorder)
    assert not completed(recorder)
    assert recorder.seen("PUT")


def test_a_full_disk_at_the_source_aborts_its_upload(recorder: Recorder, backend: S3Backend) -> None:
    with pytest.raises(StorageFullError):
        backend.put("a", Blocks(12_000_000, (LARGE, b"1"), OSError(errno.ENOSPC, "full")), when=Absent())
    assert aborted(recorder)


def test_a_file_that_shrinks_aborts_its_upload(recorder: Recorder, backend: S3Backend, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(bytes(12_000_000))

    def answer(asked: Asked) -> Reply:
        if "uploads" in asked.query:
            path.write_bytes(b"short")
        return obliging(asked)

    recorder.answer = answer
    with pytest.raises(ValueError, match="became shorter"):
        backend.put("a", FileSource(path, 12_000_000, adopt=True), when=Absent())
    assert aborted(recorder)
    assert path.exists()


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (refusal(503, "SlowDown"), TransientError),
        (refusal(500, "InternalError"), TransientError),
        (refusal(403, "AccessDenied"), AccessDeniedError),
        (refusal(404, "NoSuchUpload"), TransientError),
        (Reply(lost=True), TransientError),
    ],
)
def test_a_part_that_fails_aborts_its_upload(
    recorder: Recorder, backend: S3Backend, reply: Reply, kind: type[BackendError]
) -> None:
    recorder.answer = lambda asked: reply if asked.query.get("partNumber") == "2" else obliging(asked)
    with pytest.raises(BackendError) as caught:
        backend.put("a", bytes(12_000_000), when=Absent())
    assert type(caught.value) is kind, "no part makes an object, so the outcome is known"
    assert aborted(recorder)
    assert not completed(recorder)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (refusal(412, "PreconditionFailed"), PreconditionFailedError),
        (refusal(409, "ConditionalRequestConflict"), TransientError),
        (refusal(200, "InternalError"), OutcomeUnknownError),
        (Reply(lost=True), OutcomeUnknownError),
    ],
)
def test_a_completion_that_fails_aborts_its_upload(
    recorder: Recorder, backend: S3Backend, reply: Reply, kind: type[BackendError]
) -> None:
    recorder.answer = lambda asked: reply if asked.method == "POST" and "uploadId" in asked.query else obliging(asked)
    with pytest.raises(BackendError) as caught:
        backend.put("a", LARGE, when=Absent())
    assert type(caught.value) is kind
    assert aborted(recorder)


def test_an_upload_that_cannot_win_is_not_begun(recorder: Recorder, backend: S3Backend) -> None:
    recorder.answer = lambda asked: content(b"1") if asked.method == "HEAD" else obliging(asked)
    for when in (Absent(), Matches(Version("two"))):
        with pytest.raises(PreconditionFailedError):
            backend.put("a", LARGE, when=when)
    assert {asked.method for asked in recorder.asked} == {"HEAD"}
    backend.put("a", LARGE, when=Matches(Version("one")))


# Together with trying again


def test_a_lost_answer_is_looked_up(recorder: Recorder, backend: S3Backend) -> None:
    pauses: list[float] = []
    patient = retrying(backend, 3, pauses.append, lambda: 0.5)
    held = content(b"value")
    replies = in_turn(Reply(lost=True), held, held)
    recorder.answer = replies
    assert patient.put("a", b"value", when=Absent()) == "one"
    assert [asked.method for asked in recorder.asked] == ["PUT", "HEAD", "GET"]
    assert pauses == [0.2]


def test_throttling_is_waited_out(recorder: Recorder, backend: S3Backend) -> None:
    pauses: list[float] = []
    patient = retrying(backend, 4, pauses.append, lambda: 0.5)
    recorder.answer = in_turn(refusal(503, "SlowDown"), refusal(429, "TooManyRequests"), STORED)
    assert patient.put("a", b"value", when=Absent()) == "one"
    assert pauses == [0.2, 0.4]


def test_a_cut_body_is_asked_for_again(recorder: Recorder, backend: S3Backend) -> None:
    patient = retrying(backend, 2, lambda _: None, lambda: 0.5)
    recorder.answer = in_turn(content(b"value", cut=2), content(b"value"))
    assert patient.get("a").data == b"value"
