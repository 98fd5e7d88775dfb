"""Objects and file contents out of frames, verified against what their parents promised; writing files is for others."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import Final, Protocol, TypeAlias, TypeVar

from blake3 import blake3

from mediavault.errors import IntegrityError
from mediavault.formats.frame import Frame
from mediavault.formats.metadata import decode_commit, decode_manifest_node, decode_tag, decode_tree_node
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.objects import Branch, Commit, ManifestEntry, ManifestNode, Mode, Tag, TreeEntry, TreeNode
from mediavault.objects.codec import ObjectCodec

Block: TypeAlias = bytes | memoryview
"""Content; a view stays valid, since nothing writes to what it shows."""

BATCH_BYTES: Final = 4 << 20
"""How much content one worker fetches and opens at once."""

MAX_FOLDER_ENTRIES: Final = 5_000_000
MAX_DEPTH: Final = 128
_BATCH_CHUNKS: Final = 1024
_BATCH_NODES: Final = 16

T = TypeVar("T")
Entry = TypeVar("Entry")


class Place(Protocol):
    """Where a copy of a frame stands."""

    @property
    def pack_id(self) -> bytes:
        """The pack."""

    @property
    def offset(self) -> int:
        """Bytes from the pack's start."""


class FrameSource(Protocol):
    """Finds frames by id, their checksums verified. Safe to use from several threads."""

    def read(self, oid: ObjectId) -> Frame:
        """Return one frame.

        Raises:
            IntegrityError: it is missing, or every copy is damaged.
        """

    def read_batch(self, ids: Sequence[ObjectId], *, checked: bool = True) -> list[Frame]:
        """Return frames in the order of `ids`; their checksums need not be compared when `checked` is False."""

    def copies(self, oid: ObjectId) -> Iterable[tuple[Place, Frame]]:
        """Yield every copy whose checksum holds."""


class ObjectReader:
    """Reads objects. Safe to use from several threads.

    Whatever is wrong raises IntegrityError, which names the object, the pack and the offset where they are known.

    Args:
        frames: where frames come from.
        codec: opens them.
        workers: how many threads open content ahead of who asks for it.
    """

    def __init__(self, frames: FrameSource, codec: ObjectCodec, *, workers: int = 2) -> None:
        self._frames = frames
        self._codec = codec
        self._workers = workers

    def commit(self, oid: ObjectId) -> Commit:
        """Return a commit."""
        return self._load(self._frames.read(oid), oid, Kind.COMMIT, _commit)

    def tag(self, oid: ObjectId) -> Tag:
        """Return an annotated tag."""
        return self._load(self._frames.read(oid), oid, Kind.TAG, _tag)

    def tree_node(self, oid: ObjectId) -> TreeNode:
        """Return one node of a tree; what its parent promised of it is for the caller to check."""
        return self._load(self._frames.read(oid), oid, Kind.TREE, _tree_node)

    def manifest_node(self, oid: ObjectId) -> ManifestNode:
        """Return one node of a manifest; what its parent promised of it is for the caller to check."""
        return self._load(self._frames.read(oid), oid, Kind.MANIFEST, _manifest_node)

    def tree(self, root: ObjectId) -> Iterator[TreeEntry]:
        """Yield the entries of one folder in order."""
        node = self.tree_node(root)
        _check_root(root, node.level, node.entries)
        before = ""
        count = 0
        for oid, leaf in self._tree_leaves(root, node, last=True):
            if leaf and leaf[0].name <= before:
                raise IntegrityError(f"Tree {oid.hex()} does not continue where the one before it ended.")
            count += len(leaf)
            if count > MAX_FOLDER_ENTRIES:
                raise IntegrityError(f"Tree {root.hex()} holds more than {MAX_FOLDER_ENTRIES} entries.")
            yield from leaf
            before = leaf[-1].name if leaf else before

    def tree_entry(self, root: ObjectId, path: str) -> TreeEntry | None:
        """Return the entry at a path below `root`, reading only the nodes on the way; None when there is none."""
        entry: TreeEntry | None = None
        for name in path.split("/"):
            if entry is not None:
                if entry.child is None or entry.mode is not Mode.TREE:
                    return None
                root = entry.child.id
            entry = self._find(root, name)
            if entry is None:
                return None
        return entry

    def walk_tree(self, root: ObjectId) -> Iterator[tuple[str, TreeEntry]]:
        """Yield all files and symlinks below `root` with their paths, folder by folder in the order of names."""
        open_folders = [("", self.tree(root))]
        while open_folders:
            prefix, entries = open_folders[-1]
            for entry in entries:
                if entry.mode is Mode.TREE and entry.child is not None:
                    if len(open_folders) >= MAX_DEPTH:
                        raise IntegrityError(f"Tree {root.hex()} is deeper than {MAX_DEPTH} folders.")
                    open_folders.append((f"{prefix}{entry.name}/", self.tree(entry.child.id)))
                    break
                yield prefix + entry.name, entry
            else:
                open_folders.pop()

    def chunk_list(self, child: Link | None, size: int) -> Iterator[ManifestEntry]:
        """Yield the chunks of a file of `size` bytes in order.

        Args:
            child: what the tree entry links to: nothing, a chunk or a manifest.
            size: the file's length, which the chunks are checked to add up to before any is yielded of their node.
        """
        if child is None:
            if size:
                raise IntegrityError(f"A file of {size} bytes has no content.")
            return
        if child.kind is Kind.CHUNK:
            yield ManifestEntry(child.id, size)
            return
        root = self.manifest_node(child.id)
        if len(root.entries) < 2:
            raise IntegrityError(f"Manifest {child.id.hex()} is a root with one child.")
        yield from self._manifest_entries(child.id, root, size, last=True)

    def chunks(self, entries: Iterable[ManifestEntry]) -> Generator[Block, None, None]:
        """Yield the content of chunks in order, read ahead in batches by a few threads.

        When this ends early, by an exception or because the caller stops, the threads are ended before it returns.
        """
        batches = _batches(entries)
        begun = list(islice(batches, 2))
        if len(begun) < 2:
            for batch in begun:
                yield from self._content(batch)
            return
        ahead: deque[Future[list[Block]]] = deque()
        pool = ThreadPoolExecutor(self._workers, "read")
        try:
            for batch in chain(begun, batches):
                ahead.append(pool.submit(self._content, batch))
                if len(ahead) > self._workers:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def file(self, entry: TreeEntry) -> Generator[Block, None, None]:
        """Yield a file's content in order.

        Each block is verified as a chunk; only when this ends without an exception is the whole file.
        """
        hasher = blake3()
        for block in self.chunks(self.chunk_list(entry.child, entry.size)):
            hasher.update(block)
            yield block
        if hasher.digest() != entry.digest:
            raise IntegrityError(f"The content of {entry.name!r} does not have the hash that its tree promises.")

    def _content(self, batch: list[ManifestEntry]) -> list[Block]:
        """Fetch and open one batch; a chunk that occurs twice is opened once."""
        lengths = {entry.chunk: entry.length for entry in batch}
        ids = list(lengths)
        # The tag of a sealed frame covers all that its checksum covers, and is compared when it is opened.
        frames = self._frames.read_batch(ids, checked=self._codec.plain)
        opened = {oid: self._load(frame, oid, Kind.CHUNK, _chunk) for oid, frame in zip(ids, frames, strict=True)}
        for entry in batch:
            if len(opened[entry.chunk]) != entry.length:
                raise IntegrityError(f"Chunk {entry.chunk.hex()} is not {entry.length} bytes long as its file says.")
        return [opened[entry.chunk] for entry in batch]

    def _find(self, root: ObjectId, name: str) -> TreeEntry | None:
        """Find a name in one folder by the bounds of its nodes."""
        oid, node = root, self.tree_node(root)
        _check_root(root, node.level, node.entries)
        while node.level:
            branches = _as_branches(node.entries)
            at = bisect_left(branches, name, key=_bound_name)
            if at == len(branches):
                return None
            oid = branches[at].child
            child = self.tree_node(oid)
            _check_tree_child(oid, child, branches[at], node.level)
            node = child
        leaf = _as_entries(node.entries)
        at = bisect_left(leaf, name, key=_entry_name)
        return leaf[at] if at < len(leaf) and leaf[at].name == name else None

    def _tree_leaves(
        self, oid: ObjectId, node: TreeNode, *, last: bool
    ) -> Iterator[tuple[ObjectId, tuple[TreeEntry, ...]]]:
        """Yield the leaves below a node; `last` tells whether it is the last of its level."""
        if not node.level:
            yield oid, _as_entries(node.entries)
            return
        branches = _as_branches(node.entries)
        for branch, child in self._children(branches, Kind.TREE, _tree_node):
            _check_tree_child(branch.child, child, branch, node.level)
            final = last and branch is branches[-1]
            _check_filled(branch.child, child.level, child.entries, last=final)
            yield from self._tree_leaves(branch.child, child, last=final)

    def _manifest_entries(self, oid: ObjectId, node: ManifestNode, size: int, *, last: bool) -> Iterator[ManifestEntry]:
        """Yield the chunks below a node that must add up to `size` bytes."""
        if not node.level:
            chunks = [entry for entry in node.entries if isinstance(entry, ManifestEntry)]
            _check_sum(oid, sum(chunk.length for chunk in chunks), size)
            yield from chunks
            return
        branches = _as_branches(node.entries)
        _check_sum(oid, sum(_length(branch) for branch in branches), size)
        for branch, child in self._children(branches, Kind.MANIFEST, _manifest_node):
            _check_level(branch.child, child.level, node.level)
            final = last and branch is branches[-1]
            _check_filled(branch.child, child.level, child.entries, last=final)
            yield from self._manifest_entries(branch.child, child, _length(branch), last=final)

    def _children(
        self, branches: Sequence[Branch], kind: Kind, decode: Callable[[Frame, Block], T]
    ) -> Iterator[tuple[Branch, T]]:
        """Read the nodes that branches lead to, some at a time."""
        for at in range(0, len(branches), _BATCH_NODES):
            batch = branches[at : at + _BATCH_NODES]
            for branch, frame in zip(batch, self._frames.read_batch([b.child for b in batch]), strict=True):
                yield branch, self._load(frame, branch.child, kind, decode)

    def _load(self, frame: Frame, oid: ObjectId, kind: Kind, decode: Callable[[Frame, Block], T]) -> T:
        """Open and decode a frame, or another copy of the same object if this one does not hold what it should."""
        try:
            return decode(frame, self._codec.open(frame, oid, kind))
        except IntegrityError as error:
            first = error
        where = ""
        for place, copy in self._frames.copies(oid):
            try:
                return decode(copy, self._codec.open(copy, oid, kind))
            except IntegrityError:
                where = where or f" It stands in pack {place.pack_id.hex()} at {place.offset}."
        if not where:
            self._frames.read(oid)  # no copy has even its checksum: the store says where they stand
        subject = "" if oid.hex() in first.message else f"{kind.name.capitalize()} {oid.hex()} is damaged. "
        raise IntegrityError(f"{subject}{first.message}{where}", hint="Run `mediagit verify`.") from first


def _chunk(_: Frame, raw: Block) -> Block:
    return raw


def _commit(frame: Frame, payload: Block) -> Commit:
    return decode_commit(frame.header.links, bytes(payload), frame.header.generation)


def _tag(frame: Frame, payload: Block) -> Tag:
    return decode_tag(frame.header.links, bytes(payload))


def _tree_node(frame: Frame, payload: Block) -> TreeNode:
    return decode_tree_node(frame.header.links, bytes(payload))


def _manifest_node(frame: Frame, payload: Block) -> ManifestNode:
    return decode_manifest_node(frame.header.links, bytes(payload))


def _as_entries(entries: Sequence[TreeEntry] | Sequence[Branch]) -> tuple[TreeEntry, ...]:
    return tuple([entry for entry in entries if isinstance(entry, TreeEntry)])


def _as_branches(entries: Sequence[object]) -> list[Branch]:
    return [entry for entry in entries if isinstance(entry, Branch)]


def _entry_name(entry: TreeEntry) -> str:
    return entry.name


def _bound_name(branch: Branch) -> str:
    return str(branch.bound)


def _length(branch: Branch) -> int:
    return int(branch.bound)


def _check_root(oid: ObjectId, level: int, entries: Sequence[object]) -> None:
    if level and len(entries) < 2:
        raise IntegrityError(f"Tree {oid.hex()} is a root with one child.")


def _check_level(oid: ObjectId, level: int, parent: int) -> None:
    if level != parent - 1:
        raise IntegrityError(f"Node {oid.hex()} has level {level} under a node of level {parent}.")


def _check_filled(oid: ObjectId, level: int, entries: Sequence[object], *, last: bool) -> None:
    if len(entries) < (1 if last or not level else 2):
        raise IntegrityError(f"Node {oid.hex()} has too few entries.")


def _check_tree_child(oid: ObjectId, child: TreeNode, branch: Branch, parent: int) -> None:
    _check_level(oid, child.level, parent)
    end = child.entries[-1] if child.entries else None
    name = end.name if isinstance(end, TreeEntry) else end.bound if end else None
    if name != branch.bound:
        raise IntegrityError(f"Tree {oid.hex()} does not end with the name that its parent promises.")


def _check_sum(oid: ObjectId, total: int, size: int) -> None:
    if total != size:
        raise IntegrityError(f"Manifest {oid.hex()} adds up to {total} bytes instead of {size}.")


def _batches(entries: Iterable[ManifestEntry]) -> Iterator[list[ManifestEntry]]:
    batch: list[ManifestEntry] = []
    size = 0
    for entry in entries:
        if batch and (size + entry.length > BATCH_BYTES or len(batch) >= _BATCH_CHUNKS):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.length
    if batch:
        yield batch
