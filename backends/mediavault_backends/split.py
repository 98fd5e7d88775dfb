"""Two stores as one by kind of key: what names its content in a bucket, all that changes in a database; docs/adr/0014-refs-in-sql.md.

The bucket may ignore conditions on writes. Nothing is lost by that: whoever writes a key there writes the same bytes, and
each is read back.
"""

import contextlib
import heapq
import os
from collections.abc import Iterator
from operator import attrgetter
from typing import Final

from mediavault_backends.api import Absent, Backend, Blob, Body, Buffer, Condition, Stat, Version, blocks_of
from mediavault_backends.bodies import BLOCK, size_of
from mediavault_backends.errors import (
    BackendSetupError,
    NotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    TransientError,
)
from mediavault_backends.keys import SERVER_MARK
from mediavault_backends.kinds import names_content
from mediavault_backends.probe import FOLDER, check_conditions, check_reading_back

BINDING: Final = "-store"
"""Under this key the database holds a random name, and under it in a folder of that name the bucket does."""


class SplitBackend:
    """A bucket for what never changes, and a database for the rest. Safe to use from several threads.

    Conditions are exact in the database. In the bucket a key that is there is not written again; of two that create one at the
    same instant both may be told that they did.
    """

    def __init__(self, bucket: Backend, database: Backend) -> None:
        self.bucket = bucket
        self.database = database

    @property
    def name(self) -> str:
        """How messages call this store."""
        return f"{self.bucket.name} with refs in {self.database.name}"

    def make_ready(self) -> None:
        """Check that both do what is needed, and belong together; a new pair is bound to each other.

        Raises:
            BackendSetupError: they do not; nothing was changed.
            BackendError: one cannot be asked.
        """
        check_reading_back(self.bucket)
        check_conditions(self.database)
        self._bind()

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body` whole or not at all, if `when` holds at that instant."""
        if not in_bucket(key):
            return self.database.put(key, body, when=when)
        if not isinstance(when, Absent):
            return self.bucket.put(key, body, when=when)
        if self._has(key):
            raise PreconditionFailedError(f"{key} is there already", key=key)
        size = size_of(body)
        small = b"".join(bytes(block) for block in blocks_of(body)) if size <= BLOCK else None
        version = self.bucket.put(key, body, when=when)
        self._read_back(key, size, small)
        return version

    def get(self, key: str) -> Blob:
        """Return a whole object."""
        return self._of(key).get(key)

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from offset `start`; fewer only where the object ends."""
        return self._of(key).read(key, start, length)

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        """Yield a range of an object in blocks of at most 1 MiB; to its end when `length` is None."""
        return self._of(key).stream(key, start=start, length=length)

    def stat(self, key: str) -> Stat:
        """Return size and version. The server's mark is there only where both stores are, and belong together."""
        found = self._of(key).stat(key)
        if key == SERVER_MARK:
            self.bucket.stat(_bound(self.database.get(BINDING).data))
        return found

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        """Yield every object whose key starts with `prefix`, keys ascending by code point."""
        # Both are asked now, so that a wrong prefix is refused at the call.
        kept, changing = self.bucket.scan(prefix), self.database.scan(prefix)
        mine = (stat for stat in kept if in_bucket(stat.key))
        return heapq.merge(mine, (stat for stat in changing if stat.key != BINDING), key=attrgetter("key"))

    def delete(self, key: str) -> None:
        """Remove the object durably; a key without an object is no error."""
        self._of(key).delete(key)

    def below(self, key: str) -> tuple[Backend, str]:
        """Return the store that holds a key, and what it calls the key."""
        return self._of(key), key

    def _of(self, key: str) -> Backend:
        return self.bucket if in_bucket(key) else self.database

    def _has(self, key: str) -> bool:
        try:
            self.bucket.stat(key)
        except NotFoundError:
            return False
        return True

    def _read_back(self, key: str, size: int, small: bytes | None) -> None:
        """Check what a put left: all bytes of a small object, the length of a large one.

        Raises:
            OutcomeUnknownError: something else is there.
        """
        try:
            same = self.bucket.stat(key).size == size if small is None else self.bucket.get(key).data == small
        except (NotFoundError, TransientError) as error:
            raise OutcomeUnknownError(f"{key} cannot be read back: {error}", key=key) from error
        if not same:
            raise OutcomeUnknownError(f"{key} does not hold what was put there", key=key)

    def _bind(self) -> None:
        """Make sure that this database belongs to this bucket: another one would show no refs, or those of other packs."""
        there = next((stat.key for stat in self.bucket.scan(f"{BINDING}/")), None)
        if there is None:
            self._refuse_refs_in_bucket()
        try:
            bound = _bound(self.database.get(BINDING).data)
        except NotFoundError:
            bound = None
        if bound is None and there is None:
            bound = self._new_bound()
        if bound is None:
            raise BackendSetupError(
                f"{self.bucket.name} keeps its refs in another database than {self.database.name}, which is empty:"
                " correct storage.sql.url, or bring that database back from its backup"
            )
        if there is None:
            self._refuse_other_bucket()
            with contextlib.suppress(PreconditionFailedError):
                self.bucket.put(bound, b"", when=Absent())
        elif there != bound:
            raise BackendSetupError(f"{self.database.name} belongs to another store than {self.bucket.name}")

    def _new_bound(self) -> str:
        """Put a new name for the pair into the database; where another process was first, its name counts."""
        with contextlib.suppress(PreconditionFailedError):
            self.database.put(BINDING, os.urandom(16).hex().encode(), when=Absent())
        return _bound(self.database.get(BINDING).data)

    def _refuse_other_bucket(self) -> None:
        """Refuse a bucket without a name where the database has refs already: it is another one, or was emptied."""
        if any(stat.key != BINDING and not stat.key.startswith(f"{FOLDER}/") for stat in self.database.scan()):
            raise BackendSetupError(
                f"{self.database.name} belongs to another store than {self.bucket.name}, or that was emptied"
            )

    def _refuse_refs_in_bucket(self) -> None:
        for stat in self.bucket.scan():
            if not in_bucket(stat.key) and not stat.key.startswith(f"{FOLDER}/"):
                raise BackendSetupError(
                    f"{self.bucket.name} holds refs itself ({stat.key}), and the database is empty: copy it to another place with"
                    ' `mediagit-server storage copy`, whose destination has refs = "sql"'
                )


def in_bucket(key: str) -> bool:
    """Tell whether a key is kept in the bucket: it names its content, or is the server's mark, always of the same bytes."""
    return key == SERVER_MARK or names_content(key)


def _bound(name: bytes) -> str:
    return f"{BINDING}/{name.decode('ascii')}"
