"""`mediagit-server storage tier` and `restore` as they are typed: words, documents, exit codes, the policy, pairs, waiting.

The store with classes is a double in memory; tests/services/test_tiers.py has real ones.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from mediavault.config import Storage, load_settings
from mediavault.model.ids import Kind
from mediavault.store.keys import PACKS, named_by
from mediavault.store.reachability import collect
from mediavault_backends.api import Absent, Backend
from mediavault_backends.local import LocalBackend
from mediavault_backends.multi import MultiBackend
from mediavault_server import storage_command, storage_tier
from mediavault_server.main import _make_ready, main
from tests.contract.pairs import pair_of
from tests.integration.studio import noise
from tests.storages import FILM, PLAIN, Filled, everything, fill, keys, part, prefix_of, remote_of
from tests.stored import open_store
from tests.tiered import COLD, FROZEN, HOT, TieredStore

Ran = tuple[int, str, str]
Run = Callable[..., Ran]
TIERS = f'cold = "{COLD}"\nhot = "{HOT}"\nkeep_days = 0\nmin_pack = 0\n'


@pytest.fixture
def store() -> TieredStore:
    return TieredStore()


@pytest.fixture
def filled(store: TieredStore, tmp_path: Path) -> Filled:
    """Return two repositories; one had a branch `cut` that was deleted."""
    made = fill(store, tmp_path)
    cut = made.ann.commit({"cut.mov": noise(600_000, 9)}, [made.tip.id])
    made.ann.push(remote_of(store, tmp_path), cut, "heads/cut", pack_size=300_000)
    made.ann.push(remote_of(store, tmp_path), None, "heads/cut")
    return made


@pytest.fixture
def idle(filled: Filled, store: TieredStore) -> set[str]:
    """Return the packs that only the deleted branch needed."""
    frames = open_store(part(store))
    needed = {place.pack_id for oid in collect(frames, [filled.tip]).chunks for place in frames.index.find(oid)}
    rows = [place for blob in frames.index.blobs() for _, place in blob.rows()]
    needed |= {place.pack_id for place in rows if place.kind != Kind.CHUNK}
    packs = {stat.key: named_by(stat.key) for stat in part(store).scan(PACKS)}
    return {prefix_of(FILM) + key for key, pack in packs.items() if pack not in needed}


@pytest.fixture
def storage_of(store: TieredStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `mediagit-server storage` in this process, over the double; returns its exit code, stdout and stderr."""

    def run(*words: str, tiers: str = TIERS, over: Backend | None = None) -> Ran:
        config = tmp_path / "server.toml"
        config.write_text(f'[storage]\nbackend = "s3"\n[storage.s3]\nbucket = "media"\n[storage.tiers]\n{tiers}')

        def opener(table: Mapping[str, object], *, create: bool = False) -> Backend:
            del table, create
            return over or store

        capsys.readouterr()
        try:
            code = storage_command.run([*words, "--config", str(config)], {"HOME": str(tmp_path)}, opener, _make_ready)
        except SystemExit as ended:  # argparse
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def document(ran: Ran) -> Any:
    assert ran[0] == 0, ran
    return json.loads(ran[1])


def cold(store: TieredStore) -> set[str]:
    return {key for key, name in store.classes.items() if name == COLD}


def test_words_for_people(storage_of: Run, store: TieredStore, idle: set[str]) -> None:
    before = everything(store)
    code, out, err = storage_of("tier", "--dry-run")
    assert (code, err, cold(store)) == (0, "", set())
    assert f"{FILM}: {len(idle)} packs (" in out
    assert " to move to COLD, 0 packs (0 B) to HOT" in out
    code, out, err = storage_of("tier")
    assert (code, err, cold(store)) == (0, "", idle)
    assert " moved to COLD, 0 packs (0 B) to HOT" in out
    lines = out.splitlines()
    assert lines[-2].startswith(f"COLD: 0 packs (0 B) before, {len(idle)} packs (")
    assert lines[-1].startswith("HOT: ")
    assert lines[-1].endswith(" now")
    assert everything(store) == before


def test_documents_tell_the_same(storage_of: Run, store: TieredStore, idle: set[str]) -> None:
    told = document(storage_of("tier", "--json"))
    assert (told["dry_run"], told["cold"], told["hot"]) == (False, COLD, HOT)
    size = sum(store.stat(key).size for key in idle)
    assert told["to_cold"] == told["after"][COLD] == {"packs": len(idle), "bytes": size}
    whole = sum(stat.size for name in (FILM, PLAIN) for stat in part(store, name).scan(PACKS))
    assert told["before"][HOT]["bytes"] == whole == told["after"][HOT]["bytes"] + size
    assert [report["name"] for report in told["repositories"]] == [PLAIN, FILM]
    assert told["repositories"][0]["to_cold"] == {"packs": 0, "bytes": 0}


def test_one_project_alone(storage_of: Run, store: TieredStore, idle: set[str]) -> None:
    assert document(storage_of("tier", "--json", "--project", PLAIN))["to_cold"]["packs"] == 0
    assert cold(store) == set()
    assert document(storage_of("tier", "--json", "--project", FILM))["to_cold"]["packs"] == len(idle)
    for verb in ("tier", "restore"):
        code, _, err = storage_of(verb, "--project", "studio/nothing")
        assert code == 1
        assert "There is no repository studio/nothing" in err


@pytest.mark.parametrize(
    "tiers", [TIERS.replace("keep_days = 0", "keep_days = 1"), TIERS.replace("min_pack = 0", 'min_pack = "8MiB"')]
)
def test_each_setting_of_the_policy_counts(storage_of: Run, store: TieredStore, idle: set[str], tiers: str) -> None:
    assert document(storage_of("tier", "--json", tiers=tiers))["to_cold"]["packs"] == 0
    assert cold(store) == set()
    assert document(storage_of("tier", "--json"))["to_cold"]["packs"] == len(idle)


def test_the_hot_class_is_that_of_new_objects_unless_it_is_named(
    storage_of: Run, store: TieredStore, filled: Filled
) -> None:
    del filled
    told = document(storage_of("tier", "--json", tiers=TIERS.replace(f'hot = "{HOT}"\n', "")))
    assert told["hot"] == "STANDARD"
    assert set(store.classes.values()) == {COLD, "STANDARD"}


def test_without_a_policy_nothing_is_moved(storage_of: Run, store: TieredStore, filled: Filled) -> None:
    del filled
    code, _, err = storage_of("tier", tiers="")
    assert code == 2
    assert "Set [storage.tiers] cold" in err
    assert store.moved == []


def test_a_folder_has_no_tiers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(LocalBackend(tmp_path / "here", create=True), tmp_path)
    config = tmp_path / "local.toml"
    config.write_text(f'[storage.local]\npath = "{tmp_path}/here"\n[storage.tiers]\ncold = "COLD"\n')
    for verb in ("tier", "restore"):
        assert main(["storage", verb, "--config", str(config)]) == 2
        assert "has no tiers: every object there costs the same" in capsys.readouterr().err


def test_a_damaged_repository_is_not_touched(storage_of: Run, store: TieredStore, filled: Filled) -> None:
    del filled
    for key in keys(store, f"{prefix_of(FILM)}index/"):
        store.delete(key)
    code, _, err = storage_of("tier")
    assert code == 5
    assert "is missing" in err
    assert not [key for key, _ in store.moved if key.startswith(prefix_of(FILM))]


# A pair: the folder is near, the cloud is behind


@pytest.fixture
def pair(store: TieredStore, filled: Filled, tmp_path: Path) -> MultiBackend:
    """Return a folder with the same as the store, and both as one."""
    del filled
    near = LocalBackend(tmp_path / "near", create=True)
    for key, data in everything(store).items():
        near.put(key, data, when=Absent())
    return pair_of(tmp_path / "journal", near, store, mode="async")


PAIR = """
[storage]
backend = "multi"
[storage.multi]
primary = "local"
secondary = "s3"
[storage.multi.local]
path = "/near"
[storage.multi.s3]
bucket = "media"
storage_class = "HOT"
[storage.tiers]
cold = "COLD"
keep_days = 0
min_pack = 0
"""


def options(**more: object) -> argparse.Namespace:
    usual: dict[str, object] = {"project": None, "dry_run": False, "json": True, "ref": None, "all": False, "days": 7}
    return argparse.Namespace(**{**usual, "wait": False, **more})


def test_of_a_pair_the_store_with_tiers_is_tiered(
    pair: MultiBackend, store: TieredStore, idle: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "pair.toml"
    config.write_text(PAIR)
    settings = load_settings({}, file=config).settings.storage
    assert storage_tier.tier(options(dry_run=True), pair, settings) == 0
    assert json.loads(capsys.readouterr().out)["to_cold"]["packs"] == len(idle)
    assert storage_tier.tier(options(), pair, settings) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["hot"], told["to_cold"]["packs"]) == (HOT, len(idle))
    assert cold(store) == idle
    assert {report["store"] for report in told["repositories"]} == {store.name}
    store.classes = dict.fromkeys(idle, FROZEN)
    assert storage_tier.restore(options(all=True), pair, settings) == 0
    assert set(store.asked) == idle
    # What is archived there is read here.
    for key in idle:
        assert pair.get(key).data == pair.primary.get(key).data


# Waiting


@pytest.fixture
def frozen(store: TieredStore, idle: set[str]) -> set[str]:
    store.classes = dict.fromkeys(idle, FROZEN)
    return idle


def test_a_restore_tells_how_far_it_is(storage_of: Run, store: TieredStore, frozen: set[str]) -> None:
    code, out, _ = storage_of("restore", "--ref", "cut", "--dry-run")
    assert code == 0
    assert f"{FILM}: {len(frozen)} packs (" in out
    assert "to be asked for, 0 packs (0 B) under way" in out
    assert store.asked == []
    code, out, _ = storage_of("restore", "--ref", "cut", "--days", "3")
    assert "asked for, 0 packs (0 B) under way" in out
    assert set(store.asked) == frozen
    told = document(storage_of("restore", "--ref", "heads/cut", "--json"))
    assert not told["done"]
    assert told["repositories"][0]["under_way"]["packs"] == len(frozen)
    store.thaw()
    told = document(storage_of("restore", "--ref", "cut", "--json"))
    assert told["done"]
    assert told["repositories"][0]["ready"] == told["repositories"][0]["wanted"]


def test_a_warning_tells_what_a_branch_needs_and_cannot_be_read(
    storage_of: Run, store: TieredStore, frozen: set[str], filled: Filled, tmp_path: Path
) -> None:
    cut = filled.ann.commit({"cut.mov": noise(600_000, 9)}, [filled.tip.id])
    filled.ann.push(remote_of(store, tmp_path), cut, "heads/again")
    code, out, err = storage_of("tier")
    assert code == 0
    assert f"warning: {FILM}: {len(frozen)} packs (" in err
    assert f"`mediagit-server storage restore --project {FILM}`" in err
    assert document(storage_of("tier", "--json"))["archived"]["packs"] == len(frozen)
    del out


def test_waiting_looks_again_until_all_is_ready(
    store: TieredStore, frozen: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            store.thaw()

    capsys.readouterr()
    assert (
        storage_tier.restore(options(ref="cut", wait=True, json=False), store, Storage(backend="s3"), sleep=sleep) == 0
    )
    said = capsys.readouterr()
    assert slept == [10.0, 20.0, 40.0]
    assert len(said.err.splitlines()) == 3
    assert f"{len(frozen)} packs (" in said.err
    assert "on the way; looking again in 10 s" in said.err
    assert (
        f"0 packs (0 B) asked for, 0 packs (0 B) under way, {len(frozen)} packs" not in said.out
    )  # more is ready: metadata
    assert "0 packs (0 B) asked for, 0 packs (0 B) under way, " in said.out
    assert len(store.asked) == len(frozen), "each was asked for once"


def test_an_interrupted_wait_loses_nothing(
    storage_of: Run, store: TieredStore, frozen: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage_tier.restore, "__kwdefaults__", {"sleep": interrupted})
    code, _, err = storage_of("restore", "--ref", "cut", "--wait")
    assert code == 130
    assert "Run the same command again: it continues." in err
    assert set(store.asked) == frozen
    store.thaw()
    assert storage_of("restore", "--ref", "cut", "--wait")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["restore", "--ref", "x", "--all"], "not allowed with"),
        (["restore", "--days", "0"], "is not a number of days"),
        (["restore", "--days", "soon"], "invalid"),
        (["tier", "--wait"], "unrecognized arguments"),
        (["tier", "s3://bucket"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_exits_2(storage_of: Run, words: list[str], message: str) -> None:
    code, out, err = storage_of(*words)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize("name", ["nothing", "tags/v2", "ab" * 32, "AB" * 32, ".."])
def test_a_ref_that_nobody_knows(storage_of: Run, filled: Filled, name: str) -> None:
    del filled
    code, _, err = storage_of("restore", f"--ref={name}")
    assert code == 1
    assert f"No branch, tag or commit {name} is known here" in err
