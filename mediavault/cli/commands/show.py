"""mediagit show: show one commit and what it changed."""

from typing import Annotated

import typer

from mediavault.cli import session
from mediavault.cli.arguments import DashCommand, revisions_and_paths
from mediavault.cli.changes import file_document
from mediavault.cli.commands import log
from mediavault.cli.commands.diff import show_changes
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.log_format import wording
from mediavault.cli.looking import Detail, NameOnly, NameStatus, NoPager, Stat, Unified, detail_of
from mediavault.cli.pager import paged
from mediavault.cli.render import Console
from mediavault.cli.text import plain_time, printable, printable_lines, rfc3339
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.errors import UsageError
from mediavault.model.objects import Tag
from mediavault.ops.log import signature
from mediavault.ops.revisions import resolver
from mediavault.ops.show import ShowReport, show

app = verb_app()


@app.command(name="show", cls=DashCommand)
def show_command(
    ctx: Context,
    *,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REV] [--] [PATH...]", help="A branch, a tag, an id, or main~1; and which of its files to show."
        ),
    ] = None,
    stat: Stat = False,
    name_status: NameStatus = False,
    name_only: NameOnly = False,
    unified: Unified = 3,
    no_pager: NoPager = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Show one commit (the last one if you leave it out), and what it changed, file by file.

    It is compared with its first parent. Of text files the changed lines are shown below the list.

    \b
    mediagit show                      the last commit
    mediagit show v1 --stat            what is tagged v1, no lines of text
    mediagit show main~2 -- shots/010  only what it changed in this folder
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    detail = detail_of(Detail.LINES, stat=stat, name_status=name_status, name_only=name_only)
    with session.reading(ctx.obj, passphrase_file=passphrase_file) as repository:
        find = resolver(repository)
        given = revisions_and_paths(ctx, repository.layout, words or [], find.resolve)
        if len(given.revisions) > 1:
            raise UsageError(
                "One commit at a time.",
                hint=f"`mediagit diff {' '.join(given.revisions[:2])}` compares two; `mediagit log --stat` shows many.",
            )
        revision = given.revisions[0] if given.revisions else "HEAD"
        report = show(repository, revision, given.paths, console.progress())
        if console.json:
            _write_document(console, report)
            return ExitCode.OK
        with paged(console, None if no_pager else session.pager_of(ctx.obj)):
            _write_commit(console, report)
            if report.files:
                show_changes(console, repository, report.files, {}, detail=detail, context=unified)
            else:
                console.result("No file changed." if not given.paths else "None of these files changed.")
    return ExitCode.OK


def _write_document(console: Console, report: ShowReport) -> None:
    console.document(
        {
            **log.document(report.entry),
            "tag": _tag_document(report.tag) if report.tag else None,
            "files": [file_document(change) for change in report.files],
        }
    )


def _write_commit(console: Console, report: ShowReport) -> None:
    tag = report.tag
    if tag:
        console.line(console.paint("yellow", f"tag {printable(tag.name)}"))
        console.line(f"Tagger:  {printable(signature(tag.tagger))}")
        console.line(f"Date:    {plain_time(tag.tagged)}")
        console.line()
        console.lines(f"    {line}".rstrip() for line in printable_lines(tag.message))
        console.line()
    console.lines(wording("medium")(console, report.entry))
    console.line()


def _tag_document(tag: Tag) -> dict[str, str]:
    return {
        "name": tag.name,
        "tagger": signature(tag.tagger),
        "time": rfc3339(tag.tagged),
        "message": tag.message,
    }
