"""Knows which commits descend from which, by the links and generations that frames show in clear."""

import heapq
from collections.abc import Iterable, Iterator

from mediavault.errors import IntegrityError
from mediavault.formats.frame import Frame
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.store.frames import FrameStore


class NewHistory:
    """The commits that lead to some commits and not to others, and where the two histories meet.

    A commit is judged when all its descendants have been: generations fall along every link, so the highest one in
    the queue is ready. Reading stops as soon as only known commits are left.
    """

    def __init__(self, frames: FrameStore, wants: Iterable[ObjectId], haves: Iterable[ObjectId]) -> None:
        self._frames = frames
        self._queue: list[tuple[int, ObjectId]] = []
        self._known: dict[ObjectId, bool] = {}
        self._waiting: dict[ObjectId, Frame] = {}
        self._undecided = 0
        self._boundary: dict[ObjectId, ObjectId] = {}
        self._reached_from_new: set[ObjectId] = set()
        for known, ids in ((True, haves), (False, wants)):
            for oid in ids:
                self._meet(oid, known=known)

    def frames(self) -> Iterator[Frame]:
        """Yield the new commits, each after all its descendants."""
        while self._undecided:
            _, oid = heapq.heappop(self._queue)
            frame, known = self._waiting.pop(oid), self._known[oid]
            if known and oid in self._reached_from_new:
                self._boundary[oid] = tree_of(frame)
            if not known:
                self._undecided -= 1
            for parent in parents_of(frame):
                if not known:
                    self._reached_from_new.add(parent)
                self._meet(parent, known=known)
            if not known:
                yield frame
        for _, oid in self._queue:
            if oid in self._reached_from_new:
                self._boundary[oid] = tree_of(self._waiting[oid])

    @property
    def boundary(self) -> dict[ObjectId, ObjectId]:
        """The known commits that are parents of new ones, with their trees; complete once `frames` is exhausted."""
        return self._boundary

    def _meet(self, oid: ObjectId, *, known: bool) -> None:
        before = self._known.get(oid)
        if before is None:
            frame = read_commit(self._frames, oid)
            self._waiting[oid] = frame
            heapq.heappush(self._queue, (-frame.header.generation, oid))
            self._known[oid] = known
            self._undecided += not known
        elif known and not before and oid in self._waiting:
            self._known[oid] = True
            self._undecided -= 1


def is_ancestor(frames: FrameStore, old: ObjectId, new: ObjectId) -> bool:
    """Tell whether `old` is `new` or one of its ancestors, so that moving a branch from one to the other loses nothing.

    Raises:
        IntegrityError: a commit is missing or damaged.
    """
    floor = read_commit(frames, old).header.generation
    seen = {new}
    front = [new]
    while front:
        if old in front:
            return True
        following = []
        for frame in frames.read_many(front):
            if commit_header(frame).header.generation <= floor:
                continue
            for parent in parents_of(frame):
                if parent not in seen:
                    seen.add(parent)
                    following.append(parent)
        front = following
    return False


def commits_between(frames: FrameStore, new: ObjectId, old: Iterable[ObjectId]) -> list[ObjectId]:
    """Return the commits that lead to `new` and not to any of `old`, each after all its descendants.

    Raises:
        IntegrityError: a commit is missing or damaged.
    """
    return [frame.header.id for frame in NewHistory(frames, [new], old).frames()]


def peel(frames: FrameStore, link: Link) -> Link:
    """Follow tags to what they tag: a commit or a tree.

    Raises:
        IntegrityError: an object is missing or damaged, or is not what the link says.
    """
    while link.kind == Kind.TAG:
        frame = frames.read(link.id)
        if frame.header.kind != Kind.TAG:
            raise IntegrityError(f"Object {link.id.hex()} is a {frame.header.kind.name.lower()}, not a tag.")
        (link,) = frame.header.links
    return link


def read_commit(frames: FrameStore, oid: ObjectId) -> Frame:
    """Return the frame of a commit.

    Raises:
        IntegrityError: it is missing, damaged, or no commit.
    """
    return commit_header(frames.read(oid))


def commit_header(frame: Frame) -> Frame:
    """Return the frame itself if it is a commit's.

    Raises:
        IntegrityError: it is another object's.
    """
    if frame.header.kind != Kind.COMMIT:
        raise IntegrityError(f"Object {frame.header.id.hex()} is a {frame.header.kind.name.lower()}, not a commit.")
    return frame


def tree_of(commit: Frame) -> ObjectId:
    """Return the tree that a commit's frame links to; the grammar puts it first."""
    return commit.header.links[0].id


def parents_of(commit: Frame) -> list[ObjectId]:
    """Return the parents that a commit's frame links to, ascending by id."""
    return [link.id for link in commit.header.links[1:]]
