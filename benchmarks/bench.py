"""Lets tools do the same work in turn and lays out what that took; which work, and how much is wanted, is for the rows."""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import measure, trees
from benchmarks.measure import Command, Run, Spread
from benchmarks.tools import MediaGit, Tool

REPOSITORIES = frozenset({".mediagit", ".git"})
NOT_INSTALLED = "not installed"


@dataclass(frozen=True)
class Table:
    """One result: a heading, what was done, and cells as text, the first row being the column names.

    Where something is wanted, the last three columns are the figure that is judged, "wanted" and "held".
    """

    title: str
    note: str
    cells: list[list[str]]

    def missed(self) -> list[str]:
        """Return a sentence for each row that does not hold what is wanted."""
        head, *rows = self.cells
        if head[-2:] != ["wanted", "held"]:
            return []
        return [f"{self.title}, {row[0]}: {row[-3]}, wanted {row[-2]}" for row in rows if row[-1] == _HELD[False]]


@dataclass(frozen=True)
class Options:
    """How a comparison is run.

    Attributes:
        work: a folder for everything, on the disk that is measured; emptied by each group of rows.
        scale: size of the corpora; 1.0 is 1.75 GiB and 10,000 files.
        rounds: measured rounds, after one that only warms up.
        cold: whether the page cache is emptied before each measured run.
        peers: the tools to compare with, those that are installed.
        absent: names of tools that were asked for and are not installed.
    """

    work: Path
    scale: float
    rounds: int
    cold: bool
    peers: Sequence[type[Tool]]
    absent: Sequence[str] = ()


@dataclass
class Bench:
    """Runs one group of rows; its tables and the command lines that were measured collect here."""

    options: Options
    tables: list[Table] = field(default_factory=list)
    command_lines: dict[str, list[str]] = field(default_factory=dict)

    def begin(self, what: str) -> Path:
        """Return the work folder, empty."""
        print(what, flush=True)
        self.finish()
        self.options.work.mkdir(parents=True)
        return self.options.work

    def start(self, kind: str) -> tuple[Path, list[Tool]]:
        """Make a corpus; return its folder and a fresh instance of each tool, this product first."""
        work = self.begin(f"{kind}: making the corpus")
        make_corpus(kind, work / "source", self.options.scale)
        kinds: list[type[Tool]] = [MediaGit, *self.options.peers]
        return work / "source", [kind(work / kind.name.replace(" ", "-")) for kind in kinds]

    def finish(self) -> None:
        """Remove the work folder."""
        shutil.rmtree(self.options.work, ignore_errors=True)

    def timed(
        self,
        name: str,
        step: str,
        commands: Sequence[Command],
        environment: Mapping[str, str],
        *,
        warm_up: bool = False,
        reads: Iterable[Path] = (),
    ) -> Run:
        """Settle the machine, run commands, note their command lines, and return what they took.

        Args:
            name: the tool.
            step: what is done.
            commands: how.
            environment: the variables they run under.
            warm_up: the run does not count.
            reads: what they read, so that it is in memory unless a cold cache was asked for.
        """
        self.settle(warm_up=warm_up, reads=reads)
        run = measure.run(commands, environment, self.log)
        words = f"cpu {run.cpu_seconds:6.2f} s, {mb(run.disk_bytes)} MB from the disk{', warm-up' if warm_up else ''}"
        print(f"  {step:<9} {name:<14} {run.seconds:7.2f} s  ({words})", flush=True)
        self._note_commands(name, step, commands)
        return run

    def settle(self, *, warm_up: bool = False, reads: Iterable[Path] = ()) -> None:
        """Settle the machine, with patience in proportion to what was written."""
        patience = measure.PATIENCE_SECONDS * min(1.0, self.options.scale)
        measure.settle(self.options.work, cold=self.options.cold and not warm_up, reads=reads, patience=patience)

    def take(self, runs: dict[str, list[Run]], tool: Tool, step: str, *, warm_up: bool) -> None:
        """Let a tool take one step; the run is added to `runs` unless it is the warm-up."""
        commands, reads = tool.step(step)
        run = self.timed(tool.name, step, commands, tool.environment(), warm_up=warm_up, reads=reads)
        if not warm_up:
            runs[tool.name].append(run)

    def untimed(self, tool: Tool, step: str) -> None:
        """Let a tool take a step that does not count."""
        commands, _ = tool.step(step)
        measure.run(commands, tool.environment(), self.log)
        self._note_commands(tool.name, step, commands)

    def compare(self, tool: Tool, source: Path) -> None:
        """Check that what a tool restored is the source.

        Raises:
            CommandFailedError: it is not.
        """
        found = trees.differences(source, tool.restored(), ignore=REPOSITORIES, only_contents=not tool.keeps_modes)
        if found:
            raise measure.CommandFailedError(f"{tool.name} restored something else:\n" + "\n".join(found[:10]))

    def check_checkout(self, tool: Tool, source: Path) -> None:
        """Check a tool out without counting it, and compare."""
        tool.before_checkout()
        self.untimed(tool, "checkout")
        self.compare(tool, source)
        tool.after_checkout()

    def times(
        self,
        title: str,
        note: str,
        runs: Mapping[str, list[Run]],
        wanted: Mapping[str, float],
        *,
        size: int = 0,
        stored: Mapping[str, int] | None = None,
    ) -> None:
        """Add a table of times, each tool's beside this product's in the same round.

        Args:
            title: heading.
            note: what was done.
            runs: each tool's measured runs.
            wanted: the greatest ratio that is wanted, by tool.
            size: bytes that went through, for a column of MB/s.
            stored: bytes of each repository, for a column.
        """
        columns = ["tool", "s, median (least-greatest)", *(["MB/s"] if size else []), "peak MB"]
        columns += ["stored MB"] if stored else []
        cells = [[*columns, "mediagit ÷ it, median (least-greatest)", "wanted", "held"]]
        ours = runs[MediaGit.name]
        for name, taken in runs.items():
            if not taken:
                continue
            seconds = Spread.of(run.seconds for run in taken)
            row = [name, seconds.text()]
            row += [f"{size / 1e6 / seconds.median:.0f}"] if size else []
            row += [f"{max(run.peak_bytes for run in taken) / 1e6:.0f}"]
            row += [mb(stored[name])] if stored else []
            ratio = Spread.of(one.seconds / other.seconds for one, other in zip(ours, taken, strict=True))
            row += [ratio.text() if name != MediaGit.name else ""]
            cells.append(row + verdict(ratio.median, wanted.get(name)))
        cells += [self.absent_row(name, cells[0], wanted.get(name)) for name in self.options.absent]
        self.tables.append(Table(title, "\n".join(filter(None, [note, self._disk_note(runs)])), cells))

    def absent_row(self, name: str, columns: Sequence[str], limit: float | None = None) -> list[str]:
        """Return the row of a tool that is not installed."""
        row = [name, NOT_INSTALLED, *[""] * (len(columns) - 2)]
        if limit is not None:
            row[-2] = f"≤ {limit:g}"
        return row

    def without_paths(self, command: Command) -> str:
        """Return a command line in which nothing is peculiar to this machine."""
        line = " ".join(command.arguments).replace(str(self.options.work), "$WORK")
        return line.replace(MediaGit.program, "mediagit").replace(sys.executable, "python")

    @property
    def log(self) -> Path:
        """Where the output of commands goes."""
        return self.options.work / "log"

    def _note_commands(self, name: str, step: str, commands: Sequence[Command]) -> None:
        self.command_lines.setdefault(f"{name}: {step}", [self.without_paths(command) for command in commands])

    def _disk_note(self, runs: Mapping[str, list[Run]]) -> str:
        """Say who read from the disk although its input was read just before."""
        read = {name: max((run.disk_bytes for run in taken), default=0) for name, taken in runs.items()}
        named = [f"{name} {mb(count)} MB" for name, count in read.items() if count >= 1e6]
        return f"Most read from the disk in one run: {', '.join(named)}." if named else ""


def make_corpus(kind: str, folder: Path, value: float) -> None:
    """Write a corpus, in a process of its own; see `benchmarks.corpora`."""
    subprocess.run([sys.executable, "-m", "benchmarks.corpora", kind, str(folder), f"{value:g}"], check=True)


def verdict(figure: float, limit: float | None, text: str = "") -> list[str]:
    """Return the cells "wanted" and "held"; `text` replaces the plain limit."""
    return ["", ""] if limit is None else [text or f"≤ {limit:g}", _HELD[figure <= limit]]


def mb(count: float) -> str:
    """Return bytes as whole megabytes."""
    return f"{count / 1e6:.0f}"


_HELD = {True: "yes", False: "**no**"}
