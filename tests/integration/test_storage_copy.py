"""Copying whole stores: complete, incremental, in an order that is safe to be killed in, beside pushes, and past no damage."""

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mediavault.errors import DivergedError, IntegrityError, NeedsDecisionError, NotFoundError, StorageError
from mediavault.formats.config import RepositoryConfig, encode_config
from mediavault.formats.index import IndexBlob, index_id, merge_indexes
from mediavault.formats.ref import decode_ref_value, encode_ref_blob, split_ref_blob
from mediavault.hosting.checking import Finding, compare_stores, verify_store
from mediavault.hosting.contents import find_repositories
from mediavault.hosting.copying import Copied
from mediavault.model.ids import Link
from mediavault.refs.blobs import LOGS, REFS, ref_key
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import INDEX, PACKS
from mediavault_backends.api import Absent, Backend, Blob, Buffer, Stat
from mediavault_backends.errors import BackendError, OutcomeUnknownError, TransientError
from mediavault_backends.fault import Fault, FaultBackend
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.throttle import Throttle
from tests.integration.studio import Studio, noise
from tests.storages import (
    FILM,
    MARK,
    PLAIN,
    Filled,
    Watched,
    copied,
    everything,
    fill,
    flip,
    held,
    keys,
    largest,
    overwrite,
    part,
    prefix_of,
    remote_of,
    slot,
    twin,
)

MAIN = ref_key("heads/main")
RAW = prefix_of(PLAIN)


@pytest.fixture
def source() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def filled(source: MemoryBackend, tmp_path: Path) -> Filled:
    return fill(source, tmp_path)


@pytest.fixture(params=["memory", "folder"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return MemoryBackend() if request.param == "memory" else LocalBackend(tmp_path / "target", create=True)


def wrong(store: Backend) -> list[Finding]:
    return [finding for report in verify_store(store) for finding in report.findings]


def differing(store: Backend, other: Backend) -> list[Finding]:
    return [finding for report in compare_stores(store, other) for finding in report.findings]


def clone(store: Backend, folder: Path, name: str = FILM) -> dict[str, bytes]:
    """Clone a project of a store, and return the files of its main branch: every object was opened."""
    studio = Studio(folder, secret=b"s" * 32)
    report = studio.fetch(remote_of(store, folder, name))
    assert report.observed
    value = decode_ref_value(split_ref_blob(part(store, name).get(MAIN).data)[0])
    assert value.target is not None
    return studio.files(value.target.id)


def damage_of(reports: list[Copied]) -> list[str]:
    return [damage for report in reports for damage in report.damage]


def test_everything_is_copied_and_can_be_cloned(
    source: MemoryBackend, filled: Filled, target: Backend, tmp_path: Path
) -> None:
    reports = copied(source, target, tmp_path)
    assert held(target) == held(source)
    assert [report.name for report in reports] == [PLAIN, FILM]
    assert sum(report.objects for report in reports) == len(held(source))
    assert sum(report.bytes for report in reports) == sum(map(len, held(source).values()))
    assert sum(report.refs for report in reports) == 4
    assert all(not report.there and not report.damage and not report.kept for report in reports)
    assert keys(target, MARK) == [], "a server makes its mark itself"
    assert wrong(target) == []
    assert differing(source, target) == []
    assert clone(target, tmp_path / "clone") == filled.files


def test_what_is_there_is_not_sent_again(
    source: MemoryBackend, filled: Filled, target: Backend, tmp_path: Path
) -> None:
    copied(source, target, tmp_path)
    before = everything(target)
    puts: list[str] = []
    again = copied(
        source, Watched(target, lambda _, method, key: puts.append(key) if method == "put" else None), tmp_path
    )
    assert puts == []
    assert everything(target) == before
    assert [(report.objects, report.bytes, report.refs) for report in again] == [(0, 0, 0)] * 2
    assert sum(report.there for report in again) == len(held(source))

    tip = filled.ann.commit({**filled.files, "new.exr": noise(100_000, 9)}, [filled.tip.id])
    filled.ann.push(remote_of(source, tmp_path), tip)
    raw, film = copied(source, target, tmp_path)
    assert raw.objects == 0
    assert film.refs == 1
    assert 100_000 < film.bytes < 250_000
    assert differing(source, target) == []
    assert clone(target, tmp_path / "clone")["new.exr"] == noise(100_000, 9)


def test_a_dry_run_counts_and_sends_nothing(source: MemoryBackend, filled: Filled, tmp_path: Path) -> None:
    del filled
    target = MemoryBackend()
    planned = copied(source, target, tmp_path, dry_run=True)
    assert everything(target) == {}
    assert not (tmp_path / "copies").exists()
    done = copied(source, target, tmp_path)
    assert [(r.name, r.objects, r.refs, r.there) for r in planned] == [
        (r.name, r.objects, r.refs, r.there) for r in done
    ]


def test_objects_are_put_in_an_order_in_which_nothing_names_what_is_not_there(
    source: MemoryBackend, filled: Filled, tmp_path: Path
) -> None:
    del filled
    order = [PACKS, INDEX, "logs/", "keys/", "config", REFS]
    puts: list[str] = []
    target = Watched(MemoryBackend(), lambda _, method, key: puts.append(key) if method == "put" else None)
    copied(source, target, tmp_path)
    for name in (FILM, PLAIN):
        parts = [key.removeprefix(prefix_of(name)) for key in puts if key.startswith(prefix_of(name))]
        seen = [next(n for n, start in enumerate(order) if key.startswith(start)) for key in parts]
        stages = [2 if stage == 3 else stage for stage in seen]  # former values and key slots go together
        assert stages == sorted(stages)


@pytest.mark.parametrize("error", [TransientError, OutcomeUnknownError])
def test_a_run_that_fails_at_any_write_leaves_what_is_whole_and_the_next_one_finishes(
    source: MemoryBackend, filled: Filled, tmp_path: Path, error: type[BackendError]
) -> None:
    whole = len(held(source))
    for nth in range(1, whole + 1):
        target = MemoryBackend()
        faulty = FaultBackend(target, [Fault("put", nth, error, lands=error is OutcomeUnknownError)])
        with pytest.raises(error):
            copied(source, faulty, tmp_path)
        there = everything(target)
        assert len(there) < whole or error is OutcomeUnknownError
        if find_repositories(target):
            assert wrong(target) == [], nth
        assert not [
            name for name in (FILM, PLAIN) if keys(part(target, name), REFS) and not keys(part(target, name), "config")
        ]
        reports = copied(source, target, tmp_path)
        assert held(target) == held(source), nth
        assert sum(report.objects for report in reports) == whole - len(there), "only the rest is sent"
        assert sum(report.there for report in reports) == len(there)
    assert clone(target, tmp_path / "clone") == filled.files
    assert list((tmp_path / "copies").iterdir()) == []


class Meddling:
    """Does something once, before the n-th call."""

    def __init__(self, nth: int, action: Callable[[], object]) -> None:
        self._nth = nth
        self._action = action
        self.calls = 0

    def __call__(self, number: int, method: str, key: str) -> None:
        del method, key
        self.calls = max(self.calls, number)
        if number == self._nth:
            self._action()


def test_a_push_at_any_moment_leaves_a_copy_whose_refs_are_whole(tmp_path: Path) -> None:
    before = MemoryBackend()
    filled = fill(before, tmp_path)
    seen = dict(filled.ann.observed)
    tip = filled.ann.commit({**filled.files, "late.mov": noise(150_000, 7)}, [filled.tip.id])
    nth, calls = 1, 1
    while nth <= calls:
        folder = tmp_path / f"at-{nth}"
        source, target = twin(before), MemoryBackend()
        filled.ann.observed = dict(seen)
        meddling = Meddling(nth, lambda: filled.ann.push(remote_of(source, folder), tip, pack_size=100_000))  # noqa: B023 -- called in this round
        copied(Watched(source, meddling), target, folder, jobs=1)
        calls = meddling.calls
        assert wrong(target) == [], nth
        assert clone(target, folder / "clone") in (filled.files, filled.ann.files(tip.id))
        copied(source, target, folder)
        assert differing(source, target) == []
        nth += 1
    assert calls > 30, "a copy asks more of its source than that"


def test_index_blobs_that_are_merged_meanwhile_are_found_anew(tmp_path: Path) -> None:
    before = MemoryBackend()
    filled = fill(before, tmp_path)
    nth, calls = 1, 1
    while nth <= calls:
        source, target = twin(before), MemoryBackend()
        meddling = Meddling(nth, lambda: ObjectIndex(part(source)).compact(keep=1))  # noqa: B023 -- called in this round
        copied(Watched(source, meddling), target, tmp_path, jobs=1)
        calls = meddling.calls
        assert len(keys(part(source), INDEX)) == 1
        assert wrong(target) == [], nth
        assert clone(target, tmp_path / f"clone-{nth}") == filled.files
        nth += 3


class Racing(Watched):
    """A store that is listed as a folder is: what goes after it was listed is left out, and what comes is not seen."""

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        listed = list(self.inner.scan(prefix))
        self._call("scan", prefix)
        there = {stat.key for stat in self.inner.scan(prefix)}
        return (stat for stat in listed if stat.key in there)


@pytest.mark.parametrize("listing", [1, 2, 3])
def test_a_listing_that_runs_into_a_merger_leaves_nothing_out(
    source: MemoryBackend, filled: Filled, tmp_path: Path, listing: int
) -> None:
    target = MemoryBackend()
    listings: list[str] = []

    def merge(number: int, method: str, key: str) -> None:
        del number
        if method == "scan" and key == prefix_of(FILM) + INDEX:
            listings.append(key)
            if len(listings) == listing:
                ObjectIndex(part(source)).compact(keep=1)

    copied(Racing(source, merge), target, tmp_path)
    assert wrong(target) == []
    assert clone(target, tmp_path / "clone") == filled.files
    assert len(listings) >= 3


def test_at_a_destination_in_use_index_blobs_come_one_by_one_oldest_first(
    source: MemoryBackend, filled: Filled, tmp_path: Path
) -> None:
    target = MemoryBackend()
    copied(source, target, tmp_path)
    tip = filled.tip
    for number in range(6):
        tip = filled.ann.commit({"a": noise(1000, number)}, [tip.id])
        filled.ann.push(remote_of(source, tmp_path), tip)
    puts: list[str] = []
    copied(source, Watched(target, lambda _, method, key: puts.append(key) if method == "put" else None), tmp_path)
    written = [IndexBlob(memoryview(target.get(key).data)).written_ns for key in puts if f"/{INDEX}" in key]
    assert len(written) >= 6
    assert written == sorted(written)


def test_a_source_that_never_stands_still_is_given_up(source: MemoryBackend, filled: Filled, tmp_path: Path) -> None:
    del filled
    target = MemoryBackend()

    def written_anew(number: int, method: str, key: str) -> None:
        if method == "stream" and f"/{INDEX}" in key:
            blob = merge_indexes([IndexBlob(memoryview(source.get(key).data))], number)
            source.put(f"{key.rpartition('/')[0]}/{index_id(blob).hex()}", blob, when=Absent())
            source.delete(key)

    with pytest.raises(StorageError, match="changing"):
        copied(Watched(source, written_anew), target, tmp_path)
    assert find_repositories(target) == []
    assert find_repositories(source)
    copied(source, target, tmp_path)
    assert differing(source, target) == []


# What a destination may hold


def test_a_destination_that_is_ahead_is_named_and_not_touched(
    source: MemoryBackend, filled: Filled, tmp_path: Path
) -> None:
    target = MemoryBackend()
    copied(source, target, tmp_path)
    late = filled.ann.commit({"a": b"theirs"}, [filled.tip.id])
    filled.ann.push(remote_of(target, tmp_path), late)
    filled.ben.push(remote_of(source, tmp_path, PLAIN), filled.ben.commit({"raw.dng": b"new"}), force=True)
    before = everything(target)
    with pytest.raises(
        DivergedError, match=r"heads/main of studio/film is at move 3 there, and at move 2 here"
    ) as told:
        copied(source, target, tmp_path)
    assert told.value.untouched == "Nothing was copied."
    assert everything(target) == before


@pytest.mark.parametrize("moves_here", [1, 2])
def test_a_destination_on_another_history_is_named_and_not_touched(
    source: MemoryBackend, filled: Filled, tmp_path: Path, moves_here: int
) -> None:
    target = MemoryBackend()
    copied(source, target, tmp_path)
    seen = dict(filled.ann.observed)
    filled.ann.push(remote_of(target, tmp_path), filled.ann.commit({"a": b"theirs"}, [filled.tip.id]))
    filled.ann.observed = seen
    tip = filled.tip
    for number in range(moves_here):
        tip = filled.ann.commit({"a": b"ours %d" % number}, [tip.id])
        filled.ann.push(remote_of(source, tmp_path), tip)
    before = everything(target)
    with pytest.raises(DivergedError, match=r"heads/main of studio/film went another way at move 3"):
        copied(source, target, tmp_path)
    assert everything(target) == before


def test_a_push_to_the_destination_meanwhile_is_not_overwritten(
    source: MemoryBackend, filled: Filled, tmp_path: Path
) -> None:
    target = MemoryBackend()
    copied(source, target, tmp_path)
    seen = dict(filled.ann.observed)
    filled.ann.push(remote_of(source, tmp_path), filled.ann.commit({"a": b"ours"}, [filled.tip.id]))
    filled.ann.observed = seen
    theirs = filled.ann.commit({"a": b"theirs"}, [filled.tip.id])
    pushed: list[bool] = []

    def push(number: int, method: str, key: str) -> None:
        del number
        if method == "put" and key.endswith(MAIN) and not pushed:
            pushed.append(True)
            filled.ann.push(remote_of(target, tmp_path), theirs)

    with pytest.raises(DivergedError, match="went another way at move 3") as told:
        copied(source, Watched(target, push), tmp_path)
    assert told.value.untouched == "That ref was left as it is."
    assert clone(target, tmp_path / "clone") == {"a": b"theirs"}
    assert wrong(target) == []


def test_refs_that_only_carry_other_random_bytes_are_the_same(
    source: MemoryBackend, filled: Filled, tmp_path: Path
) -> None:
    del filled
    target = MemoryBackend()
    copied(source, target, tmp_path)
    value, _ = split_ref_blob(part(source).get(MAIN).data)
    overwrite(part(source), MAIN, encode_ref_blob(value, os.urandom(16)))
    assert sum(report.objects for report in copied(source, target, tmp_path)) == 0
    assert differing(source, target) == []


def test_another_repository_in_the_place_of_one_is_not_touched(
    source: MemoryBackend, filled: Filled, tmp_path: Path
) -> None:
    del filled
    target = MemoryBackend()
    part(target).put("config", encode_config(RepositoryConfig(bytes(16), 0)), when=Absent())
    before = everything(target)
    with pytest.raises(NeedsDecisionError, match="another repository at studio/film"):
        copied(source, target, tmp_path)
    assert everything(target) == before, "not even the repository that comes first was begun"


def test_key_slots_follow_the_source_and_those_that_only_the_destination_has_are_told(
    source: MemoryBackend, filled: Filled, tmp_path: Path
) -> None:
    target = MemoryBackend()
    copied(source, target, tmp_path)
    film = remote_of(source, tmp_path)
    changed = slot(filled.ann.repository, "anns-phrase", "new")
    film.put_slot("anns-phrase", changed, film.slots()["anns-phrase"])
    film.delete_slot("config", film.slots()["config"])
    _, report = copied(source, target, tmp_path)
    assert report.objects == 1
    assert report.kept == [f"{prefix_of(FILM)}keys/config"]
    assert part(target).get("keys/anns-phrase").data == changed
    assert keys(part(target), "keys/") == ["keys/anns-phrase", "keys/config"], "nothing is removed"


@pytest.mark.parametrize("kind", [PACKS, INDEX, LOGS])
def test_an_object_that_another_tool_left_cut_is_replaced(
    source: MemoryBackend, filled: Filled, target: Backend, tmp_path: Path, kind: str
) -> None:
    del filled
    copied(source, target, tmp_path)
    key = keys(part(target), kind)[0]
    whole = part(target).get(key).data
    overwrite(part(target), key, whole[:-5])
    assert wrong(target)
    _, report = copied(source, target, tmp_path)
    assert (report.objects, report.bytes) == (1, len(whole))
    assert part(target).get(key).data == whole


def test_objects_that_are_no_part_of_a_repository_stay_where_they_are(
    source: MemoryBackend, filled: Filled, tmp_path: Path
) -> None:
    del filled
    target = MemoryBackend()
    part(source).put("leases/writer", b"x", when=Absent())
    part(source).put("packs/zz/stranger", b"x", when=Absent())
    part(target).put("trash/old", b"y", when=Absent())
    copied(source, target, tmp_path)
    strange = {"leases/writer", "packs/zz/stranger", "trash/old"}
    assert strange.intersection(keys(part(target), "")) == {"trash/old"}


def test_a_store_that_is_one_repository_is_copied_as_one(source: MemoryBackend, filled: Filled, tmp_path: Path) -> None:
    target = MemoryBackend()
    (report,) = copied(part(source), target, tmp_path)
    assert report.name == "/"
    assert everything(target) == everything(part(source))
    assert wrong(target) == []
    del filled


def test_an_empty_store_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no repository in memory"):
        copied(MemoryBackend(), MemoryBackend(), tmp_path)
    with pytest.raises(NotFoundError, match="no repository in memory"):
        wrong(MemoryBackend())


# Damage


@pytest.mark.parametrize("kind", [PACKS, INDEX, LOGS, "keys/", REFS, "config"])
def test_a_flipped_bit_at_the_source_is_named_and_never_copied(
    source: MemoryBackend, filled: Filled, tmp_path: Path, kind: str
) -> None:
    del filled
    for key in keys(part(source), kind):
        target = MemoryBackend()
        good = part(source).get(key).data
        flip(part(source), key, 20 if kind == REFS else -1)  # what else a ref says only a key holder can judge
        raw, film = copied(source, target, tmp_path)
        assert not raw.damage
        assert film.damage
        assert all(damage.startswith(prefix_of(FILM)) for damage in film.damage)
        assert kind == INDEX or any(key in damage for damage in film.damage)
        assert key not in keys(part(target), "")
        assert not keys(part(target), REFS), "no ref leads to what is not whole"
        assert set(held(target)) == set(keys(source, RAW)), "the other repository is whole"
        overwrite(part(source), key, good)
    assert not damage_of(copied(source, target, tmp_path))
    assert differing(source, target) == []


def test_all_damage_is_named_in_one_run_and_what_is_sound_is_sent(
    source: MemoryBackend, filled: Filled, tmp_path: Path
) -> None:
    del filled
    target = MemoryBackend()
    first, *_, last = keys(part(source), PACKS)
    flip(part(source), first)
    overwrite(part(source), last, part(source).get(last).data[:-100])
    _, film = copied(source, target, tmp_path)
    assert [damage.partition(":")[0] for damage in sorted(film.damage)] == [
        prefix_of(FILM) + first,
        prefix_of(FILM) + last,
    ]
    assert len(keys(part(target), "")) == len(keys(part(source), PACKS)) - 2


def test_a_pack_that_the_index_names_and_nobody_has_is_damage(
    source: MemoryBackend, filled: Filled, tmp_path: Path
) -> None:
    del filled
    key = keys(part(source), PACKS)[0]
    part(source).delete(key)
    _, film = copied(source, MemoryBackend(), tmp_path)
    assert [damage.partition(":")[0] for damage in film.damage] == [prefix_of(FILM) + key]


def test_a_ref_that_leads_nowhere_is_damage(source: MemoryBackend, filled: Filled, tmp_path: Path) -> None:
    for key in keys(part(source), INDEX):
        part(source).delete(key)
    target = MemoryBackend()
    _, film = copied(source, target, tmp_path)
    assert any(filled.tip.id.hex() in damage for damage in film.damage)
    assert not keys(part(target), "")


def test_a_damaged_ref_at_the_destination_is_named(source: MemoryBackend, filled: Filled, tmp_path: Path) -> None:
    del filled
    target = MemoryBackend()
    copied(source, target, tmp_path)
    flip(part(target), MAIN, 3)
    before = everything(target)
    with pytest.raises(IntegrityError, match=f"damaged ref, {prefix_of(FILM)}{MAIN}"):
        copied(source, target, tmp_path)
    assert everything(target) == before


class Forgetful(MemoryBackend):
    """A store that hands back something else than it was given."""

    def get(self, key: str) -> Blob:
        blob = super().get(key)
        return Blob(blob.data[:-1] + b"?", blob.version) if f"/{PACKS}" in key else blob


def test_a_store_that_hands_back_other_bytes_is_not_trusted(
    source: MemoryBackend, filled: Filled, tmp_path: Path
) -> None:
    del filled
    target = Forgetful()
    with pytest.raises(IntegrityError, match="does not hand back what it was given"):
        copied(source, target, tmp_path)
    assert not keys(part(target, PLAIN), REFS)


class Cutting(MemoryBackend):
    """A store whose transfers break off, each after 60,000 bytes."""

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        return self._cut(super().read(key, start, 1 << 30 if length is None else length))

    def _cut(self, data: bytes) -> Iterator[Buffer]:
        yield data[:60_000]
        if len(data) > 60_000:
            raise TransientError("cut off")


def test_transfers_that_break_off_go_on(tmp_path: Path) -> None:
    source, target = Cutting(), MemoryBackend()
    filled = fill(source, tmp_path)
    copied(source, target, tmp_path)
    assert held(target) == held(source)
    assert clone(target, tmp_path / "clone") == filled.files


# Packs on their way


def test_what_killed_runs_left_is_removed_and_what_others_are_at_is_not(
    source: MemoryBackend, filled: Filled, tmp_path: Path
) -> None:
    del filled
    target = LocalBackend(tmp_path / "target", create=True)
    dead, alive, young, upload = (
        target.spool_folder / name for name in ("copy-dead", "copy-alive", "copy-young", "upload-1")
    )
    for file in (dead, alive, upload):
        file.write_bytes(b"pack")
    young.touch()
    with alive.open("rb") as held_file:
        fcntl.flock(held_file, fcntl.LOCK_EX)
        copied(source, target, tmp_path)
    assert {path.name for path in target.spool_folder.iterdir()} == {"copy-alive", "copy-young", "upload-1"}
    assert not (tmp_path / "copies").exists(), "a folder takes packs as they are"


def test_no_room_for_packs_on_their_way_is_said(source: MemoryBackend, filled: Filled, tmp_path: Path) -> None:
    del filled
    (tmp_path / "copies").write_text("in the way")
    with pytest.raises(StorageError, match="copies for packs on their way"):
        copied(source, MemoryBackend(), tmp_path)


def test_a_rate_holds_for_all_that_is_read(source: MemoryBackend, filled: Filled, tmp_path: Path) -> None:
    del filled
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] = max(now[0], now[0] + seconds)

    target = MemoryBackend()
    copied(source, target, tmp_path, throttle=Throttle(1000, clock=lambda: now[0], sleep=sleep), jobs=1)
    sent = [
        stat.size for prefix in (FILM, PLAIN) for p in (PACKS, INDEX, LOGS) for stat in part(source, prefix).scan(p)
    ]
    assert now[0] == pytest.approx(sum(sent) / 1000)


# Checking


def test_every_kind_of_damage_is_found_and_named(source: MemoryBackend, filled: Filled) -> None:
    del filled
    assert wrong(source) == []
    for kind in (PACKS, INDEX, LOGS, "keys/", REFS, "config"):
        for key in keys(part(source), kind):
            good = part(source).get(key).data
            flip(part(source), key)
            findings = wrong(source)
            assert findings, key
            assert {finding.what for finding in findings} == {"damaged"}
            named = {finding.key for finding in findings}
            assert named == {prefix_of(FILM) + key} or kind == INDEX
            assert any(key in finding.key + finding.reason for finding in findings)
            overwrite(part(source), key, good)
    assert wrong(source) == []


def test_a_ref_to_what_is_missing_is_found(source: MemoryBackend, filled: Filled) -> None:
    for key in keys(part(source), INDEX):
        part(source).delete(key)
    findings = wrong(source)
    assert (f"{prefix_of(FILM)}{MAIN}", filled.tip.id.hex()) in {(finding.key, finding.object) for finding in findings}


def test_what_two_stores_differ_in_is_named(
    source: MemoryBackend, filled: Filled, target: Backend, tmp_path: Path
) -> None:
    copied(source, target, tmp_path)
    pack, index = largest(part(source), PACKS), keys(part(source), INDEX)[0]
    flip(part(target), pack, 1234)
    part(target).delete(index)
    part(target).put("keys/intruder", b"x", when=Absent())
    tip = filled.ann.commit({"a": b"new"}, [filled.tip.id])
    filled.ann.push(remote_of(source, tmp_path), tip)
    findings = {
        (finding.what, finding.key.removeprefix(prefix_of(FILM))): finding for finding in differing(source, target)
    }
    assert findings["different", pack].offset == 1234
    assert ("missing", index) in findings
    assert ("extra", "keys/intruder") in findings
    assert "at move 2" in findings["different", MAIN].reason
    assert "at move 3 here" in findings["different", MAIN].reason
    new = {key for what, key in findings if what == "missing"} - {index}
    assert new == set(keys(part(source), "")) - set(keys(part(target), "")) - {index}


def test_a_repository_that_only_one_store_has_is_named_once(
    source: MemoryBackend, filled: Filled, tmp_path: Path
) -> None:
    del filled
    target = MemoryBackend()
    copied(source, target, tmp_path)
    for key in keys(target, prefix_of(FILM)):
        target.delete(key)
    assert [(finding.what, finding.key) for finding in differing(source, target)] == [("missing", prefix_of(FILM))]
    assert [(finding.what, finding.key) for finding in differing(target, source)] == [("extra", prefix_of(FILM))]


def test_a_deleted_branch_stays_deleted(source: MemoryBackend, filled: Filled, tmp_path: Path) -> None:
    target = MemoryBackend()
    copied(source, target, tmp_path)
    old = decode_ref_value(split_ref_blob(part(target).get(ref_key("heads/old")).data)[0])
    assert old.target is None
    assert old.seq == 2
    tag = decode_ref_value(split_ref_blob(part(target).get(ref_key("tags/v1")).data)[0]).target
    assert isinstance(tag, Link)
    assert tag != filled.tip
