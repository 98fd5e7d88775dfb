"""The Backend protocol, clause by clause, over real S3 services."""

from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest

from mediavault_backends.api import Backend
from mediavault_backends.s3 import S3Backend
from mediavault_backends.settings import S3Settings
from tests.contract.clauses import Clauses

pytestmark = pytest.mark.services


@pytest.fixture
def backend(s3_settings: Callable[..., S3Settings]) -> Iterator[Backend]:
    store = S3Backend(s3_settings(), page_size=3)
    yield store
    store.close()


class TestS3Contract(Clauses):
    writers: ClassVar = 16
