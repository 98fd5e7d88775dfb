"""What `push --dry-run` and `stats --remote` say about requests and costs, at a folder, a server and a priced remote."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.film import Film, new_film


@pytest.fixture
def film(tmp_path: Path) -> Film:
    film = new_film(tmp_path / "film", "--no-encryption")
    film.write("a.mov", "x" * 5000)
    film("add", ".")
    film("commit", "-m", "First cut")
    return film


def test_a_push_is_priced_before_it_is_made(film: Film, tmp_path: Path) -> None:
    film("remote", "add", "origin", f"file://{tmp_path}/nas")
    free = film.json("push", "--dry-run", "origin", "main")
    assert free["cost"] is None
    assert "A folder has no prices." in film("push", "--dry-run", "origin", "main")
    film("config", "set", "remote.origin.prices", "aws.standard")
    film("config", "set", "prices.aws.standard.writes", "1000")
    film("config", "set", "prices.aws.standard.storage", "1000000")
    priced = film.json("push", "--dry-run", "origin", "main")
    writes = priced["store_requests"]["writes"]
    assert priced["cost"]["writes"] == writes, "1,000 for 1,000 of them"
    assert priced["cost"]["a_month"] == pytest.approx(priced["bytes"] / (1 << 30) * 1_000_000)
    assert priced["cost"]["once"] >= writes
    words = film("push", "--dry-run", "origin", "main")
    assert f"At the store about {writes} writes" in words
    assert "aws.standard (us-east-1, prices of 2026-11-21)." in words
    assert not (tmp_path / "nas").exists(), "nothing was made"


def test_an_estimate_is_no_less_than_what_is_then_written(film: Film, tmp_path: Path) -> None:
    nas = tmp_path / "nas"
    film("remote", "add", "origin", f"file://{nas}")
    for name in ("b.mov", "c.mov"):
        before = held(nas)
        planned = film.json("push", "--dry-run", "origin", "main")
        film("push", "origin", "main")
        written = len(held(nas)) - len(before)
        # A ref that moves is written once more than objects show: it is replaced, or has had a placeholder.
        assert 0 < written + 1 <= planned["store_requests"]["writes"] <= written + 1 + planned["packs"]
        film.write(name, "y" * 5000)
        film("add", ".")
        film("commit", "-m", name)


def held(store: Path) -> set[Path]:
    return {
        path for path in store.rglob("*") if path.is_file() and ".tmp" not in path.parts and ".locks" not in path.parts
    }


def test_nothing_to_push_costs_one_write(film: Film, tmp_path: Path) -> None:
    film("remote", "add", "origin", f"file://{tmp_path}/nas")
    film("config", "set", "remote.origin.prices", "gcs.standard")
    film("push", "origin", "main")
    planned = film.json("push", "--dry-run", "origin", "main")
    assert (planned["store_requests"]["writes"], planned["bytes"], planned["cost"]["a_month"]) == (1, 0, 0)
    assert "Costs" not in film("push", "--dry-run", "origin", "main")


def test_what_a_server_stores_is_unknown_unless_named(film: Film, serve: Callable[..., str]) -> None:
    film("remote", "add", "origin", f"{serve()}/studio/film")
    words = film("push", "--dry-run", "origin", "main")
    assert "mediagit config set remote.origin.prices aws.standard" in words
    film("push", "-u", "origin", "main")
    held = film.json("stats", "--remote")
    assert (held["remote"], held["packs"], held["refs"], held["cost"]) == ("origin", 3, 1, None)
    assert held["objects"] > held["packs"] + held["refs"]
    assert held["bytes"] > held["pack_bytes"] > 0
    film("config", "set", "remote.origin.prices", "b2.standard")
    priced = film.json("stats", "--remote", "origin")["cost"]
    assert priced["a_month"] == pytest.approx(held["bytes"] / 10**9 * 0.00695, abs=1e-9)
    assert (priced["once"], priced["prices"]) == (0.0, "b2.standard")
    assert "a month to keep it; b2.standard" in film("stats", "--remote")


def test_a_store_at_an_endpoint_of_its_own_has_no_list_price() -> None:
    from mediavault import compose

    environ = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}
    assert compose.place_of(environ, "s3://bucket/film", "origin").host == "127.0.0.1"
    assert (
        compose.place_of({**environ, "AWS_ENDPOINT_URL_S3": "https://s3.wasabisys.com"}, "s3://b/f").host
        == "s3.wasabisys.com"
    )
    assert compose.place_of(environ, "gs://bucket/film").host == ""
    assert compose.place_of({"STORAGE_EMULATOR_HOST": "localhost:4443"}, "gs://bucket/film").host
    assert (
        compose.place_of({"AZURE_STORAGE_SERVICE_ENDPOINT": "http://127.0.0.1:1/acc"}, "az://c/f").host == "127.0.0.1"
    )


def test_wrong_prices_are_refused_with_the_nearest(film: Film, tmp_path: Path) -> None:
    film("remote", "add", "origin", f"file://{tmp_path}/nas")
    film("config", "set", "remote.origin.prices", "aws.standart")
    assert "did you mean 'aws.standard'?" in film("push", "-n", "origin", "main", exit_code=2)
    assert "Did you mean prices.NAME.storage" in film("config", "set", "prices.aws.standard.stroage", "1", exit_code=2)


def test_flags_that_do_not_go_together(film: Film) -> None:
    assert "--by-type" not in film("stats", "--remote", "--by-type", exit_code=2)
    assert "mediagit stats --remote origin" in film("stats", "origin", exit_code=2)


def test_a_mirror_is_priced_on_both_sides(film: Film, tmp_path: Path) -> None:
    film("remote", "add", "origin", f"file://{tmp_path}/nas")
    film("remote", "add", "offsite", f"file://{tmp_path}/offsite")
    film("push", "origin", "main")
    film("config", "set", "remote.origin.prices", "aws.standard")
    film("config", "set", "remote.offsite.prices", "azure.cool")
    planned = film.json("mirror", "--dry-run", "origin", "offsite")
    source, destination = planned["costs"]["source"], planned["costs"]["destination"]
    assert (source["cost"]["prices"], destination["cost"]["prices"]) == ("aws.standard", "azure.cool")
    assert source["cost"]["egress"] > 0
    assert source["cost"]["a_month"] == 0, "nothing is added there"
    assert destination["cost"]["a_month"] > 0
    assert destination["store_requests"]["writes"] >= planned["writes"] > 0
    words = film("mirror", "--dry-run", "origin", "offsite")
    assert (
        words.index("Source:") < words.index("aws.standard") < words.index("Destination:") < words.index("azure.cool")
    )
    assert not (tmp_path / "offsite" / "config").exists()
