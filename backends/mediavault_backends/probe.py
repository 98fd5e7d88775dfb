"""Whether a store keeps conditions on writes; leaves what to do about one that does not to whoever starts.

Several servers take If-Match and If-None-Match and ignore them. Two pushes would then overwrite each other's refs, and
nobody would notice.
"""

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from mediavault_backends.api import Absent, Backend, Condition, Matches
from mediavault_backends.errors import (
    BackendError,
    BackendSetupError,
    NotFoundError,
    PreconditionFailedError,
)

RACERS: Final = 4
FOLDER: Final = "-probe"
"""Where scratch keys are: outside every repository, for no team's name starts with a hyphen."""


def check_conditions(backend: Backend) -> None:
    """Write under a scratch key as a repository would, and remove it again.

    Raises:
        BackendSetupError: the store ignores a condition, or does not hand back what was written.
        BackendError: the store cannot be used now.
    """
    key = f"{FOLDER}/{os.urandom(16).hex()}"
    try:
        _check(backend, key)
    finally:
        with contextlib.suppress(BackendError):
            backend.delete(key)


def check_reading_back(backend: Backend) -> None:
    """Check all that a store needs to do whose refs are kept elsewhere: to hand out, list and remove what it was given.

    Raises:
        BackendSetupError: it does not.
        BackendError: the store cannot be used now.
    """
    key = f"{FOLDER}/{os.urandom(16).hex()}"
    try:
        version = backend.put(key, b"first", when=Absent())
        found = backend.get(key)
        if (found.data, found.version) != (b"first", version) or backend.read(key, 1, 2) != b"ir":
            raise _unusable(backend, "does not hand back what was written last")
        if [stat.key for stat in backend.scan(key)] != [key]:
            raise _unusable(backend, "does not list what was written")
        backend.delete(key)
        _expect_nothing(backend, key)
    finally:
        with contextlib.suppress(BackendError):
            backend.delete(key)


def _check(backend: Backend, key: str) -> None:
    first = backend.put(key, b"first", when=Absent())
    _expect_refusal(backend, key, Absent(), "writes an object although one is there (If-None-Match)")
    second = backend.put(key, b"second", when=Matches(first))
    _expect_refusal(backend, key, Matches(first), "replaces an object although it has changed (If-Match)")
    found = backend.get(key)
    if found.data != b"second" or found.version != second:
        raise _unusable(backend, "does not hand back what was written last")
    _expect_one_winner(backend, key, Matches(second))
    backend.delete(key)
    _expect_nothing(backend, key)
    _expect_refusal(backend, key, Matches(second), "replaces an object that is not there (If-Match)")


def _expect_nothing(backend: Backend, key: str) -> None:
    with contextlib.suppress(NotFoundError):
        backend.get(key)
        raise _unusable(backend, "still hands out an object that was deleted")


def _expect_refusal(backend: Backend, key: str, when: Condition, fault: str) -> None:
    with contextlib.suppress(PreconditionFailedError):
        backend.put(key, b"refused", when=when)
        raise _unusable(backend, fault)


def _expect_one_winner(backend: Backend, key: str, when: Condition) -> None:
    def write(number: int) -> bool:
        try:
            backend.put(key, b"racer %d" % number, when=when)
        except PreconditionFailedError:
            return False
        return True

    with ThreadPoolExecutor(RACERS) as pool:
        winners = sum(pool.map(write, range(RACERS)))
    if winners != 1:
        raise _unusable(backend, f"lets {winners} of {RACERS} writers win that race for one object")


def _unusable(backend: Backend, fault: str) -> BackendSetupError:
    return BackendSetupError(
        f"{backend.name} {fault}. Refs would be lost there: use a store that keeps conditions on writes, such as"
        " AWS S3, MinIO, Azure Blob Storage or Google Cloud Storage, update this one, or let a server keep them in a database:"
        ' [storage] refs = "sql", see docs/backends.md'
    )
