"""The ref value: where a name points, as the n-th of its moves. Making and checking the MAC is left to `mediavault.refs`."""

import struct

import msgspec
from blake3 import blake3

from mediavault.errors import FormatError, UsageError
from mediavault.formats.frame import Buffer
from mediavault.model.ids import Kind, Link
from mediavault.model.names import check_ref_name

REPOSITORY_BYTES = 16
MAC_BYTES = 32
REF_NONCE_BYTES = 16
MAX_REF_BLOB = 64 << 10
MAX_SIGNATURE = 16 << 10
NO_PREVIOUS = bytes(32)
NO_MAC = bytes(MAC_BYTES)

_NAME_LENGTH = struct.Struct("<16sH")
_STATE = struct.Struct("<IQB")
_END = struct.Struct("<32sqH")
_NIL = 1


class RefValue(msgspec.Struct, frozen=True, gc=False):
    """What a ref says.

    Attributes:
        repository: the repository's 16 bytes.
        name: the ref's name.
        epoch: the key epoch of the MAC; 0 in plain repositories and placeholders.
        seq: 0 for the placeholder, then one more at each move.
        target: where it points; None is nil: never set, or deleted.
        previous: BLAKE3 of the former value with its MAC; zero for the placeholder.
        time: of the move, seconds since 1970-01-01 UTC; 0 for the placeholder.
        signature: empty, or a signature (version 1 stores it and checks nothing).
        mac: keyed BLAKE3 of all before it; zero in plain repositories and placeholders.
    """

    repository: bytes
    name: str
    epoch: int
    seq: int
    target: Link | None
    previous: bytes
    time: int
    signature: bytes = b""
    mac: bytes = NO_MAC


def placeholder_value(repository: bytes, name: str) -> RefValue:
    """Return the nil value that a new ref starts with; anyone may make it, and there is one for each name."""
    return RefValue(repository, name, 0, 0, None, NO_PREVIOUS, 0)


def signed_part(value: RefValue) -> bytes:
    """Return the bytes that the MAC covers: the stored value without it.

    Raises:
        FormatError: the value breaks the format's rules.
    """
    _check(value)
    name = value.name.encode()
    return b"".join(
        (
            _NAME_LENGTH.pack(value.repository, len(name)),
            name,
            _STATE.pack(value.epoch, value.seq, _NIL if value.target is None else 0),
            b"" if value.target is None else bytes((value.target.kind,)) + value.target.id,
            _END.pack(value.previous, value.time, len(value.signature)),
            value.signature,
        ),
    )


def encode_ref_value(value: RefValue) -> bytes:
    """Return the stored value, its MAC at the end.

    Raises:
        FormatError: the value breaks the format's rules.
    """
    return signed_part(value) + value.mac


def decode_ref_value(buffer: Buffer) -> RefValue:
    """Read a value that fills `buffer`. The MAC is not checked here.

    Raises:
        FormatError: the bytes do not parse, or the value breaks the format's rules.
    """
    data = bytes(buffer[: MAX_REF_BLOB + 1])
    if len(data) > MAX_REF_BLOB:
        raise FormatError("A ref is longer than the format allows.")
    try:
        value = _parse(data)
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise FormatError("A ref does not parse.") from error
    if encode_ref_value(value) != data:
        raise FormatError("A ref is not in its canonical form.")
    return value


def _parse(data: bytes) -> RefValue:
    repository, name_length = _NAME_LENGTH.unpack_from(data)
    at = _NAME_LENGTH.size + name_length
    name = data[_NAME_LENGTH.size : at].decode()
    epoch, seq, nil = _STATE.unpack_from(data, at)
    at += _STATE.size
    target = None
    if not nil:
        target = Link(Kind(data[at]) if at < len(data) else Kind.CHUNK, data[at + 1 : at + 33])
        at += 33
    previous, time, signature_length = _END.unpack_from(data, at)
    at += _END.size
    signature = data[at : at + signature_length]
    return RefValue(repository, name, epoch, seq, target, previous, time, signature, data[at + signature_length :])


def _check(value: RefValue) -> None:
    try:
        check_ref_name(value.name)
    except UsageError as error:
        raise FormatError(f"A ref has a name that is refused: {error.message}") from error
    lengths = (len(value.repository), len(value.previous), len(value.mac))
    if lengths != (REPOSITORY_BYTES, 32, MAC_BYTES) or len(value.signature) > MAX_SIGNATURE:
        raise FormatError("A ref has a field of the wrong length.")
    if not (0 <= value.epoch < 1 << 32 and 0 <= value.seq < 1 << 63 and -(1 << 63) <= value.time < 1 << 63):
        raise FormatError("A ref has a number out of range.")
    if value.target is not None:
        allowed = (Kind.COMMIT, Kind.TAG) if value.name.startswith("tags/") else (Kind.COMMIT,)
        if value.target.kind not in allowed or len(value.target.id) != 32:
            raise FormatError("A ref points at something that it may not point at.")
    if value.seq == 0 and value != placeholder_value(value.repository, value.name):
        raise FormatError("A ref that was never moved is not an empty placeholder.")


def value_hash(value_bytes: Buffer) -> bytes:
    """Return the BLAKE3 of a stored value with its MAC: what the next value names as the previous one."""
    return blake3(value_bytes).digest()


def encode_ref_blob(value_bytes: bytes, nonce: bytes) -> bytes:
    """Return the blob a store keeps: the value and 16 random bytes, new in every write."""
    if len(nonce) != REF_NONCE_BYTES:
        raise FormatError("A ref's nonce has 16 bytes.")
    return value_bytes + nonce


def split_ref_blob(blob: Buffer) -> tuple[bytes, bytes]:
    """Return value and random bytes of a stored blob; the value is not parsed.

    Raises:
        FormatError: it is too short or too long to hold a value.
    """
    if not REPOSITORY_BYTES + MAC_BYTES + REF_NONCE_BYTES < len(blob) <= MAX_REF_BLOB + REF_NONCE_BYTES:
        raise FormatError("A ref's blob is cut or too long.")
    data = bytes(blob)
    return data[:-REF_NONCE_BYTES], data[-REF_NONCE_BYTES:]
