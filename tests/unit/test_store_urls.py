"""Addresses of stores: which table each stands for, and what is refused."""

import pytest

from mediavault_backends.errors import BackendSetupError
from mediavault_backends.urls import is_store_url, table_of


@pytest.mark.parametrize(
    ("url", "kind", "settings"),
    [
        ("s3://bucket", "s3", {"bucket": "bucket", "prefix": ""}),
        ("s3://bucket/studio/film/", "s3", {"bucket": "bucket", "prefix": "studio/film"}),
        ("az://box/film", "azure", {"container": "box", "prefix": "film"}),
        ("gs://bucket/film", "gcs", {"bucket": "bucket", "prefix": "film"}),
        ("file:///nas/projects/my%20film", "local", {"path": "/nas/projects/my film"}),
        ("file://localhost/nas/film", "local", {"path": "/nas/film"}),
    ],
)
def test_an_address_becomes_a_table(url: str, kind: str, settings: dict[str, str]) -> None:
    assert is_store_url(url)
    assert table_of(url) == {"backend": kind, kind: settings}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3:///film", "names no bucket"),
        ("az://", "names no container"),
        ("s3://key:secret@bucket/film", "no credentials"),
        ("s3://bucket:99999/film", "not the address"),
        ("s3://bucket/film?x=1", "no credentials, port, query"),
        ("gs://bucket/a//b", "no object can be under"),
        ("gs://bucket/../b", "no object can be under"),
        ("gs://bucket/my film", "no object can be under"),
        ("file://nas/film", "three slashes"),
        ("file:///", "three slashes"),
        ("ftp://host/film", "not the address"),
    ],
)
def test_what_is_no_address_is_refused_without_its_secrets(url: str, words: str) -> None:
    with pytest.raises(BackendSetupError, match=words) as caught:
        table_of(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://host/team/film", "https://host", "film", "s3:/bucket", ""])
def test_other_addresses_are_a_servers(url: str) -> None:
    assert not is_store_url(url)
