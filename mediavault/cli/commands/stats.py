"""mediagit stats: show how much is stored and saved."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from mediavault.cli import session
from mediavault.cli.costs import show_estimate
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import byte_size, counted, printable
from mediavault.cli.verb import Context, Invocation, PassphraseFile, verb_app
from mediavault.errors import UsageError
from mediavault.ops.remotes import default_remote, remote_url
from mediavault.ops.stats import StatsReport, stats
from mediavault.ops.stats_remote import RemoteStatsReport, remote_stats

app = verb_app()


@app.command(name="stats")
def stats_command(
    ctx: Context,
    *,
    name: Annotated[
        str | None, typer.Argument(help="With --remote: which one; the usual one if you leave it out.")
    ] = None,
    remote: Annotated[
        bool, typer.Option("--remote", help="What a server or store holds instead, and what keeping that costs.")
    ] = False,
    by_type: Annotated[
        bool,
        typer.Option(
            "--by-type", help="By file extension too; a part that several types share is split evenly among them."
        ),
    ] = False,
    largest: Annotated[
        int | None,
        typer.Option("--largest", min=1, metavar="N", help="The N files whose versions together take most room too."),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> int:
    """Show how much all versions of all branches and tags are, and how little of it is stored.

    Sizes count what copies of the whole folder would take, one for each commit. Nothing is read but what describes
    the files.

    \b
    mediagit stats               what is stored, and what that saves
    mediagit stats --by-type     by file extension: which kind takes how much
    mediagit stats --largest 10  the ten files whose versions take most
    mediagit stats --remote      what the server holds, and what that costs a month
    """  # noqa: D301 -- a backspace keeps the lines of a paragraph
    console = ctx.obj.console
    if remote:
        if by_type or largest is not None:
            raise UsageError(
                "A server cannot tell types of files apart.", hint="Leave --remote out, or the other flag."
            )
        _show_remote(console, _ask_remote(ctx.obj, name))
        return ExitCode.OK
    if name is not None:
        raise UsageError(f"What is {name!r}?", hint=f"mediagit stats --remote {name}")
    with session.reading(ctx.obj, passphrase_file=passphrase_file) as repository:
        report = stats(repository, console.progress(), by_type=by_type, largest=largest or 0)
    if console.json:
        console.document(_document(report, by_type=by_type, largest=largest is not None))
    else:
        show(console, report)
    return ExitCode.OK


def _ask_remote(invocation: Invocation, name: str | None) -> RemoteStatsReport:
    layout = session.find_layout()
    settings = session.settings_of(invocation, layout).settings
    name = name or default_remote(settings, layout.read_head().branch)
    url = remote_url(settings, name)
    with session.connected(invocation, settings, url) as other:
        return remote_stats(settings, session.place_of(invocation, url, name), other)


def _show_remote(console: Console, report: RemoteStatsReport) -> None:
    held = report.holdings
    if console.json:
        sums = {"objects": held.objects, "bytes": held.bytes, "packs": held.packs, "pack_bytes": held.pack_bytes}
        cost = report.estimate.cost
        console.document(
            {
                "remote": report.remote,
                "url": report.url,
                **sums,
                "refs": held.refs,
                "cost": None if cost is None else cost.document(),
            }
        )
        return
    console.line(
        f"{report.url} holds {byte_size(held.bytes)}: {counted(held.packs, 'pack')} with {byte_size(held.pack_bytes)}, "
        f"{counted(held.refs, 'ref')}, {counted(held.objects, 'object')} in all"
    )
    show_estimate(console, report.estimate)


def _document(report: StatsReport, *, by_type: bool, largest: bool) -> dict[str, Any]:
    found: dict[str, Any] = {
        "logical_bytes": report.logical_bytes,
        "stored_bytes": report.stored_bytes,
        "unique_chunks": report.unique_chunks,
        "dedup_ratio": report.dedup_ratio,
        "compression_ratio": report.compression_ratio,
    }
    if by_type:
        found["metadata_bytes"] = report.metadata_bytes
        found["by_type"] = [
            {**asdict(one), "dedup_ratio": one.dedup_ratio, "compression_ratio": one.compression_ratio}
            for one in report.by_type
        ]
    if largest:
        found["largest"] = [asdict(one) for one in report.largest]
    return found


def show(console: Console, report: StatsReport) -> None:
    """Render the sums."""
    if not report.commits:
        console.line("Nothing is committed yet.")
        return
    rows = (
        (f"{counted(report.commits, 'version')} as full copies", report.logical_bytes, ""),
        ("without repeated parts", report.unique_bytes, _smaller(report.dedup_ratio)),
        ("stored, compressed", report.stored_bytes, _smaller(report.compression_ratio)),
    )
    width = max(len(label) for label, _, _ in rows)
    for label, size, note in rows:
        console.line(f"{label:<{width}}  {byte_size(size):>9}  {console.paint('dim', note)}".rstrip())
    saved = report.logical_bytes - report.stored_bytes
    if saved > 0:
        share = 100 * saved / report.logical_bytes
        console.line(console.paint("green", f"{byte_size(saved)} saved: {share:.1f} % of what copies would take."))
    if report.by_type:
        console.line()
        _table(console, _type_rows(report))
    if report.largest:
        console.line()
        _table(console, _path_rows(report))


def _type_rows(report: StatsReport) -> Iterator[Sequence[str]]:
    yield "type", "files", "versions", "as copies", "distinct", "stored", "dedup", "compression"
    for one in report.by_type:
        sizes = (byte_size(size) for size in (one.logical_bytes, one.unique_bytes, one.stored_bytes))
        ratios = (f"{ratio:.2f} x" for ratio in (one.dedup_ratio, one.compression_ratio))
        yield one.type or "(none)", f"{one.files:,}", f"{one.versions:,}", *sizes, *ratios
    yield "(history)", "", "", "", "", byte_size(report.metadata_bytes)


def _path_rows(report: StatsReport) -> Iterator[Sequence[str]]:
    yield "file", "versions", "in full", "stored"
    for one in report.largest:
        yield printable(one.path), f"{one.versions:,}", byte_size(one.logical_bytes), byte_size(one.stored_bytes)


def _table(console: Console, rows: Iterable[Sequence[str]]) -> None:
    """Write columns: the first one flush left, the others right; the first row is their names."""
    listed = list(rows)
    widths = [max(len(row[at]) for row in listed if at < len(row)) for at in range(len(listed[0]))]
    for number, row in enumerate(listed):
        cells = [
            f"{row[0]:<{widths[0]}}",
            *(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=False)),
        ]
        text = "  ".join(cells).rstrip()
        console.line(text if number else console.paint("bold", text))


def _smaller(ratio: float) -> str:
    return f"{ratio:.2f} x smaller" if ratio >= 1.005 else ""
