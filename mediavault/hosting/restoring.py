"""Brings packs back from an archive class: asks for those that something needs, and tells how far they are.

What needs which packs is read from metadata. Where that is archived itself (no run of `tiering` does so, a rule of a bucket may),
it is asked for first, and the rest when it can be read.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

import msgspec

from mediavault.hosting.classes import Held, PackClass, PackClasses
from mediavault.hosting.contents import Place
from mediavault.hosting.needs import Needs
from mediavault.model.ids import Link
from mediavault_backends.api import Backend, Tier

FIRST_PAUSE: Final = 10.0
LONGEST_PAUSE: Final = 300.0
"""Seconds between two looks at packs that are on their way: twice as long each time, from the first to the longest."""


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """How far one repository is.

    Attributes:
        name: of the repository.
        store: where the packs are.
        wanted: all packs that were asked about.
        asked: archived, and asked for now; in a dry run, not asked for yet.
        under_way: asked for before, not ready yet.
        ready: can be read.
        gone: removed by others meanwhile.
        more: these are of the metadata that tells which others are needed; those follow when they can be read.
    """

    name: str
    store: str
    wanted: Held
    asked: Held
    under_way: Held
    ready: Held
    gone: Held
    more: bool

    @property
    def done(self) -> bool:
        """Whether all that was wanted can be read."""
        return not (self.asked.packs or self.under_way.packs or self.more)


class Restoration:
    """The restore of what is needed of one repository.

    Args:
        place: of the repository.
        source: the store whose refs decide.
        store: the store whose packs are restored.
        link: what is needed; None: what all branches and tags lead to.
        everything: every pack instead.
        days: for how many a pack is to be readable, where the store does not bring it back for good.
        dry_run: ask the store for nothing.
        sleep: waits for that many seconds, before what failed for a passing reason is tried again.

    Raises:
        UsageError: the store has no classes.
    """

    def __init__(
        self,
        place: Place,
        source: Backend,
        store: Backend,
        *,
        link: Link | None = None,
        everything: bool = False,
        days: int,
        dry_run: bool = False,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._place = place
        self._store = store
        self._link = link
        self._everything = everything
        self._days = days
        self._dry_run = dry_run
        self._classes = PackClasses(place.within(store), sleep=sleep)
        self._needs = Needs(place.within(source))
        self._packs: list[PackClass] = []
        self._more = False

    def ask(self) -> Restored:
        """Ask for what is wanted, archived and not asked for yet; called again, it tells how far that is.

        Raises:
            IntegrityError: a ref is damaged, or something that it leads to is missing.
            BackendError: the store failed.
        """
        if not self._packs:
            self._packs, more = self._wanted()
        else:
            with closing(self._classes.each(self._packs, self._seen)) as results:
                self._packs, more = [found for _, found in results], self._more
        report = self._request(more=more)
        if more and not (report.asked.packs or report.under_way.packs):
            self._packs = []
            return self.ask()
        self._more = more
        return report

    def _wanted(self) -> tuple[list[PackClass], bool]:
        """Return the packs that are wanted, and whether more will be when these can be read."""
        packs = list(self._classes.all())
        if self._everything:
            return packs, False
        metadata = {pack for pack, fact in self._needs.facts().items() if fact.metadata}
        hidden = [found for found in packs if found.pack in metadata and not found.tier.readable]
        if hidden:
            return hidden, True
        if self._link is not None:
            self._needs.follow([self._link])
        else:
            self._needs.look()
        return [found for found in packs if found.pack in self._needs.packs], False

    def _seen(self, found: PackClass) -> PackClass:
        """Look again at a pack that was not ready."""
        if found.tier.readable:
            return found
        tier = self._classes.tier(found.pack)
        return found if tier is None else found._replace(tier=tier)

    def _request(self, *, more: bool) -> Restored:
        sums = dict.fromkeys(("asked", "under_way", "ready", "gone"), Held())
        with closing(self._classes.each(self._packs, self._one)) as results:
            for found, tier in results:
                sums[_state(found, tier)] += found.held
        wanted = sum(sums.values(), Held())
        return Restored(name=self._place.name, store=self._store.name, wanted=wanted, more=more, **sums)

    def _one(self, found: PackClass) -> Tier | None:
        if found.tier.readable or found.tier.restoring or self._dry_run:
            return found.tier
        return self._classes.restore(found.pack, days=self._days)


def _state(found: PackClass, tier: Tier | None) -> str:
    """Tell how far a pack is, that was found in a class and is in this one now."""
    if tier is None:
        return "gone"
    if tier.readable:
        return "ready"
    return "under_way" if found.tier.restoring else "asked"


def pauses() -> Iterator[float]:
    """Yield the seconds to wait between looks at what is under way, for ever."""
    seconds = FIRST_PAUSE
    while True:
        yield seconds
        seconds = min(2 * seconds, LONGEST_PAUSE)
