"""Puts the rooms together: opens repositories and servers for those who hand in an environment; reads none itself.

The command line (`mediavault.cli.session`) and the Python API (`mediavault.api`) both build on this.
"""

import os
import pwd
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from blake3 import blake3

from mediavault.config import LoadedSettings, Settings, load_settings, user_folder
from mediavault.errors import IntegrityError, MediaVaultError, RemoteError, StorageError, UsageError
from mediavault.formats.config import RepositoryConfig, decode_config, fingerprint
from mediavault.keys.keystore import KeyStore
from mediavault.model.objects import Moment, Person
from mediavault.ops.create import CONFIG, CreatePlan, CreateReport, run_create, settle
from mediavault.ops.repository import Repository, locked
from mediavault.ops.staging import opened_stage
from mediavault.ops.unlock import SLOTS, known_keys, unlock_slots
from mediavault.progress import Progress
from mediavault.workspace.layout import PRIVATE_FOLDER, Layout
from mediavault.workspace.paths import shown
from mediavault_backends import fsio
from mediavault_backends.api import Backend
from mediavault_backends.errors import BackendSetupError, NotFoundError
from mediavault_backends.keys import SERVER_MARK
from mediavault_backends.local import LocalBackend

if TYPE_CHECKING:
    from mediavault.ops.clone import ClonePlan, CloneReport
    from mediavault.ops.prices import Place
    from mediavault.sync.remote import Remote
    from mediavault.workspace.materialise import RecoveryReport

_UNFINISHED: Final = ".mediagit-new-"
_MAX_TEXT: Final = 1000
"""Bytes of a person's name or address that a commit takes."""


def settings_of(environ: Mapping[str, str], layout: Layout | None) -> LoadedSettings:
    """Read all settings, with a repository's own where one is given."""
    return load_settings(environ, repository=layout.settings_file if layout else None)


def key_store(environ: Mapping[str, str], settings: Settings) -> KeyStore:
    """Return where this user's keys are kept."""
    return KeyStore(user_folder(environ) / "keys", settings.keys.store)


def local_backend(layout: Layout) -> Backend:
    """Return the store inside a checkout's private folder."""
    return LocalBackend(layout.store)


def open_repository(environ: Mapping[str, str], layout: Layout, ask: Callable[[], str]) -> Repository:
    """Open a repository, unlocking it where this computer does not know its key yet.

    Args:
        environ: the environment that settings are read from.
        layout: where it is.
        ask: returns the passphrase; called only where it is needed.

    Raises:
        IntegrityError: its config is missing or damaged.
        NotAllowedError: it is locked and the passphrase is wrong or missing.
    """
    settings = settings_of(environ, layout).settings
    backend = local_backend(layout)
    config_bytes = read_config(backend)
    config = decode_config(config_bytes)
    store = key_store(environ, settings)
    keys = known_keys(config, config_bytes, store)
    if keys is None:
        keys = unlock_slots(config, config_bytes, read_slots(backend), ask)
        store.save(config.repository, keys.epochs, fingerprint(config_bytes))
    return Repository(layout, settings, config, config_bytes, keys, backend)


def read_config(backend: Backend) -> bytes:
    """Return the exact bytes of a store's config.

    Raises:
        IntegrityError: there is none.
    """
    try:
        return backend.get(CONFIG).data
    except NotFoundError as error:
        raise IntegrityError(
            "The repository's config is missing.",
            untouched="Nothing was changed.",
            hint="Clone the repository anew; every clone has the same config.",
        ) from error


def read_slots(backend: Backend) -> dict[str, bytes]:
    """Return all key slots of a store by name."""
    keys = [stat.key for stat in backend.scan(SLOTS)]
    return {key.removeprefix(SLOTS): backend.get(key).data for key in keys if "/" not in key.removeprefix(SLOTS)}


def unlock_for_clone(
    store: KeyStore,
    config: RepositoryConfig,
    config_bytes: bytes,
    *,
    slots: Mapping[str, bytes],
    ask: Callable[[], str],
    given: bool,
) -> None:
    """Make sure that this computer knows a repository's key before anything of it is copied.

    Args:
        store: where this user's keys are kept.
        config: of the repository.
        config_bytes: its exact bytes.
        slots: the ways in, by name.
        ask: returns the passphrase; called only where it is needed.
        given: a passphrase was named, so it is checked even where the key is known.

    Raises:
        NotAllowedError: the passphrase is wrong or missing.
    """
    if known_keys(config, config_bytes, store) is not None and (config.suite == 0 or not given):
        return
    unlocked = unlock_slots(config, config_bytes, slots, ask)
    store.save(config.repository, unlocked.epochs, fingerprint(config_bytes))


def recovered(layout: Layout, opened: Callable[[], Repository]) -> tuple[Repository, "RecoveryReport | None"]:
    """Open a repository after finishing what an earlier command left half done; the caller holds its lock.

    Args:
        layout: where it is.
        opened: opens it.

    Returns:
        the repository, and what was finished or taken back; None where nothing was half done.
    """
    if not layout.checkout.exists():
        return opened(), None
    # Only after a crash are these needed.
    from mediavault.ops.checkout import mover  # noqa: PLC0415 -- see above
    from mediavault.workspace.materialise import recover  # noqa: PLC0415 -- see above

    report = recover(layout)
    repository = opened()
    if report is not None and report.pending is not None:
        report = recover(layout, finish=mover(repository, now().seconds)) or report
    return repository, report


def make_repository(plan: CreatePlan, passphrase: str, keys: KeyStore) -> CreateReport:
    """Make a planned repository aside, then move it to its place: a half-made one is none.

    Args:
        plan: what and where.
        passphrase: opens the repository elsewhere; unused for a plain one.
        keys: where this user's keys are kept.

    Raises:
        StorageError: the folder cannot be written.
    """
    root = plan.root
    temporary = root / f"{_UNFINISHED}{os.urandom(4).hex()}"
    try:
        fsio.make_folders(root)
        _remove_unfinished(root)
        layout = Layout(temporary)
        layout.create()
        with fsio.FileLock(layout.lock_file).held():  # so that others see that its maker lives
            backend = LocalBackend(layout.store)
            report = run_create(plan, backend, layout, passphrase=passphrase, keys=keys, now=utc_text(now()))
            settle(layout.folder, root)
    except OSError as error:
        raise StorageError(f"Cannot make a repository in {root}: {error.strerror}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return report


def _remove_unfinished(root: Path) -> None:
    """Remove what others left that died while they made a repository here."""
    for folder in root.glob(f"{_UNFINISHED}*"):
        with suppress(TimeoutError, FileNotFoundError), fsio.FileLock(Layout(folder).lock_file).held():
            shutil.rmtree(folder / PRIVATE_FOLDER, ignore_errors=True)
        with suppress(OSError):  # its maker lives
            folder.rmdir()


def check_address(url: str) -> None:
    """Check that a remote can have this address.

    Raises:
        UsageError: it is neither that of a server nor that of a store.
    """
    from mediavault.wire.client import split_url  # noqa: PLC0415 -- verbs without a remote need no HTTP
    from mediavault_backends.urls import is_store_url, table_of  # noqa: PLC0415 -- likewise

    if not is_store_url(url):
        split_url(url)
        return
    try:
        table_of(url)
    except BackendSetupError as error:
        raise UsageError(f"{str(error)[0].upper()}{str(error)[1:]}.") from error


@contextmanager
def connected(environ: Mapping[str, str], settings: Settings, url: str) -> Iterator["Remote"]:
    """Open a remote by its address, with the credentials that belong to it.

    Args:
        environ: the environment, where a store's credentials may be.
        settings: where a server's credentials may be.
        url: of a server, or of a store that needs none.

    Raises:
        UsageError: the address is not one.
    """
    from mediavault_backends.urls import is_store_url  # noqa: PLC0415 -- verbs without a remote need no HTTP

    remote = _direct(environ, settings, url) if is_store_url(url) else _http(settings, url)
    try:
        yield remote
    finally:
        remote.close()


def _http(settings: Settings, url: str) -> "Remote":
    from mediavault.wire.client import HttpRemote, split_url  # noqa: PLC0415 -- as above
    from mediavault.wire.http import Patience  # noqa: PLC0415 -- as above

    origin, _ = split_url(url)
    own = settings.credentials.get(origin)
    network = settings.network
    patience = Patience(network.connect_timeout, network.stall_timeout, network.retries, network.connections)
    key = own.api_key if own else network.api_key
    return HttpRemote(url, api_key=key, patience=patience, direct=network.direct == "auto")


def _direct(environ: Mapping[str, str], settings: Settings, url: str) -> "Remote":
    from mediavault.sync.direct import DirectRemote  # noqa: PLC0415 -- as above
    from mediavault_backends.registry import open_backend  # noqa: PLC0415 -- as above
    from mediavault_backends.urls import table_of  # noqa: PLC0415 -- as above

    check_address(url)
    table = dict(table_of(url))
    kind = str(table["backend"])
    table[kind] = {**_credentials(kind, environ), **_table(table[kind])}
    local = kind == "local"
    folder = Path(str(_table(table.get("local")).get("path"))) if local else None

    def opened(create: bool) -> Backend | None:
        if folder is not None:
            _refuse_served(folder)
            if not create and not folder.is_dir():
                return None
        return open_backend(table, create=create)

    def settle() -> None:
        if folder is not None:
            store = LocalBackend(folder)
            store.settle()
            store.remove_stale()

    scratch = user_folder(environ) / "uploads" / blake3(url.encode()).hexdigest(8)
    return DirectRemote(url, opened, scratch, probed=not local, settle=settle, retries=settings.network.retries)


def mirror_folder(environ: Mapping[str, str], source: str, destination: str) -> Path:
    """Return where a mirroring from one address to another keeps what is on its way."""
    return user_folder(environ) / "mirrors" / blake3(f"{source}\0{destination}".encode()).hexdigest(8)


def place_of(environ: Mapping[str, str], url: str, remote: str = "") -> "Place":
    """Return a remote as its prices see it: an endpoint of the environment may make it another provider's."""
    from mediavault.ops.prices import Place  # noqa: PLC0415 -- only estimates need it

    endpoint = next((environ[name] for name in _ENDPOINTS.get(url.partition("://")[0], ()) if environ.get(name)), "")
    return Place(url, remote, urlsplit(endpoint).hostname or endpoint)


_ENDPOINTS: Final = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "az": ("AZURE_STORAGE_SERVICE_ENDPOINT",),
    "gs": ("STORAGE_EMULATOR_HOST",),
}


def _credentials(kind: str, environ: Mapping[str, str]) -> dict[str, object]:
    """Return what a cloud's own tools take from the environment and its library does not: the rest it finds itself."""
    if kind == "gcs":
        return {"endpoint": environ.get("STORAGE_EMULATOR_HOST", "")}
    if kind != "azure":
        return {}
    key = environ.get("AZURE_STORAGE_KEY", "")
    return {
        "account_name": environ.get("AZURE_STORAGE_ACCOUNT", ""),
        "account_key": key,
        "endpoint": environ.get("AZURE_STORAGE_SERVICE_ENDPOINT", ""),
        "use_managed_identity": not key,
    }


def _table(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, dict) else {}


def _refuse_served(folder: Path) -> None:
    """Refuse a folder inside a server's storage: its locks are elsewhere, and one writer would not see the other.

    Raises:
        UsageError: it is one.
    """
    for above in (folder, *folder.parents):
        if (above / SERVER_MARK).is_file():
            raise UsageError(
                f"{folder} belongs to the storage of a server, {above}.",
                untouched="Nothing was changed.",
                hint="Use the server's address, http://HOST/TEAM/PROJECT.",
            )


def now() -> Moment:
    """Return the time, with this computer's zone."""
    seconds = int(time.time())
    offset = datetime.fromtimestamp(seconds, tz=UTC).astimezone().utcoffset()
    return Moment(seconds, int(offset.total_seconds() // 60) if offset else 0)


def now_ns() -> int:
    """Return the time in ns since 1970-01-01 UTC."""
    return time.time_ns()


def utc_text(moment: Moment) -> str:
    """Return a time as RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(moment.seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def author(settings: Settings) -> Person:
    """Return who commits: as configured, else the system's user."""
    name = _clean(settings.user.name) or _clean(_system_name()) or "unknown"
    email = _clean(settings.user.email) or _clean(f"{_login()}@{os.uname().nodename or 'localhost'}")
    return Person(name, email)


def _login() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user{os.getuid()}"


def _system_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_gecos.partition(",")[0] or _login()
    except KeyError:
        return _login()


def _clean(text: str) -> str:
    kept = "".join(c for c in text if c.isprintable()).strip()
    return kept.encode(errors="ignore")[:_MAX_TEXT].decode(errors="ignore").strip()


def clone_repository(
    environ: Mapping[str, str],
    url: str,
    root: Path,
    *,
    encrypted: bool,
    branch: str | None,
    ask: Callable[[], str],
    given: bool,
    progress: Progress,
    remark: Callable[[str], None],
) -> tuple["ClonePlan", "CloneReport"]:
    """Copy a repository from a server into a folder; run again after an interruption, it continues.

    Args:
        environ: the environment that settings are read from.
        url: of the repository.
        root: the folder to make.
        encrypted: what is expected; a server must not turn an encrypted repository into a plain one.
        branch: what to check out; None for the server's usual one.
        ask: returns the passphrase; called only where it is needed.
        given: a passphrase was named, so it is checked even where the key is known.
        progress: told of bytes.
        remark: told what a person should know.

    Raises:
        NotFoundError: there is no such repository, or no such branch in it.
        UsageError: the folder is in use, or the repository is not of the expected kind.
        NotAllowedError: the passphrase is wrong or missing.
        RemoteError: the server failed; what was received is kept.
    """
    from mediavault.ops import clone as op  # noqa: PLC0415 -- only cloning needs the room of transfers
    from mediavault.ops.fetch import run_fetch  # noqa: PLC0415 -- as above
    from mediavault.ops.files_ahead import FilesAhead  # noqa: PLC0415 -- only cloning writes files ahead

    settings = settings_of(environ, None).settings
    with connected(environ, settings, url) as remote:
        plan = op.plan_clone(remote, root, encrypted=encrypted)
        slots = remote.slots() if encrypted else {}
        store = key_store(environ, settings)
        unlock_for_clone(store, plan.config, plan.config_bytes, slots=slots, ask=ask, given=given)
        op.begin(plan)
        op.prepare(plan, local_backend(plan.layout), slots)
        with locked(plan.layout), _continued_later(root):
            repository, former = recovered(plan.layout, lambda: open_repository(environ, plan.layout, ask))
            for path in former.left if former else ():
                remark(f"{shown(path)} was changed since and was left as it is.")
            with opened_stage(repository, remark) as stage, FilesAhead(repository, stage, branch) as ahead:
                fetched = run_fetch(repository, op.REMOTE, remote, now().seconds, progress, sink=ahead)
                report = op.run_clone(
                    repository, stage, fetched, ahead, branch=branch, now=now().seconds, progress=progress
                )
    return plan, report


@contextmanager
def _continued_later(root: Path) -> Iterator[None]:
    kept = f"What was received is kept in {root}."
    try:
        yield
    except RemoteError as error:
        error.untouched = kept
        error.hint = "Run the same command again: it continues."
        raise
    except MediaVaultError as error:
        error.untouched = f"{error.untouched} {kept}" if error.untouched else kept
        raise
