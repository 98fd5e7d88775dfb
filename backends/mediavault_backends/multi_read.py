"""Which of two stores answers a reader; leaves what is written, and copied, to `multi`."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

from mediavault_backends.api import Backend, Stat, Version
from mediavault_backends.errors import ArchivedError, BackendError, NotFoundError, TransientError
from mediavault_backends.kinds import is_immutable
from mediavault_backends.multi_copy import stat_of
from mediavault_backends.multi_journal import Kind
from mediavault_backends.multi_pace import Speeds
from mediavault_backends.multi_pair import FAILURES, FIRST, SECOND, Pair

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Reading:
    """Reads the primary, and the secondary where that is certain to give the same answer.

    Args:
        pair: both stores.
        mirror: what was acknowledged is in both, whatever the journal says.
        nearest: what never changes is read from the store that answered faster lately.
        clock: seconds, for speeds.
        lacking: told the key of an object that the secondary was found to lack.
    """

    def __init__(
        self,
        pair: Pair,
        *,
        mirror: bool,
        nearest: bool,
        clock: Callable[[], float],
        lacking: Callable[[str], object],
    ) -> None:
        self._pair = pair
        self._journal = pair.journal
        self._mirror = mirror
        self._nearest = nearest
        self._clock = clock
        self._lacking = lacking
        self.speeds = Speeds()

    def ask(self, key: str, call: Callable[[Backend], _T]) -> tuple[_T, str]:
        """Return the answer, and the mark of the store that gave it."""
        unchanging = is_immutable(key)
        if unchanging and self._secondary_goes_first(key):
            try:
                return self._timed(SECOND, call), SECOND
            except NotFoundError:
                self._heal_soon(key)
            except ArchivedError:
                pass  # the primary may have it where it can be read
            except FAILURES as error:
                self._pair.failed(SECOND, error)
        try:
            return self._timed(FIRST, call, counts=unchanging), FIRST
        except ArchivedError as error:
            return self._from_secondary(key, call, error), SECOND
        except NotFoundError as error:
            if self._pair.is_gone():
                return self._from_secondary(key, call, self._pair.other_disk(key)), SECOND
            if not unchanging or self._pair.is_quiet(SECOND) or not self._can_give_back(key):
                raise
            return self._from_either(key, call, error)
        except FAILURES as error:
            self._pair.failed(FIRST, error)
            return self._from_secondary(key, call, error), SECOND

    def _secondary_goes_first(self, key: str) -> bool:
        if self._pair.is_quiet(SECOND) or not (
            self._pair.is_quiet(FIRST) or (self._nearest and self.speeds.prefers_second())
        ):
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
            answer = call(self._pair.primary if store == FIRST else self._pair.secondary)
            failed = False
        except NotFoundError:
            counts = False
            raise
        finally:
            if counts:
                self.speeds.add(second=store == SECOND, seconds=self._clock() - start, failed=failed)
        self._pair.answered(store)
        return answer

    def _can_give_back(self, key: str) -> bool:
        """Give the primary back what it lost, where that can be done; return whether the secondary has it."""
        try:
            # What is journalled is being made or deleted, not lost.
            if self._journal.kinds(key) or stat_of(self._pair.secondary, key) is None:
                return False
        except BackendError as error:
            self._pair.failed(SECOND, error)
            return False
        try:
            if self._pair.give_back(key) is None:
                return False
        except BackendError as error:  # a full disk, say: the secondary serves it
            _log.error("%s is lost in %s and cannot be given back: %s", key, self._pair.primary.name, error)
        else:
            _log.warning(
                "%s was lost in %s and is given back by %s", key, self._pair.primary.name, self._pair.secondary.name
            )
        return True

    def _from_either(self, key: str, call: Callable[[Backend], _T], error: NotFoundError) -> tuple[_T, str]:
        try:
            return call(self._pair.primary), FIRST
        except NotFoundError:
            return self._from_secondary(key, call, error), SECOND

    def _from_secondary(self, key: str, call: Callable[[Backend], _T], error: BackendError) -> _T:
        """Answer instead of the primary, where it is certain that the answer is the primary's.

        Raises:
            TransientError: it is not certain.
        """
        kinds = self._kinds(key, error)
        if "delete" in kinds or (kinds and not is_immutable(key)):
            raise TransientError(f"{error}; the secondary may be behind", key=key) from error
        try:
            return call(self._pair.second())
        except NotFoundError:
            if self._journal.is_complete and not kinds and not isinstance(error, NotFoundError | ArchivedError):
                raise
            raise error from None
        except FAILURES as second:
            self._pair.failed(SECOND, second)
            raise error from second

    def _kinds(self, key: str, error: BackendError) -> frozenset[Kind]:
        try:
            return self._journal.kinds(key)
        except TransientError:
            # With mirror, what was acknowledged is in both stores, whatever the journal says.
            if self._mirror:
                return frozenset()
            raise TransientError(f"neither the primary nor the journal can be read: {error}", key=key) from error

    def scan(self, prefix: str) -> Iterator[Stat]:
        """Yield what the primary lists, and where it fails the rest from the secondary, if that is known to be the same."""
        last = ""
        error: BackendError
        try:
            for stat in self._pair.primary.scan(prefix):
                last = stat.key
                yield Stat(stat.key, stat.size, Version(FIRST + stat.version))
            if last or not self._pair.is_gone():
                return
            error = self._pair.other_disk("")
        except FAILURES as failure:
            error = failure
        self._pair.failed(FIRST, error)
        self._check_listing(prefix, last, error)
        for stat in self._pair.second().scan(prefix):
            if stat.key > last:
                yield Stat(stat.key, stat.size, Version(SECOND + stat.version))

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
            if self._journal.is_complete and stat_of(self._pair.primary, key) is not None:
                self._lacking(key)
