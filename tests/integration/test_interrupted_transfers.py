"""What happens when servers die, connections break or clients are killed in the middle: nothing is lost, little is sent twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mediavault.errors import RemoteError
from mediavault.store.verify import scrub
from mediavault.wire.client import HttpRemote
from mediavault.wire.http import UnreachableError
from mediavault_backends.local import LocalBackend
from tests.integration.conftest import STORAGE, Server
from tests.integration.proxy import Proxy
from tests.integration.studio import Studio, noise

Start = Callable[..., Server]
Connect = Callable[..., HttpRemote]
MIB = 1 << 20
FILES = {f"shot-{number}.mov": noise(4 * MIB, number) for number in range(5)}
WHOLE = 20 * MIB
IN_FLIGHT = 5 * MIB
"""What sockets of four connections and half received chunks may hold when everything stops."""


def wait_until_kept(storage: Path) -> None:
    """Wait until the server has noticed that a sender is gone, and has kept what came: it does so beside everything else."""
    spool = storage / ".tmp" / "spool"
    deadline = time.monotonic() + 60
    while any(path.is_file() for path in spool.rglob("*")):
        assert time.monotonic() < deadline, list(spool.rglob("*"))
        time.sleep(0.01)


@pytest.fixture
def ann(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "ann")


@pytest.fixture
def ben(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "ben")


def test_push_survives_the_death_of_one_of_two_servers(
    ann: Studio, ben: Studio, storage: Path, start_server: Start, connect: Connect
) -> None:
    one, two = start_server(), start_server()
    with Proxy(one.url, two.url) as proxy:
        dead: list[int] = []

        def kill_at_half(total: int) -> bool:
            if total > WHOLE // 2 and not dead:
                dead.append(total)
                one.kill()
            return True

        proxy.on_up = kill_at_half
        commit = ann.commit(FILES)
        report = ann.push(connect(proxy.url), commit)
        assert dead, "the server was to die in the middle"
        assert report.moves[0].new == commit
        assert proxy.up < 1.6 * WHOLE
        ben.fetch(connect(proxy.url))
    assert ben.files(commit.id) == FILES
    assert not list(scrub(LocalBackend(storage / "studio" / "film")))


def test_push_continues_after_its_only_server_was_killed(
    ann: Studio, ben: Studio, start_server: Start, connect: Connect
) -> None:
    server = start_server()
    commit = ann.commit(FILES)
    with Proxy(server.url) as proxy:

        def kill_at_half(total: int) -> bool:
            if total > WHOLE // 2:
                server.kill()
                return False
            return True

        proxy.on_up = kill_at_half
        with pytest.raises(RemoteError):
            ann.push(connect(proxy.url), commit, pack_size=64 * MIB)
    again = start_server()
    with Proxy(again.url) as proxy:
        ann.push(connect(proxy.url), commit, pack_size=64 * MIB)
        assert proxy.up < WHOLE // 2 + IN_FLIGHT + 3 * MIB  # the socket of the killed server was full, too
    ben.fetch(connect(again.url))
    assert ben.files(commit.id) == FILES


def test_servers_share_nothing_but_their_storage(
    ann: Studio, ben: Studio, start_server: Start, connect: Connect
) -> None:
    with Proxy(start_server().url, start_server().url) as proxy:
        commit = ann.commit(FILES)
        # A connection for each request, so that each goes to the other server than the one before.
        remotes = [connect(proxy.url) for _ in range(2)]
        ann.push(remotes[0], commit)
        assert proxy.connections > 1
        assert remotes[1].missing([commit.id]) == []
        ben.fetch(remotes[1])
    assert ben.files(commit.id) == FILES


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("pack_size", [MIB, 64 * MIB], ids=["small-packs", "one-pack"])
def test_push_that_broke_off_continues(
    ann: Studio, start_server: Start, connect: Connect, share: float, pack_size: int
) -> None:
    server = start_server()
    commit = ann.commit(FILES)
    with Proxy(server.url) as proxy:
        proxy.on_up = lambda total: total < share * WHOLE
        with pytest.raises(RemoteError):
            ann.push(connect(proxy.url), commit, pack_size=pack_size)
    wait_until_kept(ann.folder.parent / STORAGE)
    assert connect(server.url).refs() == {}
    with Proxy(server.url) as proxy:
        ann.push(connect(proxy.url), commit, pack_size=pack_size)
        assert proxy.up < (1 - share) * WHOLE + IN_FLIGHT
    ben = Studio(ann.folder.parent / "ben")
    ben.fetch(connect(server.url))
    assert ben.files(commit.id) == FILES


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_fetch_that_broke_off_continues(
    ann: Studio, ben: Studio, start_server: Start, connect: Connect, share: float
) -> None:
    server = start_server()
    commit = ann.commit(FILES)
    ann.push(connect(server.url), commit)
    with Proxy(server.url) as proxy:
        proxy.on_down = lambda total: total < share * WHOLE
        with pytest.raises(RemoteError):
            ben.fetch(connect(proxy.url))
    assert ben.frames.missing([commit.id]) == [commit.id]
    with Proxy(server.url) as proxy:
        report = ben.fetch(connect(proxy.url))
        assert proxy.down < (1 - share) * WHOLE + IN_FLIGHT
    assert report.salvaged > 0
    assert ben.files(commit.id) == FILES


def test_fetch_goes_on_at_the_byte_where_a_connection_broke(
    ann: Studio, ben: Studio, start_server: Start, connect: Connect
) -> None:
    server = start_server()
    commit = ann.commit(FILES)
    ann.push(connect(server.url), commit)
    with Proxy(server.url) as proxy:
        cuts = [3 * MIB, 9 * MIB, 15 * MIB]

        def cut(total: int) -> bool:
            if cuts and total > cuts[0]:
                cuts.pop(0)
                return False
            return True

        proxy.on_down = cut
        ben.fetch(connect(proxy.url))
        assert not cuts
        assert proxy.down < 1.25 * WHOLE
    assert ben.files(commit.id) == FILES


CHILD = """
import sys
from pathlib import Path
from tests.integration.studio import QUICK, Studio
from mediavault.model.ids import Kind, Link
from mediavault.wire.client import HttpRemote

verb, folder, url, commit = sys.argv[1:]
studio, remote = Studio(Path(folder)), HttpRemote(url + "/studio/film", patience=QUICK)
if verb == "push":
    studio.push(remote, Link(Kind.COMMIT, bytes.fromhex(commit)), pack_size=64 << 20)
else:
    studio.fetch(remote)
"""


@pytest.mark.slow
@pytest.mark.parametrize("case", [f"{verb} {share}" for verb in ("push", "fetch") for share in (0.15, 0.5, 0.8)])
def test_client_that_was_killed_continues(
    ann: Studio, ben: Studio, start_server: Start, connect: Connect, case: str
) -> None:
    verb, share = case.split(maxsplit=1)[0], float(case.split()[1])
    server = start_server()
    commit = ann.commit(FILES)
    if verb == "fetch":
        ann.push(connect(server.url), commit)
    folder = (ann if verb == "push" else ben).folder
    with Proxy(server.url) as proxy:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, verb, str(folder), proxy.url, commit.id.hex()], cwd=Path.cwd()
        )

        def kill(total: int) -> bool:
            if total > share * WHOLE:
                os.kill(child.pid, signal.SIGKILL)
                return False
            return True

        if verb == "push":
            proxy.on_up = kill
        else:
            proxy.on_down = kill
        assert child.wait(timeout=60) == -signal.SIGKILL
    wait_until_kept(ann.folder.parent / STORAGE)
    with Proxy(server.url) as proxy:
        if verb == "push":
            ann.push(connect(proxy.url), commit)
            again = proxy.up
        else:
            ben.fetch(connect(proxy.url))
            again = proxy.down
    assert again < (1 - share) * WHOLE + IN_FLIGHT
    ben.fetch(connect(server.url))
    assert ben.files(commit.id) == FILES


def test_nobody_sees_a_push_before_its_end(ann: Studio, ben: Studio, start_server: Start, connect: Connect) -> None:
    server = start_server()
    first = ann.commit({"a": b"1"})
    ann.push(connect(server.url), first)
    second = ann.commit(FILES, [first.id])
    with Proxy(server.url) as proxy:
        proxy.on_up = lambda total: total < WHOLE // 2
        with pytest.raises(UnreachableError):
            ann.push(connect(proxy.url), second)
    ben.fetch(connect(server.url))
    assert ben.files(first.id) == {"a": b"1"}
    assert ben.frames.missing([second.id]) == [second.id]
