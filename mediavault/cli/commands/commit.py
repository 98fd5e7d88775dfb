"""mediagit commit: keep the chosen state for good."""

import sys
from typing import Annotated

import typer

from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import counted, printable, short_id
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.errors import MediaVaultError
from mediavault.ops.add import plan_add, run_add
from mediavault.ops.commit import CommitReport, plan_commit, run_commit
from mediavault.workspace.status import ChangeKind

app = verb_app()


@app.command()
def commit(
    ctx: Context,
    *,
    message: Annotated[
        list[str] | None, typer.Option("--message", "-m", help="What changed; several make paragraphs.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Add changed and deleted files first.")] = False,
    amend: Annotated[bool, typer.Option("--amend", help="Replace the last commit.")] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Commit even if nothing changed.")] = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Keep the chosen state for good, with a message that says what changed."""
    console = ctx.obj.console
    with session.writing(ctx.obj, passphrase_file=passphrase_file) as (repository, stage):
        text = "\n\n".join(message) if message else None
        if everything:
            added = run_add(repository, stage, plan_add(repository, stage, tracked_only=True), console.progress())
            if added.problems:
                for problem in added.problems:
                    console.warn(f"{printable(problem.path)} {problem.reason}. {problem.hint}".rstrip())
                raise MediaVaultError(
                    "Not every changed file could be added.",
                    untouched="Nothing was committed.",
                    hint="See the warnings above, then commit again.",
                )
        if text is None and not amend and sys.stdin.isatty():
            sys.stderr.write("What changed? ")
            sys.stderr.flush()
            text = sys.stdin.readline()
        plan = plan_commit(repository, stage, text, amend=amend, allow_empty=allow_empty)
        report = run_commit(repository, stage, plan, session.author(repository.settings), session.now())
    show(console, report)
    return ExitCode.OK


def show(console: Console, report: CommitReport) -> None:
    """Render the new commit."""
    count = {kind: sum(change.kind is kind for change in report.changes) for kind in ChangeKind}
    if console.json:
        console.document(
            {
                "id": report.id.hex(),
                "branch": report.branch or None,
                "parents": [parent.hex() for parent in report.parents],
                "message": report.message,
                "added": count[ChangeKind.ADDED],
                "modified": count[ChangeKind.MODIFIED],
                "deleted": count[ChangeKind.DELETED],
            }
        )
        return
    place = printable(report.branch) if report.branch else "no branch"
    first = ", first commit" if report.first else ""
    console.result(
        f"{console.paint('bold', f'[{place}{first}]')} {console.paint('yellow', short_id(report.id))}"
        f" {printable(report.message.partition(chr(10))[0])}"
    )
    console.result(
        f"{counted(count[ChangeKind.ADDED], 'new file')}, {count[ChangeKind.MODIFIED]:,} changed, "
        f"{count[ChangeKind.DELETED]:,} deleted"
    )
