"""`mediagit-server storage heal`: whatever one store of a pair lost or has damaged comes back from the other, and nothing else changes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mediavault.refs.blobs import ref_key
from mediavault_backends.api import Absent
from mediavault_backends.local import LocalBackend
from mediavault_backends.multi_mend import Difference
from mediavault_server.main import main
from mediavault_server.storage_heal import exit_code
from tests.contract.pairs import journal_of
from tests.storages import FILM, MARK, everything, fill, flip, keys, largest, overwrite, prefix_of, remote_of

Ran = tuple[int, Any, str]
Heal = Callable[..., Ran]


class Pair:
    """Two folders with the same repositories, and the configuration that makes them one storage."""

    def __init__(self, folder: Path) -> None:
        self.fast = LocalBackend(folder / "fast", create=True)
        self.safe = LocalBackend(folder / "safe", create=True)
        self.config = folder / "server.toml"
        self.config.write_text(
            f"""
            [storage]
            backend = "multi"
            [storage.multi]
            primary = "fast"
            secondary = "safe"
            mode = "async"
            journal = "{folder / "journal"}"
            [storage.multi.fast]
            backend = "local"
            path = "{folder / "fast"}"
            [storage.multi.safe]
            backend = "local"
            path = "{folder / "safe"}"
            """
        )
        self.filled = fill(self.fast, folder)
        for key, data in everything(self.fast).items():
            self.safe.put(key, data, when=Absent())
        journal = journal_of(folder / "journal", self.fast, self.safe)
        journal.mark_complete()
        journal.close()

    def both(self) -> tuple[dict[str, bytes], dict[str, bytes]]:
        return everything(self.fast), everything(self.safe)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture
def heal(pair: Pair, capsys: pytest.CaptureFixture[str]) -> Heal:
    """Run the command; returns its exit code, its document and its stderr."""

    def run(*words: str) -> Ran:
        capsys.readouterr()
        code = main(["storage", "heal", "--config", str(pair.config), "--json", *words])
        said = capsys.readouterr()
        return code, json.loads(said.out), said.err

    return run


def what(told: Any) -> list[tuple[str, str, bool]]:
    return [(found["what"], found["key"], found["mended"]) for found in told["differences"]]


def test_two_stores_that_are_the_same_are_left_alone(pair: Pair, heal: Heal) -> None:
    before = pair.both()
    code, told, err = heal()
    assert (code, told["equal"], told["differences"], told["mended"], err) == (0, True, [], 0, "")
    assert pair.both() == before


def named_by_content(key: str) -> bool:
    return "/packs/" in key or "/index/" in key or "/logs/" in key


@pytest.mark.parametrize("side", ["fast", "safe"])
def test_every_damaged_object_is_mended_from_the_other_side(pair: Pair, heal: Heal, side: str) -> None:
    store: LocalBackend = getattr(pair, side)
    original = everything(store)
    hurt = [key for key in original if key != MARK]
    for number, key in enumerate(hurt):
        if named_by_content(key):
            flip(store, key, number * 7919 % len(original[key]))
        else:  # a bit more or less in these can only be told with a key
            overwrite(store, key, original[key][:30])
    code, told, _ = heal("--dry-run")
    assert code == 5
    assert sorted(what(told)) == sorted(("damaged", key, False) for key in hurt)
    assert {found["store"] for found in told["differences"]} == {store.name}
    assert told["mended"] == 0
    code, told, _ = heal()
    assert code == 0
    assert sorted(what(told)) == sorted(("damaged", key, True) for key in hurt)
    assert (told["mended"], told["bytes"]) == (len(hurt), sum(len(original[key]) for key in hurt))
    assert pair.both() == (original, original)
    assert heal()[1]["differences"] == []


@pytest.mark.parametrize("side", ["fast", "safe"])
def test_a_flipped_bit_that_only_a_key_would_show_never_spreads(pair: Pair, heal: Heal, side: str) -> None:
    store: LocalBackend = getattr(pair, side)
    original = everything(store)
    undecided = [key for key in original if key != MARK and not named_by_content(key)]
    for key in undecided:
        # In the MAC of a ref, which stands before its 16 random bytes; in the middle of all else.
        flip(store, key, len(original[key]) - 20 if "/refs/" in key else -1)
    before = pair.both()
    code, told, _ = heal()
    assert code == 5
    wrong = {found["key"] for found in told["differences"] if not found["mended"]}
    assert {key for key in undecided if "/refs/" in key or "/keys/" in key} & wrong
    after = pair.both()
    sound = after[1] if side == "fast" else after[0]
    assert sound == original
    for key in wrong:
        assert (after[0][key], after[1][key]) == (before[0][key], before[1][key])
    for key in wrong:
        store.delete(key)
    assert heal()[0] == 0
    assert pair.both() == (original, original)


@pytest.mark.parametrize("side", ["fast", "safe"])
def test_every_missing_object_is_given_back(pair: Pair, heal: Heal, side: str) -> None:
    store: LocalBackend = getattr(pair, side)
    original = everything(store)
    # A repository's config is what a repository is known by: the other store still knows it.
    gone = [key for number, key in enumerate(original) if key != MARK and number % 2]
    for key in gone:
        store.delete(key)
    code, told, _ = heal("--dry-run")
    assert code == 1
    assert sorted(what(told)) == sorted(("missing", key, False) for key in gone)
    code, told, _ = heal()
    assert code == 0
    assert sorted(what(told)) == sorted(("missing", key, True) for key in gone)
    assert pair.both() == (original, original)


def test_a_pack_that_is_short_is_mended(pair: Pair, heal: Heal) -> None:
    key = largest(pair.fast, f"{prefix_of(FILM)}packs/")
    data = pair.fast.get(key).data
    overwrite(pair.fast, key, data[:-5])
    overwrite(pair.safe, largest(pair.safe, "studio/film/index/"), b"")
    code, told, _ = heal()
    assert code == 0
    assert {found["store"] for found in told["differences"]} == {pair.fast.name, pair.safe.name}
    assert pair.fast.get(key).data == data
    assert pair.both()[0] == pair.both()[1]


def test_what_is_damaged_on_both_sides_is_named_and_left(pair: Pair, heal: Heal) -> None:
    key = largest(pair.fast, f"{prefix_of(FILM)}packs/")
    flip(pair.fast, key, 1000)
    flip(pair.safe, key, 2000)
    lost = next(other for other in keys(pair.fast, f"{prefix_of(FILM)}packs/") if other != key)
    pair.fast.delete(lost)
    flip(pair.safe, lost)
    before = pair.both()
    code, told, _ = heal()
    assert code == 5
    assert sorted(what(told)) == sorted([("damaged", key, False), ("damaged", lost, False)])
    assert not told["equal"]
    assert all(found["reason"] for found in told["differences"])
    assert pair.both() == before


def test_a_ref_that_the_primary_has_moved_on_is_moved_on(pair: Pair, heal: Heal, tmp_path: Path) -> None:
    key = prefix_of(FILM) + ref_key("heads/main")
    ann, tip = pair.filled.ann, pair.filled.tip
    for number in range(3):
        tip = ann.commit({"new.mov": b"new" * number}, [tip.id])
        ann.push(remote_of(pair.fast, tmp_path), tip)
    new = pair.fast.get(key).data
    assert new != pair.safe.get(key).data
    code, told, _ = heal("--dry-run")
    assert code == 5
    assert ("different", key, False) in what(told)
    assert heal()[0] == 0
    assert pair.fast.get(key).data == new
    assert pair.both()[0] == pair.both()[1]


def test_a_ref_that_is_further_in_the_copy_is_left(pair: Pair, heal: Heal, tmp_path: Path) -> None:
    key = prefix_of(FILM) + ref_key("heads/main")
    pair.filled.ann.push(remote_of(pair.safe, tmp_path), pair.filled.ann.commit({"a": b"a"}, [pair.filled.tip.id]))
    before = pair.fast.get(key).data, pair.safe.get(key).data
    code, told, _ = heal()
    assert code == 5
    assert ("different", key, False) in what(told)
    assert (pair.fast.get(key).data, pair.safe.get(key).data) == before


def test_a_ref_whose_random_bytes_were_renewed_is_made_the_same(pair: Pair, heal: Heal) -> None:
    key = prefix_of(FILM) + ref_key("heads/main")
    renewed = pair.fast.get(key).data[:-16] + bytes(16)
    overwrite(pair.fast, key, renewed)
    assert heal()[0] == 0
    assert pair.safe.get(key).data == renewed


def test_a_damaged_ref_of_the_primary_does_not_spoil_the_copy(pair: Pair, heal: Heal) -> None:
    key = prefix_of(FILM) + ref_key("heads/main")
    data = pair.fast.get(key).data
    overwrite(pair.fast, key, data[:40])
    assert heal()[0] == 0
    assert pair.fast.get(key).data == pair.safe.get(key).data == data


def test_what_the_journal_holds_is_copied_from_there(pair: Pair, heal: Heal, tmp_path: Path) -> None:
    key = f"{prefix_of(FILM)}keys/late"
    pair.fast.put(key, pair.fast.get(f"{prefix_of(FILM)}keys/config").data, when=Absent())
    journal = journal_of(tmp_path / "journal", pair.fast, pair.safe)
    journal.ready(journal.begin(key, "put"))
    assert what(heal("--dry-run")[1]) == [("waiting", key, False)]
    assert key not in everything(pair.safe)
    journal.close()
    assert heal()[1]["differences"] == []
    assert key in everything(pair.safe)


def test_words_for_people(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    key = largest(pair.safe, f"{prefix_of(FILM)}packs/")
    flip(pair.safe, key)
    size = pair.safe.stat(key).size
    capsys.readouterr()
    for words, end, code in (
        (["--dry-run"], "", 5),
        ([], ", mended", 0),
    ):
        assert main(["storage", "heal", "--config", str(pair.config), *words]) == code
        out = capsys.readouterr().out
        assert f"damaged at {pair.safe.name}: {key} ({size / 1024:.1f} KiB): " in out
        assert out.splitlines()[0].endswith(end)
        assert f": 1 object differed, {len(end) and 1} mended" in out
    assert main(["storage", "heal", "--config", str(pair.config)]) == 0
    assert capsys.readouterr().out.endswith(": both hold the same\n")


def test_one_store_has_nothing_to_be_mended_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one").mkdir()
    config = tmp_path / "one.toml"
    config.write_text(f'[storage.local]\npath = "{tmp_path}/one"\n')
    assert main(["storage", "heal", "--config", str(config)]) == 2
    assert "there is no other to mend it from" in capsys.readouterr().err


def test_a_store_that_is_away_exits_4_and_changes_nothing(heal: Heal, tmp_path: Path) -> None:
    (tmp_path / "safe").rename(tmp_path / "unplugged")
    (tmp_path / "safe").mkdir()
    code, told, _ = heal()
    assert code == 4
    assert "is not the copy that was there before" in told["error"]["message"]
    assert not list((tmp_path / "safe").rglob("packs"))


def test_an_archived_copy_is_no_damage() -> None:
    found = [Difference("a", "archived", "s3://bucket"), Difference("b", "missing", "s3://bucket", mended=True)]
    assert exit_code(found) == 0
    assert exit_code([*found, Difference("c", "waiting", "s3://bucket")]) == 1
    assert exit_code([*found, Difference("c", "missing", "s3://bucket")]) == 1
    assert exit_code([*found, Difference("c", "different", "s3://bucket")]) == 5
