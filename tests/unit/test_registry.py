"""From configuration tables to backends, and messages that name the mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

from mediavault_backends.api import Absent
from mediavault_backends.errors import BackendSetupError
from mediavault_backends.registry import open_backend
from mediavault_backends.retry import RetryingBackend


def test_memory() -> None:
    assert open_backend({"backend": "memory"}).name == "memory"


@pytest.mark.parametrize("as_text", [True, False])
def test_local(tmp_path: Path, as_text: bool) -> None:
    backend = open_backend({"backend": "local", "local": {"path": str(tmp_path) if as_text else tmp_path}})
    backend.put("a", b"1", when=Absent())
    assert (tmp_path / "a").read_bytes() == b"1"


def test_a_missing_folder_is_made_only_when_asked(tmp_path: Path) -> None:
    table = {"backend": "local", "local": {"path": str(tmp_path / "a" / "b")}}
    with pytest.raises(BackendSetupError, match="no folder"):
        open_backend(table)
    assert not (tmp_path / "a").exists()
    assert list(open_backend(table, create=True).scan()) == []
    assert list(open_backend(table).scan()) == []


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(BackendSetupError, match="cannot make the folder"):
        open_backend({"backend": "local", "local": {"path": str(tmp_path / "f")}}, create=True)


def test_settings_of_other_kinds_are_not_looked_at() -> None:
    assert open_backend({"backend": "memory", "local": {"path": ""}}).name == "memory"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "needs a `backend`"),
        ({"backend": 3}, "needs a `backend`"),
        ({"backend": "locale"}, "unknown storage backend 'locale'; did you mean 'local'"),
        ({"backend": "zzz"}, "unknown storage backend 'zzz'$"),
        ({"backend": "local"}, "path is missing"),
        ({"backend": "local", "local": {"path": ""}}, "path is missing"),
        ({"backend": "local", "local": {"path": 3}}, "path is missing"),
        ({"backend": "local", "local": []}, "not a table"),
        ({"backend": "local", "local": {"paht": "x"}}, "storage.local.paht; did you mean 'path'"),
        ({"backend": "memory", "memory": {"size": 1}}, "storage.memory.size"),
        ({"backend": "s4"}, "unknown storage backend 's4'; did you mean 's3'"),
        ({"backend": "s3"}, "s3.bucket is missing"),
        ({"backend": "s3", "s3": {"buckett": "x"}}, "storage.s3.buckett; did you mean 'bucket'"),
        ({"backend": "s3", "s3": {"bucket": 3}}, r"storage.s3: Expected `str`, got `int` - at `\$.bucket`"),
        ({"backend": "s3", "s3": {"bucket": "x", "part_size": 1}}, r"storage.s3: .*part_size"),
        ({"backend": "s3", "s3": {"bucket": "x", "max_retries": 21}}, r"storage.s3: .*max_retries"),
        ({"backend": "s3", "s3": {"bucket": "x", "sse": "d"}}, r"storage.s3: .*sse"),
        ({"backend": "azure", "azure": {"acount_name": "x"}}, "acount_name; did you mean 'account_name'"),
        ({"backend": "gcs", "gcs": {"buket": "x"}}, "storage.gcs.buket; did you mean 'bucket'"),
    ],
)
def test_mistakes_are_named(table: dict[str, object], message: str) -> None:
    with pytest.raises(BackendSetupError, match=message):
        open_backend(table)


def test_a_store_whose_package_is_missing_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mediavault_backends.s3", raising=False)
    monkeypatch.setitem(sys.modules, "botocore.exceptions", None)
    with pytest.raises(BackendSetupError, match=r"pip install 'mediavault\[s3\]'"):
        open_backend({"backend": "s3", "s3": {"bucket": "x"}})


def test_a_remote_store_is_tried_again_and_not_asked_when_opened() -> None:
    backend = open_backend({"backend": "s3", "s3": {"bucket": "media", "endpoint": "http://127.0.0.1:1"}})
    assert isinstance(backend, RetryingBackend)
    assert backend.name == "s3://media"


def test_the_libraries_of_the_clouds_are_imported_only_when_used() -> None:
    code = (
        "import sys, mediavault_backends.registry as registry; registry.open_backend({'backend': 'memory'});"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'boto3', 'botocore', 'azure', 'google', 'requests'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_a_kind_is_imported_only_when_used() -> None:
    code = (
        "import sys; from mediavault_backends.registry import open_backend; open_backend({'backend': 'memory'});"
        "print('mediavault_backends.local' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
