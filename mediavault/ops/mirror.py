"""Keeps a copy of a whole repository elsewhere up to date, without any key; run again after a crash, it continues."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mediavault.errors import RepositoryBusyError, UsageError
from mediavault.model.ids import Link
from mediavault.progress import Progress
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.store.verify import Damage
from mediavault.sync import mirror as sync_mirror
from mediavault.sync.mirror_check import Comparison
from mediavault.sync.remote import Remote
from mediavault.wire.http import Traffic
from mediavault_backends import fsio
from mediavault_backends.local import LocalBackend

_WORK: Final = "work"


@dataclass(frozen=True, slots=True)
class Workroom:
    """Where one run keeps what is on its way: the metadata that is to be sent, and packs that come."""

    folder: Path

    def store(self, name: str) -> FrameStore:
        """Make an empty store."""
        backend = LocalBackend(self.folder / name, create=True)
        return FrameStore(backend, ObjectIndex(backend))

    @property
    def spool(self) -> Path:
        """The folder for packs."""
        return self.folder / "spool"


@dataclass(frozen=True, slots=True)
class MirroredRef:
    """A ref of the mirror: from where, to where, in how many moves; `lost` when what others moved there is given up."""

    name: str
    old: Link | None
    new: Link | None
    moves: int
    lost: bool


@dataclass(frozen=True, slots=True)
class MirrorPlan:
    """What is to be sent from where to where.

    Attributes:
        source: the address of what is mirrored.
        destination: that of the mirror.
        created: the mirror is yet to be made.
        refs: those that move.
        kept_refs: refs that only the mirror has; they are left alone.
        slots: names of key slots that are put.
        kept_slots: names of those that only the mirror has. They still open the repository there.
        chunks: how many are sent.
        objects: how many objects of any kind.
        packs: how many packs they make.
        bytes: of these, which the mirror stores besides.
        writes: everything that is put: packs, values of refs, key slots, the config.
        found: what the run goes by.
    """

    source: str
    destination: str
    created: bool
    refs: Sequence[MirroredRef]
    kept_refs: Sequence[str]
    slots: Sequence[str]
    kept_slots: Sequence[str]
    chunks: int
    objects: int
    packs: int
    bytes: int
    writes: int
    found: sync_mirror.MirrorPlan


@dataclass(frozen=True, slots=True)
class MirrorCheck:
    """What a comparison of every byte found; `others` are objects that both have whole and that are sealed differently."""

    objects: int
    others: int
    damage: Sequence[Damage]


@contextmanager
def workroom(folder: Path) -> Iterator[Workroom]:
    """Hold a folder for one run; what a run that was killed left there is removed first, and all of it at the end.

    Raises:
        RepositoryBusyError: another run holds it.
    """
    fsio.make_folders(folder)
    work = folder / _WORK
    try:
        with fsio.FileLock(folder / "lock").held():
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            try:
                yield Workroom(work)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except TimeoutError as error:
        raise RepositoryBusyError(
            "Another command mirrors the same to the same place now.",
            untouched="Nothing was sent.",
            hint="Wait until it is done.",
        ) from error


def plan_mirror(
    source: Remote,
    destination: Remote,
    room: Workroom,
    frames: FrameStore,
    *,
    force: bool,
    progress: Progress,
    pack_size: int,
) -> MirrorPlan:
    """Find out what the mirror lacks; nothing changes at either side.

    Args:
        source: what to mirror.
        destination: the mirror.
        room: where to keep what comes.
        frames: an empty store there, for the metadata that is to be sent.
        force: give up what others moved at the mirror.
        progress: told of objects.
        pack_size: target size of a pack, in bytes.

    Raises:
        UsageError: both are the same place.
        NotFoundError: there is no repository at the source.
        NeedsDecisionError: another repository is in the mirror's place; or others moved refs there, and not `force`.
        IntegrityError: the source is not whole.
        RemoteError: one of them failed.
    """
    if source.url == destination.url:
        raise UsageError("The source and the mirror are the same.", untouched="Nothing was sent.")
    found = sync_mirror.plan_mirror(
        source, destination, frames, room.spool, force=force, progress=progress, pack_size=pack_size
    )
    return MirrorPlan(
        source=source.url,
        destination=destination.url,
        created=found.created,
        refs=[
            MirroredRef(course.name, course.former, course.target, len(course.values), course.lost)
            for course in found.courses
        ],
        kept_refs=found.kept_refs,
        slots=sorted(found.slots.changes),
        kept_slots=found.slots.kept,
        chunks=found.chunk_count,
        objects=found.chunk_count + len(found.nodes) + len(found.history),
        packs=len(found.packs),
        bytes=sum(found.packs),
        writes=found.writes,
        found=found,
    )


@dataclass(frozen=True, slots=True)
class MirrorReport:
    """What a run sent: packs with their bytes, and the traffic with both sides."""

    packs: int
    bytes: int
    source: Traffic
    destination: Traffic


def run_mirror(
    plan: MirrorPlan,
    source: Remote,
    destination: Remote,
    frames: FrameStore,
    *,
    progress: Progress,
    pace: Callable[[int], object] | None,
    pack_size: int,
    connections: int,
) -> MirrorReport:
    """Send what was planned, and ask the mirror what it has then.

    Args:
        plan: what to send.
        source: what is mirrored.
        destination: the mirror.
        frames: the store that the plan put metadata into.
        progress: told of bytes.
        pace: called with how many bytes are about to go; returns when they may.
        pack_size: target size of a pack, in bytes.
        connections: packs sent at once.

    Raises:
        RefMovedError: somebody moved a ref of the mirror meanwhile.
        IntegrityError: something is damaged.
        RemoteError: one of them failed; the next run continues.
    """
    sent = sync_mirror.run_mirror(
        plan.found,
        source,
        destination,
        frames,
        progress=progress,
        pace=pace,
        pack_size=pack_size,
        connections=connections,
    )
    return MirrorReport(sent.packs, sent.size, source.traffic, destination.traffic)


def check_mirror(
    source: Remote, destination: Remote, room: Workroom, frames: FrameStore, *, progress: Progress, connections: int
) -> MirrorCheck:
    """Read everything at the mirror, and compare it with the source.

    Args:
        source: what is mirrored.
        destination: the mirror.
        room: where to keep what comes.
        frames: an empty store there, for the source's metadata.
        progress: told of objects.
        connections: ranges read at once.

    Raises:
        IntegrityError: the source itself is damaged.
        RemoteError: one of them failed.
    """
    comparison = Comparison(source, destination, frames, room.spool, progress=progress, connections=connections)
    damage = list(comparison)
    return MirrorCheck(comparison.objects, comparison.others, damage)
