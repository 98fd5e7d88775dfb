"""Takes the state of files into the stage: finds what changed, stores its content, then notes it."""

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec
from blake3 import blake3

from mediavault.chunking.fastcdc import Chunker
from mediavault.errors import NotFoundError
from mediavault.model.objects import Mode
from mediavault.objects.ingest import Content, Ingest, SkipFile
from mediavault.ops.repository import Repository
from mediavault.progress import Progress
from mediavault.store.pack_writer import PackWriter
from mediavault.store.salvage import salvage
from mediavault.workspace.attributes import AttributeRules
from mediavault.workspace.collisions import Collision, NameWatch
from mediavault.workspace.content import ignore_amount, open_at
from mediavault.workspace.ignore import FolderRules, IgnoreRules
from mediavault.workspace.links import LINK_HINT, target_problem
from mediavault.workspace.long_paths import is_there, reach
from mediavault.workspace.packed_list import PackedList
from mediavault.workspace.paths import folders_above, shown, without_nested
from mediavault.workspace.scan import Problem, Scan, ScannedFile, lstat_file, scanned, unreadable
from mediavault.workspace.stage import Stage, StageRow, StampRow, row_of, same_content, trusted

_NOTE_EVERY: Final = 4 << 30
"""Bytes of new content after which the files so far are noted: a killed add continues behind them."""
_NOTE_ROWS: Final = 1 << 17
"""Files after which they are noted too: what is held for each until then takes memory."""
_CHANGED: Final = "changed while it was added"
_LOOK: Final = "`mediagit status` shows what is there now."
_GONE: Final = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMLINK, errno.ENXIO))
"""What opening says of a file that is none any more."""


class Candidate(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A file whose content or mode is to be looked at, and whether something is staged for it."""

    file: ScannedFile
    tracked: bool


@dataclass(frozen=True, slots=True)
class AddPlan:
    """What an add will do.

    Attributes:
        files: what is to be looked at.
        removed: staged paths whose files are gone.
        unchanged: how many files the stage already has.
        problems: what cannot be added, and why.
        total: bytes to read.
        checked_ns: the file system's clock before any content is read.
    """

    files: PackedList[Candidate]
    removed: Sequence[str]
    unchanged: int
    problems: Sequence[Problem]
    total: int
    checked_ns: int


@dataclass(frozen=True, slots=True)
class AddReport:
    """What an add did: paths by what happened to them, the bytes read, and the bytes that were new and stored."""

    added: Sequence[str]
    modified: Sequence[str]
    removed: Sequence[str]
    unchanged: int
    problems: Sequence[Problem]
    bytes_read: int
    bytes_stored: int


class _Everything(IgnoreRules):
    """Rules that ignore only what is never versioned."""

    def enter(self, folder: str, above: FolderRules | None, *, has_file: bool = True) -> FolderRules:
        """Return no rules."""
        del folder, has_file
        return above or FolderRules()


def plan_add(
    repository: Repository,
    stage: Stage,
    paths: Sequence[str] = ("",),
    *,
    tracked_only: bool = False,
    force: bool = False,
) -> AddPlan:
    """Find what changed under some paths.

    Args:
        repository: whose working tree it is.
        stage: its stage.
        paths: relative to its root, with "/"; "" is everything.
        tracked_only: leave files alone that the stage does not have.
        force: take ignored files too.

    Raises:
        NotFoundError: nothing is there under one of the paths, and nothing was.
        ConfigError: an ignore file is not usable.
    """
    root = repository.layout.root
    checked_ns = repository.layout.clock_ns()
    chosen = without_nested(paths)
    look = _Look(root, stage, chosen, tracked_only=tracked_only)
    for path in chosen:
        look.under(path, _Everything(root) if force else IgnoreRules(root))
    return look.plan(checked_ns)


class _Look:
    """Compares what is staged with the working tree, root by root."""

    def __init__(self, root: Path, stage: Stage, chosen: Sequence[str], *, tracked_only: bool) -> None:
        self._root = root
        self._stage = stage
        self._tracked_only = tracked_only
        self._watch = NameWatch(chosen)
        self._files = PackedList(Candidate)
        self._removed: list[str] = []
        self._problems: list[Problem] = []
        self._unchanged = 0
        self._new = 0
        self._total = 0

    def under(self, path: str, rules: IgnoreRules) -> None:
        """Look at a file or folder.

        Raises:
            NotFoundError: nothing is there, and nothing was.
        """
        scan = Scan(self._root, rules, [path])
        before = len(self._files) + self._unchanged
        removed = len(self._removed)
        for file, row in pair_up(iter(scan), self._stage.stamps(path)):
            self._meet(file, row)
        self._problems += scan.problems
        if len(self._files) + self._unchanged > before:
            # A file was staged where a folder is now.
            replaced = [above for above in folders_above(path) if above and self._stage.get(above) is not None]
            self._removed += [above for above in replaced if above not in self._removed]
        elif path and len(self._removed) == removed and not scan.problems and not is_there(self._root, path):
            raise NotFoundError(
                f"There is no {shown(path)}, and nothing of that name was added before.",
                untouched="Nothing was added.",
                hint="`mediagit status` shows what changed.",
            )

    def _meet(self, file: ScannedFile | None, row: StampRow | None) -> None:
        here = file
        if file is None and row is not None:
            here = lstat_file(self._root, row.path)  # tracked, though ignored by now
            if here is None:
                self._removed.append(row.path)
        if here is None:
            return
        if row is not None and trusted(row, here):
            self._unchanged += 1
        elif row is not None or not self._tracked_only:
            self._files.append(Candidate(here, row is not None))
            self._new += row is None
            self._total += here.size
        else:
            return
        self._watch.see(here.path)

    def plan(self, checked_ns: int) -> AddPlan:
        """Return the plan, without the names that collide."""
        files, total = self._files, self._total
        collisions = list(self._watch.refused(self._stage, self._removed)) if self._new else []
        if collisions:
            refused = {collision.first for collision in collisions}
            files, total = PackedList(Candidate), 0
            for candidate in self._files:
                path = candidate.file.path
                if candidate.tracked or refused.isdisjoint((path, *folders_above(path))):
                    files.append(candidate)
                    total += candidate.file.size
        problems = [*self._problems, *map(_one_name, collisions)]
        problems.sort(key=_path)
        return AddPlan(files, self._removed, self._unchanged, problems, total, checked_ns)


def _one_name(collision: Collision) -> Problem:
    reason = f"and {shown(collision.second)} are one name on other systems"
    return Problem(shown(collision.first), reason, "Rename one of them, or name it in .mediagitignore.")


def _path(problem: Problem) -> str:
    return problem.path


def pair_up(
    files: Iterator[ScannedFile], rows: Iterator[StampRow]
) -> Iterator[tuple[ScannedFile | None, StampRow | None]]:
    """Yield what stands at each path in the working tree and in the stage; both come in path order."""
    file, row = next(files, None), next(rows, None)
    while file or row:
        if row is None or (file is not None and file.path < row.path):
            yield file, None
            file = next(files, None)
        elif file is None or row.path < file.path:
            yield None, row
            row = next(rows, None)
        else:
            yield file, row
            file, row = next(files, None), next(rows, None)


@dataclass(slots=True)
class _File:
    """A working file as a source of content: opened without following a link, and watched for change while read.

    What the system says against opening or reading it stands in `failure`. `advance` is told of bytes as they are
    read, and of the rest of what was planned when the file is dealt with, so that it is told of exactly that.
    """

    root: Path
    file: ScannedFile
    tracked: bool
    compress: bool
    advance: Callable[[int], None]
    before: ScannedFile | None = None
    after: ScannedFile | None = None
    failure: OSError | None = None
    _fd: int = field(default=-1)
    _read: int = field(default=0)

    @property
    def size(self) -> int:
        return self.file.size

    def dealt_with(self) -> None:
        """Tell of what was planned and not read, or take back what was read beyond it."""
        self.advance(self.file.size - self._read)

    def open(self) -> "_File":
        self.before = self.after = None
        try:
            self._fd = open_at(self.root, self.file.path)
        except OSError as error:
            self.failure = error
            raise SkipFile from None
        self.before = scanned(self.file.path, os.fstat(self._fd))
        if self.before is None or self.before.mode is Mode.SYMLINK:
            self.close()
            raise SkipFile
        return self

    def readinto(self, buffer: memoryview, /) -> int:
        try:
            count = os.readv(self._fd, [buffer])
        except OSError as error:
            self.failure = error
            raise SkipFile from None
        self._read += count
        self.advance(count)
        return count

    def close(self) -> None:
        if self._fd >= 0:
            self.after = scanned(self.file.path, os.fstat(self._fd))
            fd, self._fd = self._fd, -1  # in this order: an interrupt between the two closes nothing twice
            os.close(fd)

    def settled(self, content: Content) -> ScannedFile | None:
        """Return the stamp that belongs to the content; None when the file changed under the reader."""
        if self.before is None or self.before != self.after or content.size != self.before.size:
            return None
        return self.before


class _Tally:
    """What an add has done so far."""

    def __init__(self, plan: AddPlan, stage: Stage, writer: PackWriter) -> None:
        self.added: list[str] = []
        self.modified: list[str] = []
        self.unchanged = plan.unchanged
        self.problems = list(plan.problems)
        self.bytes_read = 0
        self._removed = plan.removed
        self._rows: list[StageRow] = []
        self._stage = stage
        self._writer = writer
        self._noted = 0

    def take(self, row: StageRow, *, tracked: bool) -> None:
        """Note what a file holds; it enters the stage once that is stored."""
        before = self._stage.get(row.path) if tracked else None
        self._rows.append(row)
        self.bytes_read += row.size
        if before is None:
            self.added.append(row.path)
        elif same_content(before, row):
            self.unchanged += 1
        else:
            self.modified.append(row.path)
        if self._writer.bytes_written - self._noted >= _NOTE_EVERY or len(self._rows) >= _NOTE_ROWS:
            self._writer.finish()
            self.note()

    def refuse(self, problem: Problem) -> None:
        """Note that a file could not be taken."""
        self.problems.append(problem)

    def note(self) -> None:
        """Write the rows into the stage; what they name is stored."""
        with self._stage.transaction():
            self._stage.remove_many(self._removed)
            self._stage.put_many(self._rows)
        self._removed, self._rows = (), []
        self._noted = self._writer.bytes_written


def run_add(repository: Repository, stage: Stage, plan: AddPlan, progress: Progress) -> AddReport:
    """Store the content of the planned files, then note them in the stage.

    The caller holds the repository's lock. Files that change while they are read, or cannot be read, are left out and
    reported.

    Raises:
        StorageError: the disk is full or failed; what was noted so far stays noted.
    """
    salvage(repository.backend, repository.index, repository.spool)
    progress.start(plan.total, "bytes", "Adding")
    try:
        with repository.writer() as writer:
            tally = _Tally(plan, stage, writer)
            take = partial(_take_files, repository, plan.checked_ns, tally, writer=writer)
            again = take(plan.files, advance=progress.advance)
            for candidate in take(again, advance=ignore_amount) if again else ():
                tally.refuse(
                    Problem(shown(candidate.file.path), _CHANGED, "Add it again when nothing writes to it any more.")
                )
            writer.finish()
            tally.note()
            stored = writer.bytes_written
        repository.tidy()
    finally:
        progress.done()
    tally.problems.sort(key=_path)
    return AddReport(
        tally.added, tally.modified, plan.removed, tally.unchanged, tally.problems, tally.bytes_read, stored
    )


def _take_files(
    repository: Repository,
    checked_ns: int,
    tally: _Tally,
    candidates: Iterable[Candidate],
    *,
    writer: PackWriter,
    advance: Callable[[int], None],
) -> list[Candidate]:
    """Take files in; return those that changed meanwhile."""
    root = repository.layout.root
    attributes = AttributeRules(root)
    changed = []

    def sources() -> Iterator[_File]:
        for candidate in candidates:
            file = candidate.file
            if file.mode is Mode.SYMLINK:
                _take_link(root, checked_ns, candidate, tally)
                advance(file.size)
            else:
                yield _File(root, file, candidate.tracked, attributes.of(file.path).compress, advance)

    waiting = sources()
    first = next(waiting, None)
    if first is None:
        return []
    config, keys = repository.config, repository.keys
    ingest = Ingest(
        repository.codec,
        repository.splitter,
        repository.frames,
        writer,
        chunker=lambda: Chunker(config.chunker, keys.chunker_seed),
        workers=repository.workers,
    )
    with ingest:
        for source, content in ingest.add(chain((first,), waiting)):
            stamp = source.settled(content) if content else None
            if content is not None and stamp is not None:
                row = row_of(stamp, content.digest, content.child, "", checked_ns)
                tally.take(row, tracked=source.tracked)
            elif (fresh := _after_trouble(source, tally)) is not None:
                changed.append(Candidate(fresh, source.tracked))
            source.dealt_with()
    return changed


def _after_trouble(source: _File, tally: _Tally) -> ScannedFile | None:
    """Return how a file that could not be taken looks now, when it is worth another try; else say why not."""
    path, failure = source.file.path, source.failure
    if failure is not None and failure.errno not in _GONE:
        tally.refuse(unreadable(path, failure))
        return None
    fresh = lstat_file(source.root, path)
    if fresh is None:
        tally.refuse(Problem(shown(path), "went away while it was added", _LOOK))
    return fresh


def _take_link(root: Path, checked_ns: int, candidate: Candidate, tally: _Tally) -> None:
    file = candidate.file
    try:
        text = reach(lambda name, folder: os.readlink(name, dir_fd=folder), root, file.path)
    except OSError:
        tally.refuse(Problem(shown(file.path), "went away while it was added", _LOOK))
        return
    if problem := target_problem(file.path, text):
        tally.refuse(Problem(shown(file.path), problem, LINK_HINT))
        return
    target = text.encode()
    row = row_of(file, blake3(target).digest(), None, text, checked_ns, size=len(target))
    tally.take(row, tracked=candidate.tracked)
