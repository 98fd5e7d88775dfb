"""Counts what goes to and comes from another backend; changes nothing of it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mediavault_backends.api import Backend, Blob, Body, Buffer, Condition, Spooling, Stat, Version


class Count(NamedTuple):
    """Calls made, bytes of objects put, bytes of objects read; and which of the calls were puts, listings and readings."""

    calls: int
    put: int
    read: int
    writes: int = 0
    lists: int = 0
    reads: int = 0


class Meter:
    """What passed through a metered backend. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = Count(0, 0, 0)

    @property
    def count(self) -> Count:
        """What passed so far."""
        return self._count

    def add(
        self, *, calls: int = 0, put: int = 0, read: int = 0, writes: int = 0, lists: int = 0, reads: int = 0
    ) -> None:
        """Count some more; a put, a listing and a reading are calls, too."""
        more = Count(calls + writes + lists + reads, put, read, writes, lists, reads)
        with self._lock:
            self._count = Count(*map(sum, zip(self._count, more, strict=True)))


def metered(backend: Backend, meter: Meter) -> Backend:
    """Return `backend`, counted by `meter`, with its folder for spools if it has one.

    A listing counts as one call, though a store may need several. What is mapped into memory is not counted.
    """
    return _SpoolingMeteredBackend(backend, meter) if isinstance(backend, Spooling) else MeteredBackend(backend, meter)


class MeteredBackend:
    """Another backend, and a count of what it is asked."""

    def __init__(self, inner: Backend, meter: Meter) -> None:
        self._inner = inner
        self._meter = meter

    @property
    def name(self) -> str:
        """How messages call this store."""
        return self._inner.name

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body` whole or not at all, if `when` holds at that instant."""
        size = memoryview(body).nbytes if isinstance(body, bytes | bytearray | memoryview) else body.size
        self._meter.add(writes=1)
        version = self._inner.put(key, body, when=when)
        self._meter.add(put=size)
        return version

    def get(self, key: str) -> Blob:
        """Return a whole object."""
        self._meter.add(reads=1)
        blob = self._inner.get(key)
        self._meter.add(read=len(blob.data))
        return blob

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from offset `start`; fewer only where the object ends."""
        self._meter.add(reads=1)
        data = self._inner.read(key, start, length)
        self._meter.add(read=len(data))
        return data

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        """Yield a range of an object in blocks of at most 1 MiB; to its end when `length` is None."""
        self._meter.add(reads=1)
        return self._counted(self._inner.stream(key, start=start, length=length))

    def stat(self, key: str) -> Stat:
        """Return size and version."""
        self._meter.add(reads=1)
        return self._inner.stat(key)

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        """Yield every object whose key starts with `prefix`, keys ascending by code point."""
        self._meter.add(lists=1)
        return self._inner.scan(prefix)

    def delete(self, key: str) -> None:
        """Remove the object durably; a key without an object is no error."""
        self._meter.add(calls=1)
        self._inner.delete(key)

    def below(self, key: str) -> tuple[Backend, str]:
        """Return the backend around which this one stands, and what it calls the key."""
        return self._inner, key

    def _counted(self, blocks: Iterator[Buffer]) -> Iterator[Buffer]:
        for block in blocks:
            self._meter.add(read=memoryview(block).nbytes)
            yield block


class _SpoolingMeteredBackend(MeteredBackend):
    """Such a backend that adopts files."""

    @property
    def spool_folder(self) -> Path:
        """A private folder on the same file system as the objects; never listed by `scan`."""
        assert isinstance(self._inner, Spooling)
        return self._inner.spool_folder
