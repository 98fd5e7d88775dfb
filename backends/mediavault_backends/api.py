"""The contract every store of bytes fulfils: keys, conditions, bodies and the Backend protocol."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, NewType, Protocol, TypeAlias, runtime_checkable

Buffer: TypeAlias = bytes | bytearray | memoryview
Version = NewType("Version", str)
"""An opaque token that changes whenever the object under a key does."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Write only if the key has no object."""


@dataclass(frozen=True, slots=True)
class Matches:
    """Write only if the key's object still has this version."""

    version: Version


Condition: TypeAlias = Absent | Matches


class Source(Protocol):
    """A body that is too large to hold: `size` bytes that can be read more than once."""

    @property
    def size(self) -> int:
        """The exact number of bytes that `blocks` yields."""

    def blocks(self) -> Iterator[Buffer]:
        """Yield the bytes in order, from the start at every call."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """A finished file as a body.

    With `adopt`, the backend may take the file itself instead of a copy; afterwards the path no longer exists.
    The caller has not synced it: durability is the backend's duty.
    """

    path: Path
    size: int
    adopt: bool = False

    def blocks(self) -> Iterator[Buffer]:
        """Yield the file in blocks of 1 MiB."""
        with self.path.open("rb", buffering=0) as file:
            while block := file.read(1 << 20):
                yield block


Body: TypeAlias = Buffer | Source


def blocks_of(body: Body) -> Iterator[Buffer]:
    """Yield a body's bytes in order.

    Raises:
        ValueError: a Source yields more or fewer bytes than its size says.
    """
    if isinstance(body, bytes | bytearray | memoryview):
        yield body
        return
    left = body.size
    for block in body.blocks():
        left -= memoryview(block).nbytes
        if left < 0:
            break
        yield block
    if left:
        raise ValueError(f"the body has {'more' if left < 0 else 'fewer'} than the {body.size} bytes it declares")


@dataclass(frozen=True, slots=True)
class Stat:
    """What a listing tells of an object: its key, its size in bytes, its version."""

    key: str
    size: int
    version: Version


@dataclass(frozen=True, slots=True)
class Blob:
    """An object's bytes together with the version they belong to."""

    data: bytes
    version: Version


class Backend(Protocol):
    """A flat, strongly consistent map from keys to immutable byte strings.

    Safe to call from several threads. There is no unconditional write: a caller always says which state it
    believes it replaces. Keys follow the grammar of `mediavault_backends.keys`; another key raises ValueError
    before anything is touched. All methods raise only errors of the BackendError tree.
    """

    @property
    def name(self) -> str:
        """How messages call this store; never contains a secret."""

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body` whole or not at all, if `when` holds at that instant.

        Once this returns, the object survives a crash of the service and every later `get` and `scan` sees it.
        What a Source raises passes through unchanged after cleaning up, but for OSError, which is translated like
        the backend's own. A FileSource to adopt is gone after success, and still there after an error that says
        that nothing changed.

        Raises:
            ValueError: a Source is not as long as it says, or, where objects are files, the key is a folder of other
                keys or under another object; nothing changed. A bucket takes such keys: nobody may rely on either.
            PreconditionFailedError: `when` did not hold; nothing changed.
            OutcomeUnknownError: the reply was lost. Read again before deciding.
        """

    def get(self, key: str) -> Blob:
        """Return a whole object; for small ones (refs, indexes, config).

        Raises:
            NotFoundError: the key has no object.
        """

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from offset `start`; fewer only where the object ends.

        Raises:
            NotFoundError: the key has no object.
        """

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        """Yield a range of an object in blocks of at most 1 MiB; to its end when `length` is None.

        Raises:
            NotFoundError: the key has no object (raised at the call, not at the first block).
        """

    def stat(self, key: str) -> Stat:
        """Return size and version.

        Raises:
            NotFoundError: the key has no object.
        """

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        """Yield every object whose key starts with `prefix`, keys ascending by code point."""

    def delete(self, key: str) -> None:
        """Remove the object durably; a key without an object is no error."""


@runtime_checkable
class Mappable(Protocol):
    """A backend whose objects can be mapped into memory instead of read."""

    def map(self, key: str) -> memoryview:
        """Return the whole object as read-only memory, valid until it is garbage collected."""


@runtime_checkable
class Spooling(Protocol):
    """A backend that can adopt files written in its own scratch folder without copying them."""

    @property
    def spool_folder(self) -> Path:
        """A private folder on the same file system as the objects; never listed by `scan`."""


class Lag(NamedTuple):
    """How far a second store is behind: objects, the age in seconds of the oldest change that it lacks.

    Until it is `filled`, it also lacks an unknown number of objects that the first store held before. `answers` tells whether
    it can be asked at all.
    """

    pending: int
    oldest_seconds: float
    filled: bool = True
    answers: bool = True


@runtime_checkable
class Replicating(Protocol):
    """A backend that keeps a second store equal to its first."""

    def lag(self) -> Lag:
        """Return how far the second store is behind.

        Raises:
            BackendError: it is not known.
        """

    def close(self) -> None:
        """Stop copying; what is left is copied by the next process. No call may be under way; later ones start it again."""


@runtime_checkable
class Wrapping(Protocol):
    """A backend that stands around another one, and lets what that one can do beyond the contract be reached."""

    def below(self, key: str) -> tuple[Backend, str]:
        """Return the backend around which this one stands, and what it calls the key."""


class SignedRequest(NamedTuple):
    """One HTTP request that somebody without credentials may make until it expires; the URL is a secret until then.

    `headers` are to be sent as they are: they are part of what was signed. `method` is GET or PUT.
    """

    method: str
    url: str
    headers: Mapping[str, str]


@runtime_checkable
class Signing(Protocol):
    """A backend that can let others read or write one object of it for a while, without its credentials."""

    def sign_get(self, key: str, *, seconds: int) -> SignedRequest | None:
        """Return a request that reads the object or a range of it; None where these credentials cannot sign.

        Nothing is asked of the store: whether the object is there is found by whoever makes the request.
        """

    def sign_put(self, key: str, *, size: int, sha256: bytes, seconds: int) -> SignedRequest | None:
        """Return a request that creates the object; None where these credentials cannot sign.

        It replaces nothing where the store can be told so, and takes no other body where the store can bind
        `size` (bytes) and `sha256` (32 bytes).
        """


@runtime_checkable
class Copying(Protocol):
    """A backend that can copy an object of its own without the bytes passing through here."""

    def copy(self, source: str, target: str, *, version: Version) -> None:
        """Copy an object if it still is of this version. What is at `target` is replaced.

        Raises:
            NotFoundError: there is no object at `source`.
            PreconditionFailedError: it is of another version; nothing changed.
        """


class Tier(NamedTuple):
    """Which class of storage an object is in, by the provider's own name, and whether it can be read there now.

    `restoring`: it cannot be read yet, and was asked for.
    """

    name: str
    readable: bool = True
    restoring: bool = False


@runtime_checkable
class Tiering(Protocol):
    """A backend whose objects can be kept in cheaper and dearer classes of storage."""

    def tier(self, key: str) -> Tier:
        """Return the class that an object is in.

        Raises:
            NotFoundError: the key has no object.
        """

    def set_tier(self, key: str, name: str) -> None:
        """Move an object to a class. Its bytes stay the same; its version may change.

        Raises:
            NotFoundError: the key has no object.
            BackendSetupError: the store has no such class.
        """

    def restore(self, key: str, *, days: int) -> None:
        """Ask that an archived object can be read for so many days; asking twice is no error.

        Raises:
            NotFoundError: the key has no object.
        """


def signing_of(backend: Backend, key: str) -> tuple[Signing, str] | None:
    """Return what can sign requests for an object, and what it calls the key; None where nothing can."""
    while not isinstance(backend, Signing):
        if not isinstance(backend, Wrapping):
            return None
        backend, key = backend.below(key)
    return backend, key


def copying_of(backend: Backend, source: str, target: str) -> tuple[Copying, str, str] | None:
    """Return what can copy an object within the store, and what it calls both keys; None where nothing can."""
    while not isinstance(backend, Copying):
        if not isinstance(backend, Wrapping):
            return None
        _, target = backend.below(target)
        backend, source = backend.below(source)
    return backend, source, target


def tiering_of(backend: Backend, key: str) -> tuple[Tiering, str] | None:
    """Return what can move an object between classes, and what it calls the key; None where nothing can."""
    while not isinstance(backend, Tiering):
        if not isinstance(backend, Wrapping):
            return None
        backend, key = backend.below(key)
    return backend, key
