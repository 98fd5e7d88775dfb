"""Moves packs that no ref needs to a cheaper class of storage, and back; looks, decides and verifies without a key.

What a branch or tag leads to now, or led to lately, is needed, and every pack in which something of that stands. A pack with
metadata is never moved away, so history and listings need nothing to be brought back. Refs move meanwhile: they are looked at
again before each batch. One that moves between that look and the end of its batch can come to need a pack that has just gone to
the cold class; it is there to be read, or restored, and the next run brings it back. Nothing is ever removed.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, NamedTuple

import msgspec

from mediavault.hosting.classes import Held, PackClass, PackClasses
from mediavault.hosting.contents import Place
from mediavault.hosting.needs import Needs, PackFacts
from mediavault.progress import SILENT, Progress
from mediavault_backends.api import Backend

BATCH: Final = 64
"""Packs that are moved between two looks at the refs."""
_DAY_NS: Final = 24 * 3600 * 1_000_000_000


class Policy(NamedTuple):
    """What is moved where.

    Attributes:
        cold: the class for what no ref needs.
        hot: the class for what one needs.
        keep_days: what a ref led to within so many days is needed; a younger pack is left where it is.
        min_pack: bytes below which a pack is not moved to the cold class.
    """

    cold: str
    hot: str
    keep_days: int
    min_pack: int


class Tiered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one repository; what would, for a plan.

    Attributes:
        name: of the repository.
        store: where the packs are.
        before: all packs, by the class that they were in.
        after: likewise when it was done.
        to_cold: moved to the cold class.
        to_hot: moved to the hot class.
        needed_again: not moved to the cold class, because a ref came to need them meanwhile.
        archived: needed, and they cannot be read before they are restored.
        gone: removed by others meanwhile.
    """

    name: str
    store: str
    before: Mapping[str, Held]
    after: Mapping[str, Held]
    to_cold: Held
    to_hot: Held
    needed_again: Held
    archived: Held
    gone: Held


@dataclass(frozen=True, slots=True)
class TierPlan:
    """What will be moved in one repository, and what it was decided by.

    Attributes:
        place: of the repository.
        store: where the packs are.
        policy: what was planned by.
        before: all packs, by the class that they are in.
        to_cold: packs that go to the cold class.
        to_hot: packs that go to the hot class.
        archived: needed packs that cannot be read now.
    """

    place: Place
    store: Backend
    policy: Policy
    before: Mapping[str, Held]
    to_cold: Sequence[PackClass]
    to_hot: Sequence[PackClass]
    archived: Held
    needs: Needs = field(repr=False)


def plan_tiers(
    place: Place,
    source: Backend,
    store: Backend,
    policy: Policy,
    *,
    now_ns: int,
    sleep: Callable[[float], object] = time.sleep,
) -> TierPlan:
    """Find out what of one repository is in the wrong class; nothing is changed.

    Args:
        place: of the repository.
        source: the store whose refs decide.
        store: the store whose packs are moved: the same, or one of the pair that `source` is.
        policy: what belongs where.
        now_ns: the time, in ns since 1970.
        sleep: waits for that many seconds, before what failed for a passing reason is tried again.

    Raises:
        UsageError: the store has no classes.
        IntegrityError: a ref is damaged, or something that it leads to is missing.
        BackendError: the store failed.
    """
    classes = PackClasses(place.within(store), sleep=sleep)
    needs = Needs(place.within(source))
    facts = needs.facts()
    needs.look()
    since_ns = now_ns - policy.keep_days * _DAY_NS
    needs.look_back(since_ns // 1_000_000_000)
    before: defaultdict[str, Held] = defaultdict(Held)
    to_cold, to_hot, archived = [], [], Held()
    for found in classes.all():
        before[found.tier.name] += found.held
        fact = facts.get(found.pack)
        needed = found.pack in needs.packs or (fact is not None and fact.metadata)
        if needed and not found.tier.readable:
            archived += found.held
        elif needed and found.tier.name != policy.hot:
            to_hot.append(found)
        elif not needed and _may_cool(found, fact, policy, since_ns):
            to_cold.append(found)
    return TierPlan(place, store, policy, dict(before), to_cold, to_hot, archived, needs)


def _may_cool(found: PackClass, fact: PackFacts | None, policy: Policy, since_ns: int) -> bool:
    """Tell whether a pack that no ref needs goes to the cold class; one that is not indexed may be a push under way."""
    return (
        fact is not None
        and fact.made_ns <= since_ns
        and found.size >= policy.min_pack
        and found.tier.readable
        and found.tier.name != policy.cold
    )


def run_tiers(plan: TierPlan, *, progress: Progress = SILENT, sleep: Callable[[float], object] = time.sleep) -> Tiered:
    """Carry out a plan. Each move is verified; stopped anywhere, the next run does the rest.

    Args:
        plan: what to do.
        progress: told the bytes of packs that are moved.
        sleep: waits for that many seconds, before what failed for a passing reason is tried again.

    Raises:
        StorageError: the store did not do what it said.
        IntegrityError: a ref came to be damaged.
        BackendError: the store failed, or has no such class.
    """
    run = _Run(plan, PackClasses(plan.place.within(plan.store), sleep=sleep), progress)
    progress.start(sum(found.size for found in chain(plan.to_hot, plan.to_cold)), "bytes", plan.place.name)
    try:
        run.heat()
        run.cool()
    finally:
        progress.done()
    return run.report()


def report_plan(plan: TierPlan) -> Tiered:
    """Return what a plan will do."""
    run = _Run(plan, None, SILENT)
    for found in plan.to_hot:
        run.moved(found, plan.policy.hot)
    for found in plan.to_cold:
        run.moved(found, plan.policy.cold)
    return run.report()


class _Run:
    """A plan that is carried out, and what came of it so far."""

    def __init__(self, plan: TierPlan, classes: PackClasses | None, progress: Progress) -> None:
        self._plan = plan
        self._classes = classes
        self._progress = progress
        self._after = dict(plan.before)
        self._sums: dict[str, Held] = {}

    def heat(self) -> None:
        """Bring back what refs need."""
        self._move(self._plan.to_hot, self._plan.policy.hot)

    def cool(self) -> None:
        """Move what no ref needs, looking again whether that is so before each batch."""
        for at in range(0, len(self._plan.to_cold), BATCH):
            self._plan.needs.look()
            idle = []
            for found in self._plan.to_cold[at : at + BATCH]:
                if found.pack in self._plan.needs.packs:
                    self._add("needed_again", found)
                else:
                    idle.append(found)
            self._move(idle, self._plan.policy.cold)

    def moved(self, found: PackClass, name: str) -> None:
        """Count a pack that is in another class now."""
        self._leave(found)
        self._after[name] = self._after.get(name, Held()) + found.held
        self._add("to_hot" if name == self._plan.policy.hot else "to_cold", found)

    def report(self) -> Tiered:
        """Return what was counted."""
        return Tiered(
            name=self._plan.place.name,
            store=self._plan.store.name,
            before=self._plan.before,
            after={name: held for name, held in self._after.items() if held.packs},
            archived=self._plan.archived,
            **{name: self._sums.get(name, Held()) for name in ("to_cold", "to_hot", "needed_again", "gone")},
        )

    def _move(self, packs: Sequence[PackClass], name: str) -> None:
        classes = self._classes
        assert classes is not None
        with closing(classes.each(packs, lambda found: classes.move(found, name))) as results:
            for found, tier in results:
                self._progress.advance(found.size)
                if tier is None:
                    self._leave(found)
                    self._add("gone", found)
                else:
                    self.moved(found, name)

    def _leave(self, found: PackClass) -> None:
        self._after[found.tier.name] -= found.held

    def _add(self, what: str, found: PackClass) -> None:
        self._sums[what] = self._sums.get(what, Held()) + found.held
