"""A cache of another server: real servers, real clients, and a proxy between them that counts and meddles."""

# ruff: noqa: PLR0917 -- a test takes as many fixtures as it needs

import http.client
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mediavault.errors import DivergedError, IntegrityError, NotAllowedError, RemoteError
from mediavault.formats.wire import SIGNED_ROWS, encode_ids
from mediavault.model.ids import Link
from mediavault.wire.client import HttpRemote
from mediavault.wire.http import UnreachableError
from tests.integration.conftest import Server
from tests.integration.meddler import Exchange, Meddler, first_time, flipped
from tests.integration.recorder import Recorder, Reply
from tests.integration.studio import QUICK, Studio, noise

Start = Callable[..., Server]
Connect = Callable[..., HttpRemote]
KEY = "the-key-of-the-main-site"
PROJECT = "/studio/film"
SIZE = 12 << 20
FILES = {"rushes.mov": noise(SIZE, 1), "notes.txt": b"cut on action"}


class Line(Meddler):
    """The line between the two sites: what the cache asked for, and how many bytes of packs came."""

    def __init__(self, url: str) -> None:
        super().__init__(url, self._count)
        self.change: Callable[[Exchange], Exchange] = lambda exchange: exchange
        self.packs = 0
        self.history = 0
        self._lock = threading.Lock()

    def _count(self, exchange: Exchange) -> Exchange:
        with self._lock:
            if exchange.method == "GET" and "/packs/" in exchange.path and exchange.status in {200, 206}:
                self.packs += len(exchange.body)
            if "/objects/" in exchange.path and exchange.status == 200:
                self.history += len(exchange.body)
        return self.change(exchange)

    def asked(self, part: str) -> int:
        return sum(part in seen for seen in self.seen)


@pytest.fixture
def start_cache(tmp_path: Path) -> Iterator[Start]:
    """Start caches of an upstream; those that still run at the end are stopped."""
    running: list[Server] = []

    def start(
        upstream: str,
        *options: str,
        env: Mapping[str, str] | None = None,
        auth: bool = True,
        folder: Path = tmp_path / "cache",
    ) -> Server:
        access = () if auth else ("--no-auth",)
        command = [sys.executable, "-m", "mediavault_server.main", "--upstream", upstream, "--cache", str(folder)]
        running.append(
            Server(
                [*command, "--port", "0", *access, *options],
                {**os.environ, **(env or {})},
                tmp_path / f"cache-{len(running)}.log",
                folder,
            )
        )
        return running[-1]

    yield start
    for server in running:
        if server.process.poll() is None:
            assert server.stop() == 0, server.output


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Open a project at a server's address, with patience: what is asked for passes three servers on a busy machine."""
    opened: list[HttpRemote] = []

    def open_remote(url: str, project: str = PROJECT, *, api_key: str = KEY) -> HttpRemote:
        opened.append(HttpRemote(url + project, api_key=api_key, patience=replace(QUICK, stall_timeout=60.0)))
        return opened[-1]

    yield open_remote
    for remote in opened:
        remote.close()


@pytest.fixture
def upstream(start_server: Start) -> Server:
    return start_server(auth=True, env={"MEDIAGIT_API_KEY": KEY})


@pytest.fixture
def line(upstream: Server) -> Iterator[Line]:
    with Line(upstream.url) as line:
        yield line


@pytest.fixture
def film(tmp_path: Path, upstream: Server, connect: Connect) -> Link:
    """A repository that was pushed to the main site."""
    studio = Studio(tmp_path / "ann")
    commit = studio.commit(FILES)
    studio.push(connect(upstream.url), commit, pack_size=5 << 20)
    return commit


def clone(folder: Path, remote: HttpRemote, commit: Link) -> Studio:
    studio = Studio(folder)
    studio.fetch(remote)
    assert studio.files(commit.id) == FILES
    return studio


def ask(
    url: str, method: str, path: str, body: bytes | None = None, key: str = KEY, **headers: str
) -> tuple[int, Mapping[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if key:
        given["Authorization"] = f"Bearer {key}"
    try:
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()
    finally:
        connection.close()


def packs_of(storage: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in storage.rglob("packs/*/*") if path.is_file()}


def entries_of(folder: Path) -> list[Path]:
    return [path for path in (folder / "mediagit-cache").glob("[0-9a-f][0-9a-f]/*") if path.is_file()]


def test_a_second_clone_brings_nothing_from_upstream(
    tmp_path: Path, line: Line, film: Link, start_cache: Start, connect: Connect
) -> None:
    cache = start_cache(line.address)
    clone(tmp_path / "bob", connect(cache.url), film)
    cold = line.packs
    assert SIZE < cold < SIZE * 1.1
    assert line.history > 0
    line.packs = line.history = 0
    line.seen.clear()
    clone(tmp_path / "cleo", connect(cache.url), film)
    assert (line.packs, line.history) == (0, 0)
    assert line.asked("GET /studio/film/refs") == 1
    assert len(line.seen) <= 10
    assert "Traceback" not in cache.output
    again = start_cache(line.address)
    clone(tmp_path / "dora", connect(again.url), film)
    assert (line.packs, line.history) == (0, 0)


def test_every_call_is_answered_as_upstream_does(
    tmp_path: Path, upstream: Server, line: Line, film: Link, start_cache: Start, connect: Connect
) -> None:
    cache = start_cache(line.address)
    studio = Studio(tmp_path / "bob")
    direct = connect(upstream.url)
    studio.fetch(direct)
    chunk = next(row.id for row in direct.locate(_chunks(studio, film)))
    pack = max(packs_of(upstream.storage).items(), key=lambda item: len(item[1]))[0]
    known, unknown = encode_ids([film.id, chunk]), encode_ids([film.id, b"x" * 32])
    calls: list[tuple[str, str, bytes | None, dict[str, str]]] = [
        ("GET", "/config", None, {}),
        ("GET", "/keys", None, {}),
        ("GET", "/keys/none", None, {}),
        ("GET", "/refs", None, {}),
        ("GET", "/refs/heads/main", None, {}),
        ("GET", "/refs/heads/none", None, {}),
        ("GET", "/logs/heads/main", None, {}),
        ("POST", "/chunks/check", unknown, {}),
        ("POST", "/chunks/locate", known, {}),
        ("POST", "/objects/get", known, {}),
        ("POST", "/objects/get", unknown, {}),
        ("POST", "/objects/get", b"short", {}),
        ("POST", "/objects/pack", b"{}", {}),
        ("GET", f"/objects/pack?want={'ab' * 32}", None, {}),
        ("GET", "/objects/pack?nonsense=1", None, {}),
        ("GET", f"/chunks/{chunk.hex()}", None, {}),
        ("GET", f"/chunks/{chunk.hex()}", None, {"Range": "bytes=3-9"}),
        ("GET", f"/chunks/{film.id.hex()}", None, {}),
        ("GET", f"/packs/{pack}", None, {}),
        ("HEAD", f"/packs/{pack}", None, {}),
        ("GET", f"/packs/{pack}", None, {"Range": "bytes=-70000"}),
        ("GET", f"/packs/{pack}", None, {"Range": "bytes=10-4500000"}),
        ("GET", f"/packs/{pack}", None, {"Range": "bytes=99999999-"}),
        ("GET", f"/packs/{pack}", None, {"If_None_Match": f'"{pack}"'}),
        ("GET", f"/packs/{'ab' * 32}", None, {}),
        ("GET", "/packs/nonsense", None, {}),
        ("GET", "/nonsense", None, {}),
        ("PUT", "/refs/heads/main", b"nonsense", {"If_None_Match": "*"}),
        ("PUT", "/refs/heads/main", b"nonsense", {}),
        ("DELETE", "/keys/none", None, {"If_Match": f'"{"0" * 64}"'}),
        ("PUT", f"/chunks/{'ab' * 32}", b"nonsense", {}),
        ("PUT", f"/packs/{'ab' * 32}", b"nonsense" * 1_000_000, {}),
    ]
    told = {"ETag", "Content-Range", "Content-Length", "Content-Type", "X-Mediagit-Protocol", "X-Mediagit-Max-Pack"}
    for _ in range(2):
        for method, path, body, headers in calls:
            there = ask(upstream.url, method, PROJECT + path, body, **headers)
            here = ask(cache.url, method, PROJECT + path, body, **headers)
            assert here[0] == there[0], (method, path)
            assert here[2] == there[2], (method, path)
            shown = [
                {k.title(): v for k, v in answer[1].items() if k.title() in {t.title() for t in told}}
                for answer in (here, there)
            ]
            assert shown[0] == shown[1], (method, path)
    wanted = f"{PROJECT}/objects/pack?want={film.id.hex()}"
    first, second = (ask(cache.url, "GET", wanted) for _ in range(2))
    assert first[2] == second[2]
    assert first[1]["etag"] == second[1]["etag"]
    assert first[1]["x-chunked-objects"] == "1"


def _chunks(studio: Studio, commit: Link) -> list[bytes]:
    reader = studio.reader
    return [link.id for link in _links(studio, reader.commit(commit.id).tree) if link.kind == 1]


def _links(studio: Studio, oid: bytes) -> list[Link]:
    links = list(studio.frames.read(oid).header.links)
    return links + [deeper for link in links if link.kind != 1 for deeper in _links(studio, link.id)]


def test_a_byte_flipped_in_the_folder_is_never_served(
    tmp_path: Path, line: Line, film: Link, start_cache: Start, connect: Connect
) -> None:
    cache = start_cache(line.address)
    clone(tmp_path / "bob", connect(cache.url), film)
    for at, path in enumerate(entries_of(cache.storage)):
        data = path.read_bytes()
        path.write_bytes(flipped(data, (at * 7919) % len(data)))
    line.packs = line.history = 0
    clone(tmp_path / "cleo", connect(cache.url), film)
    assert SIZE < line.packs < SIZE * 1.1
    assert line.history > 0
    line.packs = line.history = 0
    clone(tmp_path / "dora", connect(cache.url), film)
    assert (line.packs, line.history) == (0, 0)


@pytest.mark.parametrize(("part", "size"), [("/packs/", 1 << 20), ("/packs/", 100), ("/objects/pack", 100)])
def test_a_byte_flipped_on_the_way_is_never_served_nor_kept(
    tmp_path: Path, line: Line, film: Link, start_cache: Start, connect: Connect, part: str, size: int
) -> None:
    def is_hit(exchange: Exchange) -> bool:
        return part in exchange.path and len(exchange.body) >= size and exchange.status in {200, 206}

    def spoil(exchange: Exchange) -> Exchange:
        if not is_hit(exchange):
            return exchange
        return replace(exchange, body=flipped(exchange.body, len(exchange.body) // 2))

    cache = start_cache(line.address)
    line.change = first_time(spoil, is_hit)
    clone(tmp_path / "bob", connect(cache.url), film)
    for path in entries_of(cache.storage):
        path.unlink()
    line.change = spoil
    with pytest.raises((IntegrityError, UnreachableError)):
        Studio(tmp_path / "cleo").fetch(connect(cache.url))
    line.change = lambda exchange: exchange
    clone(tmp_path / "dora", connect(cache.url), film)


def test_an_upstream_that_is_gone(
    tmp_path: Path, upstream: Server, line: Line, film: Link, start_cache: Start, connect: Connect
) -> None:
    cache = start_cache(line.address)
    clone(tmp_path / "bob", connect(cache.url), film)
    packs = packs_of(upstream.storage)
    assert ask(cache.url, "GET", "/readyz", key="")[0] == 200
    upstream.kill()
    for method, path, body in [
        ("GET", "/refs", None),
        ("GET", "/config", None),
        ("POST", "/chunks/check", b""),
        ("PUT", f"/packs/{'ab' * 32}", noise(5 << 20, 9)),
    ]:
        status, headers, answer = ask(cache.url, method, PROJECT + path, body)
        assert status == 503, (path, answer)
        assert int(headers["retry-after"]) > 0
        assert "does not answer" in json.loads(answer)["detail"]
    served = [ask(cache.url, "GET", f"{PROJECT}/packs/{name}") for name in packs]
    assert sorted(served_bytes for status, _, served_bytes in served if status == 200)
    for (name, data), (status, _, body) in zip(packs.items(), served, strict=True):
        assert (status, body == data) in {(200, True), (503, False)}, name
        assert ask(cache.url, "GET", f"{PROJECT}/packs/{name}", key="never-seen")[0] == 503
    media = [name for name, data in packs.items() if len(data) > 1 << 20]
    assert all(status == 200 for name, (status, _, _) in zip(packs, served, strict=True) if name in media)
    status, _, answer = ask(cache.url, "GET", "/readyz", key="")
    assert (status, json.loads(answer)["checks"]) == (503, {"upstream": "no answer", "cache": "ok"})
    assert ask(cache.url, "GET", "/healthz", key="")[0] == 200
    assert "Traceback" not in cache.output


def test_who_may_not_read_upstream_reads_nothing_here_however_warm_it_is(
    tmp_path: Path, upstream: Server, line: Line, film: Link, start_cache: Start, connect: Connect
) -> None:
    cache = start_cache(line.address)
    clone(tmp_path / "bob", connect(cache.url), film)
    chunk = next(iter(_chunks(Studio(tmp_path / "bob"), film)))
    media = [name for name, data in packs_of(upstream.storage).items() if len(data) > 1 << 20]
    paths: list[tuple[str, str, bytes | None]] = [("GET", f"/packs/{name}", None) for name in media]
    paths += [
        ("GET", "/config", None),
        ("GET", "/refs", None),
        ("GET", f"/chunks/{chunk.hex()}", None),
        ("POST", "/objects/get", chunk),
        ("POST", "/chunks/locate", chunk),
        ("GET", f"/objects/pack?want={film.id.hex()}", None),
    ]
    for method, path, body in paths:
        assert ask(cache.url, method, PROJECT + path, body)[0] == 200, path
        assert ask(cache.url, method, PROJECT + path, body, key="wrong")[0] == 401, path
        assert ask(cache.url, method, PROJECT + path, body, key="")[0] == 401, path
        assert ask(cache.url, method, "/studio/other" + path, body)[0] == 404, path
    line.seen.clear()
    assert ask(cache.url, "GET", PROJECT + paths[0][1], key="")[0] == 401
    assert line.seen == []  # who shows no key at all is not even asked about
    with pytest.raises(NotAllowedError):
        connect(cache.url, api_key="wrong").refs()


def test_push_through_it(
    tmp_path: Path, upstream: Server, line: Line, film: Link, start_cache: Start, connect: Connect
) -> None:
    cache = start_cache(line.address)
    bob = clone(tmp_path / "bob", connect(cache.url), film)
    files = {**FILES, "titles.mov": noise(9 << 20, 2)}
    second = bob.commit(files, [film.id])
    report = bob.push(connect(cache.url), second, pack_size=6 << 20)
    assert report.packs >= 2
    cleo = Studio(tmp_path / "cleo")
    cleo.fetch(connect(upstream.url))
    assert cleo.files(second.id) == files
    dora = Studio(tmp_path / "dora")
    dora.fetch(connect(cache.url))
    assert dora.files(second.id) == files
    behind = cleo.commit({"other.txt": b"from the first cut"}, [film.id])
    cleo.observed = {}
    with pytest.raises(DivergedError):
        cleo.push(connect(cache.url), behind)
    with pytest.raises(NotAllowedError):
        bob.push(connect(cache.url, api_key="wrong"), bob.commit({"more": noise(6 << 20, 3)}, [second.id]))
    new = Studio(tmp_path / "eve", repository=b"other-repository")
    new.push(connect(cache.url, "/studio/other"), new.commit({"a": b"1"}))
    assert connect(upstream.url, "/studio/other").config() == new.config
    assert "Traceback" not in cache.output


def test_a_body_of_unknown_length_is_passed_on(upstream: Server, film: Link, start_cache: Start) -> None:
    del film
    cache = start_cache(upstream.url, "--config", "/dev/null")
    name, data = max(packs_of(upstream.storage).items(), key=lambda item: len(item[1]))
    parts = urlsplit(cache.url)
    for body, status in ((data, 200), (flipped(data, 5000), 422)):
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        pieces = (body[at : at + 300_000] for at in range(0, len(body), 300_000))
        connection.request(
            "PUT", f"{PROJECT}/packs/{name}", pieces, {"Authorization": f"Bearer {KEY}"}, encode_chunked=True
        )
        answer = connection.getresponse()
        assert answer.status == status, answer.read()
        connection.close()


def test_it_stays_within_its_bound(
    tmp_path: Path, line: Line, film: Link, upstream: Server, start_cache: Start, connect: Connect
) -> None:
    ann = Studio(tmp_path / "ann")
    files = {f"take-{number}.mov": noise(8 << 20, 10 + number) for number in range(4)}
    second = ann.commit(files, [film.id])
    ann.observed = {}
    ann.push(connect(upstream.url), second, pack_size=8 << 20)
    cache = start_cache(line.address, "--cache-size", "16MiB")
    for name in ("bob", "cleo"):
        studio = Studio(tmp_path / name)
        studio.fetch(connect(cache.url))
        assert studio.files(second.id) == files
        sizes = [path.stat().st_size for path in entries_of(cache.storage)]
        assert 8 << 20 < sum(sizes) <= 16 << 20
    assert list((cache.storage / "mediagit-cache" / "new").iterdir()) == []


def test_many_who_ask_for_the_same_at_once_cause_few_reads(
    line: Line, film: Link, upstream: Server, start_cache: Start
) -> None:
    del film
    cache = start_cache(line.address, "--workers", "3")
    name, data = max(packs_of(upstream.storage).items(), key=lambda item: len(item[1]))
    line.seen.clear()
    with ThreadPoolExecutor(50) as threads:
        asked = [threads.submit(ask, cache.url, "GET", f"{PROJECT}/packs/{name}") for _ in range(200)]
        assert all(answer.result()[2] == data for answer in asked)
    # Each process asks who may read; the pack comes once: its end, its head, its runs of 4 MiB and more.
    assert line.asked("GET /studio/film/config") <= 3
    assert line.asked("/packs/") <= 2 + -(-len(data) // (4 << 20))
    assert len(data) <= line.packs < len(data) + (65 << 10)


def test_nothing_is_kept_where_nothing_can_be(
    tmp_path: Path, line: Line, film: Link, start_cache: Start, connect: Connect
) -> None:
    (tmp_path / "cache").write_text("in the way")
    cache = start_cache(line.address)
    for name in ("bob", "cleo"):
        line.packs = 0
        clone(tmp_path / name, connect(cache.url), film)
        assert line.packs > SIZE
    status, _, answer = ask(cache.url, "GET", "/readyz", key="")
    assert status == 200
    assert json.loads(answer)["checks"]["cache"].startswith("cannot be written")


def test_a_line_that_breaks_is_taken_up_again(
    tmp_path: Path, line: Line, film: Link, start_cache: Start, connect: Connect
) -> None:
    cut = [0]

    def cutting(exchange: Exchange) -> Exchange:
        if "/packs/" in exchange.path and len(exchange.body) > 1 << 20:
            cut[0] += 1
            return replace(exchange, send=len(exchange.body) * 2 // 3) if cut[0] % 2 else exchange
        return exchange

    line.change = cutting
    cache = start_cache(line.address)
    clone(tmp_path / "bob", connect(cache.url), film)
    assert cut[0] > 2


def test_a_cache_that_is_killed_leaves_a_cache(
    tmp_path: Path, line: Line, film: Link, start_cache: Start, connect: Connect
) -> None:
    first = start_cache(line.address, "--workers", "1")

    def killing(exchange: Exchange) -> Exchange:
        if "/packs/" in exchange.path and line.packs > SIZE // 2:
            first.process.kill()
        return exchange

    line.change = killing
    with pytest.raises(RemoteError):
        Studio(tmp_path / "bob").fetch(connect(first.url))
    line.change = lambda exchange: exchange
    second = start_cache(line.address)
    clone(tmp_path / "cleo", connect(second.url), film)
    assert line.packs < SIZE * 2
    line.packs = 0
    clone(tmp_path / "dora", connect(second.url), film)
    assert line.packs == 0


def test_a_server_that_knows_its_own_clients(
    tmp_path: Path, upstream: Server, film: Link, start_cache: Start, connect: Connect
) -> None:
    env = {"MEDIAGIT_SERVER__API_KEY": "the-key-of-this-site", "MEDIAGIT_SERVER__UPSTREAM_API_KEY": KEY}
    cache = start_cache(upstream.url + PROJECT, env=env)
    clone(tmp_path / "bob", connect(cache.url, api_key="the-key-of-this-site"), film)
    clone(tmp_path / "cleo", connect(cache.url, "", api_key="the-key-of-this-site"), film)  # at the root too
    for key in (KEY, "wrong", ""):
        assert ask(cache.url, "GET", PROJECT + "/refs", key=key)[0] == 401
    assert ask(cache.url, "GET", "/studio/other/refs", key="the-key-of-this-site")[0] == 404
    assert KEY not in cache.output


def test_the_guard_stands_before_it(line: Line, film: Link, start_cache: Start) -> None:
    del film
    cache = start_cache(line.address, env={"MEDIAGIT_SERVER__MAX_PACK_SIZE": "5MiB"})
    line.seen.clear()
    for path in ("/studio/film/../other/refs", "/studio/film/refs/a%2fb", "/studio//refs", "/studio/film/packs/%zz"):
        assert ask(cache.url, "GET", path)[0] == 400, path
    assert ask(cache.url, "GET", "/studio")[0] == 404
    assert ask(cache.url, "GET", "/refs")[0] == 404
    assert ask(cache.url, "PUT", f"{PROJECT}/packs/{'ab' * 32}", b"", Content_Length=str(6 << 20))[0] == 413
    assert line.seen == []
    status, headers, _ = ask(cache.url, "GET", PROJECT + "/config")
    assert (status, headers["x-mediagit-max-pack"]) == (200, str(5 << 20))


@pytest.mark.parametrize("ending", ["breaks-off", "stalls"])
def test_an_upload_that_does_not_end_is_given_up(
    upstream: Server, film: Link, start_cache: Start, connect: Connect, tmp_path: Path, ending: str
) -> None:
    cache = start_cache(upstream.url, env={"MEDIAGIT_SERVER__STALL_TIMEOUT": "1" if ending == "stalls" else "60"})
    name, data = max(packs_of(upstream.storage).items(), key=lambda item: len(item[1]))
    parts = urlsplit(cache.url)
    head = f"PUT {PROJECT}/packs/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as client:
        client.sendall(head.encode() + data[: len(data) - 1000])
        if ending == "stalls":
            assert client.recv(100).startswith(b"HTTP/1.1 408 ")
    if ending == "breaks-off":
        bob = clone(tmp_path / "bob", connect(cache.url), film)
        bob.push(connect(cache.url), bob.commit({"more.mov": noise(6 << 20, 3)}, [film.id]))
    assert cache.stop() == 0  # nothing is waited for
    assert "Traceback" not in cache.output


def test_what_upstream_receives_of_a_call(start_cache: Start) -> None:
    with Recorder(lambda _: Reply(body=b"", headers={"X-Mediagit-Later": "yes", "Content-Type": "text/x"})) as main:
        cache = start_cache(main.url)
        path = f"{PROJECT}/calls/of-a-later-version?after=%2F&limit=5"
        status, headers, _ = ask(
            cache.url,
            "POST",
            path,
            b"{}",
            Content_Type="application/json",
            X_Mediagit_Upload="ab",
            If_Match='"1"',
            TE="x",
        )
        assert (status, headers["x-mediagit-later"], headers["content-type"]) == (200, "yes", "text/x")
        (asked,) = main.asked
        assert (asked.method, asked.target, asked.body) == ("POST", path, b"{}")
        told = {"content-type": "application/json", "x-mediagit-upload": "ab", "if-match": '"1"'}
        assert told.items() <= asked.headers.items()
        assert asked.headers["authorization"] == f"Bearer {KEY}"
        assert asked.headers["host"] == urlsplit(main.url).netloc
        assert "te" not in asked.headers
        ask(cache.url, "POST", f"{PROJECT}/chunks/locate", b"x" * 32, Accept=SIGNED_ROWS)
        # With addresses of the store, clients would go past the cache.
        assert SIGNED_ROWS not in main.asked[-1].headers.values()
        assert main.asked[-1].body == b"x" * 32
