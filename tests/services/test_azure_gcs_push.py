"""Push and clone by the installed commands, through an installed server that keeps everything in Azure or Google Cloud."""

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mediavault_backends.api import Backend
from mediavault_backends.azure import AzureBackend
from mediavault_backends.errors import TransientError
from mediavault_backends.gcs import GcsBackend
from mediavault_backends.probe import check_conditions
from mediavault_backends.registry import open_backend
from mediavault_backends.settings import AzureSettings, GcsSettings
from tests.conftest import installed, server_address
from tests.services.azurite import Azurite
from tests.services.fake_gcs import FakeGcs
from tests.services.relay import Relay, Reply, relaying
from tests.snapshot import snapshot

pytestmark = pytest.mark.services

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Cloud:
    """One kind of store as the configuration names it, and the same one without the configuration."""

    kind: str
    table: dict[str, str]
    direct: Backend
    relay: Relay

    @property
    def environment(self) -> dict[str, str]:
        names = {f"MEDIAGIT_STORAGE__{self.kind.upper()}__{name.upper()}": value for name, value in self.table.items()}
        return {"MEDIAGIT_STORAGE__BACKEND": self.kind, **names}


@pytest.fixture(params=["azure", "gcs"])
def cloud(request: pytest.FixtureRequest, azurite_server: Azurite, fake_gcs_server: FakeGcs) -> Iterator[Cloud]:
    prefix = f"studio-{uuid.uuid4().hex}"
    address = fake_gcs_server.endpoint if request.param == "gcs" else azurite_server.endpoint.rpartition("/")[0]
    with relaying(address) as relay:
        if request.param == "gcs":
            table = {"bucket": "media", "prefix": prefix, "endpoint": relay.url}
            gcs = GcsBackend(GcsSettings(bucket="media", prefix=prefix, endpoint=address))
            yield Cloud("gcs", table, gcs, relay)
            gcs.close()
        else:
            account = {"account_name": azurite_server.account_name, "account_key": azurite_server.account_key}
            endpoint = f"{relay.url}/{azurite_server.account_name}"
            table = {**account, "container": "media", "prefix": prefix, "endpoint": endpoint}
            settings = AzureSettings(container="media", prefix=prefix, endpoint=azurite_server.endpoint, **account)  # type: ignore[arg-type] # all of them are text
            azure = AzureBackend(settings)
            yield Cloud("azure", table, azure, relay)
            azure.close()


@pytest.fixture
def serve_cloud(cloud: Cloud) -> Iterator[Callable[..., str]]:
    """Start `mediagit-server` with settings from the environment alone; returns its address."""
    running: list[subprocess.Popen[str]] = []

    def start(*options: str) -> str:
        command = [installed("mediagit-server"), "--port", "0", "--no-auth", *options]
        environment = {**os.environ, **cloud.environment}
        running.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
        return server_address(running[-1])

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(timeout=30)


def content(folder: Path) -> object:
    return {path: entry for path, entry in snapshot(folder).items() if not path.startswith(".mediagit/")}


def test_push_and_clone_through_a_cloud(
    cloud: Cloud, serve_cloud: Callable[..., str], mediagit: Run, media_project: Path, tmp_path: Path
) -> None:
    film = tmp_path / "film"
    mediagit("init", film)
    subprocess.run(["cp", "-a", f"{media_project}/.", film], check=True)
    (film / "rushes.mov").write_bytes(os.urandom(20_000_000))
    mediagit("add", ".", cwd=film)
    mediagit("commit", "-m", "First cut", cwd=film)
    mediagit("remote", "add", "origin", serve_cloud() + "/studio/film", cwd=film)
    mediagit("push", "-u", "origin", "main", cwd=film)

    found = list(cloud.direct.scan())
    assert any(stat.key.startswith("studio/film/refs/") for stat in found)
    assert sum(stat.size for stat in found) > 20_000_000

    # Another server over the same store has it all: a server keeps nothing itself.
    copy = tmp_path / "copy"
    mediagit("clone", serve_cloud("--workers", "2") + "/studio/film", copy)
    assert content(copy) == content(film)

    (copy / "rushes.mov").write_bytes(os.urandom(1_000_000))
    mediagit("add", ".", cwd=copy)
    mediagit("commit", "-m", "Second cut", cwd=copy)
    mediagit("push", cwd=copy)
    mediagit("pull", cwd=film)
    assert content(copy) == content(film)
    mediagit("verify", cwd=film)


def test_the_store_keeps_conditions(cloud: Cloud) -> None:
    check_conditions(open_backend({"backend": cloud.kind, cloud.kind: cloud.table}))
    assert list(cloud.direct.scan()) == []


@pytest.mark.parametrize(("retries", "requests"), [(0, 1), (2, 3)])
def test_max_retries_is_how_often_a_call_is_repeated(cloud: Cloud, retries: int, requests: int) -> None:
    backend = open_backend({"backend": cloud.kind, cloud.kind: {**cloud.table, "max_retries": retries}})
    cloud.relay.always(lambda _: True, Reply(503))
    with pytest.raises(TransientError):
        backend.get("refs/main")
    assert len(cloud.relay.requests) == requests


def test_a_server_whose_store_is_missing_does_not_start(cloud: Cloud) -> None:
    cloud.relay.requests.clear()
    place = "CONTAINER" if cloud.kind == "azure" else "BUCKET"
    environment = {**os.environ, **cloud.environment, f"MEDIAGIT_STORAGE__{cloud.kind.upper()}__{place}": "missing"}
    command = [installed("mediagit-server"), "--port", "0", "--no-auth"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert "make" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert cloud.table.get("account_key", "-none-") not in ended.stderr
