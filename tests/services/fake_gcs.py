"""fake-gcs-server, an emulator of Google Cloud Storage: how to get it, and how to run it for tests.

It checks generations and declared checksums of uploads. It checks no credentials, knows no quotas and no billing, and
takes any name for a storage class; what those do is shown by recorders.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import urllib3

from tests.services.ports import free_ports, process

MODULE = "github.com/fsouza/fake-gcs-server@v1.56.1"


@dataclass(frozen=True)
class FakeGcs:
    """Where it is."""

    endpoint: str

    def make_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        with urllib3.PoolManager() as pool:
            body = json.dumps({"name": name}).encode()
            answer = pool.request("POST", f"{self.endpoint}/storage/v1/b", body=body)
            assert answer.status == 200, answer.data

    def attributes(self, bucket: str, name: str) -> dict[str, object]:
        """Return what it knows of an object."""
        with urllib3.PoolManager() as pool:
            quoted = name.replace("%", "%25").replace("/", "%2F")
            answer = pool.request("GET", f"{self.endpoint}/storage/v1/b/{bucket}/o/{quoted}")
            assert answer.status == 200, answer.data
            found: dict[str, object] = answer.json()
            return found


def install(folder: Path) -> None:
    """Build it into `folder`; needs Go, and does nothing when it is there."""
    if _program(folder).exists():
        return
    binaries = folder.absolute() / "bin"
    binaries.mkdir(parents=True, exist_ok=True)
    subprocess.run(["nice", "go", "install", MODULE], env={**os.environ, "GOBIN": str(binaries)}, check=True)


@contextlib.contextmanager
def running(folder: Path, scratch: Path, *, objects: Path | None = None) -> Iterator[FakeGcs]:
    """Run it on a free port.

    Args:
        folder: what `install` filled.
        scratch: a folder for its log.
        objects: an empty folder for its data; they are in memory without it.
    """
    if not _program(folder).exists():
        raise RuntimeError("fake-gcs-server is not there: run `make services`")
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    kept: list[str | Path] = ["-backend=memory"]
    if objects is not None:
        kept = ["-backend=filesystem", "-filesystem-root", objects]
    command: list[str | Path] = [
        _program(folder),
        *kept,
        "-scheme=http",
        "-host=127.0.0.1",
        f"-port={port}",
        f"-external-url={endpoint}",
        f"-public-host=127.0.0.1:{port}",
        "-log-level=error",
    ]
    with process(command, scratch / "log", lambda: _healthy(endpoint)):
        yield FakeGcs(endpoint)


def _healthy(endpoint: str) -> bool:
    with urllib3.PoolManager(retries=False, timeout=2.0) as pool:
        try:
            return pool.request("GET", f"{endpoint}/storage/v1/b").status == 200
        except urllib3.exceptions.HTTPError:
            return False


def _program(folder: Path) -> Path:
    return folder / "bin" / "fake-gcs-server"
