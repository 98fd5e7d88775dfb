"""Trying again: what is repeated, how long it waits, and what becomes of a put whose answer was lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mediavault_backends.api import Absent, Backend, Blob, Body, Buffer, Condition, FileSource, Matches, Stat, Version
from mediavault_backends.errors import (
    AccessDeniedError,
    BackendError,
    NotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    TransientError,
)
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.prefix import prefixed
from mediavault_backends.retry import BASE, LONGEST, retrying

LOST_BEFORE = "lost before"
LOST_AFTER = "lost after"


class Moody:
    """A store in memory that fails as its mood says, once for each entry; then it works."""

    name = "moody"

    def __init__(self, *moods: object) -> None:
        self.store = MemoryBackend()
        self.moods = list(moods)
        self.calls: list[str] = []

    def _meet(self, call: str) -> object:
        self.calls.append(call)
        mood = self.moods.pop(0) if self.moods else None
        if isinstance(mood, BaseException):
            raise mood
        return mood

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        mood = self._meet("put")
        if mood == LOST_BEFORE:
            raise OutcomeUnknownError("lost", key=key)
        version = self.store.put(key, body, when=when)
        if mood == LOST_AFTER:
            raise OutcomeUnknownError("lost", key=key)
        if callable(mood):
            mood()
        return version

    def get(self, key: str) -> Blob:
        self._meet("get")
        return self.store.get(key)

    def read(self, key: str, start: int, length: int) -> bytes:
        self._meet("read")
        return self.store.read(key, start, length)

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        self._meet("stream")
        return self.store.stream(key, start=start, length=length)

    def stat(self, key: str) -> Stat:
        self._meet("stat")
        return self.store.stat(key)

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        return self._scan(list(self.store.scan(prefix)))

    def _scan(self, found: list[Stat]) -> Iterator[Stat]:
        for stat in found:
            self._meet("page")
            yield stat

    def delete(self, key: str) -> None:
        self._meet("delete")
        self.store.delete(key)


class Patience:
    """A wrapped store and the pauses that it made."""

    def __init__(self, inner: Backend, attempts: int = 4) -> None:
        self.pauses: list[float] = []
        self.backend = retrying(inner, attempts, self.pauses.append, lambda: 0.5)


def test_passing_failures_are_waited_out() -> None:
    for call in ("get", "read", "stream", "stat", "delete"):
        inner = Moody(TransientError("a"), TransientError("b"), TransientError("c"))
        inner.store.put("x", b"1", when=Absent())
        patience = Patience(inner)
        calls = {
            "get": lambda b: b.get("x"),
            "read": lambda b: b.read("x", 0, 1),
            "stream": lambda b: b.stream("x"),
            "stat": lambda b: b.stat("x"),
            "delete": lambda b: b.delete("x"),
        }
        calls[call](patience.backend)
        assert inner.calls == [call] * 4
        assert patience.pauses == [BASE, 2 * BASE, 4 * BASE]


def test_it_ends_with_the_last_attempt() -> None:
    inner = Moody(*[TransientError(str(number)) for number in range(9)])
    patience = Patience(inner)
    for call in (lambda: patience.backend.get("x"), lambda: patience.backend.delete("x")):
        inner.calls.clear()
        with pytest.raises(TransientError, match=r"[37]"):
            call()
        assert len(inner.calls) == 4
    assert Patience(Moody(TransientError("x")), 1).pauses == []


def test_pauses_are_spread_and_bounded() -> None:
    for random, factor in ((0.0, 0.5), (0.999, 1.499)):
        pauses: list[float] = []
        inner = Moody(*[TransientError("x")] * 11)
        with pytest.raises(NotFoundError):
            retrying(inner, 12, pauses.append, lambda random=random: random).get("x")  # type: ignore[misc]
        assert pauses[0] == pytest.approx(BASE * factor)
        assert pauses[-1] == pytest.approx(LONGEST * factor)
        assert pauses == sorted(pauses)


@pytest.mark.parametrize("error", [AccessDeniedError("x"), PreconditionFailedError("x"), KeyboardInterrupt()])
def test_what_will_not_pass_is_not_repeated(error: BaseException) -> None:
    for call in ("get", "put"):
        inner = Moody(error)
        backend = Patience(inner).backend
        with pytest.raises(type(error)):
            _ = backend.get("x") if call == "get" else backend.put("x", b"1", when=Absent())
        assert inner.calls == [call]


def test_no_attempt_is_no_number_of_attempts() -> None:
    with pytest.raises(ValueError, match="attempts"):
        Patience(MemoryBackend(), 0)


# Puts whose answer was lost


def start(inner: Moody, condition: str) -> Condition:
    return Absent() if condition == "absent" else Matches(inner.store.put("x", b"old", when=Absent()))


both = pytest.mark.parametrize("condition", ["absent", "matches"])


@both
def test_a_put_that_landed_has_succeeded(condition: str) -> None:
    inner = Moody(LOST_AFTER)
    version = Patience(inner).backend.put("x", b"mine", when=start(inner, condition))
    assert inner.store.get("x") == Blob(b"mine", version)
    assert inner.calls == ["put", "stat", "stream"]


@both
def test_a_put_that_did_not_land_is_repeated(condition: str) -> None:
    inner = Moody(LOST_BEFORE)
    version = Patience(inner).backend.put("x", b"mine", when=start(inner, condition))
    assert inner.store.get("x") == Blob(b"mine", version)
    assert inner.calls == ["put", "stat", "put"]


@both
@pytest.mark.parametrize("other", [b"else", b"longer than mine"])
def test_a_put_that_another_overtook_is_refused(condition: str, other: bytes) -> None:
    inner = Moody(LOST_BEFORE)
    when = start(inner, condition)
    backend = Patience(inner).backend
    inner.store.put("x", other, when=when)
    with pytest.raises(PreconditionFailedError):
        backend.put("x", b"mine", when=when)
    assert inner.store.get("x").data == other


@both
def test_a_put_that_lands_late_has_succeeded(condition: str) -> None:
    """The first attempt lands between the look and the second attempt, which is refused for that reason."""
    inner = Moody()
    when = start(inner, condition)

    def land() -> None:
        inner.store.put("x", b"mine", when=when)

    class Late(Moody):
        def put(self, key: str, body: Body, *, when: Condition) -> Version:
            self.calls.append("put")
            if self.calls.count("put") == 1:
                raise OutcomeUnknownError("lost", key=key)
            land()
            return inner.store.put(key, body, when=when)

    late = Late()
    late.store = inner.store
    version = Patience(late).backend.put("x", b"mine", when=when)
    assert inner.store.get("x") == Blob(b"mine", version)
    assert late.calls.count("put") == 2


@both
def test_a_put_that_stays_unknown_says_so(condition: str) -> None:
    for moods in ([LOST_BEFORE] * 1, [LOST_BEFORE, *[TransientError("x")] * 99]):
        inner = Moody(*moods)
        with pytest.raises(OutcomeUnknownError) as caught:
            Patience(inner, 1).backend.put("x", b"mine", when=start(inner, condition))
        assert caught.value.key == "x"


@both
def test_the_last_attempt_is_looked_up_too(condition: str) -> None:
    inner = Moody(LOST_AFTER)
    version = Patience(inner, 1).backend.put("x", b"mine", when=start(inner, condition))
    assert inner.store.get("x") == Blob(b"mine", version)


def test_unknown_then_passing_is_still_unknown() -> None:
    inner = Moody(LOST_BEFORE, None, TransientError("x"))
    with pytest.raises(OutcomeUnknownError):
        Patience(inner, 2).backend.put("x", b"mine", when=Absent())


def test_an_adopted_file_goes_when_the_put_landed(tmp_path: Path) -> None:
    class Lost(Moody):
        def put(self, key: str, body: Body, *, when: Condition) -> Version:
            assert isinstance(body, FileSource)
            self.store.put(key, FileSource(body.path, body.size), when=when)
            raise OutcomeUnknownError("lost", key=key)

    path = tmp_path / "spool"
    path.write_bytes(b"mine")
    Patience(Lost()).backend.put("x", FileSource(path, 4, adopt=True), when=Absent())
    assert not path.exists()


# Listings


@pytest.mark.parametrize("broken_at", [0, 1, 3])
def test_a_listing_goes_on_where_it_broke(broken_at: int) -> None:
    inner = Moody(*[None] * broken_at, TransientError("x"), TransientError("y"))
    for number in range(5):
        inner.store.put(f"k/{number}", b"", when=Absent())
    patience = Patience(inner)
    assert [stat.key for stat in patience.backend.scan("k/")] == [f"k/{number}" for number in range(5)]
    assert len(patience.pauses) == 2


def test_a_listing_that_goes_nowhere_ends() -> None:
    inner = Moody(*[TransientError("x")] * 9)
    inner.store.put("k", b"", when=Absent())
    with pytest.raises(TransientError):
        list(Patience(inner).backend.scan())
    assert len(inner.calls) == 4


def test_it_can_be_prefixed_and_named() -> None:
    inner = Moody(TransientError("x"))
    backend = prefixed(Patience(inner).backend, "team/")
    backend.put("x", b"1", when=Absent())
    assert [stat.key for stat in inner.store.scan()] == ["team/x"]
    assert backend.name == "moody, team"
    with pytest.raises(BackendError) as caught:
        backend.get("y")
    assert caught.value.key == "y"
