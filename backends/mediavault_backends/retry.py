"""Trying again where a store failed for a passing reason; the only place that does. Leaves telling reasons apart to the adapters.

A put whose answer was lost is looked up before it is repeated: what is under the key then is either the caller's body (the
put succeeded) or something else. A put that may have landed is never reported as refused without looking.
"""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Final, TypeVar

from blake3 import blake3

from mediavault_backends.api import Absent, Backend, Blob, Body, Buffer, Condition, Stat, Version, blocks_of
from mediavault_backends.bodies import give_up_adopted, size_of
from mediavault_backends.errors import (
    NotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    TransientError,
)

BASE: Final = 0.2
"""Seconds around which the first pause lies; each further one is twice as long."""
LONGEST: Final = 20.0
"""Seconds; no pause is longer."""

_T = TypeVar("_T")


def retrying(backend: Backend, attempts: int, sleep: Callable[[float], object], random: Callable[[], float]) -> Backend:
    """Return `backend`, each call tried up to `attempts` times.

    Args:
        backend: does each call once.
        attempts: 1 or more.
        sleep: waits for that many seconds.
        random: from 0 up to 1; spreads callers that failed together.
    """
    return RetryingBackend(backend, attempts, sleep, random)


class RetryingBackend:
    """Another backend that is asked again after a TransientError, with pauses that grow.

    A listing that breaks off goes on behind the last key. A stream is retried until it has begun; what breaks off later is
    the caller's to ask for again, for it may be of another version by then.
    """

    def __init__(
        self, inner: Backend, attempts: int, sleep: Callable[[float], object], random: Callable[[], float]
    ) -> None:
        if attempts < 1:
            raise ValueError(f"not a number of attempts: {attempts}")
        self._inner = inner
        self._attempts = attempts
        self._sleep = sleep
        self._random = random

    @property
    def name(self) -> str:
        """How messages call this store."""
        return self._inner.name

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body` whole or not at all, if `when` holds at that instant."""
        version = self._put(key, body, when)
        give_up_adopted(body)
        return version

    def _put(self, key: str, body: Body, when: Condition) -> Version:
        uncertain = False  # an earlier attempt may have landed, or may land yet
        for attempt in count(1):
            try:
                return self._put_again(key, body, when) if uncertain else self._inner.put(key, body, when=when)
            except (OutcomeUnknownError, TransientError) as error:
                uncertain = uncertain or isinstance(error, OutcomeUnknownError)
                if attempt >= self._attempts:
                    if not uncertain:
                        raise
                    return self._last_look(key, body, when)
            self._pause(attempt)
        raise AssertionError

    def _put_again(self, key: str, body: Body, when: Condition) -> Version:
        """Put what may have landed already."""
        version = self._landed(key, body, when)
        if version is not None:
            return version
        try:
            return self._inner.put(key, body, when=when)
        except PreconditionFailedError:
            # It may be refused because the attempt before it landed after all.
            version = self._landed(key, body, when)
            if version is None:
                raise
            return version

    def get(self, key: str) -> Blob:
        """Return a whole object."""
        return self._retry(lambda: self._inner.get(key))

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from offset `start`; fewer only where the object ends."""
        return self._retry(lambda: self._inner.read(key, start, length))

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        """Yield a range of an object in blocks of at most 1 MiB; to its end when `length` is None."""
        return self._retry(lambda: self._inner.stream(key, start=start, length=length))

    def stat(self, key: str) -> Stat:
        """Return size and version."""
        return self._retry(lambda: self._inner.stat(key))

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        """Yield every object whose key starts with `prefix`, keys ascending by code point."""
        return self._resumed(self._inner.scan(prefix), prefix)

    def delete(self, key: str) -> None:
        """Remove the object durably; a key without an object is no error."""
        for attempt in count(1):
            try:
                self._inner.delete(key)
            except (TransientError, OutcomeUnknownError):
                if attempt >= self._attempts:
                    raise
                self._pause(attempt)
            else:
                return

    def below(self, key: str) -> tuple[Backend, str]:
        """Return the backend around which this one stands, and what it calls the key."""
        return self._inner, key

    def _retry(self, call: Callable[[], _T]) -> _T:
        for attempt in count(1):
            try:
                return call()
            except TransientError:
                if attempt >= self._attempts:
                    raise
            self._pause(attempt)
        raise AssertionError

    def _resumed(self, found: Iterator[Stat], prefix: str) -> Iterator[Stat]:
        last = ""
        attempt = 0
        while True:
            try:
                for stat in found:
                    if stat.key > last:
                        last, attempt = stat.key, 0
                        yield stat
            except TransientError:
                attempt += 1
                if attempt >= self._attempts:
                    raise
                self._pause(attempt)
                found = self._inner.scan(prefix)
            else:
                return

    def _pause(self, attempt: int) -> None:
        self._sleep(min(BASE * 2.0 ** (attempt - 1), LONGEST) * (0.5 + self._random()))

    def _last_look(self, key: str, body: Body, when: Condition) -> Version:
        version = self._landed(key, body, when)
        if version is None:
            raise OutcomeUnknownError(f"the answers for {key} were lost", key=key)
        return version

    def _landed(self, key: str, body: Body, when: Condition) -> Version | None:
        """Look at what became of a put whose answer was lost.

        Returns:
            The version of the caller's own body, or None when the key is as it was before.

        Raises:
            PreconditionFailedError: the key holds something else.
            OutcomeUnknownError: the key cannot be read now.
        """
        try:
            found = self._retry(lambda: self._inner.stat(key))
            if not isinstance(when, Absent) and found.version == when.version:
                return None
            if found.size == size_of(body) and self._retry(lambda: self._same(key, body)):
                return found.version
        except NotFoundError:
            if isinstance(when, Absent):
                return None
        except TransientError as error:
            raise OutcomeUnknownError(str(error), key=key) from error
        raise PreconditionFailedError(f"the condition for {key} does not hold", key=key)

    def _same(self, key: str, body: Body) -> bool:
        return _digest(self._inner.stream(key)) == _digest(blocks_of(body))


def _digest(blocks: Iterator[Buffer]) -> bytes:
    digest = blake3()
    for block in blocks:
        digest.update(block)
    return digest.digest()
