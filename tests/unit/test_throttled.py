"""What the throttle bounds: bytes up, bytes down and calls, by a clock that the tests turn, whole or streamed."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from mediavault.config import load_settings
from mediavault_backends.api import Absent, Backend, FileSource, Spooling, signing_of
from mediavault_backends.errors import BackendSetupError
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.multi import MultiBackend
from mediavault_backends.registry import open_backend
from mediavault_backends.throttle import Rates, Throttle, ThrottledBackend, throttled
from mediavault_server.settings import storage_table

MIB = 1 << 20


class Clock:
    """Seconds that pass only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds

    def throttle(self, rate: float) -> Throttle:
        return Throttle(rate, clock=self, sleep=self.sleep)


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Source:
    """Three mebibytes, and the time at which each was asked for."""

    size = 3 * MIB

    def __init__(self, clock: Clock) -> None:
        self.times: list[float] = []
        self._clock = clock

    def blocks(self) -> Iterator[bytes]:
        for _ in range(3):
            self.times.append(self._clock.now)
            yield bytes(MIB)


def test_bytes_up_are_bounded(clock: Clock) -> None:
    store = throttled(MemoryBackend(), Rates(up=clock.throttle(MIB)))
    store.put("a", bytes(2 * MIB), when=Absent())
    assert clock.now == 102.0
    store.get("a")
    store.stat("a")
    assert clock.now == 102.0, "only what goes up counts"


def test_a_body_is_streamed_at_the_rate(clock: Clock) -> None:
    store = throttled(MemoryBackend(), Rates(up=clock.throttle(MIB)))
    source = Source(clock)
    store.put("a", source, when=Absent())
    assert source.times == [100.0, 101.0, 102.0], "block by block, not all at once"
    assert clock.now == 103.0


def test_bytes_down_are_bounded_however_they_are_read(clock: Clock) -> None:
    inner = MemoryBackend()
    inner.put("a", bytes(2 * MIB), when=Absent())
    store = throttled(inner, Rates(down=clock.throttle(MIB)))
    store.get("a")
    assert clock.now == 102.0
    store.read("a", 0, MIB)
    assert clock.now == 103.0
    stream = iter(store.stream("a"))
    assert clock.now == 103.0
    next(stream)
    assert clock.now == 104.0
    next(stream)
    assert clock.now == 105.0
    store.put("b", bytes(MIB), when=Absent())
    assert clock.now == 105.0


CALLS: Mapping[str, Callable[[Backend], object]] = {
    "put": lambda store: store.put("b", b"1", when=Absent()),
    "get": lambda store: store.get("a"),
    "read": lambda store: store.read("a", 0, 1),
    "stream": lambda store: list(store.stream("a")),
    "stat": lambda store: store.stat("a"),
    "scan": lambda store: list(store.scan()),
    "delete": lambda store: store.delete("a"),
}


@pytest.mark.parametrize("call", CALLS)
def test_each_call_is_counted(clock: Clock, call: str) -> None:
    inner = MemoryBackend()
    inner.put("a", b"1", when=Absent())
    CALLS[call](throttled(inner, Rates(calls=clock.throttle(4))))
    assert clock.now == 100.25


def test_a_pause_is_not_made_up_for(clock: Clock) -> None:
    throttle = clock.throttle(10)
    throttle.take(10)
    clock.now += 50
    throttle.take(10)
    throttle.take(10)
    assert clock.now == 153.0


@pytest.mark.parametrize("rate", [0, -1])
def test_a_rate_is_positive(rate: float) -> None:
    with pytest.raises(ValueError, match="not a rate"):
        Throttle(rate)


def test_what_is_adopted_is_moved_by_nobody(clock: Clock, tmp_path: Path) -> None:
    store = throttled(LocalBackend(tmp_path / "store", create=True), Rates(up=clock.throttle(1)))
    assert isinstance(store, Spooling)
    path = store.spool_folder / "x.spool"
    path.write_bytes(b"12345")
    store.put("a", FileSource(path, 5, adopt=True), when=Absent())
    assert clock.now == 100.0
    assert not path.exists()
    assert not isinstance(throttled(MemoryBackend(), Rates()), Spooling)


def test_a_file_to_adopt_is_gone_after_it_was_sent(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    throttled(MemoryBackend(), Rates(up=clock.throttle(5))).put("a", FileSource(path, 5, adopt=True), when=Absent())
    assert clock.now == 101.0
    assert not path.exists()


def test_what_is_below_can_be_reached() -> None:
    inner = MemoryBackend()
    store = throttled(inner, Rates())
    assert isinstance(store, ThrottledBackend)
    assert store.below("a") == (inner, "a")
    assert store.inner is inner
    assert store.name == inner.name
    assert signing_of(store, "a") is None


# Settings


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let no throttle wait; holds how long each would have."""
    waits: list[float] = []
    monkeypatch.setattr(Throttle.__init__, "__kwdefaults__", {"clock": lambda: 100.0, "sleep": waits.append})
    return waits


@pytest.mark.parametrize(
    ("setting", "wait"),
    [("max_upload = '1MiB'", 3.0), ("max_download = '2MiB'", 1.5), ("max_requests = 4", 0.25)],
)
def test_each_setting_does_what_it_says(tmp_path: Path, slept: list[float], setting: str, wait: float) -> None:
    file = tmp_path / "mediagit.toml"
    file.write_text(f"[storage]\nbackend = 'memory'\n{setting}\n")
    store = open_backend(storage_table(load_settings({}, file=file).settings.storage))
    store.put("a", bytes(3 * MIB), when=Absent())
    store.get("a")
    assert slept[0] == wait
    assert len(slept) == (2 if "requests" in setting else 1)


def test_without_a_setting_nothing_stands_between(tmp_path: Path) -> None:
    file = tmp_path / "mediagit.toml"
    file.write_text("[storage]\nbackend = 'memory'\n")
    assert isinstance(open_backend(storage_table(load_settings({}, file=file).settings.storage)), MemoryBackend)


def test_both_stores_of_a_pair_are_bounded(tmp_path: Path, slept: list[float]) -> None:
    table = {
        "backend": "multi",
        "max_upload": MIB,
        "multi": {
            "primary": "local",
            "secondary": "memory",
            "journal": str(tmp_path / "journal"),
            "local": {"path": str(tmp_path / "store")},
        },
    }
    store = open_backend(table, create=True)
    assert isinstance(store, MultiBackend)
    assert isinstance(store.primary, ThrottledBackend)
    assert isinstance(store.secondary, ThrottledBackend)
    store.primary.put("a", bytes(MIB), when=Absent())
    store.secondary.put("a", bytes(2 * MIB), when=Absent())
    assert slept == [1.0, 2.0]
    store.close()


def test_a_rate_that_is_none_is_refused() -> None:
    with pytest.raises(BackendSetupError, match=r"storage\.max_upload"):
        open_backend({"backend": "memory", "max_upload": "fast"})
