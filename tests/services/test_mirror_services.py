"""Mirrors between clouds of different makers, by the installed commands: one push, a mirror, a clone of it."""

import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import PASSPHRASE, installed, server_address
from tests.services.azurite import Azurite
from tests.services.fake_gcs import FakeGcs
from tests.services.seaweed import Server
from tests.snapshot import snapshot

pytestmark = pytest.mark.services

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def serve_bucket() -> Iterator[Callable[[Server, str], str]]:
    """Start `mediagit-server` over a prefix of an S3 service; returns its address."""
    running: list[subprocess.Popen[str]] = []

    def start(server: Server, prefix: str) -> str:
        settings = {
            "BACKEND": "s3",
            "S3__PROVIDER": "minio",
            "S3__ENDPOINT": server.endpoint,
            "S3__BUCKET": "media",
            "S3__PREFIX": prefix,
            "S3__ACCESS_KEY": server.access_key,
            "S3__SECRET_KEY": server.secret_key,
        }
        environment = {**os.environ, **{f"MEDIAGIT_STORAGE__{name}": value for name, value in settings.items()}}
        command = [installed("mediagit-server"), "--port", "0", "--no-auth"]
        running.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
        return server_address(running[-1])

    yield start
    for process in running:
        process.terminate()
        process.wait(timeout=40)


@pytest.fixture(params=["minio to azurite", "seaweedfs to fake-gcs", "server over minio to folder"])
def places(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[str, str]:
    """Two empty places, with everything that is needed to reach them in the environment."""
    name = f"studio-{uuid.uuid4().hex}"
    s3: Server = request.getfixturevalue("seaweed_server" if "seaweedfs" in request.param else "minio_server")
    if "server" in request.param:
        serve: Callable[[Server, str], str] = request.getfixturevalue("serve_bucket")
        return f"{serve(s3, name)}/studio/film", f"file://{tmp_path}/nas/film"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    if "azurite" in request.param:
        azurite = request.getfixturevalue("azurite_server")
        assert isinstance(azurite, Azurite)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", azurite.account_name)
        monkeypatch.setenv("AZURE_STORAGE_KEY", azurite.account_key)
        monkeypatch.setenv("AZURE_STORAGE_SERVICE_ENDPOINT", azurite.endpoint)
        return f"s3://media/{name}/film", f"az://media/{name}/film"
    gcs = request.getfixturevalue("fake_gcs_server")
    assert isinstance(gcs, FakeGcs)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.endpoint)
    return f"s3://media/{name}/film", f"gs://media/{name}/film"


def content(folder: Path) -> object:
    return {path: entry for path, entry in snapshot(folder).items() if not path.startswith(".mediagit/")}


def test_a_mirror_elsewhere(
    places: tuple[str, str], mediagit: Run, media_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, mirror = places
    film, copy = tmp_path / "film", tmp_path / "copy"
    mediagit("init", film)
    subprocess.run(["cp", "-a", f"{media_project}/.", film], check=True)
    (film / "rushes.mov").write_bytes(os.urandom(9_000_000))
    mediagit("add", ".", cwd=film)
    mediagit("commit", "-m", "First cut", cwd=film)
    mediagit("remote", "add", "origin", source, cwd=film)
    mediagit("push", "-u", "origin", "main", cwd=film)

    monkeypatch.setenv("MEDIAGIT_HOME", str(tmp_path / "operator"))
    monkeypatch.delenv("MEDIAGIT_PASSPHRASE", raising=False)
    planned = json.loads(mediagit("mirror", "--json", "--dry-run", source, mirror).stdout)
    made = json.loads(mediagit("mirror", "--json", "--verify", source, mirror).stdout)
    assert made["verified"]["ok"]
    assert (planned["packs"], planned["bytes"]) == (made["packs"], made["bytes"])
    assert made["bytes"] > 9_000_000
    assert json.loads(mediagit("mirror", "--json", source, mirror).stdout)["writes"] == 0

    monkeypatch.setenv("MEDIAGIT_HOME", str(tmp_path / "other-home"))
    monkeypatch.setenv("MEDIAGIT_PASSPHRASE", PASSPHRASE)
    mediagit("clone", mirror, copy)
    assert content(copy) == content(film)
