"""`mediagit-server storage copy` and `verify` between real stores: folder, S3, folder, Azure; killed on the way; read by a server."""

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from mediavault_backends.api import Backend
from mediavault_backends.local import LocalBackend
from mediavault_backends.registry import open_backend
from tests.conftest import installed
from tests.integration.studio import Studio, noise
from tests.services.azurite import Azurite
from tests.services.seaweed import Server
from tests.storages import FILM, Filled, fill, flip, held, keys, largest, part, prefix_of, remote_of

pytestmark = pytest.mark.services


@pytest.fixture
def prefix() -> str:
    return f"moved-{uuid.uuid4().hex}"


@pytest.fixture
def environment(seaweed_server: Server, azurite_server: Azurite) -> dict[str, str]:
    """Return what tells the command how to reach both services; the addresses tell where in them."""
    return {
        **os.environ,
        "MEDIAGIT_STORAGE__S3__ENDPOINT": seaweed_server.endpoint,
        "MEDIAGIT_STORAGE__S3__REGION": "us-east-1",
        "MEDIAGIT_STORAGE__S3__FORCE_PATH_STYLE": "true",
        "MEDIAGIT_STORAGE__S3__PART_SIZE": "5MB",
        "AWS_ACCESS_KEY_ID": seaweed_server.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweed_server.secret_key,
        "AZURE_STORAGE_ACCOUNT": azurite_server.account_name,
        "AZURE_STORAGE_KEY": azurite_server.account_key,
        "AZURE_STORAGE_SERVICE_ENDPOINT": azurite_server.endpoint,
    }


@pytest.fixture
def bucket(seaweed_server: Server, prefix: str) -> Backend:
    settings = {
        "bucket": "media",
        "prefix": prefix,
        "region": "us-east-1",
        "endpoint": seaweed_server.endpoint,
        "access_key": seaweed_server.access_key,
        "secret_key": seaweed_server.secret_key,
        "force_path_style": True,
    }
    return open_backend({"backend": "s3", "s3": settings})


@pytest.fixture
def container(azurite_server: Azurite, prefix: str) -> Backend:
    settings = {
        "container": "media",
        "prefix": prefix,
        "endpoint": azurite_server.endpoint,
        "account_name": azurite_server.account_name,
        "account_key": azurite_server.account_key,
    }
    return open_backend({"backend": "azure", "azure": settings})


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    """Fill the folder `old`, with a pack that goes to S3 in parts."""
    store = LocalBackend(tmp_path / "old", create=True)
    made = fill(store, tmp_path)
    files = {**made.files, "long.mov": noise(12_000_000, 5)}
    tip = made.ann.commit(files, [made.tip.id])
    made.ann.push(remote_of(store, tmp_path), tip, pack_size=8 << 20)
    return made._replace(tip=tip, files=files)


def storage(*words: str, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    command = [installed("mediagit-server"), "storage", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=250)


def done(*words: str, env: Mapping[str, str]) -> str:
    ended = storage(*words, env=env)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_a_storage_moves_from_folder_to_s3_to_folder_to_azure(
    filled: Filled, environment: dict[str, str], prefix: str, *, bucket: Backend, container: Backend, tmp_path: Path
) -> None:
    old, back = f"file://{tmp_path}/old", f"file://{tmp_path}/back"
    s3, azure = f"s3://media/{prefix}", f"az://media/{prefix}"
    original = held(LocalBackend(tmp_path / "old"))
    done("copy", old, s3, env=environment)
    assert held(bucket) == original
    assert any("-" in stat.version for stat in bucket.scan(prefix_of(FILM) + "packs/")), "no pack went in parts"
    again = json.loads(done("copy", old, s3, "--json", env=environment))
    assert (again["objects"], again["there"]) == (0, len(original))
    done("verify", old, "--against", s3, env=environment)

    done("copy", s3, back, env=environment)
    assert held(LocalBackend(tmp_path / "back")) == original
    done("copy", back, azure, env=environment)
    assert held(container) == original
    done("verify", azure, env=environment)

    # Who clones from the last copy gets it all.
    studio = Studio(tmp_path / "studio")
    studio.fetch(remote_of(container, tmp_path / "studio"))
    assert studio.files(filled.tip.id) == filled.files

    key = largest(container, prefix_of(FILM) + "packs/")
    flip(container, key, 500)
    for words in (["verify", azure], ["verify", s3, "--against", azure]):
        ended = storage(*words, env=environment)
        assert ended.returncode == 5, ended.stdout + ended.stderr
        assert key in ended.stdout

    tip = filled.ann.commit({**filled.files, "notes.txt": b"third"}, [filled.tip.id])
    filled.ann.push(remote_of(LocalBackend(tmp_path / "old"), tmp_path), tip)
    later = json.loads(done("copy", old, s3, "--json", env=environment))
    assert later["refs"] == 1
    assert later["bytes"] < 1_000_000
    ended = storage("copy", back, s3, env=environment)
    assert ended.returncode == 3
    assert "heads/main of studio/film is at move 4 there, and at move 3 here" in ended.stderr


def test_a_copy_to_s3_that_is_killed_goes_on(
    filled: Filled, environment: dict[str, str], prefix: str, *, bucket: Backend, tmp_path: Path
) -> None:
    del filled
    words = ["copy", f"file://{tmp_path}/old", f"s3://media/{prefix}", "--json"]
    original = held(LocalBackend(tmp_path / "old"))
    command = [installed("mediagit-server"), "storage", *words, "--bandwidth", "2MiB"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list(bucket.scan(prefix_of(FILM)))) < 2:
            time.sleep(0.05)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    there = [stat for stat in bucket.scan() if not stat.key.startswith("-")]
    assert 0 < len(there) < len(original)
    assert not keys(part(bucket), "config")
    assert not keys(part(bucket), "refs/")
    told = json.loads(done(*words, env=environment))
    assert told["objects"] + told["there"] == len(original)
    assert told["there"] >= len(there), "what was there is not sent again"
    assert held(bucket) == original
