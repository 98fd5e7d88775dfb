"""The recovery code: a secret on paper, and the key pair that it stands for; what is sealed to it is for `slots` to say.

The public half stands in the slot, so that a later rotation can seal the new key to it without the paper. HPKE
(RFC 9180) with ML-KEM-768 combined with X25519.
"""

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final, TypeAlias

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from mediavault.errors import NotAllowedError, UsageError
from mediavault.keys.hierarchy import expand

RecoveryCode: TypeAlias = bytes
"""The 32 secret bytes."""

CODE_BYTES: Final = 32
_CHECK_BYTES: Final = 3
_GROUP: Final = 4
_MLKEM_PUBLIC_BYTES: Final = 1184
_DOMAIN: Final = b"mediavault/1/recovery"
_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MISREAD: Final = str.maketrans("018", "OIB")


def new_code(random: Callable[[int], bytes]) -> RecoveryCode:
    """Return a fresh code."""
    return random(CODE_BYTES)


def show_code(code: RecoveryCode) -> str:
    """Return the code as 14 groups of four letters and digits, the last of them a check on the rest."""
    text = base64.b32encode(code + _check(code)).decode()
    return "-".join(text[at : at + _GROUP] for at in range(0, len(text), _GROUP))


def read_code(text: str) -> RecoveryCode:
    """Read a code back; case, spaces and dashes do not matter, and 0, 1 and 8 are taken for O, I and B.

    Raises:
        UsageError: it is no recovery code, or was mistyped.
    """
    letters = re.sub(r"[\s-]", "", text).upper().translate(_MISREAD)
    try:
        data = base64.b32decode(letters)
    except (binascii.Error, ValueError):
        data = b""
    code, check = data[:CODE_BYTES], data[CODE_BYTES:]
    if len(code) != CODE_BYTES or check != _check(code):
        raise UsageError("This is not a recovery code, or a letter in it is wrong.")
    return code


def public_half(code: RecoveryCode, repository: bytes) -> bytes:
    """Return the public key of the code in one repository, 1,216 bytes: ML-KEM-768, then X25519."""
    mlkem, x25519 = _private(code, repository)
    return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()


def seal_to(public: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Seal `plaintext` so that only the holder of the code can open it, and only under the same `info`."""
    key = MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC_BYTES]),
        X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC_BYTES:]),
    )
    return _SUITE.encrypt(plaintext, key, info)


def open_sealed(code: RecoveryCode, repository: bytes, sealed: bytes, info: bytes) -> bytes:
    """Open what was sealed to the code's public key.

    Anyone can seal to a public key, so this proves nothing about who did: see `vouch`.

    Raises:
        NotAllowedError: it was sealed to another code, or under another `info`.
    """
    try:
        return _SUITE.decrypt(sealed, MLKEM768X25519PrivateKey(*_private(code, repository)), info)
    except (InvalidTag, ValueError) as error:
        raise NotAllowedError("The recovery code does not open this slot.") from error


def vouch(code: RecoveryCode, repository: bytes, first_key: bytes) -> bytes:
    """Return 32 bytes by which the holder of the code knows the repository's first key again.

    Without it, whoever stores the repository could seal a key of their own to the public key, and collect what
    is written under it.
    """
    return blake3(first_key, key=expand(code, repository, _DOMAIN + b"/root")).digest()


def _check(code: bytes) -> bytes:
    return blake3(_DOMAIN + b"/check" + code).digest()[:_CHECK_BYTES]


def _private(code: RecoveryCode, repository: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    seed = expand(code, repository, _DOMAIN + b"/mlkem/d") + expand(code, repository, _DOMAIN + b"/mlkem/z")
    x25519 = expand(code, repository, _DOMAIN + b"/x25519")
    return MLKEM768PrivateKey.from_seed_bytes(seed), X25519PrivateKey.from_private_bytes(x25519)
