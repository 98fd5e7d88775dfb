"""mediagit show: show one commit and what it changed."""

from typing import Annotated

import typer

from mediavault.cli import session
from mediavault.cli.changes import file_document, show_files
from mediavault.cli.commands import log
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import plain_time, printable, printable_lines, rfc3339
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.model.objects import Tag
from mediavault.ops.show import ShowReport, show

app = verb_app()


@app.command(name="show")
def show_command(
    ctx: Context,
    revision: Annotated[str, typer.Argument(metavar="REV", help="A branch, a tag, an id, or main~1.")] = "HEAD",
    passphrase_file: PassphraseFile = None,
) -> int:
    """Show one commit (the last one if you leave it out), and what it changed, file by file."""
    with session.reading(ctx.obj, passphrase_file=passphrase_file) as repository:
        report = show(repository, revision)
    render(ctx.obj.console, report)
    return ExitCode.OK


def render(console: Console, report: ShowReport) -> None:
    """Render the commit."""
    tag = report.tag
    if console.json:
        console.document(
            {
                **log.document(report.entry),
                "tag": _tag_document(tag) if tag else None,
                "files": [file_document(change) for change in report.files],
            }
        )
        return
    if tag:
        console.line(console.paint("yellow", f"tag {printable(tag.name)}"))
        console.line(f"Tagger:  {printable(tag.tagger.name)} <{printable(tag.tagger.email)}>")
        console.line(f"Date:    {plain_time(tag.tagged)}")
        console.line()
        console.lines(f"    {line}".rstrip() for line in printable_lines(tag.message))
        console.line()
    log.show(console, report.entry)
    console.line()
    show_files(console, report.files)
    if not report.files:
        console.result("No file changed.")


def _tag_document(tag: Tag) -> dict[str, str]:
    return {
        "name": tag.name,
        "tagger": f"{tag.tagger.name} <{tag.tagger.email}>",
        "time": rfc3339(tag.tagged),
        "message": tag.message,
    }
