"""mediagit clone: copy a repository from a server or a store."""

import os
from pathlib import Path
from typing import Annotated

import typer

from mediavault.cli import session
from mediavault.cli.commands import fetch
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.text import byte_size, counted, printable, short_id
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.errors import UsageError
from mediavault.formats.config import fingerprint

app = verb_app()


@app.command()
def clone(
    ctx: Context,
    *,
    url: Annotated[
        str,
        typer.Argument(
            help="http(s)://HOST[:PORT]/TEAM/PROJECT of a server, or file:///FOLDER, s3://BUCKET/PREFIX, az://CONTAINER/PREFIX, gs://BUCKET/PREFIX."
        ),
    ],
    folder: Annotated[str | None, typer.Argument(help="Where to; the project's name if you leave it out.")] = None,
    branch: Annotated[str | None, typer.Option("--branch", "-b", help="Check out this branch.")] = None,
    no_encryption: Annotated[
        bool, typer.Option("--no-encryption", help="Expect a repository that is not encrypted.")
    ] = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Copy a repository from a server or a store into a folder, with all its history.

    Interrupted, the same command continues where it was.

    \b
    mediagit clone http://nas:3000/studio/film           into the folder film
    mediagit clone http://nas:3000/studio/film copy      into the folder copy
    mediagit clone -b grade http://nas:3000/studio/film  with the branch grade checked out
    mediagit clone s3://media/projects/film              without a server, as your AWS tools sign in
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    invocation, console = ctx.obj, ctx.obj.console
    if no_encryption and passphrase_file:
        raise UsageError("A repository without encryption has no passphrase.", untouched="Nothing was made.")
    root = Path(os.path.abspath(session.here() / (folder or _name_of(url))))  # noqa: PTH100 -- without following links
    plan, report = session.clone_repository(
        invocation, url, root, encrypted=not no_encryption, branch=branch, passphrase_file=passphrase_file
    )
    fetched = report.fetched
    mark = fingerprint(plan.config_bytes)
    if console.json:
        console.document(
            fetch.document(fetched)
            | {
                "root": str(root),
                "repository": plan.config.repository.hex(),
                "fingerprint": mark.hex(),
                "encrypted": not no_encryption,
                "branch": report.branch,
                "commit": report.commit.hex() if report.commit else None,
                "files": report.written,
                "bytes_written": report.bytes_written,
            }
        )
        return ExitCode.OK
    console.result(f"Copied {printable(url)} into {printable(str(root))}")
    console.result(f"Fingerprint  {mark.hex()}")
    if report.commit is None:
        console.result("It has no commit yet.")
    else:
        console.result(
            f"On branch {printable(report.branch)} at {short_id(report.commit)}: {counted(report.written, 'file')}, "
            f"{byte_size(report.bytes_written)}; received {byte_size(fetched.bytes_received)}"
        )
    for path in report.left:
        console.warn(f"{printable(path)} was changed meanwhile and was left as it is.")
    return ExitCode.OK


def _name_of(url: str) -> str:
    name = url.rstrip("/").rpartition("/")[2]
    if not name or ":" in name or name.startswith("."):
        raise UsageError("Into which folder?", untouched="Nothing was made.", hint=f"mediagit clone {url} FOLDER")
    return name
