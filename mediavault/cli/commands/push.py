"""mediagit push: send commits to a server."""

from collections.abc import Sequence
from typing import Annotated

import typer

from mediavault import compose
from mediavault.cli import session
from mediavault.cli.costs import estimate_document, show_estimate
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import byte_size, counted, printable, short_id
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.ops.push import PushPreview, PushReport, plan_push, preview_push, run_push
from mediavault.ops.remotes import default_remote, remote_url
from mediavault.sync.push import RefMove

app = verb_app()


@app.command()
def push(
    ctx: Context,
    *,
    remote: Annotated[str | None, typer.Argument(help="The server's name; origin if you leave it out.")] = None,
    refs: Annotated[
        list[str] | None, typer.Argument(metavar="REF...", help="Branches and tags; HERE:THERE for another name there.")
    ] = None,
    set_upstream: Annotated[
        bool, typer.Option("--set-upstream", "-u", help="Let the branch follow the server's from now on.")
    ] = False,
    force_with_lease: Annotated[
        bool, typer.Option("--force-with-lease", help="Replace what you last saw there, and nothing newer.")
    ] = False,
    tags: Annotated[bool, typer.Option("--tags", help="All tags too.")] = False,
    delete: Annotated[bool, typer.Option("--delete", "-d", help="Delete the named refs at the server.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only tell what would be sent.")] = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Send commits to a server, and only what it lacks.

    The first push makes the project there. Interrupted, the next push sends only the rest.

    \b
    mediagit push -u origin main   send main, and follow the server's from now on
    mediagit push                  send the current branch to where it follows
    mediagit push --tags           all tags as well
    mediagit push -d origin grade  delete a branch there
    mediagit push --dry-run        what it would send, in bytes, packs and requests, and what it costs
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    with session.transferring(ctx.obj, passphrase_file=passphrase_file) as repository:
        settings = repository.settings
        name = remote or default_remote(settings, repository.layout.read_head().branch)
        url = remote_url(settings, name)
        plan = plan_push(
            repository, name, refs or [], follow=set_upstream, lease=force_with_lease, tags=tags, delete=delete
        )
        with session.connected(ctx.obj, settings, url) as other:
            if dry_run:
                place = session.place_of(ctx.obj, url, name)
                _show_preview(console, preview_push(repository, plan, other, place))
                return ExitCode.OK
            slots = compose.read_slots(repository.backend)
            report = run_push(
                repository, plan, other, slots=slots, now=compose.now().seconds, progress=console.progress()
            )
    show(console, report)
    return ExitCode.OK


def show(console: Console, report: PushReport) -> None:
    """Render what was sent."""
    if console.json:
        console.document(
            {
                "remote": report.remote,
                "url": report.url,
                "created": report.created,
                "refs": _refs(report.moves),
                "unchanged": list(report.unchanged),
                "chunks": report.chunks,
                "objects": report.objects,
                "packs": report.packs,
                "bytes_sent": report.bytes_sent,
                "requests": report.requests,
                "upstream": f"{report.remote}/{report.follow[1]}" if report.follow else None,
            }
        )
        return
    if report.created:
        console.result(f"Made the project at {report.url}")
    if report.objects:
        console.result(
            f"Sent {byte_size(report.bytes_sent)}: {counted(report.chunks, 'new chunk')}, "
            f"{counted(report.requests, 'request')}"
        )
    _show_moves(console, report.moves)
    if not report.moves:
        console.result(f"Everything is at {report.remote} already.")
    if report.follow:
        console.result(
            f"{printable(report.follow[0])} follows {report.remote}/{printable(report.follow[1])} from now on."
        )


def _show_preview(console: Console, preview: PushPreview) -> None:
    if console.json:
        console.document(
            {
                "remote": preview.remote,
                "url": preview.url,
                "dry_run": True,
                "created": preview.created,
                "refs": _refs(preview.moves),
                "unchanged": list(preview.unchanged),
                "chunks": preview.chunks,
                "objects": preview.objects,
                "packs": preview.packs,
                "bytes": preview.bytes,
                **estimate_document(preview.estimate),
            }
        )
        return
    if preview.created:
        console.result(f"Would make the project at {preview.url}")
    if preview.objects:
        console.result(
            f"Would send {byte_size(preview.bytes)} in {counted(preview.packs, 'pack')}: "
            f"{counted(preview.chunks, 'new chunk')}"
        )
    _show_moves(console, preview.moves)
    if preview.moves:
        show_estimate(console, preview.estimate)
    console.result("Nothing was sent." if preview.moves else f"Everything is at {preview.remote} already.")


def _refs(moves: Sequence[RefMove]) -> list[dict[str, object]]:
    return [
        {
            "name": move.name,
            "old": move.old.id.hex() if move.old else None,
            "new": move.new.id.hex() if move.new else None,
            "forced": move.forced,
        }
        for move in moves
    ]


def _show_moves(console: Console, moves: Sequence[RefMove]) -> None:
    for move in moves:
        name = printable(move.name.partition("/")[2])
        if move.new is None:
            console.result(f"  {console.paint('red', 'deleted')}   {name}")
        elif move.old is None:
            console.result(f"  {console.paint('green', 'new')}       {name} at {short_id(move.new.id)}")
        else:
            word = (
                console.paint("yellow", "replaced") + "  " if move.forced else console.paint("green", "moved") + "     "
            )
            console.result(f"  {word}{name} from {short_id(move.old.id)} to {short_id(move.new.id)}")
