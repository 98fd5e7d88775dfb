"""What a host stores of a repository, counted by listing it; reads no object."""

from mediavault.formats.wire import Holdings
from mediavault.hosting.repository import HostedRepository
from mediavault.refs.blobs import REFS
from mediavault.store.keys import PACKS


def holdings(repo: HostedRepository) -> Holdings:
    """Count what is stored. It takes one listing of everything.

    Raises:
        BackendError: the store failed.
    """
    objects = size = packs = pack_bytes = refs = 0
    for stat in repo.backend.scan():
        objects += 1
        size += stat.size
        if stat.key.startswith(PACKS):
            packs += 1
            pack_bytes += stat.size
        elif stat.key.startswith(REFS):
            refs += 1
    return Holdings(objects, size, packs, pack_bytes, refs)
