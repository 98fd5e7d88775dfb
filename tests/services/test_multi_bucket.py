"""A folder and a real bucket as one store, with the line between them cut for a while."""

import json
import os
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from mediavault_backends.api import Absent, Backend, Condition, Matches
from mediavault_backends.errors import OutcomeUnknownError, TransientError
from mediavault_backends.local import LocalBackend
from mediavault_backends.multi import Mode, multi
from mediavault_backends.retry import retrying
from mediavault_backends.s3 import S3Backend
from mediavault_backends.settings import S3Settings
from tests.conftest import installed, server_address
from tests.contract.clauses import Clauses
from tests.contract.pairs import PACK, REF, SLOT, contents, journal_of, pair_of
from tests.services.conftest import settings_of
from tests.services.relay import Lose, Relay, relaying
from tests.services.seaweed import Server
from tests.snapshot import snapshot

pytestmark = pytest.mark.services

Run = Callable[..., "subprocess.CompletedProcess[str]"]
PATIENCE = 120.0


@pytest.fixture
def line(seaweed_server: Server) -> Iterator[Relay]:
    with relaying(seaweed_server.endpoint) as relay:
        yield relay


@pytest.fixture
def settings(seaweed_server: Server, line: Relay) -> S3Settings:
    return settings_of(seaweed_server, endpoint=line.url, prefix=f"t-{uuid.uuid4().hex}", force_path_style=True)


def cut(line: Relay) -> None:
    line.always(lambda _: True, Lose(forward=False))


def mend(line: Relay) -> None:
    line.rule = lambda _: None


def bucket(settings: S3Settings) -> Backend:
    return retrying(S3Backend(settings), 2, lambda _: None, lambda: 0.5)


class TestFolderAndBucketContract(Clauses):
    writers = 16

    @pytest.fixture(params=get_args(Mode))
    def backend(
        self,
        request: pytest.FixtureRequest,
        tmp_path: Path,
        tmp_path_factory: pytest.TempPathFactory,
        seaweed_server: Server,
    ) -> Iterator[Backend]:
        folder = LocalBackend(tmp_path / "store", create=True)
        cloud = bucket(settings_of(seaweed_server, prefix=f"t-{uuid.uuid4().hex}"))
        journal = tmp_path_factory.mktemp("journal")
        pair = multi(folder, cloud, journal_of(journal, folder, cloud), mode=request.param, read="nearest")
        yield pair
        pair.close()
        later = pair_of(journal, folder, cloud, mode=request.param)
        assert later.catch_up()
        assert contents(cloud) == contents(folder)


@pytest.mark.parametrize("mode", get_args(Mode))
def test_nothing_is_lost_while_the_line_is_cut(tmp_path: Path, settings: S3Settings, line: Relay, mode: Mode) -> None:
    folder, cloud = LocalBackend(tmp_path / "store", create=True), bucket(settings)
    pair = pair_of(folder.journal_folder, folder, cloud, mode=mode)
    version = pair.put(REF, b"one", when=Absent())
    pair.put(SLOT, b"slot", when=Absent())
    assert pair.catch_up()
    assert contents(cloud) == {REF: b"one", SLOT: b"slot"}

    cut(line)
    pack = os.urandom(6_000_000)
    writes: list[tuple[str, bytes, Condition]] = [(PACK, pack, Absent()), (REF, b"two", Matches(version))]
    for key, data, when in writes:
        if mode == "mirror":
            with pytest.raises(TransientError):
                pair.put(key, data, when=when)
        else:
            pair.put(key, data, when=when)
            assert pair.get(key).data == data
    if mode == "async":
        pair.delete(SLOT)
        assert not pair.catch_up()
    assert pair.lag().pending == (0 if mode == "mirror" else 3)
    mend(line)
    if mode == "mirror":
        # Cut in the middle: what came to the folder comes to the bucket later, and no ref that leads there before it.
        line.always(lambda request: request.method == "PUT", Lose(forward=False))
        with pytest.raises(OutcomeUnknownError):
            pair.put(PACK, pack, when=Absent())
        with pytest.raises(TransientError):
            pair.put(REF, b"two", when=Matches(version))
        assert folder.get(REF).data == b"one"
        assert not pair.catch_up()
        assert pair.lag().pending == 1
        mend(line)
        pair.put(REF, b"two", when=Matches(version))
        assert contents(cloud) == contents(folder)

    assert pair.catch_up()
    assert pair.lag().pending == 0
    assert contents(cloud) == contents(folder)
    assert contents(cloud)[PACK] == pack
    assert contents(cloud)[REF] == b"two"


def test_an_answer_of_the_bucket_that_was_lost_is_looked_up(tmp_path: Path, settings: S3Settings, line: Relay) -> None:
    folder, cloud = LocalBackend(tmp_path / "store", create=True), bucket(settings)
    pair = pair_of(folder.journal_folder, folder, cloud, mode="mirror")
    line.once(lambda request: request.method == "PUT", Lose(forward=True))
    version = pair.put(REF, b"one", when=Absent())
    line.once(lambda request: request.method == "PUT", Lose(forward=True))
    pair.put(REF, b"two", when=Matches(version))
    assert contents(cloud) == {REF: b"two"}
    assert pair.lag().pending == 0


def test_a_server_pushes_through_an_outage_and_the_bucket_alone_has_it_all(
    seaweed_server: Server, settings: S3Settings, line: Relay, mediagit: Run, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "MEDIAGIT_STORAGE__BACKEND": "multi",
        "MEDIAGIT_STORAGE__MULTI__PRIMARY": "local",
        "MEDIAGIT_STORAGE__MULTI__SECONDARY": "s3",
        "MEDIAGIT_STORAGE__MULTI__MODE": "async",
        "MEDIAGIT_STORAGE__MULTI__LOCAL__PATH": str(tmp_path / "fast"),
        "MEDIAGIT_STORAGE__MULTI__S3__BUCKET": settings.bucket,
        "MEDIAGIT_STORAGE__MULTI__S3__PREFIX": settings.prefix,
        "MEDIAGIT_STORAGE__MULTI__S3__REGION": settings.region,
        "MEDIAGIT_STORAGE__MULTI__S3__ENDPOINT": line.url,
        "MEDIAGIT_STORAGE__MULTI__S3__PART_SIZE": "5MB",
        "MEDIAGIT_STORAGE__MULTI__S3__MAX_RETRIES": "1",
        "MEDIAGIT_STORAGE__MULTI__S3__FORCE_PATH_STYLE": "true",
        "AWS_ACCESS_KEY_ID": seaweed_server.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweed_server.secret_key,
    }
    command = [installed("mediagit-server"), "--port", "0", "--no-auth"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        url = server_address(process)
        film = tmp_path / "film"
        mediagit("init", film)
        (film / "a.mov").write_bytes(os.urandom(3_000_000))
        mediagit("add", ".", cwd=film)
        mediagit("commit", "-m", "First cut", cwd=film)
        mediagit("remote", "add", "origin", f"{url}/studio/film", cwd=film)
        mediagit("push", "-u", "origin", "main", cwd=film)
        wait_until_level(url)

        cut(line)
        (film / "b.mov").write_bytes(os.urandom(6_000_000))
        mediagit("add", ".", cwd=film)
        mediagit("commit", "-m", "Second cut", cwd=film)
        mediagit("push", cwd=film)
        assert "behind" in state(url)
        mend(line)
        wait_until_level(url)
    finally:
        process.terminate()
        process.wait(timeout=60)

    alone = S3Backend(settings_of(seaweed_server, prefix=settings.prefix))
    assert contents(alone) == contents(LocalBackend(tmp_path / "fast"))
    address = f"s3://{settings.bucket}/{settings.prefix}/studio/film"
    mediagit("clone", address, tmp_path / "copy", env=direct(seaweed_server))
    assert snapshot(tmp_path / "copy") == snapshot(film)


def direct(server: Server) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_ENDPOINT_URL": server.endpoint,
        "AWS_REGION": "us-east-1",
    }


def state(url: str) -> str:
    with urllib.request.urlopen(f"{url}/readyz", timeout=30) as answer:
        found: str = json.load(answer)["checks"]["storage_secondary"]
        return found


def wait_until_level(url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while (found := state(url)) != "ok":
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
