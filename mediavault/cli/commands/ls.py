"""mediagit ls: list the files of any commit."""

from typing import Annotated

import typer

from mediavault.cli import session
from mediavault.cli.arguments import DashCommand, revisions_and_paths
from mediavault.cli.changes import mode_name
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import byte_size, counted, printable
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.errors import UsageError
from mediavault.model.objects import Mode
from mediavault.ops.ls import Listing, list_files
from mediavault.ops.revisions import resolve

app = verb_app()


@app.command(cls=DashCommand)
def ls(
    ctx: Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REV] [--] [PATH...]", help="A commit (the last one if you leave it out), and what of it."
        ),
    ] = None,
    long: Annotated[bool, typer.Option("--long", "-l", help="Show kinds and sizes too.")] = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """List the files of a commit, with the folders they are in.

    What your working files look like does not matter here; `mediagit status` compares them.

    \b
    mediagit ls                    the last commit
    mediagit ls -l grade -- shots  one folder of the branch grade, with sizes
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    with session.reading(ctx.obj, passphrase_file=passphrase_file) as repository:
        given = revisions_and_paths(ctx, repository.layout, words or [], lambda word: resolve(repository, word))
        if len(given.revisions) > 1:
            raise UsageError("One commit at a time.", hint=f"mediagit ls {given.revisions[0]}")
        listing = list_files(repository, (given.revisions or ["HEAD"])[0], given.paths)
        show(console, listing, long=long)
    return ExitCode.OK


def show(console: Console, listing: Listing, *, long: bool) -> None:
    """Render the files as they are read."""
    if console.json:
        files = [
            {
                "path": file.path,
                "mode": mode_name(file.entry.mode),
                "size": file.entry.size,
                "target": file.entry.target or None,
                "digest": file.entry.digest.hex(),
            }
            for file in listing.files
        ]
        console.document({"commit": listing.commit.hex(), "files": files})
        return
    if not long:
        console.lines(printable(file.path) for file in listing.files)
        return
    count = total = 0
    for file in listing.files:
        entry = file.entry
        target = f" -> {printable(entry.target)}" if entry.mode is Mode.SYMLINK else ""
        console.line(f"{mode_name(entry.mode):<10}  {byte_size(entry.size):>9}  {printable(file.path)}{target}")
        count += 1
        total += entry.size
    console.result(console.paint("dim", f"{counted(count, 'file')}, {byte_size(total)}"))
