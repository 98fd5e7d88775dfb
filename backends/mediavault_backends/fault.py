"""A backend that fails on purpose, and remembers what it was asked; for tests of those who use backends."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mediavault_backends.api import Backend, Blob, Body, Buffer, Condition, Stat, Version
from mediavault_backends.errors import BackendError, OutcomeUnknownError

Method: TypeAlias = Literal["put", "get", "read", "stream", "stat", "scan", "delete"]


@dataclass(frozen=True, slots=True)
class Call:
    """A call that reached the backend; `key` is the prefix of a scan."""

    method: Method
    key: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a backend fails: at the `nth` call (from 1) of `method` whose key starts with `prefix`.

    Args:
        method: the method that fails.
        nth: which of the matching calls.
        error: what it raises.
        prefix: which keys count.
        lands: whether the call takes effect before it fails, as when a reply is lost.
    """

    method: Method
    nth: int = 1
    error: type[BackendError] = OutcomeUnknownError
    prefix: str = ""
    lands: bool = False

    def __post_init__(self) -> None:
        if self.lands and not issubclass(self.error, OutcomeUnknownError):
            raise ValueError(f"{self.error.__name__} says that nothing changed: the call must not land")


class FaultBackend:
    """Another backend with planned faults.

    Args:
        inner: does the work.
        plan: the faults; each happens once.
    """

    def __init__(self, inner: Backend, plan: Iterable[Fault] = ()) -> None:
        self._inner = inner
        self._plan = tuple(plan)
        self._lock = threading.Lock()
        self._calls: list[Call] = []

    @property
    def name(self) -> str:
        """How messages call this store."""
        return f"faulty {self._inner.name}"

    @property
    def calls(self) -> tuple[Call, ...]:
        """All calls so far, in order."""
        with self._lock:
            return tuple(self._calls)

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body` whole or not at all, if `when` holds at that instant."""
        with self._call("put", key):
            return self._inner.put(key, body, when=when)

    def get(self, key: str) -> Blob:
        """Return a whole object."""
        with self._call("get", key):
            return self._inner.get(key)

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from offset `start`; fewer only where the object ends."""
        with self._call("read", key):
            return self._inner.read(key, start, length)

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        """Yield a range of an object in blocks of at most 1 MiB; to its end when `length` is None."""
        with self._call("stream", key):
            return self._inner.stream(key, start=start, length=length)

    def stat(self, key: str) -> Stat:
        """Return size and version."""
        with self._call("stat", key):
            return self._inner.stat(key)

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        """Yield every object whose key starts with `prefix`, keys ascending by code point."""
        with self._call("scan", prefix):
            return self._inner.scan(prefix)

    def delete(self, key: str) -> None:
        """Remove the object durably; a key without an object is no error."""
        with self._call("delete", key):
            self._inner.delete(key)

    @contextmanager
    def _call(self, method: Method, key: str) -> Iterator[None]:
        fault = self._record(Call(method, key))
        if fault is not None and not fault.lands:
            raise fault.error(f"planned fault of {method} {key}", key=key)
        yield
        if fault is not None:
            raise fault.error(f"planned fault after {method} {key}", key=key)

    def _record(self, call: Call) -> Fault | None:
        with self._lock:
            self._calls.append(call)
            for fault in self._plan:
                matching = [c for c in self._calls if c.method == fault.method and c.key.startswith(fault.prefix)]
                if len(matching) == fault.nth and matching[-1] is call:
                    return fault
        return None
