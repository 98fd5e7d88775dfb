"""What module fixtures need to prepare projects and servers once with the installed commands, and tests to copy them."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.conftest import PASSPHRASE, installed, server_address

MIB = 1 << 20


def environment_of(home: Path) -> dict[str, str]:
    """Return the environment of a user whose settings and keys are in `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDIAGIT_")}
    return kept | {
        "MEDIAGIT_HOME": str(home),
        "MEDIAGIT_PASSPHRASE": PASSPHRASE,
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }


def run_installed(*arguments: str, cwd: Path, env: Mapping[str, str]) -> None:
    """Run the installed mediagit, which must succeed."""
    command = [installed("mediagit"), *arguments]
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@contextlib.contextmanager
def running_server(storage: Path, env: Mapping[str, str]) -> Iterator[str]:
    """Run mediagit-server on a storage, and give its address."""
    command = [installed("mediagit-server"), "--storage", str(storage), "--port", "0", "--no-auth"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield server_address(process)
    finally:
        process.terminate()
        process.wait(timeout=20)


def copy_of(source: Path, target: Path) -> Path:
    """Copy a project or a storage; large contents are shared by hard links, since nothing writes into them."""

    def copy_file(old: str, new: str) -> None:
        if Path(old).stat().st_size > MIB:
            os.link(old, new)
        else:
            shutil.copy2(old, new)

    return Path(shutil.copytree(source, target, copy_function=copy_file, symlinks=True))
