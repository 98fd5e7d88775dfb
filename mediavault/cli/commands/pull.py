"""mediagit pull: get commits and bring the files up to date."""

from typing import Annotated

import typer

from mediavault import compose
from mediavault.cli import session
from mediavault.cli.commands import fetch
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.text import counted, printable, short_id
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.ops.fetch import run_fetch
from mediavault.ops.pull import run_pull, upstream_of
from mediavault.ops.remotes import default_remote, remote_url

app = verb_app()


@app.command()
def pull(
    ctx: Context,
    *,
    remote: Annotated[
        str | None, typer.Argument(help="The server's name; the one the branch follows if left out.")
    ] = None,
    branch: Annotated[str | None, typer.Argument(help="The branch there.")] = None,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Get new commits and bring the current branch and its files up to date.

    Only where nothing is lost: uncommitted work is never overwritten, and where both sides have new commits it says
    what you can do.

    \b
    mediagit pull               from the server's branch that this one follows
    mediagit pull origin grade  from another branch
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    with session.writing(ctx.obj, passphrase_file=passphrase_file) as (repository, stage):
        settings = repository.settings
        head = repository.layout.read_head()
        name = remote or default_remote(settings, head.branch)
        here, merge = upstream_of(repository, name, head.branch, branch)
        stamp = compose.now().seconds
        with session.connected(ctx.obj, settings, remote_url(settings, name)) as other:
            fetched = run_fetch(repository, name, other, stamp, console.progress())
        report = run_pull(repository, stage, fetched, branch=here, merge=merge, now=stamp, progress=console.progress())
    if console.json:
        console.document(
            fetch.document(fetched)
            | {
                "branch": report.branch,
                "upstream": report.upstream,
                "old": report.old.hex() if report.old else None,
                "new": report.new.hex() if report.new else None,
                "ahead": report.ahead,
                "written": report.written,
                "deleted": report.deleted,
            }
        )
        return ExitCode.OK
    if fetched.moves:
        fetch.show(console, fetched)
    if report.old == report.new:
        ahead = f", {counted(report.ahead, 'commit')} to push" if report.ahead else ""
        console.result(f"{printable(report.branch)} is up to date with {printable(report.upstream)}{ahead}.")
    else:
        start = short_id(report.old) if report.old else "nothing"
        console.result(
            f"{printable(report.branch)} moved from {start} to {short_id(report.new or b'')}: "
            f"{counted(report.written, 'file')} written, {report.deleted:,} removed"
        )
    for path in report.left:
        console.warn(f"{printable(path)} was changed meanwhile and was left as it is.")
    return ExitCode.OK
