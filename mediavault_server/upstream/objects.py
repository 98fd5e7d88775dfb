"""Single frames by id: upstream says in which pack they stand, and the bytes come from the cache."""

from collections.abc import Iterator, Sequence

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.frame import Frame, parse_frame
from mediavault.formats.wire import LocatedRow, decode_located, encode_ids
from mediavault.model.ids import ObjectId
from mediavault_server.upstream.origin import Caller, Origin, UpstreamAnswerError, damaged
from mediavault_server.upstream.packs import CachedPacks


class CachedObjects:
    """The objects of an upstream server. Safe to use from several threads and processes.

    Args:
        origin: knows where they stand.
        packs: has their bytes.
    """

    def __init__(self, origin: Origin, packs: CachedPacks) -> None:
        self._origin = origin
        self._packs = packs

    def locate(self, caller: Caller, ids: Sequence[ObjectId]) -> list[LocatedRow] | None:
        """Return where objects stand, in the order of `ids`; None when one of them is missing.

        Raises:
            UpstreamAnswerError: upstream refuses.
            RequestRefusedError: it does not answer.
        """
        headers = {"Content-Type": "application/octet-stream"}
        answer = self._origin.ask(caller, "POST", "/chunks/locate", encode_ids(ids), headers)
        if answer.status != 200:
            raise UpstreamAnswerError(answer)
        try:
            rows = {row.id: row for row in decode_located(answer.body)}
        except FormatError as error:
            raise damaged(error.message) from error
        return [rows[oid] for oid in ids] if all(oid in rows for oid in ids) else None

    def read(self, caller: Caller, row: LocatedRow) -> Frame:
        """Return a frame whose checksum, grammar and id are right.

        Raises:
            UpstreamAnswerError: upstream refuses.
            RequestRefusedError: it does not answer, or the frame is damaged there.
        """
        outline = self._packs.outline(caller, row.pack)
        if row.offset + row.length > outline.size:
            raise damaged(f"It says that object {row.id.hex()} stands behind the end of a pack.")
        data = b"".join(self._packs.stream(caller, row.pack, row.offset, row.length))
        try:
            frame = parse_frame(data)
        except (FormatError, UnsupportedFormatError) as error:
            raise damaged(f"Object {row.id.hex()}: {error.message}") from error
        if frame.size != row.length or frame.header.id != row.id:
            raise damaged(f"Object {row.id.hex()}: another frame stands there.")
        return frame

    def read_all(self, caller: Caller, rows: Sequence[LocatedRow]) -> Iterator[memoryview]:
        """Yield frames one after another; raises as `read`."""
        for row in rows:
            yield self.read(caller, row).data
