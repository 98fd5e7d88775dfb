"""A remote without a server: the client itself keeps a repository on a store, with the same format, checks and conditions.

What a server does with its storage (`mediavault.hosting`) is done here in the client's process. Nothing is held between
commands; whoever else works on the same store, server or client, is seen by its conditional writes.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from random import random
from typing import Final

from blake3 import blake3

from mediavault.errors import (
    DivergedError,
    FormatError,
    IntegrityError,
    MediaVaultError,
    NeedsDecisionError,
    NotAllowedError,
    NotFoundError,
    RefMovedError,
    RemoteError,
    StorageError,
)
from mediavault.formats.ref import decode_ref_value
from mediavault.formats.slot import check_slot_name
from mediavault.formats.wire import Holdings, LocatedRow, etag_of, parse_etag
from mediavault.hosting.accept import feed
from mediavault.hosting.chunks import locate
from mediavault.hosting.holdings import holdings
from mediavault.hosting.late_index import LateIndex
from mediavault.hosting.metadata import Wanted, assemble
from mediavault.hosting.refs import list_refs, move_ref
from mediavault.hosting.refusal import RefusedError
from mediavault.hosting.repository import HostedRepository, check_config, host, is_there, make, read_config
from mediavault.hosting.slots import list_slots, read_slot, remove_slot, store_slot
from mediavault.hosting.uploads import keep_chunks_of_the_dead, new_upload
from mediavault.model.ids import ObjectId
from mediavault.refs.blobs import read_log
from mediavault.store.keys import pack_key
from mediavault.store.pack_table import PackTable, read_pack_table
from mediavault.store.receive import PackReceiver
from mediavault.wire import problems
from mediavault.wire.client import ARCHIVED_HINT, NotClosedError, RemoteRef
from mediavault.wire.http import Traffic, UnreachableError
from mediavault.wire.upload import Body, PackBody
from mediavault_backends import errors as backend_errors
from mediavault_backends.api import Backend, Buffer
from mediavault_backends.meter import Meter, metered
from mediavault_backends.probe import check_conditions

MAX_PACK: Final = 256 << 20
LONGEST_WAIT: Final = 20.0

Opener = Callable[[bool], Backend | None]
"""Opens the store; None where there is nothing yet, unless it is told to make it."""


class DirectRemote:
    """A repository on a store. Safe to use from several threads.

    Args:
        url: its address.
        opener: opens the store.
        scratch: a folder for packs on their way, for a store that has none of its own; kept between commands, so that
            what a killed push had sent goes on where it was.
        probed: ask the store whether it keeps conditions, before a repository is made there.
        settle: called once before anything is written, to make durable what others left there who died.
        retries: how often what may be repeated is repeated without progress.
    """

    def __init__(
        self,
        url: str,
        opener: Opener,
        scratch: Path,
        *,
        probed: bool = True,
        settle: Callable[[], object] | None = None,
        retries: int = 5,
    ) -> None:
        self.url = url
        self.max_pack = MAX_PACK
        self.retries = retries
        self._opener = opener
        self._scratch = scratch
        self._probed = probed
        self._settle = settle
        self._meter = Meter()
        self._aborted = threading.Event()
        self._lock = threading.Lock()
        self._open: HostedRepository | None = None
        self._late: LateIndex | None = None
        self._nothing_there = False

    @property
    def traffic(self) -> Traffic:
        """What went to and came from the store so far."""
        count = self._meter.count
        return Traffic(count.calls, count.put, count.read, count.writes, count.lists, count.reads)

    def close(self) -> None:
        """Index what a push that broke off had stored; what cannot be indexed now is when the next one begins."""
        if self._late is not None:
            with suppress(backend_errors.BackendError, MediaVaultError):
                self._late.flush()
            self._late.close()

    def abort(self) -> None:
        """Break off every transfer that is under way, at its next block."""
        self._aborted.set()

    def wait(self, failures: int, seconds: float | None) -> None:
        """Wait before another try."""
        time.sleep(max(seconds or 0.0, min(LONGEST_WAIT, 0.25 * 2.0**failures) * (0.5 + random())))  # noqa: S311 -- only spreads clients

    def config(self) -> bytes | None:
        """Return the config's exact bytes, or None where there is no repository."""
        with self._explained():
            backend = self._backend(create=False)
            if backend is None:
                return None
            try:
                repo = self._repository(backend)
            except RefusedError as refusal:
                if refusal.kind is problems.NO_REPOSITORY:
                    self._nothing_there = True
                    return None
                raise
            keep_chunks_of_the_dead(repo)
            return repo.config_bytes

    def create(self, config: bytes, slots: Mapping[str, bytes]) -> None:
        """Make the repository; where this very one is there, only slots that nobody has made are added."""
        with self._explained():
            check_config(config)
            backend = self._backend(create=True)
            assert backend is not None
            self._before_writing()
            if self._nothing_there or not is_there(self.url, backend, config):
                if self._probed:
                    check_conditions(backend)
                make(self.url, backend, config)
            with self._lock:
                self._open = self._open or host(self.url, backend, config, self._scratch)
        for name, slot in slots.items():
            self.put_slot(name, slot, None)

    def slots(self) -> dict[str, bytes]:
        """Return the wrapped keys by slot name; one that was removed since it was listed is left out."""
        with self._explained():
            repo = self._repository()
            names = list_slots(repo)
            for name in names:
                check_slot_name(name)
            found = {name: read_slot(repo, name) for name in names}
            return {name: blob.data for name, blob in found.items() if blob is not None}

    def put_slot(self, name: str, slot: bytes, expected: bytes | None) -> None:
        """Store a slot in place of `expected`; None: only where there is none."""
        with self._explained():
            self._before_writing()
            store_slot(self._repository(), name, slot, None if expected is None else blake3(expected).digest())

    def delete_slot(self, name: str, expected: bytes) -> None:
        """Remove a slot that still is `expected`; one that is gone already is no error."""
        with self._explained():
            try:
                remove_slot(self._repository(), name, blake3(expected).digest())
            except RefusedError as refusal:
                if refusal.kind is not problems.NOT_FOUND:
                    raise

    def refs(self) -> dict[str, RemoteRef]:
        """Return every ref by name, deleted ones (nil) too.

        Raises:
            IntegrityError: a value is damaged, or stands under the name of another.
        """
        with self._explained():
            found = {}
            for blob in list_refs(self._repository()):
                if decode_ref_value(blob.value_bytes).name != blob.name:
                    raise IntegrityError(f"{self.url} mixes up its refs: the value of {blob.name} is another's.")
                found[blob.name] = RemoteRef(blob.value_bytes, etag_of(blob.hash))
            return found

    def ref_log(self, name: str) -> list[bytes]:
        """Return a ref's former values, oldest first."""
        with self._explained():
            return list(read_log(self._repository().backend, name))

    def put_ref(self, value_bytes: bytes, expected: str | None, *, force: bool = False, adopt: bool = False) -> None:
        """Move a ref if its ETag still is `expected`; None: if there is no such ref."""
        name = decode_ref_value(value_bytes).name
        former = None if expected is None else parse_etag(expected)
        with self._explained():
            self._before_writing()
            repo = self._whole()
            try:
                move_ref(repo, name, value_bytes, former, forced=force, adopted=adopt)
            except backend_errors.OutcomeUnknownError:
                # Its being there already is success.
                move_ref(repo, name, value_bytes, former, forced=force, adopted=adopt)

    def holdings(self) -> Holdings:
        """Return how much is stored there."""
        with self._explained():
            return holdings(self._repository())

    def missing(self, ids: Iterable[ObjectId]) -> list[ObjectId]:
        """Return those of `ids` that the store lacks, in their order."""
        with self._explained():
            return self._whole().frames.missing(ids)

    def locate(self, ids: Iterable[ObjectId]) -> list[LocatedRow]:
        """Return where objects stand; those that the store lacks are left out."""
        with self._explained():
            return locate(self._whole(), list(ids))

    def ahead(self, packs: Iterable[Body]) -> Iterator[Body]:
        """Yield the packs: there is nothing to ask."""
        return iter(packs)

    def put_pack(self, pack: PackBody) -> bool:
        """Write a pack aside, check it as a server would, and publish it. Returns whether it is new."""
        with self._explained():
            self._before_writing()
            repo = self._repository()
            with PackReceiver(new_upload(repo.spool), pack.id, max_size=self.max_pack, kept=repo.adopts) as receiver:
                feed(receiver, self._until_aborted(pack.blocks()))
                return self._index_of(repo).accept(receiver)

    def read_pack(self, pack: ObjectId, start: int, length: int) -> Generator[bytes]:
        """Yield a range of a pack; one that breaks off goes on at the byte where it broke.

        Raises:
            UnreachableError: several tries in a row brought nothing.
            IntegrityError: the pack ends before.
        """
        key, done, failures = pack_key(pack), 0, 0
        with self._explained():
            backend = self._repository().backend
            while done < length:
                before = done
                try:
                    blocks = backend.stream(key, start=start + done, length=length - done)
                    for block in self._until_aborted(blocks):
                        done += len(block)
                        yield bytes(block)
                except backend_errors.TransientError:
                    failures = 0 if done > before else failures + 1
                    if failures > self.retries:
                        raise
                    self.wait(failures, None)
                    continue
                if done < length:
                    raise IntegrityError(
                        f"Pack {pack.hex()} at {self.url} is cut.", hint="Run `mediagit verify --remote`."
                    )

    def pack_table(self, pack: ObjectId) -> PackTable:
        """Return what a pack says of itself. FormatError: it is cut or damaged. NotFoundError: it is not there."""
        with self._explained(damaged=False):
            return read_pack_table(self._repository().backend, pack)

    def metadata(self, want: Iterable[ObjectId], have: Iterable[ObjectId]) -> Generator[bytes]:
        """Yield a pack of metadata reachable from `want` and not from `have`: parents first, perhaps not all of it."""
        with self._explained():
            source, _ = assemble(self._whole(), Wanted(list(want), list(have)))
            for block in self._until_aborted(source.blocks()):
                yield bytes(block)

    def _backend(self, *, create: bool) -> Backend | None:
        found = self._opener(create)
        return None if found is None else metered(found, self._meter)

    def _repository(self, backend: Backend | None = None) -> HostedRepository:
        with self._lock:
            if self._open is None:
                backend = backend or self._backend(create=False)
                if backend is None:
                    raise RefusedError(problems.NO_REPOSITORY, f"There is no repository {self.url}.")
                self._open = host(self.url, backend, read_config(self.url, backend), self._scratch)
            return self._open

    def _whole(self) -> HostedRepository:
        """Return the repository after everything that was sent to it is indexed."""
        repo = self._repository()
        if self._late is not None:
            self._late.flush()
        return repo

    def _index_of(self, repo: HostedRepository) -> LateIndex:
        with self._lock:
            if self._late is None:
                self._late = LateIndex(repo)
            return self._late

    def _before_writing(self) -> None:
        with self._lock:
            settle, self._settle = self._settle, None
            if settle is not None:
                settle()

    def _until_aborted(self, blocks: Iterable[Buffer]) -> Iterator[Buffer]:
        for block in blocks:
            if self._aborted.is_set():
                raise UnreachableError(f"The transfer with {self.url} was broken off.")
            yield block

    @contextmanager
    def _explained(self, *, damaged: bool = True) -> Iterator[None]:
        """Turn what the store and its host say into what it means to a person.

        Args:
            damaged: a FormatError is damage that is stored there.
        """
        try:
            yield
        except RefusedError as refusal:
            raise _meaning(refusal, self.url) from refusal
        except backend_errors.BackendError as error:
            raise _failure(error, self.url) from error
        except FormatError as error:
            if not damaged:
                raise
            raise IntegrityError(
                f"Something at {self.url} is damaged: {error.message}", hint="Run `mediagit verify --remote`."
            ) from error


def _meaning(refusal: RefusedError, url: str) -> MediaVaultError:
    said = f"{url}: {str(refusal).rstrip('.')}."
    if refusal.kind is problems.NOT_CLOSED:
        return NotClosedError(said, [bytes.fromhex(oid) for oid in refusal.missing])
    if refusal.kind is problems.OTHER_REPOSITORY:
        return NeedsDecisionError(
            f"Another repository lives at {url}: {refusal.repository}; this one is {refusal.given}.",
            untouched="Nothing was sent.",
            hint="Push to another place, or clone the one that is there.",
        )
    make_error, hint = _REFUSALS.get(refusal.kind, (RemoteError, ""))
    return make_error(said, untouched="Nothing there was changed.", hint=hint)


_REFUSALS: Final[Mapping[problems.ProblemType, tuple[type[MediaVaultError], str]]] = {
    problems.PRECONDITION: (RefMovedError, "Fetch, look at what changed, and push again."),
    problems.SLOT_TAKEN: (RefMovedError, "Choose another name."),
    problems.NOT_FAST_FORWARD: (DivergedError, "Run `mediagit pull`, then push again."),
    problems.NOT_FOUND: (NotFoundError, ""),
    problems.NO_REPOSITORY: (NotFoundError, "Check the address; the first push makes a repository."),
    problems.MISMATCH: (IntegrityError, "Run `mediagit verify`, then push again."),
}


def _failure(error: backend_errors.BackendError, url: str) -> MediaVaultError:
    if isinstance(error, backend_errors.TransientError | backend_errors.OutcomeUnknownError):
        return UnreachableError(f"{url} does not answer: {error}.")
    if isinstance(error, backend_errors.AccessDeniedError):
        return NotAllowedError(
            f"{url} refuses these credentials: {error}.",
            untouched="Nothing was changed.",
            hint="Sign in to the store as its own tools do (environment, profile or role), then run the command again.",
        )
    if isinstance(error, backend_errors.NotFoundError):
        return NotFoundError(f"{url} lacks {error.key or 'an object'}.", untouched="Nothing was changed.")
    if isinstance(error, backend_errors.StorageFullError):
        return StorageError(
            f"{url} is full: {error}.",
            untouched="No ref was moved.",
            hint="Free some space and push again: it continues.",
        )
    if isinstance(error, backend_errors.PreconditionFailedError):
        return RefMovedError(f"{url} was changed by someone else meanwhile.", hint="Run the command again.")
    archived = isinstance(error, backend_errors.ArchivedError)
    said = f"{url}: {error}." if archived else f"{url} cannot be used: {error}."
    return RemoteError(said, untouched="Nothing was changed.", hint=_HINTS.get(type(error), ""))


_HINTS: Final[Mapping[type[backend_errors.BackendError], str]] = {
    backend_errors.ArchivedError: ARCHIVED_HINT,
    backend_errors.RestoringError: ARCHIVED_HINT,
    backend_errors.BackendSetupError: "Check the address, and sign in to the store as its own tools do (environment, "
    "profile or role), then run the command again.",
}
