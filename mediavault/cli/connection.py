"""Opens the other side of push, fetch and clone; apart from `session` so that verbs without a remote do not import it."""

from collections.abc import Iterator
from contextlib import contextmanager

from mediavault.config import Settings
from mediavault.wire.client import HttpRemote, split_url
from mediavault.wire.http import Patience


@contextmanager
def connected(settings: Settings, url: str) -> Iterator[HttpRemote]:
    """Open a remote by its address, with the credentials that belong to it.

    Raises:
        UsageError: the address is not one.
    """
    origin, _ = split_url(url)
    own = settings.credentials.get(origin)
    network = settings.network
    patience = Patience(network.connect_timeout, network.stall_timeout, network.retries, network.connections)
    remote = HttpRemote(url, api_key=own.api_key if own else network.api_key, patience=patience)
    try:
        yield remote
    finally:
        remote.close()
