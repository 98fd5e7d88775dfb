"""The rows of a project with many small files: a look at 100,000 that did not change, and a switch between branches."""

from pathlib import Path

from benchmarks import trees
from benchmarks.bench import Bench, make_corpus
from benchmarks.measure import CommandFailedError, Run
from benchmarks.tools import Branching, Git, GitLfs, MediaGit

STATUS = {"git": 10.0}
SWITCH = {"git-lfs": 0.3}
CHANGED = 100
"""One file in so many differs between the branches."""


def status(bench: Bench) -> None:
    """Look for changes among 100,000 files where there are none."""
    work = bench.begin("status: making the corpus")
    source = work / "source"
    make_corpus("tiny", source, max(100, round(100_000 * bench.options.scale)))
    tools = _branching(bench, work, Git)
    for tool in tools:
        tool.fresh(source)
        bench.untimed(tool, "ingest")
    runs: dict[str, list[Run]] = {tool.name: [] for tool in tools}
    for number in range(bench.options.rounds + 1):
        for tool in tools:
            bench.take(runs, tool, "status", warm_up=number == 0)
    for tool in tools:
        _check_sees_change(bench, tool)
    note = (
        "Files of 30 bytes, a thousand in a folder, in a git repository without LFS. Afterwards one file was changed, and "
        "each tool named it and no other."
    )
    bench.times(f"Status, {len(trees.entries(source)):,} files unchanged", note, runs, STATUS)


def switch(bench: Bench) -> None:
    """Go back and forth between two branches of 10,000 files that differ in one in a hundred."""
    work = bench.begin("switch: making the corpus")
    source, other = work / "source", work / "other"
    make_corpus("small", source, bench.options.scale)
    make_corpus("small", other, bench.options.scale)
    names = sorted(trees.entries(source))[::CHANGED]
    tools = _branching(bench, work, GitLfs)
    for tool in tools:
        tool.fresh(source)
        bench.untimed(tool, "ingest")
        tool.branch()
        for folder in [other, *tool.sources()]:
            for name in names:
                path = folder / name
                path.write_bytes(path.read_bytes()[::-1])
        if tool is not tools[-1]:  # turned round again, so that the next one turns the same files
            for name in names:
                (other / name).write_bytes((source / name).read_bytes())
        bench.untimed(tool, "ingest")
    runs: dict[str, list[Run]] = {tool.name: [] for tool in tools}
    for number in range(bench.options.rounds + 1):
        for branch, tree in (("main", source), ("other", other)):
            for tool in tools:
                run = bench.timed(
                    tool.name,
                    "switch",
                    tool.switch(branch),
                    tool.environment(),
                    warm_up=number == 0,
                    reads=[tool.repository()],
                )
                if number:
                    runs[tool.name].append(run)
                bench.compare(tool, tree)
    title = f"Switch between branches that differ in {len(names)} of {len(trees.entries(source)):,} files"
    note = "Back and forth in each round; the whole tree was compared after every switch."
    bench.times(title, note, runs, SWITCH)


def _branching(bench: Bench, work: Path, peer: type[Branching]) -> list[Branching]:
    """Return this product and one peer, as far as it was asked for and is installed."""
    wanted = peer is Git or peer in bench.options.peers
    kinds: list[type[Branching]] = [MediaGit, *([peer] if wanted and peer.found() else [])]
    return [kind(work / kind.name) for kind in kinds]


def _check_sees_change(bench: Bench, tool: Branching) -> None:
    [tree] = tool.sources()
    names = sorted(trees.entries(tree, ignore=frozenset({".git", ".mediagit"})))
    chosen = names[len(names) // 2]
    before = _status(bench, tool)
    (tree / chosen).write_bytes(b"changed\n")
    after = _status(bench, tool)
    if ".txt" in before or chosen not in after or after.count(".txt") != 1:
        raise CommandFailedError(f"{tool.name} does not tell that {chosen} alone was changed:\n{before}{after}")


def _status(bench: Bench, tool: Branching) -> str:
    bench.untimed(tool, "status")
    return bench.log.read_text()
