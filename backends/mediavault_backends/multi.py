"""Two stores as one: the primary decides, the secondary is made equal. Leaves the record of what differs to `multi_journal`.

Every change is written to the journal before it is made, so that whatever happens then, each key in which the stores may differ
is known, and is looked at again until they are equal. A version says which store it is from.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from mediavault_backends import fsio
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
from mediavault_backends.errors import (
    AccessDeniedError,
    ArchivedError,
    BackendError,
    BackendSetupError,
    NotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    TransientError,
)
from mediavault_backends.keys import SERVER_MARK, check_key, check_prefix
from mediavault_backends.multi_copy import (
    Seen,
    StoredObject,
    is_immutable,
    is_index,
    level,
    merged,
    misleads,
    names_content,
    repository_of,
    restore,
    same_bytes,
    stat_of,
)
from mediavault_backends.multi_journal import BusyError, Due, Intent, Journal, Kind
from mediavault_backends.multi_pace import Replayer, Speeds
from mediavault_backends.probe import FOLDER as PROBE

Mode: TypeAlias = Literal["mirror", "async"]
Read: TypeAlias = Literal["primary-first", "nearest"]

QUIET: Final = 10.0
"""Seconds for which a store that failed is not asked where the other one can answer."""
FILL_AGAIN: Final = 3600.0
"""Seconds after which a secondary that was no copy is looked at again."""
_PATIENCE: Final = 60.0
"""Seconds that a call waits for another one that copies the same key."""
_TRIES: Final = 3
"""How often `mend` looks at a key of which the transfer breaks off."""
_REFUSALS: Final = 3
"""Keys that a store may refuse before a round ends."""
_FIRST: Final = "1-"
_SECOND: Final = "2-"
_UNDECIDED: Final = (
    "Both seem whole, and neither is known to have come in the place of the other: delete the wrong one."
)
_FAILURES: Final = (TransientError, OutcomeUnknownError, AccessDeniedError)
"""What makes a reader ask the secondary."""

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Healed(NamedTuple):
    """What `heal` has done so far: keys looked at, objects copied to the secondary, objects and bytes given back to the primary."""

    compared: int
    copied: int
    restored: int
    size: int


@dataclass(frozen=True, slots=True)
class HealReport:
    """What `heal` did; `differing` are keys that both stores hold, whose bytes differ, and of which it is not known who is right."""

    healed: Healed
    differing: tuple[str, ...]


class Difference(NamedTuple):
    """A key in which the stores differ.

    Attributes:
        key: which.
        what: "missing" or "damaged" at `store`; "different": as far as can be told whole in both; "archived": cannot be
            compared before it is restored at `store`; "waiting": the journal has it, and it is copied from there.
        store: the name of the store that is wrong.
        size: bytes of what is right; 0 where nothing is.
        mended: whether both stores hold the same now.
        reason: why it is not, in words.
    """

    key: str
    what: Literal["missing", "damaged", "different", "archived", "waiting"]
    store: str
    size: int = 0
    mended: bool = False
    reason: str = ""


class Judge(Protocol):
    """Knows what objects have to be."""

    def fault(self, key: str, store: Backend) -> str:
        """Return what is wrong with an object, as far as can be told; empty: nothing."""

    def follows(self, key: str, store: Backend, former: Backend) -> bool:
        """Tell whether the object of one store is what came, by a move that is proved, in the place of that of another one."""


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
        self._journal = journal
        self._mirror = mode == "mirror"
        self._nearest = read == "nearest"
        self._clock = clock
        self._speeds = Speeds()
        self._quiet = {_FIRST: float("-inf"), _SECOND: float("-inf")}
        self._marked = False
        self._fill_after = float("-inf")
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
        self._check_primary(key)
        condition = self._at_primary(key, when)
        if self._mirror and not names_content(key):
            self._finish_former(key)
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
        return Version(_FIRST + version)

    def delete(self, key: str) -> None:
        """Remove the object durably; a key without an object is no error.

        With `mirror` it goes from the secondary first: what is gone from the primary cannot come back from there.
        """
        check_key(key)
        self._check_primary(key)
        intent = self._journal.begin(key, "delete")
        try:
            if self._mirror:
                with self._journal.lock(key, timeout=_PATIENCE):
                    self._secondary().delete(key)
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
            self._finish_before_reading(key)
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
        return self._scan(prefix)

    # Copying

    def lag(self) -> Lag:
        """Return how far the secondary is behind."""
        self._start()
        self._secondary()
        intents = self._journal.intents(under_way=False)
        now = time.time_ns()
        oldest = min((intent.time for intent in intents), default=now)
        return Lag(
            len({intent.key for intent in intents}),
            max(0.0, (now - oldest) / 1e9),
            self._journal.is_complete,
            answers=not self._is_quiet(_SECOND) and self._asked_second(),
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
            with contextlib.suppress(*_FAILURES):
                if self._is_second_gone():
                    _log.error(
                        "%s is not the copy that was there before: nothing is copied to it. Mount its disk; or, if it is to be"
                        " filled anew, remove %s and start again",
                        self.secondary.name,
                        self._journal.complete_file,
                    )
                elif stat_of(self.secondary, SERVER_MARK) is None:
                    self._journal.mark_empty()

    def catch_up(self) -> bool:
        """Copy what the journal holds, once through.

        Packs go first, then indexes, and all else only when no older pack or index of its repository is left, so that what
        the secondary's refs lead to is there.

        Returns:
            whether nothing is left to be copied by this process.
        """
        stopping = self._stopping
        try:
            self._journal.take_over()
            if not self._has_both():
                return False
            finished = self._replay_due(stopping)
            if not self._journal.is_complete and self._clock() >= self._fill_after:
                finished = self._fill(stopping)
        except (TransientError, OutcomeUnknownError) as error:
            self._stuck(error)
            return False
        except BackendError as error:
            _log.error("%s cannot be brought up: %s", self.secondary.name, error)
            return False
        if finished and self._has_failed(_SECOND):
            self._asked_second()
        return finished

    def heal(
        self,
        progress: Callable[[Healed], object] = lambda _: None,
        *,
        compare_bytes: bool = False,
        only_missing: bool = False,
    ) -> HealReport:
        """Compare both stores and copy what is missing, either way; where an object that can change differs, the primary decides.

        What the journal holds is left to `catch_up`. Sizes are compared, the bytes of small objects that can change, and with
        `compare_bytes` all.

        Args:
            progress: told after each key.
            compare_bytes: read every object from both stores.
            only_missing: copy to the secondary what it lacks, and change nothing else; what it has too many differs.

        Raises:
            BackendError: a store failed; to be called again.
        """
        compared = copied = restored = size = 0
        differing: list[str] = []
        for here, there in merged(self.primary.scan(), self._secondary().scan()):
            found = here or there
            assert found is not None
            if found.key.startswith(f"{PROBE}/"):
                continue
            compared += 1
            if not self._journal.kinds(found.key):
                if there is None:
                    copied += 1
                    size += found.size
                    self._level(found.key)
                elif here is None and only_missing:
                    differing += [found.key] * (misleads(found.key) and self._is_at_odds(found.key))
                elif here is None:
                    given = self._give_back(found.key)
                    restored += given is not None
                    size += given or 0
                elif self._differ(here, there, compare_bytes=compare_bytes):
                    if only_missing or names_content(found.key):
                        differing += [found.key] * self._is_at_odds(found.key, compare_bytes=compare_bytes)
                    else:
                        copied += 1
                        size += found.size
                        self._level(found.key)
            progress(Healed(compared, copied, restored, size))
        return HealReport(Healed(compared, copied, restored, size), tuple(differing))

    def mend(
        self, judge: Judge, *, dry_run: bool = False, progress: Callable[[int], object] = lambda _: None
    ) -> Iterator[Difference]:
        """Compare both stores byte by byte, and give each what it lacks or has damaged from the other; yield what differed.

        Nothing is copied that is damaged. Of two that seem whole and differ, the secondary's is replaced where the primary's
        is proved to follow it; else both are left, for one of them may be damaged in a way that cannot be told.

        Args:
            judge: tells whether an object is what it has to be.
            dry_run: change nothing.
            progress: told the bytes of each key when it was compared.

        Raises:
            BackendError: a store failed; to be called again.
        """
        for here, there in merged(self.primary.scan(), self._secondary().scan()):
            found = here or there
            assert found is not None
            if found.key.startswith(f"{PROBE}/"):
                continue
            for left in reversed(range(_TRIES)):
                try:
                    differs = self._looked_at(here, there, judge, dry_run=dry_run)
                except TransientError:  # a transfer that broke off, say
                    if not left:
                        raise
                else:
                    break
            if differs is not None:
                yield differs
            progress(found.size)

    def _looked_at(self, here: Stat | None, there: Stat | None, judge: Judge, *, dry_run: bool) -> Difference | None:
        found = here or there
        assert found is not None
        if self._journal.kinds(found.key):
            return Difference(found.key, "waiting", self.secondary.name)
        try:
            if self._seem_to_differ(here, there) and self._is_at_odds(found.key, compare_bytes=True):
                return self._mend(found.key, judge, dry_run=dry_run)
        except ArchivedError as error:
            return Difference(found.key, "archived", self._side_of(found.key), reason=str(error))
        return None

    def _seem_to_differ(self, here: Stat | None, there: Stat | None) -> bool:
        """Tell whether two listings differ in a key; something else may have become of it since."""
        return here is None or there is None or self._differ(here, there, compare_bytes=True)

    def _mend(self, key: str, judge: Judge, *, dry_run: bool) -> Difference:
        here, there = stat_of(self.primary, key), stat_of(self.secondary, key)
        bad_here = "It is gone." if here is None else judge.fault(key, self.primary)
        bad_there = "It is gone." if there is None else judge.fault(key, self.secondary)
        if bad_here and bad_there:
            store = self.secondary if here is None else self.primary
            reason = bad_there if here is None else bad_here
            return Difference(key, "damaged", store.name, reason=f"{reason} The other store has none that is whole.")
        source, target = (self.secondary, self.primary) if bad_here else (self.primary, self.secondary)
        good, wrong = (there, here) if bad_here else (here, there)
        assert good is not None
        if bad_here or bad_there:
            found = Difference(key, "missing" if wrong is None else "damaged", target.name, good.size)
            reason = "" if wrong is None else bad_here or bad_there
        else:
            found = Difference(key, "different", target.name, good.size)
            reason = "" if judge.follows(key, source, target) else _UNDECIDED
        if dry_run or reason == _UNDECIDED:
            return found._replace(reason=reason)
        if self._replace(source, target, good, wrong):
            return found._replace(reason=reason, mended=True)
        return found._replace(reason=f"{reason} It changed meanwhile.".strip())

    def _replace(self, source: Backend, target: Backend, good: Stat, wrong: Stat | None) -> bool:
        """Put an object in the place of what is wrong or missing; return whether both are the same then."""
        body = StoredObject(source, good.key, good.size)
        with self._journal.lock(good.key, timeout=_PATIENCE):
            if self._journal.kinds(good.key):
                return False
            try:
                target.put(good.key, body, when=Absent() if wrong is None else Matches(wrong.version))
                return same_bytes(source, target, good.key)
            except (PreconditionFailedError, NotFoundError, ValueError):
                return False

    def _side_of(self, key: str) -> str:
        """Return the name of the store in which an object cannot be read."""
        try:
            self.primary.read(key, 0, 1)
        except ArchivedError:
            return self.primary.name
        except BackendError:
            pass
        return self.secondary.name

    # How writing goes on at the secondary

    def _at_primary(self, key: str, when: Condition) -> Condition:
        """Return the condition that the primary knows."""
        if isinstance(when, Absent):
            return when
        if when.version.startswith(_FIRST):
            return Matches(Version(when.version.removeprefix(_FIRST)))
        stat_of(self.primary, key)  # where it cannot be asked, that is what is wrong
        raise PreconditionFailedError(f"{key} was read from the secondary: read it again", key=key)

    def _seen(self, key: str, when: Condition) -> Seen:
        """Return what stands at the secondary, before the primary is changed.

        Raises:
            PreconditionFailedError: the secondary cannot be asked, and does not need to be: both hold an object.
        """
        secondary = self._secondary()
        try:
            return Seen(stat_of(secondary, key))
        except _FAILURES:
            if isinstance(when, Absent) and self._is_in_both(key):
                raise PreconditionFailedError(f"{key} exists already", key=key) from None
            raise

    def _is_in_both(self, key: str) -> bool:
        """Tell without the secondary whether both hold an object."""
        # In this order: what is found was journalled before, and is forgotten only when both hold it.
        found = stat_of(self.primary, key)
        return found is not None and self._journal.is_complete and not self._journal.kinds(key)

    def _finish(self, key: str, intent: int, seen: Seen | None) -> None:
        """Bring up the secondary, of a call that the primary has done."""
        try:
            self._level(key, seen)
        except (BackendError, ValueError) as error:
            self._replay_later(intent)
            raise OutcomeUnknownError(
                f"{key} is in {self.primary.name} and not in {self.secondary.name} yet: {error}", key=key
            ) from error
        self._journal.forget([intent])

    def _finish_former(self, key: str) -> None:
        """Bring up what calls on the repository of `key` that were broken off left to be copied.

        Raises:
            TransientError: that cannot be done now; nothing changed.
        """
        repository = repository_of(key)
        mine = {item.key: item for item in self._journal.due() if not item.deleted}
        left = {
            intent.key
            for intent in self._journal.intents(under_way=False)
            if intent.kind == "put" and repository_of(intent.key) == repository
        }
        for other in sorted(left, key=lambda other: (not is_immutable(other), is_index(other), other)):
            try:
                self._level(other)
            except BackendError as error:
                raise TransientError(f"{other} is not in {self.secondary.name} yet: {error}", key=key) from error
            if other in mine:
                self._journal.forget(mine[other].numbers)

    def _finish_before_reading(self, key: str) -> None:
        """Bring up a key whose put was broken off, so that what is read is in both stores; left alone where that cannot be done."""
        if self._is_quiet(_SECOND):
            return
        try:
            pending = [intent.kind for intent in self._journal.intents(under_way=False) if intent.key == key]
            if pending and "delete" not in pending and not self._is_early(key):
                self._level(key)
        except BackendError as error:
            self._stuck(error)

    def _has_former(self, key: str) -> bool:
        """Tell whether another call on this key did not end yet, or was broken off."""
        return len([found for found in self._journal.intents() if found.key == key]) > 1

    def _level(self, key: str, seen: Seen | None = None) -> None:
        with self._journal.lock(key, timeout=_PATIENCE):
            if not level(self.primary, self._secondary(), key, seen=seen, may=self._has_both):
                raise self._other_disk(key)

    def _replay_due(self, stopping: threading.Event) -> bool:
        """Copy what this process has to copy; return whether nothing is left."""
        refusals = 0
        while due := sorted(self._journal.due(), key=_rank):
            done = 0
            for item in due:
                if stopping.is_set():
                    return False
                try:
                    done += self._replay(item)
                except (TransientError, OutcomeUnknownError):
                    raise
                except (BackendError, ValueError) as error:
                    _log.error("%s cannot be brought up at %s: %s", item.key, self.secondary.name, error)
                    refusals += 1
                    if refusals == _REFUSALS:  # it is not about one key
                        return False
            if not done:
                return False
            # What waited for others may go now.
        return True

    def _replay(self, item: Due) -> bool:
        is_pack = is_immutable(item.key) and not is_index(item.key)

        def may() -> bool:
            return self._has_both() and ((is_pack and not item.deleted) or not self._is_early(item.key))

        try:
            with self._journal.lock(item.key, timeout=0.0):
                equal = level(self.primary, self.secondary, item.key, deleted=item.deleted, may=may)
        except BusyError:
            return False
        if equal:
            self._journal.forget(item.numbers)
        return equal

    def _is_early(self, key: str) -> bool:
        """Tell whether something that the last change of a key may rely on is still to be copied."""
        latest: dict[str, Intent] = {}
        for intent in sorted(self._journal.intents(), key=lambda intent: intent.time):
            latest[intent.key] = intent
        mine = latest.pop(key, None)
        repository = repository_of(key)
        return mine is not None and any(
            intent.kind == "put"
            and intent.time <= mine.time
            and is_immutable(intent.key)
            and not (is_index(key) and is_index(intent.key))
            and repository_of(intent.key) == repository
            for intent in latest.values()
        )

    def _fill(self, stopping: threading.Event) -> bool:
        """Give the secondary, the first time that this pair is used, what the primary held before."""
        lock = fsio.FileLock(self._journal.folder / "locks" / "fill")
        if not lock.acquire():
            return False

        def go_on(_: Healed) -> None:
            if stopping.is_set():
                raise _StoppedError
            self._replay_due(stopping)

        try:
            report = self.heal(go_on, only_missing=True)
        except _StoppedError:
            return False
        finally:
            lock.release()
        if report.differing:
            self._fill_after = self._clock() + FILL_AGAIN
            _log.error(
                "%s holds %d objects that %s does not, or that are others there, such as %s: nothing is read from it until it is"
                " a copy, or empty",
                self.secondary.name,
                len(report.differing),
                self.primary.name,
                report.differing[0],
            )
        else:
            self._journal.mark_complete()
        return self._replay_due(stopping)

    def _stuck(self, error: BackendError) -> None:
        """Leave the secondary alone for a while if it is what failed."""
        try:
            stat_of(self.secondary, SERVER_MARK)
        except _FAILURES:
            self._failed(_SECOND, error)

    def _asked_second(self) -> bool:
        """Ask the secondary anything; return whether it answers."""
        try:
            stat_of(self.secondary, SERVER_MARK)
        except _FAILURES as error:
            self._failed(_SECOND, error)
            return False
        self._answered(_SECOND)
        return True

    def _give_back(self, key: str) -> int | None:
        """Give the primary an object that it lost; return its size, or None where it is not lost but deleted."""
        with self._journal.lock(key, timeout=_PATIENCE):
            if "delete" in self._journal.kinds(key):
                return None
            given = restore(self.primary, self.secondary, key)
            if given is not None and "delete" in self._journal.kinds(key):  # since it was looked up
                self.primary.delete(key)
                return None
        return given

    def _differ(self, here: Stat, there: Stat, *, compare_bytes: bool) -> bool:
        if here.size != there.size:
            return True
        if names_content(here.key) and not compare_bytes:
            return False
        try:
            return not same_bytes(self.primary, self.secondary, here.key)
        except NotFoundError:
            return False  # deleted since it was listed

    def _is_at_odds(self, key: str, *, compare_bytes: bool = False) -> bool:
        """Tell whether the stores differ in a key that nobody changes meanwhile."""
        here = stat_of(self.primary, key)
        if self._journal.kinds(key):
            return False
        there = stat_of(self.secondary, key)
        if here is None or there is None:
            odd = here is not there
        else:
            odd = self._differ(here, there, compare_bytes=compare_bytes)
        return odd and not self._journal.kinds(key) and stat_of(self.primary, key) == here

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

    # Which store is read

    def _ask(self, key: str, call: Callable[[Backend], _T]) -> tuple[_T, str]:
        """Return the answer, and the mark of the store that gave it."""
        check_key(key)
        self._start()
        unchanging = is_immutable(key)
        if unchanging and self._secondary_goes_first(key):
            try:
                return self._timed(_SECOND, call), _SECOND
            except NotFoundError:
                self._heal_soon(key)
            except ArchivedError:
                pass  # the primary may have it where it can be read
            except _FAILURES as error:
                self._failed(_SECOND, error)
        try:
            return self._timed(_FIRST, call, counts=unchanging), _FIRST
        except ArchivedError as error:
            return self._from_secondary(key, call, error), _SECOND
        except NotFoundError as error:
            if self._is_gone():
                return self._from_secondary(key, call, self._other_disk(key)), _SECOND
            if not unchanging or self._is_quiet(_SECOND) or not self._can_give_back(key):
                raise
            return self._from_either(key, call, error)
        except _FAILURES as error:
            self._failed(_FIRST, error)
            return self._from_secondary(key, call, error), _SECOND

    def _secondary_goes_first(self, key: str) -> bool:
        if self._is_quiet(_SECOND) or not (self._is_quiet(_FIRST) or (self._nearest and self._speeds.prefers_second())):
            return False
        try:
            return not self._journal.kinds(key)
        except TransientError:
            return False

    def _timed(self, store: str, call: Callable[[Backend], _T], *, counts: bool = True) -> _T:
        """Ask one store; what `counts` is compared with the other store's speed."""
        start = self._clock()
        failed = True
        try:
            answer = call(self.primary if store == _FIRST else self.secondary)
            failed = False
        except NotFoundError:
            counts = False
            raise
        finally:
            if counts:
                self._speeds.add(second=store == _SECOND, seconds=self._clock() - start, failed=failed)
        self._answered(store)
        return answer

    def _can_give_back(self, key: str) -> bool:
        """Give the primary back what it lost, where that can be done; return whether the secondary has it."""
        try:
            # What is journalled is being made or deleted, not lost.
            if self._journal.kinds(key) or stat_of(self.secondary, key) is None:
                return False
        except BackendError as error:
            self._failed(_SECOND, error)
            return False
        try:
            if self._give_back(key) is None:
                return False
        except BackendError as error:  # a full disk, say: the secondary serves it
            _log.error("%s is lost in %s and cannot be given back: %s", key, self.primary.name, error)
        else:
            _log.warning("%s was lost in %s and is given back by %s", key, self.primary.name, self.secondary.name)
        return True

    def _from_either(self, key: str, call: Callable[[Backend], _T], error: NotFoundError) -> tuple[_T, str]:
        try:
            return call(self.primary), _FIRST
        except NotFoundError:
            return self._from_secondary(key, call, error), _SECOND

    def _from_secondary(self, key: str, call: Callable[[Backend], _T], error: BackendError) -> _T:
        """Answer instead of the primary, where it is certain that the answer is the primary's.

        Raises:
            TransientError: it is not certain.
        """
        kinds = self._kinds(key, error)
        if "delete" in kinds or (kinds and not is_immutable(key)):
            raise TransientError(f"{error}; the secondary may be behind", key=key) from error
        try:
            return call(self._secondary())
        except NotFoundError:
            if self._journal.is_complete and not kinds and not isinstance(error, NotFoundError | ArchivedError):
                raise
            raise error from None
        except _FAILURES as second:
            self._failed(_SECOND, second)
            raise error from second

    def _kinds(self, key: str, error: BackendError) -> frozenset[Kind]:
        try:
            return self._journal.kinds(key)
        except TransientError:
            # With mirror, what was acknowledged is in both stores, whatever the journal says.
            if self._mirror:
                return frozenset()
            raise TransientError(f"neither the primary nor the journal can be read: {error}", key=key) from error

    def _scan(self, prefix: str) -> Iterator[Stat]:
        self._start()
        last = ""
        error: BackendError
        try:
            for stat in self.primary.scan(prefix):
                last = stat.key
                yield Stat(stat.key, stat.size, Version(_FIRST + stat.version))
            if last or not self._is_gone():
                return
            error = self._other_disk("")
        except _FAILURES as failure:
            error = failure
        self._failed(_FIRST, error)
        self._check_listing(prefix, last, error)
        for stat in self._secondary().scan(prefix):
            if stat.key > last:
                yield Stat(stat.key, stat.size, Version(_SECOND + stat.version))

    def _check_listing(self, prefix: str, last: str, error: BackendError) -> None:
        """Refuse to list the secondary where the rest of a listing may differ from what was acknowledged."""
        if not self._journal.is_complete:
            raise error
        try:
            behind = [i.key for i in self._journal.intents() if i.key.startswith(prefix) and i.key > last]
        except TransientError:
            if self._mirror:
                return
            raise TransientError(f"neither the primary nor the journal can be read: {error}") from error
        if behind:
            raise TransientError(f"{error}; the secondary is behind in {behind[0]}", key=behind[0]) from error

    def _heal_soon(self, key: str) -> None:
        """Write down that the secondary lacks something that it should have."""
        with contextlib.suppress(BackendError):  # the read itself succeeds
            if self._journal.is_complete and stat_of(self.primary, key) is not None:
                self._replay_later(self._journal.begin(key, "put"))

    # How the stores are

    def _has_both(self) -> bool:
        return not self._is_gone() and not self._is_second_gone()

    def _secondary(self) -> Backend:
        """Return the secondary.

        Raises:
            TransientError: another disk, or none, stands where it was.
        """
        if self._is_second_gone():
            raise TransientError(f"{self.secondary.name} is not the copy that was there before")
        return self.secondary

    def _is_second_gone(self) -> bool:
        """Tell the same of the secondary, which has held the mark since it was filled."""
        if not isinstance(self.secondary, Mappable) or not self._journal.is_complete:
            return False
        try:
            self.secondary.stat(SERVER_MARK)
        except NotFoundError:
            return self._is_marked() and not self._journal.kinds(SERVER_MARK)
        except BackendError:
            pass
        return False

    def _is_marked(self) -> bool:
        """Tell whether the primary belongs to a server."""
        if not self._marked:
            with contextlib.suppress(*_FAILURES):
                self._marked = stat_of(self.primary, SERVER_MARK) is not None
        return self._marked

    def _is_gone(self) -> bool:
        """Tell whether another disk, or none, has come to stand where the primary was. A bucket does not go like that."""
        if not isinstance(self.primary, Mappable):
            return False
        try:
            self.primary.stat(SERVER_MARK)
        except NotFoundError:
            return self._marked
        except BackendError:
            return False  # the call itself tells
        self._marked = True
        return False

    def _check_primary(self, key: str) -> None:
        if self._is_gone():
            raise self._other_disk(key)

    def _other_disk(self, key: str) -> TransientError:
        return TransientError(f"{self.primary.name} is not the one that was there before", key=key)

    def _has_failed(self, store: str) -> bool:
        """Tell whether a store has not answered since it failed."""
        return self._quiet[store] != float("-inf")

    def _is_quiet(self, store: str) -> bool:
        return self._clock() < self._quiet[store]

    def _failed(self, store: str, error: BackendError) -> None:
        """Leave a store alone for a while; said once."""
        if not self._has_failed(store):
            name = self.primary.name if store == _FIRST else self.secondary.name
            _log.warning("%s does not answer: %s", name, error)
        self._quiet[store] = self._clock() + QUIET

    def _answered(self, store: str) -> None:
        if self._has_failed(store):
            self._quiet[store] = float("-inf")
            _log.warning("%s answers again", self.primary.name if store == _FIRST else self.secondary.name)


def _rank(item: Due) -> int:
    """Tell what is copied first: packs, then indexes of them, then what leads there, or is to go."""
    if item.deleted or not is_immutable(item.key):
        return 2
    return int(is_index(item.key))


class _StoppedError(Exception):
    """Filling was broken off because the process ends."""


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
