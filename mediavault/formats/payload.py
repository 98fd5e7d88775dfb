"""The payload inside a frame: codec, true lengths, data and padding. Compressing is left to the codecs."""

import struct
from enum import IntEnum

import msgspec

from mediavault.errors import FormatError
from mediavault.formats.frame import MAX_CHUNK_RAW, Buffer

PAYLOAD_HEAD_BYTES = 9
_HEAD = struct.Struct("<BII")


class Codec(IntEnum):
    """How the data stands in a payload. The number is stored; 2 is reserved and refused in version 1."""

    RAW = 0
    ZSTD = 1


class Payload(msgspec.Struct, frozen=True, gc=False):
    """A payload that was read: `data` holds `raw_length` bytes under `codec`, and is a view into its buffer."""

    codec: Codec
    raw_length: int
    data: memoryview


def padme(length: int) -> int:
    """Return the padded length of `length` bytes: what PADMÉ (Nikitin et al., PURBs, 2019) rounds it up to."""
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (length + mask) & ~mask


def payload_parts(codec: Codec, raw_length: int, data: Buffer, padded: bool) -> tuple[bytes, Buffer, bytes]:
    """Return a payload as head, data and padding, so that a caller can place them without a copy.

    Raises:
        FormatError: the lengths break the format's rules.
    """
    length = len(data)
    _check_lengths(codec, raw_length, length, MAX_CHUNK_RAW)
    whole = PAYLOAD_HEAD_BYTES + length
    return _HEAD.pack(codec, raw_length, length), data, bytes(padme(whole) - whole) if padded else b""


def encode_payload(codec: Codec, raw_length: int, data: Buffer, padded: bool) -> bytes:
    """Return a whole payload: `data` under `codec` stands for `raw_length` raw bytes.

    Raises:
        FormatError: the lengths break the format's rules.
    """
    return b"".join(payload_parts(codec, raw_length, data, padded))


def decode_payload(buffer: Buffer, *, limit: int = MAX_CHUNK_RAW) -> Payload:
    """Read a payload that fills `buffer`; `limit` is the highest raw length to accept.

    Raises:
        FormatError: an unknown codec, lengths that do not agree, or padding that is not canonical.
    """
    total = len(buffer)
    if total < PAYLOAD_HEAD_BYTES:
        raise FormatError("A payload is cut.")
    codec, raw_length, length = _HEAD.unpack_from(buffer)
    if codec > Codec.ZSTD:
        raise FormatError(f"A payload has the unknown codec {codec}.")
    _check_lengths(codec, raw_length, length, limit)
    used = PAYLOAD_HEAD_BYTES + length
    if used != total and padme(used) != total:
        raise FormatError("A payload is not as long as it says.")
    view = memoryview(buffer)
    if used != total and bytes(view[used:]) != bytes(total - used):
        raise FormatError("A payload's padding is not zero.")
    return Payload(_CODECS[codec], raw_length, view[PAYLOAD_HEAD_BYTES:used])


_CODECS = tuple(Codec)


def _check_lengths(codec: int, raw_length: int, length: int, limit: int) -> None:
    if not 0 < raw_length <= limit:
        raise FormatError(f"A payload declares {raw_length} raw bytes; 1 to {limit} are allowed here.")
    if not (length == raw_length if codec == Codec.RAW else 0 < length < raw_length):
        raise FormatError("A payload's data is not as long as its codec and raw length demand.")
