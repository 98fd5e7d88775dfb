"""Everything that refs lead to, each object once, in memory that grows with metadata only; judging it is for the verbs."""

import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import IO, Final, NamedTuple, Protocol, Self, TypeAlias

from mediavault.errors import IntegrityError
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.objects import Branch, Commit, ManifestEntry, ManifestNode, Mode, Tag, TreeEntry, TreeNode
from mediavault.objects.reader import MAX_DEPTH
from mediavault.ops.repository import Repository

Body: TypeAlias = Commit | Tag | TreeNode | ManifestNode

_PARTS: Final = 64
_CHUNK: Final = struct.Struct("<32sQ")
_READ_ROWS: Final = 16384
_MAX_NESTED: Final = 8 * MAX_DEPTH
"""Nodes on the way down from a commit: the deepest folders, each of several levels of nodes."""


class MetadataReader(Protocol):
    """What opens metadata; `mediavault.objects.reader.ObjectReader` is one. All raise IntegrityError."""

    def commit(self, oid: ObjectId) -> Commit:
        """Return a commit."""

    def tag(self, oid: ObjectId) -> Tag:
        """Return an annotated tag."""

    def tree_node(self, oid: ObjectId) -> TreeNode:
        """Return one node of a tree."""

    def manifest_node(self, oid: ObjectId) -> ManifestNode:
        """Return one node of a manifest."""


class Visit(NamedTuple):
    """A metadata object and what it holds."""

    link: Link
    body: Body


def tips(repository: Repository) -> list[Link]:
    """Return where all refs point, and the checked-out commit.

    Raises:
        IntegrityError: a ref is damaged.
    """
    found = dict.fromkeys(state.target for state in repository.refs.list() if state.target is not None)
    head = repository.head_commit()
    if head is not None:
        found[Link(Kind.COMMIT, head)] = None
    return list(found)


def walk_metadata(
    reader: MetadataReader, starts: Iterable[Link], *, damaged: Callable[[Link, IntegrityError], None] | None = None
) -> Iterator[Visit]:
    """Yield every commit, tag, tree node and manifest node that `starts` lead to, once each, opened.

    Trees and manifests come after all that is beneath them, and before the commit that needs them.

    Args:
        reader: opens objects.
        starts: where to begin.
        damaged: told of each object that is missing or damaged, which is then passed over; None raises instead.

    Raises:
        IntegrityError: an object is missing or damaged, and nobody is told.
    """
    walk = _Walk(reader, damaged)
    waiting = list(starts)
    while waiting:
        link = waiting.pop()
        if link.kind < Kind.COMMIT:
            yield from walk.nodes(link)
            continue
        body = walk.open(link)
        if isinstance(body, Commit):
            yield from walk.nodes(Link(Kind.TREE, body.tree))
            waiting += [Link(Kind.COMMIT, parent) for parent in body.parents]
        elif isinstance(body, Tag):
            waiting.append(body.target)
        if body is not None:
            yield Visit(link, body)


class _Walk:
    """Opens objects, each once."""

    def __init__(self, reader: MetadataReader, damaged: Callable[[Link, IntegrityError], None] | None) -> None:
        self._open: dict[Kind, Callable[[ObjectId], Body]] = {
            Kind.COMMIT: reader.commit,
            Kind.TAG: reader.tag,
            Kind.TREE: reader.tree_node,
            Kind.MANIFEST: reader.manifest_node,
        }
        self._damaged = damaged
        self._seen: set[ObjectId] = set()

    def open(self, link: Link) -> Body | None:
        """Return what an object holds; None when it was opened before, or is damaged."""
        if link.id in self._seen:
            return None
        self._seen.add(link.id)
        try:
            return self._open[link.kind](link.id)
        except IntegrityError as error:
            self._tell(link, error)
            return None

    def _tell(self, link: Link, error: IntegrityError) -> None:
        if self._damaged is None:
            raise error
        self._damaged(link, error)

    def nodes(self, root: Link) -> Iterator[Visit]:
        """Yield a tree or manifest and all nodes beneath it, children first."""
        if root.kind is Kind.CHUNK:
            return
        path: list[tuple[Visit, Iterator[Link]]] = []
        self._enter(root, path)
        while path:
            visit, below = path[-1]
            child = next(below, None)
            if child is None:
                path.pop()
                yield visit
            else:
                self._enter(child, path)

    def _enter(self, link: Link, path: list[tuple[Visit, Iterator[Link]]]) -> None:
        if len(path) >= _MAX_NESTED:
            self._tell(link, IntegrityError(f"{link.kind.name.capitalize()} {link.id.hex()} is nested too deep."))
            return
        body = self.open(link)
        if body is not None:
            path.append((Visit(link, body), iter(_nodes_of(body))))


def _nodes_of(body: Body) -> list[Link]:
    if isinstance(body, ManifestNode):
        return [Link(Kind.MANIFEST, entry.child) for entry in body.entries if isinstance(entry, Branch)]
    if not isinstance(body, TreeNode):
        return []
    links = [Link(Kind.TREE, entry.child) if isinstance(entry, Branch) else entry.child for entry in body.entries]
    return [link for link in links if link is not None and link.kind is not Kind.CHUNK]


def chunks_of(body: Body) -> list[ManifestEntry]:
    """Return the chunks that a node leads to itself."""
    if isinstance(body, ManifestNode):
        return [entry for entry in body.entries if isinstance(entry, ManifestEntry)]
    if not isinstance(body, TreeNode):
        return []
    return [
        ManifestEntry(entry.child.id, entry.size)
        for entry in body.entries
        if isinstance(entry, TreeEntry) and entry.child is not None and entry.child.kind is Kind.CHUNK
    ]


def is_file(entry: TreeEntry) -> bool:
    """Say whether an entry is a file, executable or not."""
    return entry.mode in {Mode.FILE, Mode.EXECUTABLE}


class ChunkSet:
    """Distinct chunks and their raw lengths, kept in temporary files, so that any number of them fits.

    A context manager; the files are gone at its end.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._parts: list[IO[bytes]] = []

    def __enter__(self) -> Self:
        for _ in range(_PARTS):
            self._parts.append(self._stack.enter_context(tempfile.TemporaryFile()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, chunks: Iterable[ManifestEntry]) -> None:
        """Take chunks, which may be there already."""
        for chunk in chunks:
            self._parts[chunk.chunk[0] % _PARTS].write(_CHUNK.pack(chunk.chunk, chunk.length))

    def __iter__(self) -> Iterator[tuple[ObjectId, int]]:
        """Yield each chunk once, with its length; about a 64th of them is held in memory."""
        for part in self._parts:
            part.seek(0)
            distinct: dict[ObjectId, int] = {}
            while data := part.read(_READ_ROWS * _CHUNK.size):
                distinct.update(_CHUNK.iter_unpack(data))
            yield from distinct.items()
