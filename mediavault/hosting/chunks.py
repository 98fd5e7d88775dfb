"""Which objects a host has, and where they stand."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from mediavault.formats.frame import Frame
from mediavault.formats.wire import MAX_URL, LocatedRow
from mediavault.hosting.quarantine import LASTS
from mediavault.hosting.refusal import RefusedError
from mediavault.hosting.repository import HostedRepository
from mediavault.model.ids import Kind, ObjectId
from mediavault.store.keys import pack_key
from mediavault.wire import problems
from mediavault_backends.api import signing_of

SIGNED_AT_ONCE: Final = 1024
"""For how many packs one answer has a URL; signing one takes about half a millisecond."""


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


def signs(repo: HostedRepository) -> bool:
    """Tell whether the store of a repository hands out URLs that read it."""
    return bool(_signed(repo, bytes(32)))


def sign_packs(repo: HostedRepository, rows: Iterable[LocatedRow]) -> dict[ObjectId, str]:
    """Return for each pack that rows name a URL that reads it; only for the first 1,024, and where the store signs."""
    packs = dict.fromkeys(row.pack for row in rows)
    return {pack: url for pack in islice(packs, SIGNED_AT_ONCE) if (url := _signed(repo, pack))}


def _signed(repo: HostedRepository, pack: ObjectId) -> str:
    signing = signing_of(repo.backend, pack_key(pack))
    request = signing[0].sign_get(signing[1], seconds=LASTS) if signing else None
    return request.url if request and not request.headers and len(request.url) <= MAX_URL else ""


def read_chunk(repo: HostedRepository, object_id: ObjectId) -> Frame:
    """Return a chunk's frame.

    Raises:
        RefusedError: there is no such chunk.
    """
    place = repo.frames.locate(object_id)
    if place is None or place.kind is not Kind.CHUNK:
        raise RefusedError(problems.NOT_FOUND)
    return repo.frames.read(object_id)
