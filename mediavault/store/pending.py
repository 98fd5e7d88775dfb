"""Knows the frames of a store and those that a writer was given and has not indexed yet."""

from collections.abc import Iterable, Sequence

from mediavault.formats.frame import Frame
from mediavault.formats.index import Located
from mediavault.model.ids import ObjectId
from mediavault.store.frames import FrameStore
from mediavault.store.pack_writer import PackWriter


class PendingFrames:
    """Reads frames before they can be found by anybody else. For the thread that appends to the writer."""

    def __init__(self, frames: FrameStore, writer: PackWriter) -> None:
        self._frames = frames
        self._writer = writer

    def read(self, oid: ObjectId) -> Frame:
        """Return one frame. IntegrityError: it is missing, or damaged."""
        return self._writer.read(oid) or self._frames.read(oid)

    def read_batch(self, ids: Sequence[ObjectId], *, checked: bool = True) -> list[Frame]:
        """Return frames in the order of `ids`; those of the writer are checked in any case."""
        found = {oid: frame for oid in ids if (frame := self._writer.read(oid)) is not None}
        absent = [oid for oid in ids if oid not in found]
        if absent:
            found.update(zip(absent, self._frames.read_batch(absent, checked=checked), strict=True))
        return [found[oid] for oid in ids]

    def copies(self, oid: ObjectId) -> Iterable[tuple[Located, Frame]]:
        """Yield every stored copy of an object whose checksum holds."""
        return self._frames.copies(oid)
