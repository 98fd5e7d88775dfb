"""One object to a frame and back: naming, compressing, padding and sealing meet here; where frames lie is for the store."""

import threading
from collections.abc import Sequence
from typing import Final, TypeAlias

from mediavault.codecs import zstd
from mediavault.codecs.probe import worth_trying
from mediavault.codecs.seal import FrameSealer
from mediavault.errors import FormatError, IntegrityError
from mediavault.formats.frame import MAX_CHUNK_RAW, Frame, Room, WritableBuffer
from mediavault.formats.metadata import decode_commit
from mediavault.formats.payload import Codec, decode_payload, payload_parts
from mediavault.model.ids import Kind, Link, Namer, ObjectId

Buffer: TypeAlias = bytes | bytearray | memoryview

MAX_METADATA_RAW: Final = 1 << 20
"""Bytes of a metadata payload before it is taken into memory."""

_SCRATCH_BYTES: Final = 1 << 20


class _Scratch(threading.local):
    """Where one thread puts a payload together, or takes one apart: memory that stays in its cache."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_SCRATCH_BYTES))


class ObjectCodec:
    """Makes frames of objects and opens them, checking everything up to the id. Safe to use from several threads.

    Args:
        namer: computes the repository's ids.
        sealer: seals and opens.
        padded: whether new payloads are padded to hide their length.
        level: zstd level of new payloads.
    """

    def __init__(self, namer: Namer, sealer: FrameSealer, *, padded: bool, level: int = 1) -> None:
        self._namer = namer
        self._sealer = sealer
        self._padded = padded
        self._level = level
        self._scratch = _Scratch()

    @property
    def plain(self) -> bool:
        """Whether frames stand in clear, so that pack tables may tell raw lengths."""
        return self._sealer.suite == 0

    def name_chunk(self, raw: Buffer) -> ObjectId:
        """Return the id of a chunk."""
        return self._namer.chunk(raw)

    def name_metadata(self, kind: Kind, links: Sequence[Link], payload: bytes) -> ObjectId:
        """Return the id of a manifest, tree, commit or tag."""
        return self._namer.metadata(kind, links, payload)

    def encode_chunk(
        self, oid: ObjectId, raw: Buffer, try_compress: bool = True, room: Room = bytearray
    ) -> WritableBuffer:
        """Return the frame of a chunk that `name_chunk` named `oid`.

        Args:
            oid: the chunk's id.
            raw: its bytes, at least one.
            try_compress: compress where a probe finds it worth trying; False stores the bytes as they are.
            room: gives the memory for the frame.
        """
        packed = zstd.compress(raw, self._level) if try_compress and worth_trying(raw) else None
        return self._seal(Kind.CHUNK, oid, raw, packed, room=room)

    def encode_metadata(
        self, kind: Kind, links: Sequence[Link], payload: bytes, generation: int = 0
    ) -> tuple[ObjectId, WritableBuffer]:
        """Return the id and the frame of a manifest, tree, commit or tag."""
        oid = self._namer.metadata(kind, links, payload)
        return oid, self.seal_metadata(kind, oid, links, payload, generation)

    def seal_metadata(
        self, kind: Kind, oid: ObjectId, links: Sequence[Link], payload: bytes, generation: int = 0
    ) -> WritableBuffer:
        """Return the frame of an object that `name_metadata` named `oid`."""
        return self._seal(kind, oid, payload, zstd.compress(payload, self._level), links=links, generation=generation)

    def open(self, frame: Frame, expected: ObjectId, kind: Kind) -> bytes | memoryview:
        """Return the raw bytes of an object after checking them: seal, lengths, and the id computed again.

        Raises:
            IntegrityError: the frame does not hold the object `expected` of this kind.
            NotAllowedError: the key of its epoch is not known here.
        """
        return self._open(frame, expected, kind)

    def look_into(self, frame: Frame, expected: ObjectId) -> bytes | memoryview:
        """Return the raw bytes of a chunk after checking them as `open` does, until this thread opens or makes the next.

        For whoever is done with one chunk before the next comes: they stand in memory that is used again.
        """
        return self._open(frame, expected, Kind.CHUNK, self._scratch.view)

    def _open(self, frame: Frame, expected: ObjectId, kind: Kind, into: memoryview | None = None) -> bytes | memoryview:
        header = frame.header
        if header.id != expected or header.kind != kind:
            raise IntegrityError(
                f"A frame holds {header.kind.name.lower()} {header.id.hex()} where {kind.name.lower()} {expected.hex()} was expected."
            )
        sealed = self._sealer.open(frame, into)
        try:
            payload = decode_payload(sealed, limit=MAX_CHUNK_RAW if kind is Kind.CHUNK else MAX_METADATA_RAW)
            packed = payload.codec is Codec.ZSTD
            raw = zstd.decompress(payload.data, payload.raw_length) if packed else payload.data
        except FormatError as error:
            raise IntegrityError(f"Object {expected.hex()} is damaged. {error.message}") from error
        if kind is Kind.CHUNK:
            named = self._namer.chunk(raw)
        else:
            raw = bytes(raw)
            named = self._namer.metadata(kind, header.links, raw)
        if named != expected:
            raise IntegrityError(f"Object {expected.hex()} holds other content than its id says.")
        return raw

    def verify(self, frame: Frame, expected: ObjectId, kind: Kind) -> bytes | memoryview:
        """Open an object that is to be stored or judged; checks also what stands in clear and is no part of the id.

        Raises:
            IntegrityError: the frame does not hold the object `expected` of this kind, or a commit's generation is
                not the one that its author wrote.
            NotAllowedError: the key of its epoch is not known here.
        """
        raw = self.open(frame, expected, kind)
        if kind is Kind.COMMIT:
            try:
                decode_commit(frame.header.links, bytes(raw), frame.header.generation)
            except FormatError as error:
                raise IntegrityError(f"Commit {expected.hex()} is damaged. {error.message}") from error
        return raw

    def _seal(
        self,
        kind: Kind,
        oid: ObjectId,
        raw: Buffer,
        packed: bytes | None,
        *,
        links: Sequence[Link] = (),
        generation: int = 0,
        room: Room = bytearray,
    ) -> WritableBuffer:
        codec, data = (Codec.RAW, raw) if packed is None else (Codec.ZSTD, packed)
        head, data, padding = payload_parts(codec, len(raw), data, padded=self._padded)
        start, end = len(head), len(head) + len(data)
        total = end + len(padding)
        if total > _SCRATCH_BYTES:
            payload: Buffer = b"".join((head, data, padding))
        else:
            payload = self._scratch.view[:total]
            payload[:start] = head
            payload[start:end] = data
            payload[end:] = padding
        return self._sealer.seal(kind, oid, payload, links=links, generation=generation, room=room)
