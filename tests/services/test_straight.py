"""Packs that go straight to and from the store, by URLs that a real server signs for real stores."""

import hashlib
import json
import os
import secrets
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import urllib3

from mediavault.formats.wire import SIGNED_ROWS, encode_ids
from mediavault.model.ids import Link
from mediavault.store.assemble import PackSource, plan_packs
from mediavault.sync.push import PushPlan, RefUpdate, plan_push
from mediavault.wire.client import HttpRemote, NotClosedError
from mediavault.wire.http import Patience
from mediavault_backends.api import Absent, Backend
from mediavault_backends.azure import AzureBackend
from mediavault_backends.gcs import GcsBackend
from mediavault_backends.prefix import prefixed
from mediavault_backends.s3 import S3Backend
from mediavault_backends.settings import AzureSettings, GcsSettings
from tests.conftest import installed, server_address
from tests.integration.studio import Studio, noise
from tests.services.azurite import Azurite
from tests.services.conftest import settings_of
from tests.services.fake_gcs import FakeGcs
from tests.services.relay import Act, Hold, Lose, Relay, Reply, Request, relaying
from tests.services.seaweed import Server
from tests.services.test_gcs_settings import Account
from tests.services.test_s3_push import environment_of
from tests.snapshot import snapshot

pytestmark = pytest.mark.services

MIB = 1 << 20
KEY = "only-for-this-test"
DAY = 86_400
T = TypeVar("T")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass
class Store:
    """A store behind a relay, as servers are told of it, and the same without the relay."""

    name: str
    relay: Relay
    environment: Mapping[str, str]
    direct: Backend
    servers: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def serve(self, **environment: str) -> str:
        """Start a server over it; return its address."""
        command = [installed("mediagit-server"), "--port", "0"]
        told = {**os.environ, **self.environment, "MEDIAGIT_API_KEY": KEY, **environment}
        self.servers.append(
            subprocess.Popen(command, env=told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
        return server_address(self.servers[-1])

    @property
    def film(self) -> Backend:
        """The objects of the repository that the tests use."""
        return prefixed(self.direct, "studio/film/")

    @property
    def signed(self) -> list[Request]:
        """The requests that came with a signature in the URL."""
        return [request for request in self.relay.requests if is_signed(request)]

    def keys(self, prefix: str) -> list[str]:
        return [stat.key for stat in self.film.scan(prefix)]


def is_signed(request: Request) -> bool:
    return bool({"X-Amz-Signature", "sig", "X-Goog-Signature"} & set(request.query))


def is_copy(request: Request) -> bool:
    names = {"x-amz-copy-source", "x-ms-copy-source"}
    return bool(names & set(request.headers)) or "/rewriteTo/" in request.path


STORES = ["minio", "seaweedfs", "azurite", "fake-gcs"]
BINDING = ["minio", "seaweedfs"]
"""Stores that bind size, bytes and newness. Azurite binds newness as Azure does; fake-gcs-server checks nothing that is signed."""


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    prefix = f"studio-{uuid.uuid4().hex}"
    opener = {"azurite": azure_store, "fake-gcs": gcs_store}.get(request.param, s3_store)
    with opener(request, prefix, tmp_path) as found:
        yield found
        for process in found.servers:
            process.terminate()
        for process in found.servers:
            process.wait(timeout=40)


@contextmanager
def s3_store(request: pytest.FixtureRequest, prefix: str, folder: Path) -> Iterator[Store]:
    del folder
    name = "seaweed_server" if request.param == "seaweedfs" else "minio_server"
    server = typed(request.getfixturevalue(name), Server)
    with relaying(server.endpoint) as relay, closing(S3Backend(settings_of(server, prefix=prefix))) as direct:
        environment = environment_of(server, prefix, endpoint=relay.url)
        yield Store(server.name, relay, environment, direct)


@contextmanager
def azure_store(request: pytest.FixtureRequest, prefix: str, folder: Path) -> Iterator[Store]:
    del folder
    server = typed(request.getfixturevalue("azurite_server"), Azurite)
    table = {
        "account_name": server.account_name,
        "account_key": server.account_key,
        "container": "media",
        "prefix": prefix,
    }
    settings = AzureSettings(endpoint=server.endpoint, **table)  # type: ignore[arg-type] # all of them are text
    with relaying(server.endpoint.rpartition("/")[0]) as relay, closing(AzureBackend(settings)) as direct:
        told = {**table, "endpoint": f"{relay.url}/{server.account_name}"}
        yield Store("azurite", relay, variables("azure", told), direct)


@contextmanager
def gcs_store(request: pytest.FixtureRequest, prefix: str, folder: Path) -> Iterator[Store]:
    server = typed(request.getfixturevalue("fake_gcs_server"), FakeGcs)
    settings = GcsSettings(bucket="media", prefix=prefix, endpoint=server.endpoint)
    with (
        relaying() as tokens,
        relaying(server.endpoint, renamed=True) as relay,
        closing(GcsBackend(settings)) as direct,
    ):
        account = Account(folder, f"{tokens.url}/token")
        tokens.rule = account.answer
        told = {"bucket": "media", "prefix": prefix, "endpoint": relay.url, "credentials_path": str(account.path)}
        yield Store("fake-gcs", relay, variables("gcs", told), direct)


def typed(found: object, kind: type[T]) -> T:
    assert isinstance(found, kind)
    return found


def variables(kind: str, table: Mapping[str, str]) -> dict[str, str]:
    named = {f"MEDIAGIT_STORAGE__{kind.upper()}__{name.upper()}": value for name, value in table.items()}
    return {"MEDIAGIT_STORAGE__BACKEND": kind, **named}


@pytest.fixture
def connect() -> Iterator[Callable[..., HttpRemote]]:
    opened: list[HttpRemote] = []

    def open_remote(url: str, **options: Any) -> HttpRemote:
        opened.append(HttpRemote(f"{url}/studio/film", api_key=KEY, patience=Patience(retries=3), **options))
        opened[-1].config()
        return opened[-1]

    yield open_remote
    for remote in opened:
        remote.close()


def through_the_server(remote: HttpRemote) -> tuple[int, int]:
    """Return the bytes that a client sent to the server itself and received from it."""
    whole, straight = remote.traffic, remote.straight.traffic
    return whole.sent - straight.sent, whole.received - straight.received


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "ann")


def film_of(studio: Studio, size: int = 23 * MIB, seed: int = 1) -> Link:
    return studio.commit({"rushes.mov": noise(size, seed), "notes.txt": b"first cut"})


# The whole way


def test_media_does_not_pass_the_server(
    store: Store, connect: Callable[..., HttpRemote], studio: Studio, tmp_path: Path
) -> None:
    url = store.serve()
    remote = connect(url)
    commit = film_of(studio)
    studio.push(remote, commit, pack_size=12 * MIB)
    assert remote.straight.traffic.sent > 23 * MIB
    assert through_the_server(remote)[0] < MIB
    assert store.keys("quarantine/") == []
    assert len(store.keys("packs/")) == 4  # two of chunks; trees with manifests; the commit

    copy, reader = Studio(tmp_path / "ben"), connect(url)
    copy.fetch(reader)
    assert reader.straight.traffic.received > 23 * MIB
    assert through_the_server(reader)[1] < MIB
    assert copy.files(commit.id) == studio.files(commit.id)
    assert (remote.straight.fallbacks, reader.straight.fallbacks) == (0, 0)

    assert {request.method for request in store.signed} == {"GET", "PUT"}
    for request in store.signed:
        assert not {"authorization", "cookie"} & set(request.headers)
        assert KEY not in str(request.headers)


@pytest.mark.parametrize("store", ["minio"], indirect=True)
def test_the_installed_commands_go_straight_unless_told_not_to(
    store: Store, mediagit: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIAGIT_API_KEY", KEY)
    with relaying(store.serve()) as front:
        film = tmp_path / "film"
        mediagit("init", film)
        (film / "rushes.mov").write_bytes(os.urandom(10_000_000))
        mediagit("add", ".", cwd=film)
        mediagit("commit", "-m", "First cut", cwd=film)
        mediagit("remote", "add", "origin", front.url + "/studio/film", cwd=film)
        mediagit("push", "-u", "origin", "main", cwd=film)
        assert sum(len(request.body) for request in front.requests) < MIB
        assert max(len(request.body) for request in store.signed) > 9_000_000

        mediagit("clone", front.url + "/studio/film", tmp_path / "copy")
        assert not [request.path for request in front.requests if request.method == "GET" and "/packs/" in request.path]
        assert content(tmp_path / "copy") == content(film)

        before = len(store.signed)
        monkeypatch.setenv("MEDIAGIT_DIRECT", "off")
        mediagit("clone", front.url + "/studio/film", tmp_path / "other")
        (film / "rushes.mov").write_bytes(os.urandom(10_000_000))
        mediagit("commit", "-am", "Second cut", cwd=film)
        mediagit("push", cwd=film)
        assert len(store.signed) == before
        assert max(len(request.body) for request in front.requests) > 9_000_000


def content(folder: Path) -> object:
    return {path: entry for path, entry in snapshot(folder).items() if not path.startswith(".mediagit/")}


@pytest.mark.parametrize("store", ["minio"], indirect=True)
def test_an_operator_can_forbid_it(store: Store, connect: Callable[..., HttpRemote], studio: Studio) -> None:
    remote = connect(store.serve(MEDIAGIT_SERVER__DIRECT="false"))
    commit = film_of(studio, 9 * MIB)
    studio.push(remote, commit, pack_size=64 * MIB)
    assert through_the_server(remote)[0] > 9 * MIB
    assert store.signed == []
    answer = ask(remote, "packs/grants", {"upload": "0" * 32, "packs": [offer(a_pack(studio, commit))]})
    assert answer["grants"] == [None]


@pytest.mark.parametrize("store", ["minio"], indirect=True)
def test_old_clients_are_answered_as_before(store: Store, connect: Callable[..., HttpRemote], studio: Studio) -> None:
    remote = connect(store.serve())
    commit = film_of(studio, 9 * MIB)
    studio.push(remote, commit, pack_size=64 * MIB)
    ids = encode_ids([commit.id])
    assert len(call(remote, "POST", "chunks/locate", ids).data) == 76
    signed = call(remote, "POST", "chunks/locate", ids, {"Accept": SIGNED_ROWS})
    assert signed.headers["Content-Type"] == SIGNED_ROWS
    assert len(signed.data) > 76


# What can happen to readers


def reading(store: Store, connect: Callable[..., HttpRemote], studio: Studio) -> tuple[Link, HttpRemote]:
    """Push, and return the commit and a client that has not read yet."""
    url = store.serve()
    commit = film_of(studio, 9 * MIB)
    studio.push(connect(url), commit, pack_size=64 * MIB)
    return commit, connect(url)


@pytest.mark.parametrize("store", ["minio", "azurite"], indirect=True)
def test_a_url_that_expired_is_asked_for_again(
    store: Store, connect: Callable[..., HttpRemote], studio: Studio, tmp_path: Path
) -> None:
    commit, reader = reading(store, connect, studio)
    store.relay.once(lambda request: is_signed(request) and request.method == "GET", Reply(403))
    copy = Studio(tmp_path / "ben")
    copy.fetch(reader)
    assert copy.files(commit.id) == studio.files(commit.id)
    assert reader.straight.fallbacks == 0
    assert through_the_server(reader)[1] < MIB


@pytest.mark.parametrize(
    "act",
    [Reply(403), Reply(302, headers={"Location": "http://127.0.0.1:9/"}), Reply(200, b"x"), Lose(forward=False)],
    ids=["forbidden", "redirect", "no range", "hangs up"],
)
@pytest.mark.parametrize("store", ["minio"], indirect=True)
def test_a_store_that_is_no_use_to_a_reader_is_left_alone(
    store: Store, connect: Callable[..., HttpRemote], studio: Studio, tmp_path: Path, act: Act
) -> None:
    commit, reader = reading(store, connect, studio)
    store.relay.always(is_signed, act)
    before = len(store.signed)
    copy = Studio(tmp_path / "ben")
    copy.fetch(reader)
    assert copy.files(commit.id) == studio.files(commit.id)
    assert reader.straight.fallbacks == 1
    assert not reader.straight.usable
    assert len(store.signed) - before <= 8  # of more than 20 ranges


# What can happen to writers


@pytest.mark.parametrize(
    "act",
    [Reply(403), Reply(400), Reply(307, headers={"Location": "http://127.0.0.1:9/"}), Lose(forward=False)],
    ids=["forbidden", "refused", "redirect", "hangs up"],
)
@pytest.mark.parametrize("store", ["minio"], indirect=True)
def test_a_store_that_is_no_use_to_a_writer_is_left_alone(
    store: Store, connect: Callable[..., HttpRemote], studio: Studio, act: Act
) -> None:
    remote = connect(store.serve())
    store.relay.always(is_signed, act)
    studio.push(remote, film_of(studio), pack_size=12 * MIB)
    assert not remote.straight.usable
    assert through_the_server(remote)[0] > 23 * MIB
    assert store.keys("quarantine/") == []


@pytest.mark.parametrize("store", ["minio", "azurite"], indirect=True)
def test_a_put_whose_answer_is_lost_does_no_harm(
    store: Store, connect: Callable[..., HttpRemote], studio: Studio
) -> None:
    url = store.serve()
    remote = connect(url)
    store.relay.once(lambda request: is_signed(request) and request.method == "PUT", Lose(forward=True))
    commit = film_of(studio)
    studio.push(remote, commit, pack_size=12 * MIB)
    assert remote.missing([commit.id]) == []
    connect(url)  # which goes on with what is left in quarantine
    emptied(store)


def emptied(store: Store) -> None:
    """Wait until nothing is in quarantine."""
    deadline = time.monotonic() + 60
    while found := store.keys("quarantine/"):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


# Packs by hand


def call(
    remote: HttpRemote, method: str, path: str, body: bytes, headers: Mapping[str, str] | None = None
) -> urllib3.BaseHTTPResponse:
    with urllib3.PoolManager(retries=False) as http:
        told = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/octet-stream", **(headers or {})}
        return http.request(method, f"{remote.url}/{path}", body=body, headers=told)


def ask(remote: HttpRemote, path: str, message: object, status: int = 200) -> Any:
    answer = call(remote, "POST", path, json.dumps(message).encode(), {"Content-Type": "application/json"})
    assert answer.status == status, answer.data
    return answer.json()


def plan(studio: Studio, commit: Link, remote: HttpRemote) -> PushPlan:
    return plan_push(
        studio.frames,
        remote,
        [RefUpdate("heads/main", commit)],
        repository=studio.repository,
        signer=studio.signer,
        observed={},
        nothing_there=True,
    )


def a_pack(studio: Studio, commit: Link) -> PackSource:
    """Return a pack of all chunks of a commit."""
    frames = studio.frames.read(studio.frames.read(commit.id).header.links[-1].id)
    manifest = next(link for link in frames.header.links if len(studio.frames.read(link.id).header.links) > 1)
    chunks = [link.id for link in studio.frames.read(manifest.id).header.links]
    (pack,) = plan_packs(studio.frames, chunks, plain=studio.plain)
    return pack


def bytes_of(pack: PackSource) -> bytes:
    return b"".join(bytes(block) for block in pack.blocks())


def offer(pack: PackSource, data: bytes | None = None) -> dict[str, object]:
    data = bytes_of(pack) if data is None else data
    return {"id": pack.id.hex(), "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def granted(remote: HttpRemote, upload: str, pack: PackSource, data: bytes) -> Any:
    (grant,) = ask(remote, "packs/grants", {"upload": upload, "packs": [offer(pack, data)]})["grants"]
    return grant


def put(grant: Any, data: bytes, **headers: str) -> int:
    """Make the request that a grant allows; return the status."""
    with urllib3.PoolManager(retries=False) as http:
        told = {name: value for name, value in grant["headers"].items() if name.lower() != "content-length"}
        return http.request("PUT", grant["url"], body=data, headers={**told, **headers}).status


def completed(remote: HttpRemote, upload: str, pack: PackSource, *, wait: bool = True) -> tuple[bool, bool]:
    """Return whether a pack is waiting, and whether it is refused."""
    answer = ask(remote, "packs/complete", {"upload": upload, "packs": [pack.id.hex()], "wait": 20 if wait else 0})
    return bool(answer["waiting"]), bool(answer["refused"])


@dataclass
class Prepared:
    """A repository on a server that has nothing yet, and one pack of chunks that its first push needs."""

    url: str
    remote: HttpRemote
    commit: Link
    pack: PackSource
    data: bytes
    upload: str

    def metadata(self, studio: Studio) -> list[PackSource]:
        """Return the packs that a push sends after the chunks."""
        found = plan(studio, self.commit, self.remote)
        small = [oid for oid in found.chunks if oid not in {row.id for row in self.pack.rows}]
        packs = [plan_packs(studio.frames, ids, plain=False, ordered=True) for ids in (small, found.nodes)]
        return [pack for some in packs for pack in some]


def send(remote: HttpRemote, packs: list[PackSource]) -> None:
    for pack in packs:
        assert remote.put_pack(pack)


@pytest.fixture
def prepared(store: Store, connect: Callable[..., HttpRemote], studio: Studio) -> Prepared:
    url = store.serve()
    remote = connect(url)
    remote.create(studio.config, {})
    commit = film_of(studio, MIB)
    pack = a_pack(studio, commit)
    return Prepared(url, remote, commit, pack, bytes_of(pack), secrets.token_hex(16))


def test_a_pack_is_known_to_its_upload_alone_until_it_is_checked(
    store: Store, prepared: Prepared, connect: Callable[..., HttpRemote], studio: Studio
) -> None:
    p, release = prepared, threading.Event()
    store.relay.always(is_copy, Hold(release))
    try:
        assert put(granted(p.remote, p.upload, p.pack, p.data), p.data) in {200, 201}
        assert completed(p.remote, p.upload, p.pack, wait=False) == (True, False)
        ids = encode_ids(row.id for row in p.pack.rows)
        assert call(p.remote, "POST", "chunks/check", ids).data == ids
        assert call(p.remote, "POST", "chunks/check", ids, {"X-Mediagit-Upload": "f" * 32}).data == ids
        assert call(p.remote, "POST", "chunks/check", ids, {"X-Mediagit-Upload": p.upload}).data == b""
        assert call(p.remote, "POST", "chunks/locate", ids).data == b""
    finally:
        store.relay.rule = lambda _: None
        release.set()
    # The server that was killed meanwhile is no loss: another one finds the pack, and needs it for the metadata.
    store.servers[0].kill()
    other = connect(store.serve())
    send(other, p.metadata(studio))
    assert other.missing(row.id for row in p.pack.rows) == []
    emptied(store)
    assert completed(other, p.upload, p.pack) == (False, False)


@pytest.mark.parametrize("store", ["minio"], indirect=True)
def test_a_killed_server_leaves_what_another_one_finishes(
    store: Store, prepared: Prepared, connect: Callable[..., HttpRemote], studio: Studio
) -> None:
    p, release = prepared, threading.Event()
    other = connect(store.serve())
    store.relay.always(is_copy, Hold(release))
    try:
        put(granted(p.remote, p.upload, p.pack, p.data), p.data)
        assert completed(p.remote, p.upload, p.pack, wait=False) == (True, False)
        store.servers[0].kill()
        assert len(store.keys("quarantine/")) == 1
    finally:
        store.relay.rule = lambda _: None
        release.set()
    send(other, p.metadata(studio))
    emptied(store)


@pytest.mark.parametrize("store", ["minio"], indirect=True)
def test_a_push_goes_on_behind_what_a_killed_one_had_put(
    store: Store, prepared: Prepared, connect: Callable[..., HttpRemote], studio: Studio
) -> None:
    p = prepared
    assert put(granted(p.remote, p.upload, p.pack, p.data), p.data) in {200, 201}
    again = connect(p.url)
    studio.push(again, p.commit)
    assert again.traffic.sent < len(p.data) // 2
    emptied(store)


def test_two_uploads_of_one_pack_and_two_completions(store: Store, prepared: Prepared) -> None:
    p, second = prepared, secrets.token_hex(16)
    grants = {upload: granted(p.remote, upload, p.pack, p.data) for upload in (p.upload, second)}
    for grant in grants.values():
        assert put(grant, p.data) in {200, 201}
    assert [completed(p.remote, upload, p.pack) for upload in (p.upload, second, p.upload)] == [(False, False)] * 3
    assert len(store.keys("packs/")) == 1
    emptied(store)
    assert granted(p.remote, p.upload, p.pack, p.data) is None  # it is there


@pytest.mark.parametrize("store", ["minio"], indirect=True)
def test_completing_what_was_never_put_is_refused(store: Store, prepared: Prepared) -> None:
    p = prepared
    granted(p.remote, p.upload, p.pack, p.data)
    assert completed(p.remote, p.upload, p.pack) == (False, True)
    assert store.keys("") == ["config"]


def test_a_wrong_pack_is_removed_and_the_next_push_heals(store: Store, prepared: Prepared, studio: Studio) -> None:
    p = prepared
    for where, length in ((5000, 0), (-100, 0), (0, 1)):  # in a frame, in the table, cut
        wrong = bytearray(p.data)
        wrong[where] ^= 1 if where else 0
        data = bytes(wrong[: len(wrong) - length])
        assert put(granted(p.remote, p.upload, p.pack, data), data) in {200, 201}
        assert completed(p.remote, p.upload, p.pack) == (False, True)
        assert store.keys("quarantine/") == []
    with pytest.raises(NotClosedError) as refused:
        send(p.remote, p.metadata(studio))
    assert set(refused.value.missing) == {row.id for row in p.pack.rows}
    studio.push(p.remote, p.commit)
    assert p.remote.missing(row.id for row in p.pack.rows) == []


@pytest.mark.parametrize("store", ["minio"], indirect=True)
def test_a_wrong_pack_is_found_by_metadata_that_needs_it(store: Store, prepared: Prepared, studio: Studio) -> None:
    p, wrong = prepared, bytearray(prepared.data)
    wrong[5000] ^= 1
    put(granted(p.remote, p.upload, p.pack, bytes(wrong)), bytes(wrong))
    with pytest.raises(NotClosedError):  # nobody has completed it
        send(p.remote, p.metadata(studio))
    assert store.keys("quarantine/") == []


@pytest.mark.parametrize("store", ["minio"], indirect=True)
def test_a_pack_that_the_store_damaged_is_sent_again_through_the_server(
    store: Store, connect: Callable[..., HttpRemote], studio: Studio
) -> None:
    remote = connect(store.serve())
    commit = film_of(studio)
    remote.create(studio.config, {})
    damaged = threading.Event()

    def damage(request: Request) -> Act | None:
        # Once it is put, and before the server looks at it.
        if is_signed(request) or damaged.is_set():
            return None
        for key in store.keys("quarantine/"):
            damaged.set()
            data = bytearray(store.film.get(key).data)
            data[5000] ^= 1
            store.film.delete(key)
            store.film.put(key, bytes(data), when=Absent())
        return None

    store.relay.rule = damage
    studio.push(remote, commit, pack_size=64 * MIB)
    assert damaged.is_set()
    assert through_the_server(remote)[0] > 23 * MIB
    assert remote.straight.traffic.sent > 23 * MIB
    assert store.keys("quarantine/") == []


def test_what_nobody_finished_is_removed_after_a_day(
    store: Store, prepared: Prepared, connect: Callable[..., HttpRemote]
) -> None:
    now = int(time.time())
    old = f"quarantine/{p_hex(16)}/{now - DAY - 60:08x}-{p_hex(32)}"
    junk = f"quarantine/{p_hex(16)}/{now:08x}-{p_hex(32)}"
    good = f"quarantine/{p_hex(16)}/{now:08x}-{prepared.pack.id.hex()}"
    strange = "quarantine/notes.txt"
    for key in (old, junk, strange):
        store.film.put(key, b"no pack at all", when=Absent())
    store.film.put(good, prepared.data, when=Absent())
    connect(prepared.url)
    deadline = time.monotonic() + 60
    while (left := store.keys("quarantine/")) != [strange]:
        assert old not in left
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    assert prepared.remote.missing(row.id for row in prepared.pack.rows) == []


def p_hex(size: int) -> str:
    return secrets.token_hex(size)


# Hostile clients


@pytest.mark.parametrize("store", [name for name in STORES if name != "fake-gcs"], indirect=True)
def test_a_grant_opens_nothing_else(store: Store, prepared: Prepared) -> None:
    p = prepared
    grant = granted(p.remote, p.upload, p.pack, p.data)
    key = f"packs/{p.pack.id.hex()[:2]}/{p.pack.id.hex()}"
    path = grant["url"].partition("?")[0]
    start = path.index("quarantine/")
    for other in (key, "refs/heads%252Fmain", "config", f"quarantine/{'f' * 32}/00000000-{p.pack.id.hex()}"):
        moved = {**grant, "url": grant["url"].replace(path[start:], other)}
        assert put(moved, p.data) == 403
    assert store.keys("") == ["config"]
    assert put(grant, p.data) in {200, 201}
    assert put(grant, p.data) in {403, 409, 412}, "it replaced what it had made"
    with urllib3.PoolManager(retries=False) as http:
        for method in ("GET", "DELETE"):
            assert http.request(method, grant["url"]).status in {400, 403}  # MinIO misses the headers that were signed


@pytest.mark.parametrize("store", BINDING, indirect=True)
def test_a_grant_is_for_these_bytes_alone(store: Store, prepared: Prepared) -> None:
    p = prepared
    grant = granted(p.remote, p.upload, p.pack, p.data)
    for body in (p.data + b"x", p.data[:-1], os.urandom(len(p.data))):
        assert put(grant, body) in {400, 403}
    assert store.keys("quarantine/") == []


PACK = {"id": "0" * 64, "size": 9, "sha256": "0" * 64}
NO_GRANTS: list[tuple[dict[str, Any], int]] = [
    ({"upload": "../../refs"}, 400),
    ({"upload": "F" * 32}, 400),
    ({"upload": ""}, 400),
    ({"packs": [{**PACK, "id": "../config"}]}, 400),
    ({"packs": [{**PACK, "sha256": "zz"}]}, 400),
    ({"packs": [{**PACK, "key": "config"}]}, 400),
    ({"packs": [{**PACK, "size": (256 << 20) + 1}]}, 413),
    ({"packs": [{**PACK, "size": 0}]}, 413),
    ({"packs": [{**PACK, "size": -1}]}, 413),
    ({"packs": [PACK] * 65}, 413),
]


@pytest.mark.parametrize("store", ["minio"], indirect=True)
def test_what_no_grant_is_given_for(store: Store, prepared: Prepared) -> None:
    for changes, status in NO_GRANTS:
        ask(prepared.remote, "packs/grants", {"upload": prepared.upload, "packs": [], **changes}, status)
    for upload in ("../../refs", "F" * 32):
        ask(prepared.remote, "packs/complete", {"upload": upload, "packs": []}, 400)
    assert store.keys("") == ["config"]


@pytest.mark.parametrize("store", ["minio"], indirect=True)
def test_metadata_does_not_come_this_way(store: Store, prepared: Prepared, studio: Studio) -> None:
    p = prepared
    nodes = p.metadata(studio)[-1]
    data = bytes_of(nodes)
    assert put(granted(p.remote, p.upload, nodes, data), data) in {200, 201}
    assert completed(p.remote, p.upload, nodes) == (False, True)
    assert store.keys("") == ["config"]
