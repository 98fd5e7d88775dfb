"""Very many keys in a real service: listed whole, in order, each once; a million take up to half an hour a server."""

import uuid

import pytest

from mediavault_backends.api import Absent
from mediavault_backends.azure import AzureBackend
from mediavault_backends.gcs import GcsBackend
from mediavault_backends.s3 import S3Backend
from mediavault_backends.settings import AzureSettings, GcsSettings
from tests.contract.many_keys import check_listing, keys_of
from tests.services.azurite import Azurite
from tests.services.conftest import settings_of
from tests.services.fake_gcs import FakeGcs
from tests.services.many_objects import copy_azurite_blob, gcs_uploads, s3_forms, send
from tests.services.seaweed import Server

pytestmark = pytest.mark.timeout(14_400)


@pytest.fixture(
    params=[
        pytest.param(3_000, marks=pytest.mark.services, id="a sample"),
        pytest.param(1_000_000, marks=pytest.mark.deep, id="a million"),
    ]
)
def count(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


def test_very_many_keys_are_listed_by_an_s3_service(s3_server: Server, count: int) -> None:
    prefix = f"many-{uuid.uuid4().hex}"
    send(s3_server.endpoint, s3_forms(s3_server, prefix, keys_of(count)))
    store = S3Backend(settings_of(s3_server, prefix=prefix), page_size=min(1000, count // 300))
    check_listing(store, count)
    store.close()


def test_very_many_keys_are_listed_by_azurite(azurite_with_database: Azurite, count: int) -> None:
    settings = AzureSettings(
        account_name=azurite_with_database.account_name,
        account_key=azurite_with_database.account_key,
        container="media",
        prefix="many",
        endpoint=azurite_with_database.endpoint,
    )
    store = AzureBackend(settings, page_size=count // 300)
    keys = keys_of(count)
    first = next(keys)
    store.put(first, b"", when=Absent())
    copy_azurite_blob(azurite_with_database, f"many/{first}", (f"many/{key}" for key in keys))
    check_listing(store, count)
    store.close()


def test_very_many_keys_are_listed_by_fake_gcs_server(fake_gcs_of_files: FakeGcs, count: int) -> None:
    send(fake_gcs_of_files.endpoint, gcs_uploads("many", keys_of(count)))
    settings = GcsSettings(bucket="media", prefix="many", endpoint=fake_gcs_of_files.endpoint)
    # Google gives a thousand at most; fake-gcs-server reads the whole bucket again for each page.
    store = GcsBackend(settings, page_size=count // 10)
    check_listing(store, count)
    store.close()
