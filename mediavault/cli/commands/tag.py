"""mediagit tag: list, make or delete tags."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from mediavault import compose
from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import plain_time, printable, printable_lines, rfc3339, short_id
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.errors import UsageError
from mediavault.ops.tag import TagEntry, TagMove, delete_tags, list_tags, make_tag

app = verb_app()


@app.command()
def tag(
    ctx: Context,
    *,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME [REV]]", help="A new tag, and the commit it names.")
    ] = None,
    annotate: Annotated[bool, typer.Option("--annotate", "-a", help="Keep who tagged, when, and a message.")] = False,
    message: Annotated[
        list[str] | None, typer.Option("--message", "-m", help="The message (means -a); several make paragraphs.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", "-d", help="Delete tags here.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="List commits and messages too.")] = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """List tags, or give a commit a name that stays, such as a version that was delivered.

    Send tags to a server with `mediagit push --tags`.

    \b
    mediagit tag                               list them
    mediagit tag -m "Sent to the festival" v1  name the last commit, with a message
    mediagit tag v0 main~3                     name an earlier one
    mediagit tag -d v0                         take a name away
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    given = names or []
    if not given and not (annotate or message or delete):
        with session.reading(ctx.obj, passphrase_file=passphrase_file) as repository:
            show(console, list(list_tags(repository)), verbose=verbose)
        return ExitCode.OK
    if not given or (not delete and len(given) > 2):
        raise UsageError("Which tag?", untouched="Nothing was changed.", hint="mediagit tag NAME [REV]")
    if delete and (annotate or message):
        raise UsageError("A tag that is deleted takes no message.", untouched="Nothing was changed.")
    with session.writing(ctx.obj, passphrase_file=passphrase_file) as (repository, _):
        if delete:
            moves = delete_tags(repository, given, compose.now().seconds)
        else:
            text = _message(message, asked=annotate)
            revision = given[1] if len(given) > 1 else None
            tagger = compose.author(repository.settings)
            moves = [make_tag(repository, given[0], revision, message=text, tagger=tagger, now=compose.now())]
    _show_moves(console, moves, deleted=delete)
    return ExitCode.OK


def _message(given: list[str] | None, *, asked: bool) -> str | None:
    if given:
        return "\n\n".join(given)
    if not asked:
        return None
    if not sys.stdin.isatty():
        raise UsageError("An annotated tag needs a message.", untouched="Nothing was changed.", hint='Add -m "..."')
    sys.stderr.write("What is it? ")
    sys.stderr.flush()
    return sys.stdin.readline()


def show(console: Console, entries: Sequence[TagEntry], *, verbose: bool) -> None:
    """Render a list of tags."""
    if console.json:
        console.document(
            [
                {
                    "name": entry.name,
                    "target": entry.target.id.hex(),
                    "annotated": entry.annotation is not None,
                    "tagger": f"{note.tagger.name} <{note.tagger.email}>" if (note := entry.annotation) else None,
                    "time": rfc3339(note.tagged) if note else None,
                    "message": note.message if note else None,
                }
                for entry in entries
            ]
        )
        return
    width = max((len(printable(entry.name)) for entry in entries), default=0)
    for entry in entries:
        if not verbose:
            console.line(printable(entry.name))
            continue
        note = entry.annotation
        text = f"{plain_time(note.tagged)}  {printable_lines(note.message)[0]}" if note else ""
        name = f"{printable(entry.name):<{width}}"
        console.line(f"{name}  {console.paint('yellow', short_id(entry.target.id))}  {text}".rstrip())


def _show_moves(console: Console, moves: Sequence[TagMove], *, deleted: bool) -> None:
    if console.json:
        console.document(
            [
                {"name": move.name, "target": move.target.hex(), "annotated": move.annotated, "deleted": deleted}
                for move in moves
            ]
        )
        return
    for move in moves:
        name = printable(move.name)
        if deleted:
            console.result(f"Deleted the tag {name}, which named {short_id(move.target)}")
        else:
            console.result(f"{name} names {short_id(move.target)}  (send it with `mediagit push --tags`)")
