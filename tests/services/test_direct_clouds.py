"""Remotes without a server on real object stores: the installed commands, credentials from where the clouds' own tools look."""

import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tests.services.azurite import Azurite
from tests.services.fake_gcs import FakeGcs
from tests.services.seaweed import Server
from tests.snapshot import snapshot

pytestmark = pytest.mark.services

T = TypeVar("T")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(params=["seaweedfs", "minio", "azurite", "fake-gcs"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty place, with everything else in the environment."""
    place = f"studio-{uuid.uuid4().hex}/film"
    if request.param == "azurite":
        azurite = _typed(request.getfixturevalue("azurite_server"), Azurite)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", azurite.account_name)
        monkeypatch.setenv("AZURE_STORAGE_KEY", azurite.account_key)
        monkeypatch.setenv("AZURE_STORAGE_SERVICE_ENDPOINT", azurite.endpoint)
        return f"az://media/{place}"
    if request.param == "fake-gcs":
        gcs = _typed(request.getfixturevalue("fake_gcs_server"), FakeGcs)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.endpoint)
        return f"gs://media/{place}"
    name = "seaweed_server" if request.param == "seaweedfs" else "minio_server"
    server = _typed(request.getfixturevalue(name), Server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return f"s3://media/{place}"


def _typed(found: object, kind: type[T]) -> T:
    assert isinstance(found, kind)
    return found


def content(folder: Path) -> object:
    return {path: entry for path, entry in snapshot(folder).items() if not path.startswith(".mediagit/")}


def test_a_day_without_a_server(url: str, mediagit: Run, media_project: Path, tmp_path: Path) -> None:
    film, copy = tmp_path / "film", tmp_path / "copy"
    mediagit("init", film)
    subprocess.run(["cp", "-a", f"{media_project}/.", film], check=True)
    (film / "rushes.mov").write_bytes(os.urandom(9_000_000))
    mediagit("add", ".", cwd=film)
    mediagit("commit", "-m", "First cut", cwd=film)
    mediagit("remote", "add", "origin", url, cwd=film)
    mediagit("push", "-u", "origin", "main", cwd=film)
    mediagit("clone", url, copy)
    assert content(copy) == content(film)

    (copy / "rushes.mov").write_bytes(os.urandom(1_000_000))
    mediagit("commit", "-am", "Second cut", cwd=copy)
    mediagit("push", cwd=copy)
    mediagit("pull", cwd=film)
    assert content(copy) == content(film)
    mediagit("verify", "--remote", "origin", cwd=film)
    mediagit("push", "origin", "--delete", "main", cwd=film)


# fake-gcs-server lets everyone in; what Google's refusals become is in test_gcs_faults.py.
@pytest.mark.parametrize("url", ["seaweedfs", "minio", "azurite"], indirect=True)
def test_credentials_that_the_store_refuses_are_named_and_not_shown(
    url: str, mediagit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush-hush-hush")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "aHVzaC1odXNoLWh1c2gtaHVzaA==")
    ended = mediagit("clone", "--no-encryption", url, tmp_path / "copy", exit_code=None)
    assert ended.returncode != 0
    assert "refuses these credentials" in ended.stderr
    assert "hush" not in ended.stderr
    assert "aHVzaC1" not in ended.stderr
    assert not (tmp_path / "copy").exists()
