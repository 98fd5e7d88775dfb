"""mediagit commit: keep the chosen state for good."""

import sys
from typing import Annotated, Final

import typer

from mediavault import compose
from mediavault.cli import session
from mediavault.cli.editor import edit, template
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import counted, printable, short_id
from mediavault.cli.verb import Context, Invocation, PassphraseFile, verb_app
from mediavault.errors import MediaVaultError, UsageError
from mediavault.ops.add import plan_add, run_add
from mediavault.ops.commit import CommitReport, plan_commit, run_commit
from mediavault.ops.repository import Repository
from mediavault.ops.status import status
from mediavault.workspace.stage import Stage
from mediavault.workspace.status import ChangeKind

app = verb_app()
_NOTHING: Final = "-"


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
    """Keep the chosen state for good, with a message that says what changed.

    What was chosen with `mediagit add` becomes a commit on the current branch. Without -m an editor opens for the
    message ($MEDIAGIT_EDITOR, $VISUAL or $EDITOR); a message that is left empty commits nothing.

    \b
    mediagit commit -m "Second cut"            what was added
    mediagit commit -am "Second cut"           all changed and deleted files of the project as well
    mediagit commit --amend -m "Better words"  replace the last commit, which is kept for 30 days
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    with session.writing(ctx.obj, passphrase_file=passphrase_file) as (repository, stage):
        text = "\n\n".join(message) if message else None
        if text is None and not amend and sys.stdin.isatty():
            text = _asked(ctx.obj, repository, stage, everything=everything, allow_empty=allow_empty)
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
        plan = plan_commit(repository, stage, text, amend=amend, allow_empty=allow_empty)
        report = run_commit(
            repository,
            stage,
            plan,
            compose.author(repository.settings),
            compose.now(),
            progress=console.progress(),
        )
    show(console, report)
    return ExitCode.OK


def _asked(invocation: Invocation, repository: Repository, stage: Stage, *, everything: bool, allow_empty: bool) -> str:
    """Let a person say what changed, before anything is added or committed.

    Raises:
        UsageError: nothing was said, or the editor failed.
    """
    state = status(repository, stage)
    changes = [(change.kind.value, change.path) for change in state.changes.staged]
    if everything:
        changes += [("modified", path) for path in state.changes.modified]
        changes += [("deleted", path) for path in state.changes.deleted]
    if not changes and not allow_empty:
        return _NOTHING  # that there is nothing to commit is said before anyone has written anything
    command = session.editor_of(invocation) if sys.stdout.isatty() else None
    if command is None:
        sys.stderr.write("What changed? ")
        sys.stderr.flush()
        text = sys.stdin.readline()
    else:
        text = edit(command, repository.layout.message_file, template(state.branch, changes))
    if not text.strip():
        raise UsageError("The message is empty.", untouched="Nothing was committed, and nothing was added.")
    return text


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
