"""Knows where each object stands: all index blobs of a store as one table. The blobs' bytes are `formats.index`'s business.

A reader lists `index/` whole, forgets what is gone, loads what is new, and does so again before it says missing.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

from blake3 import blake3

from mediavault.errors import FormatError, IntegrityError, UnsupportedFormatError
from mediavault.formats.index import IndexBlob, Located, encode_index, index_id, merge_indexes
from mediavault.formats.pack import PackRow
from mediavault.model.ids import ObjectId
from mediavault.store.index_groups import Group, regroup
from mediavault.store.keys import INDEX, index_key, named_by
from mediavault_backends.api import Absent, Backend, Mappable
from mediavault_backends.errors import NotFoundError, OutcomeUnknownError, PreconditionFailedError

KEEP_BLOBS: Final = 8
"""How many blobs compaction leaves: few enough that a look-up stays cheap, enough that little is rewritten."""
MERGE_ROWS: Final = 1 << 19
"""The most rows that one compaction merges, which bounds its memory; larger blobs stay as they are."""
_HASHED_BYTES: Final = 4 << 20
"""Mapped blobs up to this size are compared with their name; hashing larger ones would read them whole."""
_OTHER_BYTES: Final = "its bytes do not match its name."
_PUT_ATTEMPTS: Final = 3
_LIST_ATTEMPTS: Final = 5

Rows: TypeAlias = Mapping[ObjectId, Sequence[PackRow]]


@dataclass(frozen=True, slots=True)
class _View:
    """What is loaded; replaced whole, so that readers need no lock."""

    blobs: Mapping[ObjectId, IndexBlob]
    order: tuple[IndexBlob, ...]
    condemned: frozenset[ObjectId]
    groups: tuple[Group, ...]
    searched: tuple[IndexBlob, ...]

    @classmethod
    def of(cls, blobs: Mapping[ObjectId, IndexBlob], former: "_View | None") -> "_View":
        order = tuple(sorted(blobs.values(), key=len, reverse=True))
        condemned = frozenset(pack.id for blob in order for pack in blob.packs if pack.condemned)
        groups = regroup(blobs, () if former is None else former.groups)
        grouped = frozenset(name for group in groups for name in group.names)
        alone = (blob for name, blob in blobs.items() if name not in grouped)
        searched = sorted((*alone, *(group.blob for group in groups)), key=len, reverse=True)
        return cls(blobs, order, condemned, groups, tuple(searched))

    def key_of(self, blob: IndexBlob) -> str:
        """Return under which key a blob stands."""
        return next(index_key(name) for name, found in self.blobs.items() if found is blob)


class ObjectIndex:
    """Looks up objects by id. Safe to call from several threads; loads itself at the first question."""

    def __init__(self, backend: Backend, *, tolerant: bool = False, clock: Callable[[], int] = time.time_ns) -> None:
        """Prepare an index.

        Args:
            backend: the store.
            tolerant: hash every blob, and skip damaged ones, which then stand in `damaged`, instead of raising
                IntegrityError.
            clock: gives the time of writing in ns since 1970-01-01 UTC.
        """
        self._backend = backend
        self._tolerant = tolerant
        self._clock = clock
        self._lock = threading.RLock()
        self._view: _View | None = None
        self._batch: dict[ObjectId, Sequence[PackRow]] | None = None
        self._pending: dict[ObjectId, list[Located]] = {}
        self.damaged: dict[str, str] = {}

    def refresh(self) -> None:
        """List `index/`, forget what is gone, load what is new.

        Raises:
            IntegrityError: a blob is damaged.
        """
        with self._lock:
            for _ in range(_LIST_ATTEMPTS):
                try:
                    self._reload()
                except NotFoundError:
                    continue  # a compaction removed a blob after it was listed
                return
            self._reload()

    def find(self, oid: ObjectId) -> list[Located]:
        """Return every place where the object is said to stand, those in packs that are not condemned first."""
        view = self._view or self._load()
        found = list(self._pending.get(oid, ()))
        for blob in view.searched:
            try:
                found += blob.find(oid)
            except FormatError as error:
                raise _damaged(view.key_of(blob), error) from error
        return _settled(found, view.condemned) if len(found) > 1 or view.condemned else found

    def has(self, oid: ObjectId) -> bool:
        """Tell whether the object stands in a pack that is not condemned, as far as is known without asking again."""
        if oid in self._pending:
            return True
        view = self._view or self._load()
        if not view.condemned:
            try:
                return any(blob.find(oid) for blob in view.searched)
            except FormatError:
                return bool(self.find(oid))  # which says where
        return any(not place.condemned for place in self.find(oid))

    def missing(self, ids: Iterable[ObjectId]) -> list[ObjectId]:
        """Return those of `ids` that no uncondemned pack holds, in their order; asks the store again before it says so."""
        listed_now = self._view is None
        absent = [oid for oid in ids if not self.has(oid)]
        if absent and not listed_now:
            self.refresh()
            absent = [oid for oid in absent if not self.has(oid)]
        return absent

    def packs(self) -> set[ObjectId]:
        """Return the packs that are indexed."""
        view = self._view or self._load()
        return {pack.id for blob in view.order for pack in blob.packs}

    def blobs(self) -> tuple[IndexBlob, ...]:
        """Return the loaded blobs, the longest first."""
        return (self._view or self._load()).order

    def add(self, packs: Rows) -> None:
        """Make the rows of finished packs known: durably, or at the end of the `batch()` that is open.

        Raises:
            BackendError: the blob could not be put; nothing changed.
        """
        if not packs:
            return
        with self._lock:
            if self._batch is not None:
                self._batch.update(packs)
                for pack, rows in packs.items():
                    for row in rows:
                        place = Located(pack, row.offset, row.length, row.kind, condemned=False)
                        self._pending.setdefault(row.id, []).append(place)
                return
        self._publish(encode_index(packs, self._clock()))

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Collect what is added within the block into one blob, put at its end; an exception drops it."""
        with self._lock:
            if self._batch is not None:
                raise RuntimeError("a batch is open already")
            self._batch = {}
        try:
            yield
        except BaseException:
            with self._lock:
                self._batch, self._pending = None, {}
            raise
        with self._lock:
            rows, self._batch = self._batch, None
        try:
            self.add(rows)
        finally:
            with self._lock:
                self._pending = {}

    def compact(self, *, keep: int = KEEP_BLOBS) -> int:
        """Merge small blobs when there are more than `keep`; only for who holds a local store's lock alone.

        The merged blob is durable before the old ones go.

        Returns:
            how many blobs were merged.
        """
        with self._lock:
            self.refresh()
            chosen = self._mergeable(keep)
            if len(chosen) < 2:
                return 0
            merged = merge_indexes((blob for _, blob in chosen), self._clock())
            self._publish(merged)
            kept = index_id(merged)
            for name, _ in chosen:
                if name != kept:
                    self._backend.delete(index_key(name))
            self.refresh()
            return len(chosen)

    def condemn(self, packs: Collection[ObjectId]) -> ObjectId:
        """Flag packs in one step: from then on nobody relies on what stands only in them; it stays readable.

        Returns:
            the name of the blob that holds the flags, for `drop`.
        """
        with self._lock:
            blob = encode_index(dict.fromkeys(packs, ()), self._clock(), condemned=frozenset(packs))
            self._publish(blob)
            return index_id(blob)

    def drop(self, packs: Collection[ObjectId], flags: ObjectId) -> None:
        """Forget packs that `condemn` flagged; only for who holds a local store's lock alone.

        Each blob is written anew without them before the old one goes, and the flags go last: stopped anywhere, an
        object of these packs is flagged or forgotten, so that nobody takes a tree for whole when a part of it is gone.

        Args:
            packs: which; what is still needed of them stands elsewhere.
            flags: what `condemn` returned.
        """
        gone = frozenset(packs)
        with self._lock:
            self.refresh()
            view = self._view or self._load()
            for name, blob in view.blobs.items():
                if name == flags or all(pack.id not in gone for pack in blob.packs):
                    continue
                if any(pack.id not in gone for pack in blob.packs):
                    self._publish(merge_indexes([blob], self._clock(), dropped=gone))
                self._backend.delete(index_key(name))
            self._backend.delete(index_key(flags))
            self.refresh()

    def _load(self) -> _View:
        with self._lock:
            if self._view is None:
                self.refresh()
            assert self._view is not None
            return self._view

    def _reload(self) -> None:
        listed = [name for stat in self._backend.scan(INDEX) if (name := named_by(stat.key)) is not None]
        old = {} if self._view is None else self._view.blobs
        if self._view is not None and old.keys() == set(listed):
            return
        fresh = {}
        for name in listed:
            blob = old.get(name) or self._open(name)
            if blob is not None:
                fresh[name] = blob
        self._view = _View.of(fresh, self._view)

    def _open(self, name: ObjectId) -> IndexBlob | None:
        key = index_key(name)
        try:
            return self._read(key, name)
        except FormatError as error:
            if not self._tolerant:
                raise _damaged(key, error) from error
            self.damaged[key] = error.message
            return None

    def _read(self, key: str, name: ObjectId) -> IndexBlob:
        if isinstance(self._backend, Mappable):
            data = self._backend.map(key)
            trusted = len(data) > _HASHED_BYTES and not self._tolerant  # which is for who checks everything
        else:
            data = memoryview(self._backend.get(key).data)
            trusted = False
        if not trusted and blake3(data).digest() != name:
            raise FormatError(_OTHER_BYTES)
        try:
            blob = IndexBlob(data)
            blob.packs  # noqa: B018 -- reads them now, while it is known whose they are
        except UnsupportedFormatError:
            # A flipped bit in the version is damage, and no reason to install anything.
            if trusted and blake3(data).digest() != name:
                raise FormatError(_OTHER_BYTES) from None
            raise
        return blob

    def _publish(self, data: bytes | bytearray) -> None:
        name = index_id(data)
        key = index_key(name)
        for attempt in range(1, _PUT_ATTEMPTS + 1):
            try:
                self._backend.put(key, data, when=Absent())
                break
            except PreconditionFailedError:
                break  # the name vouches for the content
            except OutcomeUnknownError:
                if attempt == _PUT_ATTEMPTS:
                    raise
        with self._lock:
            if self._view is not None and name not in self._view.blobs:
                blob = self._read(key, name) if isinstance(self._backend, Mappable) else IndexBlob(memoryview(data))
                self._view = _View.of({**self._view.blobs, name: blob}, self._view)

    def _mergeable(self, keep: int) -> list[tuple[ObjectId, IndexBlob]]:
        """Choose the smallest blobs, so that what stays grows geometrically and few rows are ever rewritten."""
        view = self._view or self._load()
        if len(view.blobs) <= keep:
            return []
        ascending = sorted(view.blobs.items(), key=lambda item: len(item[1]))
        chosen: list[tuple[ObjectId, IndexBlob]] = []
        rows = 0
        for left, (name, blob) in zip(range(len(ascending), 0, -1), ascending, strict=True):
            if rows + len(blob) > MERGE_ROWS or (left <= keep // 2 and len(blob) > 2 * rows):
                break
            chosen.append((name, blob))
            rows += len(blob)
        return chosen


def _damaged(key: str, error: FormatError) -> IntegrityError:
    return IntegrityError(
        f"The index {key} is damaged: {error.message}",
        untouched="The packs themselves are not affected.",
        hint="`mediagit verify --rebuild-index` makes it anew from the packs.",
    )


def _settled(found: list[Located], condemned: Collection[ObjectId]) -> list[Located]:
    """Drop places named twice, flag those in packs that any blob flags, and put these last."""
    places = {(place.pack_id, place.offset): place for place in found}
    flagged = [
        place if place.condemned == (place.pack_id in condemned) else _reflagged(place, flag=place.pack_id in condemned)
        for place in places.values()
    ]
    flagged.sort(key=lambda place: place.condemned)
    return flagged


def _reflagged(place: Located, *, flag: bool) -> Located:
    return Located(place.pack_id, place.offset, place.length, place.kind, condemned=flag)
