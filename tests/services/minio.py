"""MinIO, an S3 service: how to get it, and how to run it for tests."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import urllib3

from tests.services.ports import free_ports, process
from tests.services.seaweed import Server

MODULE = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
"""The project's last state; it is archived. As a Go module its releases have no versions of their own."""


def install(folder: Path) -> None:
    """Build it into `folder`; needs Go, takes minutes, and does nothing when it is there."""
    if _program(folder).exists():
        return
    go = shutil.which("go")
    if go is None:
        raise RuntimeError("MinIO is built from source: install Go 1.24 or newer")
    binaries = (folder / "bin").absolute()
    binaries.mkdir(parents=True, exist_ok=True)
    subprocess.run([go, "install", MODULE], check=True, env={**os.environ, "GOBIN": str(binaries)})


@contextlib.contextmanager
def running(folder: Path, scratch: Path) -> Iterator[Server]:
    """Run it on free ports, with its data in `scratch`.

    Args:
        folder: what `install` filled.
        scratch: an empty folder.
    """
    if not _program(folder).exists():
        raise RuntimeError("MinIO is not there: run `make services`")
    port, console = free_ports(2)
    endpoint = f"http://127.0.0.1:{port}"
    command: list[str | Path] = [
        "env",
        "MINIO_ROOT_USER=tester",
        "MINIO_ROOT_PASSWORD=only-for-tests",
        "MINIO_KMS_SECRET_KEY=tests:3L3GyWdVHRLSBgkk+pcCgzGl2Xm3Km5ByKtGGQ4kQjI=",
        _program(folder),
        "server",
        scratch / "data",
        "--address",
        f"127.0.0.1:{port}",
        "--console-address",
        f"127.0.0.1:{console}",
    ]
    with process(command, scratch / "log", lambda: _healthy(endpoint)):
        yield Server(endpoint, "tester", "only-for-tests", "minio")


def _healthy(endpoint: str) -> bool:
    with urllib3.PoolManager(retries=False, timeout=2.0) as pool:
        try:
            return pool.request("GET", f"{endpoint}/minio/health/ready").status == 200
        except urllib3.exceptions.HTTPError:
            return False


def _program(folder: Path) -> Path:
    return folder / "bin" / "minio"
