"""mediagit key: passphrases and the recovery code."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from mediavault import compose
from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.text import printable
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.ops import slots
from mediavault.ops.remotes import list_remotes, remote_url
from mediavault.ops.repository import Repository
from mediavault.sync.remote import Remote

app = verb_app(no_args_is_help=True)
Local = Annotated[bool, typer.Option("--local", help="Only here, not at the remotes.")]


@app.callback()
def key() -> None:
    """Passphrases and the recovery code: who can open this repository.

    One key encrypts a repository; each passphrase, and the recovery code, opens it. Changes go to the servers as well.

    \b
    mediagit key list             the ways in
    mediagit key add anna         another passphrase; you are asked for it
    mediagit key export-recovery  a new recovery code, shown once
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph


@app.command(name="list")
def list_command(
    ctx: Context, remote: Annotated[str | None, typer.Option("--remote", help="List what this remote has.")] = None
) -> int:
    """List the ways into this repository."""
    layout = session.find_layout()
    settings = session.settings_of(ctx.obj, layout).settings
    if remote:
        with session.connected(ctx.obj, settings, remote_url(settings, remote)) as other:
            found = slots.describe_slots(other.slots())
    else:
        found = slots.describe_slots(compose.read_slots(compose.local_backend(layout)))
    console = ctx.obj.console
    if console.json:
        console.document([{"name": e.name, "type": e.kind, "created": e.created, "label": e.label} for e in found])
        return ExitCode.OK
    for entry in found:
        console.line(f"{entry.name:<20} {entry.kind:<11} {entry.created}  {printable(entry.label)}".rstrip())
    if not found:
        console.say("This repository is not encrypted, so it has no keys.")
    return ExitCode.OK


@app.command()
def add(
    ctx: Context,
    *,
    name: Annotated[str, typer.Argument(help="What to call it, such as anna.")],
    new_passphrase_file: Annotated[
        Path | None,
        typer.Option("--new-passphrase-file", metavar="FILE", help="Read the new passphrase from this file."),
    ] = None,
    label: Annotated[str, typer.Option("--label", help="A note that `key list` shows.")] = "",
    local: Local = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Let another passphrase open this repository."""
    with session.writing(ctx.obj, passphrase_file=passphrase_file) as (repository, _):
        slots.refuse_taken(repository, name)
        if new_passphrase_file is not None:
            passphrase = session.passphrase_of_file(new_passphrase_file)
        else:
            passphrase = session.prompt_passphrase(
                "New passphrase: ", twice=True, otherwise="Pass --new-passphrase-file FILE."
            )
        with _remotes(ctx, repository, local=local) as remotes:
            stamp = compose.utc_text(compose.now())
            report = slots.add_passphrase(repository, name, passphrase, remotes, label=label, now=stamp)
    return _show(ctx, report, f"{name} opens this repository from now on")


@app.command()
def remove(
    ctx: Context,
    name: Annotated[str, typer.Argument(help="As `key list` shows it.")],
    local: Local = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Take a passphrase or the recovery code away.

    Whoever knew it may have kept the key itself: what is in the repository already stays readable to them.
    """
    with (
        session.writing(ctx.obj, passphrase_file=passphrase_file) as (repository, _),
        _remotes(ctx, repository, local=local) as remotes,
    ):
        report = slots.remove_slot(repository, name, remotes)
    return _show(ctx, report, f"{name} is removed")


@app.command(name="export-recovery")
def export_recovery(ctx: Context, local: Local = False, passphrase_file: PassphraseFile = None) -> int:
    """Make a new recovery code and show it once; the one before stops working."""
    with (
        session.writing(ctx.obj, passphrase_file=passphrase_file) as (repository, _),
        _remotes(ctx, repository, local=local) as remotes,
    ):
        report = slots.replace_recovery(repository, compose.utc_text(compose.now()), remotes)
    return _show(ctx, report, "The recovery code before this one opens nothing any more")


@contextmanager
def _remotes(ctx: Context, repository: Repository, *, local: bool) -> Iterator[Sequence[tuple[str, Remote]]]:
    with ExitStack() as stack:
        entries = [] if local else list_remotes(repository.settings)
        opened = [
            (entry.name, stack.enter_context(session.connected(ctx.obj, repository.settings, entry.url)))
            for entry in entries
        ]
        yield slots.with_this_repository(repository, opened)


def _show(ctx: Context, report: slots.SlotReport, words: str) -> int:
    console = ctx.obj.console
    if console.json:
        console.document(
            {"name": report.name, "remotes": list(report.remotes), "recovery_code": report.recovery_code or None}
        )
        return ExitCode.OK
    if report.recovery_code:
        console.line(f"Recovery code  {report.recovery_code}")
    places = f", here and at {', '.join(report.remotes)}" if report.remotes else ""
    console.result(f"{printable(words)}{places}.")
    return ExitCode.OK
