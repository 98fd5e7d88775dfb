"""The bodies of the sync protocol's calls: binary lists of ids, and JSON messages as typed structs."""

import struct
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import msgspec

from mediavault.errors import FormatError
from mediavault.formats.frame import Buffer
from mediavault.model.ids import ID_BYTES, ObjectId

LOCATED_ROW_BYTES = 76
_LOCATED = struct.Struct("<32s32sQI")
_ETAG_LENGTH = 2 * ID_BYTES + 2


class LocatedRow(NamedTuple):
    """Where an object stands: in which pack, at which offset, how many bytes."""

    id: ObjectId
    pack: bytes
    offset: int
    length: int


class CheckRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which of these ids are missing? In hex."""

    chunks: list[str]


class CheckResponse(msgspec.Struct, frozen=True):
    """The missing ones of the ids asked for, in hex and in their order."""

    missing: list[str]


class PackRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Metadata reachable from `want` and not from `have`; ids in hex.

    `depth`: how many commits deep, 1 or more. `trees`: beneath these alone.
    """

    want: list[str]
    have: list[str]
    depth: int | None = None
    trees: list[str] | None = None


class RefRow(msgspec.Struct, frozen=True):
    """One ref: its name, its ETag, its stored value in base64."""

    name: str
    etag: str
    value: str


class RefList(msgspec.Struct, frozen=True):
    """All refs, nil ones too, by name."""

    refs: list[RefRow]


class SlotList(msgspec.Struct, frozen=True):
    """The names of the key slots."""

    slots: list[str]


class LogList(msgspec.Struct, frozen=True):
    """A ref's former values in base64, oldest first."""

    values: list[str]


class Capabilities(msgspec.Struct, frozen=True):
    """What a server speaks: protocol version, largest pack in bytes, most ids in one call."""

    protocol: int
    max_pack: int
    max_ids: int


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An RFC 9457 problem document, with what the protocol adds to it."""

    type: str
    title: str
    status: int
    detail: str = ""
    missing: list[str] = []
    repository: str = ""
    given: str = ""


Message = TypeVar("Message", bound=msgspec.Struct)


def encode_ids(ids: Iterable[ObjectId]) -> bytes:
    """Return ids one after another, 32 bytes each."""
    return b"".join(ids)


def decode_ids(data: Buffer) -> list[ObjectId]:
    """Read ids that stand one after another.

    Raises:
        FormatError: the length is no multiple of 32.
    """
    view = bytes(data)
    if len(view) % ID_BYTES:
        raise FormatError("A list of ids is cut.")
    return [view[at : at + ID_BYTES] for at in range(0, len(view), ID_BYTES)]


def encode_located(rows: Iterable[LocatedRow]) -> bytes:
    """Return rows of 76 bytes: id, pack id, offset u64, length u32."""
    return b"".join(_LOCATED.pack(*row) for row in rows)


def decode_located(data: Buffer) -> list[LocatedRow]:
    """Read located rows.

    Raises:
        FormatError: the length is no multiple of 76.
    """
    if len(data) % LOCATED_ROW_BYTES:
        raise FormatError("A list of located objects is cut.")
    return list(map(LocatedRow._make, _LOCATED.iter_unpack(data)))


def etag_of(value_hash: bytes) -> str:
    """Return the strong ETag of a ref's value or of another blob named by a hash of 32 bytes."""
    return f'"{value_hash.hex()}"'


def parse_etag(text: str) -> bytes:
    """Read an ETag made by `etag_of`.

    Raises:
        FormatError: anything else.
    """
    if len(text) == _ETAG_LENGTH and text[0] == text[-1] == '"' and not set(text[1:-1]) - set("0123456789abcdef"):
        return bytes.fromhex(text[1:-1])
    raise FormatError("This is not an ETag of this protocol.")


def encode_json(message: msgspec.Struct) -> bytes:
    """Return a message as JSON."""
    return msgspec.json.encode(message)


def decode_json(data: Buffer, message: type[Message]) -> Message:
    """Read a message; the caller has limited its length.

    Raises:
        FormatError: it does not parse as this type.
    """
    try:
        return msgspec.json.decode(data, type=message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"A message does not parse: {error}.") from error
