"""mediagit branch: list, make, rename or delete branches."""

from collections.abc import Sequence
from typing import Annotated

import typer

from mediavault import compose
from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import printable, short_id
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.errors import UsageError
from mediavault.ops.branch import (
    BranchEntry,
    BranchMove,
    delete_branches,
    list_branches,
    make_branch,
    rename_branch,
)

app = verb_app()


@app.command()
def branch(
    ctx: Context,
    *,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME [REV]]", help="A new branch, and where it begins.")
    ] = None,
    everywhere: Annotated[bool, typer.Option("--all", "-a", help="List branches of servers too.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="List commits and what is followed too.")] = False,
    move: Annotated[bool, typer.Option("--move", "-m", help="Rename: [OLD] NEW.")] = False,
    delete: Annotated[bool, typer.Option("--delete", "-d", help="Delete branches whose commits are kept.")] = False,
    delete_anyway: Annotated[bool, typer.Option("-D", help="Delete branches, whatever is on them.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Move a branch that exists.")] = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """List branches, or make, rename or delete one.

    A branch is a line of work with a name. Making one costs nothing, and changes neither your files nor the branch
    that you are on.

    \b
    mediagit branch               list them
    mediagit branch grade         make one here; `mediagit switch grade` changes to it
    mediagit branch -m grade day  rename it
    mediagit branch -d grade      delete it
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    given = names or []
    if sum((move, delete or delete_anyway, force)) > 1:
        raise UsageError(
            "These flags do not go together.", untouched="Nothing was changed.", hint="mediagit branch --help"
        )
    if not given and not (move or delete or delete_anyway or force):
        with session.reading(ctx.obj, passphrase_file=passphrase_file) as repository:
            details = verbose or console.json
            show(console, list(list_branches(repository, everywhere=everywhere, details=details)), verbose=verbose)
        return ExitCode.OK
    deleting = delete or delete_anyway
    if not given or (not deleting and len(given) > 2):
        raise UsageError("Which branch?", untouched="Nothing was changed.", hint="mediagit branch --help")
    with session.writing(ctx.obj, passphrase_file=passphrase_file) as (repository, _):
        now = compose.now().seconds
        if deleting:
            _show_moves(console, delete_branches(repository, given, now, force=delete_anyway))
        elif move:
            old = given[0] if len(given) > 1 else None
            _show_moves(console, [rename_branch(repository, old, given[-1], now)])
        else:
            start = given[1] if len(given) > 1 else None
            _show_moves(console, [make_branch(repository, given[0], start, now, force=force)])
    return ExitCode.OK


def show(console: Console, entries: Sequence[BranchEntry], *, verbose: bool) -> None:
    """Render a list of branches."""
    if console.json:
        console.document(
            [
                {
                    "name": entry.name,
                    "commit": entry.commit.hex() if entry.commit else None,
                    "current": entry.current,
                    "remote": entry.remote,
                    "upstream": entry.upstream or None,
                    "ahead": entry.ahead,
                    "behind": entry.behind,
                    "subject": entry.subject,
                }
                for entry in entries
            ]
        )
        return
    width = max((len(printable(entry.name)) for entry in entries), default=0)
    for entry in entries:
        mark = "*" if entry.current else " "
        color = "green" if entry.current else "red" if entry.remote else ""
        name = f"{printable(entry.name):<{width}}" if verbose else printable(entry.name)
        line = f"{mark} {console.paint(color, name) if color else name}"
        console.line(f"{line}  {_details(console, entry)}".rstrip() if verbose else line)


def _details(console: Console, entry: BranchEntry) -> str:
    if entry.commit is None:
        return "before its first commit"
    follows = ""
    if entry.upstream:
        parts = [f"{entry.ahead:,} to push" if entry.ahead else "", f"{entry.behind:,} to pull" if entry.behind else ""]
        words = ", ".join(part for part in parts if part)
        follows = f"[{printable(entry.upstream)}{': ' + words if words else ''}] "
    return f"{console.paint('yellow', short_id(entry.commit))}  {follows}{printable(entry.subject)}"


def _show_moves(console: Console, moves: Sequence[BranchMove]) -> None:
    if console.json:
        console.document(
            [
                {
                    "name": move.name,
                    "old_name": move.old_name or None,
                    "old": move.old.hex() if move.old else None,
                    "new": move.new.hex() if move.new else None,
                }
                for move in moves
            ]
        )
        return
    for move in moves:
        name = printable(move.name)
        if move.old_name:
            console.result(f"{printable(move.old_name)} is now called {name}")
        elif move.new is None and move.old is not None:
            console.result(
                f"Deleted {name}, which was at {short_id(move.old)}  "
                f"(`mediagit branch {name} {move.old.hex()}` brings it back)"
            )
        elif move.new is not None and move.old is None:
            console.result(f"{name} is at {short_id(move.new)}  (change to it with `mediagit switch {name}`)")
        elif move.new is not None and move.old is not None:
            console.result(f"{name} is at {short_id(move.new)}, it was at {short_id(move.old)}")
