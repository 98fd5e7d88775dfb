"""A planned checkout carried out so that a crash at any point leaves the old tree, or one that can be finished.

1. New files are written to `.mediagit/checkout`, verified down to the whole-file hash, and synced as a batch.
2. A journal of all that is to move is written. From here the checkout will be finished; before, it never was.
3. Files are removed and renamed into place by open folders, never through a link, and never over a file that changed
   since the plan was made.
4. Stage, HEAD and ref follow, then the journal is removed.
"""

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

import msgspec

from mediavault.errors import MediaVaultError, StorageError, WouldOverwriteError
from mediavault.workspace.checkout_plan import CheckoutPlan, plan_checkout, plan_restore, plan_restore_staged
from mediavault.workspace.content import ignore_amount
from mediavault.workspace.journal import Intent, Journal, Write, read_journal, write_journal
from mediavault.workspace.layout import Layout, encode_head
from mediavault.workspace.moves import CHECKED_LATER, Moved, Mover
from mediavault.workspace.new_files import write_new_files
from mediavault.workspace.paths import parent_of, shown
from mediavault.workspace.stage import SLACK_NS, Stage, StageDamagedError, StageRow
from mediavault_backends import fsio

if TYPE_CHECKING:
    from array import array

    from mediavault.objects.reader import ObjectReader

__all__ = [
    "CheckoutPlan",
    "CheckoutReport",
    "Intent",
    "RecoveryReport",
    "plan_checkout",
    "plan_restore",
    "plan_restore_staged",
    "recover",
    "run_checkout",
]

_JOURNAL: Final = "journal"
_UNFIT: Final = frozenset((errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EPERM, errno.ENOTSUP, errno.EFBIG))
"""What file systems say to names, links and sizes that they do not know."""
_ELSEWHERE: Final = (
    "Use a folder on another file system, or take the rest with 'mediagit restore --source COMMIT -- PATH'."
)
_BLOCK_BYTES: Final = 4096
_RESERVE_BYTES: Final = 16 << 20
_RACY_BYTES: Final = 4 << 20
"""Content that is rather waited for than read again by the next status."""

NOTHING_WRITTEN: Final[Mapping[int, os.stat_result]] = MappingProxyType({})

Finish: TypeAlias = Callable[[Intent], None]
"""Moves the intent's ref; may be called again after a crash."""


class CheckoutReport(msgspec.Struct, frozen=True):
    """What a checkout did: counts of files, bytes of content, and paths left alone because they changed meanwhile."""

    written: int
    deleted: int
    bytes_written: int
    left: list[str]


class RecoveryReport(msgspec.Struct, frozen=True):
    """What was done about an interrupted checkout.

    Attributes:
        verb: what had been interrupted; empty where it is not known.
        finished: True when the new tree stands, False when the old one still does.
        left: paths left alone because they changed since.
        pending: what is to be finished by who can move its ref; None when nothing is.
    """

    verb: str
    finished: bool
    left: list[str]
    pending: Intent | None = None


def run_checkout(
    plan: CheckoutPlan,
    layout: Layout,
    stage: Stage,
    reader: "ObjectReader",
    intent: Intent,
    *,
    finish: Finish | None = None,
    progress: Callable[[int], None] = ignore_amount,
    written: Mapping[int, os.stat_result] = NOTHING_WRITTEN,
) -> CheckoutReport:
    """Carry out a plan; the caller holds the repository's lock and has called `recover` before planning.

    Args:
        plan: what to do.
        layout: the checkout.
        stage: its stage, as it was when the plan was made.
        reader: reads content.
        intent: what HEAD and ref become.
        finish: moves the intent's ref; needed when it names one.
        progress: told how many bytes were written, now and then.
        written: the status of the new files that stand in their waiting place already, by the number of their write.

    Raises:
        WouldOverwriteError: the plan has conflicts; nothing was changed.
        IntegrityError: content is missing or damaged; nothing was changed.
        StorageError: the disk failed or is full; the message says what stands.
    """
    if plan.conflicts:
        raise WouldOverwriteError(
            plan.conflicts,
            hint="Commit them, move them away, or give them up with 'mediagit restore PATH'.",
        )
    if intent.ref and finish is None:
        raise ValueError("an intent with a ref needs someone to move it")
    if not written and os.path.lexists(layout.checkout):
        raise RuntimeError("an interrupted checkout must be recovered first")
    journal = Journal(intent, plan.lists, plan.writes)
    begun = False
    try:
        _refuse_unwritable(plan, layout)
        _refuse_full(plan, layout, sum(status.st_size for status in written.values()))
        staged = write_new_files(layout.checkout, plan.writes, plan.lists.fresh, reader, progress, written=written)
        write_journal(layout.checkout / _JOURNAL, journal)
        begun = True
    except (OSError, MediaVaultError) as error:
        _raise_translated(error, untouched="The working tree was not changed.")
    finally:
        if not begun:
            discard(layout)
    try:
        begun_ns = _settled(layout, max(staged[1::3], default=0), plan.total)
        moved = Mover(layout, journal, staged, begun_ns).run()
        _note(layout, stage, journal, moved, finish)
    except OSError as error:
        _raise_translated(
            error,
            untouched="The checkout is half done.",
            hint="Make room or repair the disk; the next mediagit command finishes it.",
        )
    return CheckoutReport(moved.written, moved.deleted, plan.total, moved.left)


def has_room(plan: CheckoutPlan, layout: Layout, besides: int) -> bool:
    """Say whether the disk can take a plan's new files and so many bytes besides."""
    return _needed(plan) + besides <= _free(layout)


def discard(layout: Layout) -> None:
    """Remove new files that nothing points to; what cannot be removed does no harm and goes the next time."""
    with suppress(OSError):
        fsio.remove(layout.checkout / _JOURNAL)  # for good, before what it lists
    shutil.rmtree(layout.checkout, ignore_errors=True)


def recover(layout: Layout, finish: Finish | None = None) -> RecoveryReport | None:
    """Finish a checkout that was interrupted, or clear away one that had not begun to change the working tree.

    The caller holds the repository's lock. Costs one look-up when there is nothing to do.

    Args:
        layout: the checkout.
        finish: moves the intent's ref. Without it a checkout that names one stays pending, for a later call with it.

    Returns:
        what was done; None when nothing was interrupted.

    Raises:
        IntegrityError: the journal is damaged.
        StorageError: the disk failed or is full; call again.
    """
    if not os.path.lexists(layout.checkout):
        return None
    journal = read_journal(layout.checkout / _JOURNAL)
    if journal is None:
        begun = any(layout.checkout.iterdir())
        discard(layout)
        if not begun:
            return None
        return RecoveryReport("", finished=False, left=[])
    try:
        moved = Mover(layout, journal, None, 0).run()
        try:
            with Stage(layout.stage_file, _lost) as stage:
                _note(layout, stage, journal, moved, finish)
        except StageDamagedError:  # who opens it next makes it again from the commit that HEAD will be at
            _note(layout, None, journal, moved, finish)
    except OSError as error:
        _raise_translated(
            error,
            untouched="The checkout is half done.",
            hint="Make room or repair the disk; the next mediagit command finishes it.",
        )
    pending = journal.intent if journal.intent.ref and finish is None else None
    return RecoveryReport(journal.intent.verb, finished=True, left=moved.left, pending=pending)


def _refuse_unwritable(plan: CheckoutPlan, layout: Layout) -> None:
    folders = {parent_of(path) for path in plan.deletes}
    folders.update(parent_of(write.path) for write in plan.writes if not write.only_mode)
    for folder in sorted(folders):
        place = f"{layout.root}/{folder}"
        if not os.access(place, os.W_OK | os.X_OK) and os.path.isdir(place):  # noqa: PTH112 -- strings, for speed
            raise StorageError(
                f"The folder {folder or '.'!r} may not be written to.",
                untouched="Nothing was changed.",
                hint="Change its permissions, then try again.",
            )


def _refuse_full(plan: CheckoutPlan, layout: Layout, written: int) -> None:
    needed, free = _needed(plan) - written, _free(layout)
    if plan.total and needed > free:
        raise StorageError(
            f"The checkout needs {needed >> 20} MiB, and the disk has {free >> 20} MiB left.",
            hint="Make room, then try again.",
        )


def _needed(plan: CheckoutPlan) -> int:
    return plan.total + plan.count * _BLOCK_BYTES // 2 + _RESERVE_BYTES


def _free(layout: Layout) -> int:
    disk = os.statvfs(layout.folder)
    return disk.f_bavail * disk.f_frsize


def _raise_translated(error: OSError | MediaVaultError, *, untouched: str, hint: str = "") -> NoReturn:
    if isinstance(error, OSError):
        if error.errno in _UNFIT and error.filename:
            raise StorageError(
                f"This file system cannot hold {shown(os.fspath(error.filename))}: {error.strerror}.",
                untouched=untouched,
                hint=hint or _ELSEWHERE,
            ) from error
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        message = "The disk is full." if full else f"The disk failed: {error.strerror or error}."
        raise StorageError(message, untouched=untouched, hint=hint) from error
    error.untouched = error.untouched or untouched
    raise error


def _lost() -> NoReturn:
    raise StageDamagedError("The staging index is lost.")


def _note(layout: Layout, stage: Stage | None, journal: Journal, moved: Moved, finish: Finish | None) -> None:
    """Phase 4: make stage, HEAD and ref agree with the working tree, then forget the journal.

    Raises:
        OSError: the disk failed or is full; do it all again.
    """
    if stage is not None:
        _note_rows(layout, stage, journal, moved)
    intent = journal.intent
    if intent.head is not None:
        fsio.write_atomic(layout.head, encode_head(intent.head))
    if intent.ref:
        if finish is None:
            return
        finish(intent)
    for entry in layout.checkout.iterdir():  # what was left alone has its new content there still
        if entry.name != _JOURNAL:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    fsio.remove(layout.checkout / _JOURNAL)
    with suppress(OSError):  # an empty folder does no harm
        layout.checkout.rmdir()


def _note_rows(layout: Layout, stage: Stage, journal: Journal, moved: Moved) -> None:
    total = sum(write.size for write in journal.writes if not write.only_mode) if moved.newest_ns else 0
    checked_ns = _settled(layout, moved.newest_ns, total)
    lists = journal.lists
    rows = chain(lists.kept, _stamped(journal.writes, moved.stamps, checked_ns))
    with stage.transaction():
        if lists.keep_stage:
            stage.refresh_many(rows)
        else:
            stage.remove_many(lists.forgotten)
            stage.put_many(rows)
            stage.remember_trees(lists.trees)


def _settled(layout: Layout, newest_ns: int, total: int) -> int:
    """Return the clock, once it has left the tick of the last change if that spares the next status much reading.

    Args:
        layout: the checkout.
        newest_ns: the newest change time.
        total: bytes that would be read.
    """
    deadline = time.monotonic() + 5 * SLACK_NS / 1e9
    while True:
        now = layout.clock_ns()
        if total <= _RACY_BYTES or newest_ns < now - SLACK_NS or time.monotonic() > deadline:
            return now
        time.sleep(max(0.001, (newest_ns + SLACK_NS - now) / 1e9))


def _stamped(writes: Iterable[Write], stamps: "array[int]", checked_ns: int) -> Iterator[StageRow]:
    for number, write in enumerate(writes):
        mtime_ns, ctime_ns, inode, checked = stamps[4 * number : 4 * number + 4]
        if checked == CHECKED_LATER:
            checked = checked_ns
        kept = (write.path, write.mode, write.size, write.digest, write.link(), write.target)
        yield StageRow(*kept, mtime_ns, ctime_ns, inode, checked)
