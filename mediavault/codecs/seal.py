"""Sealing a frame's payload with AES-256-GCM under a key of its own, or not at all; what a payload holds is opaque here.

key = HKDF-SHA256(the epoch's data or meta key, salt = the frame's 32 salt bytes, info = domain, version, suite,
repository, kind and id); nonce zero, because a key is used once; associated data = the whole clear header.
The salt mixes fresh random bytes with what is sealed: neither a fork nor a machine restored from a snapshot, where
"random" bytes repeat, uses a key for two contents.
"""

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeAlias

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mediavault.errors import IntegrityError, NotAllowedError
from mediavault.formats.frame import (
    FRAME_VERSION,
    SALT_BYTES,
    SUITE_AES_GCM,
    SUITE_PLAIN,
    TAG_BYTES,
    Frame,
    FrameHeader,
    Room,
    WritableBuffer,
    begin_frame,
    encode_header,
    finish_frame,
)
from mediavault.formats.payload import Codec
from mediavault.model.ids import Kind, Link, ObjectId, encode_links

Buffer: TypeAlias = bytes | bytearray | memoryview

_NONCE: Final = bytes(12)
_INFO: Final = b"mediavault/1/frame" + bytes((FRAME_VERSION, SUITE_AES_GCM))


class FrameSealer(Protocol):
    """Makes frames of payloads, and opens them. Safe to use from several threads."""

    @property
    def suite(self) -> int:
        """The suite of the frames it makes; it opens no other."""

    def seal(
        self,
        kind: Kind,
        oid: ObjectId,
        payload: Buffer,
        *,
        links: Sequence[Link] = (),
        generation: int = 0,
        room: Room = bytearray,
    ) -> WritableBuffer:
        """Return a whole frame around `payload`, in memory from `room`.

        Raises:
            FormatError: the frame would break the format's rules.
        """

    def open(self, frame: Frame, into: memoryview | None = None) -> bytes | memoryview:
        """Return the payload of a parsed frame.

        Args:
            frame: what to open.
            into: memory for the payload, used where it is long enough; what is returned then shows it.

        Raises:
            IntegrityError: another suite, or the frame is not what was sealed.
            NotAllowedError: the key of its epoch is not known here.
        """


class PlainSealer:
    """Suite 0: payloads stand in clear, and only checksums and ids protect them."""

    suite = SUITE_PLAIN

    def seal(
        self,
        kind: Kind,
        oid: ObjectId,
        payload: Buffer,
        *,
        links: Sequence[Link] = (),
        generation: int = 0,
        room: Room = bytearray,
    ) -> WritableBuffer:
        """Return a whole frame with `payload` in clear."""
        header = FrameHeader(kind, SUITE_PLAIN, 0, oid, encode_links(links), generation, b"", len(payload))
        frame, body = begin_frame(encode_header(header), len(payload), room)
        body[:] = payload
        body.release()
        finish_frame(frame)
        return frame

    def open(self, frame: Frame, into: memoryview | None = None) -> bytes | memoryview:  # noqa: ARG002 -- a payload in clear needs no other memory
        """Return the payload, a view into the frame."""
        _check_suite(frame, SUITE_PLAIN)
        return frame.body


class Sealer:
    """Suite 1.

    Args:
        repository: the repository's id, 16 bytes.
        data_keys: by epoch, the 32-byte key from which those of chunks are derived.
        meta_keys: the same for all other kinds.
        epoch: under which new frames are sealed.
        random: returns that many unpredictable bytes; safe to call from several threads.
    """

    suite = SUITE_AES_GCM

    def __init__(
        self,
        repository: bytes,
        *,
        data_keys: Mapping[int, bytes],
        meta_keys: Mapping[int, bytes],
        epoch: int,
        random: Callable[[int], bytes],
    ) -> None:
        if epoch not in data_keys or epoch not in meta_keys:
            raise NotAllowedError(f"The key of epoch {epoch} is not known here.")
        self._keys = {kind: data_keys if kind is Kind.CHUNK else meta_keys for kind in Kind}
        self._infos = {kind: _INFO + repository + bytes((kind,)) for kind in Kind}
        self._epoch = epoch
        self._random = random

    def seal(
        self,
        kind: Kind,
        oid: ObjectId,
        payload: Buffer,
        *,
        links: Sequence[Link] = (),
        generation: int = 0,
        room: Room = bytearray,
    ) -> WritableBuffer:
        """Return a whole frame with `payload` sealed in it."""
        stored = len(payload) + TAG_BYTES
        salt = self._salt(oid, payload)
        header = FrameHeader(kind, SUITE_AES_GCM, self._epoch, oid, encode_links(links), generation, salt, stored)
        aad = encode_header(header)
        frame, body = begin_frame(aad, stored, room)
        self._cipher(header).encrypt_into(_NONCE, payload, aad, body)
        body.release()
        finish_frame(frame)
        return frame

    def open(self, frame: Frame, into: memoryview | None = None) -> bytes | memoryview:
        """Return the payload after checking its tag."""
        _check_suite(frame, SUITE_AES_GCM)
        cipher, length = self._cipher(frame.header), len(frame.body) - TAG_BYTES
        try:
            if into is None or not 0 <= length <= len(into):
                return cipher.decrypt(_NONCE, frame.body, frame.aad)
            cipher.decrypt_into(_NONCE, frame.body, frame.aad, into[:length])
            return into[:length]
        except InvalidTag as error:
            raise IntegrityError(
                f"Object {frame.header.id.hex()} is not what was sealed under this repository's key."
            ) from error

    def _salt(self, oid: ObjectId, payload: Buffer) -> bytes:
        """Return fresh random bytes mixed with what commits to this payload: the id alone where it stands uncompressed."""
        codec = payload[0]
        committed = oid + bytes((codec,)) + len(payload).to_bytes(4, "little")
        if codec != Codec.RAW:
            committed += blake3(payload).digest()
        return blake3(committed, key=self._random(SALT_BYTES)).digest()

    def _cipher(self, header: FrameHeader) -> AESGCM:
        key = self._keys[header.kind].get(header.epoch)
        if key is None:
            raise NotAllowedError(
                f"Object {header.id.hex()} is sealed under the key of epoch {header.epoch}, which is not known here.",
                hint="Unlock the repository again.",
            )
        # Not hmac.digest: that hands the interpreter's lock over twice, which costs many times what is computed here.
        extracted = hmac.new(header.salt, key, "sha256").digest()
        return AESGCM(hmac.new(extracted, self._infos[header.kind] + header.id + b"\x01", "sha256").digest())


def _check_suite(frame: Frame, suite: int) -> None:
    if frame.header.suite != suite:
        raise IntegrityError(
            f"Object {frame.header.id.hex()} is stored under suite {frame.header.suite}, this repository uses {suite}."
        )
