"""mediagit fetch: get commits from a server, change no file."""

from typing import Annotated, Any

import typer

from mediavault import compose
from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import byte_size, printable, short_id
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.ops.fetch import FetchReport, run_fetch
from mediavault.ops.remotes import default_remote, remote_url

app = verb_app()


@app.command()
def fetch(
    ctx: Context,
    *,
    remote: Annotated[str | None, typer.Argument(help="The server's name; origin if you leave it out.")] = None,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Get new commits, branches and tags from a server; no file of yours changes.

    Interrupted, the next fetch brings only the rest.

    \b
    mediagit fetch                  from the server that the branch follows
    mediagit log main..origin/main  what is new there, afterwards
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    with session.transferring(ctx.obj, passphrase_file=passphrase_file) as repository:
        settings = repository.settings
        name = remote or default_remote(settings, repository.layout.read_head().branch)
        with session.connected(ctx.obj, settings, remote_url(settings, name)) as other:
            report = run_fetch(repository, name, other, compose.now().seconds, console.progress())
    if console.json:
        console.document(document(report))
    else:
        show(console, report)
    return ExitCode.OK


def document(report: FetchReport) -> dict[str, Any]:
    """Return what was fetched as a JSON document."""
    return {
        "remote": report.remote,
        "url": report.url,
        "refs": [
            {
                "name": move.name,
                "old": move.old.id.hex() if move.old else None,
                "new": move.new.id.hex() if move.new else None,
            }
            for move in report.moves
        ],
        "chunks": report.chunks,
        "objects": report.objects,
        "bytes_received": report.bytes_received,
        "requests": report.requests,
    }


def show(console: Console, report: FetchReport) -> None:
    """Render what was fetched."""
    if report.objects:
        console.result(f"Received {byte_size(report.bytes_received)} from {report.remote}")
    for move in report.moves:
        name = printable(move.name.partition("/")[2])
        if move.new is None:
            console.result(f"  {console.paint('red', 'deleted')}   {name}")
        elif move.old is None:
            console.result(f"  {console.paint('green', 'new')}       {name} at {short_id(move.new.id)}")
        else:
            word = console.paint("green", "moved")
            console.result(f"  {word}     {name} from {short_id(move.old.id)} to {short_id(move.new.id)}")
    if not report.moves:
        console.result(f"Nothing new at {report.remote}.")
    for tag in report.kept_tags:
        console.warn(f"The tag {printable(tag)} is another one at {report.remote}; yours was kept.")
