"""Copies the repositories of one store to another, so that the other is whole at every instant; opens no store, prints nothing.

Of each repository the refs are read first and written last. What they lead to was there before they were read, so the
listings that follow hold it: the index blobs, then the packs that these name. They are written the other way round: packs,
index blobs, former values of refs, key slots, config, refs. Killed anywhere, no ref and no index of the destination names
anything that is not there, and the next run sends only the rest. Nothing is removed.

Every object is checked on its way: packs frame by frame against their table and their name, the others against their key.
One that is damaged is named and not copied, and of its repository nothing that would lead to it.
"""

import fcntl
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec
from blake3 import blake3

from mediavault.errors import (
    DivergedError,
    IntegrityError,
    MediaVaultError,
    NeedsDecisionError,
    NotFoundError,
    StorageError,
    UnsupportedFormatError,
)
from mediavault.formats.config import decode_config
from mediavault.formats.index import IndexBlob
from mediavault.formats.ref import RefValue, decode_ref_value, split_ref_blob
from mediavault.hosting.contents import Place, fault_of, find_repositories, paired, resumed
from mediavault.hosting.repository import CONFIG_KEY
from mediavault.hosting.slots import PREFIX as SLOTS
from mediavault.model.ids import ObjectId
from mediavault.progress import SILENT, Progress
from mediavault.refs.blobs import LOGS, REFS, log_key
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import INDEX, PACKS, named_by, pack_key
from mediavault.store.receive import PackReceiver
from mediavault_backends import errors as backend_errors
from mediavault_backends.api import Absent, Backend, Body, Buffer, Condition, Matches, Spooling, Stat, Version
from mediavault_backends.bodies import size_of
from mediavault_backends.throttle import Throttle

JOBS: Final = 4
"""Objects on their way at once. A pack takes a file of its size and about 3 MiB of memory; an index blob is held whole."""
SMALL: Final = 1 << 20
"""Bytes up to which an object is read back from the destination and compared; of larger ones the size is."""
_PASSES: Final = 3
"""How often a repository that is collected while it is copied is looked at anew."""
_PUT_ATTEMPTS: Final = 16
_SPOOL: Final = "copy-"

_T = TypeVar("_T")


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one repository; what would, for a dry run.

    Attributes:
        name: of the repository.
        objects: sent.
        bytes: of these.
        there: objects that were at the destination already.
        refs: made or moved forward; counted among the objects.
        kept: key slots that only the destination has. They still open the repository there.
        damage: objects of the source that are not what they should be. While there are any, no ref is moved.
    """

    name: str
    objects: int
    bytes: int
    there: int
    refs: int
    kept: Sequence[str]
    damage: Sequence[str]


class _Missing(NamedTuple):
    """An object to be sent: its key and size, and the version that stands in its place, if any."""

    key: str
    size: int
    replaces: Version | None = None


class _Move(NamedTuple):
    """A ref to be put."""

    key: str
    blob: bytes
    when: Condition


class _Survey(NamedTuple):
    """One repository before anything is sent: where it is on both sides, its config, and its refs as they were then."""

    place: Place
    source: Backend
    target: Backend
    config: bytes
    made: bool
    moves: Sequence[_Move]
    settled: int
    targets: Sequence[ObjectId]
    damage: Sequence[str]

    @property
    def repository(self) -> bytes:
        return decode_config(self.config).repository


class _ChangedError(Exception):
    """Something that was listed at the source is gone: it is being collected."""


class _StoppedError(Exception):
    """Another thread failed; this one gives up."""


def copy_store(
    source: Backend,
    target: Backend,
    scratch: Path,
    *,
    progress: Progress = SILENT,
    throttle: Throttle | None = None,
    dry_run: bool = False,
    jobs: int = JOBS,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Copied]:
    """Copy every repository of one store to the same place in another. Run again, it sends what is missing.

    All repositories are looked at before anything is sent of the first; each is yielded when it is done.

    Args:
        source: read only.
        target: where to.
        scratch: a folder for packs on their way, for a target that has none of its own; made when missing.
        progress: told the bytes of each repository's objects as they come.
        throttle: keeps all reading from the source below a rate.
        dry_run: look at both, send nothing.
        jobs: objects on their way at once.
        sleep: waits for that many seconds, before a broken transfer goes on.

    Raises:
        NotFoundError: there is no repository in the source.
        NeedsDecisionError: another repository is in the place of one at the target; or a ref is further there, or on
            another history. Nothing was sent, unless it came to be so meanwhile.
        IntegrityError: a ref of the target is damaged, or it hands back other bytes than it was given.
        StorageError: no room for packs on their way.
        BackendError: one of the stores failed.
    """
    run = _Copying(source, target, scratch, progress=progress, throttle=throttle, jobs=jobs, sleep=sleep)
    return run.all(dry_run=dry_run)


class _Copying:
    """One run. `count` and `bytes` are what was sent of the repository at hand."""

    def __init__(
        self,
        source: Backend,
        target: Backend,
        scratch: Path,
        *,
        progress: Progress,
        throttle: Throttle | None,
        jobs: int,
        sleep: Callable[[float], object],
    ) -> None:
        self._source = source
        self._target = target
        self._scratch = scratch
        self._progress = progress
        self._throttle = throttle
        self._jobs = jobs
        self._sleep = sleep
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._sending = False
        self._last = False
        self._count = self._bytes = 0
        self._damage: list[str] = []

    def all(self, *, dry_run: bool) -> Iterator[Copied]:
        places = find_repositories(self._source)
        if not places:
            raise NotFoundError(
                f"There is no repository in {self._source.name}.",
                untouched="Nothing was copied.",
                hint="Give the address that a server or `mediagit remote` has for the store.",
            )
        # All of them, before anything is sent of the first.
        surveys = [self._survey(place) for place in places]
        if not dry_run:
            self._scratch = self._spool_folder()
        self._sending = True
        for number, survey in enumerate(surveys, 1):
            label = f"{survey.place.name} ({number} of {len(surveys)})"
            yield self._repository(survey, label, dry_run=dry_run)

    # Looking before anything is sent

    def _survey(self, place: Place) -> _Survey:
        source, target = place.within(self._source), place.within(self._target)
        config = source.get(CONFIG_KEY).data
        try:
            repository = decode_config(config).repository
        except (IntegrityError, UnsupportedFormatError) as error:
            damage = [f"{place.prefix}{CONFIG_KEY}: {error.message}"]
            return _Survey(place, source, target, config, False, [], 0, [], damage)
        made = self._is_there(place, target, config)
        moves, targets, damage, settled = [], [], [], 0
        for key, mine, there in self._both(source, target, [stat.key for stat in source.scan(REFS)]):
            if mine is None:
                continue
            blob, _ = mine
            if fault := fault_of(key, blob, repository):
                damage.append(f"{place.prefix}{key}: {fault}")
                continue
            value = _value(blob)
            if value.target is not None:
                targets.append(value.target.id)
            when = self._condition(place, source, key, blob, there)
            settled += when is None
            if when is not None:
                moves.append(_Move(key, blob, when))
        return _Survey(place, source, target, config, made, moves, settled, targets, damage)

    def _is_there(self, place: Place, target: Backend, config: bytes) -> bool:
        found = _get(target, CONFIG_KEY)
        if found is not None and found[0] != config:
            raise NeedsDecisionError(
                f"{self._target.name} has another repository at {place.name}.",
                untouched="Nothing was copied.",
                hint="Copy to another place, or move that repository out of the way.",
            )
        return found is not None

    def _both(
        self, source: Backend, target: Backend, keys: Sequence[str]
    ) -> Iterator[tuple[str, tuple[bytes, Version] | None, tuple[bytes, Version] | None]]:
        """Yield small objects as they are on both sides."""
        with ThreadPoolExecutor(self._jobs, "look") as pool:
            yield from pool.map(lambda key: (key, _get(source, key), _get(target, key)), keys)

    def _condition(
        self, place: Place, source: Backend, key: str, blob: bytes, found: tuple[bytes, Version] | None
    ) -> Condition | None:
        """Return on which condition a ref may be put at the target; None where it has this value already.

        Args:
            place: of the repository.
            source: its part of the source.
            key: of the ref.
            blob: the ref at the source.
            found: the ref at the target.

        Raises:
            DivergedError: the target's is further, or on another history.
            IntegrityError: the target's is damaged.
        """
        if found is None:
            return Absent()
        there, version = found
        if fault := fault_of(key, there, _value(blob).repository):
            raise IntegrityError(
                f"{self._target.name} has a damaged ref, {place.prefix}{key}: {fault}", untouched=self._untouched
            )
        if split_ref_blob(there)[0] == split_ref_blob(blob)[0]:
            return None
        old, new = _value(there), _value(blob)
        if old.seq > new.seq:
            raise self._diverged(place, new, f"is at move {old.seq} there, and at move {new.seq} here")
        if old.seq == new.seq or not _was(source, old, split_ref_blob(there)[0]):
            raise self._diverged(place, new, f"went another way at move {old.seq}")
        return Matches(version)

    def _diverged(self, place: Place, value: RefValue, what: str) -> DivergedError:
        return DivergedError(
            f"{self._target.name} is ahead of what would be copied: {value.name} of {place.name} {what}.",
            untouched=self._untouched,
            hint="Someone pushed there. Fetch from it and push to the source first, or copy to an empty place.",
        )

    @property
    def _untouched(self) -> str:
        return "That ref was left as it is." if self._sending else "Nothing was copied."

    # One repository

    def _repository(self, survey: _Survey, label: str, *, dry_run: bool) -> Copied:
        self._count = self._bytes = 0
        for left in reversed(range(_PASSES)):
            self._damage = list(survey.damage)
            self._last = not left
            try:
                return self._pass(survey, label, dry_run=dry_run)
            except _ChangedError as error:
                if not left:
                    raise StorageError(
                        f"{self._source.name} is changing: {survey.place.prefix}{error} is gone.",
                        untouched="What was copied so far is whole.",
                        hint="Wait until it is collected, then run the command again: it continues.",
                    ) from error
                survey = self._survey(survey.place)
        raise AssertionError

    def _pass(self, survey: _Survey, label: str, *, dry_run: bool) -> Copied:
        if survey.damage:
            return self._report(survey, 0, 0, ())
        indexes, index_there = self._missing_indexes(survey)
        packs, packs_there = self._missing_packs(survey)
        logs, logs_there = _lacking(survey.source.scan(LOGS), survey.target.scan(LOGS))
        slots, slots_there, kept = self._missing_slots(survey)
        there = index_there + packs_there + logs_there + slots_there + survey.made + survey.settled
        waiting = [*packs, *indexes, *logs, *slots]
        if dry_run:
            self._count = len(waiting) + (not survey.made) + len(survey.moves)
            self._bytes = sum(item.size for item in waiting)
        elif not self._damage:
            self._progress.start(sum(item.size for item in waiting), "bytes", label)
            try:
                self._send(survey, packs, indexes, [*logs, *slots])
            finally:
                self._progress.done()
        return self._report(survey, there, 0 if self._damage else len(survey.moves), kept)

    def _report(self, survey: _Survey, there: int, refs: int, kept: Sequence[str]) -> Copied:
        return Copied(
            name=survey.place.name,
            objects=self._count,
            bytes=self._bytes,
            there=there,
            refs=refs,
            kept=kept,
            damage=tuple(self._damage),
        )

    def _missing_indexes(self, survey: _Survey) -> tuple[list[_Missing], int]:
        """Return the index blobs that the target lacks, and how many it has.

        They are listed twice: a listing that a merger runs into may have neither the blobs that went nor the one that
        came in their place. The second one lacks nothing if it still has all that the first one had.
        """
        before = {stat.key for stat in survey.source.scan(INDEX)}
        listed = list(survey.source.scan(INDEX))
        if before - {stat.key for stat in listed}:
            raise _ChangedError(INDEX)
        return _lacking(iter(listed), survey.target.scan(INDEX))

    def _missing_packs(self, survey: _Survey) -> tuple[list[_Missing], int]:
        """Return the same of packs, once it is known that the index and the refs lead nowhere else."""
        index = ObjectIndex(survey.source)
        try:
            index.refresh()
            lost = FrameStore(survey.source, index).missing(survey.targets)
        except MediaVaultError as error:
            self._damage.append(f"{survey.place.prefix}{INDEX[:-1]}: {error.message}")
            return [], 0
        if lost and not self._last:
            raise _ChangedError(INDEX)
        self._damage += [
            f"{survey.place.prefix}refs: object {oid.hex()} is missing; a ref leads to it." for oid in lost
        ]
        named = {pack.id for blob in index.blobs() for pack in blob.packs if not pack.condemned}
        named -= {pack.id for blob in index.blobs() for pack in blob.packs if pack.condemned}
        missing, there = _lacking(_packs(survey.source, named), survey.target.scan(PACKS))
        if named and not self._last:
            raise _ChangedError(PACKS)
        for pack in sorted(named):
            self._damage.append(f"{survey.place.prefix}{pack_key(pack)}: It is missing; the index names it.")
        return missing, there

    def _missing_slots(self, survey: _Survey) -> tuple[list[_Missing], int, list[str]]:
        """Return key slots that the target lacks or has with other bytes, how many it has, and those that it alone has."""
        missing, there, kept = [], 0, []
        for one, other in paired(survey.source.scan(SLOTS), survey.target.scan(SLOTS)):
            if one is None:
                assert other is not None
                kept.append(survey.place.prefix + other.key)
            elif other is None:
                missing.append(_Missing(one.key, one.size))
            else:
                mine, theirs = _get(survey.source, one.key), _get(survey.target, one.key)
                if mine is not None and theirs is not None and mine[0] == theirs[0]:
                    there += 1
                elif mine is not None:
                    missing.append(_Missing(one.key, one.size, None if theirs is None else theirs[1]))
        return missing, there, kept

    # Sending

    def _send(
        self, survey: _Survey, packs: Iterable[_Missing], indexes: Sequence[_Missing], small: Iterable[_Missing]
    ) -> None:
        """Send everything of a repository in its order; each step only where the one before found no damage."""
        self._each(packs, lambda item: self._send_pack(survey, item))
        if not self._damage and survey.made:
            # Somebody may push to the target meanwhile, and what its index shows has to be whole for them: oldest first.
            indexes = sorted(indexes, key=lambda item: _written(survey.source, item.key))
            self._each(indexes, lambda item: self._send_small(survey, item), jobs=1)
        elif not self._damage:
            self._each(indexes, lambda item: self._send_small(survey, item))
        if not self._damage:
            self._each(small, lambda item: self._send_small(survey, item))
        if not self._damage and not survey.made:
            self._put(survey.target, CONFIG_KEY, survey.config, blake3(survey.config).digest(), Absent())
        if not self._damage:
            self._each(survey.moves, lambda move: self._move(survey, move))

    def _send_pack(self, survey: _Survey, item: _Missing) -> None:
        digest = blake3()
        with PackReceiver(self._scratch / f"{_SPOOL}{uuid.uuid4().hex}", named_by(item.key)) as receiver:
            try:
                for block in self._blocks(survey.source, item):
                    receiver.feed(block)
                    digest.update(block)
                receiver.finish()
            except (IntegrityError, UnsupportedFormatError) as error:
                self._found_damage(survey, item.key, error.message)
                return
            self._put(survey.target, item.key, receiver.body, digest.digest(), _when(item))

    def _send_small(self, survey: _Survey, item: _Missing) -> None:
        data = self._small(survey.source, item)
        if fault := fault_of(item.key, data, survey.repository):
            self._found_damage(survey, item.key, fault)
        else:
            self._put(survey.target, item.key, data, blake3(data).digest(), _when(item))

    def _move(self, survey: _Survey, move: _Move) -> None:
        when: Condition | None = move.when
        for _ in range(_PUT_ATTEMPTS):
            if when is None:
                return
            try:
                self._put(survey.target, move.key, move.blob, blake3(move.blob).digest(), when)
            except backend_errors.PreconditionFailedError:
                # Somebody was there meanwhile: what they made has to be what is followed here, too.
                there = _get(survey.target, move.key)
                when = self._condition(survey.place, survey.source, move.key, move.blob, there)
            else:
                return
        raise StorageError(
            f"{survey.place.prefix}{move.key} could not be written: {self._target.name} gives no clear answer.",
            untouched="It has its former value, or the new one.",
            hint="Run the command again: it continues.",
        )

    def _put(self, target: Backend, key: str, body: Body, digest: bytes, when: Condition) -> None:
        """Put an object whose bytes were checked, and look whether they are there.

        Raises:
            PreconditionFailedError: something else is in its place.
            IntegrityError: the target hands back other bytes.
        """
        size = size_of(body)
        try:
            version = target.put(key, body, when=when)
        except backend_errors.PreconditionFailedError:
            if not _stands(target, key, size, digest):
                raise
        else:
            if not _stands(target, key, size, digest, version):
                raise IntegrityError(
                    f"{self._target.name} does not hand back what it was given as {key}.",
                    untouched="No ref that needs it was moved.",
                    hint="Do not rely on that store; `mediagit-server storage verify` shows what it holds.",
                )
        with self._lock:
            self._count += 1
            self._bytes += size

    def _small(self, source: Backend, item: _Missing) -> bytes:
        if not item.key.startswith(SLOTS):
            return b"".join(self._blocks(source, item))
        slot = _get(source, item.key)  # it may have been replaced by a longer one since it was listed
        if slot is None:
            raise _ChangedError(item.key)
        return slot[0]

    def _blocks(self, source: Backend, item: _Missing) -> Iterator[Buffer]:
        try:
            for block in resumed(source, item.key, item.size, sleep=self._sleep):
                if self._stopped.is_set():
                    raise _StoppedError
                if self._throttle is not None:
                    self._throttle.take(len(block))
                self._progress.advance(len(block))
                yield block
        except backend_errors.NotFoundError as error:
            raise _ChangedError(item.key) from error

    def _found_damage(self, survey: _Survey, key: str, fault: str) -> None:
        with self._lock:
            self._damage.append(f"{survey.place.prefix}{key}: {fault}")

    def _each(self, items: Iterable[_T], work: Callable[[_T], None], *, jobs: int = 0) -> None:
        """Do some work on each item, several at once; when this returns or raises, none is under way."""
        pending: deque[Future[None]] = deque()
        self._stopped.clear()
        with ThreadPoolExecutor(jobs or self._jobs, "copy") as pool:
            try:
                for item in items:
                    pending.append(pool.submit(work, item))
                    if len(pending) >= 4 * self._jobs:
                        pending.popleft().result()
                while pending:
                    pending.popleft().result()
            except BaseException:
                self._stopped.set()
                for future in pending:
                    future.cancel()
                raise

    # Packs on their way

    def _spool_folder(self) -> Path:
        """Return the folder for packs on their way, without those that killed runs left there."""
        folder = self._target.spool_folder if isinstance(self._target, Spooling) else self._scratch
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"Cannot make {folder} for packs on their way: {error.strerror}.") from error
        for file in folder.glob(f"{_SPOOL}*"):
            with suppress(OSError):  # its run lives, or it is gone
                _remove_dead(file)
        return folder


def _remove_dead(file: Path) -> None:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # An empty one may be about to be locked by the run that made it.
        if os.fstat(fd).st_size:
            file.unlink()
    finally:
        os.close(fd)


def _when(item: _Missing) -> Condition:
    return Absent() if item.replaces is None else Matches(item.replaces)


def _get(backend: Backend, key: str) -> tuple[bytes, Version] | None:
    try:
        blob = backend.get(key)
    except backend_errors.NotFoundError:
        return None
    return blob.data, blob.version


def _value(blob: bytes) -> RefValue:
    return decode_ref_value(split_ref_blob(blob)[0])


def _was(source: Backend, value: RefValue, value_bytes: bytes) -> bool:
    """Tell whether a ref of the source once had a value, as far as it remembers that move."""
    key = log_key(value.name, value_bytes)
    move = key[: key.rindex("-") + 1]
    remembered = [stat.key for stat in source.scan(move)]
    return key in remembered or not remembered


def _lacking(mine: Iterator[Stat], theirs: Iterator[Stat]) -> tuple[list[_Missing], int]:
    """Return what the second listing lacks or has in another size, and how much it has. A name vouches for the bytes."""
    missing, there = [], 0
    for one, other in paired(mine, theirs):
        if one is None:
            continue
        if other is not None and other.size == one.size:
            there += 1
        else:
            missing.append(_Missing(one.key, one.size, None if other is None else other.version))
    return missing, there


def _packs(source: Backend, named: set[ObjectId]) -> Iterator[Stat]:
    """List the packs of a repository, and take them out of `named`."""
    for stat in source.scan(PACKS):
        pack = named_by(stat.key)
        if pack is not None and pack_key(pack) == stat.key:
            named.discard(pack)
            yield stat


def _written(source: Backend, key: str) -> int:
    """Return when an index blob was written; one that is damaged is found when it is sent."""
    try:
        return IndexBlob(memoryview(source.get(key).data)).written_ns
    except (IntegrityError, UnsupportedFormatError):
        return 0
    except backend_errors.NotFoundError as error:
        raise _ChangedError(key) from error


def _stands(target: Backend, key: str, size: int, digest: bytes, version: Version | None = None) -> bool:
    """Tell whether an object is at the target: by its bytes where it is small, by its size where it is large.

    What was put as `version` and has another one since was changed by somebody, where it may be: a ref or a key slot.
    """
    try:
        if size > SMALL:
            return target.stat(key).size == size
        found = target.get(key)
    except backend_errors.NotFoundError:
        return False
    changed = version is not None and found.version != version and key.startswith((REFS, SLOTS))
    return changed or blake3(found.data).digest() == digest
