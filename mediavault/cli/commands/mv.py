"""mediagit mv: move or rename files."""

from typing import Annotated

import typer

from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.text import counted
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.errors import UsageError
from mediavault.ops.move import plan_moves, run_moves

app = verb_app()


@app.command()
def mv(
    ctx: Context,
    *,
    paths: Annotated[
        list[str], typer.Argument(metavar="FROM... TO", help="Files and folders, then the new name or a folder.")
    ],
    passphrase_file: PassphraseFile = None,
) -> int:
    """Move or rename files and folders, so that the next commit has them at their new place.

    Their content is neither read nor stored again.

    \b
    mediagit mv cut.mov cut-v1.mov  rename
    mediagit mv a.exr b.exr shots   move both into a folder that exists
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    if len(paths) < 2:
        raise UsageError("From where, and to where?", untouched="Nothing was moved.", hint="mediagit mv OLD NEW")
    with session.writing(ctx.obj, passphrase_file=passphrase_file) as (repository, stage):
        *sources, target = session.paths_of(repository.layout, paths)
        plan = run_moves(repository, stage, plan_moves(repository, stage, sources, target))
    if console.json:
        console.document({"moved": [{"from": old, "to": new} for old, new in plan.paths]})
    else:
        console.result(f"{counted(len(plan.paths), 'file')} moved.")
    return ExitCode.OK
