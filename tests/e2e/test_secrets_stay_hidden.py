"""No secret shows: not in lists of settings, errors, a server's log, or the arguments of its processes."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mediavault.config import known_keys
from tests.conftest import installed, server_address
from tests.film import Film, new_film

SECRET = "hush-hush-4711"
SECRET_WORDS = ("key", "password", "secret", "token")
NO_SECRETS = {"storage.s3.sse_kms_key_id"}
"""Settings whose names sound like secrets: this one names a key that the service holds."""


def secret_settings() -> list[str]:
    """Return every setting that holds a secret, by its name: a new one is found here without being listed."""
    found = [
        known.pattern.replace("*", "http://127.0.0.1:1")
        for known in known_keys()
        if known.type is str and any(word in known.pattern.rpartition(".")[2] for word in SECRET_WORDS)
    ]
    return [key for key in found if key not in NO_SECRETS] + ["storage.sql.url"]


def test_secrets_are_known_by_their_names() -> None:
    assert {"server.api_key", "network.api_key", "storage.s3.secret_key", "storage.azure.account_key"} <= set(
        secret_settings()
    )


@pytest.mark.parametrize("key", secret_settings())
def test_a_list_of_settings_shows_no_secret(key: str, tmp_path: Path) -> None:
    film = new_film(tmp_path / "film", "--no-encryption")
    film("config", "set", "--user", key, SECRET)
    for flags in ((), ("--all",), ("--show-origin",), ("--json",)):
        shown = film("config", "list", *flags)
        assert SECRET not in shown + film.errors
        assert key.rpartition(".")[2] in shown


@pytest.mark.parametrize("key", secret_settings())
def test_a_wrong_value_of_a_secret_is_not_repeated(key: str, tmp_path: Path) -> None:
    film = new_film(tmp_path / "film", "--no-encryption")
    file = Path(os.environ["MEDIAGIT_HOME"]) / "mediagit.toml"
    table, _, name = key.rpartition(".")
    table = table.replace("credentials.http://127.0.0.1:1", 'credentials."http://127.0.0.1:1"')
    file.write_text(f'[{table}]\n{name} = ["{SECRET}"]\n')
    error = film("status", exit_code=2)
    assert SECRET not in error
    assert name in error


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[str]", str, Path]]:
    """A server of two processes with secrets in its environment, and the file that it logs to."""
    log = tmp_path / "log"
    environment = {
        **os.environ,
        "MEDIAGIT_API_KEY": SECRET,
        "MEDIAGIT_STORAGE__S3__SECRET_KEY": SECRET,
        "MEDIAGIT_STORAGE__AZURE__ACCOUNT_KEY": SECRET,
        "MEDIAGIT_STORAGE__SQL__URL": f"postgresql://studio:{SECRET}@127.0.0.1:1/refs",
    }
    command = [installed("mediagit-server"), "--storage", str(tmp_path / "store"), "--port", "0", "--workers", "2"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=output, text=True)
    url = server_address(process)
    yield process, url, log
    process.terminate()
    process.wait(timeout=60)


def test_no_process_of_a_server_has_a_secret_among_its_arguments(
    server: tuple["subprocess.Popen[str]", str, Path],
) -> None:
    process, _, _ = server
    seen = {process.pid: arguments(process.pid)}
    deadline = time.monotonic() + 60
    while len(seen) < 3 and time.monotonic() < deadline:
        seen |= {pid: arguments(pid) for pid in children(process.pid)}
        time.sleep(0.05)
    assert len(seen) >= 3, "a server and its two workers"
    assert not any(SECRET in words for words in seen.values())


def arguments(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def children(parent: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def test_a_server_s_log_and_a_client_s_errors_hold_no_secret(
    server: tuple["subprocess.Popen[str]", str, Path], tmp_path: Path
) -> None:
    _, url, log = server
    film = new_film(tmp_path / "film", "--no-encryption")
    film.write("a", "1")
    film("add", ".")
    film("commit", "-m", "one")
    film("remote", "add", "origin", f"{url}/studio/film")
    refused = film("push", "origin", "main", exit_code=6, env={"MEDIAGIT_NETWORK__API_KEY": f"{SECRET}-wrong"})
    film("push", "origin", "main", env={"MEDIAGIT_NETWORK__API_KEY": SECRET})
    (next((tmp_path / "store").rglob("packs/*/*"))).write_bytes(b"damaged")
    (tmp_path / "store" / "studio" / "film" / "config").write_bytes(b"damaged")
    failed = Film(tmp_path)(
        "clone", f"{url}/studio/film", "copy", exit_code=5, env={"MEDIAGIT_NETWORK__API_KEY": SECRET}
    )
    assert SECRET not in refused + failed + log.read_text()


@pytest.mark.parametrize(
    "settings",
    [
        {
            "BACKEND": "s3",
            "S3__BUCKET": "b",
            "S3__ENDPOINT": "http://127.0.0.1:1",
            "S3__ACCESS_KEY": "a",
            "S3__SECRET_KEY": SECRET,
            "S3__MAX_RETRIES": "0",
        },
        {"BACKEND": "s3", "S3__BUCKET": "b", "S3__SSE": "c", "S3__SSE_CUSTOMER_KEY": SECRET},
        {"BACKEND": "azure", "AZURE__ACCOUNT_NAME": "a", "AZURE__CONTAINER": "c", "AZURE__ACCOUNT_KEY": SECRET},
        {"BACKEND": "memory", "REFS": "sql", "SQL__URL": f"postgresql://studio:{SECRET}@127.0.0.1:1/refs"},
        {"BACKEND": "memory", "REFS": "sql", "SQL__URL": f"mysql://studio:{SECRET}@127.0.0.1/refs"},
    ],
    ids=["s3", "sse", "azure", "postgresql", "mysql"],
)
def test_a_server_that_cannot_start_tells_no_secret(settings: dict[str, str]) -> None:
    told = {f"MEDIAGIT_STORAGE__{name}": value for name, value in settings.items()}
    command = [installed("mediagit-server"), "--port", "0", "--no-auth"]
    ended = subprocess.run(
        command, env={**os.environ, **told}, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert SECRET not in ended.stderr + ended.stdout


@pytest.mark.parametrize("place", ["folder", "server"])
def test_another_repository_is_refused_by_id(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"file://{tmp_path}/nas" if place == "folder" else f"{request.getfixturevalue('serve')()}/studio/film"
    told = []
    for name in ("film", "other"):
        film = new_film(tmp_path / name, "--no-encryption")
        film.write("a", name)
        film("add", ".")
        film("commit", "-m", "one")
        film("remote", "add", "origin", url)
        told.append(repository_id(film))
    Film(tmp_path / "film")("push", "origin", "main")
    error = Film(tmp_path / "other")("push", "origin", "main", exit_code=3)
    assert told[0] in error
    assert told[1] in error


def repository_id(film: Film) -> str:
    from mediavault.formats.config import decode_config

    return decode_config((film.root / ".mediagit" / "store" / "config").read_bytes()).repository.hex()
