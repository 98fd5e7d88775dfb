"""Copying to the secondary what calls left undone, and what was there before it; leaves when to do so to `multi`."""

import logging
import threading
from collections.abc import Callable
from typing import Final

from mediavault_backends import fsio
from mediavault_backends.errors import BackendError, OutcomeUnknownError, TransientError
from mediavault_backends.kinds import is_immutable, is_index, misleads, repository_of
from mediavault_backends.multi_copy import level
from mediavault_backends.multi_journal import BusyError, Due, Intent
from mediavault_backends.multi_mend import differ, is_at_odds, listed
from mediavault_backends.multi_pair import SECOND, Pair

FILL_AGAIN: Final = 3600.0
"""Seconds after which a secondary that was no copy is looked at again."""
_REFUSALS: Final = 3
"""Keys that a store may refuse before a round ends."""

_log = logging.getLogger(__name__)


class CatchUp:
    """Copies what the secondary lacks.

    Args:
        pair: both stores.
        clock: seconds, for pauses.
    """

    def __init__(self, pair: Pair, clock: Callable[[], float]) -> None:
        self._pair = pair
        self._journal = pair.journal
        self._clock = clock
        self._fill_after = float("-inf")

    def run(self, stopping: threading.Event) -> bool:
        """Copy what the journal holds, once through.

        Packs go first, then indexes, and all else only when no older pack or index of its repository is left, so that what
        the secondary's refs lead to is there.

        Args:
            stopping: breaks off between two keys.

        Returns:
            whether nothing is left to be copied by this process.
        """
        try:
            self._journal.take_over()
            if not self._pair.has_both():
                return False
            finished = self._replay_due(stopping)
            if not self._journal.is_complete and self._clock() >= self._fill_after:
                finished = self._fill(stopping)
        except (TransientError, OutcomeUnknownError):
            self._pair.ask_second()
            return False
        except BackendError as error:
            _log.error("%s cannot be brought up: %s", self._pair.secondary.name, error)
            return False
        if finished and self._pair.has_failed(SECOND):
            self._pair.ask_second()
        return finished

    def finish_former(self, key: str) -> None:
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
                self._pair.level(other)
            except BackendError as error:
                raise TransientError(f"{other} is not in {self._pair.secondary.name} yet: {error}", key=key) from error
            if other in mine:
                self._journal.forget(mine[other].numbers)

    def finish_before_reading(self, key: str) -> None:
        """Bring up a key whose put was broken off, so that what is read is in both stores; left alone where that cannot be done."""
        if self._pair.is_quiet(SECOND):
            return
        try:
            pending = [intent.kind for intent in self._journal.intents(under_way=False) if intent.key == key]
            if pending and "delete" not in pending and not self._is_early(key):
                self._pair.level(key)
        except BackendError:
            self._pair.ask_second()

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
                    _log.error("%s cannot be brought up at %s: %s", item.key, self._pair.secondary.name, error)
                    refusals += 1
                    if refusals == _REFUSALS:  # it is not about one key
                        return False
            if not done:
                return False
            # What waited for others may go now.
        return True

    def _replay(self, item: Due) -> bool:
        pair = self._pair
        is_pack = is_immutable(item.key) and not is_index(item.key)

        def may() -> bool:
            return pair.has_both() and ((is_pack and not item.deleted) or not self._is_early(item.key))

        try:
            with self._journal.lock(item.key, timeout=0.0):
                equal = level(pair.primary, pair.secondary, item.key, deleted=item.deleted, may=may)
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
        try:
            odd = self._copy_missing(stopping)
        except _StoppedError:
            return False
        finally:
            lock.release()
        if odd:
            self._fill_after = self._clock() + FILL_AGAIN
            _log.error(
                "%s holds %d objects that %s does not, or that are others there, such as %s: nothing is read from it until it is"
                " a copy, or empty",
                self._pair.secondary.name,
                len(odd),
                self._pair.primary.name,
                odd[0],
            )
        else:
            self._journal.mark_complete()
        return self._replay_due(stopping)

    def _copy_missing(self, stopping: threading.Event) -> list[str]:
        """Copy what the secondary lacks, and change nothing else; return the keys in which it is no copy."""
        odd = []
        for here, there in listed(self._pair):
            found = here or there
            assert found is not None
            if not self._journal.kinds(found.key):
                if there is None:
                    self._pair.level(found.key)
                elif (here is not None or misleads(found.key)) and differ(self._pair, here, there, compare_bytes=False):
                    odd += [found.key] * is_at_odds(self._pair, found.key, compare_bytes=False)
            if stopping.is_set():
                raise _StoppedError
            self._replay_due(stopping)
        return odd


def _rank(item: Due) -> int:
    """Tell what is copied first: packs, then indexes of them, then what leads there, or is to go."""
    if item.deleted or not is_immutable(item.key):
        return 2
    return int(is_index(item.key))


class _StoppedError(Exception):
    """Filling was broken off because the process ends."""
