"""How the two stores of a pair are, and bringing one key of both level; leaves which keys, and when, to others."""

import logging
from collections.abc import Callable
from typing import Final

from mediavault_backends.api import Backend, Mappable
from mediavault_backends.errors import (
    AccessDeniedError,
    BackendError,
    NotFoundError,
    OutcomeUnknownError,
    TransientError,
)
from mediavault_backends.keys import SERVER_MARK
from mediavault_backends.multi_copy import Seen, level, restore, stat_of
from mediavault_backends.multi_journal import Journal

FIRST: Final = "1-"
"""The primary, as the versions of its objects begin."""
SECOND: Final = "2-"
"""The secondary, likewise."""
QUIET: Final = 10.0
"""Seconds for which a store that failed is not asked where the other one can answer."""
PATIENCE: Final = 60.0
"""Seconds that a call waits for another one that copies the same key."""
FAILURES: Final = (TransientError, OutcomeUnknownError, AccessDeniedError)
"""What says that a store cannot be asked now, and not that something is wrong with one object."""

_NEVER: Final = float("-inf")
_log = logging.getLogger(__name__)


class Pair:
    """A primary, and a secondary that is to hold the same. Safe to use from several threads.

    Args:
        primary: decides.
        secondary: is changed.
        journal: the keys in which they may differ.
        clock: seconds, for pauses.
    """

    def __init__(self, primary: Backend, secondary: Backend, journal: Journal, clock: Callable[[], float]) -> None:
        self.primary = primary
        self.secondary = secondary
        self.journal = journal
        self._clock = clock
        self._quiet = {FIRST: _NEVER, SECOND: _NEVER}
        self._marked = False

    # Which disks they are

    def has_both(self) -> bool:
        """Tell whether each is the store that was there before."""
        return not self.is_gone() and not self.is_second_gone()

    def second(self) -> Backend:
        """Return the secondary.

        Raises:
            TransientError: another disk, or none, stands where it was.
        """
        if self.is_second_gone():
            raise TransientError(f"{self.secondary.name} is not the copy that was there before")
        return self.secondary

    def is_second_gone(self) -> bool:
        """Tell the same of the secondary as `is_gone` of the primary; it has held the mark since it was filled."""
        if not isinstance(self.secondary, Mappable) or not self.journal.is_complete:
            return False
        try:
            self.secondary.stat(SERVER_MARK)
        except NotFoundError:
            return self._is_marked() and not self.journal.kinds(SERVER_MARK)
        except BackendError:
            pass
        return False

    def is_gone(self) -> bool:
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

    def check_primary(self, key: str) -> None:
        """Refuse to change `key` on another disk.

        Raises:
            TransientError: the primary is one.
        """
        if self.is_gone():
            raise self.other_disk(key)

    def other_disk(self, key: str) -> TransientError:
        """Return the error that tells of another disk in the primary's place."""
        return TransientError(f"{self.primary.name} is not the one that was there before", key=key)

    def _is_marked(self) -> bool:
        """Tell whether the primary belongs to a server."""
        if not self._marked:
            try:
                self._marked = stat_of(self.primary, SERVER_MARK) is not None
            except FAILURES:
                return False
        return self._marked

    # Whether they answer

    def has_failed(self, store: str) -> bool:
        """Tell whether a store has not answered since it failed."""
        return self._quiet[store] != _NEVER

    def is_quiet(self, store: str) -> bool:
        """Tell whether a store failed a moment ago, so that the other one is asked where it can answer."""
        return self._clock() < self._quiet[store]

    def failed(self, store: str, error: BackendError) -> None:
        """Leave a store alone for a while; said once."""
        if not self.has_failed(store):
            _log.warning("%s does not answer: %s", self._named(store), error)
        self._quiet[store] = self._clock() + QUIET

    def answered(self, store: str) -> None:
        """Take a store for one that answers; said once after it failed."""
        if self.has_failed(store):
            self._quiet[store] = _NEVER
            _log.warning("%s answers again", self._named(store))

    def ask_second(self) -> bool:
        """Ask the secondary anything; return whether it answers."""
        try:
            stat_of(self.secondary, SERVER_MARK)
        except FAILURES as error:
            self.failed(SECOND, error)
            return False
        self.answered(SECOND)
        return True

    def _named(self, store: str) -> str:
        return self.primary.name if store == FIRST else self.secondary.name

    # One key

    def level(self, key: str, seen: Seen | None = None) -> None:
        """Make the secondary's object equal to the primary's.

        Args:
            key: which.
            seen: what stood at the secondary before the caller changed the primary.

        Raises:
            BackendError: a store failed, or is another one than before.
            ValueError: the secondary cannot hold this key.
        """
        with self.journal.lock(key, timeout=PATIENCE):
            if not level(self.primary, self.second(), key, seen=seen, may=self.has_both):
                raise self.other_disk(key)

    def give_back(self, key: str) -> int | None:
        """Give the primary an object that it lost; return its size, or None where it is not lost but deleted."""
        with self.journal.lock(key, timeout=PATIENCE):
            if "delete" in self.journal.kinds(key):
                return None
            given = restore(self.primary, self.secondary, key)
            if given is not None and "delete" in self.journal.kinds(key):  # since it was looked up
                self.primary.delete(key)
                return None
        return given

    def is_in_both(self, key: str) -> bool:
        """Tell without the secondary whether both hold an object."""
        # In this order: what is found was journalled before, and is forgotten only when both hold it.
        found = stat_of(self.primary, key)
        return found is not None and self.journal.is_complete and not self.journal.kinds(key)
