"""Packs of metadata that upstream put together, kept by what was asked for: the same ids lead to the same history for ever."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from typing import Final, NamedTuple

from blake3 import blake3

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.frame import MAX_METADATA_FRAME
from mediavault.formats.pack import MAX_PACK, PACK_HEADER_BYTES
from mediavault.formats.wire import PackRequest, encode_json
from mediavault.model.ids import ObjectId
from mediavault.store.frame_stream import FrameStream
from mediavault.store.pack_table import parse_pack
from mediavault.wire import problems
from mediavault_backends.api import Buffer
from mediavault_backends.disk_cache import DamagedEntryError, DiskCache, Entry
from mediavault_server.problems import RequestRefusedError
from mediavault_server.upstream.origin import Caller, Origin, damaged
from mediavault_server.upstream.packs import MAX_TABLE

COUNT_HEADER: Final = "X-Chunked-Objects"
_JSON: Final = {"Content-Type": "application/json"}
_ID_HEX: Final = 64


class CachedHistory:
    """Answers to `objects/pack`. Safe to use from several threads and processes.

    Args:
        origin: where they are made.
        cache: where they are kept.
    """

    def __init__(self, origin: Origin, cache: DiskCache) -> None:
        self._origin = origin
        self._cache = cache

    def assemble(self, caller: Caller, request: PackRequest) -> "Assembled":
        """Return the answer to a request, from the cache if it is there.

        Raises:
            UpstreamAnswerError: upstream refuses.
            RequestRefusedError: it does not answer, or sends what is damaged.
        """
        body = encode_json(_canonical(request))
        name = f"{self._origin.url}{caller.project}/objects/pack {blake3(body).hexdigest()}"
        kept = self._kept(name)
        if kept is None and self._cache.usable:
            with self._cache.turn(name):
                kept = self._kept(name) or self._fetched(caller, name, body, again=True)
        return kept or self._passing(caller, body)

    def _kept(self, name: str) -> "Assembled | None":
        """Return what is kept, if all of it is sound: a client cannot go on within a pack like this when it breaks off."""
        entry = self._cache.open(name)
        if entry is None:
            return None
        try:
            for _ in entry.blocks():
                pass
        except DamagedEntryError:
            entry.close()
            return None
        return _of_entry(entry)

    def _fetched(self, caller: Caller, name: str, body: bytes, *, again: bool) -> "Assembled | None":
        """Ask upstream, and keep its answer; what came damaged is asked for once more."""
        try:
            passing = self._passing(caller, body)
            with closing(passing.blocks):
                note = f"{passing.pack.hex()} {passing.chunked}"
                entry = self._cache.store(name, "0", passing.size, passing.blocks, note=note.encode())
        except RequestRefusedError as refusal:
            if not again or refusal.kind is not problems.DAMAGED:
                raise
            return self._fetched(caller, name, body, again=False)
        return None if entry is None else _of_entry(entry)

    def _passing(self, caller: Caller, body: bytes) -> "Assembled":
        """Ask upstream, and give its answer as it comes."""
        with ExitStack() as stack:
            headers, blocks = stack.enter_context(self._origin.stream(caller, "POST", "/objects/pack", body, _JSON))
            length, count = headers.get("Content-Length", ""), headers.get(COUNT_HEADER, "")
            if not (length.isdecimal() and len(length) < 12 and int(length) <= MAX_PACK and count.isdecimal()):
                raise damaged("It does not say how long a pack is.")
            pack = _pack_of(headers.get("ETag", ""))
            return Assembled(int(length), pack, count, _within(stack.pop_all(), checked(blocks, pack)))


class Assembled(NamedTuple):
    """An answer: its size in bytes, its pack's name, how many chunked files are in it, and its bytes, to be read once."""

    size: int
    pack: ObjectId
    chunked: str
    blocks: Generator[Buffer]


def _of_entry(entry: Entry) -> Assembled:
    pack, _, count = entry.note.decode().partition(" ")
    return Assembled(entry.size, bytes.fromhex(pack), count, _within(entry, entry.blocks()))


def _within(context: AbstractContextManager[object], blocks: Iterator[Buffer]) -> Generator[Buffer]:
    """Yield blocks, and leave a context at their end."""
    with context:
        yield from blocks


def checked(blocks: Iterable[Buffer], expected: ObjectId) -> Iterator[Buffer]:
    """Yield a pack of metadata as far as its frames are sound, and its end when all agrees with its name.

    Raises:
        RequestRefusedError: it is damaged.
    """
    stream, pending, head, done = FrameStream(), bytearray(), b"", 0
    for block in blocks:
        stream.feed(block)
        pending += block
        head = head or bytes(pending[:PACK_HEADER_BYTES])
        sound = stream.rows[-1].offset + stream.rows[-1].length if stream.rows else done
        if sound > done:
            yield bytes(pending[: sound - done])
            del pending[: sound - done]
            done = sound
        if len(pending) > MAX_METADATA_FRAME + MAX_TABLE:
            raise damaged("A pack of metadata does not consist of frames.")

    def read(start: int, length: int) -> bytes:
        return head[start : start + length] if start < done else bytes(pending[start - done : start - done + length])

    try:
        table = parse_pack(read, done + len(pending))
    except (FormatError, UnsupportedFormatError) as error:
        raise damaged(f"A pack of metadata: {error.message}") from error
    if table.pack_id != expected or table.rows != stream.rows:
        raise damaged("A pack of metadata is not what its name says.")
    yield bytes(pending)


def _pack_of(etag: str) -> ObjectId:
    try:
        name = bytes.fromhex(etag[1:-1])
    except ValueError:
        name = b""
    if len(etag) != _ID_HEX + 2 or len(name) != _ID_HEX // 2:
        raise damaged("It does not name a pack.")
    return name


def _canonical(request: PackRequest) -> PackRequest:
    """Return the form that all requests for the same have."""
    trees = None if request.trees is None else sorted(set(request.trees))
    return PackRequest(sorted(set(request.want)), sorted(set(request.have)), request.depth, trees)
