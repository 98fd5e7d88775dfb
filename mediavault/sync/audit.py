"""Checking a remote without storing anything: all that its refs need is there, and is what its name promises.

That holds for packs, too: their names are computed again from their tables, and the tables compared with the frames.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from mediavault.errors import IntegrityError, MediaVaultError, NotFoundError, UnsupportedFormatError
from mediavault.formats.frame import Frame, parse_frame
from mediavault.formats.wire import LocatedRow
from mediavault.model.ids import Kind, ObjectId
from mediavault.objects.codec import ObjectCodec
from mediavault.progress import SILENT, Progress
from mediavault.refs.observed import Observed
from mediavault.refs.signing import RefSigner
from mediavault.store.receive import PackReceiver
from mediavault.store.verify import Damage
from mediavault.sync.ranges import Span, cut, locate, read_frame, spans
from mediavault.sync.remote import Remote
from mediavault.sync.survey import survey
from mediavault.sync.transfer import Stop, run_several

CONNECTIONS: Final = 3
_ASKED_AT_ONCE: Final = 2048
_AT_ONCE: Final = 16_384
"""How many objects are checked before what was found is told."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """An object that was read: its links where it is metadata, or what is wrong with it."""

    frame: Frame | None
    damage: Damage | None


class Audit:
    """The damage of a remote, one after another; when it has been iterated, the counts and what was seen of the refs.

    Args:
        remote: what to check.
        codec: opens frames.
        repository: the repository's id.
        signer: checks the refs' MACs.
        observed: what was seen of this remote's refs before.
        quick: look chunks up without reading them.
        progress: is told of objects.
        connections: ranges read at once.
    """

    def __init__(
        self,
        remote: Remote,
        codec: ObjectCodec,
        *,
        repository: bytes,
        signer: RefSigner,
        observed: Mapping[str, Observed],
        quick: bool = False,
        progress: Progress = SILENT,
        connections: int = CONNECTIONS,
    ) -> None:
        self._remote = remote
        self._codec = codec
        self._quick = quick
        self._progress = progress
        self._connections = connections
        self._sums: dict[tuple[ObjectId, int], bytes] = {}
        self._survey = partial(survey, remote, repository=repository, signer=signer, observed=observed)
        self.observed: Mapping[str, Observed] = observed
        self.objects = 0
        self.bytes = 0
        self.requests = 0

    def __iter__(self) -> Iterator[Damage]:
        """Yield what is damaged or missing.

        Raises:
            IntegrityError: the refs themselves are not authentic, or went back on their history.
            RemoteError: the remote failed.
        """
        before = self._remote.traffic
        found = self._survey()
        self.observed = found.observed
        targets = {ref.target.id: ref.target.kind for ref in found.refs.values() if ref.target is not None}
        self._progress.start(None, "objects", "Checking history")
        try:
            chunks: dict[ObjectId, None] = {}
            yield from self._metadata(self._likely(targets), chunks)
            self._progress.start(len(chunks), "objects", "Checking contents")
            yield from self._check_chunks(list(chunks))
        finally:
            self._progress.done()
            after = self._remote.traffic
            self.bytes = after.received - before.received
            self.requests = after.requests - before.requests

    def _likely(self, targets: Mapping[ObjectId, Kind]) -> dict[ObjectId, Kind]:
        """Return what the remote says that `targets` lead to, so that a long history is not read commit by commit.

        What it leaves out is found by following links; what is damaged is found by reading it.
        """
        wanted, pending = dict(targets), dict(targets)
        with TemporaryDirectory(prefix="mediagit-") as folder, suppress(MediaVaultError):
            while pending:
                asked = list(islice(pending, _ASKED_AT_ONCE))
                with PackReceiver(Path(folder) / "metadata") as receiver:
                    with closing(self._remote.metadata(asked, ())) as blocks:
                        for block in blocks:
                            receiver.feed(block)
                    receiver.finish()
                    for frame in receiver.frames():
                        if pending.pop(frame.header.id, None) is not None:
                            links = {link.id: link.kind for link in frame.header.links if link.kind is not Kind.CHUNK}
                            pending |= {oid: kind for oid, kind in links.items() if oid not in wanted}
                            wanted |= links
                if any(oid in pending for oid in asked):
                    break
        return wanted

    def _metadata(self, wanted: dict[ObjectId, Kind], chunks: dict[ObjectId, None]) -> Iterator[Damage]:
        """Open commits, tags, trees and manifests, level by level; collect the chunks that they need."""
        seen = set(wanted)
        while wanted:
            some = dict(list(wanted.items())[:_AT_ONCE])
            rest = {oid: kind for oid, kind in wanted.items() if oid not in some}
            for opened in self._open(some):
                if opened.damage is not None:
                    yield opened.damage
                for link in opened.frame.header.links if opened.frame is not None else ():
                    if link.kind is Kind.CHUNK:
                        chunks[link.id] = None
                    elif link.id not in seen:
                        seen.add(link.id)
                        rest[link.id] = link.kind
            wanted = rest

    def _check_chunks(self, chunks: Sequence[ObjectId]) -> Iterator[Damage]:
        for at in range(0, len(chunks), _AT_ONCE):
            some = chunks[at : at + _AT_ONCE]
            if self._quick:
                yield from map(_missing, self._remote.missing(some))
                self.objects += len(some)
                self._progress.advance(len(some))
            else:
                for opened in self._open(dict.fromkeys(some, Kind.CHUNK)):
                    if opened.damage is not None:
                        yield opened.damage

    def _open(self, wanted: Mapping[ObjectId, Kind]) -> list[_Opened]:
        """Read and open objects; those that cannot be are damage."""
        rows = locate(self._remote, list(wanted))
        lost = wanted.keys() - {row.id for row in rows}
        opened = [_Opened(None, _missing(oid)) for oid in lost]
        self._progress.advance(len(lost))
        run_several(partial(self._open_span, wanted, opened), spans(rows), self._connections, self._remote.abort)
        packs: dict[ObjectId, list[LocatedRow]] = {}
        for row in rows:
            packs.setdefault(row.pack, []).append(row)
        run_several(partial(self._check_table, opened), packs.items(), self._connections, self._remote.abort)
        self._sums.clear()
        self.objects += len(wanted)
        return opened

    def _check_table(self, opened: list[_Opened], item: tuple[ObjectId, list[LocatedRow]], stop: Stop) -> None:
        """Compare a pack's name with its table, and its table with the frames that were read."""
        pack, rows = item
        stop.check()
        try:
            table = self._remote.pack_table(pack)
        except NotFoundError:
            return  # told with each object in it
        except (IntegrityError, UnsupportedFormatError) as error:
            opened.append(_Opened(None, Damage(error.message, pack=pack)))
            return
        if table.pack_id != pack:
            opened.append(_Opened(None, Damage("The pack's table does not match its name.", pack=pack)))
            return
        said = {row.offset: (row.id, row.length, row.checksum) for row in table.rows}
        for row in rows:
            found = self._sums.get((pack, row.offset))
            if found is not None and said.get(row.offset) != (row.id, row.length, found):
                opened.append(_Opened(None, _damaged(row, "The frame is not the one in the pack's table.")))

    def _open_span(self, wanted: Mapping[ObjectId, Kind], opened: list[_Opened], span: Span, stop: Stop) -> None:
        left = {row.id: row for row in span.rows}
        try:
            with closing(self._remote.read_pack(span.pack, span.start, span.end - span.start)) as blocks:
                for row, data in cut(span, blocks, stop):
                    opened.append(self._open_one(wanted[row.id], row, data))
                    del left[row.id]
        except NotFoundError:
            opened.extend(_Opened(None, _damaged(row, "The pack is missing.")) for row in left.values())
        except IntegrityError as error:
            rest = list(left.values())
            if len(rest) == 1:
                opened.append(_Opened(None, _damaged(rest[0], error.message)))
                return
            # A range cannot be had whole; parts of it perhaps can.
            for part in (rest[: len(rest) // 2], rest[len(rest) // 2 :]):
                self._open_span(wanted, opened, Span(span.pack, part), stop)

    def _open_one(self, kind: Kind, row: LocatedRow, data: memoryview) -> _Opened:
        self._progress.advance(1)
        try:
            frame = read_frame(row, data)
            self._codec.verify(frame, row.id, kind)
            self._sums[row.pack, row.offset] = frame.checksum
        except (IntegrityError, UnsupportedFormatError) as error:
            return _Opened(None, _damaged(row, error.message))
        if kind is Kind.CHUNK:
            return _Opened(None, None)
        return _Opened(parse_frame(bytes(data)), None)  # a copy, so that a range does not live as long as its frames


def _missing(oid: ObjectId) -> Damage:
    return Damage("The remote lacks it.", object=oid)


def _damaged(row: LocatedRow, reason: str) -> Damage:
    return Damage(reason, object=row.id, pack=row.pack, offset=row.offset)


def audit(
    remote: Remote,
    codec: ObjectCodec,
    *,
    repository: bytes,
    signer: RefSigner,
    observed: Mapping[str, Observed],
    quick: bool = False,
    progress: Progress = SILENT,
) -> Audit:
    """Return a check of a remote, to be iterated; see `Audit`."""
    return Audit(remote, codec, repository=repository, signer=signer, observed=observed, quick=quick, progress=progress)
