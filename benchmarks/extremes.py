"""The rows that take long: a file of 100 GB, a million files, an index of 100 million chunks. They have no peers beside them."""

import subprocess
import sys
import time
from pathlib import Path

from benchmarks import measure, trees
from benchmarks.bench import Bench, Table, make_corpus, mb, verdict
from benchmarks.measure import Command, CommandFailedError, Run
from benchmarks.rows import MEMORY_BYTES
from benchmarks.tools import MediaGit

FLAT = 1.2
"""The greatest ratio between the peaks of a large and a small file for which memory counts as level."""
MANY_FILES_BYTES = 500e6
LOOKUP_SECONDS = 1.0
LOOKUP_BYTES = 300e6


def huge(bench: Bench) -> None:
    """Commit and read back a file of 1 GB and one of 100 GB, and compare the peaks of memory."""
    cells = [["file", "step", "s", "MB/s", "stored MB", "peak MB", "judged", "wanted", "held"]]
    peaks: dict[str, list[int]] = {}
    for share in (0.01, 1.0):
        work = bench.begin(f"huge: a sparse file, {share:g} of the largest")
        source = work / "source"
        make_corpus("sparse", source, bench.options.scale * share)
        size = trees.total_bytes(source)
        tool = MediaGit(work / "mediagit")
        # The file stays where it is: a copy of it would not be sparse everywhere.
        tree = tool.adopt(source)
        steps = {"add + commit": bench.timed(tool.name, "ingest", tool.ingest(), tool.environment())}
        steps["cat"] = _read_back(bench, tool, tree / "scan.bin")
        for step, run in steps.items():
            peaks.setdefault(step, []).append(run.peak_bytes)
            row = [f"{size / 1e9:g} GB", step, f"{run.seconds:.1f}", f"{size / 1e6 / run.seconds:.0f}"]
            row += [mb(tool.stored_bytes()), mb(run.peak_bytes)]
            cells.append([*row, f"{mb(run.peak_bytes)} MB", *verdict(run.peak_bytes, MEMORY_BYTES, "≤ 200 MB")])
    for step, (first, last) in peaks.items():
        row = ["the larger ÷ the smaller", step, "", "", "", ""]
        cells.append([*row, f"{last / first:.2f}", *verdict(last / first, FLAT)])
    note = (
        "Sparse files: a megabyte of distinct bytes in each hundred, holes between. Every byte is read, cut, hashed and "
        "named in a manifest, but few are compressed, sealed and stored: this row says nothing about speed. `cat` wrote "
        "the whole file from the repository, and it was compared with the original as it came."
    )
    bench.tables.append(Table("Memory from a file of 1 GB to one of 100 GB", note, cells))


def million(bench: Bench) -> None:
    """Take in, look at and check out a million files."""
    work = bench.begin("million: making the corpus")
    source = work / "source"
    count = max(100, round(1_000_000 * bench.options.scale))
    make_corpus("tiny", source, count)
    tool = MediaGit(work / "mediagit")
    tool.fresh(source)
    runs = {}
    for number, name in enumerate(("add", "commit", "status")):
        commands = (tool.ingest() + tool.unchanged())[number : number + 1]
        runs[name] = bench.timed(tool.name, name, commands, tool.environment())
    tool.before_checkout()
    runs["restore"] = bench.timed(tool.name, "restore", tool.checkout(), tool.environment())
    bench.compare(tool, source)
    cells = [["step", "s", "files/s", "peak MB", "wanted", "held"]]
    for name, run in runs.items():
        row = [name, f"{run.seconds:.1f}", f"{count / run.seconds:,.0f}", f"{mb(run.peak_bytes)} MB"]
        cells.append([*row, *verdict(run.peak_bytes, MANY_FILES_BYTES, "≤ 500 MB")])
    note = "Files of 30 bytes, a thousand in a folder; the restored tree was compared."
    bench.tables.append(Table(f"Memory and time of {count:,} files", note, cells))


def look_up(bench: Bench) -> None:
    """Look up 10,000 ids in an index of 100 million rows."""
    work = bench.begin("lookup: writing the index")
    rows = max(20_000, round(100_000_000 * bench.options.scale))
    program = [sys.executable, "-m", "benchmarks.known"]
    subprocess.run([*program, "write", str(work / "store"), str(rows)], check=True)
    size = trees.total_bytes(work / "store")
    command = Command((*program, "find", str(work / "store"), str(rows)), Path.cwd())
    runs = {"in memory": bench.timed("mediagit", "look-up", [command], {}, reads=[work / "store"])}
    seconds = {"in memory": _seconds(bench)}
    if measure.can_drop_caches():
        measure.settle(work, cold=True)
        runs["cold"] = measure.run([command], {}, bench.log)
        seconds["cold"] = _seconds(bench)
    cells = [["page cache", "what", "figure", "wanted", "held"]]
    for name, run in runs.items():
        limit = LOOKUP_SECONDS if name == "in memory" else None
        cells.append([name, "time", f"{seconds[name]:.2f} s", *verdict(seconds[name], limit, "≤ 1 s")])
        resident = f"{mb(run.peak_bytes)} MB"
        cells.append([name, "peak memory", resident, *verdict(run.peak_bytes, LOOKUP_BYTES, "≤ 300 MB")])
    note = (
        f"{rows:,} rows in blobs of at most a million, {mb(size)} MB; half of the ids are known. Every answer was checked. "
        "Time from opening the index, without the start of the interpreter; memory with the pages of the index that are mapped."
    )
    bench.tables.append(Table(f"Look-up of 10,000 ids among {rows:,} chunks", note, cells))


def _seconds(bench: Bench) -> float:
    return float(bench.log.read_text().split()[-1])


def _read_back(bench: Bench, tool: MediaGit, original: Path) -> Run:
    """Let the tool write the file from the repository into a pipe, and compare it with the original."""
    [command] = tool.read_back(original.name)
    bench.settle()
    started = time.perf_counter()
    run, equal = measure.run_into(command, tool.environment(), bench.log, original)
    if not equal:
        raise CommandFailedError(f"{tool.name} brought back something else than {original.name}.")
    print(f"  {'cat':<9} {tool.name:<14} {time.perf_counter() - started:7.2f} s", flush=True)
    bench.command_lines[f"{tool.name}: cat"] = [bench.without_paths(command)]
    return run
