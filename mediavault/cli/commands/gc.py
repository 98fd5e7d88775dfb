"""mediagit gc: free the space of what is needed no more."""

from dataclasses import asdict
from typing import Annotated

import typer

from mediavault import compose
from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import byte_size, counted
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.ops.gc import GcReport, plan_gc, report_of, run_gc
from mediavault.ops.repository import collecting

app = verb_app()


@app.command()
def gc(
    ctx: Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only tell what would be removed.")] = False,
    immediately: Annotated[
        bool,
        typer.Option("--now", help="Keep neither former states nor what is new: only what something leads to now."),
    ] = False,
    keep_days: Annotated[
        int | None,
        typer.Option(
            "--keep-days", metavar="DAYS", min=0, max=36_500, help="Keep former states of branches for so many days."
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Free the space of what no branch, no tag and no added file needs any more, on this computer.

    Safe to run at any time: commits that a branch had within the last 30 days are kept, though they were amended or
    their branch was deleted, and so is all that was stored within the last 14 days. Servers are not touched.

    \b
    mediagit gc --dry-run  what would be freed
    mediagit gc            free it
    mediagit gc --now      free everything that nothing leads to at this moment
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    with session.writing(ctx.obj, passphrase_file=passphrase_file) as (repository, stage):
        settings = repository.settings.gc
        keep, grace = (0, 0) if immediately else (settings.keep_days, settings.grace_days)
        with collecting(repository.layout):
            plan = plan_gc(
                repository,
                stage,
                compose.now_ns(),
                console.progress(),
                keep_days=keep if keep_days is None else keep_days,
                grace_days=grace,
            )
            report = report_of(plan) if dry_run else run_gc(repository, plan, console.progress())
    show(console, report)
    return ExitCode.OK


def show(console: Console, report: GcReport) -> None:
    """Render what was removed, and what was kept and why."""
    if console.json:
        console.document(asdict(report))
        return
    changed = report.packs_deleted + report.packs_rewritten
    if changed or report.bytes_freed > 0:
        words = "Freed" if report.done else "Would free"
        console.result(
            f"{words} {byte_size(max(0, report.bytes_freed))}: {counted(report.objects_removed, 'object')} that nothing "
            f"leads to; {counted(report.packs_deleted, 'pack')} removed, {report.packs_rewritten:,} written anew"
        )
    else:
        console.result("Nothing to free.")
    if report.states_forgotten:
        words = "Forgot" if report.done else "Would forget"
        console.result(f"{words} {counted(report.states_forgotten, 'former state')} of branches and tags.")
    console.result(f"Kept {byte_size(report.bytes_kept)}: {counted(report.objects_kept, 'object')}")
    for size, why in (
        (report.bytes_former, f"only for former states of branches of the last {counted(report.keep_days, 'day')}"),
        (report.bytes_young, f"not needed, but stored in the last {counted(report.grace_days, 'day')}"),
        (report.bytes_waste, "not needed, in packs of which most is needed"),
    ):
        if size:
            console.result(f"  {byte_size(size):>9}  {why}")
    if report.bytes_former or report.bytes_young:
        console.result("`mediagit gc --now` frees former states and new things too; nobody can return to them then.")
