"""Servers as real processes on free loopback ports, and the clients that talk to them."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from mediavault.wire.client import HttpRemote
from tests.integration.studio import QUICK


class Server:
    """A running `mediagit-server`."""

    def __init__(self, command: list[str], env: Mapping[str, str], output: Path, storage: Path) -> None:
        self._output = output
        self.storage = storage
        with output.open("w") as file:
            self.process = subprocess.Popen(command, env=env, stdout=file, stderr=subprocess.STDOUT)
        self.url = self._address()

    @property
    def output(self) -> str:
        return self._output.read_text()

    def kill(self) -> None:
        """Stop it as a crash would."""
        self.process.kill()
        self.process.wait(timeout=20)

    def stop(self) -> int:
        """Ask it to stop, and return its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=40)

    def _address(self) -> str:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := re.search(r"^Listening on (http\S+)$", self.output, re.MULTILINE):
                return found[1]
            time.sleep(0.02)
        self.process.kill()
        raise AssertionError(f"mediagit-server does not listen:\n{self.output}")


def launch(storage: Path, output: Path, *options: str, env: Mapping[str, str] | None = None) -> Server:
    """Start a server on a free port of this computer."""
    command = [sys.executable, "-m", "mediavault_server.main", "--storage", str(storage), "--port", "0", *options]
    return Server(command, {**os.environ, **(env or {})}, output, storage)


STORAGE = "srv"


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Where the servers of one test keep everything."""
    return tmp_path / STORAGE


@pytest.fixture
def start_server(storage: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers on the test's storage; those that still run at its end are stopped."""
    running: list[Server] = []

    def start(*options: str, env: Mapping[str, str] | None = None, auth: bool = False) -> Server:
        access = () if auth else ("--no-auth",)
        running.append(launch(storage, tmp_path / f"server-{len(running)}.log", *access, *options, env=env))
        return running[-1]

    yield start
    for server in running:
        if server.process.poll() is None:
            server.process.terminate()
    for server in running:
        server.process.wait(timeout=40)


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for a module whose tests use a project each."""
    folder = tmp_path_factory.mktemp("shared")
    server = launch(folder / "srv", folder / "server.log", "--no-auth")
    yield server
    assert server.stop() == 0, server.output


@pytest.fixture
def connect() -> Iterator[Callable[..., HttpRemote]]:
    """Open the project `studio/film` at a server's address."""
    opened: list[HttpRemote] = []

    def open_remote(
        url: str, project: str = "/studio/film", *, api_key: str = "", stall_timeout: float = QUICK.stall_timeout
    ) -> HttpRemote:
        patience = replace(QUICK, stall_timeout=stall_timeout)
        remote = HttpRemote(url + project, api_key=api_key, patience=patience)
        opened.append(remote)
        return remote

    yield open_remote
    for remote in opened:
        remote.close()
