"""The bodies of the sync protocol's calls: binary lists of ids, and JSON messages as typed structs."""

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from mediavault.errors import FormatError
from mediavault.formats.frame import Buffer
from mediavault.model.ids import ID_BYTES, ObjectId

LOCATED_ROW_BYTES = 76
SIGNED_ROWS = "application/vnd.mediavault.signed-rows"
"""What a client accepts that wants to be told how to read the packs straight from the store."""
MAX_URL = 4096
_LOCATED = struct.Struct("<32s32sQI")
_COUNT = struct.Struct("<I")
_SIGNED = struct.Struct("<32sH")
_ETAG_LENGTH = 2 * ID_BYTES + 2


class LocatedRow(NamedTuple):
    """Where an object stands: in which pack, at which offset, how many bytes."""

    id: ObjectId
    pack: bytes
    offset: int
    length: int


class SignedRows(NamedTuple):
    """Where objects stand, and for some of the packs a URL that reads them straight from the store for so many seconds."""

    rows: list[LocatedRow]
    seconds: int
    urls: Mapping[ObjectId, str]


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


class Holdings(msgspec.Struct, frozen=True):
    """What is stored of a repository: all its objects and their bytes, the packs and theirs, and refs, deleted ones too."""

    objects: int
    bytes: int
    packs: int
    pack_bytes: int
    refs: int


class OfferedPack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pack of chunks that a client would put straight into the store: its id and SHA-256 in hex, its size in bytes."""

    id: str
    size: int
    sha256: str


class GrantRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which packs an upload would put straight into the store. `upload` is 32 random hex digits."""

    upload: str
    packs: list[OfferedPack]


class Grant(msgspec.Struct, frozen=True):
    """One PUT: where to, and the headers that go with it as they are."""

    url: str
    headers: dict[str, str]


class GrantList(msgspec.Struct, frozen=True):
    """A grant for each of the packs asked for, in their order, for so many seconds; null: send it through the server."""

    seconds: int
    grants: list[Grant | None]


class CompleteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which packs of an upload are in the store now, in hex. The answer waits for their checks, at most `wait` seconds."""

    upload: str
    packs: list[str]
    wait: int = 0


class CompleteResponse(msgspec.Struct, frozen=True):
    """Which of them are not checked yet, and which are not there or not what they should be; the others are stored."""

    waiting: list[str]
    refused: list[str]


class Capabilities(msgspec.Struct, frozen=True):
    """What a server speaks: protocol version, largest pack in bytes, most ids in one call, whether its store signs URLs."""

    protocol: int
    max_pack: int
    max_ids: int
    direct: bool = False


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


def encode_signed_rows(found: SignedRows) -> bytes:
    """Return a count u32 and the located rows; seconds u32; a count u32 and for each URL pack id, length u16, itself."""
    parts = [_COUNT.pack(len(found.rows)), encode_located(found.rows)]
    parts += [_COUNT.pack(found.seconds), _COUNT.pack(len(found.urls))]
    for pack, url in found.urls.items():
        parts += [_SIGNED.pack(pack, len(url)), url.encode("ascii")]
    return b"".join(parts)


def decode_signed_rows(data: Buffer) -> SignedRows:
    """Read located rows with URLs.

    Raises:
        FormatError: it is cut, something follows it, a pack is there twice, or a URL is none.
    """
    view = memoryview(data)
    count, at = _count(view, 0)
    end = at + count * LOCATED_ROW_BYTES
    rows = decode_located(_part(view, at, end))
    seconds, at = _count(view, end)
    count, at = _count(view, at)
    urls: dict[ObjectId, str] = {}
    for _ in range(count):
        pack, length = _SIGNED.unpack(_part(view, at, at + _SIGNED.size))
        at += _SIGNED.size
        url = bytes(_part(view, at, at + length)).decode("latin-1")
        at += length
        if pack in urls or not 0 < length <= MAX_URL or not (url.isascii() and url.isprintable()) or " " in url:
            raise FormatError("A list of signed URLs holds something else.")
        urls[pack] = url
    if at != len(view):
        raise FormatError("Something follows a list of signed URLs.")
    return SignedRows(rows, seconds, urls)


def _count(view: memoryview, at: int) -> tuple[int, int]:
    """Return a number, and where it ends."""
    end = at + _COUNT.size
    (count,) = _COUNT.unpack(_part(view, at, end))
    return count, end


def _part(view: memoryview, start: int, end: int) -> memoryview:
    if end > len(view):
        raise FormatError("A list of signed URLs is cut.")
    return view[start:end]


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
