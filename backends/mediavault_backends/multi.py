"""Two stores as one: the primary decides, the secondary is made equal.

What a change does to both is here. How the stores are knows `multi_pair`, what may differ `multi_journal`, who answers a reader
`multi_read`; what was left undone is done by `multi_catch_up`, and what is damaged is mended by `multi_mend`.

Every change is written to the journal before it is made, so that whatever happens then, each key in which the stores may differ
is known, and is looked at again until they are equal. A version says which store it is from.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from mediavault_backends.api import (
    Absent,
    Backend,
    Blob,
    Body,
    Buffer,
    Condition,
    Lag,
    Mappable,
    Matches,
    Spooling,
    Stat,
    Version,
)
from mediavault_backends.errors import BackendError, BackendSetupError, OutcomeUnknownError, PreconditionFailedError
from mediavault_backends.keys import SERVER_MARK, check_key, check_prefix
from mediavault_backends.kinds import names_content
from mediavault_backends.multi_catch_up import CatchUp
from mediavault_backends.multi_copy import Seen, stat_of
from mediavault_backends.multi_journal import Journal
from mediavault_backends.multi_pace import Replayer
from mediavault_backends.multi_pair import FAILURES, FIRST, PATIENCE, SECOND, Pair
from mediavault_backends.multi_read import Reading

Mode: TypeAlias = Literal["mirror", "async"]
Read: TypeAlias = Literal["primary-first", "nearest"]

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


def multi(primary: Backend, secondary: Backend, journal: Journal, *, mode: Mode, read: Read) -> "MultiBackend":
    """Return both stores as one, with the primary's capabilities; copying goes on in a thread of its own."""
    kind = _FilesMultiBackend if isinstance(primary, Mappable) and isinstance(primary, Spooling) else MultiBackend
    return kind(primary, secondary, journal, mode=mode, read=read)


class MultiBackend:
    """A primary, and a secondary that follows it.

    Args:
        primary: its conditions and versions are the caller's.
        secondary: holds the same objects, at once (`mirror`) or soon (`async`).
        journal: shared by all processes that use this pair.
        mode: `mirror`: a change is done when both stores have it; `async`: when the primary has it.
        read: `nearest`: what never changes is read from the store that answered faster lately.
        clock: seconds, for speeds and pauses.
        background: False: nothing is copied later but by `catch_up`.
    """

    def __init__(
        self,
        primary: Backend,
        secondary: Backend,
        journal: Journal,
        *,
        mode: Mode = "mirror",
        read: Read = "primary-first",
        clock: Callable[[], float] = time.monotonic,
        background: bool = True,
    ) -> None:
        self.primary = primary
        self.secondary = secondary
        self.stores = Pair(primary, secondary, journal, clock)
        self._journal = journal
        self._mirror = mode == "mirror"
        self._catching_up = CatchUp(self.stores, clock)
        self._reading = Reading(
            self.stores, mirror=self._mirror, nearest=read == "nearest", clock=clock, lacking=self._copy_soon
        )
        self._replayer = Replayer(self.catch_up) if background else None
        self._stopping = threading.Event()

    @property
    def name(self) -> str:
        """How messages call this store."""
        return f"{self.primary.name}, {'mirrored to' if self._mirror else 'followed by'} {self.secondary.name}"

    # Writing

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body` whole or not at all, if `when` holds at that instant.

        With `mirror`, nothing changes while the secondary is away; where it goes away in the middle, OutcomeUnknownError says
        that the primary has it and the secondary does not yet. What can change, such as a ref, is put only when nothing that
        calls before it left so is left: what it leads to is in both stores.
        """
        check_key(key)
        self.stores.check_primary(key)
        condition = self._at_primary(key, when)
        if self._mirror and not names_content(key):
            self._catching_up.finish_former(key)
        seen = self._seen(key, when) if self._mirror else None
        intent = self._journal.begin(key, "put")
        try:
            version = self.primary.put(key, body, when=condition)
        except PreconditionFailedError:
            if self._mirror and self._has_former(key):
                self._finish(key, intent, None)  # it is not there as a call knows it before both have it
            else:
                self._journal.forget([intent])
            raise
        except OutcomeUnknownError:
            self._replay_later(intent)
            raise
        except (BackendError, ValueError):
            self._journal.forget([intent])
            raise
        except BaseException:
            self._replay_later(intent)
            raise
        if self._mirror:
            self._finish(key, intent, seen)
        else:
            self._replay_later(intent)
        return Version(FIRST + version)

    def delete(self, key: str) -> None:
        """Remove the object durably; a key without an object is no error.

        With `mirror` it goes from the secondary first: what is gone from the primary cannot come back from there.
        """
        check_key(key)
        self.stores.check_primary(key)
        intent = self._journal.begin(key, "delete")
        try:
            if self._mirror:
                with self._journal.lock(key, timeout=PATIENCE):
                    self.stores.second().delete(key)
                    self.primary.delete(key)
            else:
                self.primary.delete(key)
        except BaseException:
            self._replay_later(intent)
            raise
        if self._mirror:
            self._journal.forget([intent])
        else:
            self._replay_later(intent)

    # Reading

    def get(self, key: str) -> Blob:
        """Return a whole object."""
        if self._mirror and not names_content(key):
            self._catching_up.finish_before_reading(key)
        blob, store = self._ask(key, lambda store: store.get(key))
        return Blob(blob.data, Version(store + blob.version))

    def read(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from offset `start`; fewer only where the object ends."""
        return self._ask(key, lambda store: store.read(key, start, length))[0]

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        """Yield a range of an object in blocks of at most 1 MiB; to its end when `length` is None."""
        return self._ask(key, lambda store: store.stream(key, start=start, length=length))[0]

    def stat(self, key: str) -> Stat:
        """Return size and version."""
        found, store = self._ask(key, lambda store: store.stat(key))
        return Stat(key, found.size, Version(store + found.version))

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        """Yield every object whose key starts with `prefix`, keys ascending by code point."""
        check_prefix(prefix)
        self._start()
        return self._reading.scan(prefix)

    # Copying

    def catch_up(self) -> bool:
        """Copy what calls left to be copied, once through; return whether nothing is left to be copied by this process."""
        return self._catching_up.run(self._stopping)

    def lag(self) -> Lag:
        """Return how far the secondary is behind."""
        self._start()
        self.stores.second()
        intents = self._journal.intents(under_way=False)
        now = time.time_ns()
        oldest = min((intent.time for intent in intents), default=now)
        return Lag(
            len({intent.key for intent in intents}),
            max(0.0, (now - oldest) / 1e9),
            self._journal.is_complete,
            answers=not self.stores.is_quiet(SECOND) and self.stores.ask_second(),
        )

    def close(self) -> None:
        """Stop copying; what is left is copied by the next process. No call may be under way; later ones start it again."""
        self._stopping.set()
        if self._replayer is not None:
            self._replayer.stop()
        self._stopping = threading.Event()
        self._journal.close()

    def check_pair(self) -> None:
        """Make sure, before anything is written, that neither store is an empty disk in the place of the right one.

        An empty bucket as the secondary is filled; an empty folder may be where a disk is to be mounted, and is left alone.
        A secondary that cannot be asked is believed to be the right one.

        Raises:
            BackendSetupError: the primary is empty, and the secondary is not.
            BackendError: the primary cannot be asked; or it is empty, and the secondary cannot be asked.
        """
        marked = stat_of(self.primary, SERVER_MARK) is not None
        if not marked and next(self.primary.scan(), None) is None:
            if stat_of(self.secondary, SERVER_MARK) is not None:
                raise BackendSetupError(
                    f"{self.primary.name} is empty, and {self.secondary.name} is not. If its disk is not mounted, mount it;"
                    " if it is lost, bring everything back with `mediagit-server storage copy`"
                )
            return
        if marked and not self._journal.kinds(SERVER_MARK):
            with contextlib.suppress(*FAILURES):
                if self.stores.is_second_gone():
                    _log.error(
                        "%s is not the copy that was there before: nothing is copied to it. Mount its disk; or, if it is to be"
                        " filled anew, remove %s and start again",
                        self.secondary.name,
                        self._journal.complete_file,
                    )
                elif stat_of(self.secondary, SERVER_MARK) is None:
                    self._journal.mark_empty()

    # How writing goes on at the secondary

    def _at_primary(self, key: str, when: Condition) -> Condition:
        """Return the condition that the primary knows."""
        if isinstance(when, Absent):
            return when
        if when.version.startswith(FIRST):
            return Matches(Version(when.version.removeprefix(FIRST)))
        stat_of(self.primary, key)  # where it cannot be asked, that is what is wrong
        raise PreconditionFailedError(f"{key} was read from the secondary: read it again", key=key)

    def _seen(self, key: str, when: Condition) -> Seen:
        """Return what stands at the secondary, before the primary is changed.

        Raises:
            PreconditionFailedError: the secondary cannot be asked, and does not need to be: both hold an object.
        """
        secondary = self.stores.second()
        try:
            return Seen(stat_of(secondary, key))
        except FAILURES:
            if isinstance(when, Absent) and self.stores.is_in_both(key):
                raise PreconditionFailedError(f"{key} exists already", key=key) from None
            raise

    def _finish(self, key: str, intent: int, seen: Seen | None) -> None:
        """Bring up the secondary, of a call that the primary has done."""
        try:
            self.stores.level(key, seen)
        except (BackendError, ValueError) as error:
            self._replay_later(intent)
            raise OutcomeUnknownError(
                f"{key} is in {self.primary.name} and not in {self.secondary.name} yet: {error}", key=key
            ) from error
        self._journal.forget([intent])

    def _has_former(self, key: str) -> bool:
        """Tell whether another call on this key did not end yet, or was broken off."""
        return len([found for found in self._journal.intents() if found.key == key]) > 1

    def _copy_soon(self, key: str) -> None:
        """Write down that the secondary lacks something that it should have."""
        self._replay_later(self._journal.begin(key, "put"))

    def _replay_later(self, intent: int) -> None:
        self._journal.ready(intent)
        self._wake()

    def _start(self) -> None:
        """Look, from the first call on, for what dead processes left."""
        if self._replayer is not None:
            self._replayer.start()

    def _wake(self) -> None:
        if self._replayer is not None:
            self._replayer.wake()

    def _ask(self, key: str, call: Callable[[Backend], _T]) -> tuple[_T, str]:
        """Return the answer, and the mark of the store that gave it."""
        check_key(key)
        self._start()
        return self._reading.ask(key, call)


class _FilesMultiBackend(MultiBackend):
    """A pair whose primary holds files."""

    @property
    def spool_folder(self) -> Path:
        """A private folder on the same file system as the primary's objects; never listed by `scan`."""
        assert isinstance(self.primary, Spooling)
        return self.primary.spool_folder

    def map(self, key: str) -> memoryview:
        """Return the whole object as read-only memory, valid until it is garbage collected."""
        return self._ask(
            key, lambda store: store.map(key) if isinstance(store, Mappable) else memoryview(store.get(key).data)
        )[0]
