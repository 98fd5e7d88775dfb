"""The server as a process: when it starts, whom it lets in, how it stops, and how it serves with several workers."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mediavault.errors import NotAllowedError
from mediavault.wire.client import HttpRemote
from tests.integration.conftest import Server
from tests.integration.studio import Studio, noise

Start = Callable[..., Server]
Connect = Callable[..., HttpRemote]
KEY = "a-key-for-this-test"


def run(*options: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a server that is to refuse to start."""
    return subprocess.run(
        [sys.executable, "-m", "mediavault_server.main", *options],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def get(url: str, path: str) -> tuple[int, object]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("options", "env", "message"),
    [
        (["--storage", "srv"], {}, "no API key"),
        (["--storage", "srv", "--no-auth", "--host", "0.0.0.0"], {}, "without authentication"),
        (["--storage", "srv", "--no-auth", "--host", "192.0.2.1"], {}, "without authentication"),
        (["--no-auth"], {}, "no place to store"),
        (["--no-auth", "--storage", "srv", "--port", "99999"], {}, "server.port"),
        (["--no-auth", "--storage", "srv"], {"MEDIAGIT_PROT": "1"}, "MEDIAGIT_PORT"),
        (["--no-auth", "--storage", "srv"], {"MEDIAGIT_SERVER__DEFAULT_REPOSITORY": "../x"}, "team/project"),
        (["--no-auth", "--config", "missing.toml"], {}, "missing.toml"),
    ],
)
def test_it_refuses_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], env: dict[str, str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*options, env=env)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_port_that_is_taken(start_server: Start, storage: Path) -> None:
    port = str(urlsplit(start_server().url).port)
    result = run("--storage", str(storage), "--no-auth", "--port", port)
    assert result.returncode == 2
    assert "in use" in result.stderr


def test_settings_from_a_file(tmp_path: Path, connect: Connect) -> None:
    config = tmp_path / "server.toml"
    config.write_text(
        f'[server]\nport = 0\napi_key = "{KEY}"\n[storage.local]\npath = "{tmp_path / "elsewhere"}"\n', encoding="utf-8"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "mediavault_server.main", "--config", str(config)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        url = process.stdout.readline().split()[-1]
        connect(url, api_key=KEY).create(Studio(tmp_path / "ann").config, {})
        process.terminate()
        assert process.wait(timeout=30) == 0
    assert (tmp_path / "elsewhere" / "studio" / "film" / "config").is_file()


def test_unknown_key_in_the_file(tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    config.write_text("[server]\nprot = 1\n", encoding="utf-8")
    result = run("--config", str(config), "--no-auth")
    assert result.returncode == 2
    assert "server.port" in result.stderr


def test_only_the_key_opens(tmp_path: Path, start_server: Start, connect: Connect) -> None:
    server = start_server(auth=True, env={"MEDIAGIT_API_KEY": KEY})
    studio = Studio(tmp_path / "ann")
    for wrong in ("", "wrong", KEY + "x", KEY[:-1], KEY.upper()):
        remote = connect(server.url, api_key=wrong)
        for call in (remote.config, remote.refs, remote.slots, lambda r=remote: r.create(studio.config, {})):
            with pytest.raises(NotAllowedError) as caught:
                call()
            assert KEY not in str(caught.value)
    commit = studio.commit({"a": b"1"})
    studio.push(connect(server.url, api_key=KEY), commit)
    assert get(server.url, "/health") == (200, {"status": "ok", "checks": {"storage": "ok"}})
    assert get(server.url, "/healthz")[0] == get(server.url, "/readyz")[0] == 200
    assert get(server.url, "/studio/film/refs")[0] == 401
    assert KEY not in server.output


def test_readiness_follows_the_storage(start_server: Start, storage: Path) -> None:
    server = start_server()
    assert get(server.url, "/readyz")[0] == 200
    assert get(server.url, "/nothing")[0] == 404
    storage.rename(storage.with_name("gone"))
    storage.write_text("not a folder")
    assert get(server.url, "/readyz")[0] == 503
    assert get(server.url, "/healthz")[0] == 200


def test_several_workers_serve_one_storage(tmp_path: Path, start_server: Start, connect: Connect) -> None:
    server = start_server("--workers", "2")
    ann, ben = Studio(tmp_path / "ann"), Studio(tmp_path / "ben")
    files = {f"{n}.mov": noise(1_000_000, n) for n in range(4)}
    commit = ann.commit(files)
    ann.push(connect(server.url), commit)
    for _ in range(4):
        assert connect(server.url).missing([commit.id]) == []
    ben.fetch(connect(server.url))
    assert ben.files(commit.id) == files
    assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_finishes_what_is_under_way_when_told_to_stop(
    tmp_path: Path, start_server: Start, connect: Connect, number: signal.Signals
) -> None:
    server = start_server()
    connect(server.url).create(Studio(tmp_path / "ann").config, {})
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as sock:
        sock.sendall(
            b"POST /studio/film/chunks/check HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 32\r\n\r\n" + bytes(16)
        )
        time.sleep(0.3)
        server.process.send_signal(number)
        time.sleep(0.3)
        sock.sendall(bytes(16))
        answer = b""
        while block := sock.recv(65536):
            answer += block
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(bytes(32))
    assert server.process.wait(timeout=30) == 0


def test_requests_that_hang_are_cut_off(start_server: Start) -> None:
    """A head that never ends must not hold a connection for ever."""
    server = start_server(env={"MEDIAGIT_SERVER__HEADER_TIMEOUT": "0.5", "MEDIAGIT_SERVER__STALL_TIMEOUT": "0.5"})
    parts = urlsplit(server.url)
    ends: list[bytes] = []

    def hang(data: bytes) -> None:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as sock:
            sock.sendall(data)
            try:
                ends.append(sock.recv(65536))
            except ConnectionResetError:
                ends.append(b"")

    heads = [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"]
    body = b"PUT /studio/film/config HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{"
    threads = [threading.Thread(target=hang, args=(data,)) for data in (*heads, body)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=15)
    assert sorted(ends)[:3] == [b"", b"", b""]
    assert sorted(ends)[3].startswith(b"HTTP/1.1 408")


def test_worker_processes_do_not_outlive_their_parent(start_server: Start) -> None:
    server = start_server("--workers", "2")
    parts = urlsplit(server.url)
    server.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection((parts.hostname or "", parts.port or 0), timeout=1).close()
        except OSError:
            return
        time.sleep(0.1)
    pytest.fail("workers still serve")
