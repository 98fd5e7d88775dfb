"""mediagit verify: check that everything stored is intact."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import byte_size, counted, printable
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.errors import UsageError
from mediavault.ops.remotes import remote_url
from mediavault.ops.repository import locked
from mediavault.ops.verify import VerifyReport, rebuild, verify
from mediavault.ops.verify_remote import verify_remote
from mediavault.store.rebuild import Rebuilt
from mediavault.store.verify import Damage

app = verb_app()
_SHOWN = 50


@app.command(name="verify")
def verify_command(
    ctx: Context,
    *,
    remote: Annotated[str, typer.Option("--remote", metavar="NAME", help="Check what this server has instead.")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help="Look up file contents without reading them: finds what is missing.")
    ] = False,
    rebuild_index: Annotated[
        bool, typer.Option("--rebuild-index", help="First make the index anew from what is stored.")
    ] = False,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Check that everything stored is what its name promises. Exits 5 if anything is damaged.

    Reads every byte, opens it and computes its name again. Nothing is changed, but for the index where you ask for that.

    \b
    mediagit verify                  read and check everything here
    mediagit verify --quick          only look whether all is there
    mediagit verify --remote origin  check what the server has, and that it can be opened
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    if remote and rebuild_index:
        raise UsageError("A server looks after its index itself.", untouched="Nothing was checked.")
    rebuilt = None
    if rebuild_index:
        layout = session.find_layout()
        with locked(layout):
            rebuilt = rebuild(session.open_repository(ctx.obj, layout, passphrase_file=passphrase_file))
    with session.reading(ctx.obj, passphrase_file=passphrase_file) as repository:
        if remote:
            with session.connected(ctx.obj, repository.settings, remote_url(repository.settings, remote)) as other:
                report = verify_remote(repository, remote, other, console.progress(), quick=quick)
        else:
            report = verify(repository, console.progress(), quick=quick)
    show(console, report, rebuilt)
    return ExitCode.OK if report.ok else ExitCode.DAMAGED


def show(console: Console, report: VerifyReport, rebuilt: Rebuilt | None = None) -> None:
    """Render what was checked and what is damaged."""
    if console.json:
        console.document(document(report, rebuilt))
        return
    if rebuilt:
        console.result(f"Made the index anew: {counted(rebuilt.frames, 'object')} in {counted(rebuilt.packs, 'pack')}.")
        if rebuilt.dropped:
            console.warn(f"{counted(rebuilt.dropped, 'object')} left out, because what they need is lost.")
    _show_damage(console, report.damage)
    if report.affected:
        where = f" from {report.place}" if report.place else ""
        console.line(f"Files of the checked-out commit that cannot be brought back whole{where}:")
        console.lines(f"  {printable(path)}" for path in report.affected[:_SHOWN])
        if len(report.affected) > _SHOWN:
            console.line(f"  ... and {len(report.affected) - _SHOWN:,} more")
    console.result(
        f"Checked {counted(report.refs, 'branch or tag') if report.refs == 1 else f'{report.refs:,} branches and tags'}"
        f" and {counted(report.objects, 'object')}{_amount(report)}."
    )
    if report.ok:
        console.result(console.paint("green", "All good." if not report.quick else "All there."))
    else:
        console.line(console.paint("red", f"{counted(len(report.damage), 'problem')} found."))
        if report.index_lost:
            console.say("Perhaps only the index is lost: `mediagit verify --rebuild-index` makes it anew.")
        elif not report.place:
            console.say("Nothing was changed. A clone from a server or from another computer may have it intact.")


def _amount(report: VerifyReport) -> str:
    if report.place:
        return f" at {report.place}; {byte_size(report.bytes)} received"
    return f"; {byte_size(report.bytes)} in {counted(report.packs, 'pack')} {'looked up' if report.quick else 'read'}"


def document(report: VerifyReport, rebuilt: Rebuilt | None = None) -> dict[str, Any]:
    """Return the report as a JSON document."""
    return {
        "ok": report.ok,
        "place": report.place or None,
        "quick": report.quick,
        "refs": report.refs,
        "objects": report.objects,
        "packs": report.packs,
        "bytes": report.bytes,
        "damage": [
            {
                "reason": found.reason,
                "object": found.object.hex() if found.object else None,
                "pack": found.pack.hex() if found.pack else None,
                "offset": found.offset,
            }
            for found in report.damage
        ],
        "affected": list(report.affected),
        "index_lost": report.index_lost,
        "rebuilt": {"packs": rebuilt.packs, "objects": rebuilt.frames, "left_out": rebuilt.dropped}
        if rebuilt
        else None,
    }


def _show_damage(console: Console, damage: Sequence[Damage]) -> None:
    for found in damage[:_SHOWN]:
        console.line(f"{console.paint('red', 'damaged')}  {printable(found.reason)}")
        if found.object:
            console.line(f"         object {found.object.hex()}")
        if found.pack:
            where = "" if found.offset is None else f" at {found.offset}"
            console.line(f"         pack   {found.pack.hex()}{where}")
    if len(damage) > _SHOWN:
        console.line(f"... and {len(damage) - _SHOWN:,} more (`mediagit verify --json` has them all)")
