"""Small stored objects for tests of rooms that never look into a payload."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from blake3 import blake3

from mediavault.formats.frame import SUITE_AES_GCM, build_frame, make_header
from mediavault.formats.payload import Codec, encode_payload
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.store.pack_writer import PackWriter
from mediavault_backends.api import Backend

REPOSITORY = bytes(range(16))


class Stored(NamedTuple):
    """An object's link, its whole frame, and the length of its payload."""

    link: Link
    frame: bytes
    raw_length: int

    @property
    def id(self) -> ObjectId:
        return self.link.id


def make(
    kind: Kind,
    links: Sequence[Link] = (),
    payload: bytes = b"payload",
    *,
    generation: int = 0,
    sealed: bool = False,
    salt: bytes = bytes(32),
) -> Stored:
    """Build an object; its id depends on kind, links and payload alone."""
    links = sorted(set(links))
    oid = blake3(bytes((kind,)) + b"".join(link.id for link in links) + payload).digest()
    body = encode_payload(Codec.RAW, len(payload), payload, padded=False)
    if sealed:
        body = bytes(byte ^ 0xAA for byte in body) + salt[:16]
        header = make_header(
            kind, oid, len(body), links=links, generation=generation, suite=SUITE_AES_GCM, epoch=0, salt=salt
        )
    else:
        header = make_header(kind, oid, len(body), links=links, generation=generation)
    return Stored(Link(kind, oid), build_frame(header, [body]), len(payload))


def chunk(raw: bytes, *, sealed: bool = False, salt: bytes = bytes(32)) -> Stored:
    return make(Kind.CHUNK, payload=raw, sealed=sealed, salt=salt)


def manifest(*children: Stored) -> Stored:
    return make(Kind.MANIFEST, [child.link for child in children])


def tree(*children: Stored, name: str = "folder") -> Stored:
    return make(Kind.TREE, [child.link for child in children], name.encode())


def commit(root: Stored, *parents: Stored, generation: int = 0, message: str = "message") -> Stored:
    """Build a commit; without `generation` it counts as a chain whose parents were built by this function."""
    number = generation or 1 + max((_generations.get(parent.id, 0) for parent in parents), default=0)
    links = [root.link, *(parent.link for parent in parents)]
    made = make(Kind.COMMIT, links, message.encode(), generation=number)
    _generations[made.id] = number
    return made


def tag(target: Stored, name: str = "tag") -> Stored:
    return make(Kind.TAG, [target.link], name.encode())


def open_store(backend: Backend) -> FrameStore:
    return FrameStore(backend, ObjectIndex(backend))


def append_all(writer: PackWriter, objects: Iterable[Stored]) -> None:
    for one in objects:
        writer.append(one.frame, one.raw_length)


_generations: dict[ObjectId, int] = {}
