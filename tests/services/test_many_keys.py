"""A million keys in a real service: listed whole, in order, each once; about an hour, most of it for making them."""

import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

from mediavault_backends.api import Absent
from mediavault_backends.s3 import S3Backend
from tests.contract.many_keys import check_listing, keys_of
from tests.services.conftest import settings_of
from tests.services.seaweed import Server

pytestmark = pytest.mark.deep

COUNT = int(os.environ.get("MANY_KEYS", "1000000"))


@pytest.mark.timeout(14_400)
def test_a_million_keys_are_listed_by_a_service(s3_server: Server) -> None:
    store = S3Backend(settings_of(s3_server, prefix=f"many-{uuid.uuid4().hex}"))
    keys = keys_of(COUNT)
    with ThreadPoolExecutor(16) as pool:
        while page := list(islice(keys, 10_000)):
            for _ in pool.map(lambda key: store.put(key, b"", when=Absent()), page):
                pass
    check_listing(store, COUNT)
    store.close()
