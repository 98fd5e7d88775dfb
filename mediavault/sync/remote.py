"""What push and fetch ask of the other side; a server over HTTP is one, other kinds may come."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Protocol

from mediavault.formats.wire import Holdings, LocatedRow
from mediavault.model.ids import ObjectId
from mediavault.store.pack_table import PackTable
from mediavault.wire.client import RemoteRef
from mediavault.wire.http import Traffic
from mediavault.wire.upload import Body, PackBody


class Remote(Protocol):
    """A repository somewhere else. Safe to use from several threads.

    Every call raises RemoteError (and its kind UnreachableError, where trying again may help), NotAllowedError for
    refused credentials, IntegrityError for answers that cannot be true.
    """

    @property
    def url(self) -> str:
        """Where it is, without secrets."""

    @property
    def traffic(self) -> Traffic:
        """What went over the wire so far."""

    @property
    def retries(self) -> int:
        """How often what may be repeated is repeated without progress."""

    @property
    def max_pack(self) -> int:
        """Bytes of the largest pack it takes."""

    def close(self) -> None:
        """Let go of connections."""

    def abort(self) -> None:
        """Break off every transfer that is under way, in whatever thread; each ends with UnreachableError."""

    def wait(self, failures: int, seconds: float | None) -> None:
        """Wait before another try, after so many failures, for at least so many seconds if the other side said so."""

    def config(self) -> bytes | None:
        """Return the config's exact bytes, or None where there is no repository."""

    def create(self, config: bytes, slots: Mapping[str, bytes]) -> None:
        """Make the repository; where this very one is there, only slots that nobody has made are added."""

    def slots(self) -> dict[str, bytes]:
        """Return the wrapped keys by slot name."""

    def put_slot(self, name: str, slot: bytes, expected: bytes | None) -> None:
        """Store a slot in place of `expected`; None: only where there is none. RefMovedError when that does not hold."""

    def delete_slot(self, name: str, expected: bytes) -> None:
        """Remove a slot that still is `expected`. RefMovedError when it is not."""

    def refs(self) -> dict[str, RemoteRef]:
        """Return every ref by name, deleted ones (nil) too."""

    def ref_log(self, name: str) -> list[bytes]:
        """Return a ref's former values, oldest first."""

    def put_ref(self, value_bytes: bytes, expected: str | None, *, force: bool = False, adopt: bool = False) -> None:
        """Move a ref if its ETag still is `expected`; None: if there is no such ref. RefMovedError, DivergedError.

        With `adopt` the value need not be the next one: a mirror takes it over from where the ref was moved.
        """

    def holdings(self) -> Holdings:
        """Return how much is stored there."""

    def missing(self, ids: Iterable[ObjectId]) -> list[ObjectId]:
        """Return those of `ids` that it lacks, in their order. What it has, it has with all that it links to."""

    def locate(self, ids: Iterable[ObjectId]) -> list[LocatedRow]:
        """Return where objects stand; those that it lacks are left out."""

    def ahead(self, packs: Iterable[Body]) -> Iterator[Body]:
        """Yield packs of chunks that are to be sent now; may ask the other side before, for some of them at a time, where to."""

    def put_pack(self, pack: PackBody) -> bool:
        """Send a pack once; after UnreachableError it may or may not be there. Returns whether it is new."""

    def read_pack(self, pack: ObjectId, start: int, length: int) -> Generator[bytes]:
        """Yield exactly `length` bytes of a pack from offset `start`. Close it: it holds a connection."""

    def pack_table(self, pack: ObjectId) -> PackTable:
        """Return what a pack says of itself. FormatError: it is cut or damaged. NotFoundError: it is not there."""

    def metadata(self, want: Iterable[ObjectId], have: Iterable[ObjectId]) -> Generator[bytes]:
        """Yield a pack of metadata reachable from `want` and not from `have`: parents first, perhaps not all of it. Close it."""
