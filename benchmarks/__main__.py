"""Measures beside cp, git-lfs, borg, restic and DVC, whichever are installed, and writes the tables to RESULTS.md.

Groups of rows that are not measured keep what RESULTS.json has of them. A trial, which is a run at another scale than 1,
goes to build/ instead.
"""

import argparse
import importlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks import everyday, extremes, ledger, measure, rows, stages
from benchmarks.bench import Bench, Options
from benchmarks.ledger import Section
from benchmarks.tools import PEERS, Git, MediaGit, MediaGitUnpadded, Tool

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.json"
TRIAL = ROOT / "build" / "benchmarks" / "RESULTS.json"
REMARKS = ROOT / "benchmarks" / "REMARKS.md"
QUICK_SCALE, QUICK_ROUNDS = 0.02, 2


class Group(NamedTuple):
    """Rows that are measured together; long ones only when they are named, or with --all."""

    run: Callable[[Bench], None]
    long: bool = False


def _transfers(bench: Bench) -> None:
    importlib.import_module("benchmarks.transfers").run(bench)


def _clouds(bench: Bench) -> None:
    importlib.import_module("benchmarks.clouds").run(bench)


GROUPS = {
    "mixed": Group(rows.mixed),
    "video": Group(rows.video),
    "media": Group(rows.media),
    "small": Group(rows.small),
    "status": Group(everyday.status),
    "switch": Group(everyday.switch),
    "transfers": Group(_transfers),
    "clouds": Group(_clouds, long=True),
    "memory": Group(rows.memory),
    "padding": Group(rows.padding),
    "startup": Group(rows.start_up),
    "stages": Group(stages.stages),
    "million": Group(extremes.million, long=True),
    "huge": Group(extremes.huge, long=True),
    "lookup": Group(extremes.look_up, long=True),
}


def main() -> None:
    """Run the groups of rows that were asked for."""
    options = _arguments()
    absent = [name for name in options.peers if not PEERS[name].found()]
    peers = [PEERS[name] for name in options.peers if name not in absent]
    if absent:
        print(f"Not installed: {', '.join(absent)}", file=sys.stderr)
    work = Path(tempfile.mkdtemp(prefix="mediavault-bench-", dir=options.work))
    settings = Options(work / "run", options.scale, options.rounds, options.cold, peers, absent)
    remarks = REMARKS.read_text(encoding="utf-8") if options.out == RESULTS and REMARKS.exists() else ""
    try:
        if options.render:
            ledger.save(options.out, ledger.load(options.out), list(GROUPS), remarks)
        for name in options.rows:
            bench = Bench(settings)
            try:
                GROUPS[name].run(bench)
            finally:
                bench.finish()
            section = _section(name, bench, options)
            # Read anew and written at once: the whole takes long, and what was measured is not to be lost.
            ledger.save(options.out, ledger.load(options.out) | {section.key: section}, list(GROUPS), remarks)
    except measure.CommandFailedError as error:
        sys.exit(f"FAILED: {error}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"Written to {options.out.with_suffix('.md')}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--scale", type=float, help="1, the default, is 1.75 GiB and 10,000 small files")
    parser.add_argument("--rounds", type=int, help="measured rounds after one that only warms up; 5 by default")
    parser.add_argument("--quick", action="store_true", help=f"a trial: scale {QUICK_SCALE}, {QUICK_ROUNDS} rounds")
    parser.add_argument("--rows", nargs="+", choices=GROUPS, help="groups of rows; all but the long ones by default")
    parser.add_argument("--all", action="store_true", help=f"{', '.join(n for n, g in GROUPS.items() if g.long)} too")
    parser.add_argument("--stages", action="store_true", help="only the tables of stages")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--work", type=Path, help="a folder on the disk to measure; 30 GB are needed at scale 1")
    parser.add_argument("--cold", action="store_true", help="empty the page cache before each run; needs root")
    parser.add_argument(
        "--render", action="store_true", help="measure nothing: write the document anew, with REMARKS.md"
    )
    parser.add_argument("--out", type=Path, help="another RESULTS.json; the document goes beside it")
    options = parser.parse_args()
    if options.cold and not measure.can_drop_caches():
        parser.error("--cold needs root on Linux")
    options.scale = options.scale or (QUICK_SCALE if options.quick else 1.0)
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else 5)
    options.out = options.out or (RESULTS if options.scale == 1 else TRIAL)
    if options.stages:
        options.rows = ["stages"]
    if options.render:
        options.rows = []
        return options
    options.rows = options.rows or [name for name, group in GROUPS.items() if options.all or not group.long]
    return options


def _section(name: str, bench: Bench, options: argparse.Namespace) -> Section:
    """Put down what was measured, with what is needed to repeat it."""
    again = ["--rows", name]
    again += ["--scale", f"{options.scale:g}"] if options.scale != 1 else []
    again += ["--rounds", str(options.rounds)] if options.rounds != 5 else []
    again += ["--cold"] if options.cold else []
    used = {line.split(":")[0] for line in bench.command_lines}
    tools: list[type[Tool]] = [MediaGit, MediaGitUnpadded, *PEERS.values(), Git]
    return Section(
        key=f"{name} cold" if options.cold else name,
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        code=_code(),
        machine=(
            f"{os.cpu_count()} cores, {_memory()}{platform.system()} {platform.release()} {platform.machine()}, "
            f"Python {platform.python_version()}"
        ),
        command=shlex.join(["make", "bench", f"BENCH_ARGS={shlex.join(again)}"]),
        conditions=f"scale {options.scale:g}, {options.rounds} rounds, {'cold' if options.cold else 'warm'} page cache",
        tools=[[tool.name, tool.version(), tool.conditions] for tool in tools if tool.name in used],
        absent=list(bench.options.absent),
        tables=bench.tables,
        command_lines=bench.command_lines,
    )


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB of memory, "


def _code() -> str:
    """Return the commit that stands here, and whether the product differs from it."""
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout
        product = ["mediavault", "mediavault_server", "backends", "benchmarks/*.py"]
        status = [*git, "status", "--porcelain", "--", *product]
        changed = subprocess.run(status, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "code of unknown state"
    return f"commit {commit.strip()}{' with changes' if changed else ''}"


if __name__ == "__main__":
    main()
