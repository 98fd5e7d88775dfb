"""Measures beside cp, git-lfs, borg and restic, whichever are installed, and writes the tables to RESULTS.md."""

import argparse
import os
import platform
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import DROP_CACHES
from benchmarks.rows import CHECKOUT, MIXED, REVISION, VIDEO, Bench, Options, Table
from benchmarks.tools import PEERS, MediaGit, Tool

RESULTS = Path(__file__).with_name("RESULTS.md")

GROUPS: dict[str, Callable[[Bench], None]] = {
    "mixed": lambda bench: bench.corpus("mixed", "mixed corpus", ingest=MIXED, checkout=CHECKOUT, revision=REVISION),
    "video": lambda bench: bench.corpus("video", "incompressible video", ingest=VIDEO, checkout=CHECKOUT),
    "media": lambda bench: bench.corpus("media", "real media", ingest={}, checkout={}),
    "small": Bench.small_files,
    "padding": Bench.padding,
    "memory": Bench.memory,
    "startup": Bench.start_up,
}


def main() -> None:
    """Run the groups of rows that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="1.0 is 1.75 GiB, 10,000 small files and one file of 4 GiB"
    )
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds, after one that only warms up")
    parser.add_argument("--rows", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument(
        "--work", type=Path, help="a folder on the disk to measure; about 12 times the corpus is needed"
    )
    parser.add_argument("--cold", action="store_true", help="empty the page cache before each run; needs root")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.cold and not os.access(DROP_CACHES, os.W_OK):
        parser.error("--cold needs root on Linux")
    missing = [name for name in options.peers if not PEERS[name].found()]
    peers = [PEERS[name] for name in options.peers if name not in missing]
    if missing:
        print(f"Not installed, so left out: {', '.join(missing)}", file=sys.stderr)
    work = Path(tempfile.mkdtemp(prefix="mediavault-bench-", dir=options.work))
    bench = Bench(Options(work / "run", options.scale, options.rounds, options.cold, peers))
    try:
        for name in options.rows:
            GROUPS[name](bench)
            # Now and not only at the end: the whole takes half an hour, and what was measured is not to be lost.
            options.out.write_text(_report(bench, [MediaGit, *peers], missing), encoding="utf-8")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"Written to {options.out}")


def _report(bench: Bench, tools: list[type[Tool]], missing: list[str]) -> str:
    """Lay out everything that was measured, with what is needed to repeat it."""
    again = shlex.join(
        ["make", "bench", f"BENCH_ARGS={shlex.join(sys.argv[1:])}"] if sys.argv[1:] else ["make", "bench"]
    )
    lines = [
        "# Results",
        "",
        (
            f"Measured on {time.strftime('%Y-%m-%d', time.gmtime())} with `{again}`: scale {bench.options.scale:g}, "
            f"{bench.options.rounds} rounds in turn after a warm-up, {'cold' if bench.options.cold else 'warm'} page cache."
        ),
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()} {platform.machine()}, Python {platform.python_version()}.",
        "Ratios are medians of the pairs within a round. Every restored tree was compared byte for byte with its source.",
        "What is wanted is meant for scale 1: in small trials the start of a program is most of its time.",
        "",
    ]
    tools_table = Table(
        "What was compared",
        "",
        [["tool", "version", "conditions"], *([tool.name, tool.version(), tool.conditions] for tool in tools)],
    )
    for table in (tools_table, *bench.tables):
        lines += [f"## {table.title}", ""]
        lines += [table.note, ""] if table.note else []
        head, *rows = table.cells
        lines += [_row(head), _row(["---"] * len(head)), *map(_row, rows), ""]
    if missing:
        lines += [f"Not installed, so left out: {', '.join(missing)}.", ""]
    lines += ["## The command lines", "", "```"]
    for step, commands in bench.command_lines.items():
        lines += [f"# {step}", *commands]
    return "\n".join([*lines, "```", ""])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
