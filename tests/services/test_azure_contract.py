"""The Backend contract over Azure Blob Storage, as Azurite plays it."""

import uuid

import pytest

from mediavault_backends.api import Backend
from mediavault_backends.azure import AzureBackend
from mediavault_backends.settings import AzureSettings
from tests.contract.clauses import Clauses
from tests.services.azurite import Azurite

pytestmark = pytest.mark.services

MIB = 1 << 20


@pytest.fixture(params=[16 * MIB, MIB], ids=["one put", "in blocks"])
def backend(azurite_server: Azurite, request: pytest.FixtureRequest) -> Backend:
    settings = AzureSettings(
        account_name=azurite_server.account_name,
        account_key=azurite_server.account_key,
        container="media",
        prefix=f"contract/{uuid.uuid4().hex}",
        endpoint=azurite_server.endpoint,
    )
    return AzureBackend(settings, block_size=request.param, page_size=3)


class TestAzuriteContract(Clauses):
    pass
