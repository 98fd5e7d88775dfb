"""mediagit restore: bring back files from a commit."""

from typing import Annotated

import typer

from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.text import counted, printable
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.ops.restore import plan_paths, run_restore
from mediavault.ops.revisions import resolve

app = verb_app()


@app.command()
def restore(
    ctx: Context,
    *,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files and folders; `.` for all here.")],
    source: Annotated[
        str | None, typer.Option("--source", "-s", metavar="REV", help="Take them from this branch, tag or commit.")
    ] = None,
    staged: Annotated[
        bool, typer.Option("--staged", "-S", help="Change what the next commit will hold, not the files.")
    ] = False,
    worktree: Annotated[bool, typer.Option("--worktree", "-W", help="Change the files; with --staged both.")] = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Bring back files as they were: the state last added, or with --source that of any commit.

    This gives up what was changed in these files since.

    \b
    mediagit restore shots/0010.exr             give up what you changed in this file
    mediagit restore --source main~2 title.psd  as it was two commits before
    mediagit restore --staged title.psd         take it out of the next commit, keep the file
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    with session.writing(ctx.obj, passphrase_file=passphrase_file) as (repository, stage):
        commit = resolve(repository, source).commit if source else None
        chosen = session.paths_of(repository.layout, paths)
        plan = plan_paths(repository, stage, chosen, source=commit, staged=staged, worktree=worktree or not staged)
        report = run_restore(repository, stage, plan, console.progress())
    for path in report.left:
        console.warn(f"{printable(path)} was changed meanwhile and was left as it is.")
    if console.json:
        console.document({"written": report.written, "deleted": report.deleted, "staged": report.staged})
    elif plan.checkout is None:
        console.result(f"{counted(report.staged, 'file')} restored in what the next commit will hold.")
    else:
        removed = f", {report.deleted:,} removed" if report.deleted else ""
        console.result(f"{counted(report.written, 'file')} restored{removed}.")
    return ExitCode.OK
