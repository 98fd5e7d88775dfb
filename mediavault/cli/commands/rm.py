"""mediagit rm: remove files from the project."""

from typing import Annotated

import typer

from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.text import counted, printable
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.ops.remove import plan_remove, run_remove

app = verb_app()


@app.command()
def rm(
    ctx: Context,
    *,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files and folders of the project.")],
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Folders with all that is in them.")] = False,
    cached: Annotated[bool, typer.Option("--cached", help="Keep the files, only stop versioning them.")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Even files with changes that no commit holds.")] = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Remove files from the project with the next commit. Earlier commits keep them.

    A file with changes that no commit holds is not removed, unless you say --force.

    \b
    mediagit rm old.mov             the file here, too
    mediagit rm -r rushes           a folder
    mediagit rm --cached notes.txt  keep the file, and version it no longer
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    with session.writing(ctx.obj, passphrase_file=passphrase_file) as (repository, stage):
        chosen = session.paths_of(repository.layout, paths)
        plan = plan_remove(repository, stage, chosen, recursive=recursive, cached=cached, force=force)
        report = run_remove(repository, stage, plan)
    for path in report.left:
        console.warn(f"{printable(path)} was changed meanwhile and was left as it is.")
    if console.json:
        console.document({"removed": list(report.paths), "kept_files": cached})
    else:
        console.result(
            f"{counted(len(report.paths), 'file')} removed{' from the project; the files stay' if cached else ''}."
        )
    return ExitCode.OK
