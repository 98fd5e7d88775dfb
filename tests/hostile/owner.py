"""What whoever owns a storage can do to a repository in it without its key: every checksum, table, name and index made anew."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mediavault.formats.frame import Frame, FrameHeader, build_frame, parse_frame
from mediavault.formats.index import encode_index, index_id
from mediavault.formats.pack import (
    NONCE_BYTES,
    PACK_HEADER_BYTES,
    PackRow,
    encode_footer,
    encode_pack_header,
    encode_table,
    pack_id,
    row_of,
)
from mediavault.formats.ref import decode_ref_value, encode_ref_blob, encode_ref_value
from mediavault.model.ids import Kind
from mediavault.store.pack_table import parse_pack
from mediavault_backends.keys import encode_segment

Rows = Mapping[bytes, Sequence[PackRow]]


@dataclass(frozen=True)
class Owner:
    """Someone with write access to the blobs of a repository, in `folder`."""

    folder: Path
    plain: bool

    def packs(self) -> list[list[bytes]]:
        """Return the frames of each pack in their order; the packs by what they hold: chunks, nodes, history."""
        found = [frames_of(path.read_bytes()) for path in self.folder.glob("packs/*/*")]
        return sorted(found, key=lambda frames: parse_frame(frames[0]).header.kind)

    def file(self, packs: Sequence[Sequence[bytes]], *, index: Callable[[Rows], Rows] = dict) -> None:
        """Put packs of these frames in the place of all there are, with a right index, or what `index` makes of it."""
        for name in ("packs", "index"):
            shutil.rmtree(self.folder / name)
        rows: dict[bytes, Sequence[PackRow]] = {}
        for frames in packs:
            pack, data, rows[pack] = pack_of(frames, plain=self.plain)
            self._write(f"packs/{pack.hex()[:2]}/{pack.hex()}", data)
        blob = encode_index(index(rows), 1)
        self._write(f"index/{index_id(blob).hex()}", blob)

    def change(self, change: Callable[[list[bytes]], Sequence[bytes]]) -> None:
        """Change all frames, pack by pack."""
        self.file([change(frames) for frames in self.packs()])

    def misfile(self, index: Callable[[Rows], Rows]) -> None:
        """Leave the frames as they are, and let the index say something else."""
        self.file(self.packs(), index=index)

    def ref(self, name: str) -> Path:
        """Return where a ref stands."""
        return self.folder / "refs" / encode_segment(name)

    def set_ref(self, name: str, value_bytes: bytes) -> None:
        """Put a value under a ref's name."""
        self.ref(name).write_bytes(encode_ref_blob(value_bytes, os.urandom(16)))

    def retouch_ref(self, name: str, **fields: Any) -> None:
        """Change fields of a ref's value; its MAC stays what it was unless it is given."""
        value = decode_ref_value(self.ref(name).read_bytes()[:-16])
        self.set_ref(name, encode_ref_value(msgspec.structs.replace(value, **fields)))

    def _write(self, key: str, data: bytes) -> None:
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def frames_of(pack: bytes) -> list[bytes]:
    """Return the frames of a pack."""
    table = parse_pack(lambda start, length: pack[start : start + length], len(pack))
    return [pack[row.offset : row.offset + row.length] for row in table.rows]


def pack_of(frames: Sequence[bytes], *, plain: bool) -> tuple[bytes, bytes, list[PackRow]]:
    """Return name, bytes and table of a pack of frames, as its format wants it; a foreign suite is filed all the same."""
    nonce, at = os.urandom(NONCE_BYTES), PACK_HEADER_BYTES
    rows = []
    for data in frames:
        frame = parse_frame(data)
        row = row_of(frame, at, frame.header.suite == 0)
        raw_length = (row.raw_length or 1) if plain else None
        rows.append(msgspec.structs.replace(row, raw_length=raw_length))
        at += len(data)
    table = encode_table(rows, plain)
    whole = b"".join((encode_pack_header(nonce, plain), *frames, table, encode_footer(at, len(rows), table)))
    return pack_id(nonce, table), whole, rows


def kind_of(frame: bytes) -> Kind:
    """Return what a frame says it is."""
    return parse_frame(frame).header.kind


def retouched(frame: bytes, *, body: bytes | None = None, **fields: Any) -> bytes:
    """Return a frame with other fields in its header, or another body, and a right checksum."""
    parsed: Frame = parse_frame(frame)
    stored = bytes(parsed.body) if body is None else body
    header: FrameHeader = msgspec.structs.replace(parsed.header, **fields, stored_length=len(stored))
    return build_frame(header, [stored])
