"""A server whose store is far away, with a cache on its own disk: clones through it, and what the store was asked."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import installed, server_address
from tests.services.relay import Relay, relaying
from tests.services.seaweed import Server
from tests.snapshot import snapshot

pytestmark = pytest.mark.services

Run = Callable[..., "subprocess.CompletedProcess[str]"]
MEDIA = 12_000_000
PROJECT = "/studio/film"


@pytest.fixture
def relay(minio_server: Server) -> Iterator[Relay]:
    with relaying(minio_server.endpoint) as relay:
        yield relay


@pytest.fixture
def start(minio_server: Server, relay: Relay) -> Iterator[Callable[..., str]]:
    """Start a server over the bucket, which it reaches through the relay; settings come from the environment alone."""
    running: list[subprocess.Popen[str]] = []
    told = {
        "backend": "s3",
        "s3__bucket": "media",
        "s3__prefix": f"cached-{uuid.uuid4().hex}",
        "s3__region": "us-east-1",
        "s3__endpoint": relay.url,
        "s3__provider": "minio",
    }
    environment = {
        **os.environ,
        **{f"MEDIAGIT_STORAGE__{name.upper()}": value for name, value in told.items()},
        "AWS_ACCESS_KEY_ID": minio_server.access_key,
        "AWS_SECRET_ACCESS_KEY": minio_server.secret_key,
    }

    def start(*options: str, **more: str) -> str:
        command = [installed("mediagit-server"), "--port", "0", "--no-auth", *options]
        running.append(
            subprocess.Popen(
                command, env={**environment, **more}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
        return server_address(running[-1]) + PROJECT

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(timeout=30)


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start a cache of another server."""
    running: list[subprocess.Popen[str]] = []

    def serve(upstream: str, folder: Path) -> str:
        command = [
            installed("mediagit-server"),
            "--port",
            "0",
            "--no-auth",
            "--upstream",
            upstream,
            "--cache",
            str(folder),
        ]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return server_address(running[-1])

    yield serve
    for process in running:
        process.terminate()
    for process in running:
        process.wait(timeout=30)


def reads(relay: Relay) -> int:
    """Return how often the store was asked for bytes of packs, and forget it."""
    count = sum(request.method == "GET" and "/packs/" in request.path for request in relay.requests)
    relay.requests.clear()
    return count


def content(folder: Path) -> object:
    return {path: entry for path, entry in snapshot(folder).items() if not path.startswith(".mediagit/")}


def test_a_second_clone_reads_no_pack_of_the_bucket(
    start: Callable[..., str], relay: Relay, mediagit: Run, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    url = start(MEDIAGIT_STORAGE__CACHE=str(cache), MEDIAGIT_STORAGE__CACHE_SIZE="200MiB")
    film = tmp_path / "film"
    mediagit("init", film)
    (film / "rushes.mov").write_bytes(os.urandom(MEDIA))
    (film / "notes.txt").write_text("cut on action")
    mediagit("add", ".", cwd=film)
    mediagit("commit", "-m", "First cut", cwd=film)
    mediagit("remote", "add", "origin", url, cwd=film)
    mediagit("push", "-u", "origin", "main", cwd=film)
    reads(relay)
    direct = {"MEDIAGIT_DIRECT": "off"}  # straight from the store, nothing would pass through the server
    mediagit("clone", url, tmp_path / "cold", env=direct)
    assert reads(relay) >= MEDIA // (4 << 20)
    mediagit("clone", url, tmp_path / "warm", env=direct)
    assert reads(relay) == 0
    other = start("--workers", "2", "--cache", str(cache))
    mediagit("clone", other, tmp_path / "other", env=direct)
    assert reads(relay) == 0
    for path in cache.rglob("*.*"):
        if path.is_file() and path.stat().st_size > 1000:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
    mediagit("clone", url, tmp_path / "mended", env=direct)
    assert reads(relay) > 0
    for copy in ("cold", "warm", "other", "mended"):
        assert content(tmp_path / copy) == content(film)
    shutil.rmtree(cache)
    assert mediagit("clone", url, tmp_path / "bare", env=direct).returncode == 0


def test_a_cache_before_a_server_whose_clients_go_straight_to_the_bucket(
    start: Callable[..., str], serve: Callable[..., str], relay: Relay, mediagit: Run, tmp_path: Path
) -> None:
    main = start()
    cache = serve(main.removesuffix(PROJECT), tmp_path / "cache") + PROJECT
    film = tmp_path / "film"
    mediagit("init", film)
    (film / "rushes.mov").write_bytes(os.urandom(MEDIA))
    mediagit("add", ".", cwd=film)
    mediagit("commit", "-m", "First cut", cwd=film)
    mediagit("remote", "add", "origin", cache, cwd=film)
    mediagit("push", "-u", "origin", "main", cwd=film)
    reads(relay)
    mediagit("clone", cache, tmp_path / "cold")
    assert reads(relay) > 0
    mediagit("clone", cache, tmp_path / "warm")
    assert reads(relay) == 0  # neither the main server nor the client went there
    assert content(tmp_path / "cold") == content(tmp_path / "warm") == content(film)
    mediagit("clone", main, tmp_path / "straight")
    assert reads(relay) > 0
    assert content(tmp_path / "straight") == content(film)
