"""Measures what the bare library calls of each stage take on a corpus, and this product's calls, one thread doing nothing else.

python -m benchmarks.limits SOURCE SCRATCH OUT.json

Window by window, so that nothing but a window is held; bare and own calls take turns in being first, so that neither
always finds the bytes in the processor's cache.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyfastcdc
import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mediavault.chunking.fastcdc import Chunker
from mediavault.codecs import zstd
from mediavault.codecs.probe import worth_trying
from mediavault.codecs.seal import Sealer
from mediavault.formats.config import ChunkerConfig
from mediavault.formats.frame import parse_frame
from mediavault.formats.payload import Codec, encode_payload
from mediavault.model.ids import Kind, Namer

WINDOW_BYTES = 4 << 20
PACK_BYTES = 64 << 20
SAMPLE_BYTES = 16 << 10
CONFIG = ChunkerConfig()
NONCE, KEY = bytes(12), bytes(range(32))


class Figures:
    """Seconds by direction, stage and column."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, dict[str, float]]] = {"in": {}, "out": {}}
        self._turn = False

    def add(self, way: str, stage: str, column: str, call: Callable[[], Any]) -> Any:
        """Time one call: in processor time, as the stages of a run are, but syncing on the wall."""
        clock = time.perf_counter if stage == "sync" else time.thread_time
        started = clock()
        result = call()
        taken = clock() - started
        columns = self.seconds[way].setdefault(stage, {})
        columns[column] = columns.get(column, 0.0) + taken
        return result

    def both(self, way: str, stage: str, bare: Callable[[], Any], own: Callable[[], Any]) -> Any:
        """Time the library's call and this product's on the same bytes; return what the latter returned."""
        self._turn = not self._turn
        if self._turn:
            self.add(way, stage, "bare", bare)
            return self.add(way, stage, "own", own)
        result = self.add(way, stage, "own", own)
        self.add(way, stage, "bare", bare)
        return result


class Pack:
    """A file in the scratch folder that is begun anew every 64 MiB, synced before that."""

    def __init__(self, path: Path, way: str, figures: Figures) -> None:
        self._path = path
        self._way = way
        self._figures = figures
        self._fd = -1
        self._size = 0

    def write(self, blocks: Sequence[Any]) -> int:
        """Write blocks; return where they begin."""
        if self._fd < 0 or self._size >= PACK_BYTES:
            self.close()
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            self._size = 0
        start = self._size
        self._figures.add(self._way, "write", "bare", lambda: [os.write(self._fd, block) for block in blocks])
        self._size += sum(map(len, blocks))
        return start

    def read(self, start: int) -> bytes:
        """Read from a place to the end."""
        return os.pread(self._fd, self._size - start, start)

    def close(self) -> None:
        """Bring the file to the disk and remove it."""
        if self._fd >= 0:
            self._figures.add(self._way, "sync", "bare", lambda: os.fsync(self._fd))
            os.close(self._fd)
            self._path.unlink()
            self._fd = -1


class Limits:
    """Takes files through every stage, one window after another."""

    def __init__(self, scratch: Path) -> None:
        self.figures = Figures()
        self._packs = Pack(scratch / "pack", "in", self.figures)
        self._files = Pack(scratch / "file", "out", self.figures)
        self._chunker = Chunker(CONFIG)
        fastcdc: Any = pyfastcdc.FastCDC
        self._fastcdc = fastcdc(
            CONFIG.average, min_size=CONFIG.minimum, max_size=CONFIG.maximum, normalized_chunking=CONFIG.normalisation
        )
        self._namer = Namer(KEY)
        self._sealer = Sealer(bytes(16), data_keys={0: KEY}, meta_keys={0: KEY}, epoch=0, random=os.urandom)
        self._cipher = AESGCM(KEY)
        self._compressor = zstandard.ZstdCompressor(level=1, write_checksum=False)
        self._decompressor = zstandard.ZstdDecompressor()

    def file(self, path: Path) -> None:
        """Take in one file and bring it back."""
        buffer = memoryview(bytearray(WINDOW_BYTES + CONFIG.maximum))
        hasher, again = blake3(), blake3()
        tail = b""
        with path.open("rb", buffering=0) as stream:
            while True:
                start = len(tail)
                buffer[:start] = tail
                room = buffer[start : start + WINDOW_BYTES]
                count = self.figures.add("in", "read", "bare", partial(stream.readinto, room)) or 0
                window = buffer[: start + count]
                self.figures.add("in", "file hash", "bare", partial(hasher.update, room[:count]))
                chunks, tail = self._cut(window, last=count < WINDOW_BYTES)
                self._out(self._in(chunks), again)
                if count < WINDOW_BYTES:
                    break
        if hasher.digest() != again.digest():
            raise SystemExit(f"{path.name} did not come back as it was")

    def finish(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return the figures."""
        self._packs.close()
        self._files.close()
        return self.figures.seconds

    def _cut(self, window: memoryview, *, last: bool) -> tuple[list[memoryview], bytes]:
        lengths = self.figures.both(
            "in", "cut",
            lambda: [chunk.length for chunk in self._fastcdc.cut_buf(window)] if len(window) else [],
            lambda: self._chunker.cut(window, last=last),
        )  # fmt: skip
        chunks, at = [], 0
        for length in lengths:
            chunks.append(window[at : at + length])
            at += length
        return chunks, bytes(window[at:])

    def _in(self, chunks: list[memoryview]) -> list[tuple[bytes, memoryview, bytes | None, bytes]]:
        """Take chunks in; return id, bytes, compressed bytes and frame of each."""
        figures, compressor = self.figures, self._compressor
        ids = figures.both(
            "in", "id hash",
            lambda: [blake3(raw, key=KEY).digest() for raw in chunks],
            lambda: [self._namer.chunk(raw) for raw in chunks],
        )  # fmt: skip
        trying = figures.both(
            "in", "probe",
            lambda: [compressor.compress(raw[:SAMPLE_BYTES]) for raw in chunks],
            lambda: [worth_trying(raw) for raw in chunks],
        )  # fmt: skip
        tried = [raw for raw, worth in zip(chunks, trying, strict=True) if worth]
        smaller = figures.both(
            "in", "compress",
            lambda: [compressor.compress(raw) for raw in tried],
            lambda: [zstd.compress(raw) for raw in tried],
        )  # fmt: skip
        packed = iter(smaller)
        data = [next(packed) if worth else None for worth in trying]
        payloads = [_payload(raw, small) for raw, small in zip(chunks, data, strict=True)]
        room = memoryview(bytearray(max(map(len, payloads), default=0) + 16))
        frames = figures.both(
            "in", "seal",
            lambda: [self._seal_bare(payload, room) for payload in payloads],
            lambda: [self._sealer.seal(Kind.CHUNK, oid, body) for oid, body in zip(ids, payloads, strict=True)],
        )  # fmt: skip
        return list(zip(ids, chunks, data, frames, strict=True))

    def _out(self, sealed: list[tuple[bytes, memoryview, bytes | None, bytes]], hasher: Any) -> None:
        """Write the frames of a window, and bring the chunks back."""
        if not sealed:
            return
        figures = self.figures
        start = self._packs.write([frame for *_, frame in sealed])
        data = memoryview(figures.add("out", "read", "bare", lambda: self._packs.read(start)))
        offsets, at = [], 0
        for *_, frame in sealed:
            offsets.append(at)
            at += len(frame)
        # No library's work is in it: the seal's tag says what the checksum would.
        parse = partial(parse_frame, data, checked=False)
        frames = figures.add("out", "parse frame", "own", lambda: [parse(offset) for offset in offsets])
        blanks = [bytes(self._cipher.encrypt(NONCE, bytes(len(frame.body) - 16), None)) for frame in frames]
        figures.both(
            "out", "open",
            lambda: [self._cipher.decrypt(NONCE, blank, None) for blank in blanks],
            lambda: [self._sealer.open(frame) for frame in frames],
        )  # fmt: skip
        packed = [(small, len(raw)) for _, raw, small, _ in sealed if small is not None]
        figures.both(
            "out", "decompress",
            lambda: [self._decompressor.decompress(small, max_output_size=size) for small, size in packed],
            lambda: [zstd.decompress(small, size) for small, size in packed],
        )  # fmt: skip
        chunks = [raw for _, raw, _, _ in sealed]
        figures.both(
            "out", "id hash",
            lambda: [blake3(raw, key=KEY).digest() for raw in chunks],
            lambda: [self._namer.chunk(raw) for raw in chunks],
        )  # fmt: skip
        figures.add("out", "file hash", "bare", lambda: [hasher.update(raw) for raw in chunks])
        self._files.write(chunks)

    def _seal_bare(self, payload: bytes, room: memoryview) -> bytes:
        """Encrypt, and hash for the checksum: what sealing cannot do without."""
        body = room[: len(payload) + 16]
        self._cipher.encrypt_into(NONCE, payload, None, body)
        return blake3(body).digest(16)


def _payload(raw: memoryview, packed: bytes | None) -> bytes:
    if packed is None:
        return encode_payload(Codec.RAW, len(raw), raw, padded=True)
    return encode_payload(Codec.ZSTD, len(raw), packed, padded=True)


def main() -> None:
    """Do what the command line says."""
    source, scratch, out = map(Path, sys.argv[1:])
    limits = Limits(scratch)
    for path in sorted(source.rglob("*")):
        if path.is_file():
            limits.file(path)
    out.write_text(json.dumps(limits.finish()))


if __name__ == "__main__":
    main()
