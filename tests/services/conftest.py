"""Real servers, one of each for a whole run; a server that is missing is a failure, never a skip."""

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Final

import pytest

from mediavault_backends.settings import S3Settings
from tests.services import azurite, fake_gcs, minio, postgres, seaweed
from tests.services.seaweed import Server

SERVICES = Path(__file__).resolve().parents[2] / ".services"
NAMES: Final = {
    "seaweed_server": "SeaweedFS",
    "minio_server": "MinIO",
    "azurite_server": "Azurite",
    "azurite_with_database": "Azurite",
    "fake_gcs_server": "fake-gcs-server",
    "fake_gcs_of_files": "fake-gcs-server",
    "postgres_url": "PostgreSQL",
}
PASSED = pytest.StashKey[Counter[tuple[str, str]]]()
"""How many tests passed, by server and file."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[PASSED] = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note which servers a test that passed was run against."""
    report = yield
    if call.when == "call" and report.passed:
        for fixture in NAMES.keys() & item._request._fixture_defs.keys():
            item.config.stash[PASSED][NAMES[fixture], item.path.stem.removeprefix("test_")] += 1
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what ran against which server."""
    found = config.stash[PASSED]
    if not found:
        return
    terminalreporter.section("what passed against which server")
    for server in dict.fromkeys(NAMES.values()):
        files = {file: count for (name, file), count in sorted(found.items()) if name == server}
        listed = ", ".join(f"{file} {count}" for file, count in files.items())
        terminalreporter.write_line(f"{server:16} {sum(files.values()):4}   {listed or 'NOTHING'}")


@pytest.fixture(autouse=True)
def no_cloud_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the developer's cloud settings, and the cloud that CI may run in, out of every test."""
    import os

    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    nowhere = tmp_path_factory.mktemp("no-cloud")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def seaweed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with seaweed.running(SERVICES, tmp_path_factory.mktemp("seaweed")) as server:
        make_bucket(server, "media")
        yield server


@pytest.fixture(scope="session")
def minio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with minio.running(SERVICES, tmp_path_factory.mktemp("minio")) as server:
        make_bucket(server, "media")
        yield server


@pytest.fixture(params=["seaweedfs", "minio"])
def s3_server(request: pytest.FixtureRequest) -> Server:
    names = {"seaweedfs": "seaweed_server", "minio": "minio_server"}
    server: Server = request.getfixturevalue(names[request.param])
    return server


@pytest.fixture
def s3_settings(s3_server: Server) -> Callable[..., S3Settings]:
    """Return settings for the server, with a prefix of the test's own; keywords go over them."""
    import uuid

    prefix = f"t-{uuid.uuid4().hex}"

    def make(**changes: object) -> S3Settings:
        return settings_of(s3_server, **{"prefix": prefix, **changes})

    return make


def settings_of(server: Server, **changes: object) -> S3Settings:
    import msgspec

    usual: dict[str, object] = {
        "bucket": "media",
        "region": "us-east-1",
        "endpoint": server.endpoint,
        "access_key": server.access_key,
        "secret_key": server.secret_key,
        "provider": "minio" if server.name == "minio" else "",
    }
    return msgspec.convert({**usual, **changes}, S3Settings)


def make_bucket(server: Server, bucket: str) -> None:
    client = server.client()
    client.create_bucket(Bucket=bucket)
    client.close()


@pytest.fixture
def azurite_folder() -> Path:
    return SERVICES


@pytest.fixture(scope="session")
def azurite_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[azurite.Azurite]:
    with azurite.running(SERVICES, tmp_path_factory.mktemp("azurite")) as server:
        server.make_container("media")
        yield server


@pytest.fixture
def azurite_with_database(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[azurite.Azurite]:
    """One that finds a blob by an index; by itself it reads all it knows for each blob that is made."""
    with (
        postgres.running(tmp_path_factory.mktemp("postgres")) as url,
        azurite.running(SERVICES, tmp_path, database=url) as server,
    ):
        server.make_container("media")
        yield server


@pytest.fixture(scope="session")
def fake_gcs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fake_gcs.FakeGcs]:
    with fake_gcs.running(SERVICES, tmp_path_factory.mktemp("fake-gcs")) as server:
        server.make_bucket("media")
        yield server


@pytest.fixture
def fake_gcs_of_files(tmp_path: Path) -> Iterator[fake_gcs.FakeGcs]:
    """One that finds an object by its path; in memory it reads all it knows for each object that is made."""
    objects = tmp_path / "objects"
    objects.mkdir()
    with fake_gcs.running(SERVICES, tmp_path, objects=objects) as server:
        server.make_bucket("media")
        yield server


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a database of its own."""
    with postgres.running(tmp_path_factory.mktemp("postgres")) as url:
        yield url
