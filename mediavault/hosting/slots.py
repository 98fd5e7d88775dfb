"""Wrapped repository keys, which only a passphrase or a recovery code opens. Changed conditionally, never over another."""

from typing import Final

from blake3 import blake3

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.slot import decode_slot
from mediavault.hosting.refusal import RefusedError
from mediavault.hosting.repository import HostedRepository
from mediavault.wire import problems
from mediavault_backends.api import Absent, Blob, Condition, Matches
from mediavault_backends.confirm import confirm
from mediavault_backends.errors import NotFoundError, OutcomeUnknownError, PreconditionFailedError

PREFIX: Final = "keys/"


def list_slots(repo: HostedRepository) -> list[str]:
    """Return the names of the slots."""
    keys = [stat.key.removeprefix(PREFIX) for stat in repo.backend.scan(PREFIX)]
    return [key for key in keys if "/" not in key]


def read_slot(repo: HostedRepository, name: str) -> Blob | None:
    """Return a slot; None where there is none."""
    try:
        return repo.backend.get(PREFIX + name)
    except NotFoundError:
        return None


def store_slot(repo: HostedRepository, name: str, body: bytes, expected: bytes | None) -> bool:
    """Put a slot; its being there already, byte for byte, is success, so that a lost answer can be asked for again.

    Args:
        repo: where.
        name: of the slot; valid.
        body: the slot.
        expected: the BLAKE3 of the slot that it replaces; None: only where there is none.

    Returns:
        whether there was none.

    Raises:
        RefusedError: the body is not this slot of this repository, or the condition does not hold.
    """
    try:
        slot = decode_slot(body)
    except (FormatError, UnsupportedFormatError) as error:
        raise RefusedError(problems.MISMATCH, error.message) from error
    if slot.slot != name or slot.repository != repo.config.repository.hex():
        raise RefusedError(problems.MISMATCH, "The slot has another name, or is of another repository.")
    when: Condition = Absent()
    if expected is not None:
        current = read_slot(repo, name)
        if current is not None and current.data == body:
            confirm(repo.backend, PREFIX + name, body)
            return False
        when = Matches(_expected(current, expected).version)
    unknown = False
    try:
        try:
            repo.backend.put(PREFIX + name, body, when=when)
        except OutcomeUnknownError:
            unknown = True  # asked again by a put, not read: what the first of two stores shows, the second may lack
            repo.backend.put(PREFIX + name, body, when=when)
    except PreconditionFailedError:
        found = read_slot(repo, name)
        if found is None or found.data != body:
            taken = found is not None and expected is None
            raise RefusedError(problems.SLOT_TAKEN if taken else problems.PRECONDITION) from None
        return expected is None and unknown
    return expected is None


def remove_slot(repo: HostedRepository, name: str, expected: bytes) -> None:
    """Remove the slot whose BLAKE3 is `expected`.

    Raises:
        RefusedError: there is none, or another one.
    """
    current = read_slot(repo, name)
    if current is None:
        raise RefusedError(problems.NOT_FOUND)
    _expected(current, expected)
    repo.backend.delete(PREFIX + name)


def _expected(current: Blob | None, expected: bytes) -> Blob:
    """Return what is stored, if it is the slot whose BLAKE3 is `expected`."""
    if current is None or blake3(current.data).digest() != expected:
        raise RefusedError(problems.PRECONDITION)
    return current
