"""Who can open a repository: lists, makes and removes key slots, here and at its remotes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from mediavault.errors import FormatError, NotFoundError, UsageError
from mediavault.formats.config import fingerprint
from mediavault.formats.slot import PassphraseSlot, check_slot_name, decode_slot
from mediavault.keys.hierarchy import PlainKeys, RepositoryKeys
from mediavault.ops.create import RECOVERY_SLOT
from mediavault.ops.repository import Repository
from mediavault.ops.unlock import SLOTS
from mediavault.sync.remote import Remote
from mediavault_backends.api import Absent, Backend, Matches
from mediavault_backends.errors import NotFoundError as NoSuchKeyError


@dataclass(frozen=True, slots=True)
class SlotEntry:
    """One way into a repository."""

    name: str
    kind: str
    created: str
    label: str


@dataclass(frozen=True, slots=True)
class SlotReport:
    """A slot that was made or removed, and the remotes where it was too; `recovery_code` is shown once."""

    name: str
    remotes: Sequence[str]
    recovery_code: str = ""


def describe_slots(slots: dict[str, bytes]) -> Sequence[SlotEntry]:
    """Return the slots by name.

    Raises:
        FormatError: one is damaged.
    """
    entries = []
    for name, data in sorted(slots.items()):
        slot = decode_slot(data)
        kind = "passphrase" if isinstance(slot, PassphraseSlot) else "recovery"
        entries.append(SlotEntry(name, kind, slot.created, slot.label))
    return entries


def refuse_taken(repository: Repository, name: str) -> None:
    """Refuse a name that no new slot can have, before anyone is asked for a passphrase.

    Raises:
        UsageError: the repository is not encrypted, or the name is taken or cannot be one.
    """
    _keys(repository)
    try:
        check_slot_name(name)
    except FormatError:
        raise UsageError(
            f"Not a name for a key: {name!r}.",
            untouched="Nothing was changed.",
            hint="Use lower-case letters, digits and hyphens.",
        ) from None
    if _read(repository.backend, name) is not None:
        raise UsageError(
            f"There is a key {name} already.", untouched="Nothing was changed.", hint="Choose another name."
        )


def add_passphrase(
    repository: Repository,
    name: str,
    passphrase: str,
    remotes: Sequence[tuple[str, Remote]],
    *,
    label: str,
    now: str,
) -> SlotReport:
    """Let a second passphrase open the repository, at its remotes first and then here.

    Raises:
        UsageError: the repository is not encrypted, or the name is taken.
        RemoteError: a remote failed; where it was made before stays as it is.
    """
    from mediavault.keys.slots import make_passphrase_slot  # noqa: PLC0415 -- argon2 only where it is needed

    refuse_taken(repository, name)
    mark = fingerprint(repository.config_bytes)
    slot = make_passphrase_slot(
        _keys(repository), name, passphrase, fingerprint=mark, created=now, random=os.urandom, label=label
    )
    return SlotReport(name, _put(repository, name, slot, remotes))


def replace_recovery(repository: Repository, now: str, remotes: Sequence[tuple[str, Remote]]) -> SlotReport:
    """Make a new recovery code; the one before opens nothing any more.

    Raises:
        UsageError: the repository is not encrypted.
        RemoteError: a remote failed; the old code still counts here.
    """
    from mediavault.keys.recovery import new_code, show_code  # noqa: PLC0415 -- cryptography only where it is needed
    from mediavault.keys.slots import make_recovery_slot  # noqa: PLC0415 -- as above

    code = new_code(os.urandom)
    mark = fingerprint(repository.config_bytes)
    slot = make_recovery_slot(_keys(repository), RECOVERY_SLOT, code, fingerprint=mark, created=now)
    return SlotReport(RECOVERY_SLOT, _put(repository, RECOVERY_SLOT, slot, remotes), show_code(code))


def remove_slot(repository: Repository, name: str, remotes: Sequence[tuple[str, Remote]]) -> SlotReport:
    """Take a way into the repository away, at its remotes first and then here.

    Raises:
        NotFoundError: there is no such slot anywhere.
        UsageError: it is the last one.
        RemoteError: a remote failed; here nothing was removed yet.
    """
    _keys(repository)
    mine = _read(repository.backend, name)
    theirs = {remote_name: remote.slots() for remote_name, remote in remotes}
    if mine is None and not any(name in slots for slots in theirs.values()):
        raise NotFoundError(f"There is no key {name}.", untouched="Nothing was changed.", hint="mediagit key list")
    names = {stat.key.removeprefix(SLOTS) for stat in repository.backend.scan(SLOTS)}
    if not names - {name} or any(not slots.keys() - {name} for slots in theirs.values() if slots):
        raise UsageError(
            f"{name} is the last key: without it nobody could open the repository elsewhere.",
            untouched="Nothing was changed.",
            hint="Add another one first: mediagit key add NAME",
        )
    done = []
    for remote_name, remote in remotes:
        if name in theirs[remote_name]:
            remote.delete_slot(name, theirs[remote_name][name])
            done.append(remote_name)
    if mine is not None:
        repository.backend.delete(SLOTS + name)
    return SlotReport(name, done)


def with_this_repository(repository: Repository, remotes: Sequence[tuple[str, Remote]]) -> Sequence[tuple[str, Remote]]:
    """Return those remotes that hold this repository already.

    Raises:
        RemoteError: one does not answer.
    """
    return [(name, remote) for name, remote in remotes if remote.config() == repository.config_bytes]


def _put(repository: Repository, name: str, slot: bytes, remotes: Sequence[tuple[str, Remote]]) -> list[str]:
    done = []
    for remote_name, remote in remotes:
        remote.put_slot(name, slot, remote.slots().get(name))
        done.append(remote_name)
    key = SLOTS + name
    try:
        version = repository.backend.stat(key).version
    except NoSuchKeyError:
        repository.backend.put(key, slot, when=Absent())
    else:
        repository.backend.put(key, slot, when=Matches(version))
    return done


def _read(backend: Backend, name: str) -> bytes | None:
    try:
        return backend.get(SLOTS + name).data
    except NoSuchKeyError:
        return None


def _keys(repository: Repository) -> RepositoryKeys:
    if isinstance(repository.keys, PlainKeys):
        raise UsageError("This repository is not encrypted, so it has no keys.", untouched="Nothing was changed.")
    return repository.keys
