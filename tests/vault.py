"""A small repository with keys, for tests of the rooms that seal and open."""

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from blake3 import blake3

from mediavault.chunking.fastcdc import Chunker
from mediavault.codecs.seal import PlainSealer, Sealer
from mediavault.formats.config import ChunkerConfig
from mediavault.formats.frame import Frame, parse_frame
from mediavault.keys.hierarchy import RepositoryKeys, plain_keys
from mediavault.model.ids import Namer, ObjectId
from mediavault.model.objects import Mode, TreeEntry
from mediavault.model.splitting import Splitter
from mediavault.objects.codec import ObjectCodec
from mediavault.objects.ingest import Content, Ingest
from mediavault.objects.nodes import NodeWriter
from mediavault.objects.reader import ObjectReader
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault_backends.memory import MemoryBackend

SMALL_CHUNKS = ChunkerConfig(average=1024, minimum=256, maximum=4096)


def counting() -> Callable[[int], bytes]:
    """Return a source of bytes that never repeat and are the same in every run."""
    numbers = itertools.count()
    return lambda length: blake3(next(numbers).to_bytes(8, "little")).digest(length)


def noise(length: int, name: str = "noise") -> bytes:
    """Return bytes that look random and are the same in every run."""
    return blake3(name.encode()).digest(length)


class Sink:
    """Frames in memory: a store and the way into it at once."""

    def __init__(self) -> None:
        self.frames: dict[ObjectId, bytes] = {}
        self.appended: list[ObjectId] = []
        self.raw_lengths: dict[ObjectId, int] = {}

    def has(self, oid: ObjectId) -> bool:
        return oid in self.frames

    def append(self, frame: bytes | bytearray | memoryview, raw_length: int) -> None:
        parsed = parse_frame(bytes(frame))
        self.frames[parsed.header.id] = bytes(frame)
        self.raw_lengths[parsed.header.id] = raw_length
        self.appended.append(parsed.header.id)

    def stored(self, oid: ObjectId) -> bytes:
        return self.frames[oid]

    def read(self, oid: ObjectId) -> Frame:
        return parse_frame(self.stored(oid))

    def read_batch(self, ids: Sequence[ObjectId], *, checked: bool = True) -> list[Frame]:
        return [parse_frame(self.stored(oid), checked=checked) for oid in ids]

    def copies(self, oid: ObjectId) -> Iterator[tuple["Spot", Frame]]:
        yield Spot(), self.read(oid)


class Spot:
    """Where the one copy of a frame stands in a Sink."""

    pack_id = b"\xaa" * 32
    offset = 24


class Vault:
    """Everything between plaintext and frames, over a Sink."""

    def __init__(self, *, plain: bool = False, config: ChunkerConfig = SMALL_CHUNKS, workers: int = 2) -> None:
        repository = bytes(range(16))
        encrypted = RepositoryKeys(repository, {0: b"k" * 32})
        keys = plain_keys(repository) if plain else encrypted
        sealer = Sealer(
            repository,
            data_keys={0: encrypted.data_key(0)},
            meta_keys={0: encrypted.meta_key(0)},
            epoch=0,
            random=counting(),
        )
        self.config = config
        self.workers = workers
        self.seed = keys.chunker_seed
        self.codec = ObjectCodec(Namer(keys.id_secret), PlainSealer() if plain else sealer, padded=not plain)
        self.splitter = Splitter(keys.split_key)
        self.sink = Sink()
        self.nodes = NodeWriter(self.codec, self.splitter, self.sink, self.sink)
        self.reader = ObjectReader(self.sink, self.codec)

    def chunker(self) -> Chunker:
        return Chunker(self.config, self.seed)

    def ingest(self) -> Ingest:
        return Ingest(self.codec, self.splitter, self.sink, self.sink, chunker=self.chunker, workers=self.workers)

    def put(self, data: bytes) -> Content:
        """Take in one file."""
        with self.ingest() as ingest:
            ((_, content),) = ingest.add([MemoryFile(data)])
        assert content is not None
        return content


class MemoryFile:
    """A file in memory, as a source for Ingest."""

    compress = True

    def __init__(self, data: bytes, *, size: int | None = None) -> None:
        self.data = data
        self.size = len(data) if size is None else size
        self.opened: list[io.BytesIO] = []

    def open(self) -> io.BytesIO:
        self.opened.append(io.BytesIO(self.data))
        return self.opened[-1]

    @property
    def closed(self) -> bool:
        return all(file.closed for file in self.opened)


def entry(name: str, content: Content) -> TreeEntry:
    """Return the tree entry of a file."""
    return TreeEntry(name, Mode.FILE, content.size, content.digest, content.child)


@contextmanager
def stored_vault(spool: Path) -> Iterator[tuple[Vault, FrameStore]]:
    """Give a vault that writes real packs to a store in memory, which is finished at the end of the block."""
    vault = Vault()
    frames = FrameStore(backend := MemoryBackend(), ObjectIndex(backend))
    with frames.writer(spool, plain=False, random=counting()) as writer:
        vault.sink = writer  # type: ignore[assignment]  # all of a sink that ingesting uses
        vault.nodes = NodeWriter(vault.codec, vault.splitter, frames, writer)
        vault.reader = ObjectReader(frames, vault.codec)
        yield vault, frames
