"""What every test stands on: no skip goes unnoticed, a user of one's own, deterministic examples, real media and real processes."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import IO

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

ALLOWED_SKIPS = (
    r"root may read and write anything",  # permission tests mean nothing for uid 0
    r"needs Linux",  # syncfs, /proc and namespaces
    r"this file system (folds letter case|rewrites names)",  # collision tests need both names to exist
)
"""The reasons for which a test may be skipped, as regular expressions. Any other skip is a failure, here and in CI."""

pytest.register_assert_rewrite("tests.contract.clauses")

settings.register_profile(
    "ci", derandomize=True, deadline=None, database=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", deadline=None, max_examples=3000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")  # pytest --hypothesis-profile=deep looks further

PASSPHRASE = "correct horse battery staple"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip for an unlisted reason into a failure."""
    report = yield
    _refuse_unlisted_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a module that skips itself for an unlisted reason into a failure."""
    report = yield
    _refuse_unlisted_skip(report)
    return report


def _refuse_unlisted_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(re.search(allowed, reason) for allowed in ALLOWED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"{reason}\nThis reason is not in ALLOWED_SKIPS of tests/conftest.py."


@pytest.fixture(autouse=True)
def own_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a MEDIAGIT_HOME of its own, and keep the developer's settings and keyring out of it."""
    for name in [name for name in os.environ if name.startswith("MEDIAGIT_")]:
        monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("MEDIAGIT_HOME", str(home))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    return home


@pytest.fixture
def mediagit(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the installed `mediagit`; returns the completed process, and fails the test unless it exits as expected.

    Call as `mediagit("add", ".", cwd=folder, exit_code=0, passphrase=..., env={...})`.
    """

    def run(
        *arguments: str | Path,
        cwd: Path = tmp_path,
        exit_code: int | None = 0,
        passphrase: str | None = PASSPHRASE,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **(env or {})}
        if passphrase is not None:
            environment.setdefault("MEDIAGIT_PASSPHRASE", passphrase)
        command = [installed("mediagit"), *map(str, arguments)]
        result = subprocess.run(
            command, cwd=cwd, env=environment, text=True, capture_output=True, check=False, stdin=subprocess.DEVNULL
        )
        if exit_code is not None and result.returncode != exit_code:
            pytest.fail(f"{command[1:]} exited {result.returncode}, not {exit_code}\n{result.stdout}\n{result.stderr}")
        return result

    return run


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start `mediagit-server` on a free loopback port and return its address; stops it when the test ends.

    Call as `serve()`, or `serve(storage, "--workers", "2", env={...})`.
    """
    running: list[subprocess.Popen[str]] = []

    def start(storage: Path | None = None, *options: str, env: Mapping[str, str] | None = None) -> str:
        environment = {**os.environ, **(env or {})}
        access = () if "MEDIAGIT_API_KEY" in environment else ("--no-auth",)
        command = [
            installed("mediagit-server"),
            "--storage",
            str(storage or tmp_path / "srv"),
            "--port",
            "0",
            *access,
            *options,
        ]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        running.append(process)
        return server_address(process)

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(timeout=20)


def server_address(process: "subprocess.Popen[str]") -> str:
    """Wait for a server's line `Listening on ...` and return the address; its later output is read and dropped."""
    if process.stdout is None:
        raise AssertionError
    seen = []
    for line in process.stdout:
        seen.append(line)
        if found := re.search(r"Listening on (http\S+)", line):
            threading.Thread(target=_drop, args=(process.stdout,), daemon=True).start()
            return found[1]
    pytest.fail("mediagit-server ended before it listened:\n" + "".join(seen))


def _drop(output: IO[str]) -> None:
    with output:
        output.read()


def installed(command: str) -> str:
    """Return the path of a command that was installed beside this interpreter."""
    return str(Path(sys.executable).parent / command)


@pytest.fixture(scope="session")
def media_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small media project (6 MB, fifteen formats) from real encoders. Shared: copy it before changing it."""
    from tests import media

    root = tmp_path_factory.mktemp("media") / "film"
    media.make_project(root, detail=0.05)
    return root
