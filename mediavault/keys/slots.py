"""Key slots: a repository key wrapped for a passphrase or a recovery code, bound to where it belongs.

A wrap is bound to repository, epoch, slot, purpose and the fingerprint of `config`, so that a slot cannot be moved
and a repository cannot be downgraded around it. Where slots are kept is for the store.
"""

import hmac
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mediavault.errors import FormatError, IntegrityError, NotAllowedError, UnsupportedFormatError
from mediavault.formats.slot import PassphraseSlot, RecoverySlot, decode_slot, encode_slot
from mediavault.keys.hierarchy import RepositoryKeys, expand
from mediavault.keys.passphrase import KdfParameters, stretch, unstretch
from mediavault.keys.recovery import RecoveryCode, open_sealed, public_half, seal_to, vouch

Secret: TypeAlias = str | RecoveryCode
"""A passphrase as text, or the 32 bytes of a recovery code."""

_NONCE: Final = bytes(12)
_DOMAIN: Final = b"mediavault/1/slot/"
_SALT_BYTES: Final = 16
_WRAP_SALT_BYTES: Final = 32
_DEFAULT: Final = KdfParameters()


def make_passphrase_slot(
    keys: RepositoryKeys,
    name: str,
    passphrase: str,
    *,
    fingerprint: bytes,
    created: str,
    random: Callable[[int], bytes],
    label: str = "",
    parameters: KdfParameters = _DEFAULT,
) -> bytes:
    """Return a slot that opens with a passphrase.

    Args:
        keys: the repository's keys; the newest is wrapped.
        name: the slot's name.
        passphrase: any text that is not empty.
        fingerprint: BLAKE3 of the repository's config.
        created: RFC 3339, in UTC, whole seconds.
        random: returns that many unpredictable bytes.
        label: for people.
        parameters: the cost of one guess.

    Raises:
        UsageError: the passphrase is empty.
        IntegrityError: the parameters are out of bounds.
    """
    salt, wrap_salt = random(_SALT_BYTES), random(_WRAP_SALT_BYTES)
    key, commitment = stretch(passphrase, salt, parameters)
    binding = _binding(b"passphrase", keys.repository, keys.epoch, name, fingerprint)
    wrapped = _cipher(key, wrap_salt).encrypt(_NONCE, keys.epochs[keys.epoch], binding)
    slot = PassphraseSlot(
        slot=name,
        created=created,
        label=label,
        repository=keys.repository.hex(),
        epoch=keys.epoch,
        time=parameters.time,
        memory=parameters.memory,
        lanes=parameters.lanes,
        salt=salt,
        commitment=commitment,
        wrap_salt=wrap_salt,
        wrapped=wrapped,
    )
    return encode_slot(slot)


def make_recovery_slot(
    keys: RepositoryKeys, name: str, code: RecoveryCode, *, fingerprint: bytes, created: str, label: str = ""
) -> bytes:
    """Return a slot that opens with a recovery code; the arguments are those of `make_passphrase_slot`."""
    binding = _binding(b"recovery", keys.repository, keys.epoch, name, fingerprint)
    public = public_half(code, keys.repository)
    slot = RecoverySlot(
        slot=name,
        created=created,
        label=label,
        repository=keys.repository.hex(),
        epoch=keys.epoch,
        public=public,
        sealed=seal_to(public, keys.epochs[keys.epoch], binding),
        root=vouch(code, keys.repository, keys.epochs[0]),
        mac=_mac(keys, binding, public),
    )
    return encode_slot(slot)


def unlock(slots: Mapping[str, bytes], secret: Secret, *, repository: bytes, fingerprint: bytes) -> RepositoryKeys:
    """Return the keys from whichever slot the secret opens.

    Args:
        slots: the stored blobs by slot name.
        secret: a passphrase or a recovery code.
        repository: the id in the repository's config.
        fingerprint: BLAKE3 of the config.

    Raises:
        NotAllowedError: the secret opens none of them.
        IntegrityError: it opens none, and a slot does not parse, belongs elsewhere, was altered, or was weakened.
        UnsupportedFormatError: it opens none, and a newer version wrote one.
    """
    what = "recovery code" if isinstance(secret, bytes) else "passphrase"
    fitting = False
    unusable: list[IntegrityError | UnsupportedFormatError] = []
    for name, data in sorted(slots.items()):
        try:
            slot = _read(name, data, repository)
            if isinstance(slot, RecoverySlot) != isinstance(secret, bytes):
                continue
            fitting = True
            return _open(slot, secret, repository, fingerprint)
        except NotAllowedError:
            continue
        except (IntegrityError, UnsupportedFormatError) as error:
            unusable.append(error)  # another slot may still open: that is what several are for
    if unusable:
        raise unusable[0]
    if not fitting:
        raise NotAllowedError(f"No slot of this repository opens with a {what}.")
    raise NotAllowedError(f"The {what} is wrong.", untouched="Nothing was changed.")


def _read(name: str, data: bytes, repository: bytes) -> PassphraseSlot | RecoverySlot:
    try:
        slot = decode_slot(data)
    except FormatError as error:
        raise IntegrityError(f"Key slot {name!r} is damaged: {error.message}") from error
    if slot.slot != name or slot.repository != repository.hex():
        raise IntegrityError(f"Key slot {name!r} belongs to another slot or repository.")
    return slot


def open_slot(data: bytes, secret: Secret, *, repository: bytes, fingerprint: bytes) -> RepositoryKeys:
    """Return the keys from one slot; see `unlock` for what is raised."""
    return unlock({decode_slot(data).slot: data}, secret, repository=repository, fingerprint=fingerprint)


def _open(slot: PassphraseSlot | RecoverySlot, secret: Secret, repository: bytes, fingerprint: bytes) -> RepositoryKeys:
    if slot.epoch != 0:
        raise UnsupportedFormatError(
            f"Key slot {slot.slot!r} is of key epoch {slot.epoch}: keys were rotated, which this version does not know.",
            hint="Install a newer version of MediaVault.",
        )
    if isinstance(slot, PassphraseSlot):
        assert isinstance(secret, str)
        return _open_passphrase(slot, secret, repository, fingerprint)
    assert isinstance(secret, bytes)
    return _open_recovery(slot, secret, repository, fingerprint)


def _open_passphrase(slot: PassphraseSlot, passphrase: str, repository: bytes, fingerprint: bytes) -> RepositoryKeys:
    parameters = KdfParameters(slot.time, slot.memory, slot.lanes)
    key = unstretch(passphrase, slot.salt, parameters, slot.commitment)
    binding = _binding(b"passphrase", repository, slot.epoch, slot.slot, fingerprint)
    try:
        wrapped = _cipher(key, slot.wrap_salt).decrypt(_NONCE, slot.wrapped, binding)
    except InvalidTag as error:
        raise IntegrityError(
            f"The passphrase is right, but key slot {slot.slot!r} or the repository's config was altered."
        ) from error
    return RepositoryKeys(repository, {slot.epoch: wrapped})


def _open_recovery(slot: RecoverySlot, code: RecoveryCode, repository: bytes, fingerprint: bytes) -> RepositoryKeys:
    if not hmac.compare_digest(slot.public, public_half(code, repository)):
        raise NotAllowedError("The recovery code is wrong.")
    binding = _binding(b"recovery", repository, slot.epoch, slot.slot, fingerprint)
    altered = IntegrityError(
        f"The recovery code is right, but key slot {slot.slot!r} or the repository's config was altered."
    )
    try:
        keys = RepositoryKeys(repository, {slot.epoch: open_sealed(code, repository, slot.sealed, binding)})
    except NotAllowedError as error:
        raise altered from error
    # Anyone can seal a key to a public key: only the code's holder can have vouched for this one.
    if not hmac.compare_digest(slot.root, vouch(code, repository, keys.epochs[0])):
        raise altered
    if not hmac.compare_digest(slot.mac, _mac(keys, binding, slot.public)):
        raise altered
    return keys


def _binding(purpose: bytes, repository: bytes, epoch: int, name: str, fingerprint: bytes) -> bytes:
    """Return what a wrap is valid for, in a form that reads in one way only."""
    text = name.encode()
    parts = (
        purpose,
        b"\0",
        repository,
        epoch.to_bytes(4, "little"),
        len(text).to_bytes(2, "little"),
        text,
        fingerprint,
    )
    return _DOMAIN + b"".join(parts)


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    """Return the cipher of one wrap: its salt is fresh, so its key is used once and the nonce may be zero."""
    return AESGCM(expand(key, salt, _DOMAIN + b"wrap"))


def _mac(keys: RepositoryKeys, binding: bytes, public: bytes) -> bytes:
    return blake3(binding + public, key=keys.slot_key(keys.epoch)).digest()
