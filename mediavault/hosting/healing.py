"""Mends what one store of a pair lacks or has damaged, from the other; says of each object whether it is what it has to be."""

from collections.abc import Iterator
from typing import Final

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.config import decode_config
from mediavault.formats.ref import RefValue, decode_ref_value, split_ref_blob, value_hash
from mediavault.hosting.contents import Place, fault_of, find_repositories
from mediavault.hosting.repository import CONFIG_KEY
from mediavault.progress import SILENT, Progress
from mediavault.refs.blobs import LOGS, REFS
from mediavault.store.keys import named_by, pack_key
from mediavault.store.verify import pack_fault
from mediavault_backends.api import Backend
from mediavault_backends.errors import NotFoundError
from mediavault_backends.keys import encode_segment
from mediavault_backends.multi import MultiBackend
from mediavault_backends.multi_mend import Difference, mend

_UNREADABLE: Final = (FormatError, UnsupportedFormatError)


def heal_pair(pair: MultiBackend, *, progress: Progress = SILENT, dry_run: bool = False) -> Iterator[Difference]:
    """Compare both stores of a pair byte by byte; yield what differs, mended as far as one of them has it whole.

    What the journal holds is copied first, and yielded where it could not be.

    Args:
        pair: two stores as one; servers may be using it.
        progress: told the bytes of all objects as they are compared.
        dry_run: change nothing.

    Raises:
        BackendError: a store failed; what was mended so far stays so.
    """
    if not dry_run:
        pair.catch_up()
    judge = _Judge(pair)
    progress.start(sum(stat.size for stat in pair.primary.scan()), "bytes", "Comparing both stores")
    try:
        yield from mend(pair.stores, judge, dry_run=dry_run, progress=progress.advance)
    finally:
        progress.done()


class _Judge:
    """Knows the repositories of a pair, and what their objects have to be."""

    def __init__(self, pair: MultiBackend) -> None:
        self._places: dict[Place, bytes] = {}
        for store in (pair.primary, pair.secondary):
            for place in find_repositories(store):
                self._places[place] = self._places.get(place) or _repository(place.within(store))

    def fault(self, key: str, store: Backend) -> str:
        """Return what is wrong with an object of a store; of what is in no repository that is not known."""
        place = self._place_of(key)
        if place is None:
            return ""
        inner = key.removeprefix(place.prefix)
        pack = named_by(inner)
        try:
            if pack is not None and inner == pack_key(pack):
                return pack_fault(place.within(store), pack)
            return fault_of(inner, store.get(key).data, self._places[place])
        except NotFoundError:
            return "It is gone."

    def follows(self, key: str, store: Backend, former: Backend) -> bool:
        """Tell whether a ref of one store was moved on from that of the other, by its log; nothing else proves what it follows."""
        place = self._place_of(key)
        if place is None or not key.startswith(place.prefix + REFS):
            return False
        try:
            (new, new_hash), (old, old_hash) = _value(store, key), _value(former, key)
        except (*_UNREADABLE, NotFoundError):
            return False
        if new_hash == old_hash:
            return True  # only the random bytes behind it were renewed
        log = f"{place.prefix}{LOGS}{encode_segment(new.name)}/"
        logged = {stat.key.removeprefix(log) for stat in store.scan(log)}
        moves = {f"{new.seq - 1}-{new.previous.hex()[:16]}", f"{old.seq}-{old_hash.hex()[:16]}"}
        return new.seq > old.seq and moves <= logged

    def _place_of(self, key: str) -> Place | None:
        inside = [place for place in self._places if key.startswith(place.prefix)]
        return max(inside, key=lambda place: place.prefix, default=None)


def _value(store: Backend, key: str) -> tuple[RefValue, bytes]:
    """Return the value of a ref, and the hash of it that the next one names."""
    value_bytes, _ = split_ref_blob(store.get(key).data)
    return decode_ref_value(value_bytes), value_hash(value_bytes)


def _repository(part: Backend) -> bytes:
    """Return a repository's id; empty where its config does not tell."""
    try:
        return decode_config(part.get(CONFIG_KEY).data).repository
    except (*_UNREADABLE, NotFoundError):
        return b""
