"""The rows of the comparison: what is done in turn by every tool, what is checked, and the ratios that are wanted."""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import measure, trees
from benchmarks.measure import Command, Run, Spread
from benchmarks.tools import Borg, MediaGit, MediaGitUnpadded, Restic, Tool

REPOSITORIES = frozenset({".mediagit", ".git"})
START_UP_ROUNDS = 20
LARGE = 4096
"""MiB of the file whose commit is watched for memory, at scale 1."""


@dataclass(frozen=True)
class Table:
    """One result: a heading, what was done, and cells as text, the first row being the column names."""

    title: str
    note: str
    cells: list[list[str]]


@dataclass(frozen=True)
class Options:
    """How a comparison is run.

    Attributes:
        work: a folder for everything, on the disk that is measured; emptied by each group of rows.
        scale: size of the corpora; 1.0 is 1.75 GiB and 10,000 files.
        rounds: measured rounds, after one that only warms up.
        cold: whether the page cache is emptied before each measured run.
        peers: the tools to compare with.
    """

    work: Path
    scale: float
    rounds: int
    cold: bool
    peers: Sequence[type[Tool]]


@dataclass
class Bench:
    """Runs groups of rows; tables and the command lines that were measured collect here."""

    options: Options
    tables: list[Table] = field(default_factory=list)
    command_lines: dict[str, list[str]] = field(default_factory=dict)

    def corpus(
        self,
        kind: str,
        title: str,
        *,
        ingest: Mapping[str, float],
        checkout: Mapping[str, float],
        revision: Mapping[str, float] | None = None,
    ) -> None:
        """Ingest and check out one corpus in turn; with `revision`, then commit edits of it.

        Args:
            kind: which corpus.
            title: what it is called in the tables.
            ingest: the greatest ratio that is wanted, by tool.
            checkout: the same for checking out.
            revision: the same for edits; None leaves them out.
        """
        source, tools = self._start(kind)
        size = trees.total_bytes(source)
        ingests: dict[str, list[Run]] = {tool.name: [] for tool in tools}
        checkouts: dict[str, list[Run]] = {tool.name: [] for tool in tools}
        for number in range(self.options.rounds + 1):
            for tool in tools:
                tool.fresh(source)
                self._note(ingests, tool, "ingest", tool.ingest(), warm_up=number == 0)
            for tool in tools:
                tool.before_checkout()
                self._note(checkouts, tool, "checkout", tool.checkout(), warm_up=number == 0)
                self._compare(tool, source)
        stored = {tool.name: tool.stored_bytes() for tool in tools}
        note = f"{_mb(size)} MB in {len(trees.entries(source))} files."
        self._add(f"Add and commit, {title}", note, ingests, ingest, size=size, stored=stored)
        self._add(
            f"Checkout, {title}", "Every restored tree was compared byte for byte.", checkouts, checkout, size=size
        )
        if revision is not None:
            self._revisions(source, tools, revision)
        self._finish()

    def small_files(self) -> None:
        """Ingest many small files, then look for changes where there are none."""
        source, tools = self._start("small")
        ingests: dict[str, list[Run]] = {tool.name: [] for tool in tools}
        looks: dict[str, list[Run]] = {tool.name: [] for tool in tools}
        for number in range(self.options.rounds + 1):
            for tool in tools:
                tool.fresh(source)
                self._note(ingests, tool, "ingest", tool.ingest(), warm_up=number == 0)
        asking = [tool for tool in tools if tool.unchanged()]
        for number in range(self.options.rounds + 1):
            for tool in asking:
                self._note(looks, tool, "status", tool.unchanged(), warm_up=number == 0)
        for tool in tools:
            tool.before_checkout()
            measure.run(tool.checkout(), tool.environment(), self._log)
            self._compare(tool, source)
        count = len(trees.entries(source))
        self._add(f"Add and commit, {count} files of 8 KiB", "", ingests, SMALL)
        note = "`status`, beside `git status` and a backup of an unchanged folder."
        self._add(f"Status, {count} files unchanged", note, looks, STATUS)
        self._finish()

    def padding(self) -> None:
        """Compare stored bytes without padding, which the other tools do not have either."""
        source, _ = self._start("mixed")
        kinds = [MediaGit, MediaGitUnpadded, *(peer for peer in self.options.peers if peer in {Borg, Restic})]
        stored = {}
        for kind in kinds:
            tool = kind(self.options.work / kind.name.replace(" ", "-"))
            tool.fresh(source)
            measure.run(tool.ingest(), tool.environment(), self._log)
            tool.before_checkout()
            measure.run(tool.checkout(), tool.environment(), self._log)
            self._compare(tool, source)
            stored[kind.name] = tool.stored_bytes()
        size = trees.total_bytes(source)
        cells = [["tool", "stored MB", "of the corpus", "mediagit ÷ it", "unpadded ÷ it", "wanted"]]
        for name, count in stored.items():
            padded, bare = stored[MediaGit.name] / count, stored[MediaGitUnpadded.name] / count
            want = STORED.get(name, "")
            cells.append([name, _mb(count), f"{count / size:.3f}", f"{padded:.3f}", f"{bare:.3f}", want])
        self.tables.append(
            Table("Stored bytes, mixed corpus", "One ingest each; sizes do not vary between runs.", cells)
        )
        self._finish()

    def memory(self) -> None:
        """Commit one large file of distinct bytes and read the peak from the operating system."""
        source, tools = self._start("distinct")
        size = trees.total_bytes(source)
        cells = [["tool", "peak MB", "mediagit ÷ it", "s", "MB/s", "wanted", "held"]]
        peaks: dict[str, int] = {}
        for tool in tools:
            tool.fresh(source)
            run = measure.run(tool.ingest(), tool.environment(), self._log)
            peaks[tool.name] = run.peak_bytes
            ratio = peaks[MediaGit.name] / run.peak_bytes
            row = [
                tool.name,
                _mb(run.peak_bytes),
                f"{ratio:.2f}",
                f"{run.seconds:.1f}",
                f"{size / 1e6 / run.seconds:.0f}",
            ]
            if tool.name == MediaGit.name:
                row += ["≤ 200 MB", _yes(run.peak_bytes <= 200e6)]
            elif tool.name == Restic.name:
                row += ["≤ 1.00", _yes(ratio <= 1)]
            else:
                row += ["", ""]
            cells.append(row)
        title = f"Peak memory of committing one file of {size / (1 << 30):.2f} GiB"
        self.tables.append(
            Table(
                title,
                "Largest resident set of any one process (`wait4`), distinct bytes; the 19 MB of the harness are the least that can show.",
                cells,
            )
        )
        self._finish()

    def start_up(self) -> None:
        """Time the shortest commands beside a bare interpreter."""
        tool = MediaGit(self.options.work / "start-up")
        empty = self.options.work / "empty"
        empty.mkdir(parents=True)
        tool.fresh(empty)
        cases = {
            "bare Python": [Command((sys.executable, "-c", "pass"), self.options.work)],
            "mediagit --version": [Command((tool.program, "--version"), self.options.work)],
            "mediagit status, empty repository": tool.unchanged(),
        }
        cases |= {
            f"{peer.name} --version": [Command((peer.program, "--version"), empty)]
            for peer in self.options.peers
            if peer is Borg
        }
        runs: dict[str, list[Run]] = {name: [] for name in cases}
        for number in range(START_UP_ROUNDS + 1):
            for name, commands in cases.items():
                run = measure.run(commands, tool.environment(), self._log)
                if number:
                    runs[name].append(run)
        cells = [["command", "ms, median (least-greatest)", "÷ bare Python", "wanted", "held"]]
        for name, taken in runs.items():
            spread = Spread.of(run.seconds * 1e3 for run in taken)
            ratio = Spread.of(
                one.seconds / bare.seconds for one, bare in zip(taken, runs["bare Python"], strict=True)
            ).median
            limit = START_UP.get(name)
            verdict = [f"≤ {limit:g}", _yes(ratio <= limit)] if limit else ["", ""]
            cells.append([name, f"{spread.median:.0f} ({spread.low:.0f}-{spread.high:.0f})", f"{ratio:.1f}", *verdict])
        self.tables.append(Table("Start-up", f"{START_UP_ROUNDS} rounds in turn.", cells))
        self._finish()

    def _revisions(self, source: Path, tools: Sequence[Tool], wanted: Mapping[str, float]) -> None:
        runs: dict[str, list[Run]] = {tool.name: [] for tool in tools}
        added: dict[str, list[int]] = {tool.name: [] for tool in tools}
        edited = 0
        for number in range(self.options.rounds + 1):
            before = trees.total_bytes(source)
            for folder in (source, *(folder for tool in tools for folder in tool.sources())):
                _corpora("revise", folder, str(number))
            edited = trees.total_bytes(source) - before
            for tool in tools:
                held = tool.stored_bytes()
                self._note(runs, tool, "revision", tool.ingest(), warm_up=number == 0)
                added[tool.name].append(tool.stored_bytes() - held)
        for tool in tools:
            tool.before_checkout()
            measure.run(tool.checkout(), tool.environment(), self._log)
            self._compare(tool, source)
        note = "Three insertions of 100 kB in each big file, new ones in every round; the last version was restored and compared."
        self._add("Revision, time", note, runs, wanted)
        ours = Spread.of(added[MediaGit.name])
        cells = [["tool", "MB added, median (least-greatest)", "mediagit ÷ it", "wanted", "held"]]
        for name, counts in added.items():
            spread = Spread.of(counts)
            ratio = ours.median / spread.median
            row = [name, f"{spread.median / 1e6:.2f} ({spread.low / 1e6:.2f}-{spread.high / 1e6:.2f})", f"{ratio:.3f}"]
            if name == MediaGit.name:
                row += [f"≤ 4 x {edited / 1e6:.2f} MB edited", _yes(ours.median <= 4 * edited)]
            else:
                row += _verdict(ratio, REVISION_BYTES.get(name))
            cells.append(row)
        self.tables.append(Table("Revision, bytes added", "The same rounds.", cells))

    @property
    def _log(self) -> Path:
        return self.options.work / "log"

    def _start(self, kind: str) -> tuple[Path, list[Tool]]:
        print(f"{kind}: making the corpus", flush=True)
        shutil.rmtree(self.options.work, ignore_errors=True)
        self.options.work.mkdir(parents=True)
        source = self.options.work / "source"
        _corpora(kind, source, str(self.options.scale))
        tools: list[Tool] = [MediaGit(self.options.work / "mediagit")]
        tools += [peer(self.options.work / peer.name.replace(" ", "-")) for peer in self.options.peers]
        return source, tools

    def _finish(self) -> None:
        shutil.rmtree(self.options.work, ignore_errors=True)

    def _note(
        self, runs: dict[str, list[Run]], tool: Tool, step: str, commands: list[Command], *, warm_up: bool
    ) -> None:
        measure.settle(cold=self.options.cold and not warm_up)
        run = measure.run(commands, tool.environment(), self._log)
        print(f"  {step:<9} {tool.name:<14} {run.seconds:7.2f} s{'  (warm-up)' if warm_up else ''}", flush=True)
        if not warm_up:
            runs[tool.name].append(run)
        lines = [" ".join(command.arguments).replace(str(self.options.work), "$WORK") for command in commands]
        self.command_lines.setdefault(
            f"{tool.name}: {step}", [line.replace(MediaGit.program, "mediagit") for line in lines]
        )

    def _compare(self, tool: Tool, source: Path) -> None:
        found = trees.differences(source, tool.restored(), ignore=REPOSITORIES)
        if found:
            raise measure.CommandFailedError(f"{tool.name} restored something else:\n" + "\n".join(found[:10]))

    def _add(
        self,
        title: str,
        note: str,
        runs: Mapping[str, list[Run]],
        wanted: Mapping[str, float],
        *,
        size: int = 0,
        stored: Mapping[str, int] | None = None,
    ) -> None:
        columns = [
            "tool",
            "s, median (least-greatest)",
            *(["MB/s"] if size else []),
            "peak MB",
            *(["stored MB"] if stored else []),
        ]
        cells = [[*columns, "mediagit ÷ it, median (least-greatest)", "wanted", "held"]]
        ours = runs[MediaGit.name]
        for name, taken in runs.items():
            if not taken:
                continue
            seconds = Spread.of(run.seconds for run in taken)
            row = [name, f"{seconds.median:.2f} ({seconds.low:.2f}-{seconds.high:.2f})"]
            row += [f"{size / 1e6 / seconds.median:.0f}"] if size else []
            row += [f"{max(run.peak_bytes for run in taken) / 1e6:.0f}"]
            row += [_mb(stored[name])] if stored else []
            ratio = Spread.of(one.seconds / other.seconds for one, other in zip(ours, taken, strict=True))
            row += [f"{ratio.median:.2f} ({ratio.low:.2f}-{ratio.high:.2f})" if name != MediaGit.name else ""]
            row += _verdict(ratio.median, wanted.get(name))
            cells.append(row)
        self.tables.append(Table(title + (", cold cache" if self.options.cold else ""), note, cells))


MIXED = {"restic": 0.4, "borg": 0.4, "git-lfs": 0.4, "cp": 3.0}
VIDEO = {"restic": 0.4, "borg": 0.3, "git-lfs": 0.4, "cp": 2.5}
REVISION = {"restic": 0.5, "borg": 0.4, "git-lfs": 0.15}
REVISION_BYTES = {"restic": 0.25, "borg": 0.15, "git-lfs": 0.01}
CHECKOUT = {"restic": 0.8, "borg": 0.4, "git-lfs": 0.5, "cp + sync -f": 1.3}
SMALL = {"restic": 0.6, "borg": 0.3, "git-lfs": 0.15, "cp": 1.2}
STATUS = {"restic": 0.2, "borg": 0.2, "git-lfs": 5.0}
STORED = {"restic": "≤ 1.02 padded, ≤ 1.00 unpadded", "borg": "≤ 1.00"}
START_UP = {"mediagit --version": 2.0, "mediagit status, empty repository": 12.0}


def _corpora(what: str, folder: Path, value: str) -> None:
    subprocess.run([sys.executable, "-m", "benchmarks.corpora", what, str(folder), value], check=True)


def _verdict(ratio: float, limit: float | None) -> list[str]:
    return ["", ""] if limit is None else [f"≤ {limit:g}", _yes(ratio <= limit)]


def _yes(held: bool) -> str:
    return "yes" if held else "**no**"


def _mb(count: int) -> str:
    return f"{count / 1e6:.0f}"
