"""The rows that stand beside peers: what is done in turn by every tool, what is checked, and the ratios that are wanted."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import measure, trees
from benchmarks.bench import NOT_INSTALLED, Bench, Table, make_corpus, mb, verdict
from benchmarks.measure import Command, Run, Spread
from benchmarks.tools import Borg, Dvc, MediaGit, MediaGitUnpadded, Restic, Tool

START_UP_ROUNDS = 20

MIXED = {"restic": 0.4, "borg": 0.4, "git-lfs": 0.4, "cp": 3.0, "dvc": 0.8}
VIDEO = {"restic": 0.4, "borg": 0.3, "git-lfs": 0.4, "cp": 2.5}
REVISION = {"restic": 0.5, "borg": 0.4, "git-lfs": 0.15}
REVISION_BYTES = {"restic": 0.25, "borg": 0.15, "git-lfs": 0.01}
CHECKOUT = {"restic": 0.8, "borg": 0.4, "git-lfs": 0.5, "cp + sync -f": 1.3}
SMALL = {"restic": 0.6, "borg": 0.3, "git-lfs": 0.15, "cp": 1.2}
STATUS = {"restic": 0.2, "borg": 0.2, "git-lfs": 5.0}
STORED = {("mediagit", "restic"): 1.02, (MediaGitUnpadded.name, "restic"): 1.0, (MediaGitUnpadded.name, "borg"): 1.0}
MEMORY_BYTES = 200e6


def mixed(bench: Bench) -> None:
    """Take in, check out and revise the mixed corpus."""
    _corpus(bench, "mixed", "mixed corpus", ingest=MIXED, checkout=CHECKOUT, revision=REVISION)


def video(bench: Bench) -> None:
    """Take in and check out what cannot be compressed."""
    _corpus(bench, "video", "incompressible video", ingest=VIDEO, checkout=CHECKOUT)


def media(bench: Bench) -> None:
    """Take in and check out a project that real encoders made."""
    _corpus(bench, "media", "real media", ingest={}, checkout={})


def small(bench: Bench) -> None:
    """Take in many small files, then look for changes where there are none."""
    source, tools = bench.start("small")
    ingests: dict[str, list[Run]] = {tool.name: [] for tool in tools}
    looks: dict[str, list[Run]] = {tool.name: [] for tool in tools}
    for number in range(bench.options.rounds + 1):
        for tool in tools:
            tool.fresh(source)
            bench.take(ingests, tool, "ingest", warm_up=number == 0)
    asking = [tool for tool in tools if tool.unchanged()]
    for number in range(bench.options.rounds + 1):
        for tool in asking:
            bench.take(looks, tool, "status", warm_up=number == 0)
    for tool in tools:
        bench.check_checkout(tool, source)
    count = len(trees.entries(source))
    checked = "Every tool's last version was restored and compared."
    bench.times(f"Add and commit, {count:,} files of 8 KiB", checked, ingests, SMALL)
    note = "`status`, beside `git status` in git-lfs's tree, `dvc status`, and a backup of an unchanged folder."
    bench.times(f"Status, {count:,} files unchanged", f"{note} {checked}", looks, STATUS)


def padding(bench: Bench) -> None:
    """Compare stored bytes, without padding too, which the other tools do not have either."""
    source, _ = bench.start("mixed")
    size = trees.total_bytes(source)
    stored = {}
    for kind in (MediaGit, MediaGitUnpadded, *(peer for peer in bench.options.peers if peer in {Borg, Restic})):
        tool = kind(bench.options.work / kind.name.replace(" ", "-"))
        tool.fresh(source)
        bench.untimed(tool, "ingest")
        stored[kind.name] = tool.stored_bytes()
        bench.check_checkout(tool, source)
    cells = [["tool", "stored MB", "of the corpus", "beside", "÷ it", "wanted", "held"]]
    for name in (MediaGit.name, MediaGitUnpadded.name):
        start = [name, mb(stored[name]), f"{stored[name] / size:.3f}"]
        for peer in (Restic.name, Borg.name):
            limit = STORED.get((name, peer))
            if peer in stored:
                ratio = stored[name] / stored[peer]
                cells.append([*start, peer, f"{ratio:.4f}", *verdict(ratio, limit)])
            elif peer in bench.options.absent:
                cells.append([*start, peer, NOT_INSTALLED, "" if limit is None else f"≤ {limit:g}", ""])
    if len(cells) == 1:
        cells += [[name, mb(stored[name]), f"{stored[name] / size:.3f}", "", "", "", ""] for name in stored]
    beside = [name for name in (Restic.name, Borg.name) if name in stored]
    cells += [[name, mb(stored[name]), f"{stored[name] / size:.3f}", "", "", "", ""] for name in beside]
    note = "One ingest each, restored and compared; cut points and so sizes differ by a few thousandths between runs."
    bench.tables.append(Table("Stored bytes, mixed corpus", note, cells))


def memory(bench: Bench) -> None:
    """Commit one large file of distinct bytes and read the peak from the operating system."""
    source, tools = bench.start("distinct")
    size = trees.total_bytes(source)
    cells = [["tool", "peak MB", "s", "MB/s", "mediagit ÷ it", "wanted", "held"]]
    peaks: dict[str, int] = {}
    for tool in tools:
        tool.fresh(source)
        commands, reads = tool.step("ingest")
        run = bench.timed(tool.name, "ingest", commands, tool.environment(), reads=reads)
        peaks[tool.name] = run.peak_bytes
        ratio = peaks[MediaGit.name] / run.peak_bytes
        row = [tool.name, mb(run.peak_bytes), f"{run.seconds:.1f}", f"{size / 1e6 / run.seconds:.0f}"]
        if tool.name == MediaGit.name:
            row += [f"{mb(run.peak_bytes)} MB", *verdict(run.peak_bytes, MEMORY_BYTES, "≤ 200 MB")]
        else:
            row += [f"{ratio:.2f}", *verdict(ratio, 1.0 if tool.name == Restic.name else None)]
        cells.append(row)
        bench.check_checkout(tool, source)
        tool.discard()
    cells += [bench.absent_row(name, cells[0], 1.0 if name == "restic" else None) for name in bench.options.absent]
    least = measure.run([Command((sys.executable, "-c", "pass"), bench.options.work)], {}, bench.log).peak_bytes
    note = (
        f"Largest resident set of any one process (`wait4`), distinct bytes, restored and compared. {mb(least)} MB is what "
        "the harness itself adds at least: less cannot be seen. One run each: the times say little."
    )
    bench.tables.append(Table(f"Peak memory of committing one file of {size / (1 << 30):.2f} GiB", note, cells))


def start_up(bench: Bench) -> None:
    """Time the shortest commands beside a bare interpreter and beside peers that are written in Python too."""
    work = bench.begin("start-up")
    empty = work / "empty"
    empty.mkdir()
    tool = MediaGit(work / "mediagit")
    tool.fresh(empty)
    bare, version, status = "bare Python", "mediagit --version", "mediagit status, empty repository"
    cases: dict[str, Sequence[Command]] = {
        bare: [Command((sys.executable, "-c", "pass"), work)],
        version: [Command((tool.program, "--version"), work)],
        status: tool.unchanged(),
    }
    peers = [peer for peer in bench.options.peers if peer in {Borg, Restic, Dvc}]
    cases |= {
        " ".join((peer.name, *peer.ask_version)): [Command((peer.program, *peer.ask_version), empty)] for peer in peers
    }
    runs: dict[str, list[Run]] = {name: [] for name in cases}
    rounds = min(START_UP_ROUNDS, 4 * bench.options.rounds)
    environment = tool.environment() | Borg(work).environment() | Dvc(work).environment()
    for number in range(rounds + 1):
        for name, commands in cases.items():
            run = measure.run(commands, environment, bench.log)
            if number:
                runs[name].append(run)
    wanted = {(version, bare): 2.0, (status, bare): 12.0, (version, f"{Borg.name} --version"): 0.5}
    cells = [["command", "ms, median (least-greatest)", "beside", "÷ it, median (least-greatest)", "wanted", "held"]]
    for name, taken in runs.items():
        spread = Spread.of(run.seconds * 1e3 for run in taken).text(0)
        besides = [pair for pair in wanted if pair[0] == name] or [(name, bare)]
        for pair in besides:
            if pair[1] not in runs:
                cells.append([name, spread, pair[1], NOT_INSTALLED, f"≤ {wanted[pair]:g}", ""])
                continue
            ratio = Spread.of(one.seconds / it.seconds for one, it in zip(taken, runs[pair[1]], strict=True))
            cells.append([name, spread, pair[1], ratio.text(), *verdict(ratio.median, wanted.get(pair))])
    bench.tables.append(Table("Start-up", f"{rounds} rounds in turn, warm.", cells))


def _corpus(
    bench: Bench,
    kind: str,
    title: str,
    *,
    ingest: Mapping[str, float],
    checkout: Mapping[str, float],
    revision: Mapping[str, float] | None = None,
) -> None:
    """Ingest and check out one corpus in turn; with `revision`, then commit edits of it.

    Args:
        bench: runs it.
        kind: which corpus.
        title: what it is called in the tables.
        ingest: the greatest ratio that is wanted, by tool.
        checkout: the same for checking out.
        revision: the same for edits; None leaves them out.
    """
    source, tools = bench.start(kind)
    size = trees.total_bytes(source)
    ingests: dict[str, list[Run]] = {tool.name: [] for tool in tools}
    checkouts: dict[str, list[Run]] = {tool.name: [] for tool in tools}
    for number in range(bench.options.rounds + 1):
        for tool in tools:
            tool.fresh(source)
            bench.take(ingests, tool, "ingest", warm_up=number == 0)
        for tool in tools:
            tool.before_checkout()
            bench.take(checkouts, tool, "checkout", warm_up=number == 0)
            bench.compare(tool, source)
            tool.after_checkout()
    stored = {tool.name: tool.stored_bytes() for tool in tools}
    note = f"{mb(size)} MB in {len(trees.entries(source))} files."
    bench.times(f"Add and commit, {title}", note, ingests, ingest, size=size, stored=stored)
    note = "Every restored tree was compared byte for byte."
    bench.times(f"Checkout, {title}", note, checkouts, checkout, size=size)
    if revision is not None:
        _revisions(bench, source, tools, revision)


def _revisions(bench: Bench, source: Path, tools: Sequence[Tool], wanted: Mapping[str, float]) -> None:
    runs: dict[str, list[Run]] = {tool.name: [] for tool in tools}
    added: dict[str, list[int]] = {tool.name: [] for tool in tools}
    edited = 0
    for number in range(bench.options.rounds + 1):
        before = trees.total_bytes(source)
        for folder in (source, *(folder for tool in tools for folder in tool.sources())):
            make_corpus("revise", folder, number)
        edited = trees.total_bytes(source) - before
        for tool in tools:
            held = tool.stored_bytes()
            bench.take(runs, tool, "revision", warm_up=number == 0)
            added[tool.name].append(tool.stored_bytes() - held)
            tool.forget_all_but_newest()
    for tool in tools:
        bench.check_checkout(tool, source)
    note = "Three insertions of 100 kB in each big file, new ones in every round; the last version was restored and compared."
    bench.times("Revision, time", note, runs, wanted)
    ours = Spread.of(added[MediaGit.name])
    cells = [["tool", "MB added, median (least-greatest)", "mediagit ÷ it", "wanted", "held"]]
    for name, counts in added.items():
        spread = Spread.of(count / 1e6 for count in counts)
        if name == MediaGit.name:
            share = f"{ours.median / edited:.2f} x the edits"
            cells.append(
                [name, spread.text(), share, *verdict(ours.median, 4 * edited, f"≤ 4 x {edited / 1e6:.2f} MB")]
            )
        else:
            ratio = ours.median / 1e6 / spread.median
            cells.append([name, spread.text(), f"{ratio:.4f}", *verdict(ratio, REVISION_BYTES.get(name))])
    cells += [bench.absent_row(name, cells[0], REVISION_BYTES.get(name)) for name in bench.options.absent]
    bench.tables.append(Table("Revision, bytes added", "The same rounds.", cells))
