"""PostgreSQL, a database: Debian's, run for tests by its own user, because it refuses root."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, exc, pool

from tests.services.ports import free_ports, process

PASSWORD = "only-for-tests"


@contextlib.contextmanager
def running(scratch: Path) -> Iterator[str]:
    """Run it on a free port; gives the address of an empty database.

    Args:
        scratch: a folder for its log. Its data are beside, where its own user gets to.
    """
    programs = _programs()
    owner: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="mediagit-postgres-") as folder:
        data, secret = Path(folder) / "data", Path(folder) / "secret"
        secret.write_text(PASSWORD)
        if owner:
            for path in (folder, secret):
                shutil.chown(path, "postgres", "postgres")
        make: list[str | Path] = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "studio",
            "-A",
            "scram-sha-256",
            f"--pwfile={secret}",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run(make, check=True, capture_output=True, cwd=folder, **owner)
        command: list[str | Path] = [
            "env",
            programs / "postgres",
            "-D",
            data,
            "-p",
            str(port),
            "-k",
            folder,
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "max_connections=200",
        ]
        url = f"postgresql://studio:{PASSWORD}@127.0.0.1:{port}/postgres"
        with process(command, scratch / "log", lambda: _answers(url), **owner):
            yield url


def _programs() -> Path:
    """Return the newest installation's folder.

    Raises:
        RuntimeError: there is none.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    where = found[-1] if found else shutil.which("initdb")
    if where is None:
        raise RuntimeError("PostgreSQL is not there: apt install postgresql")
    return Path(where).parent


def _answers(url: str) -> bool:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=pool.NullPool)
    try:
        engine.connect().close()
    except exc.OperationalError:
        return False
    return True
