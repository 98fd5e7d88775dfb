"""Takes the state of files into the stage: finds what changed, stores its content, then notes it."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3

from mediavault.chunking.fastcdc import Chunker
from mediavault.errors import NotFoundError, StorageError, UsageError
from mediavault.model.objects import Mode
from mediavault.objects.ingest import Content, Ingest, SkipFile
from mediavault.ops.progress import Progress
from mediavault.ops.repository import Repository
from mediavault.ops.staging import collisions_after
from mediavault.store.pack_writer import PackWriter
from mediavault.store.salvage import salvage
from mediavault.workspace.attributes import AttributeRules
from mediavault.workspace.ignore import FolderRules, IgnoreRules
from mediavault.workspace.links import target_problem
from mediavault.workspace.paths import shown, without_nested
from mediavault.workspace.scan import Problem, Scan, ScannedFile, lstat_file, scanned
from mediavault.workspace.stage import Stage, StageRow, row_of, same_content, trusted

_OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOTE_EVERY: Final = 4 << 30
"""Bytes of new content after which the files so far are noted: a killed add continues behind them."""
_CHANGED: Final = "changed while it was added"


@dataclass(frozen=True, slots=True)
class AddPlan:
    """What an add will do.

    Attributes:
        files: whose content or mode is to be looked at, with what is staged for them.
        removed: staged paths whose files are gone.
        unchanged: how many files the stage already has.
        problems: what cannot be added, and why.
        total: bytes to read.
        checked_ns: the file system's clock before any content is read.
    """

    files: Sequence[tuple[ScannedFile, StageRow | None]]
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
        UsageError: two of the names cannot stand beside each other on every system.
    """
    root = repository.layout.root
    checked_ns = repository.layout.clock_ns()
    rules = _Everything(root) if force else IgnoreRules(root)
    files: list[tuple[ScannedFile, StageRow | None]] = []
    removed: list[str] = []
    problems: list[Problem] = []
    unchanged = 0
    for path in without_nested(paths):
        scan = Scan(root, rules, [path])
        found = False
        for file, row in pair_up(iter(scan), stage.under(path)):
            found = True
            here = file or (lstat_file(root, row.path) if row else None)  # tracked, though ignored by now
            if here is None:
                removed.append(row.path if row else "")
            elif row is not None and trusted(row, here):
                unchanged += 1
            elif row is not None or not tracked_only:
                files.append((here, row))
        problems += scan.problems
        if not found and path and not scan.problems and not os.path.lexists(root / path):
            raise NotFoundError(
                f"There is no {shown(path)}, and nothing of that name was added before.",
                untouched="Nothing was added.",
                hint="`mediagit status` shows what changed.",
            )
    _refuse_collisions(stage, [file.path for file, row in files if row is None], removed)
    total = sum(file.size for file, _ in files)
    return AddPlan(files, removed, unchanged, problems, total, checked_ns)


def pair_up(
    files: Iterator[ScannedFile], rows: Iterator[StageRow]
) -> Iterator[tuple[ScannedFile | None, StageRow | None]]:
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


def _refuse_collisions(stage: Stage, new: Sequence[str], removed: Sequence[str]) -> None:
    for collision in collisions_after(stage, new, removed):
        raise UsageError(
            f"{shown(collision.first)} and {shown(collision.second)} are one name on other systems.",
            untouched="Nothing was added.",
            hint="Rename one of them, then add again.",
        )


@dataclass(slots=True)
class _File:
    """A working file as a source of content: opened without following a link, and watched for change while read."""

    repository: Repository
    file: ScannedFile
    compress: bool
    before: ScannedFile | None = None
    after: ScannedFile | None = None
    _fd: int = field(default=-1)

    @property
    def size(self) -> int:
        return self.file.size

    def open(self) -> "_File":
        try:
            self._fd = os.open(self.repository.layout.root / self.file.path, _OPEN_FLAGS)
        except FileNotFoundError:
            raise SkipFile from None
        self.before = scanned(self.file.path, os.fstat(self._fd))
        if self.before is None or self.before.mode is Mode.SYMLINK:
            self.close()
            raise SkipFile
        return self

    def readinto(self, buffer: memoryview, /) -> int:
        return os.readv(self._fd, [buffer])

    def close(self) -> None:
        if self._fd >= 0:
            self.after = scanned(self.file.path, os.fstat(self._fd))
            os.close(self._fd)
            self._fd = -1

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
        self._before = {file.path: row for file, row in plan.files}
        self._rows: list[StageRow] = []
        self._stage = stage
        self._writer = writer
        self._noted = 0

    def take(self, row: StageRow) -> None:
        """Note what a file holds; it enters the stage once that is stored."""
        before = self._before[row.path]
        self._rows.append(row)
        self.bytes_read += row.size
        if before is None:
            self.added.append(row.path)
        elif same_content(before, row):
            self.unchanged += 1
        else:
            self.modified.append(row.path)
        if self._writer.bytes_written - self._noted >= _NOTE_EVERY:
            self._writer.finish()
            self.note()

    def refuse(self, path: str, reason: str, hint: str) -> None:
        """Note that a file could not be taken."""
        self.problems.append(Problem(shown(path), reason, hint))

    def note(self) -> None:
        """Write the rows into the stage; what they name is stored."""
        self._stage.put_many(self._rows)
        self._rows = []
        self._noted = self._writer.bytes_written


def run_add(repository: Repository, stage: Stage, plan: AddPlan, progress: Progress) -> AddReport:
    """Store the content of the planned files, then note them in the stage.

    The caller holds the repository's lock. Files that change while they are read are left out and reported.

    Raises:
        StorageError: the disk is full, or a file cannot be read; what was noted so far stays noted.
    """
    salvage(repository.backend, repository.index, repository.spool)
    progress.start(plan.total, "bytes", "Adding")
    try:
        with repository.writer() as writer:
            tally = _Tally(plan, stage, writer)
            again = _take_files(
                repository, plan, [file for file, _ in plan.files], tally, writer=writer, progress=progress
            )
            for file in _take_files(repository, plan, again, tally, writer=writer, progress=progress):
                tally.refuse(file.path, _CHANGED, "Add it again when nothing writes to it any more.")
            writer.finish()
            with stage.transaction():
                stage.remove_many(plan.removed)
                tally.note()
            stored = writer.bytes_written
        repository.tidy()
    finally:
        progress.done()
    return AddReport(
        tally.added, tally.modified, plan.removed, tally.unchanged, tally.problems, tally.bytes_read, stored
    )


def _take_files(
    repository: Repository,
    plan: AddPlan,
    files: Sequence[ScannedFile],
    tally: _Tally,
    *,
    writer: PackWriter,
    progress: Progress,
) -> list[ScannedFile]:
    """Take files in; return those that changed meanwhile."""
    attributes = AttributeRules(repository.layout.root)
    sources = []
    for file in files:
        if file.mode is Mode.SYMLINK:
            _take_link(repository, plan, file, tally)
        else:
            sources.append(_File(repository, file, attributes.of(file.path).compress))
    if not sources:
        return []
    config, keys = repository.config, repository.keys
    changed = []
    ingest = Ingest(
        repository.codec,
        repository.splitter,
        repository.frames,
        writer,
        chunker=lambda: Chunker(config.chunker, keys.chunker_seed),
        workers=repository.workers,
    )
    with ingest:
        try:
            for source, content in ingest.add(sources):
                stamp = source.settled(content) if content else None
                if content is None or stamp is None:
                    fresh = lstat_file(repository.layout.root, source.file.path)
                    if fresh is not None:
                        changed.append(fresh)
                    else:
                        tally.refuse(source.file.path, "went away while it was added", "")
                    continue
                tally.take(row_of(stamp, content.digest, content.child, "", plan.checked_ns))
                progress.advance(content.size)
        except PermissionError as error:
            raise StorageError(
                f"Not allowed to read {error.filename or 'a file'}.",
                untouched="Nothing of it was added; the last commit is untouched.",
                hint="Change its permissions, or name it in .mediagitignore.",
            ) from error
    return changed


def _take_link(repository: Repository, plan: AddPlan, file: ScannedFile, tally: _Tally) -> None:
    try:
        text = os.readlink(repository.layout.root / file.path)  # noqa: PTH115 -- Path would change the text
    except OSError:
        tally.refuse(file.path, "went away while it was added", "")
        return
    problem = target_problem(file.path, text)
    if problem:
        tally.refuse(
            file.path, problem, "Make it a link to something inside the project, or name it in .mediagitignore."
        )
        return
    target = text.encode()
    tally.take(row_of(file, blake3(target).digest(), None, text, plan.checked_ns, size=len(target)))
