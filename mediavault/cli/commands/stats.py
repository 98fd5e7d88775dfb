"""mediagit stats: show how much is stored and saved."""

from mediavault.cli import session
from mediavault.cli.exit_codes import ExitCode
from mediavault.cli.render import Console
from mediavault.cli.text import byte_size, counted
from mediavault.cli.verb import Context, PassphraseFile, verb_app
from mediavault.ops.stats import StatsReport, stats

app = verb_app()


@app.command(name="stats")
def stats_command(ctx: Context, passphrase_file: PassphraseFile = None) -> int:
    """Show how much all versions of all branches and tags are, and how little of it is stored."""
    console = ctx.obj.console
    with session.reading(ctx.obj, passphrase_file=passphrase_file) as repository:
        report = stats(repository, console.progress())
    show(console, report)
    return ExitCode.OK


def show(console: Console, report: StatsReport) -> None:
    """Render the sums."""
    if console.json:
        console.document(
            {
                "logical_bytes": report.logical_bytes,
                "stored_bytes": report.stored_bytes,
                "unique_chunks": report.unique_chunks,
                "dedup_ratio": report.dedup_ratio,
                "compression_ratio": report.compression_ratio,
            }
        )
        return
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


def _smaller(ratio: float) -> str:
    return f"{ratio:.2f} x smaller" if ratio >= 1.005 else ""
