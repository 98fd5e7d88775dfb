"""Composition root of the command line: opens what a verb needs from the folder, the environment and the user's files."""

import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mediavault import compose
from mediavault.cli.pager import Pager
from mediavault.cli.text import printable
from mediavault.cli.verb import Invocation
from mediavault.config import FILE_NAME, LoadedSettings, Settings, user_folder
from mediavault.errors import ConfigError, NeedsDecisionError, NotAllowedError, UsageError
from mediavault.keys.keystore import KeyStore
from mediavault.ops.repository import Repository, locked, uncollected
from mediavault.ops.staging import opened_stage
from mediavault.workspace.layout import Layout
from mediavault.workspace.paths import repository_path
from mediavault.workspace.stage import Stage

if TYPE_CHECKING:
    from mediavault.ops.clone import ClonePlan, CloneReport
    from mediavault.ops.prices import Place
    from mediavault.sync.remote import Remote


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
    return compose.settings_of(invocation.environ, layout)


def user_settings_file(invocation: Invocation) -> Path:
    """Return the user's own settings file; it may not exist."""
    return user_folder(invocation.environ) / FILE_NAME


def key_store(invocation: Invocation, settings: Settings) -> KeyStore:
    """Return where this user's keys are kept."""
    return compose.key_store(invocation.environ, settings)


def connected(invocation: Invocation, settings: Settings, url: str) -> AbstractContextManager["Remote"]:
    """Open a remote by its address; see `compose.connected`."""
    return compose.connected(invocation.environ, settings, url)


def mirror_folder(invocation: Invocation, source: str, destination: str) -> Path:
    """Return where a mirroring keeps what is on its way; see `compose.mirror_folder`."""
    return compose.mirror_folder(invocation.environ, source, destination)


def place_of(invocation: Invocation, url: str, remote: str = "") -> "Place":
    """Return a remote as its prices see it; see `compose.place_of`."""
    return compose.place_of(invocation.environ, url, remote)


def editor_of(invocation: Invocation) -> list[str] | None:
    """Return the command line of the user's editor: MEDIAGIT_EDITOR, VISUAL, EDITOR, or what is installed; None for none.

    Raises:
        ConfigError: the setting is no command line.
    """
    environ = invocation.environ
    name = next((name for name in ("MEDIAGIT_EDITOR", "VISUAL", "EDITOR") if environ.get(name)), "")
    if not name:
        found = next((program for program in ("nano", "vi") if shutil.which(program)), None)
        return [found] if found else None
    try:
        return shlex.split(environ[name]) or None
    except ValueError as error:
        raise ConfigError(f"{name} is no command line: {error}.", untouched="Nothing was changed.") from None


def pager_of(invocation: Invocation) -> Pager | None:
    """Return the program that long output is read with: MEDIAGIT_PAGER, PAGER or less; None for `cat` or an empty one.

    Raises:
        ConfigError: the setting is no command line.
    """
    environ = invocation.environ
    name = next((name for name in ("MEDIAGIT_PAGER", "PAGER") if name in environ), "")
    try:
        command = shlex.split(environ[name]) if name else ["less"]
    except ValueError as error:
        raise ConfigError(f"{name} is no command line: {error}.", untouched="Nothing was changed.") from None
    if command in ([], ["cat"]) or environ.get("TERM") == "dumb":
        return None
    return Pager(command, {"LESS": "FRX", "LV": "-c", **environ}, chosen=bool(name))


def open_repository(invocation: Invocation, layout: Layout, *, passphrase_file: Path | None = None) -> Repository:
    """Open a repository, unlocking it where this computer does not know its key yet.

    Raises:
        IntegrityError: its config is missing or damaged.
        NotAllowedError: it is locked and the passphrase is wrong or missing.
    """
    return compose.open_repository(invocation.environ, layout, _asker(invocation, passphrase_file))


def clone_repository(
    invocation: Invocation,
    url: str,
    root: Path,
    *,
    encrypted: bool,
    branch: str | None,
    passphrase_file: Path | None,
) -> tuple["ClonePlan", "CloneReport"]:
    """Copy a repository from a server into a folder; see `mediavault.compose.clone_repository`.

    A passphrase that was given is checked even where the key is known; nobody is asked for one then.
    """
    return compose.clone_repository(
        invocation.environ,
        url,
        root,
        encrypted=encrypted,
        branch=branch,
        ask=_asker(invocation, passphrase_file),
        given=passphrase_file is not None or bool(invocation.environ.get("MEDIAGIT_PASSPHRASE")),
        progress=invocation.console.progress(),
        remark=invocation.console.warn,
    )


def _asker(invocation: Invocation, passphrase_file: Path | None) -> Callable[[], str]:
    """Return what gets the passphrase when it is needed."""
    return lambda: ask_passphrase(invocation, passphrase_file, "Passphrase: ")


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
        NeedsDecisionError: an interrupted clone is to be finished first.
    """
    layout = find_layout()
    _refuse_unfinished(layout)
    with locked(layout):
        repository = recovered(invocation, layout, passphrase_file)
        with opened_stage(repository, invocation.console.warn) as stage:
            yield repository, stage


def _refuse_unfinished(layout: Layout) -> None:
    """Keep others out of a clone whose files are still to come: to them they would look deleted."""
    if layout.clone_marker.exists():
        raise NeedsDecisionError(
            "This clone is not finished: its files are still to come.",
            untouched="Nothing was changed.",
            hint="Run the same `mediagit clone` again, which continues it.",
        )


@contextmanager
def transferring(invocation: Invocation, *, passphrase_file: Path | None = None) -> Iterator[Repository]:
    """Open the repository around the current folder to send or receive objects, beside verbs that change it.

    Raises:
        RepositoryBusyError: `gc` removes objects now.
    """
    with uncollected(find_layout()), reading(invocation, passphrase_file=passphrase_file) as repository:
        yield repository


@contextmanager
def stage_of(invocation: Invocation, repository: Repository) -> Iterator[Stage]:
    """Open the stage of a repository to look at it."""
    with opened_stage(repository, invocation.console.warn) as stage:
        yield stage


def recovered(invocation: Invocation, layout: Layout, passphrase_file: Path | None) -> Repository:
    """Open a repository after finishing what an earlier command left half done, and say so."""
    repository, report = compose.recovered(
        layout, lambda: open_repository(invocation, layout, passphrase_file=passphrase_file)
    )
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
