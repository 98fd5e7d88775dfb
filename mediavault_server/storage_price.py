"""What copying a store would cost on both sides, by the prices that hold for the stores of two `[storage]` tables."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from mediavault_backends.prices import Cost, PriceTable, Usage, cost, list_of, price_table

Pricer: TypeAlias = Callable[[int, int], Mapping[str, Cost | None]]
"""Returns for so many objects with so many bytes what they cost at source and destination; None: no price is known."""


def pricer_of(source: Mapping[str, object], target: Mapping[str, object], own: Mapping[str, PriceTable]) -> Pricer:
    """Return what prices a copy.

    Args:
        source: the table of the store that is read.
        target: the table of the store that is written.
        own: the tables of prices of the configuration.
    """

    def price(objects: int, size: int) -> Mapping[str, Cost | None]:
        read, written = Usage(reads=objects, out=size), Usage(writes=objects, stored=size)
        return {"source": _cost(source, own, read), "destination": _cost(target, own, written)}

    return price


def _cost(table: Mapping[str, object], own: Mapping[str, PriceTable], usage: Usage) -> Cost | None:
    kind = str(table.get("backend"))
    known: Any = table.get(kind, {})
    endpoint = str(known.get("endpoint") or "")
    name = list_of(
        kind,
        host=urlsplit(endpoint).hostname or endpoint,
        provider=str(known.get("provider") or ""),
        storage_class=str(known.get("storage_class") or known.get("tier") or ""),
    )
    return cost(name, price_table(name, own), usage) if name else None
