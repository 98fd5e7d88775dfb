"""Azurite, Microsoft's emulator of Azure Blob Storage: how to get it, and how to run it for tests.

It checks keys, conditions, checksums, tiers and block lists as Azure does. It does not throttle, gives an archived blob
back at once when its tier is changed, and looks at a token's times, issuer and audience, not at its signature.
"""

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from azure.storage.blob import BlobServiceClient

from tests.services.certificates import Certificate
from tests.services.ports import process

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account and the key that Azurite's documentation publishes; they open nothing else."""

_ADDRESS = re.compile(r"successfully listens on https?://127\.0\.0\.1:(\d+)")


@dataclass(frozen=True)
class Azurite:
    """Where it is, whom it lets in, and in which database its metadata are, if in any."""

    endpoint: str
    account_name: str = ACCOUNT
    account_key: str = KEY
    database: str | None = None

    def make_container(self, name: str) -> None:
        """Make an empty container."""
        with BlobServiceClient(self.endpoint, credential={"account_name": ACCOUNT, "account_key": KEY}) as service:
            service.create_container(name).close()


def install(folder: Path) -> None:
    """Fetch it into `folder`; needs npm, and does nothing when the same is there."""
    wanted = Path(__file__).with_name("azurite_npm")
    home = folder / "azurite"
    there = home / "there.json"
    lock = (wanted / "package-lock.json").read_bytes()
    if there.exists() and there.read_bytes() == lock:
        return
    home.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(wanted / name, home / name)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    subprocess.run(command, cwd=home, check=True)
    there.write_bytes(lock)  # last, so that what was broken off is fetched again


@contextlib.contextmanager
def running(
    folder: Path, scratch: Path, certificate: Certificate | None = None, *, database: str | None = None
) -> Iterator[Azurite]:
    """Run it on a port that it chooses, with its data in `scratch`.

    Args:
        folder: what `install` filled.
        scratch: an empty folder.
        certificate: serve HTTPS with this one, and take tokens besides the key.
        database: the address of a PostgreSQL database for its metadata; in a file of its own without it.
    """
    if not _program(folder).exists():
        raise RuntimeError("Azurite is not there: run `make services`")
    data = scratch / "data"
    data.mkdir()
    log = scratch / "log"
    secure: list[str | Path] = []
    if certificate is not None:
        secure = ["--oauth", "basic", "--cert", certificate.path, "--key", certificate.key_path]
    kept = [] if database is None else ["env", f"AZURITE_DB={database.replace('postgresql:', 'postgres:')}"]
    command: list[str | Path] = [
        *kept,
        _program(folder),
        "--blobHost",
        "127.0.0.1",
        "--blobPort",
        "0",
        "--location",
        data,
        "--silent",
        "--disableTelemetry",
        "--skipApiVersionCheck",
        *secure,
    ]
    with process(command, log, lambda: _address(log) is not None):
        scheme = "https" if certificate else "http"
        yield Azurite(f"{scheme}://127.0.0.1:{_address(log)}/{ACCOUNT}", database=database)


def _address(log: Path) -> str | None:
    found = _ADDRESS.search(log.read_text(errors="replace"))
    return found[1] if found else None


def _program(folder: Path) -> Path:
    return folder / "azurite" / "node_modules" / ".bin" / "azurite-blob"
