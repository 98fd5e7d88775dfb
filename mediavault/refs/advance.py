"""Knows, without a key, which value may follow which, and puts a value that someone else made and signed."""

from collections.abc import Callable
from typing import Protocol

from mediavault.errors import FormatError, UsageError
from mediavault.formats.ref import RefValue, decode_ref_value, value_hash
from mediavault.refs.blobs import RefBlob, confirm_blob, ensure_blob, moved, placeholder, replace_blob
from mediavault_backends.api import Backend


def check_move(former: bytes, new: bytes, *, repository: bytes, name: str) -> RefValue:
    """Check that one stored value may follow another; whether its MAC is right only a key holder can tell.

    Args:
        former: the value that stands there, a placeholder where there was none.
        new: the value that is to take its place.
        repository: the id of the repository that both must belong to.
        name: the ref's name, which both must carry.

    Returns:
        the new value, parsed.

    Raises:
        UsageError: it may not.
    """
    value, old = _parsed(new, repository, name), decode_ref_value(former)
    if value.seq != old.seq + 1:
        raise UsageError(f"The new value of {name} is move {value.seq}, but the next one is {old.seq + 1}.")
    if value.previous != value_hash(former):
        raise UsageError(f"The new value of {name} does not follow the present one.")
    _check_epoch(old, value)
    return value


def check_adoption(former: bytes, new: bytes, *, repository: bytes, name: str, forced: bool) -> RefValue:
    """Check that a mirror may take over a value that other moves lie before, which it does not have.

    Args:
        former: the value that stands there, a placeholder where there was none.
        new: the value that is to take its place.
        repository: the id of the repository that both must belong to.
        name: the ref's name, which both must carry.
        forced: take it over even where that goes back.

    Returns:
        the new value, parsed.

    Raises:
        UsageError: it may not.
    """
    value, old = _parsed(new, repository, name), decode_ref_value(former)
    if value.seq == 0:
        raise UsageError(f"The new value of {name} was never moved to.")
    if not forced and value.seq <= old.seq:
        raise UsageError(f"The new value of {name} is move {value.seq}, and move {old.seq} was made here already.")
    if not forced:
        _check_epoch(old, value)
    return value


def _parsed(new: bytes, repository: bytes, name: str) -> RefValue:
    try:
        value = decode_ref_value(new)
    except FormatError as error:
        raise UsageError(f"The new value of {name} does not parse: {error.message}") from error
    if value.repository != repository:
        raise UsageError(f"The new value of {name} belongs to another repository, {value.repository.hex()}.")
    if value.name != name:
        raise UsageError(f"The new value of {name} carries the name {value.name}.")
    return value


def _check_epoch(old: RefValue, value: RefValue) -> None:
    if value.epoch < old.epoch:
        raise UsageError(f"The new value of {value.name} has key epoch {value.epoch}, the present one has {old.epoch}.")


class Check(Protocol):
    """Tells whether one stored value may follow another: `check_move`, or `check_adoption` of a mirror."""

    def __call__(self, former: bytes, new: bytes, *, repository: bytes, name: str) -> RefValue:
        """Return the new value, parsed; UsageError: it may not."""


def accept_value(
    backend: Backend,
    repository: bytes,
    name: str,
    value_bytes: bytes,
    *,
    expected: bytes | None,
    check: Check = check_move,
    recheck: Callable[[], None] | None = None,
) -> RefBlob:
    """Put a value that a client made, if the ref has the value that the client names.

    A client whose reply was lost may ask again: the value being there already is success.

    Args:
        backend: the store.
        repository: the id of the repository.
        name: the ref's name.
        value_bytes: the new value.
        expected: hash of the value that it replaces; None when there is to be none, or a placeholder.
        check: which value may follow which.
        recheck: called after each reading of the ref and before each put; it raises when what the value relies on
            is not stored.

    Returns:
        what is stored now.

    Raises:
        RefMovedError: the ref has another value; nothing changed.
        UsageError: the value may not follow the present one; nothing changed.
    """
    current = ensure_blob(backend, repository, name)
    if current.value_bytes == value_bytes:
        confirm_blob(backend, current)
        return current
    wanted = value_hash(placeholder(repository, name)) if expected is None else expected
    if current.hash != wanted:
        raise moved(name)
    check(current.value_bytes, value_bytes, repository=repository, name=name)
    return replace_blob(backend, current, value_bytes, recheck=recheck)
