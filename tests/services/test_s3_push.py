"""Push and clone by the installed commands, through an installed server that keeps everything in a bucket."""

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mediavault_backends.s3 import S3Backend
from tests.conftest import installed, server_address
from tests.services.conftest import settings_of
from tests.services.seaweed import Server
from tests.snapshot import snapshot

pytestmark = pytest.mark.services

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Serve = Callable[..., str]


@pytest.fixture(autouse=True)
def through_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send media through the server; straight to the store they go in test_straight.py."""
    monkeypatch.setenv("MEDIAGIT_DIRECT", "off")


@pytest.fixture
def serve_bucket() -> Iterator[Serve]:
    """Start `mediagit-server` with settings from the environment alone; returns its address."""
    running: list[subprocess.Popen[str]] = []

    def start(environment: dict[str, str], *options: str) -> str:
        command = [installed("mediagit-server"), "--port", "0", "--no-auth", *options]
        running.append(
            subprocess.Popen(
                command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
        return server_address(running[-1])

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(timeout=30)


def environment_of(server: Server, prefix: str, **changes: str) -> dict[str, str]:
    told = {
        "bucket": "media",
        "prefix": prefix,
        "region": "us-east-1",
        "endpoint": server.endpoint,
        "part_size": "5MB",
        "force_path_style": "true",
        **changes,
    }
    return {
        "MEDIAGIT_STORAGE__BACKEND": "s3",
        **{f"MEDIAGIT_STORAGE__S3__{name.upper()}": value for name, value in told.items()},
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
    }


def test_push_and_clone_through_a_bucket(
    seaweed_server: Server, serve_bucket: Serve, mediagit: Run, media_project: Path, tmp_path: Path
) -> None:
    prefix = f"studio-{uuid.uuid4().hex}"
    url = serve_bucket(environment_of(seaweed_server, prefix)) + "/studio/film"
    film = tmp_path / "film"
    mediagit("init", film)
    subprocess.run(["cp", "-a", f"{media_project}/.", film], check=True)
    (film / "rushes.mov").write_bytes(os.urandom(12_000_000))
    mediagit("add", ".", cwd=film)
    mediagit("commit", "-m", "First cut", cwd=film)
    mediagit("remote", "add", "origin", url, cwd=film)
    mediagit("push", "-u", "origin", "main", cwd=film)

    bucket = S3Backend(settings_of(seaweed_server, prefix=prefix))
    keys = [stat.key for stat in bucket.scan()]
    assert any(key.startswith("studio/film/refs/") for key in keys)
    assert not any(key.startswith("-probe/") for key in keys)
    assert sum(stat.size for stat in bucket.scan()) > 12_000_000
    assert any("-" in stat.version for stat in bucket.scan("studio/film/packs/")), "no pack went in parts"

    # Another server over the same bucket has it all: a server keeps nothing itself.
    other = serve_bucket(environment_of(seaweed_server, prefix), "--workers", "2") + "/studio/film"
    mediagit("clone", other, tmp_path / "copy")
    copy = tmp_path / "copy"
    assert content(copy) == content(film)

    (copy / "rushes.mov").write_bytes(os.urandom(1_000_000))
    mediagit("add", ".", cwd=copy)
    mediagit("commit", "-m", "Second cut", cwd=copy)
    mediagit("push", cwd=copy)
    mediagit("pull", cwd=film)
    assert content(copy) == content(film)
    mediagit("verify", cwd=film)


def content(folder: Path) -> object:
    return {path: entry for path, entry in snapshot(folder).items() if not path.startswith(".mediagit/")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bucket": ""}, "storage.s3.bucket is missing"),
        ({"access_key": "tester", "secret_key": "hush-hush"}, "refuses these credentials"),
        ({"endpoint": "http://127.0.0.1:1", "max_retries": "0"}, "cannot reach"),
        ({"sse": "x"}, "MEDIAGIT_STORAGE__S3__SSE"),
    ],
)
def test_a_server_that_cannot_use_its_bucket_does_not_start(
    seaweed_server: Server, changes: dict[str, str], message: str
) -> None:
    environment = {**os.environ, **environment_of(seaweed_server, "never", **changes)}
    command = [installed("mediagit-server"), "--port", "0", "--no-auth"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "hush-hush" not in ended.stderr
