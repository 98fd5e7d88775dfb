"""The key slot: a wrapped repository key as canonical JSON, typed and of exact lengths.

Wrapping, unwrapping and the bounds on key derivation are left to `mediavault.keys`.
"""

import re
from typing import TypeAlias

import msgspec

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.frame import Buffer

SLOT_VERSION = 1
MAX_SLOT = 16 << 10
MAX_LABEL_BYTES = 256
_SLOT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_CREATED = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]Z")
_REPOSITORY = re.compile(r"[0-9a-f]{32}")
_U32 = 1 << 32


class PassphraseSlot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="passphrase"):
    """A repository key under a passphrase: Argon2id, then AES-256-GCM.

    Attributes:
        slot: the slot's name, the last segment of its key.
        created: RFC 3339, in UTC, whole seconds.
        label: for people.
        repository: the repository's id in hex.
        epoch: of the wrapped key.
        time: Argon2id's passes.
        memory: Argon2id's memory in KiB.
        lanes: Argon2id's parallelism.
        salt: 16 bytes, of the derivation.
        commitment: 32 bytes, compared before the key is unwrapped.
        wrap_salt: 32 bytes, of the wrap.
        wrapped: 48 bytes: the sealed key and its tag.
    """

    slot: str
    created: str
    label: str
    repository: str
    epoch: int
    time: int
    memory: int
    lanes: int
    salt: bytes
    commitment: bytes
    wrap_salt: bytes
    wrapped: bytes
    version: int = SLOT_VERSION


class RecoverySlot(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="recovery"):
    """A repository key under a recovery code: HPKE to the key pair that the code stands for.

    Attributes:
        slot: the slot's name, the last segment of its key.
        created: RFC 3339, in UTC, whole seconds.
        label: for people.
        repository: the repository's id in hex.
        epoch: of the sealed key.
        public: 1,216 bytes: the public key, ML-KEM-768 then X25519.
        sealed: 1,168 bytes: encapsulation, sealed key and its tag.
        root: 32 bytes, keyed under the code: vouches for the key of epoch 0.
        mac: 32 bytes, under the repository key: vouches for `public`.
    """

    slot: str
    created: str
    label: str
    repository: str
    epoch: int
    public: bytes
    sealed: bytes
    root: bytes
    mac: bytes
    version: int = SLOT_VERSION


KeySlot: TypeAlias = PassphraseSlot | RecoverySlot

_LENGTHS = {
    PassphraseSlot: {"salt": 16, "commitment": 32, "wrap_salt": 32, "wrapped": 48},
    RecoverySlot: {"public": 1216, "sealed": 1168, "root": 32, "mac": 32},
}


class _Version(msgspec.Struct, frozen=True):
    version: int


_decoder = msgspec.json.Decoder(KeySlot)
_version_decoder = msgspec.json.Decoder(_Version)


def check_slot_name(name: str) -> None:
    """Refuse what cannot name a slot: lower-case letters, digits and inner hyphens, at most 64.

    Raises:
        FormatError: naming it.
    """
    if not _SLOT_NAME.fullmatch(name):
        raise FormatError(f"Not a slot name: {name[:80]!r}.")


def encode_slot(slot: KeySlot) -> bytes:
    """Return the exact bytes of the blob: JSON with sorted keys, nothing between them, bytes in base64, no newline.

    Raises:
        FormatError: the values break the format's rules.
    """
    _check(slot)
    return msgspec.json.encode(slot, order="sorted")


def decode_slot(data: Buffer) -> KeySlot:
    """Read the blob.

    Raises:
        FormatError: it does not parse, has an unknown or a missing key, or is not in its canonical form.
        UnsupportedFormatError: a newer version wrote it.
    """
    if len(data) > MAX_SLOT:
        raise FormatError("A key slot is too long.")
    try:
        if _version_decoder.decode(data).version > SLOT_VERSION:
            raise UnsupportedFormatError(
                "A key slot was written by a newer version.",
                hint="Install a newer version of MediaVault.",
            )
        slot: KeySlot = _decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise FormatError(f"A key slot does not parse: {error}.") from error
    if encode_slot(slot) != bytes(data):
        raise FormatError("A key slot is not in its canonical form.")
    return slot


def _check(slot: KeySlot) -> None:
    check_slot_name(slot.slot)
    numbers = [slot.epoch]
    if isinstance(slot, PassphraseSlot):
        numbers += [slot.time, slot.memory, slot.lanes]
    try:
        label = slot.label.encode()
    except UnicodeEncodeError as error:
        raise FormatError("A key slot's label is not valid UTF-8.") from error
    if slot.version != SLOT_VERSION or not all(0 <= number < _U32 for number in numbers):
        raise FormatError("A key slot has a number out of range.")
    if not _CREATED.fullmatch(slot.created) or not _REPOSITORY.fullmatch(slot.repository):
        raise FormatError("A key slot has a time or repository id that does not parse.")
    if len(label) > MAX_LABEL_BYTES or any(c < " " or "\x7f" <= c <= "\x9f" for c in slot.label):
        raise FormatError("A key slot's label is too long, or contains a control character.")
    for field, length in _LENGTHS[type(slot)].items():
        if len(getattr(slot, field)) != length:
            raise FormatError(f"A key slot's {field} does not have {length} bytes.")
