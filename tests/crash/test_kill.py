"""SIGKILL at any point, then the same command again: it succeeds, nothing is lost, and little is done twice."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from blake3 import blake3

from tests.conftest import installed
from tests.integration.proxy import Proxy
from tests.prepared import MIB, copy_of, environment_of, run_installed, running_server
from tests.snapshot import Snapshot, snapshot

pytestmark = pytest.mark.slow

Mediagit = Callable[..., subprocess.CompletedProcess[str]]

LARGE = {"rushes/day 1.mov": 12 * MIB, "rushes/day 2.mov": 8 * MIB, "sound.wav": 4 * MIB}
"""Content that neither deduplicates nor compresses; all transfers are of about the sum of it."""
SMALL_PACKS = {"MEDIAGIT_CORE__PACK_SIZE": "4MiB"}
URL_PATH = "/studio/film"

points = random.Random(20_251_121)


def some(count: int) -> list[float]:
    """Return random points between the start of a piece of work (0) and its end (1), the same in every run."""
    return [round((number + points.uniform(0.05, 0.95)) / count, 2) for number in range(count)]


ADD_AT, PUSH_AT, FETCH_AT, CLONE_AT, SWITCH_AT = some(3), some(3), some(2), some(2), some(2)

KILL_AT_STEP = """
import os, signal, sys
from mediavault_backends import fsio

left, counted = int(sys.argv.pop(1)), sys.argv.pop(1)
seen = 0

def step(_):
    global seen
    seen += 1
    if seen == left:
        os.kill(os.getpid(), signal.SIGKILL)

from mediavault.cli.main import main
try:
    with fsio.observe(step):
        main()
finally:
    open(counted, "w").write(str(seen))
"""
"""Runs mediagit, and kills it before the given durable step; or writes down how many there were."""


@dataclass(frozen=True)
class Film:
    """A project on Ann's computer and on a server's storage. Tests take copies.

    `empty` is her repository before the first commit, `project` after two (`main`, then `grade`, checked out: main).
    `main` and `grade` are what their trees hold; `up` and `down` the bytes of a whole push and fetch.
    """

    home: Path
    empty: Path
    project: Path
    storage: Path
    main: Snapshot
    grade: Snapshot
    seconds: Mapping[str, float]
    up: int
    down: int


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Make the project once, and measure what whole runs take."""
    root = tmp_path_factory.mktemp("film")
    home, project, storage = root / "home", root / "project", root / "srv"
    environment = environment_of(home)
    seconds = {}

    def run(*arguments: str, cwd: Path = project) -> None:
        started = time.monotonic()
        run_installed(*arguments, cwd=cwd, env=environment)
        seconds[arguments[0]] = time.monotonic() - started

    project.mkdir()
    run("init")
    shutil.copytree(project, root / "empty")
    _shoot(project)
    run("add", ".")
    run("commit", "-m", "First cut")
    main = snapshot(project)
    run("switch", "-c", "grade")
    _grade(project)
    run("add", ".")
    run("commit", "-m", "Grade")
    grade = snapshot(project)
    run("switch", "main")
    with running_server(storage, environment) as url, Proxy(url) as proxy:
        run("remote", "add", "origin", proxy.url + URL_PATH)
        run("push", "-u", "origin", "main")
        up, before = proxy.up, proxy.down
        run("-C", str(root / "empty"), "remote", "add", "origin", proxy.url + URL_PATH)
        shutil.copytree(root / "empty", root / "fetched")
        run("fetch", cwd=root / "fetched")
        down = proxy.down - before
    assert up > 0.9 * sum(LARGE.values())
    assert down > 0.9 * sum(LARGE.values())
    return Film(home, root / "empty", project, storage, main, grade, seconds, up, down)


@pytest.fixture
def mediagit(mediagit: Mediagit) -> Mediagit:
    """Run commands without a passphrase: Ann has the repository unlocked."""
    return partial(mediagit, passphrase=None)


@pytest.fixture(autouse=True)
def ann(film: Film, own_user: Path) -> None:
    """Let the test's user be Ann, who has the repository unlocked."""
    shutil.copytree(film.home, own_user, dirs_exist_ok=True)


def _shoot(project: Path) -> None:
    for name, size in LARGE.items():
        _write(project / name, blake3(name.encode()).digest(size))
    for number in range(120):
        _write(project / f"frames/{number % 7}/ü{number:04}.txt", f"frame {number}\n".encode() * (number % 40))
    _write(project / "render.sh", b"#!/bin/sh\n")
    (project / "render.sh").chmod(0o755)
    (project / "latest.mov").symlink_to("rushes/day 2.mov")


def _grade(project: Path) -> None:
    for number in range(0, 120, 2):
        _write(project / f"frames/{number % 7}/ü{number:04}.txt", f"graded {number}\n".encode() * (number % 50))
    shutil.rmtree(project / "frames/3")
    _write(project / "frames/3", b"a file where a folder was\n")
    _write(project / "luts/warm.cube", blake3(b"warm").digest(MIB))
    with (project / "sound.wav").open("r+b") as file:
        file.seek(MIB)
        file.write(b"louder")
    (project / "render.sh").chmod(0o644)
    (project / "latest.mov").unlink()
    (project / "latest.mov").symlink_to("rushes/day 1.mov")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def start(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """Start the installed mediagit, at a low priority, so that whoever is to kill it comes in time."""
    return subprocess.Popen(
        ["nice", "-n", "19", installed("mediagit"), *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def killed(process: "subprocess.Popen[bytes]", when: Callable[[], bool]) -> bool:
    """Kill a process as soon as `when` holds; tell whether that came before its end."""
    while process.poll() is None:
        if when():
            process.kill()
            break
        time.sleep(0.0005)
    return process.wait(timeout=60) == -signal.SIGKILL


def killed_by(
    proxy: Proxy, way: str, after: float, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> None:
    """Run mediagit, and kill it when so many bytes went one way; the kill must come before its end."""
    process = start(*arguments, cwd=cwd, env=env)

    def watch(total: int) -> bool:
        if total >= after:
            os.kill(process.pid, signal.SIGKILL)
        return total < after

    setattr(proxy, f"on_{way}", watch)
    assert process.wait(timeout=60) == -signal.SIGKILL
    setattr(proxy, f"on_{way}", lambda _: True)


def has_stored(store: Path, size: int) -> bool:
    """Tell whether there are more than `size` bytes in the files of a store, finished or not."""
    total = 0
    for folder, _, names in os.walk(store):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(folder, name)).st_size  # noqa: PTH116, PTH118 -- called in a busy loop
    return total > size


def is_whole(mediagit: Mediagit, project: Path) -> None:
    """Check that everything in a repository is intact."""
    report = json.loads(mediagit("verify", "--json", cwd=project).stdout)
    assert not report["damage"]


def restored(mediagit: Mediagit, project: Path, source: str) -> Snapshot:
    """Return what a commit holds, read from the repository into an empty working tree."""
    for entry in project.iterdir():
        if entry.name != ".mediagit":
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    mediagit("restore", "--source", source, "--staged", "--worktree", "--", ".", cwd=project)
    return snapshot(project)


# ------------------------------------------------------------------------------------------------ add


@pytest.mark.parametrize("at", ADD_AT)
def test_add_is_killed_anywhere(film: Film, mediagit: Mediagit, tmp_path: Path, at: float) -> None:
    project = copy_of(film.project, tmp_path / "project")
    shutil.rmtree(project / ".mediagit")
    copy_of(film.empty / ".mediagit", project / ".mediagit")
    end = time.monotonic() + at * film.seconds["add"]
    killed(start("add", ".", cwd=project, env=SMALL_PACKS), lambda: time.monotonic() > end)
    mediagit("add", ".", cwd=project)
    mediagit("commit", "-m", "All", cwd=project)
    is_whole(mediagit, project)
    assert restored(mediagit, project, "HEAD") == film.main


def test_add_killed_at_half_goes_on_from_there(film: Film, mediagit: Mediagit, tmp_path: Path) -> None:
    half = sum(LARGE.values()) // 2
    for attempt in range(5):
        project = copy_of(film.project, tmp_path / f"project-{attempt}")
        shutil.rmtree(project / ".mediagit")
        copy_of(film.empty / ".mediagit", project / ".mediagit")
        if killed(start("add", ".", cwd=project), partial(has_stored, project / ".mediagit/store", half)):
            break
    else:
        pytest.fail("add ended before it could be killed")
    report = json.loads(mediagit("add", "--json", ".", cwd=project).stdout)
    assert report["bytes_stored"] < 0.6 * sum(LARGE.values())
    mediagit("commit", "-m", "All", cwd=project)
    is_whole(mediagit, project)
    assert restored(mediagit, project, "HEAD") == film.main


# ----------------------------------------------------------------------------------------------- push


@pytest.mark.parametrize("at", PUSH_AT)
def test_push_is_killed_anywhere(
    film: Film, mediagit: Mediagit, serve: Callable[..., str], tmp_path: Path, at: float
) -> None:
    project = copy_of(film.project, tmp_path / "project")
    with Proxy(serve()) as proxy:
        mediagit("remote", "add", "other", proxy.url + URL_PATH, cwd=project)
        killed_by(proxy, "up", at * film.up, "push", "other", "main", cwd=project, env=SMALL_PACKS)
        mediagit("push", "other", "main", cwd=project)
        is_whole(mediagit, project)
        mediagit("verify", "--remote", "other", cwd=project)
        mediagit("clone", proxy.url + URL_PATH, "copy")
    assert snapshot(tmp_path / "copy") == film.main


def test_push_killed_at_half_sends_the_rest(
    film: Film, mediagit: Mediagit, serve: Callable[..., str], tmp_path: Path
) -> None:
    project = copy_of(film.project, tmp_path / "project")
    with Proxy(serve()) as proxy:
        mediagit("remote", "add", "other", proxy.url + URL_PATH, cwd=project)
        killed_by(proxy, "up", film.up // 2, "push", "other", "main", cwd=project)
        first = proxy.up
        mediagit("push", "other", "main", cwd=project)
        assert proxy.up - first < 0.6 * film.up
        mediagit("verify", "--remote", "other", cwd=project)


# ---------------------------------------------------------------------------------------------- fetch


@pytest.mark.parametrize("at", FETCH_AT)
def test_fetch_is_killed_anywhere(
    film: Film, mediagit: Mediagit, serve: Callable[..., str], tmp_path: Path, at: float
) -> None:
    project = copy_of(film.empty, tmp_path / "project")
    with Proxy(serve(film.storage)) as proxy:
        mediagit("remote", "add", "other", proxy.url + URL_PATH, cwd=project)
        killed_by(proxy, "down", at * film.down, "fetch", "other", cwd=project, env=SMALL_PACKS)
        mediagit("fetch", "other", cwd=project)
    is_whole(mediagit, project)
    assert restored(mediagit, project, "other/main") == film.main


def test_fetch_killed_at_half_receives_the_rest(
    film: Film, mediagit: Mediagit, serve: Callable[..., str], tmp_path: Path
) -> None:
    project = copy_of(film.empty, tmp_path / "project")
    with Proxy(serve(film.storage)) as proxy:
        mediagit("remote", "add", "other", proxy.url + URL_PATH, cwd=project)
        killed_by(proxy, "down", film.down // 2, "fetch", "other", cwd=project)
        first = proxy.down
        mediagit("fetch", "other", cwd=project)
        assert proxy.down - first < 0.6 * film.down
    assert restored(mediagit, project, "other/main") == film.main


# ---------------------------------------------------------------------------------------------- clone


@pytest.mark.parametrize("at", CLONE_AT)
def test_clone_is_killed_anywhere(
    film: Film, mediagit: Mediagit, serve: Callable[..., str], tmp_path: Path, at: float
) -> None:
    with Proxy(serve(film.storage)) as proxy:
        arguments = ("clone", proxy.url + URL_PATH, "copy")
        killed_by(proxy, "down", at * film.down, *arguments, cwd=tmp_path)
        mediagit(*arguments)
    is_whole(mediagit, tmp_path / "copy")
    assert snapshot(tmp_path / "copy") == film.main


def test_clone_killed_at_half_receives_the_rest(
    film: Film, mediagit: Mediagit, serve: Callable[..., str], tmp_path: Path
) -> None:
    with Proxy(serve(film.storage)) as proxy:
        arguments = ("clone", proxy.url + URL_PATH, "copy")
        killed_by(proxy, "down", film.down // 2, *arguments, cwd=tmp_path)
        first = proxy.down
        mediagit(*arguments)
        assert proxy.down - first < 0.6 * film.down
    assert snapshot(tmp_path / "copy") == film.main


@pytest.mark.parametrize("at", [0.35, 0.8, 0.99])
def test_clone_is_killed_before_a_durable_step(
    film: Film, mediagit: Mediagit, serve: Callable[..., str], tmp_path: Path, at: float
) -> None:
    url = serve(film.storage) + URL_PATH
    whole = steps("clone", url, "whole", cwd=tmp_path)
    killed_at_step(max(1, int(at * whole)), "clone", url, "copy", cwd=tmp_path)
    mediagit("clone", url, "copy")
    is_whole(mediagit, tmp_path / "copy")
    assert snapshot(tmp_path / "copy") == film.main
    assert json.loads(mediagit("status", "--json", cwd=tmp_path / "copy").stdout)["modified"] == []


# --------------------------------------------------------------------------------------------- switch


@pytest.mark.parametrize("at", SWITCH_AT)
def test_switch_is_killed_anywhere(film: Film, mediagit: Mediagit, tmp_path: Path, at: float) -> None:
    project = copy_of(film.project, tmp_path / "project")
    mediagit("status", cwd=project)
    end = time.monotonic() + at * film.seconds["switch"]
    killed(start("switch", "grade", cwd=project), lambda: time.monotonic() > end)
    goes_on_after_switch(film, mediagit, project)


def test_switch_is_killed_before_durable_steps(film: Film, mediagit: Mediagit, tmp_path: Path) -> None:
    project = copy_of(film.project, tmp_path / "counted")
    mediagit("status", cwd=project)
    whole = steps("switch", "grade", cwd=project)
    assert snapshot(project) == film.grade
    assert whole > 60
    for number in sorted({1, whole, *random.Random(whole).sample(range(2, whole), 6)}):
        project = copy_of(film.project, tmp_path / f"project-{number}")
        mediagit("status", cwd=project)
        killed_at_step(number, "switch", "grade", cwd=project)
        goes_on_after_switch(film, mediagit, project)


def goes_on_after_switch(film: Film, mediagit: Mediagit, project: Path) -> None:
    """Check that the next command finds the old or the new tree, whole, and that switching again gives the new one."""
    status = json.loads(mediagit("status", "--json", cwd=project).stdout)
    assert snapshot(project) == {"main": film.main, "grade": film.grade}[status["branch"]]
    assert not any(status[key] for key in ("staged", "modified", "deleted", "untracked"))
    mediagit("switch", "grade", cwd=project)
    assert snapshot(project) == film.grade
    is_whole(mediagit, project)


def steps(*arguments: str, cwd: Path) -> int:
    """Run mediagit and return how many durable steps it took."""
    counted = cwd.parent / f"{cwd.name}-steps"
    run_steps("0", str(counted), *arguments, cwd=cwd, code=0)
    return int(counted.read_text())


def killed_at_step(number: int, *arguments: str, cwd: Path) -> None:
    """Run mediagit and kill it before a durable step takes effect."""
    run_steps(str(number), os.devnull, *arguments, cwd=cwd, code=-signal.SIGKILL)


def run_steps(*arguments: str, cwd: Path, code: int) -> None:
    result = subprocess.run(
        [sys.executable, "-c", KILL_AT_STEP, *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == code, result.stdout + result.stderr
