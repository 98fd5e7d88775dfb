"""What a mirror lacks of what some objects lead to, found by the links that frames show in clear; needs no key."""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

from mediavault.errors import IntegrityError, NotFoundError, UnsupportedFormatError
from mediavault.formats.frame import Frame
from mediavault.formats.payload import decode_payload
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.progress import Progress
from mediavault.store.pack_writer import SPOOL, PackWriter
from mediavault.store.reachability import children_first
from mediavault.store.receive import PackReceiver
from mediavault.sync.remote import Remote
from mediavault.wire.http import UnreachableError

ASKED_AT_ONCE: Final = 2048

Missing = Callable[[Iterable[ObjectId]], list[ObjectId]]
"""Returns those of some ids that the mirror lacks, in their order. What it has, it has with all that it links to."""


class Walk:
    """Metadata on its way from the source to a folder, followed from link to link as far as the mirror lacks it.

    Holds the id of each object, not the object.

    Args:
        source: where the metadata is.
        missing: what the mirror lacks.
        writer: keeps the frames.
        spool: a folder for packs on their way.
        plain: whether the repository is plain.
        progress: told the objects.
    """

    def __init__(
        self, source: Remote, missing: Missing, writer: PackWriter, spool: Path, *, plain: bool, progress: Progress
    ) -> None:
        self._source = source
        self._missing = missing
        self._writer = writer
        self._spool = spool
        self._plain = plain
        self._progress = progress
        self._children: dict[ObjectId, list[ObjectId]] = {}
        self._kinds: dict[ObjectId, Kind] = {}
        self._seen: set[ObjectId] = set()
        self._chunks: list[ObjectId] = []

    def take_chunks(self) -> list[ObjectId]:
        """Return the chunks that the mirror lacks, in the order in which they were met, once; nothing is followed any more."""
        found, self._chunks, self._seen = self._chunks, [], set()
        return found

    def metadata(self) -> tuple[list[ObjectId], list[ObjectId]]:
        """Return trees with manifests, and commits with tags: what the mirror lacks, children first."""
        ordered = children_first(self._children)
        history = [oid for oid in ordered if self._kinds[oid] >= Kind.COMMIT]
        return [oid for oid in ordered if self._kinds[oid] < Kind.COMMIT], history

    def follow(self, wants: Iterable[Link], haves: Sequence[ObjectId]) -> None:
        """Bring everything that `wants` lead to and the mirror lacks.

        Args:
            wants: commits and tags.
            haves: commits that the mirror has, which keep the source from sending what they lead to.

        Raises:
            IntegrityError: the source sends something that is not what it should be, or lacks what its refs need.
            UnreachableError: it does not answer.
        """
        self._spool.mkdir(parents=True, exist_ok=True)
        pending = self._lacking({link.id: link.kind for link in wants})
        self._seen.update(pending)
        failures = 0
        while pending:
            asked = list(islice(pending, ASKED_AT_ONCE))
            try:
                self._receive(asked, haves, pending)
            except UnreachableError as error:
                failures += 1
                if failures > self._source.retries:
                    raise
                self._source.wait(failures, error.retry_after)
                continue
            failures = 0
            if all(oid in pending for oid in asked):
                raise IntegrityError(f"{self._source.url} does not send the objects that its refs need.")
            pending = self._lacking(pending)

    def _lacking(self, wanted: Mapping[ObjectId, Kind]) -> dict[ObjectId, Kind]:
        return {oid: wanted[oid] for oid in self._missing(wanted)}

    def _receive(self, asked: Sequence[ObjectId], haves: Sequence[ObjectId], pending: dict[ObjectId, Kind]) -> None:
        with PackReceiver(self._spool / f"walk-{uuid.uuid4().hex}{SPOOL}") as receiver:
            try:
                with closing(self._source.metadata(asked, haves[:ASKED_AT_ONCE])) as blocks:
                    for block in blocks:
                        receiver.feed(block)
                receiver.finish()
                self._take_all(receiver, pending)
            except NotFoundError as error:
                lost = next(iter(self._source.missing(asked)), asked[0])
                raise self._damaged(f"it lacks object {lost.hex()} that its refs need.") from error
            except (IntegrityError, UnsupportedFormatError) as error:
                raise type(error)(
                    f"{self._source.url} sent damaged history: {error.message}",
                    untouched="Nothing was sent on.",
                    hint=error.hint or "Run `mediagit verify --remote` in a checkout to see what is damaged.",
                ) from error

    def _take_all(self, receiver: PackReceiver, pending: dict[ObjectId, Kind]) -> None:
        """Keep what is wanted of a pack; parents come before their children."""
        fresh = {row.id for row in receiver.rows if row.id not in self._children}
        lacking = set(self._missing(fresh))
        chunks: dict[ObjectId, None] = {}
        for frame in receiver.frames():
            oid = frame.header.id
            kind = pending.pop(oid, None)
            if kind is None or oid in self._children:
                continue
            if frame.header.kind is not kind:
                raise IntegrityError(f"Object {oid.hex()} is of another kind than what links to it says.")
            self._keep(frame)
            for link in frame.header.links:
                if link.id in self._seen:
                    continue
                self._seen.add(link.id)
                if link.kind is Kind.CHUNK:
                    chunks[link.id] = None
                elif link.id in lacking or link.id not in fresh:
                    pending[link.id] = link.kind
        self._chunks += self._missing(chunks)
        self._progress.advance(len(receiver.rows))

    def _keep(self, frame: Frame) -> None:
        header = frame.header
        self._writer.append(frame.data, decode_payload(frame.body).raw_length if self._plain else 0)
        self._children[header.id] = [link.id for link in header.links if link.kind is not Kind.CHUNK]
        self._kinds[header.id] = header.kind

    def _damaged(self, what: str) -> IntegrityError:
        return IntegrityError(
            f"{self._source.url} is not whole: {what}",
            untouched="Nothing was sent.",
            hint="Push from a checkout that has everything, then run the command again.",
        )
