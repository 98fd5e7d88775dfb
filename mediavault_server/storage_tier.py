"""`mediagit-server storage tier` and `restore`: which stores and repositories they are about, by what policy, in what order."""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from mediavault.config import Storage
from mediavault.errors import ConfigError, NotFoundError
from mediavault.hosting.classes import check_tiers, has_tiers
from mediavault.hosting.contents import Place, find_repositories
from mediavault.hosting.needs import target_of
from mediavault.hosting.restoring import Restoration, pauses
from mediavault.hosting.tiering import Policy, Tiered, plan_tiers, report_plan, run_tiers
from mediavault.progress import Progress
from mediavault_backends.api import Backend
from mediavault_backends.multi import MultiBackend
from mediavault_server.storage_report import progress_for, show_restores, show_tiers, show_waiting

DAYS: Final = 7
"""For how many days a restored pack is readable, unless told otherwise."""
DESCRIPTIONS: Final = {
    "tier": "Moves packs that no branch or tag needs to a cheaper class of storage, and packs that one needs again back, by"
    " [storage.tiers] of the configuration. No key is needed, and people may push meanwhile. Nothing is removed.",
    "restore": "Asks the store for packs that are in an archive class, so that they can be read: those that all branches and tags"
    " need, those that one needs, or all. It takes the store hours.",
}

_USUAL: Final = {"s3": "STANDARD", "azure": "Hot", "gcs": "STANDARD"}
"""The class of new objects where the settings name none."""
_ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE", "Archive"})
"""Classes from which nothing can be read at once."""


class _Side(NamedTuple):
    """A store with classes, and the one that new objects get there."""

    store: Backend
    fresh: str


def add_options(verb: str, parser: argparse.ArgumentParser) -> None:
    """Add what `tier` or `restore` takes."""
    parser.add_argument("--project", metavar="TEAM/PROJECT", help="look at this repository alone")
    parser.add_argument("--dry-run", action="store_true", help=f"show what `{verb}` would do, and do nothing")
    if verb == "restore":
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--ref", help="what this branch, tag or commit needs; of a deleted branch, what it led to last"
        )
        which.add_argument("--all", action="store_true", help="every pack")
        parser.add_argument(
            "--days",
            type=_days,
            default=DAYS,
            help=f"on S3, how long they stay readable ({DAYS}); on Azure it is for good",
        )
        parser.add_argument("--wait", action="store_true", help="wait until all can be read")


def tier(options: argparse.Namespace, store: Backend, storage: Storage) -> int:
    """Move packs between classes; returns the exit code.

    Raises:
        ConfigError: the policy says nothing, or what cannot be.
        MediaVaultError, BackendError: see `mediavault.hosting.tiering`.
    """
    sides = [(side.store, policy_of(storage, side.fresh)) for side in _sides(store, storage)]
    places = _places(store, options.project)
    progress = progress_for(quiet=options.json)
    reports = (
        _tiered(place, store, side, policy, progress, dry_run=options.dry_run)
        for place in places
        for side, policy in sides
    )
    show_tiers(reports, sides[0][1], dry_run=options.dry_run, as_json=options.json)
    return 0


def policy_of(storage: Storage, fresh: str) -> Policy:
    """Return what `[storage.tiers]` says.

    Args:
        storage: the settings.
        fresh: the class of new objects.

    Raises:
        ConfigError: it says nothing, or what cannot be.
    """
    tiers = storage.tiers
    hot = tiers.hot or fresh
    if not tiers.cold:
        raise ConfigError(
            "The configuration names no class for packs that nothing needs.",
            untouched="Nothing was moved.",
            hint='Set [storage.tiers] cold, such as "STANDARD_IA" on S3, "Cool" on Azure, "NEARLINE" on Google.',
        )
    if hot in _ARCHIVES:
        raise ConfigError(
            f"storage.tiers.hot is {hot!r}, from which nothing can be read at once.", untouched="Nothing was moved."
        )
    if hot == tiers.cold:
        raise ConfigError(
            f"storage.tiers.cold is {hot!r}, and so is the class of what is needed.", untouched="Nothing was moved."
        )
    return Policy(tiers.cold, hot, tiers.keep_days, tiers.min_pack)


def restore(
    options: argparse.Namespace, store: Backend, storage: Storage, *, sleep: Callable[[float], object] = time.sleep
) -> int:
    """Ask for archived packs, and wait for them if that is wanted; returns the exit code.

    Raises:
        MediaVaultError, BackendError: see `mediavault.hosting.restoring`.
    """
    sides = [side.store for side in _sides(store, storage)]
    restorations = list(_restorations(options, store, sides))
    reports = [restoration.ask() for restoration in restorations]
    pause = pauses()
    while options.wait and not options.dry_run and not all(report.done for report in reports):
        seconds = next(pause)
        show_waiting(reports, seconds, quiet=options.json)
        sleep(seconds)
        reports = [
            report if report.done else restoration.ask()
            for restoration, report in zip(restorations, reports, strict=True)
        ]
    show_restores(reports, dry_run=options.dry_run, as_json=options.json)
    return 0


def _tiered(
    place: Place, source: Backend, store: Backend, policy: Policy, progress: Progress, *, dry_run: bool
) -> Tiered:
    plan = plan_tiers(place, source, store, policy, now_ns=time.time_ns())
    return report_plan(plan) if dry_run else run_tiers(plan, progress=progress)


def _restorations(options: argparse.Namespace, store: Backend, sides: Sequence[Backend]) -> Iterator[Restoration]:
    found = False
    for place in _places(store, options.project):
        link = target_of(place.within(store), options.ref) if options.ref else None
        if options.ref and link is None:
            continue
        found = True
        for side in sides:
            yield Restoration(
                place, store, side, link=link, everything=options.all, days=options.days, dry_run=options.dry_run
            )
    if not found:
        raise NotFoundError(
            f"No branch, tag or commit {options.ref} is known here.",
            untouched="Nothing was asked for.",
            hint="Write a branch as main, a tag as tags/v1, a commit as 64 digits.",
        )


def _places(store: Backend, project: str | None) -> list[Place]:
    places = [place for place in find_repositories(store) if project in (None, place.name)]
    if not places:
        raise NotFoundError(
            f"There is no repository {project or ''} in {store.name}.".replace("  ", " "),
            hint="Name it as TEAM/PROJECT, or leave --project out.",
        )
    return places


def _sides(store: Backend, storage: Storage) -> list[_Side]:
    """Return the stores that have classes: the only one, or one or both of a pair.

    Raises:
        UsageError: none has.
    """
    if not isinstance(store, MultiBackend):
        check_tiers(store)
        table: Any = getattr(storage, storage.backend)
        return [
            _Side(store, _fresh(storage.backend, getattr(table, "storage_class", "") or getattr(table, "tier", "")))
        ]
    pair = storage.multi
    sides = []
    for side, name in ((store.primary, pair.primary), (store.secondary, pair.secondary)):
        if has_tiers(side):
            own = pair.stores.get(name, {})
            set_there = own.get("storage_class") or own.get("tier") or ""
            sides.append(_Side(side, _fresh(str(own.get("backend") or name), str(set_there))))
    if not sides:
        check_tiers(store.primary)
    return sides


def _fresh(kind: str, name: str) -> str:
    return name if name and name not in _ARCHIVES else _USUAL[kind]


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= 3650:
        raise argparse.ArgumentTypeError(f"{text} is not a number of days from 1 to 3650")
    return days
