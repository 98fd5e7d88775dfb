"""Which objects a host has, and where they stand."""

from collections.abc import Sequence

from mediavault.formats.frame import Frame
from mediavault.formats.wire import LocatedRow
from mediavault.hosting.refusal import RefusedError
from mediavault.hosting.repository import HostedRepository
from mediavault.model.ids import Kind, ObjectId
from mediavault.wire import problems


def locate(repo: HostedRepository, ids: Sequence[ObjectId]) -> list[LocatedRow]:
    """Return where objects stand; those that are missing are left out."""
    absent = set(repo.frames.missing(ids))
    rows = []
    for object_id in ids:
        # A copy in a condemned pack can still be read, though nobody may rely on it: `missing` says that it is missing.
        place = repo.frames.locate(object_id) if object_id not in absent else None
        if place is not None:
            rows.append(LocatedRow(object_id, place.pack_id, place.offset, place.length))
    return rows


def read_chunk(repo: HostedRepository, object_id: ObjectId) -> Frame:
    """Return a chunk's frame.

    Raises:
        RefusedError: there is no such chunk.
    """
    place = repo.frames.locate(object_id)
    if place is None or place.kind is not Kind.CHUNK:
        raise RefusedError(problems.NOT_FOUND)
    return repo.frames.read(object_id)
