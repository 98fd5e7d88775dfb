"""Costs: every figure of a table counts, one's own goes before the list's, and what is not known is said, not made up."""

import re
from pathlib import Path

import msgspec
import pytest

from mediavault.config import RemoteSettings, Settings, load_settings
from mediavault.errors import ConfigError
from mediavault.ops.prices import Place, estimate, prices_of, writes_of
from mediavault_backends.errors import BackendSetupError
from mediavault_backends.prices import (
    GIB,
    LIST_PRICES,
    PriceTable,
    Usage,
    check_names,
    cost,
    list_of,
    money,
    price_table,
    put_requests,
)

USAGE = Usage(writes=3000, lists=2000, reads=5000, stored=4 * GIB, out=2 * GIB)
FIGURES = {"storage": 4.0, "writes": 3.0, "lists": 2.0, "reads": 5.0, "retrieval": 2.0, "egress": 2.0}
"""How many units of each figure that use takes."""
BUCKET = Place("s3://media/film")


@pytest.mark.parametrize(("figure", "units"), FIGURES.items())
def test_each_figure_counts(figure: str, units: float) -> None:
    before = cost("aws.standard", LIST_PRICES["aws.standard"], USAGE)
    dearer = price_table("aws.standard", {"aws.standard": PriceTable(**{figure: getattr(before.table, figure) + 10})})
    after = cost("aws.standard", dearer, USAGE)
    assert getattr(after, figure) - getattr(before, figure) == pytest.approx(10 * units)
    once = 0 if figure == "storage" else 10 * units
    assert after.once - before.once == pytest.approx(once)
    others = set(FIGURES) - {figure}
    assert all(getattr(after, other) == getattr(before, other) for other in others)


def test_a_gigabyte_is_the_provider_s() -> None:
    decimal = price_table("aws.standard", {"aws.standard": PriceTable(gigabyte=10**9)})
    binary = LIST_PRICES["aws.standard"]
    assert cost("x", decimal, USAGE).storage == pytest.approx(4 * GIB / 10**9 * 0.023)
    assert cost("x", binary, USAGE).storage == pytest.approx(4 * 0.023)


def test_the_list_is_whole_and_dated() -> None:
    for name, table in LIST_PRICES.items():
        assert re.fullmatch(r"[a-z0-9]+\.[a-z_]+", name)
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", table.as_of), name
        assert table.source.startswith("https://"), name
        assert table.region, name
        assert table.currency == "USD", name
        assert table.storage, name
        assert table.gigabyte in {10**9, GIB}, name


def test_what_has_no_price_is_said() -> None:
    found = cost("gcs.nearline", LIST_PRICES["gcs.nearline"], USAGE)
    assert found.unknown == ["writes", "lists", "reads"]
    assert found.once == pytest.approx(2 * 0.01 + 2 * 0.12)
    assert found.words()[1] == "No price known for: writes, lists, reads."
    assert found.document()["writes"] is None
    unused = cost("gcs.nearline", LIST_PRICES["gcs.nearline"], Usage(stored=GIB))
    assert (unused.unknown, unused.storage) == ([], 0.01)
    assert unused.words() == ["Costs 0.01 USD a month to keep it; gcs.nearline (us-central1, prices of 2026-09-20)."]


def test_words_and_document_tell_the_same() -> None:
    found = cost("aws.standard", LIST_PRICES["aws.standard"], USAGE)
    (words,) = found.words()
    assert words == (
        "Costs 0.207 USD (writes 0.015, lists 0.01, reads 0.002, egress 0.18), and 0.092 USD a month to keep it;"
        " aws.standard (us-east-1, prices of 2026-11-21)."
    )
    told = found.document()
    assert (told["once"], told["a_month"], told["egress"], told["retrieval"]) == (0.207, 0.092, 0.18, 0.0)
    assert (told["prices"], told["currency"], told["region"]) == ("aws.standard", "USD", "us-east-1")
    assert (told["as_of"], told["source"]) == (found.table.as_of, found.table.source)


def test_a_table_of_one_s_own() -> None:
    own = {
        "studio.rack": PriceTable(storage=0.5, currency="EUR", region="cellar", as_of="2026-01-02", source="invoice")
    }
    found = cost("studio.rack", price_table("studio.rack", own), Usage(stored=2 * GIB))
    assert found.words() == ["Costs 1.00 EUR a month to keep it; studio.rack (cellar, prices of 2026-01-02)."]
    assert found.document()["source"] == "invoice"
    with pytest.raises(BackendSetupError, match=r"no table of prices 'studio\.rak'; did you mean 'studio\.rack'"):
        price_table("studio.rak", own)
    with pytest.raises(BackendSetupError, match=r"there are aws\.standard"):
        price_table("?", {})


def test_a_mistyped_table_is_refused() -> None:
    with pytest.raises(BackendSetupError, match=r"did you mean \[prices\.aws\.standard\]"):
        check_names({"aws.standart": PriceTable()}, ["aws.standard"])
    check_names({"aws.standart": PriceTable(), "aws.standard": PriceTable()}, ["aws.standart"])
    check_names({"studio.rack": PriceTable()}, [])  # of a file that other repositories share


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ({"kind": "s3"}, "aws.standard"),
        ({"kind": "s3", "storage_class": "STANDARD_IA"}, "aws.standard_ia"),
        ({"kind": "s3", "storage_class": "GLACIER_IR"}, ""),
        ({"kind": "s3", "provider": "wasabi"}, "wasabi.standard"),
        ({"kind": "s3", "provider": "minio"}, ""),
        ({"kind": "s3", "host": "s3.us-west-002.backblazeb2.com"}, "b2.standard"),
        ({"kind": "s3", "host": "nyc3.digitaloceanspaces.com"}, "spaces.standard"),
        ({"kind": "s3", "host": "acc.r2.cloudflarestorage.com"}, "r2.standard"),
        ({"kind": "s3", "host": "127.0.0.1"}, ""),
        ({"kind": "s3", "host": "notbackblazeb2.com"}, ""),
        ({"kind": "azure"}, "azure.hot"),
        ({"kind": "azure", "storage_class": "Cool"}, "azure.cool"),
        ({"kind": "gcs", "storage_class": "NEARLINE"}, "gcs.nearline"),
        ({"kind": "local"}, ""),
        ({"kind": "multi"}, ""),
    ],
)
def test_which_list_holds_for_a_store(told: dict[str, str], name: str) -> None:
    assert list_of(**told) == name


@pytest.mark.parametrize(
    ("name", "size", "requests"),
    [
        ("aws.standard", 0, 1),
        ("aws.standard", 100_000_000, 1),
        ("aws.standard", 100_000_001, 4),
        ("azure.hot", 16 << 20, 1),
        ("azure.hot", 64 << 20, 5),
        ("gcs.standard", 256 << 20, 1),
        ("", 64 << 20, 1),
    ],
)
def test_large_objects_take_several_requests(name: str, size: int, requests: int) -> None:
    assert put_requests(name, size) == requests


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.00"), (1234.5, "1,234.50"), (0.25, "0.25"), (0.000028, "0.000028"), (1e-9, "less than 0.000001")],
)
def test_money(value: float, text: str) -> None:
    assert money(value) == text


def test_which_prices_hold_for_a_remote() -> None:
    remotes = {
        "origin": RemoteSettings(url="http://host/a/b", prices="azure.cool"),
        "plain": RemoteSettings(url="http://h/a/b"),
    }
    settings = Settings(remote=remotes)
    assert prices_of(settings, Place("http://host/a/b", "origin")) == "azure.cool"
    assert prices_of(settings, Place("http://h/a/b", "plain")) == ""
    assert prices_of(settings, BUCKET) == "aws.standard"
    assert prices_of(settings, Place("az://container/film")) == "azure.hot"
    assert prices_of(settings, Place("gs://bucket/film")) == "gcs.standard"
    assert prices_of(settings, Place("s3://bucket/film", host="127.0.0.1")) == ""
    assert writes_of(settings, Place("http://host/a/b", "origin"), 64 << 20) == 5


def test_where_no_price_is_known_the_way_out_is_named() -> None:
    settings = Settings(remote={"origin": RemoteSettings(url="http://h/a/b")})
    server = estimate(settings, Place("http://h/a/b", "origin"), USAGE)
    assert server.cost is None
    assert "remote.origin.prices" in server.reason
    assert "remote.NAME.prices" in estimate(settings, Place("s3://b/f", host="10.0.0.1"), USAGE).reason
    assert estimate(settings, Place("file:///nas/film"), USAGE).reason == "A folder has no prices."
    wrong = Settings(remote={"origin": RemoteSettings(url="http://h/a/b", prices="aws.standart")})
    with pytest.raises(ConfigError, match=r"did you mean 'aws.standard'\?$"):
        estimate(wrong, Place("http://h/a/b", "origin"), USAGE)
    with pytest.raises(ConfigError, match=r"\[prices\.gcs\.nearline\]"):
        estimate(Settings(prices={"gcs.neerline": PriceTable()}), BUCKET, USAGE)


def test_tables_in_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "mediagit.toml"
    file.write_text("[prices.aws.standard]\nstorage = 1\n[prices.studio]\ncurrency = 'EUR'\n")
    settings = load_settings({"MEDIAGIT_PRICES__AWS__STANDARD__EGRESS": "0.5"}, file=file).settings
    assert settings.prices["aws.standard"] == PriceTable(storage=1.0, egress=0.5)
    found = estimate(settings, BUCKET, Usage(stored=GIB, out=GIB, writes=1000)).cost
    assert found is not None
    assert (found.storage, found.egress, found.writes) == (1.0, 0.5, 0.005)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[prices.aws.standard]\nstroage = 1", "Did you mean prices.NAME.storage"),
        ("[prices.aws.standard]\nstorage = -1", "does not fit"),
        ("[prices.aws.standard]\nstorage = nan", "does not fit"),
        ("[prices.aws.standard]\nstorage = inf", "does not fit"),
        ("[prices.aws.standard]\nstorage = 'dear'", "does not fit"),
        ("[prices.aws.standard]\ngigabyte = 0", "does not fit"),
        ("[prices.aws.standard]\nas_of = 'today'", "does not fit"),
        ("[prices]\nstorage = 1", "prices.NAME.storage"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "mediagit.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings({}, file=file)
    assert words in caught.value.message + caught.value.hint


def test_every_field_is_among_those_that_are_tried_here() -> None:
    assert {*FIGURES, "gigabyte", "currency", "region", "as_of", "source"} == set(PriceTable.__struct_fields__)
    assert msgspec.structs.fields(PriceTable)
