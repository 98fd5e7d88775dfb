"""What goes wrong between here and Azure: who is told what, and what stays behind."""

import uuid
from collections.abc import Iterator

import pytest
from azure.storage.blob import BlobClient

from mediavault_backends.api import Absent, Backend
from mediavault_backends.azure import AzureBackend
from mediavault_backends.errors import (
    AccessDeniedError,
    ArchivedError,
    BackendError,
    BackendSetupError,
    OutcomeUnknownError,
    PreconditionFailedError,
    RestoringError,
    StorageFullError,
    TransientError,
)
from mediavault_backends.settings import AzureSettings
from tests.contract.clauses import Blocks
from tests.services.azurite import Azurite
from tests.services.fault_clauses import LARGE, MIB, FaultClauses, Opener
from tests.services.relay import Relay, Reply, Request, relaying

pytestmark = pytest.mark.services

CODES = {408: "RequestTimeout", 429: "TooManyRequests", 500: "InternalError", 503: "ServerBusy"}


@pytest.fixture
def address(azurite_server: Azurite) -> str:
    return azurite_server.endpoint.rpartition("/")[0]


@pytest.fixture
def relay(address: str) -> Iterator[Relay]:
    with relaying(address) as running:
        yield running


@pytest.fixture
def prefix() -> str:
    return f"faults/{uuid.uuid4().hex}"


@pytest.fixture
def open_at(azurite_server: Azurite, prefix: str) -> Iterator[Opener]:
    backends: list[AzureBackend] = []

    def make(address: str, *, part: int = MIB, page_size: int = 1000, timeout: float = 60.0) -> Backend:
        settings = AzureSettings(
            account_name=azurite_server.account_name,
            account_key=azurite_server.account_key,
            container="media",
            prefix=prefix,
            endpoint=f"{address}/{azurite_server.account_name}",
        )
        backends.append(AzureBackend(settings, block_size=part, page_size=page_size, timeout=timeout))
        return backends[-1]

    yield make
    for backend in backends:
        backend.close()


def refusal(status: int, code: str) -> Reply:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>words of the server</Message></Error>'
    headers = {"x-ms-error-code": code, "Content-Type": "application/xml", "Retry-After": "1"}
    return Reply(status, body.encode(), headers)


class TestAzureFaults(FaultClauses):
    page_field = "maxresults"
    token_field = "marker"

    def is_step(self, request: Request) -> bool:
        return request.query.get("comp") == "block"

    def refuse(self, status: int) -> Reply:
        return refusal(status, CODES.get(status, "AuthorizationFailure"))

    @pytest.mark.parametrize(
        ("status", "code", "expected"),
        [
            (400, "Md5Mismatch", TransientError),
            (400, "InvalidBlockList", TransientError),
            (412, "LeaseIdMissing", TransientError),
            (409, "BlobAlreadyExists", PreconditionFailedError),
            (412, "ConditionNotMet", PreconditionFailedError),
            (404, "BlobNotFound", PreconditionFailedError),
            (404, "ContainerNotFound", BackendSetupError),
            (409, "ContainerBeingDeleted", BackendSetupError),
            (403, "AuthorizationPermissionMismatch", AccessDeniedError),
            (409, "BlobImmutableDueToPolicy", AccessDeniedError),
            (409, "BlobArchived", ArchivedError),
            (409, "BlobBeingRehydrated", RestoringError),
            (507, "InsufficientStorage", StorageFullError),
            (502, "", OutcomeUnknownError),
            (400, "InvalidUri", BackendSetupError),
        ],
    )
    def test_every_refusal_of_azure_has_its_meaning(
        self, backend: Backend, relay: Relay, status: int, code: str, expected: type[BackendError]
    ) -> None:
        relay.always(lambda _: True, refusal(status, code))
        with pytest.raises(BackendError) as caught:
            backend.put("refs/main", b"x", when=Absent())
        assert type(caught.value) is expected
        assert caught.value.key == "refs/main"
        assert f"({status}" in str(caught.value)

    def test_everything_that_is_sent_carries_its_checksum(self, backend: Backend, relay: Relay) -> None:
        backend.put("packs/x", LARGE, when=Absent())
        backend.put("refs/main", b"x", when=Absent())
        assert len(relay.requests) == 5
        assert all("content-md5" in request.headers for request in relay.requests)

    def test_blocks_of_a_cancelled_upload_go_with_the_next_one(
        self, backend: Backend, azurite_server: Azurite, prefix: str
    ) -> None:
        with pytest.raises(KeyboardInterrupt):
            backend.put("packs/x", Blocks(len(LARGE), (LARGE[: 2 * MIB + 1],), KeyboardInterrupt()), when=Absent())
        credential = {"account_name": azurite_server.account_name, "account_key": azurite_server.account_key}
        with BlobClient(azurite_server.endpoint, "media", f"{prefix}/packs/x", credential=credential) as blob:
            committed, left = blob.get_block_list("all")
            assert (len(committed), len(left)) == (0, 2), "Azure keeps them for a week, out of sight"
            backend.put("packs/x", LARGE, when=Absent())
            committed, left = blob.get_block_list("all")
            assert (len(committed), len(left)) == (3, 0)
