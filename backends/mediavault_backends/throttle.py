"""Keeps what goes to and comes from another backend below rates; changes nothing of it. The project's only throttle."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mediavault_backends.api import Backend, Blob, Body, Buffer, Condition, FileSource, Source, Spooling, Stat, Version
from mediavault_backends.bodies import give_up_adopted


class Throttle:
    """Lets units (bytes, calls) pass at a rate; a pause is not made up for. Safe to use from several threads.

    Args:
        rate: units a second.
        clock: seconds that never go back.
        sleep: waits for that many seconds.
    """

    def __init__(
        self,
        rate: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if rate <= 0:
            raise ValueError(f"not a rate: {rate}")
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free = 0.0

    def take(self, count: int) -> None:
        """Wait until `count` units more may have passed."""
        with self._lock:
            now = self._clock()
            self._free = max(now, self._free) + count / self._rate
            wait = self._free - now
        self._sleep(wait)


class Rates(NamedTuple):
    """What is bounded: bytes up, bytes down, calls; None is not."""

    up: Throttle | None = None
    down: Throttle | None = None
    calls: Throttle | None = None


def throttled(backend: Backend, rates: Rates) -> Backend:
    """Return `backend` at these rates, with its folder for spools if it has one.

    What is adopted or mapped into memory instead of being copied is moved by nobody, and not bounded. A listing is one call.
    """
    return (
        _SpoolingThrottledBackend(backend, rates) if isinstance(backend, Spooling) else ThrottledBackend(backend, rates)
    )


class ThrottledBackend:
    """Another backend that is asked no faster, and gives and takes no more a second, than rates allow."""

    def __init__(self, inner: Backend, rates: Rates) -> None:
        self._inner = inner
        self._rates = rates

    @property
    def inner(self) -> Backend:
        """The backend around which this one stands."""
        return self._inner

    @property
    def name(self) -> str:
        """How messages call this store."""
        return self._inner.name

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body` whole or not at all, if `when` holds at that instant."""
        self._call()
        up = self._rates.up
        if up is None:
            return self._inner.put(key, body, when=when)
        if isinstance(body, bytes | bytearray | memoryview):
            up.take(memoryview(body).nbytes)
            return self._inner.put(key, body, when=when)
        if isinstance(body, FileSource) and body.adopt and isinstance(self._inner, Spooling):
            return self._inner.put(key, body, when=when)
        version = self._inner.put(key, _SlowSource(body, up), when=when)
        give_up_adopted(body)
        return version

    def get(self, key: str) -> Blob:
        """Return a whole object."""
        self._call()
        blob = self._inner.get(key)
        self._came(len(blob.data))
        return blob

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from offset `start`; fewer only where the object ends."""
        self._call()
        data = self._inner.read(key, start, length)
        self._came(len(data))
        return data

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        """Yield a range of an object in blocks of at most 1 MiB; to its end when `length` is None."""
        self._call()
        return self._slowed(self._inner.stream(key, start=start, length=length))

    def stat(self, key: str) -> Stat:
        """Return size and version."""
        self._call()
        return self._inner.stat(key)

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        """Yield every object whose key starts with `prefix`, keys ascending by code point."""
        self._call()
        return self._inner.scan(prefix)

    def delete(self, key: str) -> None:
        """Remove the object durably; a key without an object is no error."""
        self._call()
        self._inner.delete(key)

    def below(self, key: str) -> tuple[Backend, str]:
        """Return the backend around which this one stands, and what it calls the key."""
        return self._inner, key

    def _call(self) -> None:
        if self._rates.calls is not None:
            self._rates.calls.take(1)

    def _came(self, count: int) -> None:
        if self._rates.down is not None:
            self._rates.down.take(count)

    def _slowed(self, blocks: Iterator[Buffer]) -> Iterator[Buffer]:
        for block in blocks:
            self._came(memoryview(block).nbytes)
            yield block


class _SlowSource:
    """A body whose blocks come at a rate."""

    def __init__(self, source: Source, up: Throttle) -> None:
        self.size = source.size
        self._source = source
        self._up = up

    def blocks(self) -> Iterator[Buffer]:
        """Yield the bytes in order, from the start at every call."""
        for block in self._source.blocks():
            self._up.take(memoryview(block).nbytes)
            yield block


class _SpoolingThrottledBackend(ThrottledBackend):
    """Such a backend that adopts files."""

    @property
    def spool_folder(self) -> Path:
        """A private folder on the same file system as the objects; never listed by `scan`."""
        assert isinstance(self._inner, Spooling)
        return self._inner.spool_folder
