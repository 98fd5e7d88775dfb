"""Knows how ref values lie in a Backend: their keys, their random tail, their log. Needs no key and judges no value.

Every write carries 16 fresh random bytes, so that a version never comes back when a value does (a collector renews
them too). So a conditional put that fails while the value is unchanged is repeated here, from the check of what the
new value relies on.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mediavault.errors import FormatError, IntegrityError, RefMovedError, StorageError
from mediavault.formats.ref import (
    REF_NONCE_BYTES,
    decode_ref_value,
    encode_ref_blob,
    encode_ref_value,
    placeholder_value,
    split_ref_blob,
    value_hash,
)
from mediavault_backends.api import Absent, Backend, Blob, Matches, Version
from mediavault_backends.confirm import confirm
from mediavault_backends.errors import NotFoundError, OutcomeUnknownError, PreconditionFailedError
from mediavault_backends.keys import decode_segment, encode_segment

REFS: Final = "refs/"
LOGS: Final = "logs/refs/"
_ATTEMPTS: Final = 16


@dataclass(frozen=True, slots=True)
class RefBlob:
    """What a store holds under a ref's name; the value is not parsed."""

    name: str
    value_bytes: bytes
    version: Version

    @property
    def hash(self) -> bytes:
        """BLAKE3 of the value with its MAC."""
        return value_hash(self.value_bytes)


def ref_key(name: str) -> str:
    """Return the key of a ref."""
    return REFS + encode_segment(name)


def log_key(name: str, value_bytes: bytes) -> str:
    """Return the key under which a former value is kept."""
    seq = decode_ref_value(value_bytes).seq
    return f"{LOGS}{encode_segment(name)}/{seq}-{value_hash(value_bytes).hex()[:16]}"


def placeholder(repository: bytes, name: str) -> bytes:
    """Return the value that a new ref starts with: nil, seq 0, the same whoever makes it."""
    return encode_ref_value(placeholder_value(repository, name))


def read_blob(backend: Backend, name: str) -> RefBlob | None:
    """Return what the store holds for a name; None when there is nothing.

    Raises:
        IntegrityError: the blob is too short or too long to be a ref.
    """
    try:
        return _split(name, backend.get(ref_key(name)))
    except NotFoundError:
        return None


def list_blobs(backend: Backend, prefix: str = "", known: Mapping[str, RefBlob] | None = None) -> list[RefBlob]:
    """Return all refs whose name starts with `prefix`, sorted by key, deleted ones (nil) and placeholders too.

    Args:
        backend: the store.
        prefix: for example "heads/".
        known: refs seen before, by name; those whose version is unchanged are not read again.
    """
    return list(_blobs(backend, REFS + (encode_segment(prefix) if prefix else ""), known or {}))


def ensure_blob(backend: Backend, repository: bytes, name: str) -> RefBlob:
    """Return what the store holds for a name, after making the placeholder where there was nothing."""
    value = placeholder(repository, name)
    for _ in range(_ATTEMPTS):
        found = read_blob(backend, name)
        if found is not None:
            return found
        try:
            return RefBlob(name, value, backend.put(ref_key(name), _fresh(value), when=Absent()))
        except (PreconditionFailedError, OutcomeUnknownError):
            continue
    raise _stuck(backend, name)


def replace_blob(
    backend: Backend, current: RefBlob, value_bytes: bytes, *, recheck: Callable[[], None] | None = None
) -> RefBlob:
    """Put `value_bytes` in the place of the value of `current`, which is logged before.

    Args:
        backend: the store.
        current: what was read; its version may be outdated by a renewal, its value may not.
        value_bytes: the new value, which names the current one as its previous.
        recheck: called after each reading of the version and before each put: it raises when what the new value
            relies on is no longer there.

    Raises:
        RefMovedError: the value is no longer that of `current`; nothing changed.
    """
    for _ in range(_ATTEMPTS):
        if recheck is not None:
            recheck()
        _keep_in_log(backend, current)
        try:
            version = backend.put(ref_key(current.name), _fresh(value_bytes), when=Matches(current.version))
            return RefBlob(current.name, value_bytes, version)
        except OutcomeUnknownError:
            continue  # not read: what the first of two stores shows, the second may lack
        except PreconditionFailedError:
            # Either someone was first, or a reply to this very put was lost.
            found = read_blob(backend, current.name)
        if found is not None and found.value_bytes == value_bytes:
            return found
        if found is None or found.value_bytes != current.value_bytes:
            raise moved(current.name)
        current = found
    raise _stuck(backend, current.name)


def confirm_blob(backend: Backend, blob: RefBlob) -> None:
    """Make sure that a value which was read is there as a put leaves it; see `mediavault_backends.confirm`."""
    confirm(backend, ref_key(blob.name), _fresh(blob.value_bytes))


def read_log(backend: Backend, name: str) -> list[bytes]:
    """Return the former values of a ref, oldest first.

    Raises:
        IntegrityError: an entry is not what its key says.
    """
    return list(walk_log(backend, name))[::-1]


def walk_log(backend: Backend, name: str) -> Iterator[bytes]:
    """Yield the former values of a ref, newest first, each read when it is asked for.

    Raises:
        IntegrityError: an entry is not what its key says.
    """
    found = []
    for stat in backend.scan(f"{LOGS}{encode_segment(name)}/"):
        seq, _, _ = stat.key.rpartition("/")[2].partition("-")
        if not seq.isdecimal():
            raise IntegrityError(f"The log of {name} holds {stat.key!r}, which is no entry.")
        found.append((int(seq), stat.key))
    for _, key in sorted(found, reverse=True):
        yield _log_entry(backend, name, key)


def moved(name: str) -> RefMovedError:
    """Return the error that tells that someone else moved a ref."""
    return RefMovedError(
        f"{name} was moved by someone else in the meantime.",
        untouched="It was not changed.",
        hint="Fetch, look at what is new, and try again.",
    )


def _blobs(backend: Backend, start: str, known: Mapping[str, RefBlob]) -> Iterator[RefBlob]:
    for stat in backend.scan(start):
        try:
            name = decode_segment(stat.key.removeprefix(REFS))
        except ValueError as error:
            raise IntegrityError(f"The store holds {stat.key!r}, which is not the name of a ref.") from error
        seen = known.get(name)
        found = seen if seen is not None and seen.version == stat.version else read_blob(backend, name)
        if found is not None:
            yield found


def _split(name: str, blob: Blob) -> RefBlob:
    try:
        value_bytes, _ = split_ref_blob(blob.data)
    except FormatError as error:
        raise IntegrityError(f"The ref {name} is damaged: {error.message}") from error
    return RefBlob(name, value_bytes, blob.version)


def _fresh(value_bytes: bytes) -> bytes:
    return encode_ref_blob(value_bytes, os.urandom(REF_NONCE_BYTES))


def _keep_in_log(backend: Backend, former: RefBlob) -> None:
    key = log_key(former.name, former.value_bytes)
    for _ in range(_ATTEMPTS):
        try:
            backend.put(key, former.value_bytes, when=Absent())
        except PreconditionFailedError:
            return  # the name vouches for the content
        except OutcomeUnknownError:
            continue
        return
    raise _stuck(backend, former.name)


def _log_entry(backend: Backend, name: str, key: str) -> bytes:
    """Return a former value, checked against its key: without a MAC nothing else would show a flipped bit."""
    value_bytes = backend.get(key).data
    try:
        right = log_key(name, value_bytes) == key
    except FormatError:
        right = False
    if not right:
        raise IntegrityError(f"The log of {name} is damaged: {key} is not what its name says.")
    return value_bytes


def _stuck(backend: Backend, name: str) -> StorageError:
    return StorageError(
        f"{name} could not be written: {backend.name} gives no clear answer.",
        untouched="It has its old value, or the new one.",
        hint="Look at it, and try again.",
    )
