"""From a table of the configuration to a backend; the only module that knows them all by name."""

import difflib
import importlib
import random
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from mediavault_backends.api import Backend
from mediavault_backends.errors import BackendSetupError
from mediavault_backends.retry import retrying
from mediavault_backends.settings import TABLES, MultiSettings, StoreSettings

SETTLE: Final = 60.0
"""Seconds that the journal of a dead process waits where the primary is remote."""
CACHE_SIZE: Final = 50 << 30
SQL_ATTEMPTS: Final = 4


def open_backend(table: Mapping[str, object], *, create: bool = False) -> Backend:
    """Open the store that a `[storage]` table names.

    Args:
        table: `backend`, the kind, and under the kind's own name its settings, as in
            `{"backend": "local", "local": {"path": "/srv/media"}}`. Settings of other kinds are not looked at.
        create: make a local folder that is missing.

    Raises:
        BackendSetupError: the kind or a setting is unknown, missing or unusable.
    """
    return _with_refs(table, _open_store(table, create))


def _open_store(table: Mapping[str, object], create: bool) -> Backend:
    """Open the store itself, at the rates that the table sets."""
    kind = table.get("backend")
    if not isinstance(kind, str):
        raise BackendSetupError("storage needs a `backend`: " + ", ".join(_KINDS))
    if kind not in _KINDS:
        raise BackendSetupError(f"unknown storage backend {kind!r}{_nearest(kind, _KINDS)}")
    settings = table.get(kind, {})
    if not isinstance(settings, Mapping):
        raise BackendSetupError(f"storage.{kind} is not a table")
    if kind == "multi":
        return _open_multi(settings, create, partial(_paced, table))
    return _paced(table, _KINDS[kind](settings, create))


def _paced(table: Mapping[str, object], backend: Backend) -> Backend:
    names = ("max_upload", "max_download", "max_requests")
    if not any(table.get(name) for name in names):
        return backend
    from mediavault_backends.throttle import Rates, Throttle, throttled  # noqa: PLC0415 - only when used, as all else

    limits = []
    for name in names:
        rate = table.get(name, 0)
        if not isinstance(rate, int) or rate < 0:
            raise BackendSetupError(f"storage.{name} is a number a second, or 0")
        limits.append(Throttle(rate) if rate else None)
    return throttled(backend, Rates(*limits))


def _with_refs(table: Mapping[str, object], backend: Backend) -> Backend:
    """Keep what changes where the table says."""
    kept = table.get("refs", "store")
    if kept == "store":
        return backend
    if kept != "sql":
        raise BackendSetupError(f'storage.refs is "store" or "sql", not {kept!r}')
    if table.get("backend") == "multi":
        raise BackendSetupError('storage.refs = "sql" is for a single store, and not for a pair')
    settings = table.get("sql", {})
    url = settings.get("url", "") if isinstance(settings, Mapping) else ""
    if not isinstance(url, str) or not url:
        raise BackendSetupError(
            'storage.sql.url is missing: the database for refs, such as "sqlite:////var/lib/mediagit/refs.db"'
        )
    try:
        from mediavault_backends.sql import SqlBackend  # noqa: PLC0415 - only when used, as all else
    except ModuleNotFoundError as error:
        raise BackendSetupError(
            f"refs in a database need a package that is not installed ({error.name}): pip install 'mediavault[sql]'"
        ) from error
    from mediavault_backends.split import SplitBackend  # noqa: PLC0415 - as above

    return SplitBackend(backend, retrying(SqlBackend(url), SQL_ATTEMPTS, time.sleep, random.random))


def open_served(table: Mapping[str, object], *, create: bool = False) -> Backend:
    """Open the store that a `[storage]` table names, read through the cache that it names, if any; see `open_backend`.

    Raises:
        BackendSetupError: also a cache for a store that is none of the remote ones.
    """
    return _with_refs(table, _cached(table, _open_store(table, create)))


def _cached(table: Mapping[str, object], backend: Backend) -> Backend:
    folder, size = table.get("cache") or "", table.get("cache_size", CACHE_SIZE)
    if not folder:
        return backend
    kind = table.get("backend")
    if kind not in _ADAPTERS:
        raise BackendSetupError(f"storage.cache is for a remote store ({', '.join(_ADAPTERS)}), not for {kind!r}")
    if not isinstance(folder, str | Path) or not isinstance(size, int):
        raise BackendSetupError("storage.cache is a folder, and storage.cache_size a number of bytes")
    from mediavault_backends.caching import caching  # noqa: PLC0415 - only when used, as all else
    from mediavault_backends.disk_cache import DiskCache  # noqa: PLC0415 - as above

    return caching(backend, DiskCache(Path(folder), size))


def _open_local(settings: Mapping[str, object], create: bool) -> Backend:
    from mediavault_backends.local import LocalBackend  # noqa: PLC0415 - a kind is imported only when used

    _check_names(settings, "local", ("path",))
    path = settings.get("path")
    if not isinstance(path, str | Path) or not str(path):
        raise BackendSetupError("storage.local.path is missing: the folder that holds the objects")
    return LocalBackend(Path(path), create=create)


def _open_memory(settings: Mapping[str, object], create: bool) -> Backend:  # noqa: ARG001 - nothing to make
    from mediavault_backends.memory import MemoryBackend  # noqa: PLC0415 - a kind is imported only when used

    _check_names(settings, "memory", ())
    return MemoryBackend()


class _Adapter(NamedTuple):
    """Where a remote store's class is; `extra` is what has to be installed for it."""

    module: str
    name: str
    extra: str


_ADAPTERS: Final[Mapping[str, _Adapter]] = {
    "s3": _Adapter("mediavault_backends.s3", "S3Backend", "s3"),
    "azure": _Adapter("mediavault_backends.azure", "AzureBackend", "azure"),
    "gcs": _Adapter("mediavault_backends.gcs", "GcsBackend", "gcs"),
}


def _open_remote(kind: str, settings: Mapping[str, object], create: bool) -> Backend:  # noqa: ARG001 - buckets are made by their owners
    typed = _typed(kind, settings)
    adapter = _ADAPTERS[kind]
    try:
        module = importlib.import_module(adapter.module)
    except ModuleNotFoundError as error:
        raise BackendSetupError(
            f"storage in {kind} needs a package that is not installed ({error.name}): pip install 'mediavault[{adapter.extra}]'"
        ) from error
    backend: Backend = getattr(module, adapter.name)(typed)
    return retrying(backend, typed.max_retries + 1, time.sleep, random.random)


def _open_multi(
    settings: Mapping[str, object], create: bool, paced: Callable[[Backend], Backend] = lambda store: store
) -> Backend:
    from mediavault_backends.local import LocalBackend  # noqa: PLC0415 - a kind is imported only when used
    from mediavault_backends.multi import multi  # noqa: PLC0415 - as above
    from mediavault_backends.multi_journal import Journal  # noqa: PLC0415 - as above

    typed = _pair_of(settings)
    primary, secondary = (_open_named(typed, role, create) for role in ("primary", "secondary"))
    local = next((store for store in (primary, secondary) if isinstance(store, LocalBackend)), None)
    if not typed.journal and local is None:
        raise BackendSetupError(
            "storage.multi.journal is missing: neither store is a folder of this machine, and what the secondary lacks has to"
            " be written down in one"
        )
    folder = Path(typed.journal) if typed.journal or local is None else local.journal_folder
    # What a process sent to a bucket before it died may still be on its way.
    settle = 0.0 if isinstance(primary, LocalBackend) else SETTLE
    journal = Journal(folder, f"{primary.name} -> {secondary.name}", settle=settle)
    return multi(paced(primary), paced(secondary), journal, mode=typed.mode, read=typed.read)


def _pair_of(settings: Mapping[str, object]) -> MultiSettings:
    """Check `[storage.multi]`, but for what the tables of both stores hold."""
    names = [name for name in MultiSettings.__struct_fields__ if name != "stores"]
    own = {name: value for name, value in settings.items() if name in names}
    stores = {name: value for name, value in settings.items() if name not in names}
    for name, value in stores.items():
        if not isinstance(value, Mapping):
            raise BackendSetupError(f"unknown setting storage.multi.{name}{_nearest(name, names)}")
    try:
        typed = msgspec.convert({**own, "stores": stores}, MultiSettings)
    except msgspec.ValidationError as error:
        raise BackendSetupError(f"storage.multi: {error}") from None
    for role in ("primary", "secondary"):
        name = getattr(typed, role)
        if not name:
            raise BackendSetupError(f"storage.multi.{role} is missing: the name of a store, such as local or s3")
        if name not in stores and name not in _KINDS:
            raise BackendSetupError(
                f"storage.multi.{role} is {name!r}, and there is no table [storage.multi.{name}]"
                f"{_nearest(name, [*stores, *_KINDS])}"
            )
    if typed.primary == typed.secondary:
        raise BackendSetupError(f"storage.multi.primary and storage.multi.secondary are both {typed.primary!r}")
    for name in stores:
        if name not in {typed.primary, typed.secondary}:
            raise BackendSetupError(
                f"storage.multi.{name} is neither the primary nor the secondary"
                f"{_nearest(name, [typed.primary, typed.secondary, *names])}"
            )
    return typed


def _open_named(pair: MultiSettings, role: str, create: bool) -> Backend:
    name = getattr(pair, role)
    table = dict(pair.stores.get(name, {}))
    kind = table.pop("backend", None) or name
    if kind == "multi":
        raise BackendSetupError(f"storage.multi.{name}: a pair holds no pair")
    try:
        return open_backend({"backend": kind, str(kind): table}, create=create)
    except BackendSetupError as error:
        raise BackendSetupError(f"storage.multi.{name}: {error}") from error


def _typed(kind: str, settings: Mapping[str, object]) -> StoreSettings:
    table = TABLES[kind]
    _check_names(settings, kind, table.__struct_fields__)
    try:
        return msgspec.convert(dict(settings), table)
    except msgspec.ValidationError as error:
        raise BackendSetupError(f"storage.{kind}: {error}") from None


_KINDS: Final[Mapping[str, Callable[[Mapping[str, object], bool], Backend]]] = {
    "local": _open_local,
    "memory": _open_memory,
    **{kind: partial(_open_remote, kind) for kind in _ADAPTERS},
    "multi": _open_multi,
}


def _check_names(settings: Mapping[str, object], kind: str, known: Iterable[str]) -> None:
    for name in settings:
        if name not in known:
            raise BackendSetupError(f"unknown setting storage.{kind}.{name}{_nearest(name, known)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""
