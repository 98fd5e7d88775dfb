"""Which packs are moved between classes: never one that a ref needs, over any history; by policy; with refs that move meanwhile.

The store is a double in memory: no real one lets a test look at every call. Real ones are in tests/services/test_tiers.py.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mediavault.errors import IntegrityError, StorageError, UsageError
from mediavault.hosting.classes import Held
from mediavault.hosting.contents import Place
from mediavault.hosting.restoring import FIRST_PAUSE, LONGEST_PAUSE, Restoration, pauses
from mediavault.hosting.tiering import BATCH, Policy, Tiered, TierPlan, plan_tiers, report_plan, run_tiers
from mediavault.model.ids import Link
from mediavault.refs.ref_store import RefStore
from mediavault.refs.signing import PlainSigner
from mediavault.store.keys import PACKS, pack_key
from mediavault.store.reachability import collect
from mediavault_backends.api import Absent, Backend
from mediavault_backends.errors import OutcomeUnknownError, TransientError
from mediavault_backends.memory import MemoryBackend
from tests.stored import REPOSITORY, Stored, append_all, chunk, commit, open_store, tag, tree
from tests.tiered import COLD, FROZEN, HOT, TieredStore

PLACE = Place("studio/film/", "studio/film")
DAY = 24 * 3600
NOW = 2_000_000_000
"""Seconds; the packs of these tests are made as the clock says, which is days before."""
LATE_NS = 4 * 10**18
POLICY = Policy(COLD, HOT, keep_days=0, min_pack=0)


class Film:
    """A repository whose refs and packs a test makes one by one."""

    def __init__(self, folder: Path, store: TieredStore | None = None) -> None:
        self.store = store or TieredStore()
        self.part: Backend = PLACE.within(self.store)
        self.folder = folder
        self.time = NOW
        self.refs = RefStore(self.part, REPOSITORY, PlainSigner())

    def add(self, *objects: Stored) -> None:
        """Store objects: the chunks in a pack, what leads to them in others."""
        with open_store(self.part).writer(self.folder, plain=True) as writer:
            append_all(writer, objects)

    def shot(self, numbers: Sequence[int], *parents: Stored) -> Stored:
        """Store a commit of some chunks, each in a pack of its own if it is new."""
        chunks = [chunk(bytes([number]) * 40) for number in numbers]
        frames = open_store(self.part)
        for one in chunks:
            if not frames.index.has(one.id):
                self.add(one)
        root = tree(*chunks, name=f"{sorted(numbers)}")
        made = commit(root, *parents, message=f"{sorted(numbers)}")
        self.add(root, made)
        return made

    def move(self, name: str, target: Link | None, *, time: int = 0) -> None:
        self.refs.move(self.refs.read(name), target, time or self.time)

    def plan(self, policy: Policy = POLICY, now_ns: int = LATE_NS) -> TierPlan:
        return plan_tiers(PLACE, self.store, self.store, policy, now_ns=now_ns, sleep=lambda _: None)

    def tier(self, policy: Policy = POLICY) -> Tiered:
        return run_tiers(self.plan(policy), sleep=lambda _: None)

    def needed(self, targets: Sequence[Link]) -> set[str]:
        """Return the packs that some objects need, found without what is tested."""
        frames = open_store(self.part)
        found = collect(frames, targets)
        ids = [*found.chunks, *found.nodes, *found.commits, *found.tags]
        return {PLACE.prefix + pack_key(place.pack_id) for oid in ids for place in frames.index.find(oid)}

    def heads(self) -> list[Link]:
        return [state.target for state in self.refs.list() if state.target is not None]

    def packs(self) -> set[str]:
        return {PLACE.prefix + stat.key for stat in self.part.scan(PACKS)}

    def metadata(self) -> set[str]:
        frames = open_store(self.part)
        rows = [(oid, place) for blob in frames.index.blobs() for oid, place in blob.rows()]
        return {PLACE.prefix + pack_key(place.pack_id) for _, place in rows if place.kind.name != "CHUNK"}

    def cold(self) -> set[str]:
        return {key for key, name in self.store.classes.items() if name == COLD}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.integers(0, 2), st.frozensets(st.integers(0, 9), min_size=1, max_size=4)),
        st.tuples(st.just("back"), st.integers(0, 2), st.integers(0, 30)),
        st.tuples(st.just("delete"), st.integers(0, 2), st.just(0)),
        st.tuples(st.just("tag"), st.integers(0, 2), st.integers(0, 30)),
        st.tuples(st.just("tier"), st.just(0), st.just(0)),
        st.tuples(st.just("race"), st.integers(0, 2), st.integers(0, 30)),
    ),
    max_size=14,
)


class History:
    """A film that steps are taken in; every move of a pack is checked at the moment at which it is made."""

    def __init__(self, folder: Path) -> None:
        self.film = Film(folder)
        self.commits: list[Stored] = []

    def take(self, step: tuple[str, int, frozenset[int] | int]) -> None:
        what, branch, value = step
        name = f"heads/b{branch}"
        self.film.time += 1
        if isinstance(value, frozenset):
            head = self.film.refs.read(name).target
            parents = [one for one in self.commits if one.link == head]
            self.commits.append(self.film.shot(sorted(value), *parents))
            self.film.move(name, self.commits[-1].link)
        elif what == "tier":
            self.run(self.film.plan())
            needed = self.film.needed(self.film.heads()) | self.film.metadata()
            assert self.film.cold() == self.film.packs() - needed
        elif what == "delete" and self.film.refs.read(name).target is not None:
            self.film.move(name, None)
        elif self.commits:
            self._move(what, name, self.commits[value % len(self.commits)])

    def run(self, plan: TierPlan) -> None:
        self.film.store.before = self._check
        run_tiers(plan, sleep=lambda _: None)
        self.film.store.before = lambda _method, _key: None

    def _move(self, what: str, name: str, target: Stored) -> None:
        if what == "back":
            self.film.move(name, target.link)
        elif what == "tag":
            self.film.add(made := tag(target, f"t{self.film.time}"))
            self.film.move(f"tags/t{self.film.time}", made.link)
        elif what == "race":
            plan = self.film.plan()
            self.film.move(name, target.link)
            self.run(plan)

    def _check(self, method: str, key: str) -> None:
        if method == "set_tier" and self.film.store.classes.get(key, HOT) == HOT:
            assert key not in self.film.needed(self.film.heads()), "a branch or tag needs it"
            assert key not in self.film.metadata()


@settings(max_examples=250)
@given(STEPS)
def test_no_pack_that_a_ref_needs_is_moved_over_any_history(
    steps: list[tuple[str, int, frozenset[int] | int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        history = History(Path(folder))
        for step in [*steps, ("tier", 0, 0)]:
            history.take(step)


@pytest.fixture
def film(tmp_path: Path) -> Film:
    """Return a film with a branch of the packs 1 and 2; a deleted branch had 2 and 3."""
    film = Film(tmp_path)
    first = film.shot([1, 2])
    film.move("heads/main", first.link)
    film.move("heads/cut", film.shot([2, 3], first).link)
    film.move("heads/cut", None)
    return film


def idle(film: Film) -> set[str]:
    return film.packs() - film.needed(film.heads()) - film.metadata()


def test_a_run_says_what_it_did_and_a_plan_says_the_same_before(film: Film) -> None:
    (key,) = idle(film)
    size = film.store.stat(key).size
    planned = report_plan(film.plan())
    assert film.cold() == set()
    told = film.tier()
    assert told == planned
    assert film.cold() == {key}
    everything = sum((Held(1, film.store.stat(key).size) for key in film.packs()), Held())
    assert told.before == {HOT: everything}
    assert told.after == {HOT: everything - Held(1, size), COLD: Held(1, size)}
    assert (told.to_cold, told.to_hot) == (Held(1, size), Held())
    again = film.tier()
    assert (again.before, again.after) == (told.after, told.after)
    assert (again.to_cold, again.to_hot) == (Held(), Held())


def test_what_a_ref_led_to_lately_is_needed(film: Film) -> None:
    young = Policy(COLD, HOT, keep_days=10, min_pack=0)
    now_ns = (NOW + 9 * DAY) * 1_000_000_000
    assert not film.plan(young, now_ns).to_cold
    assert film.plan(young, now_ns + 2 * DAY * 1_000_000_000).to_cold
    old = Policy(COLD, HOT, keep_days=12, min_pack=0)
    assert not film.plan(old, now_ns + 2 * DAY * 1_000_000_000).to_cold


def test_of_values_of_a_ref_the_time_counts_at_which_they_were_replaced(film: Film) -> None:
    for number in range(4):
        film.move("heads/long", film.shot([10 + number]).link, time=NOW + number * 100 * DAY)
    policy = Policy(COLD, HOT, keep_days=150, min_pack=0)
    plan = film.plan(policy, (NOW + 400 * DAY) * 1_000_000_000)
    young = film.needed([film.shot([12]).link, film.shot([13]).link])
    gone = {PLACE.prefix + pack_key(found.pack) for found in plan.to_cold}
    assert len(gone) == 3  # of the cut, and of the first two states
    assert not gone & young


def test_a_young_pack_is_left_where_it_is(film: Film) -> None:
    import time

    day = 24 * 3600 * 1_000_000_000
    policy = Policy(COLD, HOT, keep_days=1, min_pack=0)
    made = time.time_ns()
    film.time = NOW - 10**9
    film.move("heads/gone", film.shot([20]).link, time=1)
    film.move("heads/gone", None, time=2)
    assert not film.plan(policy, made + day // 2).to_cold
    assert len(film.plan(policy, made + 2 * day + NOW * 10**9).to_cold) == 2


def test_a_small_pack_is_left_where_it_is(film: Film) -> None:
    (key,) = idle(film)
    size = film.store.stat(key).size
    assert not film.plan(POLICY._replace(min_pack=size + 1)).to_cold
    assert len(film.plan(POLICY._replace(min_pack=size)).to_cold) == 1


def test_a_pack_that_no_index_names_is_left_where_it_is(film: Film) -> None:
    film.part.put(f"{PACKS}ab/ab{'1' * 62}", b"x" * 500, when=Absent())
    assert {found.size for found in film.plan().to_cold} == {
        film.store.stat(key).size for key in idle(film) if "ab/ab1" not in key
    }


def test_a_copy_of_something_needed_is_needed_too(film: Film, tmp_path: Path) -> None:
    other = open_store(film.part)
    with other.writer(tmp_path / "twin", plain=True) as writer:
        append_all(writer, [chunk(bytes([1]) * 40)])
    assert len(film.needed(film.heads())) == 5  # the pack, its twin, that of the other chunk, and two of metadata
    assert {PLACE.prefix + pack_key(found.pack) for found in film.plan().to_cold} == idle(film)
    assert len(idle(film)) == 1


def test_a_ref_that_moves_between_plan_and_run_keeps_its_packs(film: Film) -> None:
    plan = film.plan()
    assert len(plan.to_cold) == 1
    film.move("heads/new", film.shot([2, 3]).link)
    told = run_tiers(plan)
    assert film.store.moved == []
    assert (told.to_cold, told.needed_again) == (Held(), plan.to_cold[0].held)


def test_refs_are_looked_at_again_before_each_batch(tmp_path: Path) -> None:
    film = Film(tmp_path)
    film.move("heads/cut", film.shot(range(BATCH + 20)).link)
    film.move("heads/cut", None)
    moved = False

    def before(method: str, _key: str) -> None:
        nonlocal moved
        if method == "set_tier" and not moved:
            moved = True
            film.move("heads/new", film.shot(range(BATCH + 20)).link)

    plan = film.plan()
    film.store.before = before
    told = run_tiers(plan)
    assert (told.to_cold.packs, told.needed_again.packs) == (BATCH, 20)
    film.store.before = lambda _method, _key: None
    assert film.tier().to_hot.packs == BATCH
    assert film.cold() == set()


def test_a_pack_that_is_collected_meanwhile_is_no_error(film: Film) -> None:
    plan = film.plan()
    (key,) = idle(film)
    held = plan.to_cold[0].held
    film.store.delete(key)
    told = run_tiers(plan)
    assert (told.gone, told.to_cold) == (held, Held())
    assert sum((held for held in told.after.values()), Held()) == sum((h for h in told.before.values()), Held()) - held


def test_what_fails_for_a_passing_reason_is_tried_again(film: Film) -> None:
    left = [TransientError("busy"), OutcomeUnknownError("lost"), TransientError("busy")]
    slept: list[float] = []

    def before(method: str, _key: str) -> None:
        if method == "set_tier" and left:
            raise left.pop()

    plan = film.plan()
    film.store.before = before
    run_tiers(plan, sleep=slept.append)
    assert film.cold() == idle(film)
    assert slept == [1.0, 2.0, 4.0]

    def broken(_method: str, _key: str) -> None:
        raise TransientError("down")

    film.store.before = broken
    with pytest.raises(TransientError):
        film.tier()


def test_a_store_that_says_yes_and_does_nothing_is_found_out(film: Film) -> None:
    film.store.forgets = True
    with pytest.raises(StorageError, match=r"was to move packs/\S+ to COLD, and has \d+ bytes of it in HOT"):
        film.tier()


def test_a_store_that_loses_bytes_is_found_out(film: Film) -> None:
    (key,) = idle(film)
    plan = film.plan()

    def before(method: str, asked: str) -> None:
        if method == "set_tier" and asked == key:
            film.store.delete(key)
            film.store.put(key, b"short", when=Absent())

    film.store.before = before
    with pytest.raises(StorageError, match="and has 5 bytes of it in COLD"):
        run_tiers(plan)


def test_nothing_is_moved_where_something_needed_is_missing(film: Film) -> None:
    lost = commit(tree(chunk(b"never stored")))
    with open_store(film.part).writer(film.folder, plain=True) as writer:
        append_all(writer, [tree(chunk(b"never stored")), lost])
    film.move("heads/broken", lost.link)
    with pytest.raises(IntegrityError, match="is missing: no index names it"):
        film.tier()
    assert film.store.moved == []


def test_a_store_without_classes_is_refused(tmp_path: Path) -> None:
    film = Film(tmp_path)
    store = MemoryBackend()
    for stat in list(film.store.scan()):
        store.put(stat.key, film.store.get(stat.key).data, when=Absent())
    with pytest.raises(UsageError, match="has no tiers"):
        plan_tiers(PLACE, store, store, POLICY, now_ns=LATE_NS)


# Out of the archive


@pytest.fixture
def frozen(film: Film) -> Film:
    """Return the film, with the pack of the deleted branch in an archive."""
    film.tier(POLICY._replace(cold=FROZEN))
    return film


def restoration(film: Film, **options: object) -> Restoration:
    return Restoration(PLACE, film.store, film.store, days=3, sleep=lambda _: None, **options)  # type: ignore[arg-type] # named by the tests


def test_needed_packs_in_an_archive_are_counted_and_left_there(frozen: Film) -> None:
    (key,) = idle(frozen)
    frozen.move("heads/new", frozen.shot([3]).link)
    frozen.store.moved.clear()
    told = frozen.tier()
    assert told.archived == Held(1, frozen.store.stat(key).size)
    assert frozen.store.moved == []
    restoration(frozen, everything=True).ask()
    frozen.store.thaw()
    told = frozen.tier()
    assert (told.archived, told.to_hot.packs) == (Held(), 1)
    assert frozen.store.moved == [(key, HOT)]


def test_a_restore_is_asked_for_then_under_way_then_ready(frozen: Film) -> None:
    (key,) = idle(frozen)
    held = Held(1, frozen.store.stat(key).size)
    work = restoration(frozen, everything=True)
    told = work.ask()
    assert (told.asked, told.under_way, told.ready.packs) == (held, Held(), len(frozen.packs()) - 1)
    assert not told.done
    told = work.ask()
    assert (told.asked, told.under_way) == (Held(), held)
    assert restoration(frozen, everything=True).ask().under_way == held
    assert frozen.store.asked == [key], "it was asked for once"
    frozen.store.thaw()
    told = work.ask()
    assert (told.under_way, told.ready) == (Held(), told.wanted)
    assert told.done


def test_a_restore_for_a_ref_asks_for_what_that_needs(frozen: Film) -> None:
    main = frozen.refs.read("heads/main").target
    assert restoration(frozen, link=main).ask().done
    assert restoration(frozen).ask().done
    assert frozen.store.asked == []
    cut = frozen.shot([2, 3]).link
    told = restoration(frozen, link=cut, dry_run=True).ask()
    assert told.asked.packs == 1
    assert frozen.store.asked == []
    assert restoration(frozen, link=cut).ask().asked.packs == 1
    assert frozen.store.asked == list(idle(frozen))


def test_metadata_in_an_archive_comes_first(frozen: Film) -> None:
    frozen.move("heads/new", frozen.shot([3]).link)
    for key in frozen.metadata():
        frozen.store.classes[key] = FROZEN
    work = restoration(frozen)
    told = work.ask()
    assert told.more
    assert set(frozen.store.asked) == frozen.metadata()
    assert work.ask().under_way.packs == len(frozen.metadata())
    frozen.store.thaw()
    told = work.ask()
    assert (told.more, told.asked.packs) == (False, 1)
    frozen.store.thaw()
    assert work.ask().done


def test_a_pack_that_goes_while_it_is_restored_is_no_error(frozen: Film) -> None:
    (key,) = idle(frozen)
    work = restoration(frozen, everything=True)
    work.ask()
    frozen.store.delete(key)
    told = work.ask()
    assert told.gone.packs == 1
    assert told.done


def test_the_pauses_grow_to_a_bound() -> None:
    pause = pauses()
    found = [next(pause) for _ in range(12)]
    assert found[0] == FIRST_PAUSE
    assert found[1] == 2 * FIRST_PAUSE
    assert found[-1] == LONGEST_PAUSE == max(found)
