"""What bringing a mirror up to date would ask of both stores, and cost; moves nothing."""

from collections.abc import Sequence

from mediavault.config import Settings
from mediavault.ops.mirror import MirrorPlan
from mediavault.ops.prices import Estimate, Place, estimate, writes_of
from mediavault.wire.http import Traffic
from mediavault_backends.prices import Usage


def estimate_mirror(
    settings: Settings, plan: MirrorPlan, places: Sequence[Place], asked: Sequence[Traffic]
) -> tuple[Estimate, Estimate]:
    """Return the estimates for source and destination.

    Args:
        settings: with prices.
        plan: what is to be sent.
        places: the source and the destination.
        asked: what was asked of each to make the plan; that is paid already and counted.

    Raises:
        ConfigError: the settings name prices that there are not.
    """
    source, destination = asked
    out = source.received if source.reads else 0
    taken = Usage(source.writes, source.lists, source.reads + plan.packs, out=out + plan.bytes)
    # A pack may take several requests at a store that wants it in parts.
    parts = plan.packs * (writes_of(settings, places[1], plan.bytes // plan.packs) - 1) if plan.packs else 0
    given = Usage(
        destination.writes + plan.writes + parts,
        destination.lists,
        destination.reads,
        plan.bytes,
        destination.received if destination.reads else 0,
    )
    return estimate(settings, places[0], taken), estimate(settings, places[1], given)
