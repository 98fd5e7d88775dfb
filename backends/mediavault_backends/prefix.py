"""A part of a backend as a backend of its own: every key under one prefix. Leaves all storing, and checking keys, to the inner one."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from mediavault_backends import fsio
from mediavault_backends.api import Backend, Blob, Body, Buffer, Condition, Mappable, Spooling, Stat, Version
from mediavault_backends.errors import BackendError
from mediavault_backends.keys import check_prefix


def prefixed(backend: Backend, prefix: str) -> Backend:
    """Return the part of `backend` under `prefix`, with the capabilities that `backend` has.

    Args:
        backend: holds the objects.
        prefix: whole segments with a "/" at the end, such as `team/project/`.

    Raises:
        ValueError: no key can start with this prefix.
    """
    if isinstance(backend, Mappable) and isinstance(backend, Spooling):
        return _FilesPrefixBackend(backend, prefix)
    return PrefixBackend(backend, prefix)


class PrefixBackend:
    """The objects of another backend whose keys start with a prefix, under the rest of their keys."""

    def __init__(self, inner: Backend, prefix: str) -> None:
        if not prefix.endswith("/"):
            raise ValueError(f"a prefix ends with a slash: {prefix!r}")
        check_prefix(prefix)
        self._inner = inner
        self._prefix = prefix

    @property
    def name(self) -> str:
        """How messages call this store."""
        return f"{self._inner.name}, {self._prefix[:-1]}"

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body` whole or not at all, if `when` holds at that instant."""
        with self._inner_key(key) as inner_key:
            return self._inner.put(inner_key, body, when=when)

    def get(self, key: str) -> Blob:
        """Return a whole object."""
        with self._inner_key(key) as inner_key:
            return self._inner.get(inner_key)

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from offset `start`; fewer only where the object ends."""
        with self._inner_key(key) as inner_key:
            return self._inner.read(inner_key, start, length)

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        """Yield a range of an object in blocks of at most 1 MiB; to its end when `length` is None."""
        with self._inner_key(key) as inner_key:
            return self._inner.stream(inner_key, start=start, length=length)

    def stat(self, key: str) -> Stat:
        """Return size and version."""
        with self._inner_key(key) as inner_key:
            found = self._inner.stat(inner_key)
        return Stat(key, found.size, found.version)

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        """Yield every object whose key starts with `prefix`, keys ascending by code point."""
        cut = len(self._prefix)
        found = self._inner.scan(self._prefix + prefix)
        return (Stat(stat.key[cut:], stat.size, stat.version) for stat in found)

    def delete(self, key: str) -> None:
        """Remove the object durably; a key without an object is no error."""
        with self._inner_key(key) as inner_key:
            self._inner.delete(inner_key)

    def below(self, key: str) -> tuple[Backend, str]:
        """Return the backend around which this one stands, and what it calls the key."""
        return self._inner, self._prefix + key

    @contextmanager
    def _inner_key(self, key: str) -> Iterator[str]:
        """Give the key that the inner backend knows, and turn its errors back to the caller's key."""
        try:
            yield self._prefix + key
        except BackendError as error:
            error.key = key
            raise


class _Files(Backend, Mappable, Spooling, Protocol):
    """A backend whose objects are files."""


class _FilesPrefixBackend(PrefixBackend):
    """Part of such a backend, with its capabilities."""

    def __init__(self, inner: _Files, prefix: str) -> None:
        super().__init__(inner, prefix)
        self._files = inner

    @property
    def spool_folder(self) -> Path:
        """A private folder on the same file system as the objects; other prefixes have others."""
        folder = self._files.spool_folder / self._prefix
        with suppress(OSError):  # as for the whole: opening a spool tells
            fsio.make_folders(folder)
        return folder

    def map(self, key: str) -> memoryview:
        """Return the whole object as read-only memory, valid until it is garbage collected."""
        with self._inner_key(key) as inner_key:
            return self._files.map(inner_key)
