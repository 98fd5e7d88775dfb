"""From a passphrase to a key-encryption key by Argon2id (RFC 9106); what is wrapped under it is for `slots` to say."""

import hmac
import unicodedata
from typing import Final

import argon2.exceptions
import msgspec
from argon2.low_level import Type, hash_secret_raw

from mediavault.errors import IntegrityError, MediaVaultError, NotAllowedError, UsageError

_HALF: Final = 32


class KdfParameters(msgspec.Struct, frozen=True, gc=False):
    """The cost of one guess: passes, memory in KiB, lanes."""

    time: int = 3
    memory: int = 256 << 10
    lanes: int = 4


FLOOR: Final = KdfParameters(3, 64 << 10, 4)
CEILING: Final = KdfParameters(16, 4 << 20, 16)


def check_parameters(parameters: KdfParameters) -> None:
    """Refuse a cost that protects nobody or that only exhausts this computer.

    Raises:
        IntegrityError: below FLOOR or above CEILING in any respect.
    """
    values = (parameters.time, parameters.memory, parameters.lanes)
    low, high = ((limit.time, limit.memory, limit.lanes) for limit in (FLOOR, CEILING))
    if any(not a <= value <= b for a, value, b in zip(low, values, high, strict=True)):
        raise IntegrityError(
            f"A passphrase slot asks for Argon2id with {parameters.time} passes, {parameters.memory >> 10} MiB "
            f"and {parameters.lanes} lanes, which is outside what is accepted.",
            hint="Whoever stores the repository may have weakened the slot; do not enter the passphrase again.",
        )


def normalise(passphrase: str) -> bytes:
    """Return the bytes that a passphrase stands for: NFC, UTF-8, without the newline at its end.

    Raises:
        UsageError: it is empty, or holds what no keyboard types.
    """
    text = unicodedata.normalize("NFC", passphrase.removesuffix("\n").removesuffix("\r"))
    if not text:
        raise UsageError("The passphrase is empty.")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UsageError("The passphrase is not valid Unicode text.") from error


def stretch(passphrase: str, salt: bytes, parameters: KdfParameters) -> tuple[bytes, bytes]:
    """Return the key-encryption key and the commitment to it, 32 bytes each.

    The commitment is stored and compared before anything is decrypted: AES-GCM alone does not commit to its key.

    Raises:
        IntegrityError: the parameters are out of bounds.
        MediaVaultError: this computer has not enough memory.
    """
    check_parameters(parameters)
    try:
        both = hash_secret_raw(
            normalise(passphrase),
            salt,
            time_cost=parameters.time,
            memory_cost=parameters.memory,
            parallelism=parameters.lanes,
            hash_len=2 * _HALF,
            type=Type.ID,
        )
    except argon2.exceptions.HashingError as error:
        raise MediaVaultError(
            f"Argon2id could not run with {parameters.memory >> 10} MiB of memory: {error}."
        ) from error
    return both[:_HALF], both[_HALF:]


def unstretch(passphrase: str, salt: bytes, parameters: KdfParameters, commitment: bytes) -> bytes:
    """Return the key-encryption key if the passphrase is the one that was committed to.

    Raises:
        NotAllowedError: it is another passphrase.
        IntegrityError: the parameters are out of bounds.
    """
    key, expected = stretch(passphrase, salt, parameters)
    if not hmac.compare_digest(expected, commitment):
        raise NotAllowedError("The passphrase is wrong.")
    return key
