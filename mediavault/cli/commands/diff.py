"""mediagit diff: show what changed between two states, file by file."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from mediavault.cli import session
from mediavault.cli.arguments import DashCommand, revisions_and_paths
from mediavault.cli.changes import file_document, name_lines, show_files, status_lines
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.looking import Detail, NameOnly, NameStatus, NoPager, Stat, Unified, detail_of
from mediavault.cli.pager import paged
from mediavault.cli.patch import show_text
from mediavault.cli.render import Console
from mediavault.cli.text import counted, printable
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.model.ids import Link
from mediavault.ops.diff import STAGED, WORKING, DiffPlan, DiffReport, MeasuredDiff, plan_diff, run_diff
from mediavault.ops.repository import Repository
from mediavault.ops.texts import text_change
from mediavault.workspace.scan import ScannedFile

app = verb_app()


@app.command(cls=DashCommand)
def diff(
    ctx: Context,
    *,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[REV [REV]] [--] [PATH...]", help="Commits to compare, and what to look at."),
    ] = None,
    staged: Annotated[
        bool, typer.Option("--staged", "--cached", help="What was added, instead of the working files.")
    ] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 when something differs.")] = False,
    stat: Stat = False,
    name_status: NameStatus = False,
    name_only: NameOnly = False,
    unified: Unified = 3,
    no_pager: NoPager = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Show what changed between two states, file by file: sizes, and how much of the content is new.

    Below the list, text files (UTF-8, at most 1 MiB) are compared line by line. Characters that a terminal would obey
    are shown as escapes.

    \b
    mediagit diff               what you changed and did not add yet
    mediagit diff --staged      what the next commit will change
    mediagit diff main          your files compared with main
    mediagit diff main grade    two commits compared; also main..grade
    mediagit diff main...grade  what grade changed since it left main
    mediagit diff --stat        sizes and chunks, no lines of text
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    detail = detail_of(Detail.LINES, stat=stat, name_status=name_status, name_only=name_only)
    with (
        session.reading(ctx.obj, passphrase_file=passphrase_file) as repository,
        session.stage_of(ctx.obj, repository) as stage,
    ):

        def plan_of(revision: str) -> DiffPlan:
            return plan_diff(repository, [revision])

        given = revisions_and_paths(ctx, repository.layout, words or [], plan_of)
        plan = plan_diff(repository, given.revisions, staged=staged)
        report = run_diff(repository, stage, plan, console.progress(), tuple(given.paths))
        for problem in report.problems:
            console.warn(f"{printable(problem.path)} {problem.reason}. {problem.hint}".rstrip())
        if console.json:
            _write_document(console, report)
        else:
            with paged(console, None if no_pager else session.pager_of(ctx.obj)):
                _write(console, repository, report, detail, unified)
    return ExitCode.FAILED if exit_code and report.files else ExitCode.OK


def _write_document(console: Console, report: DiffReport) -> None:
    console.document(
        {
            "from": report.old,
            "to": report.new,
            "files": [file_document(change) for change in report.files],
            "bytes_new": sum(change.chunks.new_bytes for change in report.files),
            "bytes_shared": sum(change.chunks.shared_bytes for change in report.files),
        }
    )


def _write(console: Console, repository: Repository, report: DiffReport, detail: Detail, context: int) -> None:
    names = detail in (Detail.NAMES, Detail.STATUS)
    if report.files:
        if not names:
            console.result(console.paint("bold", f"From {printable(report.old)} to {printable(report.new)}:"))
        show_changes(console, repository, report.files, report.working, detail=detail, context=context)
    elif not names:
        console.result(f"Nothing differs between {printable(report.old)} and {printable(report.new)}.")
    if report.untracked:
        files = counted(report.untracked, "file")
        console.say(f"Not compared: {files} that you never added (see `mediagit status`).")
    if not report.files and (report.old, report.new) == (STAGED, WORKING):
        console.say("`mediagit diff --staged` shows what you added for the next commit.")


def show_changes(
    console: Console,
    repository: Repository,
    changes: Sequence[MeasuredDiff],
    working: Mapping[Link, ScannedFile],
    *,
    detail: Detail,
    context: int,
) -> None:
    """Write what differs: names, or sizes, or sizes and below them the lines of text files.

    Args:
        console: where to.
        repository: where contents are stored.
        changes: what differs.
        working: the working files that stand behind links to nothing stored.
        detail: how much to write.
        context: lines around a change in a text file.
    """
    files = [change.file for change in changes]
    if detail is Detail.NAMES:
        console.lines(name_lines(files))
    elif detail is Detail.STATUS:
        console.lines(status_lines(console, files))
    else:
        show_files(console, changes)
    if detail is Detail.LINES:
        for file in files:
            text = text_change(repository, file, working, context)
            if text is not None:
                show_text(console, text)
