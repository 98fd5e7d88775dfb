"""Composition root of the command line: opens what a verb needs from the folder, the environment and the user's files."""

import os
import pwd
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mediavault.cli.text import printable
from mediavault.cli.verb import Invocation
from mediavault.config import FILE_NAME, LoadedSettings, Settings, load_settings, user_folder
from mediavault.errors import IntegrityError, NotAllowedError, UsageError
from mediavault.formats.config import RepositoryConfig, decode_config, fingerprint
from mediavault.keys.hierarchy import PlainKeys, RepositoryKeys
from mediavault.keys.keystore import KeyStore
from mediavault.model.objects import Moment, Person
from mediavault.ops.create import CONFIG
from mediavault.ops.repository import Repository, locked
from mediavault.ops.staging import opened_stage
from mediavault.ops.unlock import SLOTS, known_keys, unlock_slots
from mediavault.workspace.layout import Layout
from mediavault.workspace.paths import repository_path
from mediavault.workspace.stage import Stage
from mediavault_backends.api import Backend
from mediavault_backends.errors import NotFoundError
from mediavault_backends.local import LocalBackend

_MAX_TEXT: Final = 1000
"""Bytes of a person's name or address that a commit takes."""


def here() -> Path:
    """Return the folder that the command works in, by the name that the user knows it under."""
    return Path.cwd()


def find_layout() -> Layout:
    """Return the repository around the current folder.

    Raises:
        NotARepositoryError: there is none.
    """
    return Layout.find(here())


def settings_of(invocation: Invocation, layout: Layout | None) -> LoadedSettings:
    """Read all settings."""
    return load_settings(invocation.environ, repository=layout.settings_file if layout else None)


def user_settings_file(invocation: Invocation) -> Path:
    """Return the user's own settings file; it may not exist."""
    return user_folder(invocation.environ) / FILE_NAME


def key_store(invocation: Invocation, settings: Settings) -> KeyStore:
    """Return where this user's keys are kept."""
    return KeyStore(user_folder(invocation.environ) / "keys", settings.keys.store)


def local_backend(layout: Layout) -> Backend:
    """Return the store inside a checkout's private folder."""
    return LocalBackend(layout.store)


def open_repository(invocation: Invocation, layout: Layout, *, passphrase_file: Path | None = None) -> Repository:
    """Open a repository, unlocking it where this computer does not know its key yet.

    Raises:
        IntegrityError: its config is missing or damaged.
        NotAllowedError: it is locked and the passphrase is wrong or missing.
    """
    settings = settings_of(invocation, layout).settings
    backend = local_backend(layout)
    config_bytes = read_config(backend)
    config = decode_config(config_bytes)
    keys = _keys(invocation, settings, backend, config, config_bytes, passphrase_file=passphrase_file)
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


def _keys(
    invocation: Invocation,
    settings: Settings,
    backend: Backend,
    config: RepositoryConfig,
    config_bytes: bytes,
    *,
    passphrase_file: Path | None,
) -> RepositoryKeys | PlainKeys:
    store = key_store(invocation, settings)
    keys = known_keys(config, config_bytes, store)
    if keys is not None:
        return keys
    slots = read_slots(backend)
    unlocked = unlock_slots(
        config, config_bytes, slots, lambda: ask_passphrase(invocation, passphrase_file, "Passphrase: ")
    )
    store.save(config.repository, unlocked.epochs, fingerprint(config_bytes))
    return unlocked


def unlock_for_clone(
    invocation: Invocation,
    settings: Settings,
    config: RepositoryConfig,
    config_bytes: bytes,
    *,
    slots: Mapping[str, bytes],
    passphrase_file: Path | None,
) -> None:
    """Make sure that this computer knows a repository's key before anything of it is copied.

    A passphrase that was given is checked even where the key is known; nobody is asked for one then.

    Raises:
        NotAllowedError: the passphrase is wrong or missing.
    """
    store = key_store(invocation, settings)
    given = passphrase_file is not None or bool(invocation.environ.get("MEDIAGIT_PASSPHRASE"))
    if known_keys(config, config_bytes, store) is not None and (config.suite == 0 or not given):
        return
    unlocked = unlock_slots(
        config, config_bytes, slots, lambda: ask_passphrase(invocation, passphrase_file, "Passphrase: ")
    )
    store.save(config.repository, unlocked.epochs, fingerprint(config_bytes))


def read_slots(backend: Backend) -> dict[str, bytes]:
    """Return all key slots of a store by name."""
    keys = [stat.key for stat in backend.scan(SLOTS)]
    return {key.removeprefix(SLOTS): backend.get(key).data for key in keys if "/" not in key.removeprefix(SLOTS)}


@contextmanager
def reading(invocation: Invocation, *, passphrase_file: Path | None = None) -> Iterator[Repository]:
    """Open the repository around the current folder to look at it; an interrupted checkout is finished first."""
    layout = find_layout()
    if layout.checkout.exists():
        with locked(layout):
            yield recovered(invocation, layout, passphrase_file)
    else:
        yield open_repository(invocation, layout, passphrase_file=passphrase_file)


@contextmanager
def writing(invocation: Invocation, *, passphrase_file: Path | None = None) -> Iterator[tuple[Repository, Stage]]:
    """Open the repository around the current folder to change it, under its lock.

    Raises:
        RepositoryBusyError: another process works in it.
    """
    layout = find_layout()
    with locked(layout):
        repository = recovered(invocation, layout, passphrase_file)
        with opened_stage(repository, invocation.console.warn) as stage:
            yield repository, stage


@contextmanager
def stage_of(invocation: Invocation, repository: Repository) -> Iterator[Stage]:
    """Open the stage of a repository to look at it."""
    with opened_stage(repository, invocation.console.warn) as stage:
        yield stage


def recovered(invocation: Invocation, layout: Layout, passphrase_file: Path | None) -> Repository:
    """Open a repository after finishing what an earlier command left half done, and say so."""
    if not layout.checkout.exists():
        return open_repository(invocation, layout, passphrase_file=passphrase_file)
    # Only after a crash are these needed.
    from mediavault.ops.checkout import mover  # noqa: PLC0415 -- see above
    from mediavault.workspace.materialise import recover  # noqa: PLC0415 -- see above

    report = recover(layout)
    repository = open_repository(invocation, layout, passphrase_file=passphrase_file)
    if report is not None and report.pending is not None:
        report = recover(layout, finish=mover(repository, now().seconds)) or report
    if report is not None:
        verb = report.verb or "checkout"
        words = "was finished now: your files are the new ones" if report.finished else "had not changed any file yet"
        invocation.console.say(f"An interrupted {printable(verb)} {words}.")
        for path in report.left:
            invocation.console.warn(f"{printable(path)} was changed since and was left as it is.")
    return repository


def paths_of(layout: Layout, arguments: Sequence[str]) -> list[str]:
    """Return what path arguments name, relative to the repository's root.

    Raises:
        UsageError: one is outside of it.
    """
    return [repository_path(layout.root, here(), argument) for argument in arguments]


def now() -> Moment:
    """Return the time, with this computer's zone."""
    seconds = int(time.time())
    offset = datetime.fromtimestamp(seconds, tz=UTC).astimezone().utcoffset()
    return Moment(seconds, int(offset.total_seconds() // 60) if offset else 0)


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


def ask_passphrase(invocation: Invocation, file: Path | None, prompt: str, *, twice: bool = False) -> str:
    """Return a passphrase from a file, MEDIAGIT_PASSPHRASE, or the terminal, in this order.

    Args:
        invocation: whose environment it is.
        file: holds the passphrase in its first line; `-` is standard input.
        prompt: what to ask.
        twice: ask a person again, so that a slip does not lock them out.

    Raises:
        NotAllowedError: none is given and nobody can be asked, or the two differ.
    """
    if file is not None:
        return passphrase_of_file(file)
    given = invocation.environ.get("MEDIAGIT_PASSPHRASE")
    if given:
        return given
    return prompt_passphrase(prompt, twice=twice, otherwise="Set MEDIAGIT_PASSPHRASE, or pass --passphrase-file FILE.")


def prompt_passphrase(prompt: str, *, twice: bool, otherwise: str) -> str:
    """Ask a person for a passphrase.

    Args:
        prompt: what to ask.
        twice: ask again, so that a slip does not lock them out.
        otherwise: what to do where there is no terminal.

    Raises:
        NotAllowedError: nobody can be asked, nothing was typed, or the two differ.
    """
    if not sys.stdin.isatty():
        raise NotAllowedError(
            "A passphrase is needed, and there is no terminal to ask for it.",
            untouched="Nothing was changed.",
            hint=otherwise,
        )
    import getpass  # noqa: PLC0415 -- only where a person is asked

    text = getpass.getpass(prompt)
    if not text:
        raise NotAllowedError("The passphrase is empty.", untouched="Nothing was changed.")
    if twice and getpass.getpass("The same again: ") != text:
        raise NotAllowedError("The two passphrases differ.", untouched="Nothing was changed.", hint="Run it again.")
    return text


def passphrase_of_file(file: Path) -> str:
    """Return the first line of a file; `-` is standard input.

    Raises:
        UsageError: it cannot be read, or is empty.
    """
    try:
        text = sys.stdin.readline() if str(file) == "-" else file.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"Cannot read the passphrase file {file}: {error}.", untouched="Nothing was changed."
        ) from None
    text = text.rstrip("\r\n")
    if not text:
        raise UsageError(f"The passphrase file {file} is empty.", untouched="Nothing was changed.")
    return text
