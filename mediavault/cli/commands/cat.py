"""mediagit cat: write a file's content from any commit."""

import sys
from typing import Annotated

import typer

from mediavault.cli import session
from mediavault.cli.changes import mode_name
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.errors import UsageError
from mediavault.ops.cat import FoundFile, content, find_file
from mediavault.ops.repository import Repository

app = verb_app()


@app.command()
def cat(
    ctx: Context,
    path: Annotated[str, typer.Argument(metavar="[REV:]PATH", help="The file. After REV: it counts from the root.")],
    source: Annotated[
        str, typer.Option("--source", "-s", metavar="REV", help="The commit; the last one if you leave it out.")
    ] = "HEAD",
    passphrase_file: PassphraseFile = None,
) -> int:
    """Write a file's content, as a commit has it, to standard output.

    Every part is verified before it is written, and the whole at the end: exits 5 if it was not whole.
    With --json it says what the file is instead.

    \b
    mediagit cat notes.txt                   as the last commit has it
    mediagit cat main~2:title.psd > old.psd  as it was two commits before main
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    with session.reading(ctx.obj, passphrase_file=passphrase_file) as repository:
        revision, colon, inside = path.partition(":")  # no path has a colon
        if colon:
            file = find_file(repository, revision or source, inside.strip("/"))
        else:
            file = find_file(repository, source, session.paths_of(repository.layout, [path])[0])
        if console.json:
            console.document(
                {
                    "commit": file.commit.hex(),
                    "path": file.path,
                    "mode": mode_name(file.entry.mode),
                    "size": file.entry.size,
                    "digest": file.entry.digest.hex(),
                }
            )
        else:
            _write(repository, file)
    return ExitCode.OK


def _write(repository: Repository, file: FoundFile) -> None:
    out = sys.stdout.buffer
    on_terminal = sys.stdout.isatty()
    for block in content(repository, file):
        if on_terminal and b"\0" in bytes(block):
            raise UsageError(
                f"{file.path} is not text.",
                untouched="It was not written to the terminal.",
                hint=f"mediagit cat {file.path} > FILE",
            )
        out.write(block)
    out.flush()
