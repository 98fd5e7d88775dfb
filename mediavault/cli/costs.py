"""How an estimate of requests and costs is shown; the figures are `mediavault.ops.prices`'s."""

from typing import Any

from mediavault.cli.render import Console
from mediavault.cli.text import counted
from mediavault.ops.prices import Estimate


def estimate_document(estimate: Estimate) -> dict[str, Any]:
    """Return the keys that an estimate adds to a document."""
    usage, cost = estimate.usage, estimate.cost
    return {
        "store_requests": {"writes": usage.writes, "lists": usage.lists, "reads": usage.reads},
        "cost": None if cost is None else cost.document(),
    }


def show_estimate(console: Console, estimate: Estimate) -> None:
    """Render requests, then costs or why there are none."""
    usage = estimate.usage
    if usage.writes or usage.lists or usage.reads:
        console.result(
            f"At the store about {counted(usage.writes, 'write')}, {counted(usage.lists, 'listing')}, "
            f"{counted(usage.reads, 'read')}."
        )
    for line in [estimate.reason] if estimate.cost is None else estimate.cost.words():
        console.result(line)
