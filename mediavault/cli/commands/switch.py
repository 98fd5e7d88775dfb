"""mediagit switch: change to another branch."""

from typing import Annotated

import typer

from mediavault import compose
from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.text import counted, printable, short_id
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.errors import UsageError
from mediavault.ops.switch import plan_switch, run_switch

app = verb_app()


@app.command()
def switch(
    ctx: Context,
    *,
    branch: Annotated[str, typer.Argument(help="The branch; with --detach any commit.")],
    start: Annotated[str | None, typer.Argument(help="Where a new branch begins; here if left out.")] = None,
    create: Annotated[bool, typer.Option("--create", "-c", help="Make the branch.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Look at a commit, on no branch.")] = False,
    discard: Annotated[
        bool, typer.Option("--discard-changes", help="Give up what was changed and not committed.")
    ] = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Change to another branch; your files become what it holds.

    What you changed and did not commit comes along where the two branches agree; where they do not, nothing happens.

    \b
    mediagit switch grade        a branch that exists
    mediagit switch -c grade     make it here, and change to it
    mediagit switch --detach v1  look at a tag or commit; switch back to a branch afterwards
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    if (start and not create) or (create and detach):
        raise UsageError(
            "Where a branch begins is said together with -c, and -c does not go with --detach.",
            untouched="Nothing was changed.",
            hint="mediagit switch -c NEW-BRANCH START",
        )
    with session.writing(ctx.obj, passphrase_file=passphrase_file) as (repository, stage):
        plan = plan_switch(repository, stage, branch, create=create, start=start, detach=detach, discard=discard)
        report = run_switch(repository, stage, plan, compose.now().seconds, console.progress())
    for path in report.left:
        console.warn(f"{printable(path)} was changed meanwhile and was left as it is.")
    if console.json:
        console.document(
            {
                "branch": report.branch,
                "commit": report.commit.hex() if report.commit else None,
                "created": report.created,
                "upstream": "/".join(report.follow) if report.follow else None,
                "written": report.written,
                "deleted": report.deleted,
            }
        )
        return ExitCode.OK
    files = (
        f": {counted(report.written, 'file')} written, {report.deleted:,} removed"
        if report.written or report.deleted
        else ""
    )
    if report.branch is None:
        console.result(f"At commit {short_id(report.commit or b'')}, on no branch{files}")
        console.result("New commits here belong to no branch; `mediagit switch -c NAME` makes one for them.")
        return ExitCode.OK
    console.result(
        f"On {'new ' if report.created else ''}branch {console.paint('bold', printable(report.branch))}{files}"
    )
    if report.follow:
        console.result(f"It follows {'/'.join(report.follow)}.")
    return ExitCode.OK
