"""Refs in SQL: PostgreSQL keeps the contract, and a real bucket that ignores conditions is safe beside a database."""

import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from mediavault.errors import RefMovedError
from mediavault.formats.ref import decode_ref_value
from mediavault.wire.client import HttpRemote
from mediavault_backends.api import Absent, Backend
from mediavault_backends.errors import AccessDeniedError, BackendError, BackendSetupError, TransientError
from mediavault_backends.prefix import prefixed
from mediavault_backends.s3 import S3Backend
from mediavault_backends.split import in_bucket
from mediavault_backends.sql import SqlBackend
from tests.conftest import installed, server_address
from tests.contract.clauses import Clauses
from tests.integration.studio import Studio
from tests.services.careless import careless
from tests.services.conftest import settings_of
from tests.services.ports import free_ports
from tests.services.postgres import PASSWORD
from tests.services.relay import Relay
from tests.services.seaweed import Server

pytestmark = pytest.mark.services

PUSHERS = 64


@pytest.fixture
def backend(postgres_url: str) -> Iterator[Backend]:
    store = SqlBackend(postgres_url, page_size=3)
    yield prefixed(store, f"t-{uuid.uuid4().hex}/")
    store.close()


class TestPostgresContract(Clauses):
    writers: ClassVar = 32


def test_keys_are_ordered_by_code_point_whatever_the_locale(backend: Backend) -> None:
    keys = ["B", "a", "a-b", "a.b", "a_b", "ab", "a%2F"]
    for key in keys:
        backend.put(key, b"", when=Absent())
    assert [stat.key for stat in backend.scan()] == sorted(keys)


def test_of_a_thousand_races_in_postgres_each_has_one_winner(postgres_url: str) -> None:
    store = SqlBackend(postgres_url)
    prefix, wins, barrier = uuid.uuid4().hex, list[int](), threading.Barrier(4)

    def run(number: int) -> None:
        for race in range(1000):
            barrier.wait()
            try:
                store.put(f"{prefix}/{race:04}", b"%d" % number, when=Absent())
            except BackendError:
                continue
            wins.append(race)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert sorted(wins) == list(range(1000))


def test_a_wrong_password_is_told_and_none_shows(postgres_url: str) -> None:
    with pytest.raises(AccessDeniedError, match="password authentication failed") as caught:
        SqlBackend(postgres_url.replace(PASSWORD, "hush-hush"))
    assert "hush-hush" not in str(caught.value)
    with pytest.raises(BackendSetupError, match="does not exist"):
        SqlBackend(postgres_url.removesuffix("/postgres") + "/nothing")


def test_a_database_that_does_not_answer_is_told() -> None:
    (port,) = free_ports(1)
    with pytest.raises(TransientError):
        SqlBackend(f"postgresql://studio@127.0.0.1:{port}/refs")


# A bucket that ignores conditions


@pytest.fixture
def relay(minio_server: Server) -> Iterator[Relay]:
    with careless(minio_server) as found:
        yield found


@pytest.fixture
def environment(minio_server: Server, relay: Relay) -> dict[str, str]:
    return {
        "MEDIAGIT_STORAGE__BACKEND": "s3",
        "MEDIAGIT_STORAGE__S3__BUCKET": "media",
        "MEDIAGIT_STORAGE__S3__PREFIX": f"careless-{uuid.uuid4().hex}",
        "MEDIAGIT_STORAGE__S3__REGION": "us-east-1",
        "MEDIAGIT_STORAGE__S3__ENDPOINT": relay.url,
        "MEDIAGIT_STORAGE__S3__PROVIDER": "minio",
        "AWS_ACCESS_KEY_ID": minio_server.access_key,
        "AWS_SECRET_ACCESS_KEY": minio_server.secret_key,
    }


@pytest.fixture
def serve() -> Iterator[Callable[[dict[str, str]], str]]:
    running: list[subprocess.Popen[str]] = []

    def start(environment: dict[str, str]) -> str:
        command = [installed("mediagit-server"), "--port", "0", "--no-auth", "--workers", "2"]
        told = {**os.environ, **environment}
        running.append(subprocess.Popen(command, env=told, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return server_address(running[-1])

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(timeout=30)


def test_the_relay_makes_a_service_careless(minio_server: Server, relay: Relay) -> None:
    store = S3Backend(settings_of(minio_server, endpoint=relay.url, prefix=f"t-{uuid.uuid4().hex}"))
    store.put("refs/a", b"first", when=Absent())
    store.put("refs/a", b"second", when=Absent())
    assert store.get("refs/a").data == b"second"
    store.close()


def test_without_a_database_the_server_does_not_start(environment: dict[str, str]) -> None:
    command = [installed("mediagit-server"), "--port", "0", "--no-auth"]
    ended = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 2
    assert "although one is there (If-None-Match)" in ended.stderr
    assert '[storage] refs = "sql"' in ended.stderr


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_with_a_database_one_of_many_pushers_wins(
    kind: str,
    environment: dict[str, str],
    serve: Callable[[dict[str, str]], str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    url = f"sqlite:///{tmp_path}/refs.db" if kind == "sqlite" else _database(request.getfixturevalue("postgres_url"))
    environment |= {"MEDIAGIT_STORAGE__REFS": "sql", "MEDIAGIT_STORAGE__SQL__URL": url}
    server = serve(environment)
    ann = Studio(tmp_path / "ann")
    base = ann.commit({"n": b"base"})
    remotes = [HttpRemote(f"{server}/studio/film") for _ in range(PUSHERS)]
    ann.push(remotes[0], base)
    targets = [ann.commit({"n": str(number).encode()}, [base.id]) for number in range(PUSHERS)]
    ann.push(remotes[0], ann.commit({"n": b"all"}, [target.id for target in targets]), "heads/all")
    values = [ann.ref_value(remotes[0], "heads/main", target, number) for number, target in enumerate(targets)]
    won, lost, start = list[int](), list[int](), threading.Barrier(PUSHERS)

    def push(number: int) -> None:
        value, etag = values[number]
        start.wait()
        try:
            remotes[number].put_ref(value, etag)
            won.append(number)
        except RefMovedError:
            lost.append(number)

    threads = [threading.Thread(target=push, args=(number,)) for number in range(PUSHERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, PUSHERS - 1)
    assert decode_ref_value(remotes[0].refs()["heads/main"].value_bytes).target == targets[won[0]]
    ben = Studio(tmp_path / "ben")
    ben.fetch(HttpRemote(f"{serve(environment)}/studio/film"))  # of another server, which sees the same
    assert ben.files(targets[won[0]].id) == {"n": str(won[0]).encode()}
    for remote in remotes:
        remote.close()

    bucket = S3Backend(
        settings_of(request.getfixturevalue("minio_server"), prefix=environment["MEDIAGIT_STORAGE__S3__PREFIX"])
    )
    mine = [stat.key for stat in bucket.scan() if not stat.key.startswith("-store/")]
    bucket.close()
    assert mine
    assert all(map(in_bucket, mine)), "only what names its content is in the bucket"


def _database(url: str) -> str:
    """Make a database of its own, and return its address."""
    import psycopg

    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return url.removesuffix("/postgres") + f"/{name}"
