"""Settings: layers, origins, names that do not exist, edits that keep comments."""

import tomllib
from pathlib import Path

import pytest

from mediavault.config import (
    Settings,
    edit_text,
    find_key,
    is_secret,
    known_keys,
    load_settings,
    parse_size,
    parse_text,
    read_file,
    user_folder,
)
from mediavault.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "mediagit.toml.example"


def _home(folder: Path, text: str = "") -> dict[str, str]:
    (folder / "home").mkdir(exist_ok=True)
    (folder / "home" / "mediagit.toml").write_text(text)
    return {"MEDIAGIT_HOME": str(folder / "home")}


def test_without_any_file_every_setting_has_its_default(tmp_path: Path) -> None:
    loaded = load_settings(_home(tmp_path), system=tmp_path / "none.toml")
    assert loaded.settings == Settings()
    assert not loaded.origins


def test_each_layer_wins_over_the_one_before(tmp_path: Path) -> None:
    system, repository = tmp_path / "system.toml", tmp_path / "repository.toml"
    system.write_text("[core]\nworkers = 1\ncompression_level = 2\npadding = false\n[network]\nretries = 9\n")
    environ = _home(tmp_path, "[core]\nworkers = 2\ncompression_level = 3\npadding = true\n")
    repository.write_text("[core]\nworkers = 3\ncompression_level = 4\n")
    environ["MEDIAGIT_CORE__WORKERS"] = "4"
    loaded = load_settings(environ, repository=repository, system=system)
    core = loaded.settings.core
    assert (core.workers, core.compression_level, core.padding, loaded.settings.network.retries) == (4, 4, True, 9)
    assert loaded.origins["core.workers"] == "MEDIAGIT_CORE__WORKERS"
    assert loaded.origins["core.compression_level"] == str(repository)
    assert loaded.origins["core.padding"] == str(tmp_path / "home" / "mediagit.toml")
    assert loaded.origins["network.retries"] == str(system)
    flagged = load_settings(environ, repository=repository, system=system, flags={"core.workers": 5, "user.name": None})
    assert flagged.settings.core.workers == 5
    assert flagged.origins["core.workers"] == "command line"


def test_a_named_file_replaces_all_others_and_must_exist(tmp_path: Path) -> None:
    named = tmp_path / "server.toml"
    named.write_text("[server]\nport = 81\n")
    environ = _home(tmp_path, "[server]\nport = 80\nworkers = 7\n")
    server = load_settings(environ, file=named).settings.server
    assert (server.port, server.workers) == (81, 1)
    with pytest.raises(ConfigError, match="There is no file"):
        load_settings(environ, file=tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("[core]\npack_sise = 1\n", "core.pack_size"),
        ("[cor]\nworkers = 1\n", "core.workers"),
        ("[remote.origin]\nurll = 'x'\n", "remote.NAME.url"),
        ("[storage.locl]\npath = 'x'\n", "storage.local.path"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_nearest(tmp_path: Path, text: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(_home(tmp_path, text))
    assert near in caught.value.hint
    assert "mediagit.toml" in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "[core]\nworkers = '2'\n",
        "[core]\nworkers = -1\n",
        "[core]\npadding = 1\n",
        "[core]\npack_size = 'much'\n",
        "[core]\npack_size = '1GiB'\n",
        "[server]\nport = 65536\n",
        "[keys]\nstore = 'paper'\n",
        "core = 3\n",
        "[user]\nname = ['a']\n",
        "not toml",
        "[remote.origin]\nurl = ''\n",
        "[branch]\nremote = 'x'\n",
    ],
)
def test_a_value_that_does_not_fit_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load_settings(_home(tmp_path, text))


def test_the_environment_has_long_and_short_names(tmp_path: Path) -> None:
    environ = _home(tmp_path) | {
        "MEDIAGIT_PORT": "81",
        "MEDIAGIT_HOST": "0.0.0.0",
        "MEDIAGIT_API_KEY": "12345",
        "MEDIAGIT_AUTHOR_NAME": "Ada",
        "MEDIAGIT_AUTHOR_EMAIL": "ada@example.org",
        "MEDIAGIT_STORAGE__LOCAL__PATH": "/srv",
        "MEDIAGIT_CORE__PADDING": "false",
        "MEDIAGIT_CORE__PACK_SIZE": "8 MiB",
        "MEDIAGIT_PASSPHRASE": "not a setting",
        "MEDIAGIT_USER__NAME": "",
    }
    settings = load_settings(environ).settings
    assert (settings.server.port, settings.server.host, settings.server.api_key) == (81, "0.0.0.0", "12345")
    assert settings.network.api_key == "12345"
    assert (settings.user.name, settings.user.email) == ("Ada", "ada@example.org")
    assert settings.storage.local.path == "/srv"
    assert settings.core.padding is False
    assert settings.core.pack_size == 8 << 20


def test_an_unknown_variable_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(_home(tmp_path) | {"MEDIAGIT_PASPHRASE": "secret words"})
    assert "MEDIAGIT_PASSPHRASE" in caught.value.hint
    assert "secret words" not in str(caught.value) + caught.value.hint


def test_tables_of_stores(tmp_path: Path) -> None:
    text = '[storage]\nbackend = "s3"\n[storage.s3]\nbucket = "media"\npart_size = "5MB"\nforce_path_style = true\n'
    environ = _home(tmp_path, text) | {"MEDIAGIT_STORAGE__S3__SECRET_KEY": "hush", "MEDIAGIT_STORAGE__GCS__BUCKET": "b"}
    storage = load_settings(environ, system=tmp_path / "none").settings.storage
    assert (storage.backend, storage.s3.bucket, storage.s3.part_size) == ("s3", "media", 5_000_000)
    assert (storage.s3.force_path_style, storage.s3.secret_key, storage.gcs.bucket) == (True, "hush", "b")
    assert "hush" not in repr(storage)
    for text, near in (
        ("[storage.s3]\nbukcet = ''", "storage.s3.bucket"),
        ("[storage.azur]\ntier = ''", "storage.azure"),
    ):
        with pytest.raises(ConfigError) as caught:
            list(parse_text(text))
        assert near in caught.value.hint
    for wrong in ("part_size = '1MB'", "max_retries = -1", "sse = 'x'", "max_concurrent_parts = 0"):
        with pytest.raises(ConfigError, match="does not fit"):
            list(parse_text(f"[storage.s3]\n{wrong}"))


@pytest.mark.parametrize("key", ["s3.access_key", "s3.secret_key", "s3.sse_customer_key", "azure.account_key"])
def test_keys_of_stores_are_secret(key: str) -> None:
    table, _, name = key.partition(".")
    assert is_secret(f"storage.{key}")
    with pytest.raises(ConfigError) as caught:
        list(parse_text(f"[storage.{table}]\n{name} = 271828"))
    assert "271828" not in str(caught.value)


def test_a_bad_secret_is_not_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(_home(tmp_path, "[server]\napi_key = 987654\n"))
    assert "987654" not in str(caught.value)
    assert is_secret("credentials.https://a.b.api_key")


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("64MiB", 64 << 20), ("1.5 GiB", 3 << 29), ("2 kb", 2000), ("7b", 7), (" 1KiB ", 1024)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "1 XiB", "nan", "inf", "1e999", "4 6"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_size(text)


def test_the_users_folder() -> None:
    assert user_folder({"MEDIAGIT_HOME": "/a", "HOME": "/b"}) == Path("/a")
    assert user_folder({"XDG_CONFIG_HOME": "/x", "HOME": "/b"}) == Path("/x/mediagit")
    assert user_folder({"HOME": "/b"}) == Path("/b/.config/mediagit")


def test_an_edit_keeps_comments_and_other_settings() -> None:
    text = "# mine\n[core]\nworkers = 3  # two are slow\n\n[user]\nname = 'Ada'\n"
    edited = edit_text(text, "core.padding", "false")
    assert edited == "# mine\n[core]\nworkers = 3  # two are slow\npadding = false\n\n[user]\nname = 'Ada'\n"
    assert edit_text(edited, "core.padding", None) == text


def test_an_edit_makes_and_removes_sections() -> None:
    text = edit_text("", "remote.my.nas.url", "http://nas/a/b")
    assert dict(parse_text(text)) == {"remote.my.nas.url": "http://nas/a/b"}
    text = edit_text(text, "core.pack_size", "32MiB")
    assert '"32MiB"' in text
    assert dict(parse_text(edit_text(text, "remote.my.nas.url", None))) == {"core.pack_size": 32 << 20}
    assert edit_text("[user]\nname = 'x'\n", "user.name", None) == ""


def test_an_edit_of_a_layout_that_lines_cannot_follow_still_holds() -> None:
    text = "core.workers = 3\nuser = { name = 'Ada', email = 'a@b' }\n"
    edited = edit_text(text, "user.name", "Grace")
    assert dict(parse_text(edited)) == {"core.workers": 3, "user.name": "Grace", "user.email": "a@b"}


@pytest.mark.parametrize(
    ("key", "value"), [("core.wrokers", "1"), ("core.workers", "many"), ("remote.*.url", "x"), ("core", "x")]
)
def test_an_edit_refuses_what_loading_would_refuse(key: str, value: str) -> None:
    with pytest.raises(ConfigError):
        edit_text("", key, value)


def test_a_file_that_cannot_be_read_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "mediagit.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="Cannot read"):
        read_file(tmp_path / "mediagit.toml")


def test_the_example_holds_exactly_the_known_keys() -> None:
    found = set()
    for key, value in parse_text(EXAMPLE.read_text()):
        known = find_key(key)
        found.add(known.pattern)
        if value and known.default and key not in ("core.pack_size", "server.max_pack_size"):
            assert value == known.default, f"{key}: the example shows another value than the default"
    assert found == {known.pattern for known in known_keys()}


def test_the_example_explains_every_key() -> None:
    for line in EXAMPLE.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            assert "#" in line or "mediagit remote add" in line, line
    assert tomllib.loads(EXAMPLE.read_text())["core"]["pack_size"] == "64MiB"
