"""Knows how to bring back frames by id: finds them in the index, reads neighbours together, checks each. Opens none."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from blake3 import blake3

from mediavault.errors import FormatError, IntegrityError, UnsupportedFormatError
from mediavault.formats.frame import CHECKSUM_BYTES, Frame, parse_frame
from mediavault.formats.index import Located
from mediavault.model.ids import ObjectId
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import TARGET_BYTES, pack_key
from mediavault.store.pack_table import PackTable, read_pack_table
from mediavault_backends.api import Backend
from mediavault_backends.errors import NotFoundError

if TYPE_CHECKING:
    from mediavault.store.pack_writer import PackWriter

GAP_BYTES: Final = 64 << 10
"""Frames closer than this are read in one request, with what lies between them."""
READ_BYTES: Final = 8 << 20
"""The most that one request reads, unless a single frame is larger."""
BATCH_BYTES: Final = 8 << 20
"""About how much `read_many` holds at once."""
BATCH_IDS: Final = 4096


class _Wanted(NamedTuple):
    """One frame of a batch, and which of the answers it is."""

    offset: int
    length: int
    number: int


class FrameStore:
    """Reads sealed frames from a store. Safe to call from several threads."""

    def __init__(self, backend: Backend, index: ObjectIndex) -> None:
        self.backend = backend
        self.index = index

    def has(self, oid: ObjectId) -> bool:
        """Tell whether the object is stored, as far as is known without asking the store again."""
        return self.index.has(oid)

    def missing(self, ids: Iterable[ObjectId]) -> list[ObjectId]:
        """Return those of `ids` that are not stored, in their order; asks the store again before it says so."""
        return self.index.missing(ids)

    def locate(self, oid: ObjectId) -> Located | None:
        """Return where the object stands, in a pack that is not condemned if there is one; None when nowhere."""
        places = self.index.find(oid)
        if not places:
            self.index.refresh()
            places = self.index.find(oid)
        return places[0] if places else None

    def read(self, oid: ObjectId) -> Frame:
        """Return a frame whose checksum, grammar and id are verified; tries every place that the index names.

        Raises:
            IntegrityError: the object is missing, or every copy is damaged.
        """
        problems: list[str] = []
        for _, frame in self._copies(oid, problems):
            return frame
        if not problems:
            raise IntegrityError(f"Object {oid.hex()} is missing: no index names it.")
        raise IntegrityError(problems[-1], hint="Run `mediagit verify` to see what else is damaged.")

    def copies(self, oid: ObjectId) -> Iterator[tuple[Located, Frame]]:
        """Yield every copy of an object whose checksum, grammar and id are right, with its place; others are passed over.

        Copies may differ: whether a sealed one can be opened only a key holder can tell.
        """
        return self._copies(oid, [])

    def read_batch(self, ids: Sequence[ObjectId], *, checked: bool = True) -> list[Frame]:
        """Return the frames of `ids` in their order, all held in memory; neighbours are read together.

        Args:
            ids: what to read.
            checked: compare each frame's checksum; see `parse_frame`.

        Raises:
            IntegrityError: an object is missing, or every copy is damaged.
        """
        if len(ids) == 1:
            return [self.read(ids[0])]
        find = self.index.find
        return self._read_places(ids, [places[0] if (places := find(oid)) else None for oid in ids], checked=checked)

    def _read_places(
        self, ids: Sequence[ObjectId], places: Sequence[Located | None], *, checked: bool = True
    ) -> list[Frame]:
        answers: list[Frame | None] = [None] * len(ids)
        for pack, wanted in _by_pack(places).items():
            for run in _runs(wanted):
                self._read_run(pack, run, ids, answers, checked=checked)
        return [self.read(oid) if frame is None else frame for oid, frame in zip(ids, answers, strict=True)]

    def read_many(self, ids: Iterable[ObjectId]) -> Iterator[Frame]:
        """Yield the frames of `ids` in their order, holding about 8 MiB.

        Raises:
            IntegrityError: an object is missing, or every copy is damaged.
        """
        for batch in self.read_batches(ids):
            yield from batch

    def read_batches(self, ids: Iterable[ObjectId]) -> Iterator[list[Frame]]:
        """Yield the frames of `ids` in their order, in lists of about 8 MiB.

        Raises:
            IntegrityError: an object is missing, or every copy is damaged.
        """
        batch: list[ObjectId] = []
        places: list[Located | None] = []
        size = 0
        for oid in ids:
            place = self.locate(oid)
            length = 0 if place is None else place.length
            if batch and (size + length > BATCH_BYTES or len(batch) >= BATCH_IDS):
                yield self._read_places(batch, places)
                batch, places, size = [], [], 0
            batch.append(oid)
            places.append(place)
            size += length
        if batch:
            yield self._read_places(batch, places)

    def pack_table(self, pack: ObjectId) -> PackTable:
        """Return a pack's table, verified against its name.

        Raises:
            IntegrityError: the pack is missing or damaged.
            UnsupportedFormatError: a newer version wrote it.
        """
        try:
            return read_pack_table(self.backend, pack)
        except FormatError as error:
            raise IntegrityError(f"Pack {pack.hex()} is damaged: {error.message}") from error
        except UnsupportedFormatError as error:
            raise UnsupportedFormatError(f"Pack {pack.hex()}: {error.message}", hint=error.hint) from error
        except NotFoundError as error:
            raise IntegrityError(f"Pack {pack.hex()} is missing.") from error

    def writer(
        self,
        spool: Path,
        *,
        plain: bool,
        target: int = TARGET_BYTES,
        random: Callable[[int], bytes] = os.urandom,
    ) -> "PackWriter":
        """Return a writer whose packs become part of this store."""
        from mediavault.store.pack_writer import PackWriter  # noqa: PLC0415 - its threads cost every start

        return PackWriter(self.backend, self.index, spool, plain=plain, target=target, random=random)

    def _read_run(
        self,
        pack: ObjectId,
        run: Sequence[_Wanted],
        ids: Sequence[ObjectId],
        answers: list[Frame | None],
        *,
        checked: bool,
    ) -> None:
        """Fill in what one request brings; what is wrong stays None and is looked for elsewhere."""
        start = run[0].offset
        length = max(wanted.offset + wanted.length for wanted in run) - start
        try:
            data = memoryview(self.backend.read(pack_key(pack), start, length))
        except NotFoundError:
            return
        for wanted in run:
            try:
                answers[wanted.number] = _expected(
                    data, wanted.offset - start, wanted.length, ids[wanted.number], checked=checked
                )
            except FormatError:
                continue

    def _copies(self, oid: ObjectId, problems: list[str]) -> Iterator[tuple[Located, Frame]]:
        tried = set()
        for again in (False, True):
            if again:
                self.index.refresh()
            for place in self.index.find(oid):
                if (place.pack_id, place.offset) in tried:
                    continue
                tried.add((place.pack_id, place.offset))
                try:
                    data = self.backend.read(pack_key(place.pack_id), place.offset, place.length)
                    frame = _expected(memoryview(data), 0, place.length, oid)
                except (NotFoundError, FormatError) as error:
                    where = f"in pack {place.pack_id.hex()} at {place.offset}"
                    problems.append(f"Object {oid.hex()} is damaged {where}: {error}")
                    continue
                yield place, frame


def _by_pack(places: Sequence[Located | None]) -> dict[ObjectId, list[_Wanted]]:
    packs: dict[ObjectId, list[_Wanted]] = {}
    for number, place in enumerate(places):
        if place is not None:
            packs.setdefault(place.pack_id, []).append(_Wanted(place.offset, place.length, number))
    return packs


def _expected(data: memoryview, offset: int, length: int, oid: ObjectId, *, checked: bool = True) -> Frame:
    try:
        frame = parse_frame(data, offset, checked=checked)
    except UnsupportedFormatError:
        whole = data[offset : offset + length]
        if blake3(whole[:-CHECKSUM_BYTES]).digest(CHECKSUM_BYTES) == whole[-CHECKSUM_BYTES:]:
            raise
        raise FormatError("A frame's checksum does not match its bytes.") from None  # no newer version, but damage
    if frame.header.id != oid or frame.size != length:
        raise FormatError("another frame stands there")
    return frame


def _runs(wanted: list[_Wanted]) -> Iterator[list[_Wanted]]:
    """Group the frames of one pack into ranges worth one request each."""
    wanted.sort()
    run: list[_Wanted] = []
    start = end = 0
    for item in wanted:
        reach = item.offset + item.length
        if run and (item.offset - end > GAP_BYTES or reach - start > READ_BYTES):
            yield run
            run = []
        if not run:
            start, end = item.offset, reach
        run.append(item)
        end = max(end, reach)
    if run:
        yield run
