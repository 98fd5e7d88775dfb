"""`mediagit-server storage`: copies, checks, tiers and mends whole stores. Parses, opens what addresses name, maps errors to exit codes."""

import argparse
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, Protocol

import msgspec

from mediavault import errors
from mediavault.config import Settings, Storage, load_settings, parse_size, user_folder
from mediavault.errors import ConfigError, MediaVaultError, UsageError
from mediavault.hosting.checking import Checked, compare_stores, verify_store
from mediavault.hosting.copying import copy_store
from mediavault.interrupts import orderly_interrupts
from mediavault_backends import errors as backend_errors
from mediavault_backends.api import Backend, Replicating
from mediavault_backends.keys import SERVER_MARK
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.throttle import Throttle
from mediavault_backends.urls import table_of
from mediavault_server import storage_heal, storage_tier
from mediavault_server.settings import storage_table
from mediavault_server.storage_price import Pricer, pricer_of
from mediavault_server.storage_report import progress_for, show_check, show_copy, show_error

INTERRUPTED: Final = 130
DAMAGED: Final = 5
DIFFERENT: Final = 1

_CONFIG: Final = "config"
_CODES: Final[tuple[tuple[tuple[type[Exception], ...], int], ...]] = (
    ((errors.UsageError, errors.ConfigError, backend_errors.BackendSetupError), 2),
    ((errors.NeedsDecisionError, backend_errors.PreconditionFailedError), 3),
    (
        (
            errors.RemoteError,
            backend_errors.TransientError,
            backend_errors.OutcomeUnknownError,
            backend_errors.ArchivedError,
        ),
        4,
    ),
    ((errors.IntegrityError, backend_errors.NotFoundError), DAMAGED),
    ((errors.NotAllowedError, backend_errors.AccessDeniedError), 6),
)
"""As docs/cli.md has them; whatever is not here is 1."""
_WORDS: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (
        backend_errors.BackendSetupError,
        "The storage cannot be used",
        "See docs/backends.md for its settings.",
    ),
    (
        backend_errors.ArchivedError,
        "Something is in an archive class",
        "Run `mediagit-server storage restore --all --wait`, then the command again.",
    ),
    (backend_errors.AccessDeniedError, "The store refuses access", "Check the credentials and their rights."),
    (backend_errors.StorageFullError, "No space is left in the store", "Make room, then run the command again."),
    (backend_errors.TransientError, "The store does not answer", "Run the command again: it continues."),
    (backend_errors.OutcomeUnknownError, "The store did not confirm a write", "Run the command again: it continues."),
    (backend_errors.NotFoundError, "Something that must be stored is missing", "Run `mediagit-server storage verify`."),
    (backend_errors.PreconditionFailedError, "Someone else changed the store meanwhile", "Run the command again."),
    (backend_errors.BackendError, "The store failed", "Run the command again: it continues."),
    (OSError, "The system refused", "Make sure that there is room and permission for packs on their way."),
)
_ADDRESSES: Final = """\
A store is file:///FOLDER, s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX, or `config`: the [storage] of the
server's configuration; `config:FILE` is that of another file. How to reach a bucket (endpoint, region, credentials) is
taken from [storage.s3], [storage.azure], [storage.gcs] and the environment. See docs/backends.md.
"""
_CONFIGURED: Final = "The store is the [storage] of the server's configuration. See docs/operations/tiers.md.\n"
_EXAMPLES: Final = {
    "copy": "  mediagit-server storage copy config s3://studio-media/vault\n"
    "  mediagit-server storage copy --dry-run file:///srv/media config:/etc/mediagit/new.toml\n",
    "verify": "  mediagit-server storage verify config\n"
    "  mediagit-server storage verify file:///srv/media --against s3://studio-media/vault\n",
    "tier": "  mediagit-server storage tier --dry-run\n  mediagit-server storage tier --project studio/film\n",
    "restore": "  mediagit-server storage restore --project studio/film --ref old-cut --wait\n",
    "heal": "  mediagit-server storage heal --dry-run\n  mediagit-server storage heal\n",
}


class Opener(Protocol):
    """Opens the store of a `[storage]` table; with `create`, makes a local folder that is missing."""

    def __call__(self, table: Mapping[str, object], *, create: bool = False) -> Backend:
        """Open it."""


def run(
    words: Sequence[str], environ: Mapping[str, str], opener: Opener, make_ready: Callable[[Backend], object]
) -> int:
    """Run one command and return its exit code.

    Args:
        words: what stands behind `storage` on the command line.
        environ: the environment, where settings and credentials may be.
        opener: opens stores.
        make_ready: makes sure that a store can be written to.
    """
    options = _parser().parse_args(words)
    try:
        with orderly_interrupts(), contextlib.closing(_Stores(environ, options.config, opener, make_ready)) as stores:
            return _RUN[options.verb](options, stores)
    except (MediaVaultError, backend_errors.BackendError, OSError) as error:
        code = exit_code(error)
        show_error(_explained(error), code, as_json=options.json)
        return code
    except KeyboardInterrupt:
        stopped = MediaVaultError("Interrupted.", hint="Run the same command again: it continues.")
        show_error(stopped, INTERRUPTED, as_json=options.json)
        return INTERRUPTED


def exit_code(error: BaseException) -> int:
    """Return the code that an error ends the command with."""
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mediagit-server storage",
        description="Copies, checks, tiers and mends what a store holds, without any key.",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    copy = _verb(
        verbs,
        "copy",
        "copy all repositories of one store to another",
        "Copies all repositories of one store to another, checking each object on its way. What is there already is not sent again,"
        " so a run that was stopped continues. Nothing is removed; the destination is whole at every instant.",
    )
    copy.add_argument("source", metavar="SRC", help="the store to copy")
    copy.add_argument("destination", metavar="DST", help="the store to copy to")
    copy.add_argument("--dry-run", action="store_true", help="show what would be sent, and send nothing")
    copy.add_argument("--bandwidth", metavar="RATE", type=_rate, help="read at most this much a second, such as 20MiB")
    verify = _verb(
        verbs,
        "verify",
        "check everything in a store, or compare two",
        "Reads everything in a store and checks that it is what its name promises; compares it with another one object by object,"
        f" byte by byte. Exits {DAMAGED} if something is damaged or differs, {DIFFERENT} if objects are missing from the other or extra there.",
    )
    verify.add_argument("store", metavar="STORE", help="the store to check")
    verify.add_argument("--against", metavar="OTHER", help="a copy of it, to compare with")
    tier = _verb(verbs, "tier", "move packs that nothing needs to a cheaper class", storage_tier.DESCRIPTIONS["tier"])
    storage_tier.add_options("tier", tier)
    restore = _verb(verbs, "restore", "bring packs back from an archive class", storage_tier.DESCRIPTIONS["restore"])
    storage_tier.add_options("restore", restore)
    heal = _verb(verbs, "heal", "mend what one of two stores lacks or has damaged", storage_heal.DESCRIPTION)
    heal.add_argument("--dry-run", action="store_true", help="show what would be mended, and mend nothing")
    return parser


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, short: str, description: str
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name,
        help=short,
        description=f"{description}\n\n{_ADDRESSES if name in {'copy', 'verify'} else _CONFIGURED}",
        epilog=f"examples:\n{_EXAMPLES[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="read this configuration and no other")
    parser.add_argument("--json", action="store_true", help="write one JSON document")
    return parser


def _rate(text: str) -> int:
    try:
        rate = parse_size(text.strip().removesuffix("/s"))
    except ConfigError as error:
        raise argparse.ArgumentTypeError(f"{error.message} {error.hint}") from error
    if rate < 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is less than 1KiB a second")
    return rate


def _copy(options: argparse.Namespace, stores: "_Stores") -> int:
    _refuse_same(stores.table(options.source), stores.table(options.destination))
    source = stores.open(options.source)
    target = stores.destination(options.destination, dry_run=options.dry_run)
    reports = copy_store(
        source,
        target,
        stores.scratch,
        progress=progress_for(quiet=options.json),
        throttle=Throttle(options.bandwidth) if options.bandwidth else None,
        dry_run=options.dry_run,
    )
    pricer = stores.pricer(options.source, options.destination) if options.dry_run else None
    fine = show_copy(reports, options.source, options.destination, pricer=pricer, as_json=options.json)
    return 0 if fine else DAMAGED


def _verify(options: argparse.Namespace, stores: "_Stores") -> int:
    store = stores.open(options.store)
    progress = progress_for(quiet=options.json)
    reports: Iterator[Checked] = verify_store(store, progress=progress)
    if options.against is not None:
        reports = chain(reports, compare_stores(store, stores.open(options.against), progress=progress))
    findings = show_check(reports, options.store, options.against or "", as_json=options.json)
    if any(finding.what in {"damaged", "different"} for finding in findings):
        return DAMAGED
    return DIFFERENT if findings else 0


def _tier(options: argparse.Namespace, stores: "_Stores") -> int:
    return storage_tier.tier(options, stores.open(_CONFIG), stores.configured())


def _restore(options: argparse.Namespace, stores: "_Stores") -> int:
    return storage_tier.restore(options, stores.open(_CONFIG), stores.configured())


def _heal(options: argparse.Namespace, stores: "_Stores") -> int:
    return storage_heal.heal(options, stores.open(_CONFIG))


_RUN: Final[Mapping[str, Callable[[argparse.Namespace, "_Stores"], int]]] = {
    "copy": _copy,
    "verify": _verify,
    "tier": _tier,
    "restore": _restore,
    "heal": _heal,
}


class _Stores:
    """Turns addresses into stores, with what the configuration and the environment say of how to reach them."""

    def __init__(
        self,
        environ: Mapping[str, str],
        config: Path | None,
        opener: Opener,
        make_ready: Callable[[Backend], object],
    ) -> None:
        self._environ = environ
        self._config = config
        self._opener = opener
        self._make_ready = make_ready
        self._opened: list[Backend] = []
        self.scratch = user_folder(environ) / "copies"

    def open(self, address: str) -> Backend:
        """Open a store that is there.

        Raises:
            ConfigError, BackendSetupError: it is none, or cannot be used.
        """
        return self._open(self.table(address), create=False)

    def configured(self) -> Storage:
        """Return the `[storage]` of the server's configuration.

        Raises:
            ConfigError: it cannot be read.
        """
        return self._settings(self._config).storage

    def pricer(self, source: str, destination: str) -> Pricer:
        """Return what tells the costs of a copy."""
        return pricer_of(self.table(source), self.table(destination), self._settings(self._config).prices)

    def close(self) -> None:
        """Let go of the stores."""
        for store in self._opened:
            if isinstance(store, Replicating):
                store.close()

    def destination(self, address: str, *, dry_run: bool) -> Backend:
        """Open a store to copy to; a folder is made where there is none, but for a dry run.

        Raises:
            UsageError: it is a folder inside a server's storage.
            BackendSetupError: it cannot be used, or ignores conditions on writes.
        """
        table = self.table(address)
        folder = _folder(table)
        if folder is not None:
            _refuse_inside_a_server(folder)
            if dry_run and not folder.is_dir():
                return MemoryBackend()  # as empty as what is not there
        target = self._open(table, create=not dry_run)
        if not dry_run:
            self._make_ready(target)
        return target

    def table(self, address: str) -> Mapping[str, object]:
        """Return the `[storage]` table that an address stands for.

        Raises:
            ConfigError: the configuration cannot be read, or names no place.
            BackendSetupError: it is no address of a store.
        """
        if address == _CONFIG:
            return _storage(self._settings(self._config))
        if address.startswith(f"{_CONFIG}:"):
            return _storage(self._settings(Path(address.removeprefix(f"{_CONFIG}:"))))
        table = dict(table_of(address))
        kind = str(table["backend"])
        known = msgspec.to_builtins(self._settings(self._config).storage).get(kind)
        own = table[kind]
        assert isinstance(known, dict)
        assert isinstance(own, dict)
        if kind == "azure":
            known = _azure_account(known, self._environ)
        return {"backend": kind, kind: {**known, **own}}

    def _open(self, table: Mapping[str, object], *, create: bool) -> Backend:
        store = self._opener(table, create=create)
        self._opened.append(store)
        return store

    def _settings(self, file: Path | None) -> Settings:
        return load_settings(self._environ, file=file).settings


def _storage(settings: Settings) -> Mapping[str, object]:
    if settings.storage.backend == "local" and not settings.storage.local.path:
        raise ConfigError(
            "The configuration names no storage.",
            untouched="Nothing was done.",
            hint="Set [storage.local] path, or name the file with --config.",
        )
    return storage_table(settings.storage)


def _azure_account(known: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, object]:
    """Fill in what Azure's own tools read from the environment, where the configuration names no account."""
    if known.get("account_name"):
        return dict(known)
    found = {
        "account_name": environ.get("AZURE_STORAGE_ACCOUNT", ""),
        "account_key": environ.get("AZURE_STORAGE_KEY", ""),
        "endpoint": environ.get("AZURE_STORAGE_SERVICE_ENDPOINT", "") or known.get("endpoint", ""),
    }
    return {**known, **found, "use_managed_identity": not found["account_key"]}


def _folder(table: Mapping[str, object]) -> Path | None:
    local = table.get("local")
    if table["backend"] != "local" or not isinstance(local, dict):
        return None
    return Path(str(local.get("path")))


def _refuse_inside_a_server(folder: Path) -> None:
    """Refuse a folder below a server's storage: its locks are elsewhere, and one writer would not see the other."""
    for above in folder.absolute().parents:
        if (above / SERVER_MARK).is_file():
            raise UsageError(
                f"{folder} is inside the storage of a server, {above}.",
                untouched="Nothing was copied.",
                hint=f"Copy to file://{above} itself, or to another folder.",
            )


def _refuse_same(source: Mapping[str, object], target: Mapping[str, object]) -> None:
    """Refuse to copy a store into itself: the copy would be found as more repositories of it."""
    one, other = _location(source), _location(target)
    if one is not None and other is not None and one[0] == other[0] and other[1][: len(one[1])] == one[1]:
        raise UsageError(
            "The destination is the source, or inside it.",
            untouched="Nothing was copied.",
            hint="Copy to another folder or bucket.",
        )


def _location(table: Mapping[str, object]) -> tuple[tuple[object, ...], tuple[str, ...]] | None:
    """Return what holds a store's objects, and where in it they are; None where that cannot be told."""
    folder = _folder(table)
    if folder is not None:
        return ("local",), folder.resolve().parts
    kind = table["backend"]
    settings = table.get(str(kind))
    if kind not in {"s3", "azure", "gcs"} or not isinstance(settings, dict):
        return None
    holder = tuple(settings.get(name, "") for name in ("endpoint", "account_name", "container", "bucket"))
    return (kind, *holder), tuple(segment for segment in str(settings.get("prefix", "")).split("/") if segment)


def _explained(error: Exception) -> MediaVaultError:
    if isinstance(error, MediaVaultError):
        return error
    what, hint = next((what, hint) for kind, what, hint in _WORDS if isinstance(error, kind))
    return MediaVaultError(f"{what}: {error}.".replace("..", "."), hint=hint)
