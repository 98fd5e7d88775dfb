"""A server that keeps refs in a database: pushes and clones through two of them, a store that is moved there, prices of a copy."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mediavault.wire.client import HttpRemote
from mediavault_backends.local import LocalBackend
from mediavault_backends.split import BINDING, in_bucket
from mediavault_backends.sql import SqlBackend
from mediavault_server import main
from mediavault_server.storage_price import pricer_of
from tests.conftest import installed
from tests.film import Film, new_film


@pytest.fixture
def told(tmp_path: Path) -> dict[str, str]:
    """The settings of a folder with refs in SQLite, as variables."""
    return {
        "MEDIAGIT_STORAGE__REFS": "sql",
        "MEDIAGIT_STORAGE__SQL__URL": f"sqlite:///{tmp_path}/refs.db",
    }


@pytest.fixture
def film(tmp_path: Path) -> Film:
    film = new_film(tmp_path / "film", "--no-encryption")
    film.write("a.mov", "x" * 5000)
    film("add", ".")
    film("commit", "-m", "First cut")
    return film


def test_two_servers_over_one_folder_and_one_database(
    film: Film, told: dict[str, str], serve: Callable[..., str], tmp_path: Path
) -> None:
    storage = tmp_path / "store"
    one, two = (serve(storage, "--workers", "2", env=told) + "/studio/film" for _ in range(2))
    film("remote", "add", "origin", one)
    film("push", "-u", "origin", "main")
    Film(tmp_path)("clone", "--no-encryption", two, "copy")
    copy = Film(tmp_path / "copy")
    copy.write("a.mov", "y" * 5000)
    copy("add", ".")
    copy("commit", "-m", "Second cut")
    copy("push")
    film("pull")
    assert film.read("a.mov") == "y" * 5000
    kept = [stat.key for stat in LocalBackend(storage).scan() if not stat.key.startswith(f"{BINDING}/")]
    assert kept
    assert all(map(in_bucket, kept))
    changing = [stat.key for stat in SqlBackend(told["MEDIAGIT_STORAGE__SQL__URL"]).scan("studio/")]
    assert changing == ["studio/film/config", "studio/film/refs/heads%2Fmain"]
    assert film.json("stats", "--remote")["refs"] == 1


def test_a_store_moves_to_a_database_by_copying(
    film: Film, told: dict[str, str], serve: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    film("remote", "add", "origin", serve(tmp_path / "old") + "/studio/film")
    film("push", "-u", "origin", "main")
    file = tmp_path / "new.toml"
    url = told["MEDIAGIT_STORAGE__SQL__URL"]
    file.write_text(
        f'[storage]\nrefs = "sql"\n[storage.local]\npath = "{tmp_path}/new"\n[storage.sql]\nurl = "{url}"\n'
    )
    (tmp_path / "new").mkdir()
    assert main.main(["storage", "copy", f"file://{tmp_path}/old", f"config:{file}"]) == 0
    assert main.main(["storage", "verify", f"file://{tmp_path}/old", "--against", f"config:{file}"]) == 0
    capfd.readouterr()
    Film(tmp_path)("clone", "--no-encryption", serve(tmp_path / "new", env=told) + "/studio/film", "copy")
    assert Film(tmp_path / "copy").read("a.mov") == "x" * 5000


def test_the_old_place_itself_is_refused(
    film: Film,
    told: dict[str, str],
    serve: Callable[..., str],
    tmp_path: Path,
) -> None:
    film("remote", "add", "origin", serve(tmp_path / "old") + "/studio/film")
    film("push", "-u", "origin", "main")
    command = [installed("mediagit-server"), "--storage", str(tmp_path / "old"), "--port", "0", "--no-auth"]
    ended = subprocess.run(
        command, env={**os.environ, **told}, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 2
    error = ended.stderr
    assert "holds refs itself (studio/film/config)" in error
    assert "mediagit-server storage copy" in error
    Film(tmp_path)("clone", "--no-encryption", film.json("remote", "list")[0]["url"], "copy")


def test_a_copy_is_priced_on_both_sides(
    film: Film, serve: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    film("remote", "add", "origin", serve(tmp_path / "old") + "/studio/film")
    film("push", "-u", "origin", "main")
    (tmp_path / "new").mkdir()
    words = ["storage", "copy", f"file://{tmp_path}/old", f"file://{tmp_path}/new", "--dry-run"]
    assert main.main([*words, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["costs"] == {"source": None, "destination": None}
    assert main.main(words) == 0
    assert "Destination: no price known." in capfd.readouterr().out


def test_prices_of_a_table() -> None:
    s3 = {"backend": "s3", "s3": {"bucket": "b", "storage_class": "STANDARD_IA"}}
    b2 = {"backend": "s3", "s3": {"bucket": "b", "provider": "b2"}}
    own_one = {"backend": "s3", "s3": {"bucket": "b", "endpoint": "http://10.0.0.1:9000"}}
    azure = {"backend": "azure", "azure": {"container": "c", "tier": "Cool"}}
    gib = 1 << 30
    costs = pricer_of(s3, b2, {})(1000, gib)
    source, destination = costs["source"], costs["destination"]
    assert source is not None
    assert destination is not None
    assert (source.name, source.reads, source.egress, source.retrieval, source.storage) == (
        "aws.standard_ia",
        0.001,
        0.09,
        0.01,
        0.0,
    )
    assert (destination.name, destination.writes, destination.storage) == ("b2.standard", 0.0, gib / 10**9 * 0.00695)
    other = pricer_of(own_one, azure, {})(1, 1)
    assert other["source"] is None
    assert other["destination"] is not None
    assert other["destination"].name == "azure.cool"


def test_a_remote_tells_what_it_holds(film: Film, serve: Callable[..., str], tmp_path: Path) -> None:
    url = serve(tmp_path / "store") + "/studio/film"
    film("remote", "add", "origin", url)
    film("push", "-u", "origin", "main")
    remote = HttpRemote(url)
    held = remote.holdings()
    remote.close()
    stored = list(LocalBackend(tmp_path / "store").scan("studio/film/"))
    packs = [stat for stat in stored if "/packs/" in stat.key]
    assert (held.objects, held.bytes) == (len(stored), sum(stat.size for stat in stored))
    assert (held.packs, held.pack_bytes, held.refs) == (len(packs), sum(stat.size for stat in packs), 1)
