"""Two stores as one: what is answered when one of them fails, and how they become equal again."""

import itertools
import shutil
import threading
from pathlib import Path

import pytest

from mediavault_backends import multi_mend
from mediavault_backends.api import Absent, Condition, FileSource, Lag, Matches, Version
from mediavault_backends.errors import (
    AccessDeniedError,
    BackendError,
    BackendSetupError,
    NotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StorageFullError,
    TransientError,
)
from mediavault_backends.keys import SERVER_MARK
from mediavault_backends.kinds import is_immutable, is_index, misleads, names_content, repository_of
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.multi import Mode, MultiBackend, multi
from mediavault_backends.multi_catch_up import FILL_AGAIN
from mediavault_backends.multi_pace import Replayer, Speeds
from mediavault_backends.multi_pair import QUIET
from tests.contract.pairs import (
    INDEX,
    OTHER_PACK,
    PACK,
    REF,
    SLOT,
    Cable,
    Trusting,
    contents,
    crash,
    cut,
    journal_of,
    mend,
    pair_of,
)

BOTH: list[Mode] = ["mirror", "async"]


@pytest.fixture
def first() -> Cable:
    return Cable(MemoryBackend())


@pytest.fixture
def second() -> Cable:
    return Cable(MemoryBackend())


@pytest.fixture
def mirror(tmp_path: Path, first: Cable, second: Cable) -> MultiBackend:
    return pair_of(tmp_path / "journal", first, second, mode="mirror")


@pytest.fixture
def follow(tmp_path: Path, first: Cable, second: Cable) -> MultiBackend:
    return pair_of(tmp_path / "journal", first, second, mode="async")


# Writing


def test_mirror_has_it_in_both_before_it_says_so(mirror: MultiBackend, first: Cable, second: Cable) -> None:
    version = mirror.put(REF, b"one", when=Absent())
    assert contents(second) == contents(first) == {REF: b"one"}
    mirror.put(REF, b"two", when=Matches(version))
    mirror.put(PACK, b"pack", when=Absent())
    assert contents(second) == contents(first) == {REF: b"two", PACK: b"pack"}
    mirror.delete(REF)
    assert contents(second) == contents(first) == {PACK: b"pack"}
    assert mirror.lag() == Lag(0, 0.0)
    assert mirror.catch_up()


def refuse_puts(store: Cable) -> None:
    """Cut it off each time that something is to be put there."""

    def cut_off(method: str, key: str) -> None:
        if method == "put":
            raise TransientError("cut off", key=key)

    store.before = cut_off


def let_puts(store: Cable) -> None:
    store.before = lambda *_: None


def test_mirror_changes_nothing_while_the_secondary_is_away(mirror: MultiBackend, first: Cable, second: Cable) -> None:
    version = mirror.put(REF, b"one", when=Absent())
    cut(second)
    writes: list[tuple[str, Condition]] = [(PACK, Absent()), (REF, Matches(version))]
    for key, when in writes:
        with pytest.raises(TransientError):
            mirror.put(key, b"two", when=when)
    assert contents(first) == {REF: b"one"}
    assert mirror.get(REF).version == version
    assert mirror.lag().pending == 0
    mend(second)
    mirror.put(REF, b"two", when=Matches(version))
    assert contents(second) == {REF: b"two"}


def test_mirror_does_not_say_that_half_of_it_is_done(mirror: MultiBackend, first: Cable, second: Cable) -> None:
    refuse_puts(second)
    with pytest.raises(OutcomeUnknownError, match="is in memory and not in memory yet"):
        mirror.put(PACK, b"pack", when=Absent())
    assert contents(first) == {PACK: b"pack"}
    assert mirror.lag().pending == 1
    # Who asks again is refused as by any store, but only once both have it.
    with pytest.raises(OutcomeUnknownError):
        mirror.put(PACK, b"pack", when=Absent())
    let_puts(second)
    with pytest.raises(PreconditionFailedError):
        mirror.put(PACK, b"pack", when=Absent())
    assert contents(second) == {PACK: b"pack"}
    assert mirror.catch_up()
    assert mirror.lag().pending == 0


def test_mirror_knows_what_both_have_while_the_secondary_is_away(
    mirror: MultiBackend, first: Cable, second: Cable
) -> None:
    mirror.put(REF, b"one", when=Absent())
    cut(second)
    with pytest.raises(PreconditionFailedError):
        mirror.put(REF, b"one", when=Absent())
    first.inner.put(PACK, b"found by the primary alone", when=Absent())
    mirror._journal.ready(mirror._journal.begin(PACK, "put"))
    for key in (PACK, REF):
        with pytest.raises(TransientError):
            mirror.put(key, b"one", when=Absent())
    assert contents(first) == {REF: b"one", PACK: b"found by the primary alone"}


def test_mirror_knows_nothing_of_a_secondary_that_was_never_filled(tmp_path: Path, first: Cable, second: Cable) -> None:
    first.inner.put(REF, b"one", when=Absent())
    pair = pair_of(tmp_path / "journal", first, second, mode="mirror", filled=False)
    cut(second)
    with pytest.raises(TransientError):
        pair.put(REF, b"one", when=Absent())


def test_what_mirror_did_by_half_is_finished_later(mirror: MultiBackend, second: Cable) -> None:
    version = mirror.put(REF, b"one", when=Absent())
    refuse_puts(second)
    with pytest.raises(OutcomeUnknownError):
        mirror.put(REF, b"two", when=Matches(version))
    assert not mirror.catch_up()
    assert contents(second.inner) == {REF: b"one"}
    let_puts(second)
    assert mirror.catch_up()
    assert contents(second) == {REF: b"two"}


def test_mirror_asks_the_secondary_twice_for_a_put(mirror: MultiBackend, first: Cable, second: Cable) -> None:
    version = mirror.put(REF, b"one", when=Absent())
    mirror.put(PACK, b"pack", when=Absent())
    second.calls.clear()
    first.calls.clear()
    mirror.put(REF, b"two", when=Matches(version))
    assert second.calls == [("stat", REF), ("put", REF)]
    assert [method for method, _ in first.calls].count("put") == 1


def test_a_secondary_that_is_away_is_told_before_anything_is_behind(
    tmp_path: Path, first: Cable, second: Cable, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Ticks()
    pair = pair_of(tmp_path, first, second, mode="mirror", clock=clock)
    pair.put(REF, b"one", when=Absent())
    cut(second)
    for _ in range(5):
        assert pair.lag() == Lag(0, 0.0, answers=False)
        assert pair.catch_up(), "nothing is to be copied"
        clock.now += QUIET
    mend(second)
    assert pair.lag() == Lag(0, 0.0)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "memory does not answer",
        "memory answers again",
    ]


def test_mirror_deletes_nothing_while_the_secondary_is_away(mirror: MultiBackend, first: Cable, second: Cable) -> None:
    mirror.put(SLOT, b"slot", when=Absent())
    cut(second)
    with pytest.raises(TransientError):
        mirror.delete(SLOT)
    assert contents(first) == {SLOT: b"slot"}
    mend(second)
    assert mirror.catch_up()
    assert contents(second) == contents(first) == {SLOT: b"slot"}
    mirror.delete(SLOT)
    assert contents(second) == contents(first) == {}


def test_mirror_deletes_at_the_secondary_first(mirror: MultiBackend, first: Cable, second: Cable) -> None:
    mirror.put(SLOT, b"slot", when=Absent())
    cut(first)
    with pytest.raises(TransientError):
        mirror.delete(SLOT)
    assert contents(second) == {}, "the primary's was to go last"
    mend(first)
    assert mirror.get(SLOT).data == b"slot"
    assert mirror.catch_up()
    assert contents(second) == {SLOT: b"slot"}, "the primary decides"


def test_async_never_waits_for_the_secondary(follow: MultiBackend, first: Cable, second: Cable) -> None:
    cut(second)
    version = follow.put(REF, b"one", when=Absent())
    follow.put(REF, b"two", when=Matches(version))
    follow.put(PACK, b"pack", when=Absent())
    follow.put(SLOT, b"slot", when=Absent())
    follow.delete(SLOT)
    assert follow.lag().pending == 3
    assert follow.lag().oldest_seconds >= 0
    assert not follow.catch_up()
    assert second.calls == []
    mend(second)
    assert follow.catch_up()
    assert contents(second) == contents(first) == {REF: b"two", PACK: b"pack"}
    assert follow.lag() == Lag(0, 0.0)


def test_async_deletes_at_the_secondary_later(follow: MultiBackend, second: Cable) -> None:
    follow.put(SLOT, b"slot", when=Absent())
    assert follow.catch_up()
    follow.delete(SLOT)
    assert contents(second) == {SLOT: b"slot"}
    assert follow.catch_up()
    assert contents(second) == {}
    follow.put(SLOT, b"new", when=Absent())
    follow.delete(SLOT)
    follow.put(SLOT, b"newer", when=Absent())
    assert follow.catch_up()
    assert contents(second) == {SLOT: b"newer"}


@pytest.mark.parametrize("mode", BOTH)
def test_a_refused_write_touches_the_secondary_not_at_all(
    tmp_path: Path, first: Cable, second: Cable, mode: Mode
) -> None:
    pair = pair_of(tmp_path, first, second, mode=mode)
    pair.put(REF, b"one", when=Absent())
    pair.catch_up()
    second.calls.clear()
    with pytest.raises(PreconditionFailedError):
        pair.put(REF, b"two", when=Absent())
    with pytest.raises(PreconditionFailedError):
        pair.put(REF, b"two", when=Matches(Version("1-other")))
    first.cut = StorageFullError
    with pytest.raises(StorageFullError):
        pair.put(PACK, b"pack", when=Absent())
    mend(first)
    assert pair.catch_up()
    assert {method for method, _ in second.calls} <= ({"stat"} if mode == "mirror" else set())
    assert pair._journal.intents() == []


@pytest.mark.parametrize("mode", BOTH)
def test_a_lost_answer_of_the_primary_is_looked_up(tmp_path: Path, first: Cable, second: Cable, mode: Mode) -> None:
    pair = pair_of(tmp_path, first, second, mode=mode)

    def land(method: str, key: str) -> None:
        if method == "put":
            first.inner.put(key, b"landed", when=Absent())
            raise OutcomeUnknownError("lost", key=key)

    first.before = land
    with pytest.raises(OutcomeUnknownError):
        pair.put(REF, b"landed", when=Absent())
    assert pair.catch_up()
    assert contents(second) == {REF: b"landed"}


@pytest.mark.parametrize("mode", BOTH)
def test_without_a_journal_nothing_is_written(
    tmp_path: Path, first: Cable, second: Cable, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mediavault_backends import fsio

    pair = pair_of(tmp_path, first, second, mode=mode)

    def full(*_: object) -> None:
        raise OSError(28, "full")

    with monkeypatch.context() as patch:
        patch.setattr(fsio, "write_all", full)
        for call in (lambda: pair.put(PACK, b"x", when=Absent()), lambda: pair.delete(REF)):
            with pytest.raises(StorageFullError) as caught:
                call()
            assert caught.value.key in {PACK, REF}
    assert {method for method, _ in first.calls + second.calls} <= {"stat"}
    pair.put(PACK, b"x", when=Absent())
    assert pair.catch_up()
    assert contents(second) == {PACK: b"x"}


def test_an_adopted_file_reaches_both(tmp_path: Path, second: Cable) -> None:
    primary = LocalBackend(tmp_path / "store", create=True)
    pair = multi(primary, second, journal_of(primary.journal_folder, primary, second), mode="mirror", read="nearest")
    file = primary.spool_folder / "x.spool"
    file.write_bytes(b"pack" * 1000)
    pair.put(PACK, FileSource(file, 4000, adopt=True), when=Absent())
    assert not file.exists()
    assert contents(second)[PACK] == contents(primary)[PACK] == b"pack" * 1000
    pair.close()


def test_of_two_that_copy_the_last_leaves_what_the_primary_holds(tmp_path: Path, first: Cable, second: Cable) -> None:
    pair = pair_of(tmp_path, first, second, mode="async")
    version = pair.put(REF, b"one", when=Absent())
    written: list[str] = []

    def overtake(method: str, _: str) -> None:
        if method == "put" and not written:
            written.append(method)
            pair.put(REF, b"two", when=Matches(version))

    second.before = overtake
    pair.catch_up()
    assert written
    assert pair.catch_up()
    assert contents(second) == contents(first) == {REF: b"two"}


def test_what_is_deleted_while_it_is_copied_does_not_stay(tmp_path: Path, first: Cable, second: Cable) -> None:
    pair = pair_of(tmp_path, first, second, mode="async")
    pair.put(PACK, b"pack", when=Absent())

    def remove(method: str, _: str) -> None:
        if method == "put":
            second.before = lambda *_: None
            pair.delete(PACK)

    second.before = remove
    pair.catch_up()
    assert contents(second) == {}
    assert pair.catch_up()
    with pytest.raises(NotFoundError):
        pair.get(PACK)


def test_a_ref_goes_after_the_packs_that_it_may_lead_to(follow: MultiBackend, second: Cable) -> None:
    follow.put(PACK, b"pack", when=Absent())
    follow.put(INDEX, b"index", when=Absent())
    follow.put(REF, b"ref", when=Absent())
    follow.put("studio/other/refs/heads%2Fmain", b"ref", when=Absent())

    def refuse(method: str, key: str) -> None:
        if method == "put" and key == PACK:
            raise AccessDeniedError("no", key=key)

    second.before = refuse
    assert not follow.catch_up()
    assert contents(second).keys() == {"studio/other/refs/heads%2Fmain"}
    second.before = lambda *_: None
    assert follow.catch_up()
    assert [key for method, key in second.calls if method == "put"][-3:] == [PACK, INDEX, REF]


# Reading


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize("error", [TransientError, OutcomeUnknownError, AccessDeniedError])
def test_the_secondary_answers_for_a_primary_that_cannot(
    tmp_path: Path, first: Cable, second: Cable, mode: Mode, error: type[BackendError]
) -> None:
    pair = pair_of(tmp_path, first, second, mode=mode)
    for key, data in ((REF, b"ref"), (PACK, b"pack")):
        pair.put(key, data, when=Absent())
    assert pair.catch_up()
    cut(first, error=error)
    for key, data in ((REF, b"ref"), (PACK, b"pack")):
        assert pair.get(key).data == pair.read(key, 0, 9) == b"".join(pair.stream(key)) == data
        assert pair.stat(key).size == len(data)
        assert pair.stat(key).version == pair.get(key).version
    assert [stat.key for stat in pair.scan("studio/")] == [PACK, REF]
    assert [stat.version for stat in pair.scan(REF)] == [pair.get(REF).version]
    with pytest.raises(NotFoundError):
        pair.get(SLOT)
    with pytest.raises(error):
        pair.put(SLOT, b"slot", when=Absent())


def test_a_version_of_the_secondary_is_no_condition(mirror: MultiBackend, first: Cable) -> None:
    version = mirror.put(REF, b"one", when=Absent())
    cut(first)
    seen = mirror.get(REF).version
    assert seen != version
    with pytest.raises(TransientError):
        mirror.put(REF, b"two", when=Matches(seen))
    mend(first)
    with pytest.raises(PreconditionFailedError, match="read it again"):
        mirror.put(REF, b"two", when=Matches(seen))
    assert mirror.get(REF).version == version
    mirror.put(REF, b"two", when=Matches(version))


@pytest.mark.parametrize("mode", BOTH)
def test_a_ref_that_is_behind_is_not_shown(tmp_path: Path, first: Cable, second: Cable, mode: Mode) -> None:
    pair = pair_of(tmp_path, first, second, mode=mode)
    version = pair.put(REF, b"one", when=Absent())
    pair.put(PACK, b"pack", when=Absent())
    assert pair.catch_up()
    refuse_puts(second)
    try:
        pair.put(REF, b"two", when=Matches(version))
    except OutcomeUnknownError:
        assert mode == "mirror"
    let_puts(second)
    cut(first)
    for call in (
        lambda: pair.get(REF),
        lambda: pair.stat(REF),
        lambda: pair.stream(REF),
        lambda: list(pair.scan("studio/")),
    ):
        with pytest.raises(TransientError, match="behind"):
            call()
    assert pair.get(PACK).data == b"pack"
    assert [stat.key for stat in pair.scan("studio/film/packs/")] == [PACK]


def test_what_was_deleted_is_not_shown_from_the_secondary(follow: MultiBackend, first: Cable) -> None:
    for key in (SLOT, PACK):
        follow.put(key, b"x", when=Absent())
    assert follow.catch_up()
    follow.delete(SLOT)
    follow.delete(PACK)
    with pytest.raises(NotFoundError):
        follow.get(PACK)
    cut(first)
    for key in (SLOT, PACK):
        with pytest.raises(TransientError):
            follow.get(key)


def test_a_pack_that_only_the_primary_has_is_not_said_to_be_missing(follow: MultiBackend, first: Cable) -> None:
    follow.put(PACK, b"pack", when=Absent())
    cut(first)
    with pytest.raises(TransientError):
        follow.get(PACK)
    with pytest.raises(TransientError):
        list(follow.scan())


def test_before_it_was_filled_the_secondary_is_not_believed(tmp_path: Path, first: Cable, second: Cable) -> None:
    first.put(REF, b"old", when=Absent())
    pair = pair_of(tmp_path, first, second, mode="mirror", filled=False)
    cut(first)
    with pytest.raises(TransientError):
        pair.get(REF)
    with pytest.raises(TransientError):
        list(pair.scan())
    mend(first)
    assert pair.catch_up()
    assert contents(second) == {REF: b"old"}
    cut(first)
    assert pair.get(REF).data == b"old"


def test_a_listing_that_breaks_off_goes_on_at_the_secondary(mirror: MultiBackend, first: Cable) -> None:
    keys = [f"studio/film/logs/x/{number}" for number in range(5)]
    for key in keys:
        mirror.put(key, b"x", when=Absent())

    def break_off(method: str, key: str) -> None:
        if method == "next" and key == keys[2]:
            raise TransientError("broken off")

    first.before = break_off
    found = list(mirror.scan())
    assert [stat.key for stat in found] == keys
    assert [stat.version[:2] for stat in found] == ["1-", "1-", "2-", "2-", "2-"]


@pytest.mark.parametrize("mode", BOTH)
def test_both_away_is_told(tmp_path: Path, first: Cable, second: Cable, mode: Mode) -> None:
    pair = pair_of(tmp_path, first, second, mode=mode)
    cut(first, second)
    for call in (lambda: pair.get(REF), lambda: pair.get(PACK), lambda: list(pair.scan())):
        with pytest.raises(TransientError):
            call()
    assert not pair.catch_up() or pair.lag().pending == 0


# Healing


@pytest.mark.parametrize("key", [PACK, INDEX])
def test_what_the_primary_lost_is_given_back(mirror: MultiBackend, first: Cable, second: Cable, key: str) -> None:
    mirror.put(key, b"data", when=Absent())
    first.inner.delete(key)
    assert mirror.get(key).data == b"data"
    assert contents(first) == contents(second) == {key: b"data"}


def test_a_primary_that_is_full_does_not_hinder_reading(mirror: MultiBackend, first: Cable) -> None:
    mirror.put(PACK, b"data", when=Absent())
    first.inner.delete(PACK)

    def full(method: str, key: str) -> None:
        if method == "put":
            raise StorageFullError("full", key=key)

    first.before = full
    assert mirror.get(PACK).data == b"data"
    assert contents(first.inner) == {}


def test_a_ref_or_slot_that_the_primary_lacks_stays_missing(mirror: MultiBackend, first: Cable) -> None:
    for key in (REF, SLOT):
        mirror.put(key, b"data", when=Absent())
        first.inner.delete(key)
        with pytest.raises(NotFoundError):
            mirror.get(key)


def test_mending_brings_back_nothing_that_was_deleted(follow: MultiBackend, first: Cable, second: Cable) -> None:
    for key in (PACK, SLOT):
        follow.put(key, b"x", when=Absent())
    assert follow.catch_up()
    for key in (PACK, SLOT):
        follow.delete(key)
    assert contents(second).keys() == {PACK, SLOT}
    assert [(found.key, found.what) for found in multi_mend.mend(follow.stores, Trusting())] == [
        (SLOT, "waiting"),
        (PACK, "waiting"),
    ]
    assert contents(first) == {}
    assert follow.catch_up()
    assert contents(second) == {}


def test_mending_leaves_what_nobody_can_decide(mirror: MultiBackend, first: Cable, second: Cable) -> None:
    for key in (PACK, OTHER_PACK, REF):
        mirror.put(key, b"right", when=Absent())
    for key, data in ((PACK, b"rightly not"), (OTHER_PACK, b"wrong"), (REF, b"older")):
        second.inner.put(key, data, when=Matches(second.inner.stat(key).version))
    before = contents(first), contents(second)
    found = list(multi_mend.mend(mirror.stores, Trusting()))
    assert {(one.key, one.what, one.mended) for one in found} == {
        (PACK, "different", False),
        (OTHER_PACK, "different", False),
        (REF, "different", False),
    }
    assert (contents(first), contents(second)) == before


def test_a_secondary_with_refs_of_its_own_is_left_alone_and_not_believed(
    tmp_path: Path, first: Cable, second: Cable, caplog: pytest.LogCaptureFixture
) -> None:
    first.put(REF, b"mine", when=Absent())
    first.put(PACK, b"pack", when=Absent())
    version = second.put(REF, b"else", when=Absent())
    second.put(SLOT, b"slot", when=Absent())
    second.put(OTHER_PACK, b"too many", when=Absent())
    clock = Ticks()
    pair = pair_of(tmp_path, first, second, mode="async", filled=False, clock=clock)
    assert pair.catch_up()
    assert contents(second) == {REF: b"else", PACK: b"pack", OTHER_PACK: b"too many", SLOT: b"slot"}
    assert contents(first) == {REF: b"mine", PACK: b"pack"}
    assert "2 objects" in caplog.text
    assert SLOT in caplog.text
    assert pair.lag() == Lag(0, 0.0, filled=False)
    cut(first)
    with pytest.raises(TransientError):
        list(pair.scan())
    mend(first)
    # Once it is a copy, it is believed, but it is not listed every minute.
    second.inner.delete(SLOT)
    second.inner.put(REF, b"mine", when=Matches(version))
    assert pair.catch_up()
    assert not pair.lag().filled
    clock.now += FILL_AGAIN
    assert pair.catch_up()
    assert pair.lag().filled


def test_filling_goes_on_where_it_was_stopped(tmp_path: Path, first: Cable, second: Cable) -> None:
    for number in range(6):
        first.put(f"studio/film/logs/x/{number}", b"x", when=Absent())
    pair = pair_of(tmp_path, first, second, mode="async", filled=False)
    puts = itertools.count(1)

    def third_fails(method: str, _: str) -> None:
        if method == "put" and next(puts) == 3:
            raise TransientError("cut off")

    second.before = third_fails
    assert not pair.catch_up()
    assert len(contents(second)) == 2
    pair.put(REF, b"new", when=Absent())
    assert pair.catch_up()
    assert contents(second) == contents(first)
    assert len([key for method, key in second.calls if method == "put"]) == 8


def test_a_second_process_waits_for_the_one_that_fills(tmp_path: Path, first: Cable, second: Cable) -> None:
    for number in range(3):
        first.put(f"studio/film/logs/x/{number}", b"x", when=Absent())
    pair = pair_of(tmp_path, first, second, mode="async", filled=False)
    other = pair_of(tmp_path, first, second, mode="async", filled=False)
    seen: list[bool] = []

    def look(method: str, _: str) -> None:
        if method == "put":
            seen.append(other.catch_up())

    second.before = look
    assert pair.catch_up()
    assert seen == [False] * 3
    assert other.catch_up()


# Nearest


class Ticks:
    """A clock that stands still but where a store takes its time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def slow(self, store: Cable, seconds: float) -> None:
        def take(method: str, key: str) -> None:
            del method, key
            self.now += seconds

        store.before = take


def served(store: Cable, key: str) -> int:
    return len([1 for method, asked in store.calls if (method, asked) == ("get", key)])


@pytest.mark.parametrize("faster", ["first", "second"])
def test_nearest_reads_what_never_changes_from_the_faster(
    tmp_path: Path, first: Cable, second: Cable, faster: str
) -> None:
    clock = Ticks()
    pair = pair_of(tmp_path, first, second, mode="mirror", read="nearest", clock=clock)
    pair.put(PACK, b"pack", when=Absent())
    pair.put(REF, b"ref", when=Absent())
    first.calls.clear()
    clock.slow(first, 0.1 if faster == "first" else 0.5)
    clock.slow(second, 0.1 if faster == "second" else 0.5)
    for _ in range(64):
        assert pair.get(PACK).data == b"pack"
        assert pair.get(REF).data == b"ref"
    near, far = (first, second) if faster == "first" else (second, first)
    assert served(near, PACK) + served(far, PACK) == 64
    assert 1 <= served(far, PACK) <= 4, "the slower one is asked now and then, for it may have become the faster one"
    assert served(first, REF) == 64
    # They change places.
    clock.slow(near, 5.0)
    for _ in range(128):
        pair.get(PACK)
    assert served(far, PACK) > 60


def test_nearest_notes_what_the_secondary_lacks(tmp_path: Path, first: Cable, second: Cable) -> None:
    clock = Ticks()
    pair = pair_of(tmp_path, first, second, mode="mirror", read="nearest", clock=clock)
    pair.put(PACK, b"pack", when=Absent())
    second.inner.delete(PACK)
    clock.slow(first, 1.0)
    for _ in range(3):
        assert pair.get(PACK).data == b"pack"
    assert pair.catch_up()
    assert contents(second) == {PACK: b"pack"}


def test_nearest_never_shows_what_was_deleted(tmp_path: Path, first: Cable, second: Cable) -> None:
    clock = Ticks()
    pair = pair_of(tmp_path, first, second, mode="async", read="nearest", clock=clock)
    pair.put(PACK, b"pack", when=Absent())
    assert pair.catch_up()
    clock.slow(first, 1.0)
    for _ in range(3):
        pair.get(PACK)
    pair.delete(PACK)
    assert contents(second) == {PACK: b"pack"}
    for _ in range(3):
        with pytest.raises(NotFoundError):
            pair.get(PACK)


def test_a_store_that_failed_is_left_alone_for_a_while(tmp_path: Path, first: Cable, second: Cable) -> None:
    clock = Ticks()
    pair = pair_of(tmp_path, first, second, mode="async", clock=clock)
    pair.put(PACK, b"pack", when=Absent())
    assert pair.catch_up()
    tried: list[str] = []
    first.before = lambda _, key: tried.append(key)
    cut(first)
    pair.get(PACK)
    mend(first)
    pair.get(PACK)
    assert tried == []
    clock.now += QUIET
    pair.get(PACK)
    assert tried == [PACK]


def test_a_missing_pack_does_not_wait_for_a_secondary_that_is_away(tmp_path: Path, first: Cable, second: Cable) -> None:
    clock = Ticks()
    pair = pair_of(tmp_path, first, second, mode="async", clock=clock)
    pair.put(PACK, b"pack", when=Absent())
    cut(second)
    assert not pair.catch_up()
    mend(second)
    second.calls.clear()
    with pytest.raises(NotFoundError):
        pair.get(OTHER_PACK)
    assert second.calls == []
    clock.now += QUIET
    with pytest.raises(NotFoundError):
        pair.get(OTHER_PACK)
    assert second.calls == [("stat", OTHER_PACK)]


def test_speeds_ask_both_once_and_then_the_faster() -> None:
    speeds = Speeds()
    assert not speeds.prefers_second()
    speeds.add(second=False, seconds=1.0, failed=False)
    assert speeds.prefers_second()
    speeds.add(second=True, seconds=0.5, failed=False)
    assert [speeds.prefers_second() for _ in range(29)] == [True] * 29
    assert not speeds.prefers_second()
    speeds.add(second=True, seconds=0.1, failed=True)
    assert not speeds.prefers_second()


# A disk that is not the right one


@pytest.fixture
def disk(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path / "disk", create=True)


@pytest.mark.parametrize("mode", BOTH)
def test_a_disk_that_is_gone_is_not_taken_for_an_empty_store(
    tmp_path: Path, disk: LocalBackend, second: Cable, mode: Mode
) -> None:
    pair = pair_of(disk.journal_folder, disk, second, mode=mode)
    pair.put(SERVER_MARK, b"{}", when=Absent())
    pair.put(REF, b"ref", when=Absent())
    pair.put(PACK, b"pack", when=Absent())
    assert pair.catch_up()
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    assert pair.get(REF).data == b"ref"
    assert pair.get(PACK).data == b"pack"
    assert [stat.key for stat in pair.scan()] == [SERVER_MARK, PACK, REF]
    for call in (lambda: pair.put(OTHER_PACK, b"x", when=Absent()), lambda: pair.delete(REF)):
        with pytest.raises(TransientError, match="not the one"):
            call()
    assert not pair.catch_up()
    assert not (tmp_path / "disk").exists()
    (tmp_path / "disk").mkdir()
    with pytest.raises(TransientError, match="not the one"):
        pair.put(OTHER_PACK, b"x", when=Absent())
    (tmp_path / "disk").rmdir()
    (tmp_path / "unmounted").rename(tmp_path / "disk")
    pair.put(OTHER_PACK, b"x", when=Absent())
    assert pair.catch_up()
    assert contents(second).keys() == {SERVER_MARK, PACK, OTHER_PACK, REF}


@pytest.mark.parametrize("mode", BOTH)
def test_a_journal_that_cannot_be_read_matters_only_to_who_may_be_behind(
    tmp_path: Path, disk: LocalBackend, second: Cable, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = pair_of(disk.journal_folder, disk, second, mode=mode)
    pair.put(REF, b"ref", when=Absent())
    assert pair.catch_up()
    (tmp_path / "disk").rename(tmp_path / "away")
    (tmp_path / "disk").symlink_to("disk")  # nothing can be reached through a link to itself

    def broken(_: object) -> list[str]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(pair._journal), "_files", broken)
    if mode == "mirror":
        assert pair.get(REF).data == b"ref"
        assert [stat.key for stat in pair.scan()] == [REF]
    else:
        with pytest.raises(TransientError, match="neither"):
            pair.get(REF)
        with pytest.raises(TransientError, match="neither"):
            list(pair.scan())


def test_an_empty_disk_in_the_place_of_the_primary_is_refused(disk: LocalBackend, second: Cable) -> None:
    pair = pair_of(disk.journal_folder, disk, second, mode="mirror")
    pair.check_pair()
    second.put(SERVER_MARK, b"{}", when=Absent())
    with pytest.raises(BackendSetupError, match="is empty"):
        pair.check_pair()
    cut(second)
    with pytest.raises(TransientError):
        pair.check_pair()
    disk.put(REF, b"brought back", when=Absent())
    pair.check_pair()


def test_an_empty_disk_in_the_place_of_the_secondary_is_filled(disk: LocalBackend, second: Cable) -> None:
    pair = pair_of(disk.journal_folder, disk, second, mode="mirror")
    pair.put(SERVER_MARK, b"{}", when=Absent())
    pair.put(REF, b"ref", when=Absent())
    pair.check_pair()
    second.calls.clear()
    assert pair.catch_up()
    assert second.calls == []
    for key in contents(second):
        second.inner.delete(key)
    cut(second)
    pair.check_pair()
    assert pair.catch_up()
    mend(second)
    pair.check_pair()
    assert pair.catch_up()
    assert contents(second) == contents(disk) == {SERVER_MARK: b"{}", REF: b"ref"}


@pytest.mark.parametrize("mode", BOTH)
def test_a_disk_of_the_secondary_that_is_gone_is_not_filled(tmp_path: Path, disk: LocalBackend, mode: Mode) -> None:
    safe = tmp_path / "safe"
    pair = pair_of(disk.journal_folder, disk, LocalBackend(safe, create=True), mode=mode)
    pair.put(SERVER_MARK, b"{}", when=Absent())
    pair.put(REF, b"ref", when=Absent())
    assert pair.catch_up()
    pair.close()
    safe.rename(tmp_path / "unmounted")
    # A server that starts makes the folder anew.
    pair = pair_of(disk.journal_folder, disk, LocalBackend(safe, create=True), mode=mode, filled=False)
    pair.check_pair()
    try:
        pair.put(SLOT, b"slot", when=Absent())
    except TransientError:
        assert mode == "mirror"
    assert not pair.catch_up()
    with pytest.raises(TransientError, match="not the copy"):
        pair.lag()
    assert contents(LocalBackend(safe)) == {}
    disk_again = tmp_path / "disk-again"
    (tmp_path / "disk").rename(disk_again)
    with pytest.raises(TransientError):
        pair.get(REF)
    disk_again.rename(tmp_path / "disk")
    shutil.rmtree(safe)
    (tmp_path / "unmounted").rename(safe)
    assert pair.catch_up()
    assert contents(LocalBackend(safe)) == contents(disk)
    assert pair.get(REF).data == b"ref"


# The thread


def test_what_is_put_is_copied_without_being_asked(tmp_path: Path, first: Cable, second: Cable) -> None:
    copied = threading.Event()
    second.before = lambda method, key: copied.set() if (method, key) == ("put", PACK) else None
    pair = multi(first, second, journal_of(tmp_path, first, second), mode="async", read="primary-first")
    assert [thread for thread in threading.enumerate() if thread.name == "storage-replay"] == []
    pair.put(PACK, b"pack", when=Absent())
    assert copied.wait(60)
    pair.close()
    assert [thread for thread in threading.enumerate() if thread.name == "storage-replay"] == []
    later = pair_of(tmp_path, first, second, mode="async")
    assert later.catch_up()
    assert contents(second) == {PACK: b"pack"}


def test_after_closing_it_can_be_used_again(tmp_path: Path, first: Cable, second: Cable) -> None:
    pair = pair_of(tmp_path, first, second, mode="async")
    pair.put(PACK, b"pack", when=Absent())
    pair.close()
    assert pair.lag().pending == 1
    pair.put(REF, b"ref", when=Absent())
    assert pair.lag().pending == 2
    assert pair.catch_up()
    assert contents(second) == contents(first)
    pair.close()
    assert list(tmp_path.glob("*.journal")) == []


def test_a_round_that_fails_is_done_again_and_a_bug_does_not_end_the_thread() -> None:
    outcomes: list[object] = [False, ValueError("bug"), True]
    done = threading.Event()

    def work() -> bool:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        if not outcomes:
            done.set()
        return bool(outcome)

    replayer = Replayer(work)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mediavault_backends.multi_pace.FIRST_PAUSE", 0.001)
        replayer.start()
        assert done.wait(60)
    replayer.stop()
    replayer.stop()


# Several processes


def test_what_a_dead_process_left_is_done_by_another(tmp_path: Path, first: Cable, second: Cable) -> None:
    dead = pair_of(tmp_path, first, second, mode="async")
    dead.put(PACK, b"pack", when=Absent())
    dead.put(SLOT, b"slot", when=Absent())
    dead.delete(SLOT)
    living = pair_of(tmp_path, first, second, mode="async")
    assert living.catch_up()
    assert contents(second) == {}, "its process lives: it is that one's to copy"
    assert living.lag().pending == 2
    crash(dead)
    assert living.catch_up()
    assert contents(second) == {PACK: b"pack"}
    assert living.lag().pending == 0


def test_a_process_knows_what_the_others_have_not_copied(tmp_path: Path, first: Cable, second: Cable) -> None:
    one = pair_of(tmp_path, first, second, mode="async")
    other = pair_of(tmp_path, first, second, mode="async")
    version = one.put(REF, b"one", when=Absent())
    one.put(PACK, b"pack", when=Absent())
    assert one.catch_up()
    one.put(REF, b"two", when=Matches(version))
    one.delete(PACK)
    with pytest.raises(NotFoundError):
        other.get(PACK)
    cut(first)
    for key in (REF, PACK):
        with pytest.raises(TransientError):
            other.get(key)
    mend(first)
    assert one.catch_up()
    cut(first)
    assert other.get(REF).data == b"two"


def test_a_ref_waits_for_packs_that_another_process_has_to_copy(tmp_path: Path, first: Cable, second: Cable) -> None:
    one = pair_of(tmp_path, first, second, mode="async")
    other = pair_of(tmp_path, first, second, mode="async")
    one.put(PACK, b"pack", when=Absent())
    other.put(REF, b"ref", when=Absent())
    assert not other.catch_up()
    assert contents(second) == {}
    assert one.catch_up()
    assert other.catch_up()
    assert contents(second).keys() == {PACK, REF}


# Keys


@pytest.mark.parametrize(
    ("key", "immutable", "named", "repository"),
    [
        (PACK, True, True, "studio/film/"),
        (INDEX, True, True, "studio/film/"),
        ("packs/ab/ab" + "0" * 62, True, True, ""),
        ("index/" + "1" * 64, True, True, ""),
        ("studio/packs/packs/ab/ab" + "0" * 62, True, True, "studio/packs/"),
        (REF, False, False, "studio/film/"),
        ("studio/packs/refs/heads%2Fmain", False, False, "studio/packs/"),
        ("studio/packs/ab/config", False, False, "studio/packs/"),
        ("refs/heads%2Fmain", False, False, ""),
        ("config", False, False, ""),
        ("studio/film/config", False, False, "studio/film/"),
        (SLOT, False, False, "studio/film/"),
        ("studio/film/logs/refs/heads%2Fmain/12-0123456789abcdef", False, True, "studio/film/"),
        ("logs/refs/heads%2Fmain/12-0123456789abcdef", False, True, ""),
        ("studio/film/packs/ab/short", False, False, "studio/film/"),
        (SERVER_MARK, False, False, ""),
    ],
)
def test_which_keys_name_their_content(key: str, immutable: bool, named: bool, repository: str) -> None:
    assert is_immutable(key) == immutable
    assert names_content(key) == named
    assert is_index(key) == (immutable and "packs/ab" not in key)
    assert misleads(key) == (not named or is_index(key))
    assert repository_of(key) == repository


def test_the_name_says_which_is_which(mirror: MultiBackend, follow: MultiBackend) -> None:
    assert mirror.name == "memory, mirrored to memory"
    assert follow.name == "memory, followed by memory"
