"""What a server process needs to know, checked as a whole; where the values come from is `mediavault.config`'s business."""

import ipaddress
import re
from typing import Final

import msgspec

from mediavault.config import Settings, Storage
from mediavault.errors import ConfigError, UsageError
from mediavault.wire.client import split_url

NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
"""What a team or a project may be called."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The checked settings; picklable, because every worker process gets a copy.

    `api_key` empty means that nobody is asked for one. `max_pack_size` is in bytes, the timeouts are in seconds:
    `header_timeout` for a request's head, `stall_timeout` for a body or an answer of which no byte moves,
    `shutdown_timeout` for requests under way when the server is told to stop. `direct` lets clients read and write the store
    itself by signed URLs, where it can sign. With `upstream` there is no storage: what
    is read there is kept in the folder `cache`, at most `cache_size` bytes, and `upstream_api_key` empty means that what clients
    present is presented there; with `relay_keys` they have to present something, and upstream alone judges it.
    """

    storage: dict[str, object]
    host: str = "127.0.0.1"
    port: int = 3000
    workers: int = 1
    api_key: str = ""
    create_projects: bool = True
    default_repository: str = ""
    max_pack_size: int = 256 << 20
    header_timeout: float = 10.0
    stall_timeout: float = 60.0
    shutdown_timeout: int = 25
    direct: bool = True
    upstream: str = ""
    upstream_api_key: str = ""
    relay_keys: bool = False
    cache: str = ""
    cache_size: int = 50 << 30


def server_settings(settings: Settings, *, no_auth: bool) -> ServerSettings:
    """Check and pick what the server needs.

    Raises:
        ConfigError: neither a key nor `no_auth`; `no_auth` on an address that others can reach; storage without a
            place; a default repository that is no team/project.
    """
    server = settings.server
    if no_auth and not is_loopback(server.host):
        raise ConfigError(
            f"Refusing to serve {server.host} without authentication.",
            untouched="Nothing was started.",
            hint="--no-auth is for 127.0.0.1, ::1 and localhost. Set MEDIAGIT_API_KEY to serve other computers.",
        )
    if server.upstream:
        _check_upstream(settings, no_auth=no_auth)
    elif not no_auth and not server.api_key:
        raise ConfigError(
            "There is no API key to check requests against.",
            untouched="Nothing was started.",
            hint="Set MEDIAGIT_API_KEY, or pass --no-auth to serve this computer alone.",
        )
    if not server.upstream and settings.storage.backend == "local" and not settings.storage.local.path:
        raise ConfigError(
            "There is no place to store repositories.",
            untouched="Nothing was started.",
            hint="Pass --storage FOLDER or set [storage.local] path.",
        )
    if server.workers > 1 and "memory" in _kinds(settings.storage):
        raise ConfigError("Storage in memory cannot be shared by several workers.", hint="Use one worker.")
    if server.default_repository and not is_repository_path(server.default_repository):
        raise ConfigError(
            f"server.default_repository is no team/project: {server.default_repository!r}.",
            hint="Write it like studio/film.",
        )
    return ServerSettings(
        storage=storage_table(settings.storage),
        host=server.host,
        port=server.port,
        workers=server.workers,
        api_key="" if no_auth else server.api_key,
        create_projects=server.create_projects,
        default_repository=server.default_repository,
        max_pack_size=server.max_pack_size,
        header_timeout=server.header_timeout,
        stall_timeout=server.stall_timeout,
        direct=server.direct,
        upstream=server.upstream,
        upstream_api_key=server.upstream_api_key,
        relay_keys=bool(server.upstream) and not (server.api_key or no_auth),
        cache=settings.storage.cache,
        cache_size=settings.storage.cache_size,
    )


def _check_upstream(settings: Settings, *, no_auth: bool) -> None:
    """Refuse an upstream that is no server's address, one beside a storage, and one whose key everybody could use.

    Raises:
        ConfigError: it is one of these.
    """
    server, storage = settings.server, settings.storage
    if storage.backend != "local" or storage.local.path:
        raise ConfigError(
            "A cache of another server keeps no repositories of its own.",
            untouched="Nothing was started.",
            hint="Leave out either --upstream or --storage, and [server] upstream or [storage] backend and path.",
        )
    try:
        split_url(server.upstream)
    except UsageError as error:
        raise ConfigError(
            f"server.upstream: {error.message}", untouched="Nothing was started.", hint=error.hint
        ) from error
    if server.upstream_api_key and not server.api_key and not no_auth:
        raise ConfigError(
            "Whoever reaches this server could use the key for upstream.",
            untouched="Nothing was started.",
            hint="Set MEDIAGIT_API_KEY to what clients must present here, or leave upstream_api_key empty.",
        )


def storage_table(storage: Storage) -> dict[str, object]:
    """Return `[storage]` as it stands in the file: the stores of a pair are tables beside its own settings."""
    table: dict[str, object] = msgspec.to_builtins(storage)
    pair = msgspec.to_builtins(storage.multi)
    stores = pair.pop("stores")
    return {**table, "multi": {**pair, **stores}}


def _kinds(storage: Storage) -> set[object]:
    """Return the kinds of the stores that are used."""
    if storage.backend != "multi":
        return {storage.backend}
    pair = storage.multi
    return {pair.stores.get(name, {}).get("backend") or name for name in (pair.primary, pair.secondary)}


def is_loopback(host: str) -> bool:
    """Tell whether only this computer can reach an address to listen on."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_repository_path(path: str) -> bool:
    """Tell whether `path` is team/project with names that are allowed."""
    names = path.split("/")
    return len(names) == 2 and all(NAME.fullmatch(name) for name in names)
