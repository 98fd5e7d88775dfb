"""mediagit init: make a repository in a folder."""

import os
from pathlib import Path
from typing import Annotated

import typer

from mediavault import compose
from mediavault.cli import session
from mediavault.cli.render import Console
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.ops import create

app = verb_app()


@app.command()
def init(
    ctx: Context,
    *,
    folder: Annotated[str, typer.Argument(help="The folder, made when it is missing.")] = ".",
    no_encryption: Annotated[bool, typer.Option("--no-encryption", help="Store everything in clear.")] = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Make a repository in a folder, encrypted unless you say otherwise.

    The passphrase opens the repository on other computers; this one keeps it unlocked for you. The recovery code is
    shown once: whoever has it can read the repository, and it is the only way in when the passphrase is forgotten.

    \b
    mediagit init                  here
    mediagit init film             in the folder film, made when it is missing
    mediagit init --no-encryption  whoever gets at the storage can read everything
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    invocation = ctx.obj
    settings = session.settings_of(invocation, None).settings
    root = Path(os.path.abspath(session.here() / folder))  # noqa: PTH100 -- without following links
    plan = create.plan_create(root, encrypted=not no_encryption)
    passphrase = ""
    if plan.encrypted:
        passphrase = session.ask_passphrase(invocation, passphrase_file, "New passphrase: ", twice=True)
    report = compose.make_repository(plan, passphrase, session.key_store(invocation, settings))
    show(invocation.console, report, "Made")
    return 0


def show(console: Console, report: create.CreateReport, verb: str) -> None:
    """Render what was made; the recovery code is data and shown even when quiet."""
    if console.json:
        console.document(
            {
                "root": str(report.root),
                "repository": report.repository.hex(),
                "fingerprint": report.fingerprint.hex(),
                "encrypted": report.encrypted,
                "recovery_code": report.recovery_code or None,
            }
        )
        return
    kind = "encrypted repository" if report.encrypted else "repository WITHOUT encryption"
    console.result(f"{verb} an {kind} in {report.root}" if report.encrypted else f"{verb} a {kind} in {report.root}")
    console.result(f"Fingerprint  {report.fingerprint.hex()}")
    if report.recovery_code:
        console.result("")
        console.line(f"Recovery code  {report.recovery_code}")
        console.result("Write it down and keep it safe: it is shown only now. It opens the repository when")
        console.result("the passphrase is forgotten. Without either, nobody can read it again.")
