"""How much a remote stores of a repository, and what keeping that costs; needs no key."""

from dataclasses import dataclass

from mediavault.config import Settings
from mediavault.formats.wire import Holdings
from mediavault.ops.prices import Estimate, Place, estimate
from mediavault.sync.remote import Remote
from mediavault_backends.prices import Usage


@dataclass(frozen=True, slots=True)
class RemoteStatsReport:
    """What a remote holds; `estimate` is about keeping it, and asks nothing of the store."""

    remote: str
    url: str
    holdings: Holdings
    estimate: Estimate


def remote_stats(settings: Settings, place: Place, remote: Remote) -> RemoteStatsReport:
    """Ask a remote how much it stores.

    Raises:
        ConfigError: the settings name prices that there are not.
        NotFoundError: there is no repository.
        RemoteError: the remote failed.
    """
    found = remote.holdings()
    return RemoteStatsReport(place.remote, remote.url, found, estimate(settings, place, Usage(stored=found.bytes)))
