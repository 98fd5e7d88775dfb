"""The frame: one object as it is stored, sent and copied, with a clear header and a checksum at its end.

Knows the header's layout and which kinds may link to which. Leaves compression, padding and sealing to others:
the stored bytes between header and checksum are opaque here.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from operator import ge
from typing import TypeAlias

import msgspec
from blake3 import blake3

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.model.ids import LINK_BYTES, Kind, Link, ObjectId, decode_links, encode_links

Buffer: TypeAlias = bytes | bytearray | memoryview
WritableBuffer: TypeAlias = bytearray | memoryview
Room: TypeAlias = Callable[[int], WritableBuffer]
"""Gives memory of exactly so many bytes, whatever is in them."""

FRAME_VERSION = 1
SUITE_PLAIN = 0
SUITE_AES_GCM = 1
"""HKDF-SHA256 for each frame's key, then AES-256-GCM."""

SALT_BYTES = 32
TAG_BYTES = 16
CHECKSUM_BYTES = 16
MAX_LINKS = 4096
MAX_METADATA_FRAME = 1 << 20
MAX_CHUNK_RAW = 16 << 20
# 16 MiB and 9 bytes of payload header, padded, with the tag: no chunk's stored bytes are longer.
MAX_CHUNK_STORED = 17_301_504 + TAG_BYTES
MAX_FRAME = 43 + 12 + SALT_BYTES + MAX_CHUNK_STORED + CHECKSUM_BYTES
MAX_GENERATION = (1 << 63) - 1

_FIXED = struct.Struct("<BBBI32sI")
_PLAIN_END = struct.Struct("<QI")
_SEALED_END = struct.Struct("<Q32sI")
_PAYLOAD_HEAD = 9
_KINDS = dict(enumerate(Kind, start=1))
_TREE = bytes((Kind.TREE,))
_COMMIT = bytes((Kind.COMMIT,))


class FrameHeader(msgspec.Struct, frozen=True, gc=False):
    """What a frame says of itself in clear; all of it is associated data of the seal.

    `link_data` is the stored form of the links, 33 bytes each. `salt` is empty in suite 0. `stored_length` counts
    the bytes between header and checksum, with the tag in suite 1.
    """

    kind: Kind
    suite: int
    epoch: int
    id: ObjectId
    link_data: bytes
    generation: int
    salt: bytes
    stored_length: int

    @property
    def links(self) -> tuple[Link, ...]:
        """The links, decoded at every call."""
        return decode_links(self.link_data)


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A frame that was read, its grammar verified, and its checksum unless the reader spared that.

    Attributes:
        header: the clear header.
        aad: the header's bytes.
        body: the stored bytes, a view into `data`.
        checksum: the 16 bytes at the end.
        size: length of the whole frame in bytes.
        data: the whole frame, a view into the buffer it was read from.
    """

    header: FrameHeader
    aad: bytes
    body: memoryview
    checksum: bytes
    size: int
    data: memoryview


def make_header(
    kind: Kind,
    oid: ObjectId,
    stored_length: int,
    *,
    links: Sequence[Link] = (),
    generation: int = 0,
    suite: int = SUITE_PLAIN,
    epoch: int = 0,
    salt: bytes = b"",
) -> FrameHeader:
    """Build a header from decoded links, which must be ascending and unique."""
    return FrameHeader(kind, suite, epoch, oid, encode_links(links) if links else b"", generation, salt, stored_length)


def encode_header(header: FrameHeader) -> bytes:
    """Return the header's bytes, which are the associated data of the seal.

    Raises:
        FormatError: the header breaks the format's rules.
    """
    _check_header(header)
    count = len(header.link_data) // LINK_BYTES
    fixed = _FIXED.pack(FRAME_VERSION, header.kind, header.suite, header.epoch, header.id, count)
    if header.suite == SUITE_PLAIN:
        end = _PLAIN_END.pack(header.generation, header.stored_length)
    else:
        end = _SEALED_END.pack(header.generation, header.salt, header.stored_length)
    return fixed + header.link_data + end


def build_frame(header: FrameHeader, parts: Iterable[Buffer]) -> bytes:
    """Return a whole frame; `parts` are the stored bytes in order, `header.stored_length` in all.

    Raises:
        FormatError: the header breaks the format's rules, or the parts have another length.
    """
    pieces: list[Buffer] = [encode_header(header), *parts]
    if sum(map(len, pieces)) - len(pieces[0]) != header.stored_length:
        raise FormatError("A frame's body is not as long as its header says.")
    hasher = blake3()
    for piece in pieces:
        hasher.update(piece)
    pieces.append(hasher.digest(CHECKSUM_BYTES))
    return b"".join(pieces)


def begin_frame(aad: bytes, stored_length: int, room: Room = bytearray) -> tuple[WritableBuffer, memoryview]:
    """Return a frame's buffer with the encoded header in it, and a writable view of where the stored bytes go.

    Seal straight into the view, then call `finish_frame`.
    """
    start = len(aad)
    frame = room(start + stored_length + CHECKSUM_BYTES)
    frame[:start] = aad
    return frame, memoryview(frame)[start : start + stored_length]


def finish_frame(frame: WritableBuffer) -> None:
    """Write the checksum at the end of a buffer from `begin_frame` whose stored bytes are complete."""
    view = memoryview(frame)
    frame[-CHECKSUM_BYTES:] = blake3(view[:-CHECKSUM_BYTES]).digest(CHECKSUM_BYTES)


def frame_size(data: Buffer, offset: int = 0, available: int | None = None) -> int | None:
    """Return the length of the frame that starts at `offset`, or None when more bytes are needed to tell.

    Args:
        data: a buffer.
        offset: where the frame starts.
        available: how many bytes from `offset` on are filled; by default all to the end of `data`.

    Raises:
        FormatError: this is no frame, or it is larger than any frame may be.
    """
    have = len(data) - offset if available is None else available
    if have < _FIXED.size:
        return None
    version, kind, suite, _, _, count = _FIXED.unpack_from(data, offset)
    _check_start(version, kind, suite, count)
    end = _PLAIN_END if suite == SUITE_PLAIN else _SEALED_END
    at = _FIXED.size + count * LINK_BYTES
    if have < at + end.size:
        return None
    (stored,) = struct.unpack_from("<I", data, offset + at + end.size - 4)
    size: int = at + end.size + stored + CHECKSUM_BYTES
    _check_lengths(kind, suite, stored, size)
    return size


def parse_frame(data: Buffer, offset: int = 0, *, checked: bool = True) -> Frame:
    """Read the frame that starts at `offset`; what follows it is ignored.

    Nothing is copied but the header. The views hold the buffer.

    Args:
        data: a buffer.
        offset: where the frame starts.
        checked: compare the checksum. It says nothing that the tag of a sealed frame does not say, so whoever opens
            the frame next may spare it.

    Raises:
        FormatError: no whole frame, a wrong checksum, or a header that breaks the format's rules.
        UnsupportedFormatError: a newer version wrote it.
    """
    have = len(data) - offset
    size = frame_size(data, offset) if offset >= 0 else None
    if size is None or size > have:
        raise FormatError(f"A frame is cut: {max(have, 0)} bytes are there.")
    whole = memoryview(data)[offset : offset + size]
    checksum = bytes(whole[-CHECKSUM_BYTES:])
    if checked and blake3(whole[:-CHECKSUM_BYTES]).digest(CHECKSUM_BYTES) != checksum:
        raise FormatError("A frame's checksum does not match its bytes.")
    return _read(whole, checksum, size)


def _read(whole: memoryview, checksum: bytes, size: int) -> Frame:
    _, kind, suite, epoch, oid, count = _FIXED.unpack_from(whole)
    at = _FIXED.size + count * LINK_BYTES
    link_data = bytes(whole[_FIXED.size : at]) if count else b""
    if suite == SUITE_PLAIN:
        generation, stored = _PLAIN_END.unpack_from(whole, at)
        salt = b""
        at += _PLAIN_END.size
    else:
        generation, salt, stored = _SEALED_END.unpack_from(whole, at)
        at += _SEALED_END.size
    header = FrameHeader(_KINDS[kind], suite, epoch, oid, link_data, generation, salt, stored)
    _check_grammar(header)
    return Frame(header, bytes(whole[:at]), whole[at : at + stored], checksum, size, whole)


def _check_start(version: int, kind: int, suite: int, count: int) -> None:
    if version != FRAME_VERSION:
        if version > FRAME_VERSION:
            raise UnsupportedFormatError(
                f"A frame has version {version}; this program reads version {FRAME_VERSION}.",
                hint="Install a newer version of MediaVault.",
            )
        raise FormatError("This is not a frame.")
    if not Kind.CHUNK <= kind <= Kind.TAG:
        raise FormatError(f"A frame has the unknown kind {kind}.")
    if suite > SUITE_AES_GCM:
        raise FormatError(f"A frame has the unknown suite {suite}.")
    if count > MAX_LINKS:
        raise FormatError(f"A frame has {count} links; {MAX_LINKS} are the most.")


def _check_lengths(kind: int, suite: int, stored: int, size: int) -> None:
    if stored > MAX_CHUNK_STORED if kind == Kind.CHUNK else size > MAX_METADATA_FRAME:
        raise FormatError(f"A frame of {size} bytes is larger than the format allows.")
    if stored < _PAYLOAD_HEAD + (TAG_BYTES if suite else 0):
        raise FormatError("A frame is too short to hold a payload.")


def _check_header(header: FrameHeader) -> None:
    count, rest = divmod(len(header.link_data), LINK_BYTES)
    salt_length = SALT_BYTES if header.suite else 0
    if rest or len(header.id) != 32 or len(header.salt) != salt_length or not 0 <= header.epoch < 1 << 32:
        raise FormatError("A frame's header has a field of the wrong length.")
    _check_start(FRAME_VERSION, header.kind, header.suite, count)
    size = _FIXED.size + len(header.link_data) + 12 + salt_length + header.stored_length + CHECKSUM_BYTES
    _check_lengths(header.kind, header.suite, header.stored_length, size)
    _check_grammar(header)


def _check_grammar(header: FrameHeader) -> None:
    """Refuse a generation, an epoch or links that the kind may not have."""
    kind, data, generation = header.kind, header.link_data, header.generation
    if header.epoch and header.suite == SUITE_PLAIN:
        raise FormatError("A plain frame names a key epoch.")
    if (generation == 0) if kind == Kind.COMMIT else (generation != 0):
        raise FormatError("A frame has a generation that its kind may not have.")
    if generation > MAX_GENERATION:
        raise FormatError("A commit's generation is out of range.")
    if kind == Kind.CHUNK:
        if data:
            raise FormatError("A chunk has links.")
        return
    links = [data[at : at + LINK_BYTES] for at in range(0, len(data), LINK_BYTES)]
    if any(map(ge, links, links[1:])):
        raise FormatError("A frame's links are not in strictly ascending order.")
    if not _may_link(kind, data[::LINK_BYTES]):
        raise FormatError(f"A {kind.name.lower()} links to kinds that it may not link to.")


def _may_link(kind: Kind, kinds: bytes) -> bool:
    """Whether an object of this kind may have links of these kinds, which ascend, so the ends bound what is between."""
    if kind == Kind.MANIFEST:
        return bool(kinds) and kinds[0] == kinds[-1] and kinds[0] in (Kind.CHUNK, Kind.MANIFEST)
    if kind == Kind.TREE:
        return not kinds or (kinds[0] >= Kind.CHUNK and kinds[-1] <= Kind.TREE)
    if kind == Kind.COMMIT:
        return kinds[:1] == _TREE and kinds.count(_COMMIT) == len(kinds) - 1
    return len(kinds) == 1 and Kind.TREE <= kinds[0] <= Kind.TAG
