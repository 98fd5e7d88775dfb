"""Two stores as one under servers and processes that are real: stores that go away, servers that are killed."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from mediavault.errors import MediaVaultError
from mediavault.wire.client import HttpRemote
from mediavault_backends.local import LocalBackend
from mediavault_backends.multi import Mode
from tests.contract.pairs import contents, pair_of
from tests.integration.conftest import Server
from tests.integration.studio import Studio, noise

Connect = Callable[..., HttpRemote]
Start = Callable[..., Server]
PATIENCE = 120.0
"""Seconds that a second store may take to follow; usually it is one or two."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a server over the folders `fast` and `safe`."""
    running: list[Server] = []

    def launch(mode: Mode, *options: str) -> Server:
        config = tmp_path / "server.toml"
        config.write_text(
            f"""
            [storage]
            backend = "multi"
            [storage.multi]
            primary = "fast"
            secondary = "safe"
            mode = "{mode}"
            [storage.multi.fast]
            backend = "local"
            path = "{tmp_path / "fast"}"
            [storage.multi.safe]
            backend = "local"
            path = "{tmp_path / "safe"}"
            """
        )
        command = [sys.executable, "-m", "mediavault_server.main", "--config", str(config), "--port", "0", "--no-auth"]
        command += options
        log = tmp_path / f"server-{len(running)}.log"
        running.append(Server(command, os.environ, log, tmp_path / "fast"))
        return running[-1]

    yield launch
    for server in running:
        if server.process.poll() is None:
            server.process.terminate()
    for server in running:
        server.process.wait(timeout=40)


def health(server: Server) -> dict[str, str]:
    with urllib.request.urlopen(f"{server.url}/readyz", timeout=30) as answer:
        checks: dict[str, str] = json.load(answer)["checks"]
        return checks


def wait_until_level(server: Server) -> None:
    deadline = time.monotonic() + PATIENCE
    while (state := health(server))["storage_secondary"] != "ok":
        assert time.monotonic() < deadline, f"{state}\n{server.output}"
        time.sleep(0.05)


def take_away(folder: Path) -> None:
    """Make a folder unreadable, for root too: it becomes a link to itself."""
    folder.rename(folder.with_name(f"{folder.name}-away"))
    folder.symlink_to(folder.name)


def bring_back(folder: Path) -> None:
    folder.unlink()
    folder.with_name(f"{folder.name}-away").rename(folder)


def stored(folder: Path) -> dict[str, bytes]:
    return contents(LocalBackend(folder))


@pytest.mark.parametrize("mode", get_args(Mode))
def test_a_clone_works_without_the_primary(tmp_path: Path, start: Start, connect: Connect, mode: Mode) -> None:
    server = start(mode)
    ann = Studio(tmp_path / "ann")
    files = {"a.mov": noise(400_000, 1), "b.mov": noise(300_000, 2)}
    commit = ann.commit(files)
    ann.push(connect(server.url), commit)
    wait_until_level(server)
    assert stored(tmp_path / "safe") == stored(tmp_path / "fast")

    take_away(tmp_path / "fast")
    ben = Studio(tmp_path / "ben")
    ben.fetch(connect(server.url))
    assert ben.files(commit.id) == files
    assert health(server) == {"storage": "ok", "storage_secondary": "ok"}
    second = ann.commit({"c.mov": noise(100_000, 3)}, [commit.id])
    with pytest.raises(MediaVaultError):
        ann.push(connect(server.url), second)

    bring_back(tmp_path / "fast")
    ann.push(connect(server.url), second)
    wait_until_level(server)
    assert stored(tmp_path / "safe") == stored(tmp_path / "fast")


def test_a_push_goes_on_without_the_secondary_and_is_copied_later(
    tmp_path: Path, start: Start, connect: Connect
) -> None:
    server = start("async")
    ann = Studio(tmp_path / "ann")
    commit = ann.commit({"a.mov": noise(200_000, 1)})
    ann.push(connect(server.url), commit)
    wait_until_level(server)
    take_away(tmp_path / "safe")
    second = ann.commit({"a.mov": noise(300_000, 2)}, [commit.id])
    ann.push(connect(server.url), second)
    assert health(server)["storage"] == "ok"
    assert "behind" in health(server)["storage_secondary"]

    # What was to be copied is known to the next process too, even if this one is killed.
    server.kill()
    bring_back(tmp_path / "safe")
    before = stored(tmp_path / "safe")
    server = start("async")
    wait_until_level(server)
    after = stored(tmp_path / "safe")
    assert after == stored(tmp_path / "fast")
    assert len(after) > len(before)
    ben = Studio(tmp_path / "ben")
    ben.fetch(connect(server.url))
    assert ben.files(second.id).keys() == {"a.mov"}


@pytest.mark.parametrize("mode", get_args(Mode))
def test_several_processes_share_a_pair(tmp_path: Path, start: Start, connect: Connect, mode: Mode) -> None:
    server = start(mode, "--workers", "2")
    studios = [Studio(tmp_path / name, repository=f"repository-of-{name}".encode()) for name in ("an", "be")]
    files = {f"{number}.mov": noise(150_000, number) for number in range(3)}
    for studio in studios:
        project = f"/studio/{studio.folder.name}"
        commit = studio.commit(files)
        studio.push(connect(server.url, project), commit, pack_size=1 << 18)
        studio.push(connect(server.url, project), studio.commit({"a": b"a"}, [commit.id]))
    wait_until_level(server)
    assert stored(tmp_path / "safe") == stored(tmp_path / "fast")
    assert server.stop() == 0
    assert list((tmp_path / "fast" / ".tmp" / "journal").glob("*.journal")) == []


def test_mirror_refuses_what_it_cannot_keep_twice(tmp_path: Path, start: Start, connect: Connect) -> None:
    server = start("mirror")
    ann = Studio(tmp_path / "ann")
    commit = ann.commit({"a.mov": noise(200_000, 1)})
    ann.push(connect(server.url), commit)
    take_away(tmp_path / "safe")
    assert health(server) == {"storage": "ok", "storage_secondary": "does not answer"}
    second = ann.commit({"a.mov": noise(300_000, 2)}, [commit.id])
    with pytest.raises(MediaVaultError):
        ann.push(connect(server.url), second)
    bring_back(tmp_path / "safe")
    ann.push(connect(server.url), second)
    wait_until_level(server)
    assert stored(tmp_path / "safe") == stored(tmp_path / "fast")


def test_an_empty_secondary_is_filled(tmp_path: Path, start: Start, connect: Connect) -> None:
    server = start("async")
    ann = Studio(tmp_path / "ann")
    commit = ann.commit({"a.mov": noise(200_000, 1)})
    ann.push(connect(server.url), commit)
    wait_until_level(server)
    assert server.stop() == 0
    # The disk of the secondary is replaced by an empty one; that might as well be a mount that failed.
    (tmp_path / "safe").rename(tmp_path / "former")
    server = start("async")
    assert health(server) == {"storage": "ok", "storage_secondary": "TransientError"}
    assert server.stop() == 0
    (named,) = re.findall(r"remove (\S+) and start again", server.output)
    assert stored(tmp_path / "safe") == {}
    Path(named).unlink()
    server = start("async")
    wait_until_level(server)
    assert stored(tmp_path / "safe") == stored(tmp_path / "fast") == stored(tmp_path / "former")


def test_a_server_does_not_start_over_an_empty_disk(tmp_path: Path, start: Start, connect: Connect) -> None:
    server = start("async")
    ann = Studio(tmp_path / "ann")
    ann.push(connect(server.url), ann.commit({"a.mov": b"a"}))
    wait_until_level(server)
    assert server.stop() == 0
    (tmp_path / "fast").rename(tmp_path / "unmounted")
    with pytest.raises(AssertionError, match="is empty, and folder"):
        start("async")
    assert list((tmp_path / "safe").rglob("config"))


WRITER = """
import sys
from itertools import count
from pathlib import Path
from mediavault_backends.api import Absent
from mediavault_backends.local import LocalBackend
from tests.contract.pairs import pair_of

folder, mode = Path(sys.argv[1]), sys.argv[2]
stores = [LocalBackend(folder / name, create=True) for name in ("fast", "safe")]
pair = pair_of(folder / "journal", *stores, mode=mode)
for number in count():
    key = f"studio/film/index/{number:064x}"
    pair.put(key, key.encode(), when=Absent())
    if number % 3 == 2:
        pair.delete(key)
    print(number, flush=True)
"""


@pytest.mark.parametrize("mode", get_args(Mode))
def test_what_a_killed_process_did_is_copied_by_another(tmp_path: Path, mode: Mode) -> None:
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), mode],
        stdout=subprocess.PIPE,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as lines:
        done = [int(next(lines)) for _ in range(20)]
        process.kill()
        done += [int(line) for line in lines if line.endswith("\n")]
    process.wait()
    fast, safe = (LocalBackend(tmp_path / name) for name in ("fast", "safe"))
    if mode == "async":
        assert contents(safe) == {}
    pair = pair_of(tmp_path / "journal", fast, safe, mode=mode)
    assert pair.catch_up()
    assert pair.lag().pending == 0
    held = contents(fast)
    assert contents(safe) == held
    kept = {f"studio/film/index/{number:064x}" for number in done if number % 3 != 2}
    gone = {f"studio/film/index/{number:064x}" for number in done if number % 3 == 2}
    assert kept <= held.keys()
    assert not gone & held.keys()


def test_readiness_tells_how_far_the_secondary_is_behind(tmp_path: Path, start: Start, connect: Connect) -> None:
    server = start("async")
    wait_until_level(server)
    take_away(tmp_path / "safe")
    ann = Studio(tmp_path / "ann")
    ann.push(connect(server.url), ann.commit({"a.mov": b"a"}))
    with urllib.request.urlopen(f"{server.url}/health", timeout=30) as answer:
        body = json.load(answer)
    assert body["status"] == "ok"
    count, word, behind, *_ = body["checks"]["storage_secondary"].replace(",", "").split()
    assert int(count) >= 3
    assert (word, behind) == ("objects", "behind")
    bring_back(tmp_path / "safe")
    wait_until_level(server)


def test_a_missing_repository_is_still_missing_without_the_primary(tmp_path: Path, start: Start) -> None:
    server = start("mirror")
    wait_until_level(server)
    take_away(tmp_path / "fast")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{server.url}/studio/none/config", timeout=30)
    with caught.value as answer:
        assert answer.code == 404
    bring_back(tmp_path / "fast")
