"""The Backend contract in its plainest form: a dict under a lock. Keeps nothing beyond the process."""

import itertools
import threading
from collections import Counter
from collections.abc import Iterator

from mediavault_backends.api import (
    Absent,
    Blob,
    Body,
    Buffer,
    Condition,
    FileSource,
    Stat,
    Version,
    blocks_of,
)
from mediavault_backends.errors import NotFoundError, PreconditionFailedError, translate_write_error
from mediavault_backends.keys import check_key, check_prefix

_BLOCK = 1 << 20


class MemoryBackend:
    """Objects in a dict; for tests, and for trying things out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blobs: dict[str, Blob] = {}
        self._folders: Counter[str] = Counter()
        self._versions = itertools.count(1)

    @property
    def name(self) -> str:
        """How messages call this store."""
        return "memory"

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body` whole or not at all, if `when` holds at that instant."""
        check_key(key)
        try:
            data = b"".join(blocks_of(body))
        except OSError as error:
            raise translate_write_error(error, key) from error
        with self._lock:
            self._check_condition(key, when)
            version = Version(str(next(self._versions)))
            if key not in self._blobs:
                self._check_nesting(key)
                self._folders.update(_folders_of(key))
            self._blobs[key] = Blob(data, version)
        if isinstance(body, FileSource) and body.adopt:
            body.path.unlink()
        return version

    def get(self, key: str) -> Blob:
        """Return a whole object."""
        check_key(key)
        with self._lock:
            blob = self._blobs.get(key)
        if blob is None:
            raise NotFoundError(f"no object {key}", key=key)
        return blob

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from offset `start`; fewer only where the object ends."""
        if start < 0 or length < 0:
            raise ValueError(f"not a range: {length} bytes from {start}")
        return self.get(key).data[start : start + length]

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        """Yield a range of an object in blocks of at most 1 MiB; to its end when `length` is None."""
        data = self.get(key).data
        part = self.read(key, start, len(data) if length is None else length)
        return (part[offset : offset + _BLOCK] for offset in range(0, len(part), _BLOCK))

    def stat(self, key: str) -> Stat:
        """Return size and version."""
        blob = self.get(key)
        return Stat(key, len(blob.data), blob.version)

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        """Yield every object whose key starts with `prefix`, keys ascending by code point."""
        check_prefix(prefix)
        with self._lock:
            found = [Stat(key, len(b.data), b.version) for key, b in self._blobs.items() if key.startswith(prefix)]
        found.sort(key=lambda stat: stat.key)
        return iter(found)

    def delete(self, key: str) -> None:
        """Remove the object; a key without an object is no error."""
        check_key(key)
        with self._lock:
            if self._blobs.pop(key, None) is not None:
                self._folders.subtract(_folders_of(key))

    def _check_condition(self, key: str, when: Condition) -> None:
        blob = self._blobs.get(key)
        if isinstance(when, Absent):
            if blob is not None:
                raise PreconditionFailedError(f"{key} exists already", key=key)
        elif blob is None or blob.version != when.version:
            raise PreconditionFailedError(f"{key} has changed", key=key)

    def _check_nesting(self, key: str) -> None:
        if self._folders[key]:
            raise ValueError(f"{key} is a folder of other keys")
        if any(folder in self._blobs for folder in _folders_of(key)):
            raise ValueError(f"{key} is under another object")


def _folders_of(key: str) -> list[str]:
    return [key[:end] for end, char in enumerate(key) if char == "/"]
