"""Which repositories a store holds, listings side by side, transfers that break off, rates."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.formats.config import RepositoryConfig, encode_config
from mediavault.hosting.checking import first_difference
from mediavault.hosting.contents import ATTEMPTS, Place, find_repositories, paired, resumed
from mediavault_backends.api import Absent, Buffer
from mediavault_backends.errors import NotFoundError, TransientError
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.throttle import Throttle


def store_of(*keys: str) -> MemoryBackend:
    store = MemoryBackend()
    for key in keys:
        store.put(key, key.encode(), when=Absent())
    return store


def test_repositories_are_found_at_any_depth_by_their_config() -> None:
    store = store_of("-storage", "-probe/config2", "a/b/config", "%41/b/config", "deep/er/still/config", "c/packs/aa/x")
    assert find_repositories(store) == [
        Place("%41/b/", "A/b"),
        Place("a/b/", "a/b"),
        Place("deep/er/still/", "deep/er/still"),
    ]


def test_slots_and_refs_named_config_are_no_repositories() -> None:
    store = store_of("a/b/config", "a/b/keys/config", "a/b/refs/config", "a/b/keys/epochs/config")
    assert find_repositories(store) == [Place("a/b/", "a/b")]


def test_slots_and_refs_of_a_repository_without_config_are_told_from_a_project_of_that_name() -> None:
    store = store_of("half/copied/keys/config", "half/copied/refs/config")
    store.put("a/keys/config", encode_config(RepositoryConfig(bytes(16), 0)), when=Absent())
    store.put("b/refs/config", b'{"format":2}', when=Absent())
    assert find_repositories(store) == [Place("a/keys/", "a/keys"), Place("b/refs/", "b/refs")]


def test_a_store_that_is_a_repository_itself_has_no_other_in_its_parts() -> None:
    store = store_of("config", "keys/config", "refs/heads%2Fmain")
    (place,) = find_repositories(store)
    assert place == Place("", "/")
    assert place.within(store) is store


def test_a_name_that_no_server_gave_is_shown_as_it_is() -> None:
    assert find_repositories(store_of("Team/b/config")) == [Place("Team/b/", "Team/b")]


@given(st.sets(st.sampled_from("abcdefgh")), st.sets(st.sampled_from("abcdefgh")))
def test_listings_are_paired_by_key(first: set[str], second: set[str]) -> None:
    found = list(paired(store_of(*first).scan(), store_of(*second).scan()))
    assert [(one or other).key for one, other in found if one or other] == sorted(first | second)  # type: ignore[union-attr] # one of them is there
    assert {one.key for one, _ in found if one} == first
    assert {other.key for _, other in found if other} == second
    assert all(one.key == other.key for one, other in found if one and other)


class Breaking(MemoryBackend):
    """A store whose transfers break off after some bytes of each."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after
        self.starts: list[int] = []

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        self.starts.append(start)
        data = self.get(key).data[start : None if length is None else start + length]
        return self._broken(data)

    def _broken(self, data: bytes) -> Iterator[Buffer]:
        if self.after:
            yield data[: self.after]
        if len(data) > self.after:
            raise TransientError("cut")


def test_a_broken_transfer_goes_on_where_it_broke() -> None:
    store = Breaking(3)
    store.put("k", b"0123456789", when=Absent())
    pauses: list[float] = []
    assert b"".join(resumed(store, "k", 10, sleep=pauses.append)) == b"0123456789"
    assert store.starts == [0, 3, 6, 9]
    assert len(pauses) == 3


def test_a_transfer_that_brings_nothing_is_given_up() -> None:
    store = Breaking(0)
    store.put("k", b"0123456789", when=Absent())
    with pytest.raises(TransientError):
        list(resumed(store, "k", 10, sleep=lambda _: None))
    assert store.starts == [0] * ATTEMPTS


def test_an_object_that_is_shorter_or_gone_is_not_waited_for() -> None:
    store = store_of("k")
    assert b"".join(resumed(store, "k", 10)) == b"k"
    assert list(resumed(store, "k", 0)) == []
    with pytest.raises(NotFoundError):
        list(resumed(store, "gone", 1))


def test_a_throttle_keeps_to_its_rate_and_lets_no_pause_be_made_up_for() -> None:
    now = [100.0]
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    throttle = Throttle(1000, clock=lambda: now[0], sleep=sleep)
    for _ in range(10):
        throttle.take(500)
    assert sum(waits) == pytest.approx(5.0)
    now[0] += 60
    throttle.take(1000)
    assert waits[-1] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="rate"):
        Throttle(0)


@given(st.binary(max_size=60), st.binary(max_size=60), st.integers(1, 9), st.integers(1, 9))
def test_the_first_difference_is_that_of_the_whole(first: bytes, second: bytes, one: int, other: int) -> None:
    whole = zip(itertools.chain(first, [-1]), itertools.chain(second, [-1]), strict=False)
    expected = None if first == second else next(at for at, (a, b) in enumerate(whole) if a != b)
    assert first_difference(cut(first, one), cut(second, other)) == expected


def cut(data: bytes, size: int) -> Iterator[Buffer]:
    yield b""
    yield from (data[at : at + size] for at in range(0, len(data), size))
