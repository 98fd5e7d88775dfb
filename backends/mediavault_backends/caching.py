"""Reads of what never changes go through a cache on this machine, for a store that is far away; all else passes untouched."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from blake3 import blake3

from mediavault_backends.api import Backend, Blob, Body, Buffer, Condition, Stat, Version
from mediavault_backends.bodies import check_range
from mediavault_backends.disk_cache import DamagedEntryError, DiskCache
from mediavault_backends.kinds import is_immutable, is_index

AHEAD: Final = 4 << 20
"""Bytes that are read and kept together: an object's first so many, its next so many, and so on."""
_WHOLE: Final = "whole"


def caching(backend: Backend, cache: DiskCache, *, unchanging: Callable[[str], bool] = is_immutable) -> Backend:
    """Return `backend`, read through a cache.

    Args:
        backend: the store.
        cache: may serve several stores: what never changes is named by its content.
        unchanging: tells which keys hold what never changes: packs and index blobs.
    """
    return CachingBackend(backend, cache, unchanging)


class CachingBackend:
    """Another backend, and copies of what was read from it.

    What others delete from the store can still be read here for a while, as long as nobody asks whether it is there: `stat`
    and `scan` always ask the store.
    """

    def __init__(self, inner: Backend, cache: DiskCache, unchanging: Callable[[str], bool]) -> None:
        self._inner = inner
        self._cache = cache
        self._unchanging = unchanging

    @property
    def name(self) -> str:
        """How messages call this store."""
        return self._inner.name

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body` whole or not at all, if `when` holds at that instant."""
        try:
            return self._inner.put(key, body, when=when)
        finally:
            self._forget(key)

    def get(self, key: str) -> Blob:
        """Return a whole object."""
        if not (self._unchanging(key) and self._cache.usable):
            return self._inner.get(key)
        name = self._name(key)
        kept = self._kept(name)
        if kept is not None:
            return kept
        with self._cache.turn(name, _WHOLE):
            kept = self._kept(name)
            if kept is not None:
                return kept
            blob = self._inner.get(key)
            if is_index(key) and blake3(blob.data).hexdigest() != key.rpartition("/")[2]:
                return blob  # what came damaged must not stay
            entry = self._cache.store(name, _WHOLE, len(blob.data), (blob.data,), note=blob.version.encode())
            if entry is not None:
                entry.close()
        return blob

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from offset `start`; fewer only where the object ends."""
        if not self._is_cached(key, start, length):
            return self._inner.read(key, start, length)
        return b"".join(self._through(key, start, length))

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        """Yield a range of an object in blocks of at most 1 MiB; to its end when `length` is None."""
        if not self._is_cached(key, start, length):
            return self._inner.stream(key, start=start, length=length)
        blocks = self._through(key, start, length)
        first = next(blocks, b"")  # so that an object that is missing is told now
        return chain((first,), blocks) if first else blocks

    def stat(self, key: str) -> Stat:
        """Return size and version."""
        return self._inner.stat(key)

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        """Yield every object whose key starts with `prefix`, keys ascending by code point."""
        return self._inner.scan(prefix)

    def delete(self, key: str) -> None:
        """Remove the object durably; a key without an object is no error."""
        try:
            self._inner.delete(key)
        finally:
            self._forget(key)

    def below(self, key: str) -> tuple[Backend, str]:
        """Return the backend around which this one stands, and what it calls the key."""
        return self._inner, key

    def _is_cached(self, key: str, start: int, length: int | None) -> bool:
        check_range(start, length)
        return length != 0 and self._unchanging(key) and self._cache.usable

    def _through(self, key: str, start: int, length: int | None) -> Iterator[Buffer]:
        at, end = start, None if length is None else start + length
        while end is None or at < end:
            base = at // AHEAD * AHEAD
            upto = base + AHEAD if end is None else min(base + AHEAD, end)
            for block in self._part(key, base, at, upto):
                yield block
                at += memoryview(block).nbytes
            if at < upto:
                return  # the object ends here

    def _part(self, key: str, base: int, at: int, upto: int) -> Iterator[Buffer]:
        """Yield the bytes from `at` to `upto` of the part that starts at `base`; fewer where the object ends."""
        for _ in range(2):
            entry = self._cache.fetch(
                self._name(key), str(base // AHEAD), AHEAD, lambda: self._inner.stream(key, start=base, length=AHEAD)
            )
            if entry is None:
                break
            with entry:
                try:
                    for block in entry.blocks(at - base, upto - at):
                        yield block
                        at += len(block)
                except DamagedEntryError:
                    continue
            return
        yield from self._inner.stream(key, start=at, length=upto - at)

    def _kept(self, name: str) -> Blob | None:
        entry = self._cache.open(name, _WHOLE)
        if entry is None:
            return None
        with entry:
            try:
                return Blob(entry.read(0, entry.size), Version(entry.note.decode()))
            except DamagedEntryError:
                return None

    def _forget(self, key: str) -> None:
        if self._unchanging(key):
            self._cache.forget(self._name(key))

    def _name(self, key: str) -> str:
        return f"{self._inner.name}\0{key}"
