"""mediagit log: list commits, newest first."""

from typing import Annotated, Any

import typer

from mediavault.cli import session
from mediavault.cli.arguments import DashCommand, revisions_and_paths
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import plain_time, printable, printable_lines, rfc3339, short_id
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.ops.log import LogEntry, ends, log
from mediavault.ops.revisions import resolver

app = verb_app()


@app.command(name="log", cls=DashCommand)
def log_command(
    ctx: Context,
    *,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REV...] [--] [PATH...]",
            help="Where to begin (A..B: what B has and A has not), and only commits that changed these files.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option("-n", "--max-count", min=0, help="At most so many.")] = None,
    oneline: Annotated[bool, typer.Option("--oneline", help="One line a commit.")] = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """List commits, newest first."""
    console = ctx.obj.console
    with session.reading(ctx.obj, passphrase_file=passphrase_file) as repository:
        find = resolver(repository)
        revisions, paths = revisions_and_paths(
            ctx, repository.layout, words or [], lambda text: ends(find, [text], None)
        )
        entries = log(repository, revisions, paths=paths, limit=limit)
        if console.json:
            console.document([document(entry) for entry in entries])
            return ExitCode.OK
        found = False
        for entry in entries:
            if found and not oneline:
                console.line()
            found = True
            show(console, entry, oneline=oneline)
    if not found:
        console.say("No commit yet." if not revisions else "No commit.")
    return ExitCode.OK


def document(entry: LogEntry) -> dict[str, Any]:
    """Return a commit as a JSON document."""
    commit = entry.commit
    return {
        "id": entry.id.hex(),
        "parents": [parent.hex() for parent in commit.parents],
        "author": f"{commit.author.name} <{commit.author.email}>",
        "author_name": commit.author.name,
        "author_email": commit.author.email,
        "time": rfc3339(commit.authored),
        "committer": f"{commit.committer.name} <{commit.committer.email}>",
        "commit_time": rfc3339(commit.committed),
        "message": commit.message,
        "tree": commit.tree.hex(),
        "refs": list(entry.refs),
    }


def show(console: Console, entry: LogEntry, *, oneline: bool = False) -> None:
    """Render one commit."""
    commit = entry.commit
    names = ", ".join(printable(name) for name in entry.refs)
    refs = f" {console.paint('cyan', f'({names})')}" if names else ""
    lines = printable_lines(commit.message)
    if oneline:
        console.line(f"{console.paint('yellow', short_id(entry.id))}{refs} {lines[0] if lines else ''}")
        return
    console.line(f"{console.paint('yellow', f'commit {entry.id.hex()}')}{refs}")
    console.line(f"Author:  {printable(commit.author.name)} <{printable(commit.author.email)}>")
    console.line(f"Date:    {plain_time(commit.authored)}")
    console.line()
    console.lines(f"    {line}".rstrip() for line in lines)
