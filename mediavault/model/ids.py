"""Names of stored objects: kinds, links, and ids as keyed BLAKE3 of the plaintext."""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from blake3 import blake3

from mediavault.errors import FormatError, UsageError

ObjectId: TypeAlias = bytes
"""32 bytes, shown as 64 lower-case hex digits."""

ID_BYTES = 32
LINK_BYTES = 1 + ID_BYTES
PLAIN_ID_SECRET = bytes(ID_BYTES)
"""The id secret of plain repositories; an encrypted one derives its own from the repository key."""


class Kind(IntEnum):
    """What an object is. The number is stored, and orders links."""

    CHUNK = 1
    MANIFEST = 2
    TREE = 3
    COMMIT = 4
    TAG = 5


class Link(NamedTuple):
    """A reference from one object to another; sorts by kind, then id."""

    kind: Kind
    id: ObjectId


def encode_links(links: Iterable[Link]) -> bytes:
    """Return the stored form: for each link its kind (u8) and id (32 bytes)."""
    return b"".join(bytes((link.kind,)) + link.id for link in links)


def decode_links(data: bytes | memoryview) -> tuple[Link, ...]:
    """Read links back.

    Raises:
        FormatError: an unknown kind, a cut link, or links that are not strictly ascending.
    """
    view = bytes(data)
    if len(view) % LINK_BYTES:
        raise FormatError("A list of links is cut.")
    try:
        links = tuple(Link(Kind(view[at]), view[at + 1 : at + LINK_BYTES]) for at in range(0, len(view), LINK_BYTES))
    except ValueError as error:
        raise FormatError("A link has an unknown kind.") from error
    if any(a >= b for a, b in pairwise(links)):
        raise FormatError("Links are not in ascending order.")
    return links


def parse_id(text: str) -> ObjectId:
    """Read 64 lower-case hex digits.

    Raises:
        UsageError: anything else.
    """
    if len(text) == 2 * ID_BYTES and all(c in "0123456789abcdef" for c in text):
        return bytes.fromhex(text)
    raise UsageError(f"Not an object id: {text[:80]!r}.", hint="An id is 64 lower-case hex digits.")


class Namer:
    """Computes the ids of one repository. Each kind has a key of its own, so a chunk never poses as a tree."""

    def __init__(self, id_secret: bytes) -> None:
        self._keys = {kind: blake3(b"mediavault/1/id" + bytes((kind,)), key=id_secret).digest() for kind in Kind}

    def chunk(self, raw: bytes | bytearray | memoryview) -> ObjectId:
        """Name a chunk by its raw bytes."""
        return blake3(raw, key=self._keys[Kind.CHUNK]).digest()

    def metadata(self, kind: Kind, links: Sequence[Link], payload: bytes) -> ObjectId:
        """Name a manifest, tree, commit or tag by link count (u32 LE), links and payload."""
        body = len(links).to_bytes(4, "little") + encode_links(links) + payload
        return blake3(body, key=self._keys[kind]).digest()
