"""`mediagit-server storage tier` and `restore` against real services: what they say of each object, and clones afterwards.

Azurite archives, refuses to read what is archived, and brings it back at once. MinIO has two classes, SeaweedFS keeps any name.
fake-gcs-server forgets the class of what is rewritten: a relay before it does that part, by what it was sent. What takes Amazon
hours is shown by a recorder in tests/integration/test_s3_tiers.py.
"""

import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
import pytest
import urllib3
from azure.storage.blob import ContainerClient

from mediavault.errors import RemoteError
from mediavault.model.ids import Link
from mediavault.store.keys import PACKS
from mediavault.wire.client import HttpRemote
from mediavault_backends.api import Absent, Backend, tiering_of
from mediavault_backends.azure import AzureBackend
from mediavault_backends.errors import ArchivedError, NotFoundError
from mediavault_backends.registry import open_backend
from mediavault_backends.settings import AzureSettings
from tests.conftest import installed
from tests.integration.conftest import Server as MediaServer
from tests.integration.studio import QUICK, Studio, noise
from tests.services.azurite import Azurite
from tests.services.fake_gcs import FakeGcs
from tests.services.relay import Relay, Reply, Request, relaying
from tests.services.seaweed import Server
from tests.storages import FILM, keys, part, prefix_of, remote_of

pytestmark = pytest.mark.services


class Cloud(NamedTuple):
    """A service: how to open it, what its classes are called, and what it says itself of an object's class."""

    table: Mapping[str, object]
    hot: str
    cold: str
    class_of: Callable[[str], str]
    store: Backend

    def config(self, folder: Path, **tiers: object) -> Path:
        """Write a configuration of this store, in which packs may be small and new."""
        kind = str(self.table["backend"])
        own = self.table[kind]
        assert isinstance(own, Mapping)
        wanted = {"cold": self.cold, "keep_days": 0, "min_pack": 0, **tiers}
        file = folder / "server.toml"
        file.write_text(
            f"[storage]\nbackend = {json.dumps(kind)}\n[storage.{kind}]\n{_lines(own)}[storage.tiers]\n{_lines(wanted)}"
        )
        return file


def _lines(table: Mapping[str, object]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in table.items())


def s3_cloud(server: Server) -> Cloud:
    prefix = f"tiers-{uuid.uuid4().hex}"
    settings = {
        "bucket": "media",
        "prefix": prefix,
        "region": "us-east-1",
        "endpoint": server.endpoint,
        "access_key": server.access_key,
        "secret_key": server.secret_key,
        "force_path_style": True,
    }

    client = server.client()

    def class_of(key: str) -> str:
        found = client.head_object(Bucket="media", Key=f"{prefix}/{key}")
        return str(found.get("StorageClass", "STANDARD"))

    table = {"backend": "s3", "s3": settings}
    return Cloud(table, "STANDARD", "REDUCED_REDUNDANCY", class_of, open_backend(table))


def azure_cloud(server: Azurite, tier: str = "") -> Cloud:
    prefix = f"tiers-{uuid.uuid4().hex}"
    settings = {
        "container": "media",
        "prefix": prefix,
        "endpoint": server.endpoint,
        "account_name": server.account_name,
        "account_key": server.account_key,
        "tier": tier,
    }

    def class_of(key: str) -> str:
        credential = {"account_name": server.account_name, "account_key": server.account_key}
        with ContainerClient(server.endpoint, "media", credential=credential) as client:
            return str(client.get_blob_client(f"{prefix}/{key}").get_blob_properties().blob_tier)

    table = {"backend": "azure", "azure": settings}
    return Cloud(table, "Hot", "Cool", class_of, open_backend(table))


def gcs_cloud(server: FakeGcs, endpoint: str) -> Cloud:
    prefix = f"tiers-{uuid.uuid4().hex}"
    settings = {"bucket": "media", "prefix": prefix, "endpoint": endpoint}
    table = {"backend": "gcs", "gcs": settings}

    def class_of(key: str) -> str:
        return str(server.attributes("media", f"{prefix}/{key}")["storageClass"])

    return Cloud(table, "STANDARD", "NEARLINE", class_of, open_backend(table))


@pytest.fixture
def gcs_relay(fake_gcs_server: FakeGcs) -> Iterator[Relay]:
    """Forward everything, and give an object that was rewritten the class that the request named."""

    def rule(request: Request) -> Reply | None:
        if "/rewriteTo/" not in request.path:
            return None
        assert request.query["ifGenerationMatch"] == request.query["ifSourceGenerationMatch"]
        target = request.path.partition("/rewriteTo")[2]
        address = f"{fake_gcs_server.endpoint}{request.path}?{urlencode(request.query)}"
        wanted = json.dumps({"storageClass": json.loads(request.body)["storageClass"]}).encode()
        with urllib3.PoolManager() as pool:
            answer = pool.request("POST", address, body=request.body, headers={"Content-Type": "application/json"})
            patched = pool.request("PATCH", f"{fake_gcs_server.endpoint}/storage/v1{target}", body=wanted)
        assert (answer.status, patched.status) == (200, 200)
        return Reply(answer.status, answer.data, {"Content-Type": "application/json"})

    with relaying(fake_gcs_server.endpoint) as relay:
        relay.rule = rule
        yield relay


@pytest.fixture(params=["seaweedfs", "minio", "azurite", "fake-gcs"])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    match request.param:
        case "azurite":
            return azure_cloud(request.getfixturevalue("azurite_server"))
        case "fake-gcs":
            relay = request.getfixturevalue("gcs_relay")
            return gcs_cloud(request.getfixturevalue("fake_gcs_server"), relay.url)
        case name:
            servers = {"seaweedfs": "seaweed_server", "minio": "minio_server"}
            return s3_cloud(request.getfixturevalue(servers[name]))


class Film(NamedTuple):
    """A repository with a branch, and one that was deleted; the packs that only the second one needed."""

    ann: Studio
    main: Link
    files: dict[str, bytes]
    cut: Link
    cut_files: dict[str, bytes]
    idle: frozenset[str]


def push_film(store: Backend, folder: Path) -> Film:
    ann = Studio(folder / "ann")
    remote = remote_of(store, folder)
    files = {"rushes.mov": noise(900_000, 1)}
    first = ann.commit(files)
    ann.push(remote, first, pack_size=300_000)
    before = set(keys(part(store), PACKS))
    cut_files = {**files, "cut.mov": noise(700_000, 2)}
    cut = ann.commit(cut_files, [first.id])
    ann.push(remote, cut, "heads/old-cut", pack_size=300_000)
    idle = {key for key in set(keys(part(store), PACKS)) - before if part(store).stat(key).size > 100_000}
    ann.push(remote, None, "heads/old-cut")
    files = {**files, "sound.wav": noise(400_000, 3)}
    main = ann.commit(files, [first.id])
    ann.push(remote, main, pack_size=300_000)
    assert len(idle) >= 2
    return Film(ann, main, files, cut, cut_files, frozenset(idle))


def storage(verb: str, config: Path, *words: str, code: int = 0) -> Any:
    command = [installed("mediagit-server"), "storage", verb, "--config", str(config), "--json", *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return json.loads(ended.stdout)


def classes(cloud: Cloud) -> dict[str, str]:
    """Return what the service says of each pack."""
    return {key: cloud.class_of(prefix_of(FILM) + key) for key in keys(part(cloud.store), PACKS)}


def clone(store: Backend, folder: Path, film: Film) -> None:
    ben = Studio(folder / "ben")
    ben.fetch(remote_of(store, folder / "ben"))
    assert ben.files(film.main.id) == film.files


def test_packs_that_no_branch_needs_go_to_the_cold_class_and_come_back(cloud: Cloud, tmp_path: Path) -> None:
    film = push_film(cloud.store, tmp_path)
    config = cloud.config(tmp_path)
    original = {key: cloud.store.get(key).data for key in keys(cloud.store, prefix_of(FILM))}

    planned = storage("tier", config, "--dry-run")
    assert set(classes(cloud).values()) == {cloud.hot}
    told = storage("tier", config)
    assert {key for key, name in classes(cloud).items() if name == cloud.cold} == film.idle
    assert set(classes(cloud).values()) == {cloud.hot, cloud.cold}
    assert told["to_cold"]["packs"] == len(film.idle)
    assert told["to_cold"]["bytes"] == sum(len(original[prefix_of(FILM) + key]) for key in film.idle)
    assert told["after"][cloud.cold] == told["to_cold"]
    assert {**planned, "dry_run": False} == told
    assert storage("tier", config)["to_cold"]["packs"] == 0
    assert {key: cloud.store.get(key).data for key in keys(cloud.store, prefix_of(FILM))} == original
    clone(cloud.store, tmp_path, film)

    # The cut is taken up again: what it needs is hot again.
    film.ann.push(remote_of(cloud.store, tmp_path), film.cut, "heads/new-cut")
    told = storage("tier", config)
    assert told["to_hot"]["packs"] == len(film.idle)
    assert set(classes(cloud).values()) == {cloud.hot}


def test_a_pack_keeps_its_bytes_and_a_missing_one_is_named(cloud: Cloud) -> None:
    store = cloud.store
    key = f"packs/ab/ab{'0' * 62}"
    data = noise(200_000, 4)
    store.put(key, data, when=Absent())
    found = tiering_of(store, key)
    assert found is not None
    tiering, inner = found
    for name in (cloud.cold, cloud.cold, cloud.hot, cloud.cold):
        tiering.set_tier(inner, name)
        assert tiering.tier(inner) == (name, True, False)
        assert cloud.class_of(key) == name
        assert store.get(key).data == data
    tiering.restore(inner, days=1)
    store.delete(key)
    for call in (
        lambda: tiering.tier(inner),
        lambda: tiering.set_tier(inner, cloud.hot),
        lambda: tiering.restore(inner, days=1),
    ):
        with pytest.raises(NotFoundError):
            call()


def test_a_class_that_the_store_does_not_have_moves_nothing(minio_server: Server, tmp_path: Path) -> None:
    cloud = s3_cloud(minio_server)
    push_film(cloud.store, tmp_path)
    told = storage("tier", cloud.config(tmp_path, cold="FRIGID"), code=2)
    assert "cannot be moved to the storage class FRIGID: " in told["error"]["message"]
    assert "InvalidStorageClass" in told["error"]["message"]
    assert set(classes(cloud).values()) == {cloud.hot}


def test_a_tier_that_azure_does_not_have_moves_nothing(azurite_server: Azurite, tmp_path: Path) -> None:
    cloud = azure_cloud(azurite_server)
    push_film(cloud.store, tmp_path)
    told = storage("tier", cloud.config(tmp_path, cold="Chilly"), code=2)
    assert "Azure has no tier 'Chilly'; it has Archive, Cool," in told["error"]["message"]
    assert set(classes(cloud).values()) == {cloud.hot}


def test_a_store_that_forgets_the_class_is_found_out(fake_gcs_server: FakeGcs, tmp_path: Path) -> None:
    cloud = gcs_cloud(fake_gcs_server, fake_gcs_server.endpoint)
    film = push_film(cloud.store, tmp_path)
    told = storage("tier", cloud.config(tmp_path), code=1)
    assert "was to move packs/" in told["error"]["message"]
    assert "to NEARLINE, and has" in told["error"]["message"]
    assert "in STANDARD" in told["error"]["message"]
    clone(cloud.store, tmp_path, film)


@pytest.fixture
def archive(azurite_server: Azurite, tmp_path: Path) -> tuple[Cloud, Film, Path]:
    """Return a store where all that no branch needs is in Archive."""
    cloud = azure_cloud(azurite_server)._replace(cold="Archive")
    film = push_film(cloud.store, tmp_path)
    config = cloud.config(tmp_path)
    storage("tier", config)
    assert {key for key, name in classes(cloud).items() if name == "Archive"} == film.idle
    return cloud, film, config


def serve(config: Path, folder: Path) -> MediaServer:
    command = [installed("mediagit-server"), "--config", str(config), "--port", "0", "--no-auth"]
    return MediaServer(command, os.environ, folder / "server.log", folder)


def test_what_is_archived_is_refused_in_words_until_it_is_restored(
    archive: tuple[Cloud, Film, Path], tmp_path: Path
) -> None:
    cloud, film, config = archive
    key = min(film.idle)
    with pytest.raises(ArchivedError, match="archived"):
        part(cloud.store).read(key, 0, 1)
    clone(cloud.store, tmp_path, film)

    server = serve(config, tmp_path)
    remote = HttpRemote(f"{server.url}/{FILM}", patience=QUICK)
    try:
        film.ann.push(remote, film.cut, "heads/new-cut")
        requests = remote.traffic.requests
        with pytest.raises(
            RemoteError, match="is in an archive class; an operator runs `mediagit-server storage restore`"
        ):
            Studio(tmp_path / "cara").fetch(remote)
        assert remote.traffic.requests - requests < 20, "it was asked again and again"
        with pytest.raises(RemoteError, match="archived"):
            Studio(tmp_path / "dora").fetch(remote_of(cloud.store, tmp_path))

        told = storage("tier", config)
        assert (told["archived"]["packs"], told["to_cold"]["packs"]) == (len(film.idle), 0)
        planned = storage("restore", config, "--dry-run", "--ref", "new-cut")
        assert planned["repositories"][0]["asked"]["packs"] == len(film.idle)
        assert not planned["done"]
        assert {key for key, name in classes(cloud).items() if name == "Archive"} == film.idle
        told = storage("restore", config, "--ref", "new-cut", "--wait", "--project", FILM)
        assert told["done"]
        assert told["repositories"][0]["ready"] == told["repositories"][0]["wanted"]
        studio = Studio(tmp_path / "eve")
        studio.fetch(remote)
        assert studio.files(film.cut.id) == film.cut_files
    finally:
        remote.close()
        assert server.stop() == 0, server.output


def test_a_deleted_branch_or_everything_is_restored_by_name(archive: tuple[Cloud, Film, Path]) -> None:
    cloud, film, config = archive
    told = storage("restore", config, "--ref", "no-such-branch", code=1)
    assert "No branch, tag or commit no-such-branch" in told["error"]["message"]
    told = storage("restore", config, "--ref", "main")
    assert told["done"]
    assert {key for key, name in classes(cloud).items() if name == "Archive"} == film.idle
    storage("restore", config, "--ref", "old-cut")
    assert set(classes(cloud).values()) == {"Hot"}
    storage("tier", config)
    storage("restore", config, "--ref", film.cut.id.hex())
    assert set(classes(cloud).values()) == {"Hot"}
    storage("tier", config)
    assert storage("restore", config, "--all")["done"]
    assert set(classes(cloud).values()) == {"Hot"}


def test_azure_is_asked_for_the_tier_of_new_objects_at_the_usual_speed(azurite_server: Azurite) -> None:
    cloud = azure_cloud(azurite_server, tier="Cool")
    key = f"packs/ab/ab{'0' * 62}"
    cloud.store.put(key, b"pack", when=Absent())
    with relaying(azurite_server.endpoint.rpartition("/")[0]) as relay:
        settings = cloud.table["azure"]
        assert isinstance(settings, Mapping)
        endpoint = f"{relay.url}/{azurite_server.account_name}"
        backend = AzureBackend(msgspec.convert({**settings, "endpoint": endpoint}, AzureSettings))
        backend.set_tier(key, "Archive")
        assert backend.tier(key) == ("Archive", False, False)
        backend.restore(key, days=1)
        assert backend.tier(key) == ("Cool", True, False)
        moves = [request.headers for request in relay.requests if request.query.get("comp") == "tier"]
        backend.close()
    assert [headers["x-ms-access-tier"] for headers in moves] == ["Archive", "Cool"]
    assert [headers.get("x-ms-rehydrate-priority") for headers in moves] == [None, "Standard"]


def test_archived_metadata_is_restored_first(azurite_server: Azurite, tmp_path: Path) -> None:
    cloud = azure_cloud(azurite_server, tier="Archive")
    ann = Studio(tmp_path / "ann")
    files = {"rushes.mov": noise(500_000, 1)}
    commit = ann.commit(files)
    ann.push(remote_of(cloud.store, tmp_path), commit)
    assert set(classes(cloud).values()) == {"Archive"}
    told = storage("restore", cloud.config(tmp_path, cold="Cool"), "--wait")
    assert told["done"]
    assert set(classes(cloud).values()) == {"Hot"}
    ben = Studio(tmp_path / "ben")
    ben.fetch(remote_of(cloud.store, tmp_path / "ben"))
    assert ben.files(commit.id) == files


def test_checking_a_store_says_what_is_archived(archive: tuple[Cloud, Film, Path]) -> None:
    _, _, config = archive
    told = storage("verify", config, "config", code=4)
    assert "Something is in an archive class" in told["error"]["message"]
    assert "storage restore --all" in told["error"]["hint"]
