"""The settings of a cache: what is refused, where each of them goes, and that none is ignored."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mediavault.config import is_secret, load_settings
from mediavault.errors import ConfigError
from mediavault_backends.api import Absent
from mediavault_backends.caching import CachingBackend
from mediavault_backends.errors import BackendSetupError
from mediavault_backends.registry import open_backend, open_served
from mediavault_server.settings import ServerSettings, server_settings
from tests.integration.recorder import Asked, Recorder, Reply
from tests.integration.s3_words import forget_clouds

PACK = f"studio/film/packs/ab/ab{'0' * 62}"
BODY = bytes(3 << 20)

Table = dict[str, object]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Recorder]:
    forget_clouds(monkeypatch, tmp_path)
    with Recorder(_pack) as server:
        yield server


def _pack(asked: Asked) -> Reply:
    if asked.method == "PUT":
        return Reply(headers={"ETag": '"one"'})
    first, _, last = asked.headers["range"].removeprefix("bytes=").partition("-")
    body = BODY[int(first) : int(last) + 1]
    span = f"bytes {first}-{int(first) + len(body) - 1}/{len(BODY)}"
    return Reply(206, body, {"ETag": '"one"', "Content-Range": span})


@pytest.fixture
def table(recorder: Recorder, tmp_path: Path) -> Table:
    bucket = {
        "bucket": "media",
        "region": "us-east-1",
        "endpoint": recorder.url,
        "access_key": "a",
        "secret_key": "b",
        "force_path_style": True,
    }
    return {"backend": "s3", "s3": bucket, "cache": str(tmp_path / "cache"), "cache_size": 1 << 30}


def gets(recorder: Recorder) -> int:
    return sum(asked.method == "GET" for asked in recorder.asked)


def test_a_bucket_is_read_through_the_cache_that_is_named(recorder: Recorder, table: Table, tmp_path: Path) -> None:
    for _ in range(2):
        store = open_served(table)
        assert isinstance(store, CachingBackend)
        assert store.name == "s3://media"
        for start in range(0, len(BODY), 500_000):
            assert store.read(PACK, start, 500_000) == BODY[start : start + 500_000]
    assert gets(recorder) == 1
    assert list((tmp_path / "cache").iterdir()) != []


def test_a_cache_is_as_large_as_it_is_said(recorder: Recorder, table: Table) -> None:
    store = open_served({**table, "cache_size": 4 << 20})
    for turn in range(2):
        for number in range(2):  # either fits in, both do not
            key = f"studio/film/packs/ab/ab{number}{'0' * 61}"
            assert store.read(key, 0, 10) == BODY[:10]
        assert gets(recorder) == 2 * (turn + 1)


def test_without_a_cache_nothing_is_kept(recorder: Recorder, table: Table, tmp_path: Path) -> None:
    for store in (open_served({**table, "cache": ""}), open_backend(table)):
        assert not isinstance(store, CachingBackend)
        before = gets(recorder)
        for _ in range(2):
            store.read(PACK, 0, 10)
        assert gets(recorder) == before + 2
    store.put("refs/main", b"1", when=Absent())
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("backend", ["local", "memory", "multi"])
def test_a_cache_is_for_a_store_that_is_far_away(tmp_path: Path, backend: str) -> None:
    stores = {"primary": "local", "secondary": "memory", "local": {"path": str(tmp_path / "a")}}
    table: Table = {
        "backend": backend,
        "local": {"path": str(tmp_path)},
        "multi": stores,
        "cache": str(tmp_path / "cache"),
    }
    with pytest.raises(BackendSetupError, match="remote store"):
        open_served(table, create=True)


Read = Callable[..., ServerSettings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str, *, no_auth: bool = False) -> ServerSettings:
        file = tmp_path / "mediagit.toml"
        file.write_text(text)
        return server_settings(load_settings({}, file=file).settings, no_auth=no_auth)

    return read


def test_the_file_is_read(read: Read) -> None:
    settings = read(
        '[server]\nupstream = "https://main.example/studio/film"\nupstream_api_key = "up"\napi_key = "here"\n'
        '[storage]\ncache = "/var/cache/mediagit"\ncache_size = "20GiB"\n'
    )
    assert (settings.upstream, settings.upstream_api_key) == ("https://main.example/studio/film", "up")
    assert (settings.cache, settings.cache_size) == ("/var/cache/mediagit", 20 << 30)
    assert not settings.relay_keys
    assert settings.storage["cache"] == "/var/cache/mediagit"
    assert is_secret("server.upstream_api_key")


def test_clients_keys_are_passed_on_unless_this_server_knows_them(read: Read) -> None:
    upstream = '[server]\nupstream = "http://main.example:3000"\n'
    assert read(upstream).relay_keys
    assert not read(upstream + 'api_key = "here"\n').relay_keys
    assert not read(upstream, no_auth=True).relay_keys


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[server]\nupstream = "ftp://main.example"\n', "server.upstream"),
        ('[server]\nupstream = "http://main.example/only-a-team"\n', "server.upstream"),
        ('[server]\nupstream = "http://ann:secret@main.example"\n', "server.upstream"),
        ('[server]\nupstream = "http://main.example"\nupstream_api_key = "up"\n', "could use the key"),
        ('[server]\nupstream = "http://main.example"\n[storage]\nbackend = "s3"\n', "no repositories of its own"),
        ('[server]\nupstream = "http://main.example"\n[storage.local]\npath = "/srv"\n', "no repositories of its own"),
        ('[server]\nupstrem = "http://main.example"\n', "server.upstrem"),
        ('[storage]\ncache_size = "1MiB"\n', "cache_size"),
        ('[storage]\ncache_sise = "1GiB"\n', "storage.cache_sise"),
    ],
)
def test_what_makes_no_sense_is_refused(read: Read, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(text)
    assert message in refused.value.message
    assert "secret" not in refused.value.message
