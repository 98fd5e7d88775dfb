"""Knows the refs of a store to which one can write directly: authentic values, moved by compare-and-swap, with a log."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from mediavault.errors import FormatError, IntegrityError
from mediavault.formats.ref import RefValue, decode_ref_value, encode_ref_value, signed_part, value_hash
from mediavault.model.ids import Link
from mediavault.refs.blobs import (
    RefBlob,
    ensure_blob,
    list_blobs,
    log_key,
    moved,
    placeholder,
    read_blob,
    read_log,
    replace_blob,
)
from mediavault.refs.signing import RefSigner
from mediavault_backends.api import Backend, Version


@dataclass(frozen=True, slots=True)
class RefState:
    """A ref as it was read: all but the name are None or empty where the store has nothing under it."""

    name: str
    value: RefValue | None = None
    value_bytes: bytes = b""
    version: Version | None = None

    @property
    def target(self) -> Link | None:
        """Where the ref points; None for a nil, a placeholder and an absent one."""
        return None if self.value is None else self.value.target


class RefStore:
    """Reads and moves the refs of one repository. Safe to call from several threads."""

    def __init__(self, backend: Backend, repository: bytes, signer: RefSigner) -> None:
        self._backend = backend
        self._repository = repository
        self._signer = signer

    def read(self, name: str) -> RefState:
        """Return the state of a ref.

        Raises:
            IntegrityError: the value is damaged, not authentic, or belongs to another name or repository.
        """
        blob = read_blob(self._backend, name)
        return RefState(name) if blob is None else self._state(blob)

    def list(self, prefix: str = "") -> Sequence[RefState]:
        """Return the states of all refs whose name starts with `prefix`, sorted by name, deleted ones too.

        Raises:
            IntegrityError: one is damaged, not authentic, or belongs to another name or repository.
        """
        states = [self._state(blob) for blob in list_blobs(self._backend, prefix)]
        return sorted(states, key=lambda state: state.name.encode())

    def move(self, state: RefState, target: Link | None, time: int) -> RefState:
        """Let a ref point at `target`, or at nothing (nil), if it still has the value of `state`.

        The objects that it comes to point at must be stored and indexed before.

        Args:
            state: what was read.
            target: a commit; for a tag, a tag object too; None deletes.
            time: seconds since 1970-01-01 UTC.

        Raises:
            RefMovedError: someone else moved it first; nothing changed.
        """
        new = self.next_value(state, target, time)
        current = ensure_blob(self._backend, self._repository, state.name)
        if current.value_bytes != (state.value_bytes or placeholder(self._repository, state.name)):
            raise moved(state.name)
        return self._state(replace_blob(self._backend, current, new))

    def next_value(self, state: RefState, target: Link | None, time: int) -> bytes:
        """Return the signed value that moves a ref from `state` to `target`; nothing is written."""
        return next_value(self._repository, self._signer, state, target, time)

    def log(self, name: str) -> Sequence[RefValue]:
        """Return the former values of a ref, oldest first.

        Raises:
            IntegrityError: one is damaged, not authentic, or belongs to another name or repository.
        """
        return [check_value(self._repository, self._signer, name, data) for data in read_log(self._backend, name)]

    def just_made(self, state: RefState) -> bool:
        """Say whether a ref points where it was first made to point, and was never moved since."""
        if state.value is None or state.target is None:
            return False
        former = self.log(state.name)
        return state.value.seq == 1 or (bool(former) and former[-1].target is None)

    def forget(self, former: RefValue) -> None:
        """Remove a former value from its ref's log; no error when it is not there."""
        self._backend.delete(log_key(former.name, encode_ref_value(former)))

    def _state(self, blob: RefBlob) -> RefState:
        value = check_value(self._repository, self._signer, blob.name, blob.value_bytes)
        return RefState(blob.name, value, blob.value_bytes, blob.version)


def next_value(repository: bytes, signer: RefSigner, state: RefState, target: Link | None, time: int) -> bytes:
    """Return the signed value that moves a ref from `state` to `target`.

    Raises:
        FormatError: the ref may not point there.
        IntegrityError: the ref was signed in a later key epoch than this signer knows.
    """
    former = state.value_bytes or placeholder(repository, state.name)
    seq = 0 if state.value is None else state.value.seq
    if state.value is not None and state.value.epoch > signer.epoch:
        raise IntegrityError(f"{state.name} was moved with a newer key of this repository than the one here.")
    value = RefValue(repository, state.name, signer.epoch, seq + 1, target, value_hash(former), time)
    return encode_ref_value(msgspec.structs.replace(value, mac=signer.mac(signed_part(value))))


def check_value(repository: bytes, signer: RefSigner, name: str, value_bytes: bytes) -> RefValue:
    """Parse a value that stood under `name` and check that it belongs there.

    Raises:
        IntegrityError: it is damaged, not authentic, or belongs to another name or repository.
    """
    try:
        value = decode_ref_value(value_bytes)
    except FormatError as error:
        raise IntegrityError(f"The ref {name} is damaged: {error.message}", untouched="Nothing was changed.") from error
    if value.repository != repository:
        raise IntegrityError(f"The ref {name} belongs to another repository, {value.repository.hex()}.")
    if value.name != name:
        raise IntegrityError(f"Under the name {name} stands the ref {value.name}.")
    signer.check(value)
    return value
