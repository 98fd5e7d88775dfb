"""What S3 services do beyond the contract: encryption, classes, parts, credentials, and being gone."""

import base64
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mediavault_backends.api import Absent, Condition, FileSource, Matches, Version
from mediavault_backends.errors import (
    AccessDeniedError,
    BackendSetupError,
    OutcomeUnknownError,
    PreconditionFailedError,
    TransientError,
)
from mediavault_backends.probe import check_conditions
from mediavault_backends.registry import open_backend
from mediavault_backends.s3 import S3Backend
from mediavault_backends.settings import S3Settings
from tests.contract.clauses import Blocks
from tests.integration.proxy import Proxy
from tests.services import minio
from tests.services.conftest import SERVICES, make_bucket, settings_of
from tests.services.seaweed import Server

pytestmark = pytest.mark.services

Make = Callable[..., S3Settings]
PART = 5_000_000
LARGE = bytes(range(256)) * (21_000_000 // 256)
RACES = {"seaweedfs": 120, "minio": 880}
"""A thousand in all. SeaweedFS takes a second or more when several wait for one key."""
GROUPS = 8
"""Keys that are raced for at the same time."""
WRITERS = 16


def head(backend: S3Backend, key: str) -> Any:
    return backend._client().head_object(Bucket="media", Key=backend._prefix + key, **backend._reading)


def uploads(backend: S3Backend, key: str = "pack") -> list[Any]:
    """Return the uploads of a key that are not finished; MinIO tells only of whole keys."""
    answer = backend._client().list_multipart_uploads(Bucket="media", Prefix=backend._prefix + key)
    return list(answer.get("Uploads", ()))


# Writers that race


def test_of_all_races_each_has_one_winner(s3_settings: Make, s3_server: Server) -> None:
    backend = S3Backend(s3_settings())

    def run_races(group: int) -> int:
        with ThreadPoolExecutor(WRITERS) as pool:
            when: Condition = Absent()
            for race in range(RACES[s3_server.name] // GROUPS):
                # Every second race is for replacing what the race before it made.
                key = f"race/{group}/{race // 2}"
                won = [number for number, version in winners(pool, backend, key, when, b" of %d" % race) if version]
                assert len(won) == 1, f"{key}: {won}"
                blob = backend.get(key)
                assert blob.data == b"%d of %d" % (won[0], race)
                when = Absent() if race % 2 else Matches(blob.version)
        return race + 1

    with ThreadPoolExecutor(GROUPS) as groups:
        assert sum(groups.map(run_races, range(GROUPS))) == RACES[s3_server.name]


def winners(
    pool: ThreadPoolExecutor, backend: S3Backend, key: str, when: Condition, rest: bytes
) -> list[tuple[int, Version | None]]:
    """Let all writers write at once; return what each won."""
    barrier = threading.Barrier(WRITERS)

    def write(number: int) -> tuple[int, Version | None]:
        barrier.wait(60)
        for _ in range(50):
            try:
                return number, backend.put(key, b"%d" % number + rest, when=when)
            except PreconditionFailedError:
                return number, None
            except TransientError:  # the service met a conflict, and says that nothing changed
                continue
        raise AssertionError

    return list(pool.map(write, range(WRITERS)))


def test_large_uploads_race_too(minio_server: Server) -> None:
    """MinIO completes one of several uploads in parts; SeaweedFS has let two complete at the same instant."""
    backend = S3Backend(settings_of(minio_server, prefix="large-race", part_size=PART, max_concurrent_parts=2))
    with ThreadPoolExecutor(WRITERS) as pool:
        won = [number for number, version in winners(pool, backend, "pack", Absent(), bytes(6_000_000)) if version]
    assert len(won) == 1
    assert backend.get("pack").data == b"%d" % won[0] + bytes(6_000_000)
    assert uploads(backend) == []


def test_the_probe_passes(s3_settings: Make) -> None:
    backend = S3Backend(s3_settings())
    check_conditions(backend)
    assert list(backend.scan()) == []


# Large bodies


@pytest.mark.parametrize("kind", ["buffer", "source", "file"])
def test_an_object_in_parts_is_one_object(s3_settings: Make, tmp_path: Path, kind: str) -> None:
    backend = S3Backend(s3_settings(part_size=PART))
    path = tmp_path / "body"
    path.write_bytes(LARGE)
    if kind == "buffer":
        version = backend.put("pack", LARGE, when=Absent())
    elif kind == "source":
        version = backend.put("pack", Blocks(len(LARGE), (LARGE[:7], LARGE[7:])), when=Absent())
    else:
        version = backend.put("pack", FileSource(path, len(LARGE), adopt=True), when=Absent())
    assert version.endswith("-5"), "the service counts the parts in the ETag"
    blob = backend.get("pack")
    assert blob.data == LARGE
    assert blob.version == version == backend.stat("pack").version == next(iter(backend.scan())).version
    assert backend.read("pack", (5 << 20) - 3, 6) == LARGE[(5 << 20) - 3 : (5 << 20) + 3]
    assert path.exists() == (kind != "file")
    second = backend.put("pack", LARGE[1:], when=Matches(version))
    with pytest.raises(PreconditionFailedError):
        backend.put("pack", LARGE, when=Matches(version))
    assert backend.stat("pack").version == second
    assert uploads(backend) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(5, "gone")])
def test_a_cancelled_upload_leaves_no_parts(s3_settings: Make, error: BaseException) -> None:
    backend = S3Backend(s3_settings(part_size=PART, max_concurrent_parts=1))
    seen: list[int] = []

    class Failing(Blocks):
        def blocks(self) -> Any:
            yield from self.parts
            seen.append(len(uploads(backend)))
            raise error

    with pytest.raises((KeyboardInterrupt, TransientError)):
        backend.put("pack", Failing(len(LARGE), (LARGE[:12_000_000],)), when=Absent())
    assert seen == [1], "it was under way"
    assert uploads(backend) == []
    assert list(backend.scan()) == []


def test_a_body_that_changes_on_its_way_is_refused(s3_settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = S3Backend(s3_settings(part_size=PART))
    good = backend._checksum(b"what was meant")
    monkeypatch.setattr(backend, "_checksum", lambda _: good)
    for body in (b"what was sent!", bytes(6_000_000)):
        with pytest.raises((TransientError, BackendSetupError)):
            backend.put("pack", body, when=Absent())
    assert list(backend.scan()) == []
    assert uploads(backend) == []


# Settings that the service shows


@pytest.mark.parametrize("sse", ["s3", "kms"])
def test_the_service_encrypts(minio_server: Server, sse: str) -> None:
    backend = S3Backend(settings_of(minio_server, prefix=f"sse-{sse}", sse=sse, part_size=PART))
    for key, data in (("small", b"value"), ("large", LARGE)):
        version = backend.put(key, data, when=Absent())
        assert backend.get(key).data == data
        assert backend.get(key).version == version == backend.stat(key).version
        assert head(backend, key)["ServerSideEncryption"] == {"s3": "AES256", "kms": "aws:kms"}[sse]
        assert backend.put(key, b"other", when=Matches(version)) == backend.stat(key).version
    assert [stat.version for stat in backend.scan()] == [backend.stat(key).version for key in ("large", "small")]


def test_a_key_of_ones_own_encrypts(seaweed_server: Server) -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    backend = S3Backend(settings_of(seaweed_server, prefix="sse-c", sse="c", sse_customer_key=key, part_size=PART))
    version = backend.put("x", b"value", when=Absent())
    assert backend.get("x").data == b"value"
    assert backend.stat("x").version == version
    assert head(backend, "x")["SSECustomerAlgorithm"] == "AES256"
    backend.put("large", LARGE, when=Absent())
    assert backend.read("large", 6_000_000, 100) == LARGE[6_000_000:6_000_100]
    without = S3Backend(settings_of(seaweed_server, prefix="sse-c"))
    with pytest.raises((BackendSetupError, AccessDeniedError)):
        without.get("x")


def test_the_storage_class_is_kept(s3_settings: Make) -> None:
    backend = S3Backend(s3_settings(storage_class="REDUCED_REDUNDANCY", part_size=PART))
    for key, data in (("small", b"value"), ("large", LARGE)):
        backend.put(key, data, when=Absent())
        assert head(backend, key)["StorageClass"] == "REDUCED_REDUNDANCY"


def test_the_region_can_be_left_out(s3_settings: Make) -> None:
    backend = S3Backend(s3_settings(region=""))
    backend.put("x", b"value", when=Absent())
    assert backend.get("x").data == b"value"


# Refusals and failures


@pytest.mark.parametrize("changes", [{"secret_key": "wrong"}, {"access_key": "nobody"}])
def test_wrong_credentials(s3_settings: Make, changes: dict[str, object]) -> None:
    backend = S3Backend(s3_settings(**changes))
    calls: list[Callable[[], object]] = [
        lambda: backend.get("x"),
        lambda: backend.stat("x"),
        lambda: list(backend.scan()),
        lambda: backend.put("x", b"1", when=Absent()),
        lambda: backend.delete("x"),
    ]
    for call in calls:
        with pytest.raises(AccessDeniedError) as caught:
            call()
        assert "only-for-tests" not in str(caught.value)
        assert "wrong" not in str(caught.value)


def test_a_missing_bucket(s3_settings: Make, s3_server: Server) -> None:
    backend = S3Backend(s3_settings(bucket="never-made"))
    calls: list[Callable[[], object]] = [lambda: backend.get("x"), lambda: backend.stat("x")]
    if (
        s3_server.name != "seaweedfs"
    ):  # SeaweedFS makes a bucket for whoever may, and lists one that is missing as empty
        calls += [lambda: list(backend.scan()), lambda: backend.put("x", b"1", when=Absent())]
    for call in calls:
        with pytest.raises(BackendSetupError, match="no bucket never-made"):
            call()


def test_a_server_that_goes_and_comes_back(tmp_path: Path) -> None:
    with minio.running(SERVICES, tmp_path) as server:
        make_bucket(server, "media")
        backend = S3Backend(settings_of(server))
        version = backend.put("x", b"value", when=Absent())
    with pytest.raises(TransientError):
        backend.get("x")
    with pytest.raises((TransientError, OutcomeUnknownError)):
        backend.put("y", b"value", when=Absent())
    with pytest.raises(TransientError):
        list(backend.scan())
    assert version


def test_a_connection_that_is_cut(s3_settings: Make, s3_server: Server) -> None:
    with Proxy(s3_server.endpoint) as proxy:
        backend = S3Backend(s3_settings(endpoint=proxy.url, part_size=PART))
        direct = S3Backend(s3_settings())
        direct.put("x", LARGE, when=Absent())
        limit = proxy.down + 8_000_000
        proxy.on_down = lambda total: total < limit
        with pytest.raises(TransientError):
            backend.get("x")
        proxy.on_down = lambda total: total >= 0
        limit = proxy.up + 8_000_000
        proxy.on_up = lambda total: total < limit
        with pytest.raises(TransientError):
            backend.put("y", LARGE, when=Absent())
        proxy.on_up = lambda total: total >= 0
        assert backend.get("x").data == LARGE
    assert [stat.key for stat in direct.scan()] == ["x"]


def test_a_lost_answer_does_not_lose_a_put(s3_settings: Make, s3_server: Server) -> None:
    with Proxy(s3_server.endpoint) as proxy:
        settings = s3_settings(endpoint=proxy.url)
        table = {name: getattr(settings, name) for name in settings.__struct_fields__}
        backend = open_backend({"backend": "s3", "s3": table})
        version = backend.put("warm", b"", when=Absent())
        cuts = iter([False])
        proxy.on_down = lambda total: next(cuts, total >= 0)
        assert backend.put("ref", b"mine", when=Absent()) == backend.stat("ref").version
        cuts = iter([False])
        assert backend.put("warm", b"newer", when=Matches(version)) == backend.stat("warm").version
    assert backend.name == f"s3://media/{settings.prefix}"
