"""Mending what one store of a pair lacks or has damaged, from the other; leaves what an object has to be to a judge."""

from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple, Protocol

from mediavault_backends.api import Absent, Backend, Matches, Stat
from mediavault_backends.errors import (
    ArchivedError,
    BackendError,
    NotFoundError,
    PreconditionFailedError,
    TransientError,
)
from mediavault_backends.kinds import names_content
from mediavault_backends.multi_copy import StoredObject, merged, same_bytes, stat_of
from mediavault_backends.multi_pair import PATIENCE, Pair
from mediavault_backends.probe import FOLDER as PROBE

_TRIES: Final = 3
"""How often a key is looked at of which the transfer breaks off."""
_UNDECIDED: Final = (
    "Both seem whole, and neither is known to have come in the place of the other: delete the wrong one."
)


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


def mend(
    pair: Pair, judge: Judge, *, dry_run: bool = False, progress: Callable[[int], object] = lambda _: None
) -> Iterator[Difference]:
    """Compare both stores byte by byte, and give each what it lacks or has damaged from the other; yield what differed.

    Nothing is copied that is damaged. Of two that seem whole and differ, the secondary's is replaced where the primary's
    is proved to follow it; else both are left, for one of them may be damaged in a way that cannot be told.

    Args:
        pair: both stores; others may be using them.
        judge: tells whether an object is what it has to be.
        dry_run: change nothing.
        progress: told the bytes of each key when it was compared.

    Raises:
        BackendError: a store failed; to be called again.
    """
    for here, there in listed(pair):
        found = here or there
        assert found is not None
        for left in reversed(range(_TRIES)):
            try:
                differs = _looked_at(pair, here, there, judge, dry_run=dry_run)
            except TransientError:  # a transfer that broke off, say
                if not left:
                    raise
            else:
                break
        if differs is not None:
            yield differs
        progress(found.size)


def listed(pair: Pair) -> Iterator[tuple[Stat | None, Stat | None]]:
    """Yield what both stores list, joined by key, without what a probe of the stores leaves."""
    for here, there in merged(pair.primary.scan(), pair.second().scan()):
        found = here or there
        assert found is not None
        if not found.key.startswith(f"{PROBE}/"):
            yield here, there


def differ(pair: Pair, here: Stat | None, there: Stat | None, *, compare_bytes: bool) -> bool:
    """Tell whether two listings differ in a key; something else may have become of it since.

    Args:
        pair: both stores.
        here: what the primary lists.
        there: what the secondary lists.
        compare_bytes: read also what names its content; else its size decides.
    """
    if here is None or there is None:
        return here is not there
    if here.size != there.size:
        return True
    if names_content(here.key) and not compare_bytes:
        return False
    try:
        return not same_bytes(pair.primary, pair.secondary, here.key)
    except NotFoundError:
        return False  # deleted since it was listed


def is_at_odds(pair: Pair, key: str, *, compare_bytes: bool) -> bool:
    """Tell whether the stores differ in a key that nobody changes meanwhile."""
    here = stat_of(pair.primary, key)
    if pair.journal.kinds(key):
        return False
    odd = differ(pair, here, stat_of(pair.secondary, key), compare_bytes=compare_bytes)
    return odd and not pair.journal.kinds(key) and stat_of(pair.primary, key) == here


def _looked_at(pair: Pair, here: Stat | None, there: Stat | None, judge: Judge, *, dry_run: bool) -> Difference | None:
    found = here or there
    assert found is not None
    if pair.journal.kinds(found.key):
        return Difference(found.key, "waiting", pair.secondary.name)
    try:
        if differ(pair, here, there, compare_bytes=True) and is_at_odds(pair, found.key, compare_bytes=True):
            return _mended(pair, found.key, judge, dry_run=dry_run)
    except ArchivedError as error:
        return Difference(found.key, "archived", _side_of(pair, found.key), reason=str(error))
    return None


def _mended(pair: Pair, key: str, judge: Judge, *, dry_run: bool) -> Difference:
    here, there = stat_of(pair.primary, key), stat_of(pair.secondary, key)
    bad_here = "It is gone." if here is None else judge.fault(key, pair.primary)
    bad_there = "It is gone." if there is None else judge.fault(key, pair.secondary)
    if bad_here and bad_there:
        store = pair.secondary if here is None else pair.primary
        reason = bad_there if here is None else bad_here
        return Difference(key, "damaged", store.name, reason=f"{reason} The other store has none that is whole.")
    source, target = (pair.secondary, pair.primary) if bad_here else (pair.primary, pair.secondary)
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
    if _replaced(pair, source, target, good, wrong):
        return found._replace(reason=reason, mended=True)
    return found._replace(reason=f"{reason} It changed meanwhile.".strip())


def _replaced(pair: Pair, source: Backend, target: Backend, good: Stat, wrong: Stat | None) -> bool:
    """Put an object in the place of what is wrong or missing; return whether both are the same then."""
    body = StoredObject(source, good.key, good.size)
    with pair.journal.lock(good.key, timeout=PATIENCE):
        if pair.journal.kinds(good.key):
            return False
        try:
            target.put(good.key, body, when=Absent() if wrong is None else Matches(wrong.version))
            return same_bytes(source, target, good.key)
        except (PreconditionFailedError, NotFoundError, ValueError):
            return False


def _side_of(pair: Pair, key: str) -> str:
    """Return the name of the store in which an object cannot be read."""
    try:
        pair.primary.read(key, 0, 1)
    except ArchivedError:
        return pair.primary.name
    except BackendError:
        pass
    return pair.secondary.name
