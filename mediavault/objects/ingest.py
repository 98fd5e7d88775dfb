"""Files into chunk frames and manifests, by a bounded pipeline of threads; finding and naming files is for the workspace.

One thread reads and cuts large files, another hashes them whole, workers name, compress and seal, and the caller's
thread takes tiny files and appends frames in the files' order. What is in flight is bounded by a few windows, whatever
the size or number of files.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from types import TracebackType
from typing import Final, Generic, NamedTuple, Protocol, Self, TypeVar

import msgspec
from blake3 import blake3

from mediavault.chunking.fastcdc import Chunker
from mediavault.formats.frame import WritableBuffer
from mediavault.model.ids import Link, ObjectId
from mediavault.model.splitting import Splitter
from mediavault.objects.codec import ObjectCodec
from mediavault.objects.nodes import FrameSink, KnownObjects, ManifestWriter, NodeWriter

WINDOW_BYTES: Final = 4 << 20
"""How much of a large file is read and cut at once."""

WHOLE_BYTES: Final = 1 << 20
"""Files up to this size are read, cut and sealed by one worker."""

_GROUP_BYTES: Final = 1 << 20
_BATCH_FILES: Final = 64
_ARENA_BYTES: Final = 2 << 20
"""What the frames of a group take: the chunk that fills it may pass its size by one chunk, and padding and headers add little."""

_TINY_BYTES: Final = 32 << 10
"""Files of this size on average are taken by the caller's thread: for pieces of work of a few microseconds, handing the
interpreter's lock between threads costs more than a second processor gives (10,000 files of 8 KiB: 0.6 s, not 1.3)."""


class SkipFile(Exception):  # noqa: N818 - a signal, like StopIteration, and no failure
    """Raised by a source that cannot be read after all; the file is passed over."""


class Readable(Protocol):
    """An open file."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill `buffer` from its start; 0 at the end of the file."""

    def close(self) -> None:
        """Let go of the file."""


class Source(Protocol):
    """A file to take in."""

    @property
    def size(self) -> int:
        """Its size in bytes when it was last looked at; only a hint."""

    @property
    def compress(self) -> bool:
        """Whether compression may be tried."""

    def open(self) -> Readable:
        """Open it, in whichever thread this is called.

        Raises:
            SkipFile: pass over this file.
        """


class Content(msgspec.Struct, frozen=True, gc=False):
    """What a tree entry says of a file's content: size in bytes, BLAKE3, and what holds the bytes."""

    size: int
    digest: bytes
    child: Link | None


S = TypeVar("S", bound=Source)


class _Sealed(NamedTuple):
    """A chunk after a worker had it; `frame` is None where the chunk is stored or on its way already."""

    id: ObjectId
    length: int
    frame: WritableBuffer | None


class _Arena:
    """Memory for the frames of one group, used again once they are appended: the kernel clears new pages for longer than sealing takes."""

    def __init__(self) -> None:
        self._view = memoryview(bytearray(_ARENA_BYTES))
        self._used = 0

    def room(self, size: int) -> WritableBuffer:
        """Return the next `size` bytes; new memory where there are no more."""
        end = self._used + size
        if end > _ARENA_BYTES:
            return bytearray(size)
        room = self._view[self._used : end]
        self._used = end
        return room

    def clear(self) -> None:
        """Let all of it be used again."""
        self._used = 0


class _Group(NamedTuple):
    """Neighbouring chunks of a large file after a worker had them, and the memory that holds their frames."""

    chunks: list[_Sealed]
    arena: _Arena


class _Whole(NamedTuple):
    """A small file after a worker had it."""

    size: int
    digest: bytes
    chunks: list[_Sealed]


_GROWN: Final = _Whole(-1, b"", [])
"""Stands for a file that turned out too large to be read whole."""


class _Stream(Generic[S]):
    """A large file while it is read. Until `ended` the reading thread has it, then the caller's.

    It is `finished` when the caller's thread has taken its last window; windows planned after that are empty.
    """

    def __init__(self, source: S, manifest: ManifestWriter) -> None:
        self.source = source
        self.manifest = manifest
        self.file: Readable | None = None
        self.hasher = blake3()
        self.size = 0
        self.tail = b""
        self.ended = False
        self.skipped = False
        self.finished = False

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


class _Groups(NamedTuple):
    """What a window was cut into, when the file's hash will have passed it, and whether the file ended in it."""

    sealing: "list[Future[_Group]]"
    hashing: "Future[blake3] | Future[int]"
    ended: bool


class _Wholes(NamedTuple):
    """Small files after a worker had them, and the memory that holds their frames."""

    files: list[_Whole | None]
    arena: _Arena


class _Batch(NamedTuple, Generic[S]):
    """Small files that one thread takes together; `take` does it, or waits for the worker that does."""

    sources: list[S]
    take: Callable[[], _Wholes]


class _Window(NamedTuple, Generic[S]):
    """A window of a large file; its buffer is free again when all groups are sealed and it is hashed. No other is planned after `last`."""

    stream: _Stream[S]
    buffer: memoryview
    future: "Future[_Groups]"
    last: bool


class _Local(threading.local):
    """What one thread cuts with, and where it reads small files."""

    def __init__(self, chunker: Callable[[], Chunker]) -> None:
        self.chunker = chunker()
        self.buffer = memoryview(bytearray(WHOLE_BYTES + 1))


class Ingest:
    """Takes files in. One thread uses it; a context manager that owns its threads.

    `nodes` writes metadata objects to the same sink, between calls of `add` or while one is under way.

    Args:
        codec: names and seals.
        splitter: decides where manifest nodes end.
        known: what is stored.
        sink: takes new frames, in the caller's thread only.
        chunker: makes the chunker of one thread.
        workers: how many threads seal; by default one for each processor.
    """

    def __init__(
        self,
        codec: ObjectCodec,
        splitter: Splitter,
        known: KnownObjects,
        sink: FrameSink,
        *,
        chunker: Callable[[], Chunker],
        workers: int = 0,
    ) -> None:
        self.codec = codec
        self.known = known
        self.sink = sink
        self.nodes = NodeWriter(codec, splitter, known, sink)
        count = workers or os.cpu_count() or 1
        self.ahead = count + 2
        self.local = _Local(chunker)
        self.reader = ThreadPoolExecutor(1, "ingest-read")
        self.hasher = ThreadPoolExecutor(1, "ingest-hash")
        self.workers = ThreadPoolExecutor(count, "ingest-seal")
        self._stop_run: Callable[[], None] = _nothing

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_run()
        self.reader.shutdown(cancel_futures=True)
        self.hasher.shutdown(cancel_futures=True)
        self.workers.shutdown(cancel_futures=True)

    def add(self, sources: Iterable[S]) -> Generator[tuple[S, Content | None], None, None]:
        """Take in files, and yield each with what it holds, in their order; None for one that was skipped.

        `sources` is consumed in the caller's thread, some files ahead. When this ends early, by an exception or
        because the caller stops, what was begun is abandoned and all files are closed.

        Raises:
            OSError: a file could not be read.
            StorageError: the sink failed.
        """
        run: _Run[S] = _Run(self)
        self._stop_run()
        self._stop_run = run.stop
        try:
            yield from run.files(sources)
        finally:
            run.stop()


class _Run(Generic[S]):
    """One call of `add`. What threads of an abandoned run still do touches nothing that a later run looks at."""

    def __init__(self, ingest: Ingest) -> None:
        self._codec = ingest.codec
        self._known = ingest.known
        self._sink = ingest.sink
        self._nodes = ingest.nodes
        self._ahead = ingest.ahead
        self._local = ingest.local
        self._reader = ingest.reader
        self._hasher = ingest.hasher
        self._workers = ingest.workers
        self._streams: list[_Stream[S]] = []
        self._buffers: list[memoryview] = []
        self._buffer_bytes = WINDOW_BYTES + ingest.local.chunker.maximum
        self._arenas: list[_Arena] = []
        self._claimed: dict[ObjectId, object] = {}
        self._stopping = False

    def files(self, sources: Iterable[S]) -> Iterator[tuple[S, Content | None]]:
        jobs: deque[_Batch[S] | _Window[S]] = deque()
        for job in self._begin(sources):
            jobs.append(job)
            if len(jobs) >= self._ahead:
                yield from self._finish(jobs.popleft())
        while jobs:
            yield from self._finish(jobs.popleft())

    def stop(self) -> None:
        """Let no thread go on with what nobody waits for; afterwards all files are closed. Idempotent."""
        if self._stopping:
            return
        self._stopping = True
        # The one reading thread has left the files alone when it comes to this.
        wait([self._reader.submit(int)])
        for stream in self._streams:
            stream.close()

    def _begin(self, sources: Iterable[S]) -> Iterator[_Batch[S] | _Window[S]]:
        """Start one job after another, as far as the taker asks for them."""
        for small, batch in _batches(sources):
            if small:
                yield _Batch(batch, self._begin_batch(batch))
                continue
            stream = self._stream(batch[0])
            count = batch[0].size // WINDOW_BYTES + 1
            for number in range(1, count + 1):
                yield self._begin_window(stream, last=number == count)
                if stream.ended:
                    break

    def _begin_batch(self, batch: list[S]) -> Callable[[], _Wholes]:
        if sum(source.size for source in batch) <= _TINY_BYTES * len(batch):
            return partial(self._take_whole, batch)
        return self._workers.submit(self._take_whole, batch).result

    def _stream(self, source: S) -> _Stream[S]:
        stream = _Stream(source, self._nodes.manifest())
        self._streams.append(stream)
        return stream

    def _begin_window(self, stream: _Stream[S], *, last: bool) -> _Window[S]:
        buffer = self._buffers.pop() if self._buffers else memoryview(bytearray(self._buffer_bytes))
        return _Window(stream, buffer, self._reader.submit(self._read_window, stream, buffer), last)

    def _finish(self, job: _Batch[S] | _Window[S]) -> Iterator[tuple[S, Content | None]]:
        """Wait for a job, append its frames, and yield the files that it completes."""
        if isinstance(job, _Window):
            stream = job.stream
            ended = self._finish_window(job)
            while job.last and not (ended or stream.finished):
                # The file is longer than it was said to be.
                ended = self._finish_window(self._begin_window(stream, last=True))
            if ended:
                stream.finished = True
                self._streams.remove(stream)
                yield stream.source, _content(stream)
            return
        taken = job.take()
        for source, whole in zip(job.sources, taken.files, strict=True):
            if whole is _GROWN:
                stream = self._stream(source)
                yield from self._finish(self._begin_window(stream, last=True))
            else:
                yield source, self._finish_whole(whole)
        self._free(taken.arena)

    def _finish_window(self, window: _Window[S]) -> bool:
        """Append the frames of a window; return whether the file ended in it."""
        groups = window.future.result()
        for sealing in groups.sealing:
            group = sealing.result()
            self._append(group.chunks, window.stream.manifest)
            self._free(group.arena)
        groups.hashing.result()
        self._buffers.append(window.buffer)
        return groups.ended

    def _finish_whole(self, whole: _Whole | None) -> Content | None:
        if whole is None:
            return None
        manifest = self._nodes.manifest()
        self._append(whole.chunks, manifest)
        return Content(whole.size, whole.digest, manifest.finish())

    def _append(self, chunks: list[_Sealed], manifest: ManifestWriter) -> None:
        for chunk in chunks:
            if chunk.frame is not None:
                self._sink.append(chunk.frame, chunk.length)
                del self._claimed[chunk.id]
            manifest.append(chunk.id, chunk.length)

    def _free(self, arena: _Arena) -> None:
        """Hand memory back whose frames the sink has taken."""
        arena.clear()
        self._arenas.append(arena)

    # In the reading thread.

    def _read_window(self, stream: _Stream[S], buffer: memoryview) -> _Groups:
        if stream.ended or self._stopping:
            return _Groups([], self._hasher.submit(int), ended=False)
        try:
            if stream.file is None:
                stream.file = stream.source.open()
            start = len(stream.tail)
            buffer[:start] = stream.tail
            filled = _fill(stream.file, buffer[: start + WINDOW_BYTES], start)
        except SkipFile:
            stream.skipped = True
            filled = start = 0
        # One thread hashes, so windows keep their order.
        hashing = self._hasher.submit(stream.hasher.update, buffer[start:filled])
        stream.size += filled - start
        ended = filled < start + WINDOW_BYTES
        lengths = self._local.chunker.cut(buffer[:filled], last=ended)
        stream.tail = bytes(buffer[sum(lengths) : filled])
        compress = stream.source.compress
        sealing = [
            self._workers.submit(self._take_group, buffer[at : at + sum(group)], group, compress)
            for at, group in _groups(lengths)
        ]
        if ended:
            stream.close()
            stream.ended = True
        return _Groups(sealing, hashing, ended)

    # In the workers.

    def _take_group(self, content: memoryview, lengths: Sequence[int], compress: bool) -> _Group:
        arena = self._free_arena()
        return _Group(self._seal_chunks(content, lengths, compress, arena), arena)

    def _take_whole(self, batch: Sequence[S]) -> _Wholes:
        arena = self._free_arena()
        return _Wholes([self._seal_whole(source, arena) for source in batch], arena)

    def _free_arena(self) -> _Arena:
        try:
            return self._arenas.pop()
        except IndexError:
            return _Arena()

    def _seal_whole(self, source: S, arena: _Arena) -> _Whole | None:
        if self._stopping:
            return None
        buffer = self._local.buffer
        try:
            file = source.open()
            try:
                filled = _fill(file, buffer, 0)
            finally:
                file.close()
        except SkipFile:
            return None
        if filled > WHOLE_BYTES:
            return _GROWN
        content = buffer[:filled]
        lengths = self._local.chunker.cut(content)
        return _Whole(filled, blake3(content).digest(), self._seal_chunks(content, lengths, source.compress, arena))

    def _seal_chunks(self, content: memoryview, lengths: Sequence[int], compress: bool, arena: _Arena) -> list[_Sealed]:
        sealed = []
        at = 0
        for length in lengths:
            if self._stopping:
                break
            raw = content[at : at + length]
            at += length
            oid = self._codec.name_chunk(raw)
            frame = self._codec.encode_chunk(oid, raw, compress, arena.room) if self._claim(oid) else None
            sealed.append(_Sealed(oid, length, frame))
        return sealed

    def _claim(self, oid: ObjectId) -> bool:
        """Tell whether this chunk is new and nobody else is sealing it."""
        if oid in self._claimed or self._sink.has(oid) or self._known.has(oid):
            return False
        mine = object()
        return self._claimed.setdefault(oid, mine) is mine


def _nothing() -> None:
    """Stands for the end of a run where there is none."""


def _content(stream: _Stream[S]) -> Content | None:
    return None if stream.skipped else Content(stream.size, stream.hasher.digest(), stream.manifest.finish())


def _batches(sources: Iterable[S]) -> Iterator[tuple[bool, list[S]]]:
    """Yield small files in batches, with True, and large ones alone, in their order."""
    batch: list[S] = []
    size = 0
    for source in sources:
        large = source.size > WHOLE_BYTES
        if batch and (large or len(batch) >= _BATCH_FILES or size + source.size > _GROUP_BYTES):
            yield True, batch
            batch, size = [], 0
        if large:
            yield False, [source]
        else:
            batch.append(source)
            size += source.size
    if batch:
        yield True, batch


def _groups(lengths: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield runs of chunk lengths of about a group's size, each with the offset at which it starts."""
    start = at = 0
    group: list[int] = []
    for length in lengths:
        group.append(length)
        at += length
        if at - start >= _GROUP_BYTES:
            yield start, group
            start, group = at, []
    if group:
        yield start, group


def _fill(file: Readable, buffer: memoryview, start: int) -> int:
    """Read until the buffer is full or the file ends; return how far the buffer is filled."""
    while start < len(buffer):
        count = file.readinto(buffer[start:])
        if not count:
            break
        start += count
    return start
