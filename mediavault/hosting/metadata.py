"""Metadata for whoever walks history, as one pack: what is reachable from some objects and not from others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from mediavault.formats.frame import Frame
from mediavault.formats.pack import row_of
from mediavault.hosting.refusal import RefusedError
from mediavault.hosting.repository import HostedRepository
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.store.assemble import PackSource, Part
from mediavault.store.keys import MAX_PACK_ROWS
from mediavault.store.reachability import closure
from mediavault.wire import problems

MAX_METADATA: Final = 8 << 20
"""Bytes of frames in one answer, which is held in memory; who wants more asks again for what the frames that came link to."""


_BLOCK: Final = 1 << 20
_NOWHERE: Final = ObjectId(b"")
"""In place of the pack that a frame is copied from: what is held is copied from memory."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for.

    Attributes:
        want: objects that are wanted with all metadata that they lead to.
        have: commits that the asker has with all that they lead to.
        depth: how many commits deep; None for all.
        trees: leave out all trees but these and what is below them; None leaves out none.
    """

    want: Sequence[ObjectId]
    have: Sequence[ObjectId] = ()
    depth: int | None = None
    trees: Sequence[ObjectId] | None = None


def assemble(repo: HostedRepository, wanted: Wanted) -> tuple[PackSource, int]:
    """Return a pack with the metadata reachable from `want` and not from `have`, parents first, perhaps not all of it.

    Returns:
        the pack, and how many chunked files are in it.

    Raises:
        RefusedError: something wanted is missing, or no metadata; or nothing is left to send.
    """
    missing = repo.frames.missing([*wanted.want, *(wanted.trees or ())])
    if missing:
        raise RefusedError(problems.NOT_FOUND, "Some of the wanted objects are missing.", missing=missing)
    # Held, and not read a second time to be sent: frames that are found parents first stand in a pack children first.
    held = bytearray()
    parts: list[Part] = []
    files: set[ObjectId] = set()
    size = 0
    for frame in _reachable(repo, wanted):
        size += frame.size
        if parts and size > MAX_METADATA:
            break
        parts.append((_NOWHERE, row_of(frame, 0, repo.plain)))
        held += frame.data
        if frame.header.kind is Kind.TREE:
            files.update(link.id for link in frame.header.links if link.kind is Kind.MANIFEST)
    if not parts:
        raise RefusedError(problems.NOT_FOUND, "Everything wanted is reachable from what you have.")
    return PackSource(lambda _: _blocks(held), parts, plain=repo.plain), len(files)


def _blocks(held: bytearray) -> Iterator[memoryview]:
    view = memoryview(held)
    return (view[at : at + _BLOCK] for at in range(0, len(view), _BLOCK))


def _reachable(repo: HostedRepository, wanted: Wanted) -> Iterator[Frame]:
    links = []
    for object_id in wanted.want:
        kind = _kind(repo, object_id)
        if kind is Kind.CHUNK:
            raise RefusedError(problems.BAD_REQUEST, f"Object {object_id.hex()} is no metadata.")
        links.append(Link(kind, object_id))
    for object_id in wanted.trees or ():
        if _kind(repo, object_id) is not Kind.TREE:
            raise RefusedError(problems.BAD_REQUEST, f"Object {object_id.hex()} is no tree.")
    batches = closure(repo.frames, links, wanted.have, depth=wanted.depth, trees=wanted.trees)
    return islice((frame for batch in batches for frame in batch), MAX_PACK_ROWS)


def _kind(repo: HostedRepository, object_id: ObjectId) -> Kind:
    place = repo.frames.locate(object_id)
    if place is None:
        raise RefusedError(problems.NOT_FOUND, "An object is gone.", missing=[object_id])
    return Kind(place.kind)
