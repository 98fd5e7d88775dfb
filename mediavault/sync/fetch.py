"""Receiving what a remote has and this store lacks: every frame is opened and verified before the store gets it."""

import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from mediavault.errors import IntegrityError, NotFoundError, UnsupportedFormatError
from mediavault.formats.frame import Frame
from mediavault.formats.wire import LocatedRow
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.objects.codec import ObjectCodec
from mediavault.progress import SILENT, Progress
from mediavault.refs.observed import Observed
from mediavault.refs.signing import RefSigner
from mediavault.store.frames import FrameStore
from mediavault.store.pack_writer import SPOOL, PackWriter
from mediavault.store.pending import PendingFrames
from mediavault.store.receive import PackReceiver
from mediavault.store.salvage import salvage
from mediavault.sync.ranges import PackedRows, Span, at_once, cut, locate, read_frame, spans
from mediavault.sync.remote import Remote
from mediavault.sync.survey import Survey, survey
from mediavault.sync.transfer import Stop, run_several
from mediavault.wire.http import UnreachableError

PACK_BYTES: Final = 64 << 20
CONNECTIONS: Final = 3
ASKED_AT_ONCE: Final = 2048
CHUNKS_AT_ONCE: Final = 1 << 17
"""Of how many chunks the places are unpacked at a time: about 20 GB of large files, 35 MB of memory."""


@dataclass(frozen=True, slots=True)
class FetchPlan:
    """What a fetch will bring: `wants` are the targets that are not here, `haves` commits that are, with all they need."""

    survey: Survey
    wants: Sequence[Link]
    haves: Sequence[ObjectId]


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What a fetch did: objects stored, frames kept of an earlier, broken one, traffic, what was seen of the refs."""

    chunks: int
    objects: int
    salvaged: int
    bytes_received: int
    requests: int
    observed: Mapping[str, Observed]


class ChunkSink(Protocol):
    """Someone who uses content as it comes, besides the store."""

    def prepare(self, frames: PendingFrames, seen: Survey, coming: Collection[ObjectId]) -> None:
        """Find out what is wanted.

        Args:
            frames: all history is there.
            seen: where the remote's refs point.
            coming: the chunks that are not there.
        """

    def begin(self, size: int) -> None:
        """Take notice that chunks begin to come, of so many bytes in all."""

    def put(self, oid: ObjectId, content: bytes | memoryview) -> None:
        """Take a verified chunk, perhaps again; the memory is good during this call. Called from several threads."""


def plan_fetch(
    frames: FrameStore,
    remote: Remote,
    *,
    repository: bytes,
    signer: RefSigner,
    observed: Mapping[str, Observed],
    select: Callable[[str], bool],
    haves: Iterable[ObjectId] = (),
) -> FetchPlan:
    """Read and verify the remote's refs and find out which are news; changes nothing.

    Args:
        frames: the local store.
        remote: the other side.
        repository: the repository's id.
        signer: checks the refs' MACs.
        observed: what was seen of this remote's refs before.
        select: which refs to follow, by name.
        haves: local commits, besides those that the remote's refs point at.

    Raises:
        IntegrityError: the remote's refs are not authentic, or went back on their history.
    """
    seen = survey(remote, repository=repository, signer=signer, observed=observed)
    targets = [ref.target for name, ref in seen.refs.items() if ref.target is not None and select(name)]
    absent = set(frames.missing(dict.fromkeys(link.id for link in targets)))
    wants = list(dict.fromkeys(link for link in targets if link.id in absent))
    known = (ref.target.id for ref in seen.refs.values() if ref.target is not None and frames.has(ref.target.id))
    return FetchPlan(seen, wants, list(dict.fromkeys((*known, *haves))))


def run_fetch(
    plan: FetchPlan,
    frames: FrameStore,
    remote: Remote,
    codec: ObjectCodec,
    *,
    spool: Path,
    progress: Progress = SILENT,
    pack_size: int = PACK_BYTES,
    connections: int = CONNECTIONS,
    sink: ChunkSink | None = None,
) -> FetchReport:
    """Bring what `plan` wants into the local store, whole or not at all; chunks that came are kept either way.

    Args:
        plan: what to bring.
        frames: the local store.
        remote: the other side.
        codec: opens and verifies frames.
        spool: the folder for unfinished packs; what an earlier fetch left there is kept first.
        progress: is told of bytes.
        pack_size: target size of local packs, in bytes.
        connections: ranges read at once.
        sink: is given every chunk that comes.

    Raises:
        IntegrityError: the remote sends something that is not what its name promises, or lacks what its refs need.
        RemoteError: it failed; the next fetch continues.
    """
    before = remote.traffic
    kept = salvage(frames.backend, frames.index, spool)
    chunks = 0
    with frames.writer(spool, plain=codec.plain, target=pack_size) as writer:
        if plan.wants:
            incoming = _Incoming(frames, codec, writer, sink)
            try:
                progress.start(None, "objects", "Looking what is new")
                incoming.receive_metadata(remote, plan, spool, progress)
                incoming.prepare_sink(plan.survey)
                found = incoming.take_chunks()
                chunks = len(found)
                places = _locate_packed(remote, found)
                del found
                if places:
                    incoming.receive_content(remote, places, connections, progress)
            finally:
                progress.done()
        objects = writer.frames_written
    after = remote.traffic
    return FetchReport(
        chunks=chunks,
        objects=objects,
        salvaged=kept.frames,
        bytes_received=after.received - before.received,
        requests=after.requests - before.requests,
        observed=plan.survey.observed,
    )


class _Incoming:
    """Frames on their way into the local store."""

    def __init__(self, frames: FrameStore, codec: ObjectCodec, writer: PackWriter, sink: ChunkSink | None) -> None:
        self._frames = frames
        self._codec = codec
        self._writer = writer
        self._sink = sink
        self._lock = threading.Lock()
        self._chunks: dict[ObjectId, None] = {}

    def take_chunks(self) -> list[ObjectId]:
        """Return the chunks that the metadata received so far needs and that are not here, in the order of files, once."""
        found = list(self._chunks)
        self._chunks.clear()
        return found

    def receive_metadata(self, remote: Remote, plan: FetchPlan, spool: Path, progress: Progress) -> None:
        """Bring every commit, tag, tree and manifest that is wanted, following links until none leads to nothing."""
        pending = {link.id: link.kind for link in plan.wants}
        failures = 0
        spool.mkdir(parents=True, exist_ok=True)
        while pending:
            asked = list(islice(pending, ASKED_AT_ONCE))
            before = self._writer.frames_written
            try:
                with PackReceiver(spool / f"nodes-{uuid.uuid4().hex}{SPOOL}") as receiver:
                    with closing(remote.metadata(asked, plan.haves[:ASKED_AT_ONCE])) as blocks:
                        for block in blocks:
                            receiver.feed(block)
                    self._take_all(remote, receiver, pending)
                progress.advance(self._writer.frames_written - before)
            except NotFoundError as error:
                lost = next(iter(remote.missing(asked)), asked[0])
                raise IntegrityError(
                    f"{remote.url} lacks object {lost.hex()} that its refs need.", untouched="Nothing was stored."
                ) from error
            except UnreachableError as error:
                failures += 1
                if failures > remote.retries:
                    raise
                remote.wait(failures, error.retry_after)
                continue
            failures = 0
            if all(oid in pending for oid in asked):
                raise IntegrityError(f"{remote.url} does not send the objects that its refs need.")

    def prepare_sink(self, seen: Survey) -> None:
        """Let the sink find out what it wants of the chunks that come, now that all history is here."""
        if self._sink is not None:
            self._sink.prepare(PendingFrames(self._frames, self._writer), seen, self._chunks)

    def receive_content(
        self, remote: Remote, places: Sequence[PackedRows], connections: int, progress: Progress
    ) -> None:
        """Bring chunks from where they stand."""
        size = sum(part.size for part in places)
        progress.start(size, "bytes", "Receiving")
        if self._sink is not None:
            self._sink.begin(size)
        for part in places:
            rows = part.rows()
            run_several(
                partial(self.receive_chunks, remote, progress), spans(rows), at_once(rows, connections), remote.abort
            )

    def receive_chunks(self, remote: Remote, progress: Progress, span: Span, stop: Stop) -> None:
        """Bring the chunks of one range, each verified before the writer gets it."""
        try:
            self._receive_span(remote, progress, span, stop)
        except NotFoundError:
            # The pack went after it was named, as packs do when they are collected: its chunks are elsewhere now.
            for other in spans(_locate_all(remote, [row.id for row in span.rows])):
                try:
                    self._receive_span(remote, progress, other, stop)
                except NotFoundError as error:
                    raise IntegrityError(
                        f"{remote.url} names pack {other.pack.hex()} and does not have it.",
                        untouched="Nothing of it was stored.",
                    ) from error

    def _receive_span(self, remote: Remote, progress: Progress, span: Span, stop: Stop) -> None:
        with closing(remote.read_pack(span.pack, span.start, span.end - span.start)) as blocks:
            for row, data in cut(span, blocks, stop):
                content = self._check_chunk(remote, row, data)
                with self._lock:
                    self._writer.append(data, len(content))
                if self._sink is not None:
                    self._sink.put(row.id, content)
                progress.advance(row.length)

    def _check_chunk(self, remote: Remote, row: LocatedRow, data: memoryview) -> bytes | memoryview:
        """Open a chunk; return its content, good until this thread opens the next."""
        try:
            return self._codec.look_into(read_frame(row, data), row.id)
        except IntegrityError as error:
            raise IntegrityError(
                f"{remote.url} sent a damaged chunk {row.id.hex()} (pack {row.pack.hex()}, offset {row.offset}): "
                f"{error.message}",
                untouched="It was not stored.",
                hint="Run `mediagit verify --remote` to see what else is damaged.",
            ) from error

    def _take_all(self, remote: Remote, receiver: PackReceiver, pending: dict[ObjectId, Kind]) -> None:
        """Store what a received pack of metadata has of what is wanted."""
        try:
            receiver.finish()
            for frame in receiver.frames():
                self._take(frame, pending)
        except (IntegrityError, UnsupportedFormatError) as error:
            raise type(error)(
                f"{remote.url} sent damaged history: {error.message}",
                untouched="Nothing of it was stored.",
                hint=error.hint or "Run `mediagit verify --remote` to see what is damaged.",
            ) from error

    def _take(self, frame: Frame, pending: dict[ObjectId, Kind]) -> None:
        """Store a frame that something wanted leads to; others, which nobody asked for, are dropped."""
        oid = frame.header.id
        kind = pending.get(oid)
        if kind is None:
            return
        raw = self._codec.verify(frame, oid, kind)
        self._writer.append(frame.data, len(raw))
        del pending[oid]
        for link in frame.header.links:
            if self._frames.has(link.id):
                continue
            if link.kind is Kind.CHUNK:
                self._chunks[link.id] = None
            elif not self._writer.has(link.id):
                pending[link.id] = link.kind


def _locate_packed(remote: Remote, chunks: Sequence[ObjectId]) -> list[PackedRows]:
    """Ask where chunks stand, some at a time, and keep it small, in their order.

    Raises:
        IntegrityError: the remote lacks some of them.
    """
    parts = (chunks[at : at + CHUNKS_AT_ONCE] for at in range(0, len(chunks), CHUNKS_AT_ONCE))
    return [PackedRows.of(_locate_all(remote, part)) for part in parts]


def _locate_all(remote: Remote, chunks: Sequence[ObjectId]) -> list[LocatedRow]:
    """Ask where chunks stand; return it in their order.

    Raises:
        IntegrityError: the remote lacks some of them.
    """
    found = {row.id: row for row in locate(remote, chunks)}
    if lost := set(chunks) - found.keys():
        raise IntegrityError(
            f"{remote.url} lacks chunk {next(iter(lost)).hex()} and {len(lost) - 1} more that its history needs.",
            untouched="Nothing was stored.",
            hint="Push from a checkout that has them.",
        )
    return [found[oid] for oid in chunks]
