"""Two stores as one, for tests: a journal in a folder, stores that can be cut off, and what both hold."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from mediavault_backends.api import Backend, Blob, Body, Buffer, Condition, Stat, Version
from mediavault_backends.errors import BackendError, TransientError
from mediavault_backends.multi import Mode, MultiBackend, Read
from mediavault_backends.multi_journal import Journal

PACK = f"studio/film/packs/ab/ab{'0' * 62}"
OTHER_PACK = f"studio/film/packs/cd/cd{'0' * 62}"
INDEX = f"studio/film/index/{'1' * 64}"
REF = "studio/film/refs/heads%2Fmain"
SLOT = "studio/film/keys/ann"


class Cable:
    """Another backend that can be cut off; `calls` are those that were tried while it was not."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.cut: type[BackendError] | None = None
        self.calls: list[tuple[str, str]] = []
        self.before: Callable[[str, str], object] = lambda _method, _key: None

    @property
    def name(self) -> str:
        return self.inner.name

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        self._pass("put", key)
        return self.inner.put(key, body, when=when)

    def get(self, key: str) -> Blob:
        self._pass("get", key)
        return self.inner.get(key)

    def read(self, key: str, start: int, length: int) -> bytes:
        self._pass("read", key)
        return self.inner.read(key, start, length)

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        self._pass("stream", key)
        return self.inner.stream(key, start=start, length=length)

    def stat(self, key: str) -> Stat:
        self._pass("stat", key)
        return self.inner.stat(key)

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        self._pass("scan", prefix)
        for stat in self.inner.scan(prefix):
            self._pass("next", stat.key)
            yield stat

    def delete(self, key: str) -> None:
        self._pass("delete", key)
        self.inner.delete(key)

    def _pass(self, method: str, key: str) -> None:
        if self.cut is not None:
            raise self.cut("cut off", key=key)
        self.calls.append((method, key))
        self.before(method, key)


class Trusting:
    """A judge that takes everything for whole, and no object for one that came in the place of another."""

    def fault(self, key: str, store: Backend) -> str:
        del key, store
        return ""

    def follows(self, key: str, store: Backend, former: Backend) -> bool:
        del key, store, former
        return False


def journal_of(folder: Path, primary: Backend, secondary: Backend) -> Journal:
    return Journal(folder, f"{primary.name} -> {secondary.name}")


def pair_of(
    folder: Path,
    primary: Backend,
    secondary: Backend,
    *,
    mode: Mode,
    read: Read = "primary-first",
    clock: Callable[[], float] | None = None,
    filled: bool = True,
) -> MultiBackend:
    """Return a pair that copies later only when it is told to."""
    journal = journal_of(folder, primary, secondary)
    if filled:
        journal.mark_complete()
    if clock is None:
        return MultiBackend(primary, secondary, journal, mode=mode, read=read, background=False)
    return MultiBackend(primary, secondary, journal, mode=mode, read=read, background=False, clock=clock)


def crash(pair: MultiBackend) -> None:
    """Let go of the journal as a process does that is killed."""
    if pair._journal._fd >= 0:
        os.close(pair._journal._fd)


def contents(store: Backend) -> dict[str, bytes]:
    return {stat.key: store.get(stat.key).data for stat in store.scan()}


def cut(*stores: Cable, error: type[BackendError] = TransientError) -> None:
    for store in stores:
        store.cut = error


def mend(*stores: Cable) -> None:
    for store in stores:
        store.cut = None
