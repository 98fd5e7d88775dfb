"""The Backend contract over Google Cloud Storage, as fake-gcs-server plays it."""

import uuid
from collections.abc import Iterator

import pytest

from mediavault_backends.api import Backend
from mediavault_backends.gcs import GcsBackend
from mediavault_backends.settings import GcsSettings
from tests.contract.clauses import Clauses
from tests.services.fake_gcs import FakeGcs

pytestmark = pytest.mark.services

MIB = 1 << 20


@pytest.fixture(params=[16 * MIB, MIB], ids=["one put", "in chunks"])
def backend(fake_gcs_server: FakeGcs, request: pytest.FixtureRequest) -> Iterator[Backend]:
    settings = GcsSettings(bucket="media", prefix=f"contract/{uuid.uuid4().hex}", endpoint=fake_gcs_server.endpoint)
    backend = GcsBackend(settings, chunk_size=request.param, page_size=3)
    yield backend
    backend.close()


class TestFakeGcsContract(Clauses):
    pass
