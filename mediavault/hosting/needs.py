"""Which packs of a repository its refs need, told by links that frames show in clear; what happens to packs is left to others."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from mediavault.errors import IntegrityError
from mediavault.formats.ref import RefValue, decode_ref_value
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.refs.blobs import RefBlob, list_blobs, read_blob, walk_log
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import named_by
from mediavault.store.reachability import chunk_ids, closure
from mediavault_backends import errors as backend_errors
from mediavault_backends.api import Backend

_NODES = (Kind.TREE, Kind.MANIFEST)
_SHORT = ("", "heads/", "tags/")


class PackFacts(NamedTuple):
    """What the index tells of a pack: whether metadata stands in it, and when it was made at the latest, in ns since 1970."""

    metadata: bool
    made_ns: int


class Needs:
    """The packs that some objects of a repository, and all that these lead to, stand in. They only become more.

    Memory: about 100 bytes for each tree and manifest that was followed last, and the index.

    Args:
        part: the repository's part of a store.
    """

    def __init__(self, part: Backend) -> None:
        self._part = part
        self._index = ObjectIndex(part)
        self._frames = FrameStore(part, self._index)
        self._refs: dict[str, RefBlob] = {}
        self._followed: set[Link] = set()
        self.packs: set[ObjectId] = set()

    def read_refs(self) -> None:
        """Read the refs, those alone that changed since they were read last.

        Raises:
            IntegrityError: one is damaged.
            BackendError: the store failed.
        """
        self._refs = {blob.name: blob for blob in list_blobs(self._part, known=self._refs)}

    def look(self) -> None:
        """Follow what all refs lead to now.

        Raises:
            IntegrityError: a ref is damaged, or something that it leads to is missing.
            BackendError: the store failed.
        """
        self.read_refs()
        values = [_value(blob.value_bytes, blob.name) for blob in self._refs.values()]
        self.follow(value.target for value in values if value.target is not None)

    def look_back(self, since: int) -> None:
        """Follow what refs, as they were read last, led to at any time after `since`, in seconds since 1970.

        Raises:
            IntegrityError: see `look`.
        """
        self.follow([target for blob in self._refs.values() for target in _former(self._part, blob, since)])

    def follow(self, links: Iterable[Link]) -> None:
        """Take all packs in which something stands that `links` lead to.

        Raises:
            IntegrityError: an object is missing or damaged.
        """
        fresh = [link for link in dict.fromkeys(links) if link not in self._followed]
        if not fresh:
            return
        known = [link.id for link in self._followed if link.kind == Kind.COMMIT]
        for batch in closure(self._frames, fresh, known):
            for frame in batch:
                self._take(frame.header.id)
                if frame.header.kind in _NODES:
                    for oid in chunk_ids(frame):
                        self._take(oid)
        self._followed.update(fresh)

    def facts(self) -> dict[ObjectId, PackFacts]:
        """Return what is known of each pack that is indexed with its rows and not condemned, newly read from the store."""
        self._index.refresh()
        metadata: dict[ObjectId, bool] = {}
        made: dict[ObjectId, int] = {}
        condemned = set()
        for blob in self._index.blobs():
            for pack in blob.packs:
                made[pack.id] = min(made.get(pack.id, blob.written_ns), blob.written_ns)
                condemned.update([pack.id] if pack.condemned else [])
            for _, place in blob.rows():
                metadata[place.pack_id] = metadata.get(place.pack_id, False) or place.kind != Kind.CHUNK
        return {pack: PackFacts(found, made[pack]) for pack, found in metadata.items() if pack not in condemned}

    def _take(self, oid: ObjectId) -> None:
        places = self._index.find(oid)
        if not places:
            self._index.refresh()
            places = self._index.find(oid)
        if not places:
            raise IntegrityError(
                f"Object {oid.hex()} is missing: no index names it.",
                hint="`mediagit-server storage verify` lists what else is.",
            )
        self.packs.update(place.pack_id for place in places)


def target_of(part: Backend, name: str) -> Link | None:
    """Return what a branch, a tag or the id of a commit leads to; of a deleted one, what it led to last. None: unknown here.

    Args:
        part: the repository's part of a store.
        name: such as `main`, `tags/v1`, or 64 hex digits.

    Raises:
        IntegrityError: the ref is damaged.
    """
    for start in _SHORT:
        with suppress(ValueError):  # no name of a ref
            blob = read_blob(part, start + name)
            if blob is not None:
                return _value(blob.value_bytes, blob.name).target or next(_former(part, blob, None), None)
    oid = named_by(name)
    places = [] if oid is None else ObjectIndex(part).find(oid)
    return next((Link(place.kind, oid) for place in places if oid and place.kind == Kind.COMMIT), None)


def _former(part: Backend, blob: RefBlob, since: int | None) -> Iterator[Link]:
    """Yield what a ref led to before, newest first, as far as it was replaced after `since`."""
    replaced = _value(blob.value_bytes, blob.name).time
    try:
        for value_bytes in walk_log(part, blob.name):
            if since is not None and replaced <= since:
                return
            value = _value(value_bytes, blob.name)
            if value.target is not None:
                yield value.target
            replaced = value.time
    except backend_errors.NotFoundError:
        return  # forgotten since it was listed


def _value(value_bytes: bytes, name: str) -> RefValue:
    value = decode_ref_value(value_bytes)
    if value.name != name:
        raise IntegrityError(f"The ref {name} holds the value of {value.name}.")
    return value
