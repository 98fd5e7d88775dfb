"""mediagit mirror: keep a copy of a whole repository elsewhere up to date."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import typer

from mediavault import compose
from mediavault.cli import session
from mediavault.cli.costs import estimate_document, show_estimate
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import byte_size, counted, printable, short_id
from mediavault.cli.verb import Context, Invocation, verb_app
from mediavault.config import Settings, parse_size
from mediavault.errors import ConfigError, NotARepositoryError, UsageError
from mediavault.ops.mirror import (
    MirrorCheck,
    MirroredRef,
    MirrorPlan,
    MirrorReport,
    check_mirror,
    plan_mirror,
    run_mirror,
    workroom,
)
from mediavault.ops.mirror_price import estimate_mirror
from mediavault.ops.prices import Estimate
from mediavault.ops.remotes import remote_url
from mediavault.wire.http import Traffic
from mediavault_backends.throttle import Throttle

app = verb_app()
_SHOWN: Final = 20
_SLOWEST: Final = 1024
_SIDES: Final = ("source", "destination")


@app.command()
def mirror(
    ctx: Context,
    *,
    source: Annotated[str, typer.Argument(help="What to copy: an address, or a remote's name.")],
    destination: Annotated[str, typer.Argument(help="Where to: likewise.")],
    bandwidth: Annotated[
        str | None, typer.Option("--bandwidth", metavar="RATE", help="Send at most this much a second, such as 20MB.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only tell what would be sent.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Afterwards read everything there and compare it byte by byte.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Give up what others moved at the mirror: commits may be lost there.")
    ] = False,
) -> int:
    """Copy a repository whole to another place, and keep the copy up to date; no key is needed.

    Both are a server's project (https://HOST/TEAM/PROJECT), a store (s3://, az://, gs://, file://) or the name of a remote of
    this checkout. Only what is missing is sent; interrupted, the same command continues. Branches and tags move last, and
    none that others moved at the mirror.

    \b
    mediagit mirror https://vault/studio/film s3://offsite/film      copy, or bring up to date
    mediagit mirror origin file:///mnt/nas/film --bandwidth 20MB     leave room on the line
    mediagit mirror --dry-run origin s3://offsite/film               what it would send
    mediagit mirror --verify origin s3://offsite/film                and read it all back
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    if dry_run and verify:
        raise UsageError("--verify reads what was sent; --dry-run sends nothing.", untouched="Nothing was sent.")
    pace = _pace(bandwidth)
    invocation, console = ctx.obj, ctx.obj.console
    settings = _settings(invocation)
    urls = [_address(settings, text) for text in (source, destination)]
    progress, network, pack_size = console.progress(), settings.network, settings.core.pack_size
    with (
        workroom(session.mirror_folder(invocation, *urls)) as room,
        session.connected(invocation, settings, urls[0]) as one,
        session.connected(invocation, settings, urls[1]) as other,
    ):
        frames = room.store("missing")
        plan = plan_mirror(one, other, room, frames, force=force, progress=progress, pack_size=pack_size)
        if dry_run:
            places = [
                session.place_of(invocation, url, "" if "://" in text else text)
                for text, url in zip((source, destination), urls, strict=True)
            ]
            estimates = estimate_mirror(settings, plan, places, (one.traffic, other.traffic))
            _show_plan(console, plan, one.traffic, other.traffic, estimates)
            return ExitCode.OK
        report = run_mirror(
            plan, one, other, frames, progress=progress, pace=pace, pack_size=pack_size, connections=network.connections
        )
        check = None
        if verify:
            check = check_mirror(
                one, other, room, room.store("source"), progress=progress, connections=network.connections
            )
    _show(console, plan, report, check)
    return ExitCode.DAMAGED if check is not None and check.damage else ExitCode.OK


def _settings(invocation: Invocation) -> Settings:
    """Return the settings, with those of the checkout where the command runs in one."""
    try:
        layout = session.find_layout()
    except NotARepositoryError:
        return session.settings_of(invocation, None).settings
    return session.settings_of(invocation, layout).settings


def _address(settings: Settings, text: str) -> str:
    url = text if "://" in text else remote_url(settings, text)
    compose.check_address(url)
    return url


def _pace(text: str | None) -> Callable[[int], object] | None:
    if text is None:
        return None
    try:
        rate = parse_size(text.strip().removesuffix("/s"))
    except ConfigError as error:
        raise UsageError(error.message, untouched="Nothing was sent.", hint=error.hint) from error
    if rate < _SLOWEST:
        raise UsageError(f"{text!r} is less than 1KiB a second.", untouched="Nothing was sent.")
    return Throttle(rate).take


def _show_plan(
    console: Console, plan: MirrorPlan, source: Traffic, destination: Traffic, estimates: Sequence[Estimate]
) -> None:
    if console.json:
        document = _document(plan) | {"packs": plan.packs, "bytes": plan.bytes, "writes": plan.writes}
        costs = {side: estimate_document(one) for side, one in zip(_SIDES, estimates, strict=True)}
        console.document({**document, "dry_run": True, "asked": _traffic(source, destination), "costs": costs})
        return
    if plan.created:
        console.result(f"Would make the mirror at {printable(plan.destination)}")
    if plan.objects:
        console.result(
            f"Would send {byte_size(plan.bytes)} in {counted(plan.packs, 'pack')}: {counted(plan.chunks, 'chunk')} "
            f"and {counted(plan.objects - plan.chunks, 'other object')}"
        )
    _show_refs(console, plan.refs)
    _show_kept(console, plan)
    if plan.writes:
        for side, one in zip(_SIDES, estimates, strict=True):
            console.result(f"{side.capitalize()}:")
            show_estimate(console, one)
    console.result(
        f"Nothing was sent; it takes {counted(plan.writes, 'write')}." if plan.writes else "The mirror is up to date."
    )


def _show(console: Console, plan: MirrorPlan, report: MirrorReport, check: MirrorCheck | None) -> None:
    if console.json:
        document = _document(plan) | {"packs": report.packs, "bytes": report.bytes, "writes": plan.writes}
        document |= {"dry_run": False, "asked": _traffic(report.source, report.destination)}
        console.document({**document, "verified": None if check is None else _check_document(check)})
        return
    if plan.created:
        console.result(f"Made the mirror at {printable(plan.destination)}")
    if plan.objects:
        console.result(
            f"Sent {byte_size(report.bytes)} in {counted(report.packs, 'pack')}: {counted(plan.chunks, 'chunk')} "
            f"and {counted(plan.objects - plan.chunks, 'other object')}"
        )
    for name in plan.slots:
        console.result(f"  key slot  {printable(name)}")
    _show_refs(console, plan.refs)
    _show_kept(console, plan)
    if not plan.writes:
        console.result("The mirror was up to date.")
    if check is not None:
        _show_check(console, plan, check)


def _show_refs(console: Console, refs: Sequence[MirroredRef]) -> None:
    for ref in refs:
        name = printable(ref.name.partition("/")[2])
        if ref.new is None:
            console.result(f"  {console.paint('red', 'deleted')}   {name}")
        elif ref.old is None:
            console.result(f"  {console.paint('green', 'new')}       {name} at {short_id(ref.new.id)}")
        else:
            word = console.paint("yellow", "replaced") + "  " if ref.lost else console.paint("green", "moved") + "     "
            console.result(f"  {word}{name} from {short_id(ref.old.id)} to {short_id(ref.new.id)}")


def _show_kept(console: Console, plan: MirrorPlan) -> None:
    for name in plan.kept_refs:
        console.warn(f"{printable(name)} is at the mirror only, and was left there.")
    for name in plan.kept_slots:
        console.warn(f"The key slot {printable(name)} is at the mirror only, and still opens it there.")


def _show_check(console: Console, plan: MirrorPlan, check: MirrorCheck) -> None:
    for found in check.damage[:_SHOWN]:
        console.line(f"{console.paint('red', 'damaged')}  {printable(found.reason)}")
        if found.object:
            console.line(f"         object {found.object.hex()}")
        if found.pack:
            console.line(
                f"         pack   {found.pack.hex()}" + ("" if found.offset is None else f" at {found.offset}")
            )
    if len(check.damage) > _SHOWN:
        console.line(f"... and {len(check.damage) - _SHOWN:,} more (`mediagit mirror --verify --json` has them all)")
    if check.others:
        console.warn(
            f"{counted(check.others, 'object')} whole at both and sealed differently. Whether they can be opened, "
            "`mediagit verify --remote` tells, in a checkout."
        )
    console.result(f"Compared {counted(check.objects, 'object')} byte by byte.")
    if check.damage:
        console.line(console.paint("red", f"{counted(len(check.damage), 'problem')} found."))
        console.say(
            f"{printable(plan.source)} was not changed. Mirror it to a new place, which sends everything anew, use that one, "
            f"and find out what happened to {printable(plan.destination)}."
        )
    else:
        console.result(console.paint("green", "All good."))


def _document(plan: MirrorPlan) -> dict[str, Any]:
    return {
        "source": plan.source,
        "destination": plan.destination,
        "created": plan.created,
        "refs": [
            {
                "name": ref.name,
                "old": ref.old.id.hex() if ref.old else None,
                "new": ref.new.id.hex() if ref.new else None,
                "moves": ref.moves,
                "lost": ref.lost,
            }
            for ref in plan.refs
        ],
        "kept_refs": list(plan.kept_refs),
        "slots": list(plan.slots),
        "kept_slots": list(plan.kept_slots),
        "chunks": plan.chunks,
        "objects": plan.objects,
    }


def _traffic(source: Traffic, destination: Traffic) -> dict[str, dict[str, int]]:
    return {"source": source._asdict(), "destination": destination._asdict()}


def _check_document(check: MirrorCheck) -> dict[str, Any]:
    return {
        "ok": not check.damage,
        "objects": check.objects,
        "sealed_differently": check.others,
        "damage": [
            {
                "reason": found.reason,
                "object": found.object.hex() if found.object else None,
                "pack": found.pack.hex() if found.pack else None,
                "offset": found.offset,
            }
            for found in check.damage
        ],
    }
