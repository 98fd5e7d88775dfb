"""The table of stages: where the time of add, commit and checkout goes, beside what the bare library calls take.

Measuring is `benchmarks.limits` (each stage alone, one thread) and `benchmarks.spans` (all of them in a real run).
"""

import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import measure, trees
from benchmarks.bench import Bench, Table, make_corpus, mb
from benchmarks.measure import Command, Run
from benchmarks.tools import MediaGit

STAGES = {
    "in": ("read", "cut", "id hash", "file hash", "probe", "compress", "seal", "write", "sync", "index"),
    "out": ("read", "parse frame", "open", "decompress", "id hash", "file hash", "write", "sync", "index"),
}
REREAD = ("read", "cut", "id hash", "file hash")
"""What a revision does with every byte, so that the limits of a first version hold for it."""


@dataclass(frozen=True)
class Traced:
    """What the stages of one step took, as the median of some runs.

    Attributes:
        plain: the same step without stopwatches.
        traced: the step with them.
        stages: by stage, calls, seconds on the wall, seconds of processor time, over all threads.
        start: processor time before the verbs began: interpreters and imports.
        cpu: processor time of all the step's processes, with stopwatches.
    """

    plain: list[Run]
    traced: list[Run]
    stages: Mapping[str, tuple[float, float, float]]
    start: float
    cpu: float


def stages(bench: Bench) -> None:
    """Trace add and commit of both corpora, their checkout, and a revision."""
    for kind in ("mixed", "video"):
        work = bench.begin(f"stages: making the corpus {kind}")
        source = work / "source"
        make_corpus(kind, source, bench.options.scale)
        limits = _limits(bench, source)
        tool = MediaGit(work / "mediagit")
        rounds = min(3, bench.options.rounds)
        tool.fresh(source)
        bench.untimed(tool, "ingest")
        steps = [_step(bench, tool, "ingest", fresh=source, rounds=rounds)]
        steps.append(_step(bench, tool, "checkout", rounds=rounds))
        bench.compare(tool, source)
        size = trees.total_bytes(source)
        bench.tables.append(_table(f"Add and commit, {kind}, by stage", size, limits["in"], steps[0], STAGES["in"]))
        bench.tables.append(_table(f"Checkout, {kind}, by stage", size, limits["out"], steps[1], STAGES["out"]))
        if kind == "mixed":
            known = {stage: columns for stage, columns in limits["in"].items() if stage in REREAD}
            step = _step(bench, tool, "revision", revise=source, rounds=rounds)
            bench.check_checkout(tool, source)
            bench.tables.append(_table("Revision, mixed, by stage", size, known, step, STAGES["in"]))


def _limits(bench: Bench, source: Path) -> dict[str, dict[str, dict[str, float]]]:
    out = bench.options.work / "limits.json"
    command = Command(
        (sys.executable, "-m", "benchmarks.limits", str(source), str(bench.options.work), str(out)), source
    )
    bench.timed("libraries", "stages", [command], {}, reads=[source])
    found: dict[str, dict[str, dict[str, float]]] = json.loads(out.read_text())
    return found


def _step(
    bench: Bench, tool: MediaGit, name: str, *, rounds: int, fresh: Path | None = None, revise: Path | None = None
) -> Traced:
    """Take a step plain and traced in turn."""
    plain, traced, totals, starts = [], [], [], []
    for number in range(2 * rounds):
        if fresh is not None:
            tool.fresh(fresh)
        elif revise is not None:
            for folder in (revise, *tool.sources()):
                make_corpus("revise", folder, number)
        else:
            tool.before_checkout()
        commands, reads = tool.step(name)
        if number % 2 == 0:
            plain.append(bench.timed(tool.name, name, commands, tool.environment(), reads=reads))
            continue
        outs = [bench.options.work / f"spans{place}.json" for place in range(len(commands))]
        watched = [
            Command((sys.executable, "-m", "benchmarks.spans", str(out), *command.arguments[1:]), command.cwd)
            for out, command in zip(outs, commands, strict=True)
        ]
        traced.append(bench.timed("traced", name, watched, tool.environment(), reads=reads))
        found: list[dict[str, Any]] = [json.loads(out.read_text()) for out in outs]
        totals.append(_sum([each["stages"] for each in found]))
        starts.append(sum(each["start"] for each in found))
    names = {stage for total in totals for stage in total}
    stages = {
        stage: tuple(statistics.median(total.get(stage, (0, 0, 0))[column] for total in totals) for column in range(3))
        for stage in names
    }
    return Traced(
        plain,
        traced,
        {stage: (one, two, three) for stage, (one, two, three) in stages.items()},
        statistics.median(starts),
        statistics.median(run.cpu_seconds for run in traced),
    )


def _sum(found: list[dict[str, list[float]]]) -> dict[str, list[float]]:
    names = {stage for each in found for stage in each}
    return {
        stage: [sum(each.get(stage, [0, 0, 0])[column] for each in found) for column in range(3)] for stage in names
    }


def _table(
    title: str, size: int, limits: Mapping[str, Mapping[str, float]], step: Traced, order: tuple[str, ...]
) -> Table:
    cells = [
        [
            "stage",
            "bare library s",
            "own call alone s",
            "calls",
            "processor s in the run",
            "÷ bare",
            "wall s in the run",
        ]
    ]
    for stage in order:
        calls, wall, cpu = step.stages.get(stage, (0, 0, 0))
        bare, own = (limits.get(stage, {}).get(column) for column in ("bare", "own"))
        ratio = f"{cpu / bare:.2f}" if bare and stage != "sync" else ""
        cells.append([stage, _seconds(bare), _seconds(own), f"{calls:,.0f}", f"{cpu:.2f}", ratio, f"{wall:.2f}"])
    known = sum(columns.get("bare", 0) for stage, columns in limits.items() if stage != "sync")
    within = step.start + sum(cpu for _, _, cpu in step.stages.values())
    cells.append(["start, imports", "", "", "", f"{step.start:.2f}", "", ""])
    cells.append(["interpreter and the rest", "", "", "", f"{max(0.0, step.cpu - within):.2f}", "", ""])
    cells.append(["all", _seconds(known), "", "", f"{step.cpu:.2f}", f"{step.cpu / known:.2f}" if known else "", ""])
    plain = measure.Spread.of(run.seconds for run in step.plain)
    used = statistics.median(run.cpu_seconds for run in step.plain)
    note = (
        f"{mb(size)} MB. Plain runs took {plain.text()} s on the wall and {used:.2f} s of the processors, "
        f"so {used / plain.median:.2f} were busy on average; with stopwatches "
        f"{statistics.median(run.seconds for run in step.traced):.2f} s and {step.cpu:.2f} s. "
        "“All” of the bare calls leaves syncing out. Syncing waits for the disk beside the other stages."
    )
    return Table(title, note, cells)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
