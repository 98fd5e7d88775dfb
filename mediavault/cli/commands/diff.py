"""mediagit diff: show what changed between two states, file by file."""

from typing import Annotated

import typer

from mediavault.cli import session
from mediavault.cli.arguments import DashCommand, revisions_and_paths
from mediavault.cli.changes import file_document, show_files
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import counted, printable
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.ops.diff import STAGED, WORKING, DiffPlan, DiffReport, plan_diff, run_diff

app = verb_app()


@app.command(cls=DashCommand)
def diff(
    ctx: Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[REV [REV]] [--] [PATH...]", help="Commits to compare, and what to look at."),
    ] = None,
    staged: Annotated[
        bool, typer.Option("--staged", "--cached", help="What was added, instead of the working files.")
    ] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 when something differs.")] = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Show what changed between two states, file by file: sizes, and how much of the content is new.

    \b
    mediagit diff                what you changed and did not add yet
    mediagit diff --staged       what the next commit will change
    mediagit diff main           your files compared with main
    mediagit diff main grade     two commits compared; also main..grade
    mediagit diff main...grade   what grade changed since it left main
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    with (
        session.reading(ctx.obj, passphrase_file=passphrase_file) as repository,
        session.stage_of(ctx.obj, repository) as stage,
    ):

        def plan_of(revision: str) -> DiffPlan:
            return plan_diff(repository, [revision])

        given = revisions_and_paths(ctx, repository.layout, words or [], plan_of)
        plan = plan_diff(repository, given.revisions, staged=staged)
        report = run_diff(repository, stage, plan, console.progress(), tuple(given.paths))
    show(console, report)
    return ExitCode.FAILED if exit_code and report.files else ExitCode.OK


def show(console: Console, report: DiffReport) -> None:
    """Render what differs."""
    for problem in report.problems:
        console.warn(f"{printable(problem.path)} {problem.reason}. {problem.hint}".rstrip())
    if console.json:
        console.document(
            {
                "from": report.old,
                "to": report.new,
                "files": [file_document(change) for change in report.files],
                "bytes_new": sum(change.chunks.new_bytes for change in report.files),
                "bytes_shared": sum(change.chunks.shared_bytes for change in report.files),
            }
        )
        return
    sides = f"{printable(report.old)} and {printable(report.new)}"
    if report.files:
        console.result(console.paint("bold", f"From {printable(report.old)} to {printable(report.new)}:"))
        show_files(console, report.files)
    else:
        console.result(f"Nothing differs between {sides}.")
    if report.untracked:
        files = counted(report.untracked, "file")
        console.say(f"Not compared: {files} that you never added (see `mediagit status`).")
    if not report.files and (report.old, report.new) == (STAGED, WORKING):
        console.say("`mediagit diff --staged` shows what you added for the next commit.")
