"""One key of two stores made equal, with writers that come in between."""

import pytest

from mediavault_backends.api import Absent, Matches
from mediavault_backends.errors import NotFoundError, TransientError
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.multi_copy import Seen, level, merged, restore
from tests.contract.pairs import PACK, REF, Cable, contents


@pytest.fixture
def first() -> Cable:
    return Cable(MemoryBackend())


@pytest.fixture
def second() -> Cable:
    return Cable(MemoryBackend())


def write(store: Cable, key: str, data: bytes) -> None:
    try:
        store.inner.put(key, data, when=Matches(store.inner.stat(key).version))
    except NotFoundError:
        store.inner.put(key, data, when=Absent())


@pytest.mark.parametrize("before", [None, b"old", b"a longer one"])
@pytest.mark.parametrize("key", [REF, PACK])
def test_the_secondary_becomes_what_the_primary_is(first: Cable, second: Cable, key: str, before: bytes | None) -> None:
    write(first, key, b"new")
    if before is not None and not (key == PACK and len(before) == 3):
        write(second, key, before)
    assert level(first, second, key)
    assert contents(second) == {key: b"new"}
    second.calls.clear()
    assert level(first, second, key)
    assert "put" not in {method for method, _ in second.calls}


def test_what_changes_while_it_is_copied_is_copied_again(first: Cable, second: Cable) -> None:
    write(first, REF, b"one")
    news = [b"two", b"three"]

    def overtake(method: str, key: str) -> None:
        if method == "put" and news:
            write(first, key, news.pop(0))

    second.before = overtake
    assert level(first, second, REF)
    assert contents(second) == contents(first) == {REF: b"three"}


@pytest.mark.parametrize("key", [REF, PACK])
def test_what_is_deleted_while_it_is_copied_is_removed_again(first: Cable, second: Cable, key: str) -> None:
    write(first, key, b"one")
    second.before = lambda method, key: first.inner.delete(key) if method == "put" else None
    assert level(first, second, key)
    assert contents(second) == {}


def test_what_others_wrote_at_the_secondary_is_not_overwritten_unseen(first: Cable, second: Cable) -> None:
    write(first, REF, b"one")
    write(second, REF, b"old")
    seen = Seen(second.stat(REF))
    write(first, REF, b"two")

    def other(method: str, key: str) -> None:
        if method == "put":
            second.before = lambda *_: None
            write(second, key, b"two")

    second.before = other
    assert level(first, second, REF, seen=seen)
    assert contents(second) == {REF: b"two"}
    assert [method for method, _ in second.calls].count("put") == 1


@pytest.mark.parametrize("deleted", [False, True])
def test_only_what_was_deleted_is_removed(first: Cable, second: Cable, deleted: bool) -> None:
    write(second, PACK, b"pack")
    assert level(first, second, PACK, deleted=deleted)
    assert contents(second) == ({} if deleted else {PACK: b"pack"})


def test_nothing_changes_without_leave(first: Cable, second: Cable) -> None:
    write(first, REF, b"one")
    write(second, PACK, b"pack")
    assert not level(first, second, REF, may=lambda: False)
    assert not level(first, second, PACK, deleted=True, may=lambda: False)
    assert contents(second) == {PACK: b"pack"}


def test_leave_is_asked_when_the_bytes_are_known(first: Cable, second: Cable) -> None:
    write(first, REF, b"one")

    def may() -> bool:
        write(first, REF, b"two")
        first.cut = TransientError
        return True

    with pytest.raises(TransientError):
        level(first, second, REF, may=may)
    assert contents(second) == {REF: b"one"}, "what was looked at is what goes"


def test_a_key_that_never_rests_is_given_up(first: Cable, second: Cable) -> None:
    write(first, REF, b"x")

    def stir(method: str, key: str) -> None:
        if method == "put":
            write(first, key, first.inner.get(key).data + b"x")

    second.before = stir
    with pytest.raises(TransientError, match="faster"):
        level(first, second, REF)


def test_a_key_that_the_secondary_cannot_hold_is_told(first: Cable, second: Cable) -> None:
    write(second, "a", b"x")
    write(first, "a/b", b"x")
    with pytest.raises(ValueError, match="under another object"):
        level(first, second, "a/b")


def test_restoring_writes_over_nothing(first: Cable, second: Cable) -> None:
    assert restore(first, second, PACK) is None
    write(second, PACK, b"pack")
    assert restore(first, second, PACK) == 4
    write(second, PACK, b"other")
    assert restore(first, second, PACK) == 5
    assert contents(first) == {PACK: b"pack"}


def test_listings_are_joined_by_key(first: Cable, second: Cable) -> None:
    for key in ("a", "b", "d"):
        write(first, key, b"")
    for key in ("b", "c", "d", "e"):
        write(second, key, b"")
    found = [(here and here.key, there and there.key) for here, there in merged(first.scan(), second.scan())]
    assert found == [("a", None), ("b", "b"), (None, "c"), ("d", "d"), (None, "e")]
