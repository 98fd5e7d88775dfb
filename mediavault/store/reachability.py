"""Knows what an object leads to, by the links that frames show in clear."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from mediavault.errors import IntegrityError
from mediavault.formats.frame import Frame
from mediavault.model.ids import LINK_BYTES, Kind, Link, ObjectId
from mediavault.store.ancestry import NewHistory, parents_of, tree_of
from mediavault.store.frames import FrameStore

_COMMITS_A_BATCH = 256
_LINKS_A_QUESTION = 8192


class Reached(msgspec.Struct, frozen=True, gc=False):
    """What `collect` found, each id once.

    Attributes:
        chunks: in the order in which they were met.
        nodes: trees and manifests, children before parents.
        commits: parents before children.
        tags: tagged before tagging.
    """

    chunks: list[ObjectId]
    nodes: list[ObjectId]
    commits: list[ObjectId]
    tags: list[ObjectId]


def closure(
    frames: FrameStore,
    wants: Iterable[Link],
    haves: Iterable[ObjectId] = (),
    *,
    depth: int | None = None,
    trees: Iterable[ObjectId] | None = None,
) -> Iterator[list[Frame]]:
    """Yield the metadata frames that `wants` lead to and commits in `haves` do not: tags, commits, trees and manifests.

    Parents come before children, each object once, in lists of a few MiB. Trees are compared level by level with
    those of the commits where the histories meet, so that the work follows what changed. Something that moved
    across levels may be yielded although `haves` lead to it.

    Args:
        frames: the store.
        wants: objects of any kind but chunks.
        haves: ids of commits whose closure the asker has; ids that are no commits here are ignored.
        depth: how many commits deep to go, 1 for the wanted ones alone; None for all.
        trees: look beneath these trees only, and not beneath those of the commits; None for all.

    Raises:
        IntegrityError: an object is missing or damaged, or is not of the kind that a link says.
    """
    wants = list(dict.fromkeys(wants))
    front = _Front()
    commits = [link.id for link in wants if link.kind == Kind.COMMIT]
    tags = [link.id for link in wants if link.kind == Kind.TAG]
    front.add(link for link in wants if link.kind < Kind.COMMIT)
    yield from _tags(frames, tags, commits, front)
    shared = dict.fromkeys(Link(Kind.COMMIT, oid) for oid in haves)
    for link in missing_from(frames, shared):
        del shared[link]
    history = NewHistory(frames, commits, [oid for _, oid in shared])
    near = None if depth is None else _within(frames, commits, depth)
    front.add(Link(Kind.TREE, oid) for oid in trees or ())
    batch: list[Frame] = []
    for frame in history.frames():
        if near is not None and frame.header.id not in near:
            continue
        if trees is None:
            front.add([Link(Kind.TREE, tree_of(frame))])
        batch.append(frame)
        if len(batch) >= _COMMITS_A_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
    known = _Front()
    known.add(Link(Kind.TREE, tree) for tree in history.boundary.values())
    yield from _nodes(frames, front, known)


def collect(frames: FrameStore, wants: Iterable[Link], haves: Iterable[ObjectId] = ()) -> Reached:
    """Return the ids of all that `wants` lead to and commits in `haves` do not, chunks too, in an order to store them in.

    Args:
        frames: the store.
        wants: objects of any kind but chunks.
        haves: ids of commits whose closure the other side has.

    Raises:
        IntegrityError: an object is missing or damaged, or is not of the kind that a link says.
    """
    chunks: dict[ObjectId, None] = {}
    children: dict[ObjectId, list[ObjectId]] = {}
    commits: list[ObjectId] = []
    tags: list[ObjectId] = []
    for batch in closure(frames, wants, haves):
        for frame in batch:
            header = frame.header
            if header.kind == Kind.COMMIT:
                commits.append(header.id)
            elif header.kind == Kind.TAG:
                tags.append(header.id)
            else:
                chunks.update(dict.fromkeys(chunk_ids(frame)))
                children[header.id] = [link.id for link in node_links(frame)]
    return Reached(list(chunks), children_first(children), commits[::-1], tags[::-1])


def missing_from(frames: FrameStore, links: Iterable[Link]) -> list[Link]:
    """Return those of `links` to which no object of their kind is stored, asking the store again before saying so.

    In a closed store this decides whether an object with these links may be added.
    """
    absent = [link for link in links if not _is_there(frames, link)]
    if absent:
        frames.index.refresh()
        absent = [link for link in absent if not _is_there(frames, link)]
    return absent


def missing_beneath(frames: FrameStore, objects: Iterable[Frame], own: dict[ObjectId, Kind], limit: int) -> list[Link]:
    """Return links of `objects` that lead neither to an object in `own` nor to a stored one, at most `limit` of them.

    Args:
        frames: the store.
        objects: metadata frames, read once, one after another.
        own: what comes with them.
        limit: how many to name.
    """
    absent: dict[Link, None] = {}
    asked: dict[Link, None] = {}
    for frame in objects:
        if frame.header.kind != Kind.CHUNK:
            asked.update(dict.fromkeys(link for link in frame.header.links if own.get(link.id) != link.kind))
        if len(asked) >= _LINKS_A_QUESTION:
            absent.update(dict.fromkeys(missing_from(frames, asked)))
            asked = {}
        if len(absent) >= limit:
            break
    absent.update(dict.fromkeys(missing_from(frames, asked)))
    return list(absent)[:limit]


def chunk_ids(frame: Frame) -> list[ObjectId]:
    """Return the chunks that a tree's or manifest's frame links to, ascending."""
    data = frame.header.link_data
    end = _chunks_end(data)
    return [data[at + 1 : at + LINK_BYTES] for at in range(0, end, LINK_BYTES)]


def node_links(frame: Frame) -> list[Link]:
    """Return the trees and manifests that a tree's or manifest's frame links to, ascending."""
    data = frame.header.link_data
    return [
        Link(Kind(data[at]), data[at + 1 : at + LINK_BYTES]) for at in range(_chunks_end(data), len(data), LINK_BYTES)
    ]


class _Front:
    """Trees and manifests to look at next: each id once, ever."""

    def __init__(self) -> None:
        self.seen: set[ObjectId] = set()
        self.next: dict[ObjectId, Kind] = {}

    def add(self, links: Iterable[Link]) -> None:
        for kind, oid in links:
            if oid not in self.seen:
                self.seen.add(oid)
                self.next[oid] = kind

    def take(self) -> dict[ObjectId, Kind]:
        taken, self.next = self.next, {}
        return taken


def _within(frames: FrameStore, commits: Iterable[ObjectId], depth: int) -> set[ObjectId]:
    """Return the commits that are reached from `commits` in less than `depth` steps."""
    found: set[ObjectId] = set()
    level = list(dict.fromkeys(commits))
    while level and depth:
        found.update(level)
        parents = dict.fromkeys(oid for frame in frames.read_many(level) for oid in parents_of(frame))
        level = [oid for oid in parents if oid not in found]
        depth -= 1
    return found


def _tags(frames: FrameStore, tags: list[ObjectId], commits: list[ObjectId], front: _Front) -> Iterator[list[Frame]]:
    """Yield tags and the tags that they tag; add what they lead to to `commits` and `front`."""
    seen = set(tags)
    while tags:
        batch = frames.read_batch(tags)
        tags = []
        for frame in batch:
            _check_kind(frame, Kind.TAG)
            (link,) = frame.header.links
            if link.kind == Kind.COMMIT:
                commits.append(link.id)
            elif link.kind != Kind.TAG:
                front.add([link])
            elif link.id not in seen:
                seen.add(link.id)
                tags.append(link.id)
        yield batch


def _nodes(frames: FrameStore, front: _Front, known: _Front) -> Iterator[list[Frame]]:
    """Yield trees and manifests of `front` that are not found under `known`, going down both sides together."""
    while front.next:
        here = front.take()
        there = known.take()
        wanted = {oid: kind for oid, kind in here.items() if oid not in known.seen}
        # Where both sides have the same object, neither needs to look beneath it.
        compared = {oid: kind for oid, kind in there.items() if oid not in front.seen}
        for batch in _read(frames, compared):
            for frame in batch:
                known.add(node_links(frame))
        for batch in _read(frames, wanted):
            for frame in batch:
                front.add(node_links(frame))
            yield batch


def _read(frames: FrameStore, wanted: dict[ObjectId, Kind]) -> Iterator[list[Frame]]:
    for batch in frames.read_batches(wanted):
        for frame in batch:
            _check_kind(frame, wanted[frame.header.id])
        yield batch


def _check_kind(frame: Frame, kind: Kind) -> None:
    if frame.header.kind != kind:
        raise IntegrityError(
            f"Object {frame.header.id.hex()} is a {frame.header.kind.name.lower()}, where a {kind.name.lower()} should be."
        )


def _chunks_end(data: bytes) -> int:
    """Return where the links to chunks, which come first, end."""
    if not data or data[0] != Kind.CHUNK:
        return 0
    kinds = data[::LINK_BYTES]
    return LINK_BYTES * kinds.count(Kind.CHUNK)


def _is_there(frames: FrameStore, link: Link) -> bool:
    return any(place.kind == link.kind and not place.condemned for place in frames.index.find(link.id))


def children_first(children: Mapping[ObjectId, Sequence[ObjectId]]) -> list[ObjectId]:
    """Return the keys of `children` in an order in which each comes after those of its children that are keys, too."""
    ordered: dict[ObjectId, None] = {}
    for root in children:
        # The second visit of an object, after all beneath it, is the one that places it.
        stack = [(root, False)]
        while stack:
            oid, visited = stack.pop()
            if oid in ordered:
                continue
            if visited:
                ordered[oid] = None
                continue
            stack.append((oid, True))
            stack.extend((child, False) for child in children[oid] if child in children and child not in ordered)
    return list(ordered)
