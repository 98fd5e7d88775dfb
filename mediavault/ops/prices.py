"""What the use of a remote's store would cost; finds the prices that hold there, and leaves the use to be told."""

from dataclasses import dataclass

from mediavault.config import Settings
from mediavault.errors import ConfigError
from mediavault_backends.errors import BackendSetupError
from mediavault_backends.prices import Cost, Usage, check_names, cost, list_of, price_table, put_requests
from mediavault_backends.urls import is_store_url, table_of

_FOLDER = "A folder has no prices."


@dataclass(frozen=True, slots=True)
class Place:
    """A remote as its prices see it.

    Attributes:
        url: its address.
        remote: its name in the settings; empty for an address that has none.
        host: of the store's endpoint, where that is not the provider's usual one.
    """

    url: str
    remote: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is asked of a store, and what that costs; where no price is known, `reason` says why."""

    usage: Usage
    cost: Cost | None
    reason: str = ""


def prices_of(settings: Settings, place: Place) -> str:
    """Return the name of the prices that hold at a remote; empty where none are known.

    Raises:
        ConfigError: a table of the settings is used by nothing.
    """
    used = {name: remote.prices for name, remote in settings.remote.items()}
    try:
        check_names(settings.prices, used.values())
    except BackendSetupError as error:
        raise _wrong(error) from error
    if used.get(place.remote):
        return used[place.remote]
    if not is_store_url(place.url):
        return ""
    return list_of(str(table_of(place.url)["backend"]), host=place.host)


def estimate(settings: Settings, place: Place, usage: Usage) -> Estimate:
    """Return what a use of a remote's store costs.

    Raises:
        ConfigError: the settings name prices that there are not.
    """
    name = prices_of(settings, place)
    if not name:
        return Estimate(usage, None, _reason(place))
    try:
        return Estimate(usage, cost(name, price_table(name, settings.prices), usage))
    except BackendSetupError as error:
        raise _wrong(error) from error


def writes_of(settings: Settings, place: Place, size: int) -> int:
    """Return how many requests it takes at a remote's store to put an object of `size` bytes."""
    return put_requests(prices_of(settings, place), size)


def _reason(place: Place) -> str:
    hint = f"`mediagit config set remote.{place.remote or 'NAME'}.prices aws.standard` names them, docs/prices.md all others."
    if place.url.lower().startswith("file:"):
        return _FOLDER
    if is_store_url(place.url):
        return f"No price known for the store at {place.host or place.url}. {hint}"
    return f"No price known: only a server knows where it stores. {hint}"


def _wrong(error: BackendSetupError) -> ConfigError:
    text = str(error)
    return ConfigError(
        f"{text[0].upper()}{text[1:]}{'' if text.endswith('?') else '.'}", untouched="Nothing was changed."
    )
