"""mediagit add: choose what goes into the next commit."""

from typing import Annotated

import typer

from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import byte_size, counted, printable
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.errors import UsageError
from mediavault.ops.add import AddReport, plan_add, run_add

app = verb_app()
_SHOWN = 10


@app.command()
def add(
    ctx: Context,
    *,
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="PATH...", help="Files and folders; `.` for all.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", "-A", help="The whole project, wherever you are.")] = False,
    update: Annotated[bool, typer.Option("--update", "-u", help="Only files that were added before.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Ignored files too.")] = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Choose what goes into the next commit: new, changed and deleted files.

    Their content is stored now, so that it is safe from here on. What did not change is not read.

    \b
    mediagit add shots/0010  a folder with all that is in it
    mediagit add .           everything here
    mediagit add -u          only files that the project has already
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    if not paths and not (everything or update):
        raise UsageError("Nothing was named.", untouched="Nothing was added.", hint="`mediagit add .` adds everything.")
    with session.writing(ctx.obj, passphrase_file=passphrase_file) as (repository, stage):
        chosen = session.paths_of(repository.layout, paths or []) or [""]
        plan = plan_add(repository, stage, [""] if everything else chosen, tracked_only=update, force=force)
        report = run_add(repository, stage, plan, console.progress())
    show(console, report)
    return ExitCode.FAILED if report.problems else ExitCode.OK


def show(console: Console, report: AddReport) -> None:
    """Render what was added."""
    for problem in report.problems:
        console.warn(f"{printable(problem.path)} {problem.reason}. {problem.hint}".rstrip())
    if console.json:
        console.document(
            {
                "added": list(report.added),
                "modified": list(report.modified),
                "removed": list(report.removed),
                "unchanged": report.unchanged,
                "bytes_read": report.bytes_read,
                "bytes_stored": report.bytes_stored,
                "problems": [{"path": p.path, "reason": p.reason, "hint": p.hint} for p in report.problems],
            }
        )
        return
    for mark, color, paths in (
        ("+", "green", report.added),
        ("~", "yellow", report.modified),
        ("-", "red", report.removed),
    ):
        for path in paths[:_SHOWN]:
            console.result(console.paint(color, f"  {mark} {printable(path)}"))
        if len(paths) > _SHOWN:
            console.result(f"  {mark} ... and {len(paths) - _SHOWN:,} more")
    parts = [
        words
        for words in (
            counted(len(report.added), "new file") if report.added else "",
            f"{len(report.modified):,} changed" if report.modified else "",
            f"{len(report.removed):,} deleted" if report.removed else "",
        )
        if words
    ]
    if not parts:
        console.result("Nothing new to add.")
        return
    console.result(
        f"{', '.join(parts)}: {byte_size(report.bytes_read)} read, {byte_size(report.bytes_stored)} newly stored."
    )
