"""The classes of storage that the packs of one repository are in: asked, changed, restored; which pack belongs where is left to others."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

import msgspec

from mediavault.errors import StorageError, UsageError
from mediavault.hosting.contents import ATTEMPTS, BROKEN_PAUSE
from mediavault.model.ids import ID_BYTES, ObjectId
from mediavault.store.keys import PACKS, named_by, pack_key
from mediavault_backends import errors as backend_errors
from mediavault_backends.api import Backend, Tier, Tiering, tiering_of

JOBS: Final = 8
"""Requests under way at once."""
_AGAIN: Final = (backend_errors.TransientError, backend_errors.OutcomeUnknownError)

_T = TypeVar("_T")
_R = TypeVar("_R")


class Held(msgspec.Struct, frozen=True):
    """Some packs: how many, and their bytes."""

    packs: int = 0
    bytes: int = 0

    def __add__(self, other: "Held") -> "Held":
        return Held(self.packs + other.packs, self.bytes + other.bytes)

    def __sub__(self, other: "Held") -> "Held":
        return Held(self.packs - other.packs, self.bytes - other.bytes)


class PackClass(NamedTuple):
    """A pack: its size in bytes, and the class of storage that it is in."""

    pack: ObjectId
    size: int
    tier: Tier

    @property
    def held(self) -> Held:
        """This one pack."""
        return Held(1, self.size)


class PackClasses:
    """The packs of a repository in a store that has classes. Safe to use from several threads.

    Args:
        part: the repository's part of the store.
        sleep: waits for that many seconds, before what failed for a passing reason is tried again.

    Raises:
        UsageError: the store has no classes.
    """

    def __init__(self, part: Backend, *, sleep: Callable[[float], object] = time.sleep) -> None:
        self._part = part
        self._sleep = sleep
        check_tiers(part)

    def all(self) -> Iterator[PackClass]:
        """List the packs that are there with the classes that they are in."""
        stats = (stat for stat in self._part.scan(PACKS) if _is_pack(stat.key))
        for stat, tier in self.each(stats, lambda stat: self._tier(stat.key)):
            pack = named_by(stat.key)
            if tier is not None and pack is not None:
                yield PackClass(pack, stat.size, tier)

    def tier(self, pack: ObjectId) -> Tier | None:
        """Return the class that a pack is in; None where it is gone."""
        return self._tier(pack_key(pack))

    def move(self, found: PackClass, name: str) -> Tier | None:
        """Move a pack to a class, and ask the store what it has now; None where it is gone.

        Raises:
            StorageError: it is not there as it should be.
            BackendError: the store failed, or has no such class.
        """
        key = pack_key(found.pack)
        try:
            self._patient(lambda: self._tiering(key, lambda tiering, inner: tiering.set_tier(inner, name)))
            size = self._patient(lambda: self._part.stat(key)).size
        except backend_errors.NotFoundError:
            return None
        tier = self._tier(key)
        if tier is not None and (tier.name, size) != (name, found.size):
            raise StorageError(
                f"{self._part.name} was to move {key} to {name}, and has {size} bytes of it in {tier.name}.",
                untouched="Packs that were moved before are as they should be.",
                hint=f"See whether the store has a class {name}; `mediagit-server storage verify` checks the pack.",
            )
        return tier

    def restore(self, pack: ObjectId, *, days: int) -> Tier | None:
        """Ask that an archived pack can be read for so many days; return what the store says of it now."""
        key = pack_key(pack)
        try:
            self._patient(lambda: self._tiering(key, lambda tiering, inner: tiering.restore(inner, days=days)))
        except backend_errors.NotFoundError:
            return None
        return self._tier(key)

    def each(self, items: Iterable[_T], work: Callable[[_T], _R]) -> Generator[tuple[_T, _R]]:
        """Do some work on each item, several at once, and yield the results in order; when this ends, none is under way."""
        pending: deque[tuple[_T, Future[_R]]] = deque()
        with ThreadPoolExecutor(JOBS, "classes") as pool:
            try:
                for item in items:
                    pending.append((item, pool.submit(work, item)))
                    if len(pending) >= 4 * JOBS:
                        done, future = pending.popleft()
                        yield done, future.result()
                while pending:
                    done, future = pending.popleft()
                    yield done, future.result()
            finally:
                for _, future in pending:
                    future.cancel()

    def _tier(self, key: str) -> Tier | None:
        try:
            return self._patient(lambda: self._tiering(key, lambda tiering, inner: tiering.tier(inner)))
        except backend_errors.NotFoundError:
            return None

    def _tiering(self, key: str, call: Callable[[Tiering, str], _R]) -> _R:
        found = tiering_of(self._part, key)
        assert found is not None
        return call(*found)

    def _patient(self, call: Callable[[], _R]) -> _R:
        """Call again what failed for a passing reason: the wrapper that does so for other calls does not see these."""
        for attempt in range(1, ATTEMPTS):
            try:
                return call()
            except _AGAIN:
                self._sleep(BROKEN_PAUSE * 2.0 ** (attempt - 1))
        return call()


def has_tiers(store: Backend) -> bool:
    """Tell whether objects of a store can be in different classes."""
    return tiering_of(store, pack_key(bytes(ID_BYTES))) is not None


def check_tiers(store: Backend) -> None:
    """Make sure that objects of a store can be in different classes.

    Raises:
        UsageError: they cannot.
    """
    if not has_tiers(store):
        raise UsageError(
            f"{store.name} has no tiers: every object there costs the same.",
            untouched="Nothing was moved.",
            hint="S3, Azure and Google Cloud Storage have some.",
        )


def _is_pack(key: str) -> bool:
    pack = named_by(key)
    return pack is not None and pack_key(pack) == key
