"""Checks whole stores without a key: that each object is what its key promises, and that two stores hold the same.

Changes nothing. What is inside a sealed frame only a key holder can judge: `mediagit verify --remote` does.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Final, Literal, TypeAlias

import msgspec

from mediavault.errors import FormatError, IntegrityError, MediaVaultError, NotFoundError, UnsupportedFormatError
from mediavault.formats.config import decode_config
from mediavault.formats.ref import RefValue, decode_ref_value, split_ref_blob, value_hash
from mediavault.hosting.contents import Place, fault_of, find_repositories, paired, resumed
from mediavault.hosting.repository import CONFIG_KEY
from mediavault.hosting.slots import PREFIX as SLOTS
from mediavault.model.ids import Link, ObjectId
from mediavault.progress import SILENT, Progress
from mediavault.refs.blobs import LOGS, REFS
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import INDEX, PACKS, pack_key
from mediavault.store.verify import scrub
from mediavault_backends import errors as backend_errors
from mediavault_backends.api import Backend, Buffer, Stat
from mediavault_backends.keys import encode_segment

JOBS: Final = 4
"""Objects that are compared at once."""

_PARTS: Final = (PACKS, INDEX, LOGS, SLOTS, CONFIG_KEY, REFS)
_UNREADABLE: Final = (FormatError, UnsupportedFormatError)

What: TypeAlias = Literal["damaged", "missing", "extra", "different"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be.

    Attributes:
        what: "damaged": not what its key promises. Of two stores: "missing" from the other, "extra" there, or
            "different" there.
        key: in the store; of a repository as a whole, what its keys start with.
        reason: in words.
        object: its id in hex, where a single frame is concerned.
        offset: of that frame in its pack, or of the first byte that differs.
    """

    what: What
    key: str
    reason: str
    object: str = ""
    offset: int | None = None


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at of one repository, and what was found.

    Attributes:
        name: of the repository.
        packs: read whole, or compared.
        bytes: of these.
        others: objects that are no packs.
        compared: with another store; else checked by itself.
        findings: empty when all is well.
    """

    name: str
    packs: int
    bytes: int
    others: int
    compared: bool
    findings: Sequence[Finding]


def verify_store(store: Backend, *, progress: Progress = SILENT) -> Iterator[Checked]:
    """Read everything of every repository: config, key slots, refs, their former values, index, each frame of each pack.

    Args:
        store: what to check.
        progress: told the bytes of each repository's packs as they are checked.

    Raises:
        NotFoundError: there is no repository.
        BackendError: the store failed.
    """
    places = find_repositories(store)
    if not places:
        raise _nothing_in(store)
    for number, place in enumerate(places, 1):
        part = place.within(store)
        progress.start(
            sum(stat.size for stat in part.scan(PACKS)), "bytes", f"{place.name} ({number} of {len(places)})"
        )
        try:
            report = _Verification(place, part, progress).report()
        finally:
            progress.done()
        yield report


def compare_stores(
    store: Backend, other: Backend, *, progress: Progress = SILENT, jobs: int = JOBS
) -> Iterator[Checked]:
    """Compare the repositories of two stores object by object, byte by byte; of refs, the values.

    Args:
        store: what is expected.
        other: what is compared with it.
        progress: told the bytes of each repository's objects as they are compared.
        jobs: objects that are compared at once.

    Raises:
        NotFoundError: neither store has a repository.
        BackendError: one of the stores failed.
    """
    mine = {place.prefix: place for place in find_repositories(store)}
    theirs = {place.prefix: place for place in find_repositories(other)}
    places = sorted({**mine, **theirs}.values())
    if not places:
        raise _nothing_in(store)
    for number, place in enumerate(places, 1):
        if place.prefix not in theirs:
            yield _one_sided(place, "missing", f"{other.name} does not have this repository.")
        elif place.prefix not in mine:
            yield _one_sided(place, "extra", f"Only {other.name} has this repository.")
        else:
            label = f"{place.name} ({number} of {len(places)})"
            yield _Comparison(place, store, other, progress, jobs).report(label)


def _nothing_in(store: Backend) -> NotFoundError:
    return NotFoundError(
        f"There is no repository in {store.name}.",
        hint="Give the address that a server or `mediagit remote` has for the store.",
    )


def _one_sided(place: Place, what: What, reason: str) -> Checked:
    return Checked(
        name=place.name,
        packs=0,
        bytes=0,
        others=0,
        compared=True,
        findings=[Finding(what=what, key=place.prefix, reason=reason)],
    )


class _Verification:
    """The check of one repository, and what it counts."""

    def __init__(self, place: Place, part: Backend, progress: Progress) -> None:
        self._place = place
        self._part = part
        self._progress = progress
        self._packs = self._bytes = self._others = 0
        self._tips: list[tuple[str, Link]] = []

    def report(self) -> Checked:
        findings = [*self._small(), *self._stored(), *self._led_to()]
        return Checked(
            name=self._place.name,
            packs=self._packs,
            bytes=self._bytes,
            others=self._others,
            compared=False,
            findings=findings,
        )

    def _small(self) -> Iterator[Finding]:
        """Check config, key slots, refs and their former values."""
        config = self._part.get(CONFIG_KEY).data
        self._others += 1
        try:
            repository = decode_config(config).repository
        except _UNREADABLE as error:
            yield self._damaged(CONFIG_KEY, error.message)
            return
        for stat in chain(self._part.scan(SLOTS), self._part.scan(LOGS), self._part.scan(REFS)):
            try:
                data = self._part.get(stat.key).data
            except backend_errors.NotFoundError:
                continue  # removed since it was listed
            self._others += 1
            if fault := fault_of(stat.key, data, repository):
                yield self._damaged(stat.key, fault)
            elif stat.key.startswith(REFS):
                value = decode_ref_value(split_ref_blob(data)[0])
                if value.target is not None:
                    self._tips.append((stat.key, value.target))
                if not self._continues(value):
                    yield self._damaged(stat.key, "What it replaced is not what was there before it.")

    def _continues(self, value: RefValue) -> bool:
        """Tell whether a ref names its former value rightly, as far as that is remembered."""
        if not value.seq:
            return True
        former = f"{LOGS}{encode_segment(value.name)}/{value.seq - 1}-"
        try:
            hashes = {stat.key: value_hash(self._part.get(stat.key).data) for stat in self._part.scan(former)}
        except backend_errors.NotFoundError:
            return True  # forgotten since it was listed
        remembered = [found for key, found in hashes.items() if key == former + found.hex()[:16]]  # others are damaged
        return not remembered or value.previous in remembered

    def _stored(self) -> Iterator[Finding]:
        """Check the index and every frame of every pack."""

        def seen(pack: ObjectId, size: int) -> None:
            del pack
            self._packs += 1
            self._bytes += size
            self._progress.advance(size)

        self._others += sum(1 for _ in self._part.scan(INDEX))
        for found in scrub(self._part, on_pack=seen):
            key = "" if found.pack is None else pack_key(found.pack)
            yield self._damaged(
                key, found.reason, object_id="" if found.object is None else found.object.hex(), offset=found.offset
            )

    def _led_to(self) -> Iterator[Finding]:
        """Look up what refs lead to; that it is whole the links of every frame have shown."""
        index = ObjectIndex(self._part, tolerant=True)
        for key, target in self._tips:
            try:
                there = any(place.kind == target.kind for place in index.find(target.id))
            except IntegrityError:
                continue  # the damaged index was reported
            if not there:
                yield self._damaged(key, "What it leads to is missing.", object_id=target.id.hex())

    def _damaged(self, key: str, reason: str, *, object_id: str = "", offset: int | None = None) -> Finding:
        return Finding(what="damaged", key=self._place.prefix + key, reason=reason, object=object_id, offset=offset)


class _Comparison:
    """One repository in two stores."""

    def __init__(self, place: Place, store: Backend, other: Backend, progress: Progress, jobs: int) -> None:
        self._place = place
        self._other_name = other.name
        self._mine, self._theirs = place.within(store), place.within(other)
        self._progress = progress
        self._jobs = jobs
        self._lock = threading.Lock()
        self._packs = self._bytes = self._others = 0

    def report(self, label: str) -> Checked:
        total = sum(stat.size for part in (PACKS, INDEX) for stat in self._mine.scan(part))
        self._progress.start(total, "bytes", label)
        try:
            findings = list(self._findings())
        finally:
            self._progress.done()
        return Checked(
            name=self._place.name,
            packs=self._packs,
            bytes=self._bytes,
            others=self._others,
            compared=True,
            findings=findings,
        )

    def _findings(self) -> Iterator[Finding]:
        pending: deque[Future[Finding | None]] = deque()
        with ThreadPoolExecutor(self._jobs, "compare") as pool:
            try:
                for one, other in chain.from_iterable(map(self._pairs, _PARTS)):
                    pending.append(pool.submit(partial(self._compare, one, other)))
                    if len(pending) >= 4 * self._jobs:
                        yield from _given(pending.popleft().result())
                while pending:
                    yield from _given(pending.popleft().result())
            except BaseException:
                for future in pending:
                    future.cancel()
                raise

    def _pairs(self, part: str) -> Iterator[tuple[Stat | None, Stat | None]]:
        for one, other in paired(self._mine.scan(part), self._theirs.scan(part)):
            found = one or other
            assert found is not None
            if part != CONFIG_KEY or found.key == CONFIG_KEY:  # other keys may start so
                yield one, other

    def _compare(self, one: Stat | None, other: Stat | None) -> Finding | None:
        if other is None:
            assert one is not None
            return self._found("missing", one.key, f"{self._other_name} does not have it.")
        if one is None:
            return self._found("extra", other.key, f"Only {self._other_name} has it.")
        try:
            return self._compare_bytes(one, other)
        except backend_errors.NotFoundError:
            return self._found("different", one.key, "It was removed while it was compared.")

    def _compare_bytes(self, one: Stat, other: Stat) -> Finding | None:
        with self._lock:
            self._packs += one.key.startswith(PACKS)
            self._bytes += one.size if one.key.startswith(PACKS) else 0
            self._others += not one.key.startswith(PACKS)
        if one.key.startswith(REFS):
            return self._compare_refs(one.key)
        if one.size != other.size:
            reason = f"It has {other.size} bytes in {self._other_name}, and {one.size} here."
            return self._found("different", one.key, reason)
        at = first_difference(
            self._told(resumed(self._mine, one.key, one.size), one), resumed(self._theirs, one.key, one.size)
        )
        if at is None:
            return None
        return self._found("different", one.key, f"It has other bytes in {self._other_name}.", at)

    def _compare_refs(self, key: str) -> Finding | None:
        """Compare two refs by what they say: the random bytes behind it may have been renewed."""
        try:
            mine, theirs = (split_ref_blob(store.get(key).data)[0] for store in (self._mine, self._theirs))
            here, there = decode_ref_value(mine).seq, decode_ref_value(theirs).seq
        except MediaVaultError as error:
            return self._found("different", key, f"One of the two is damaged: {error.message}")
        if mine == theirs:
            return None
        return self._found("different", key, f"It is at move {there} in {self._other_name}, and at move {here} here.")

    def _told(self, blocks: Iterator[Buffer], stat: Stat) -> Iterator[Buffer]:
        for block in blocks:
            if stat.key.startswith((PACKS, INDEX)):
                self._progress.advance(len(block))
            yield block

    def _found(self, what: What, key: str, reason: str, offset: int | None = None) -> Finding:
        return Finding(what=what, key=self._place.prefix + key, reason=reason, offset=offset)


def first_difference(first: Iterator[Buffer], second: Iterator[Buffer]) -> int | None:
    """Return the offset of the first byte in which two streams differ, or where one ends before the other; None: nowhere."""
    at = 0
    one, other = memoryview(b""), memoryview(b"")
    while True:
        one = one if one.nbytes else _next(first)
        other = other if other.nbytes else _next(second)
        length = min(one.nbytes, other.nbytes)
        if not length:
            return at if one.nbytes or other.nbytes else None
        if one[:length] != other[:length]:
            return at + next(n for n in range(length) if one[n] != other[n])
        at += length
        one, other = one[length:], other[length:]


def _next(blocks: Iterator[Buffer]) -> memoryview:
    return next((memoryview(block) for block in blocks if len(block)), memoryview(b""))


def _given(finding: Finding | None) -> Iterator[Finding]:
    if finding is not None:
        yield finding
