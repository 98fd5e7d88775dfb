"""Making one key of two stores equal, and finding where they differ; leaves when to do so, and who may, to `multi`.

Nothing here locks: the caller keeps others from copying the same key. Writers at the first store go on meanwhile, so what was
copied is looked at again afterwards.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from blake3 import blake3

from mediavault_backends.api import Absent, Backend, Body, Buffer, Matches, Stat, blocks_of
from mediavault_backends.errors import NotFoundError, PreconditionFailedError, TransientError
from mediavault_backends.kinds import is_immutable, names_content

_ROUNDS: Final = 8
"""How often a key is copied that changes while it is."""
_SMALL: Final = 1 << 20
"""Largest object that is held in memory while it is copied, in bytes."""


class Seen(NamedTuple):
    """What stood under a key; None is nothing."""

    stat: Stat | None


def level(
    primary: Backend,
    secondary: Backend,
    key: str,
    *,
    deleted: bool = False,
    seen: Seen | None = None,
    may: Callable[[], bool] = lambda: True,
) -> bool:
    """Make the secondary's object equal to the primary's.

    The secondary is looked at first and changed only if it is still like that, then the primary is looked at again: so the
    last of several that do this at once leaves what the primary holds.

    Args:
        primary: decides.
        secondary: is changed.
        key: which.
        deleted: whether an object that the primary lacks was deleted there. If not, it was lost, and stays at the secondary.
        seen: what stood at the secondary before the primary was changed by the caller: then it is not looked at or
            compared first.
        may: asked when it is known what would be copied; False leaves everything as it is.

    Returns:
        whether they are equal now.

    Raises:
        BackendError: a store failed; or the key changed too often.
        ValueError: the secondary cannot hold this key.
    """
    for _ in range(_ROUNDS):
        former, seen = seen, None
        there = stat_of(secondary, key) if former is None else former.stat
        here, body = _look(primary, key)
        if here is None:
            if there is None or not deleted:
                return True
            if not may():
                return False
            secondary.delete(key)
            continue
        if (former is None or names_content(key)) and there is not None and _is_same(secondary, there, here, body):
            return True
        if not may():
            return False
        copied = _replace(primary, secondary, here, body, there)
        now = stat_of(primary, key)
        if copied and now is not None and now.version == here.version:
            return True
        # What was copied from the primary a moment ago and is no longer there was deleted there.
        deleted = deleted or now is None
    raise TransientError(f"{key} changes faster than it can be copied", key=key)


def restore(primary: Backend, secondary: Backend, key: str) -> int | None:
    """Give the primary an object that it lost.

    Returns:
        its size in bytes; None where the secondary lacks it too.
    """
    there = stat_of(secondary, key)
    if there is None:
        return None
    try:
        primary.put(key, StoredObject(secondary, key, there.size), when=Absent())
    except PreconditionFailedError:
        pass
    except NotFoundError:
        return None
    return there.size


def same_bytes(first: Backend, second: Backend, key: str) -> bool:
    """Read an object from both stores and compare.

    Raises:
        NotFoundError: one lacks it.
    """
    return _digest(first.stream(key)) == _digest(second.stream(key))


def stat_of(store: Backend, key: str) -> Stat | None:
    """Return what a store tells of an object; None where there is none."""
    try:
        return store.stat(key)
    except NotFoundError:
        return None


def merged(first: Iterator[Stat], second: Iterator[Stat]) -> Iterator[tuple[Stat | None, Stat | None]]:
    """Join two listings by key, ascending."""
    left, right = next(first, None), next(second, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left.key < right.key):
            yield left, None
            left = next(first, None)
        elif left is None or right.key < left.key:
            yield None, right
            right = next(second, None)
        else:
            yield left, right
            left, right = next(first, None), next(second, None)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of a store as a body for another one."""

    store: Backend
    key: str
    size: int

    def blocks(self) -> Iterator[Buffer]:
        """Yield the bytes in order, from the start at every call."""
        return self.store.stream(self.key)


def _look(store: Backend, key: str) -> tuple[Stat | None, Body]:
    """Return what is under a key, and a body of it: the very bytes of a small object that may change."""
    found = stat_of(store, key)
    if found is None:
        return None, b""
    if found.size > _SMALL or is_immutable(key):
        return found, StoredObject(store, key, found.size)
    try:
        blob = store.get(key)
    except NotFoundError:
        return None, b""
    return Stat(key, len(blob.data), blob.version), blob.data


def _is_same(secondary: Backend, there: Stat, here: Stat, body: Body) -> bool:
    if there.size != here.size:
        return False
    if names_content(here.key):
        return True
    try:
        return _digest(secondary.stream(here.key)) == _digest(blocks_of(body))
    except NotFoundError:
        return False


def _replace(primary: Backend, secondary: Backend, here: Stat, body: Body, there: Stat | None) -> bool:
    """Copy an object; return False where it changed at either store meanwhile."""
    try:
        secondary.put(here.key, body, when=Absent() if there is None else Matches(there.version))
    except (PreconditionFailedError, NotFoundError):
        return False
    except ValueError:
        now = stat_of(primary, here.key)
        if now is not None and now.size == here.size:
            raise  # it is not that the object became longer or shorter while it was read
        return False
    return True


def _digest(blocks: Iterator[Buffer]) -> bytes:
    digest = blake3()
    for block in blocks:
        digest.update(block)
    return digest.digest()
