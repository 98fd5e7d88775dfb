"""What goes wrong between here and Google Cloud Storage: who is told what, and what stays behind."""

import json
import uuid
from collections.abc import Iterator

import pytest

from mediavault_backends.api import Absent, Backend
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
from mediavault_backends.gcs import GcsBackend
from mediavault_backends.settings import GcsSettings
from tests.contract.clauses import Blocks, keys_of
from tests.services.fake_gcs import FakeGcs
from tests.services.fault_clauses import LARGE, MIB, FaultClauses, Opener
from tests.services.relay import Cut, Relay, Reply, Request, relaying

pytestmark = pytest.mark.services


@pytest.fixture
def address(fake_gcs_server: FakeGcs) -> str:
    return fake_gcs_server.endpoint


@pytest.fixture
def relay(address: str) -> Iterator[Relay]:
    with relaying(address) as running:
        yield running


@pytest.fixture
def open_at() -> Iterator[Opener]:
    backends: list[GcsBackend] = []
    prefix = f"faults/{uuid.uuid4().hex}"

    def make(address: str, *, part: int = MIB, page_size: int = 1000, timeout: float = 60.0) -> Backend:
        settings = GcsSettings(bucket="media", prefix=prefix, endpoint=address)
        backends.append(GcsBackend(settings, chunk_size=part, page_size=page_size, timeout=timeout))
        return backends[-1]

    yield make
    for backend in backends:
        backend.close()


def refusal(status: int, reason: str, message: str = "words of the server") -> Reply:
    error = {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}
    return Reply(status, json.dumps({"error": error}).encode(), {"Content-Type": "application/json"})


class TestGcsFaults(FaultClauses):
    page_field = "maxResults"
    token_field = "pageToken"

    def is_step(self, request: Request) -> bool:
        if request.query.get("uploadType") == "resumable" and "upload_id" not in request.query:
            return True
        if "upload_id" not in request.query:
            return False
        _, _, covered = request.headers.get("content-range", "").partition("-")
        last, _, size = covered.partition("/")
        return request.method != "PUT" or int(last) + 1 < int(size)

    def refuse(self, status: int) -> Reply:
        return refusal(status, "backendError" if status >= 500 else "forbidden")

    @pytest.mark.parametrize(
        "refused",
        [
            (403, "rateLimitExceeded", TransientError),
            (403, "insufficientPermissions", AccessDeniedError),
            (403, "quotaExceeded", StorageFullError),
            (404, "notFound", BackendSetupError),
            (409, "conflict", TransientError),
            (412, "conditionNotMet", PreconditionFailedError),
            (400, "invalid", BackendSetupError),
            (502, "", OutcomeUnknownError),
        ],
    )
    @pytest.mark.parametrize("body", [b"x", LARGE], ids=["whole", "in parts"])
    def test_every_refusal_of_google_has_its_meaning(
        self, backend: Backend, relay: Relay, refused: tuple[int, str, type[BackendError]], body: bytes
    ) -> None:
        status, reason, expected = refused
        relay.always(lambda request: not self.is_step(request), refusal(status, reason))
        if status == 404 and body == LARGE:
            expected = TransientError  # the session has expired
        with pytest.raises(BackendError) as caught:
            backend.put("refs/main", body, when=Absent())
        assert type(caught.value) is expected
        assert caught.value.key == "refs/main"

    def test_bytes_damaged_on_the_way_are_sent_again(self, backend: Backend, relay: Relay) -> None:
        message = 'Provided CRC32C "AAAAAA==" doesn\'t match calculated CRC32C "BBBBBB==".'
        relay.always(lambda _: True, refusal(400, "invalid", message))
        with pytest.raises(TransientError, match="damaged on its way"):
            backend.put("refs/main", b"x", when=Absent())

    @pytest.mark.parametrize("text", [b"", b"[]", b"<html>Bad Gateway</html>", b'{"error": {"errors": [{}]}}'])
    def test_a_refusal_that_is_no_json_of_google_is_one(self, backend: Backend, relay: Relay, text: bytes) -> None:
        relay.always(lambda _: True, Reply(502, text))
        for call in (lambda: backend.get("a"), lambda: backend.stat("a")):
            with pytest.raises(TransientError, match="502"):
                call()

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("mine")], ids=["stop", "value"])
    def test_the_session_of_a_cancelled_upload_is_ended(
        self, backend: Backend, relay: Relay, error: BaseException
    ) -> None:
        class FailsAtTheSecondReading:
            size = len(LARGE)

            def __init__(self) -> None:
                self.readings = 0

            def blocks(self) -> Iterator[bytes]:
                self.readings += 1
                yield LARGE[: 2 * MIB]
                yield LARGE[2 * MIB :][:1]
                if self.readings == 2:
                    raise error
                yield LARGE[2 * MIB + 1 :]

        with pytest.raises(type(error)):
            backend.put("packs/x", FailsAtTheSecondReading(), when=Absent())
        methods = [request.method for request in relay.requests]
        assert methods == ["POST", "PUT", "PUT", "DELETE"]
        uploads = {request.query["upload_id"] for request in relay.requests[1:]}
        assert len(uploads) == 1
        assert keys_of(backend) == []

    def test_a_body_that_fails_at_once_starts_no_session(self, backend: Backend, relay: Relay) -> None:
        with pytest.raises(ValueError, match="fewer"):
            backend.put("packs/x", Blocks(len(LARGE), (LARGE[:-1],)), when=Absent())
        assert relay.requests == []

    def test_a_session_that_kept_less_than_was_sent_is_given_up(self, backend: Backend, relay: Relay) -> None:
        relay.once(lambda request: request.method == "PUT", Reply(308, b"", {"Range": "bytes=0-262143"}))
        with pytest.raises(TransientError, match="kept only part"):
            backend.put("packs/x", LARGE, when=Absent())
        assert [request.method for request in relay.requests] == ["POST", "PUT", "DELETE"]
        assert keys_of(backend) == []

    def test_a_reply_that_is_cut_off_leaves_the_outcome_open(self, backend: Backend, relay: Relay) -> None:
        for body in (b"x", LARGE):
            relay.once(lambda request: not self.is_step(request), Cut(20))
            with pytest.raises(OutcomeUnknownError):
                backend.put(f"packs/{len(body)}", body, when=Absent())
        assert len(keys_of(backend)) == 2

    def test_whether_there_is_a_bucket_may_be_unknown(self, backend: Backend, relay: Relay) -> None:
        relay.always(lambda request: request.path.endswith("/o"), self.refuse(503))
        with pytest.raises(TransientError):
            backend.stat("a")
        relay.always(lambda request: request.path.endswith("/o"), self.refuse(403))
        with pytest.raises(NotFoundError):
            backend.stat("a")

    def test_a_bucket_is_looked_for_once(self, backend: Backend, relay: Relay) -> None:
        for _ in range(3):
            backend.delete("a")
        assert [request.method for request in relay.requests] == ["DELETE", "GET", "DELETE", "DELETE"]
