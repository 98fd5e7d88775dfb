"""Packs that clients put straight into the store: apart from the others until they are checked, by whichever server comes by.

A client may write one key, `quarantine/<upload>/<time>-<pack id>`, and nothing else; only packs of chunks come this way.
The keys are the queue and all that is remembered: any server finds there what is left to be done, and doing it twice
does no harm. A pack is checked frame by frame, copied to its place by the store itself, indexed, and only then removed
from here. Until it is indexed nobody knows of it but the upload that put it.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, wait
from typing import Final, NamedTuple

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.pack import MAX_PACK, PACK_HEADER_BYTES
from mediavault.hosting.background import Background
from mediavault.model.ids import Kind, ObjectId
from mediavault.store.frame_stream import FrameStream
from mediavault.store.frames import FrameStore
from mediavault.store.keys import pack_key
from mediavault.store.pack_table import PackTable, parse_pack
from mediavault_backends.api import Backend, SignedRequest, Version, copying_of, signing_of
from mediavault_backends.errors import NotFoundError, PreconditionFailedError, TransientError

QUARANTINE: Final = "quarantine/"
UPLOAD: Final = re.compile(r"[0-9a-f]{32}")
"""How an upload is called: by a random number of its own choice."""
LASTS: Final = 900
"""Seconds for which a signed request is good."""
KEPT: Final = 86_400
"""Seconds after which what nobody finished is removed."""
MOST: Final = 1000
"""How many packs one tidying or one search looks at."""

_KEY: Final = re.compile(QUARANTINE + r"([0-9a-f]{32})/([0-9a-f]{8})-([0-9a-f]{64})")
_TAIL: Final = 256 << 10
_ROWS: Final = 1 << 17
"""How many rows of tables are kept: about 45 MB."""
_log = logging.getLogger(__name__)


class Arrival(NamedTuple):
    """A pack in quarantine: under which key, of which upload, granted when (seconds since 1970), and as what."""

    key: str
    upload: str
    granted: int
    pack: ObjectId
    size: int
    version: Version


class Standing(NamedTuple):
    """What became of packs that were put: not checked yet, or refused; the others are stored."""

    waiting: list[ObjectId]
    refused: list[ObjectId]


class Quarantine:
    """The packs in quarantine of one repository. Safe to use from several threads.

    Args:
        backend: the repository's blobs.
        frames: its objects.
        plain: whether it is not encrypted.
        clock: seconds since 1970-01-01 UTC.
    """

    def __init__(
        self, backend: Backend, frames: FrameStore, *, plain: bool, clock: Callable[[], float] = time.time
    ) -> None:
        self._backend = backend
        self._frames = frames
        self._plain = plain
        self._clock = clock
        self._background = Background[bool]()
        self._lock = threading.RLock()  # a check that is done at once is forgotten while it is begun
        self._running: dict[str, Future[bool]] = {}
        self._tables: dict[tuple[str, Version], PackTable] = {}
        self._tidying = threading.Lock()

    @property
    def is_used(self) -> bool:
        """Whether packs can come this way: the store signs, and copies by itself."""
        return signing_of(self._backend, QUARANTINE) is not None and copying_of(self._backend, "", "") is not None

    def grant(self, upload: str, pack: ObjectId, *, size: int, sha256: bytes) -> SignedRequest | None:
        """Return a request that puts a pack here; None where the store signs or copies nothing, or has the pack."""
        key = f"{QUARANTINE}{upload}/{int(self._clock()):08x}-{pack.hex()}"
        signing = signing_of(self._backend, key)
        if signing is None or not self.is_used or self._is_stored(pack):
            return None
        store, name = signing
        return store.sign_put(name, size=size, sha256=sha256, seconds=LASTS)

    def arrivals(self, upload: str = "") -> list[Arrival]:
        """Return what is here, of one upload or of all; what has another name than a grant gives is left out."""
        found = []
        for stat in self._backend.scan(f"{QUARANTINE}{upload}/" if upload else QUARANTINE):
            if name := _KEY.fullmatch(stat.key):
                pack = bytes.fromhex(name[3])
                found.append(Arrival(stat.key, name[1], int(name[2], 16), pack, stat.size, stat.version))
            if len(found) >= MOST and not upload:
                break
        return found

    def complete(self, upload: str, packs: Sequence[ObjectId], *, patience: float = 0) -> Standing:
        """Look at the ends of packs that were put, and begin to check their frames.

        Args:
            upload: whose they are.
            packs: which.
            patience: seconds to wait for the checks.
        """
        here = {arrival.pack: arrival for arrival in self.arrivals(upload)}
        begun: dict[ObjectId, Future[bool]] = {}
        refused = []
        for pack in packs:
            arrival = here.get(pack)
            if arrival is not None and self._looks_right(arrival):
                begun[pack] = self._begin(arrival)
            elif not self._is_stored(pack, ask=True):
                refused.append(pack)
        wait(begun.values(), timeout=patience)
        waiting = [pack for pack, check in begun.items() if not check.done()]
        refused += [pack for pack, check in begun.items() if check.done() and not check.result()]
        return Standing(waiting, refused)

    def settle_holding(self, ids: Collection[ObjectId], *, patience: float | None = None) -> int:
        """Check the packs that hold some of these objects; return how many were found good.

        Args:
            ids: the objects.
            patience: seconds to wait for the checks; None waits for all of them.
        """
        wanted = set(ids)
        holding = [arrival for arrival in self.arrivals() if wanted & self._ids(arrival)]
        done, _ = wait([self._begin(arrival) for arrival in holding], timeout=patience)
        return sum(check.result() for check in done)

    def present(self, upload: str, ids: Iterable[ObjectId]) -> set[ObjectId]:
        """Return those of `ids` that stand in packs which this upload put; for it they are there."""
        held: set[ObjectId] = set()
        for arrival in self.arrivals(upload):
            held |= self._ids(arrival)
        return held & set(ids)

    def tidy(self) -> None:
        """Go on with what others left here, and remove what is older than a day; one call at a time does it."""
        if not self._tidying.acquire(blocking=False):
            return
        try:
            for arrival in self.arrivals():
                if self._clock() - arrival.granted > KEPT:
                    self._backend.delete(arrival.key)
                else:
                    self._begin(arrival)
        finally:
            self._tidying.release()

    def _begin(self, arrival: Arrival) -> "Future[bool]":
        """Check a pack in the background; twice at a time it is checked once."""
        with self._lock:
            running = self._running.get(arrival.key)
            if running is None:
                running = self._running[arrival.key] = self._background.run(lambda: self._settle(arrival))
                running.add_done_callback(lambda _: self._forget(arrival.key))
        return running

    def _forget(self, key: str) -> None:
        with self._lock:
            self._running.pop(key, None)

    def _settle(self, arrival: Arrival) -> bool:
        """Check a pack, and make it part of the repository; return whether it is now.

        Raises:
            BackendError: the store failed; the pack is still here.
        """
        try:
            if not self._is_stored(arrival.pack):
                table = self._table(arrival)
                _check_frames(self._backend, arrival, table)
                self._copy(arrival)
                self._frames.index.add({table.pack_id: table.rows})
            self._backend.delete(arrival.key)
        except (FormatError, UnsupportedFormatError) as error:
            self._refuse(arrival, error)
            return False
        except (NotFoundError, PreconditionFailedError):  # another server was quicker, or it was put anew
            return self._is_stored(arrival.pack, ask=True)
        return True

    def _copy(self, arrival: Arrival) -> None:
        """Let the store copy a pack to its place: exactly the bytes that were checked, whatever was put since."""
        copying = copying_of(self._backend, arrival.key, pack_key(arrival.pack))
        if copying is None:
            raise TransientError("the store does not copy any more", key=arrival.key)
        store, source, target = copying
        store.copy(source, target, version=arrival.version)

    def _refuse(self, arrival: Arrival, error: FormatError | UnsupportedFormatError) -> None:
        _log.warning("%s is not what its name says and is removed: %s", arrival.key, error.message)
        self._backend.delete(arrival.key)

    def _looks_right(self, arrival: Arrival) -> bool:
        """Tell whether a pack ends as its name says; one that does not is removed."""
        try:
            self._table(arrival)
        except (FormatError, UnsupportedFormatError) as error:
            self._refuse(arrival, error)
            return False
        except NotFoundError:
            return False
        return True

    def _ids(self, arrival: Arrival) -> set[ObjectId]:
        return {row.id for row in self._table(arrival).rows} if self._looks_right(arrival) else set()

    def _table(self, arrival: Arrival) -> PackTable:
        """Return what a pack says of itself.

        Raises:
            FormatError: it is cut, not the pack of its name, or nothing that may come this way.
            NotFoundError: it is gone.
        """
        known = (arrival.key, arrival.version)
        with self._lock:
            found = self._tables.get(known)
        if found is None:
            found = _read_table(self._backend, arrival)
            if found.plain != self._plain:
                raise FormatError("It is not of this repository's suite.")
            with self._lock:
                self._tables[known] = found
                while len(self._tables) > 1 and sum(len(table.rows) for table in self._tables.values()) > _ROWS:
                    del self._tables[next(iter(self._tables))]
        return found

    def _is_stored(self, pack: ObjectId, *, ask: bool = False) -> bool:
        index = self._frames.index
        if pack not in index.packs() and ask:
            index.refresh()
        return pack in index.packs()


def _read_table(backend: Backend, arrival: Arrival) -> PackTable:
    if arrival.size > MAX_PACK:
        raise FormatError("It is larger than a pack may be.")
    cut = max(PACK_HEADER_BYTES, arrival.size - _TAIL)
    tail = backend.read(arrival.key, cut, _TAIL)

    def read(start: int, length: int) -> bytes:
        return tail[start - cut :][:length] if start >= cut else backend.read(arrival.key, start, length)

    table = parse_pack(read, arrival.size)
    if table.pack_id != arrival.pack:
        raise FormatError("It is another pack than its name says.")
    if any(row.kind is not Kind.CHUNK for row in table.rows) or len({row.id for row in table.rows}) != len(table.rows):
        raise FormatError("It holds metadata, or an object twice.")
    return table


def _check_frames(backend: Backend, arrival: Arrival, table: PackTable) -> None:
    """Read a pack whole, and compare each frame with its row.

    Raises:
        FormatError: one is damaged, or not the one in the table.
    """
    stream, size = FrameStream(), 0
    for block in backend.stream(arrival.key):
        stream.feed(block)
        size += len(block)
    if size != arrival.size or stream.rows != table.rows:
        raise FormatError(f"Its frames are not those in its table: the first {len(stream.rows)} are whole.")
