"""`[storage.multi]`: from the file, or the environment, to two stores as one; mistakes are named."""

from pathlib import Path

import pytest

from mediavault.config import (
    Settings,
    edit_text,
    find_key,
    is_secret,
    load_settings,
    parse_text,
)
from mediavault.errors import ConfigError
from mediavault_backends.api import Absent, Mappable, Replicating, Spooling
from mediavault_backends.errors import BackendSetupError
from mediavault_backends.local import LocalBackend
from mediavault_backends.multi import MultiBackend
from mediavault_backends.registry import SETTLE, open_backend
from mediavault_backends.retry import RetryingBackend
from mediavault_backends.settings import MultiSettings
from mediavault_server.settings import server_settings

REFERENCE = """
[storage]
backend = "multi"

[storage.multi]
primary = "local"
secondary = "s3"

[storage.multi.local]
path = "FOLDER"

[storage.multi.s3]
bucket = "mediagit-backup"
region = "us-west-2"
"""


def settings_of(folder: Path, text: str, **environ: str) -> Settings:
    file = folder / "server.toml"
    file.write_text(text)
    return load_settings(environ, file=file).settings


def opened(folder: Path, text: str, **environ: str) -> MultiBackend:
    table = server_settings(settings_of(folder, text, **environ), no_auth=True).storage
    backend = open_backend(table, create=True)
    assert isinstance(backend, MultiBackend)
    return backend


def test_a_folder_and_a_bucket(tmp_path: Path) -> None:
    pair = opened(tmp_path, REFERENCE.replace("FOLDER", f"{tmp_path}/fast"))
    assert isinstance(pair.primary, LocalBackend)
    assert isinstance(pair.secondary, RetryingBackend)
    assert pair.name == f"folder {tmp_path}/fast, mirrored to s3://mediagit-backup"
    assert isinstance(pair, Replicating)
    assert isinstance(pair, Spooling)
    assert isinstance(pair, Mappable)
    assert pair._journal.folder == tmp_path / "fast" / ".tmp" / "journal"
    assert pair._journal._settle == 0.0
    assert list(pair.primary.scan()) == []


def test_two_folders_by_names_of_ones_own(tmp_path: Path) -> None:
    text = f"""
    [storage]
    backend = "multi"
    [storage.multi]
    primary = "fast"
    secondary = "nas.archive"
    mode = "async"
    read = "nearest"
    journal = "{tmp_path}/journal"
    [storage.multi.fast]
    backend = "local"
    path = "{tmp_path}/fast"
    [storage.multi."nas.archive"]
    backend = "local"
    path = "{tmp_path}/nas"
    """
    pair = opened(tmp_path, text)
    pair.put("a", b"1", when=Absent())
    pair.close()
    assert pair.name == f"folder {tmp_path}/fast, followed by folder {tmp_path}/nas"
    assert (tmp_path / "fast" / "a").read_bytes() == b"1"
    assert (tmp_path / "journal" / "locks").is_dir()
    assert not (tmp_path / "fast" / ".tmp" / "journal").exists()


def test_the_environment_alone_suffices(tmp_path: Path) -> None:
    pair = opened(
        tmp_path,
        "",
        MEDIAGIT_STORAGE__BACKEND="multi",
        MEDIAGIT_STORAGE__MULTI__PRIMARY="s3",
        MEDIAGIT_STORAGE__MULTI__SECONDARY="local",
        MEDIAGIT_STORAGE__MULTI__S3__BUCKET="media",
        MEDIAGIT_STORAGE__MULTI__S3__PART_SIZE="5MB",
        MEDIAGIT_STORAGE__MULTI__S3__SECRET_KEY="hush-hush",
        MEDIAGIT_STORAGE__MULTI__S3__ACCESS_KEY="tester",
        MEDIAGIT_STORAGE__MULTI__LOCAL__PATH=str(tmp_path / "copy"),
    )
    assert isinstance(pair.secondary, LocalBackend)
    assert pair._journal.folder == tmp_path / "copy" / ".tmp" / "journal"
    assert pair._journal._settle == SETTLE
    assert not isinstance(pair, Mappable)
    assert "hush" not in pair.name


def test_secrets_of_named_stores_do_not_show(tmp_path: Path) -> None:
    text = '[storage.multi.cloud]\nbackend = "s3"\nbucket = "media"\nsecret_key = "hush-hush"\n'
    storage = settings_of(tmp_path, text).storage
    assert storage.multi.stores == {"cloud": {"backend": "s3", "bucket": "media", "secret_key": "hush-hush"}}
    assert "hush" not in repr(storage)
    assert "media" in repr(storage)
    assert is_secret("storage.multi.cloud.secret_key")
    with pytest.raises(ConfigError) as caught:
        list(parse_text("[storage.multi.cloud]\nsecret_key = 271828\n"))
    assert "271828" not in str(caught.value)


def test_sizes_and_values_are_checked_as_in_the_table_of_the_kind(tmp_path: Path) -> None:
    stores = settings_of(tmp_path, '[storage.multi.s3]\npart_size = "7MB"\n').storage.multi.stores
    assert stores == {"s3": {"part_size": 7_000_000}}
    for wrong in ("s3]\npart_size = '1MB'", "s3]\nsse = 'x'", "x]\nmax_retries = -1", "x]\nbackend = 'multi'"):
        with pytest.raises(ConfigError, match="does not fit"):
            list(parse_text(f"[storage.multi.{wrong}\n"))
    for wrong in ("mode = 'both'", "read = 'fastest'", "primary = 3"):
        with pytest.raises(ConfigError, match="does not fit"):
            list(parse_text(f"[storage.multi]\n{wrong}\n"))


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("[storage.multi]\nprimry = ''", "storage.multi.primary"),
        ("[storage.multi]\nmodus = ''", "storage.multi.mode"),
        ("[storage.multi.s3]\nbuckett = ''", "storage.multi.s3.bucket"),
        ("[storage.multi.local]\npaht = ''", "storage.multi.local.path"),
        ("[storage.multi.archive]\nacount_name = ''", "storage.multi.archive.account_name"),
        ("[storage.multi.archive]\nbakend = ''", "storage.multi.archive.backend"),
        ("[storage.multi]\nstores = 1", "storage.multi"),
        ("[storage.multi.stores]\nbucket = ''", "storage.multi"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_nearest(text: str, near: str) -> None:
    with pytest.raises(ConfigError, match="Unknown setting") as caught:
        list(parse_text(text))
    assert near in caught.value.hint


def test_a_setting_of_a_named_store_can_be_edited() -> None:
    text = edit_text("", "storage.multi.primary", "fast")
    text = edit_text(text, "storage.multi.fast.part_size", "64MiB")
    text = edit_text(text, "storage.multi.my.nas.path", "/nas")
    assert dict(parse_text(text)) == {
        "storage.multi.primary": "fast",
        "storage.multi.fast.part_size": 64 << 20,
        "storage.multi.my.nas.path": "/nas",
    }
    assert '[storage.multi.fast]\npart_size = "64MiB"' in text
    assert find_key("storage.multi.s3.bucket").pattern == "storage.s3.bucket"
    assert edit_text(edit_text("", "storage.multi.s3.bucket", "b"), "storage.multi.s3.bucket", None) == ""


def table_of(folder: Path, **multi: object) -> dict[str, object]:
    stores: dict[str, object] = {"local": {"path": str(folder / "fast")}, "memory": {}}
    return {"backend": "multi", "multi": {"primary": "local", "secondary": "memory", **stores, **multi}}


def test_the_table_works_as_it_is(tmp_path: Path) -> None:
    open_backend(table_of(tmp_path), create=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"primary": ""}, "storage.multi.primary is missing"),
        ({"secondary": ""}, "storage.multi.secondary is missing"),
        ({"primary": "loacl"}, r"no table \[storage.multi.loacl\]; did you mean 'local'"),
        ({"secondary": "local"}, "are both 'local'"),
        ({"secondary": 3}, "storage.multi: "),
        ({"mode": "both"}, "storage.multi: "),
        ({"reads": "nearest"}, "storage.multi.reads; did you mean 'read'"),
        ({"zzz": 1}, r"storage.multi.zzz$"),
        ({"memori": {}}, "memori is neither the primary nor the secondary; did you mean 'memory'"),
        ({"local": {"paht": "x"}}, "storage.multi.local: unknown setting storage.local.paht; did you mean 'path'"),
        ({"local": {}}, "storage.multi.local: storage.local.path is missing"),
        ({"local": {"backend": "multi"}}, "a pair holds no pair"),
        ({"local": {"backend": "loca"}}, "storage.multi.local: unknown storage backend 'loca'; did you mean 'local'"),
        ({"secondary": "s3", "memory": {}}, "memory is neither"),
        ({"local": {"backend": "memory"}}, "storage.multi.journal is missing: neither store is a folder"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(BackendSetupError, match=message):
        open_backend(table_of(tmp_path, **changes), create=True)


def test_memory_cannot_be_half_of_what_several_workers_share(tmp_path: Path) -> None:
    text = (
        REFERENCE.replace('secondary = "s3"', 'secondary = "spare"')
        .replace("[storage.multi.s3]", '[storage.multi.spare]\nbackend = "memory"')
        .replace('bucket = "mediagit-backup"\nregion = "us-west-2"', "[server]\nworkers = 2")
    )
    with pytest.raises(ConfigError, match="memory"):
        server_settings(settings_of(tmp_path, text), no_auth=True)


def test_the_journal_of_another_pair_is_refused(tmp_path: Path) -> None:
    pair = open_backend(table_of(tmp_path, mode="async"), create=True)
    assert isinstance(pair, MultiBackend)
    pair._replayer = None
    pair.put("a", b"1", when=Absent())
    other = {
        "primary": "local",
        "secondary": "s3",
        "local": {"path": str(tmp_path / "fast")},
        "s3": {"bucket": "media"},
    }
    with pytest.raises(BackendSetupError, match="is that of"):
        open_backend({"backend": "multi", "multi": other}, create=True)


def test_every_field_has_a_default() -> None:
    assert MultiSettings().mode == "mirror"
    assert MultiSettings().read == "primary-first"
