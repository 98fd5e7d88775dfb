"""A million keys in a real service: listed whole, in order, each once; up to half an hour a server."""

import os
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

pytestmark = [pytest.mark.deep, pytest.mark.timeout(14_400)]

COUNT = int(os.environ.get("MANY_KEYS", "1000000"))
GCS_PAGE = 100_000
"""A hundred times what Google gives: fake-gcs-server reads the whole bucket again for each page."""


def test_a_million_keys_are_listed_by_an_s3_service(s3_server: Server) -> None:
    prefix = f"many-{uuid.uuid4().hex}"
    send(s3_server.endpoint, s3_forms(s3_server, prefix, keys_of(COUNT)))
    store = S3Backend(settings_of(s3_server, prefix=prefix))
    check_listing(store, COUNT)
    store.close()


def test_a_million_keys_are_listed_by_azurite(azurite_with_database: Azurite, postgres_url: str) -> None:
    settings = AzureSettings(
        account_name=azurite_with_database.account_name,
        account_key=azurite_with_database.account_key,
        container="media",
        prefix="many",
        endpoint=azurite_with_database.endpoint,
    )
    store = AzureBackend(settings)
    keys = keys_of(COUNT)
    first = next(keys)
    store.put(first, b"", when=Absent())
    copy_azurite_blob(postgres_url, f"many/{first}", (f"many/{key}" for key in keys))
    check_listing(store, COUNT)
    store.close()


def test_a_million_keys_are_listed_by_fake_gcs_server(fake_gcs_of_files: FakeGcs) -> None:
    send(fake_gcs_of_files.endpoint, gcs_uploads("many", keys_of(COUNT)))
    settings = GcsSettings(bucket="media", prefix="many", endpoint=fake_gcs_of_files.endpoint)
    store = GcsBackend(settings, page_size=GCS_PAGE)
    check_listing(store, COUNT)
    store.close()
