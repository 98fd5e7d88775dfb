"""Trees, manifests, commits and tags into frames; where nodes end is decided by `mediavault.model.splitting`."""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeAlias

from mediavault.formats.metadata import (
    encode_commit,
    encode_manifest_node,
    encode_tag,
    encode_tree_node,
    encoded_size,
)
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.objects import Branch, Commit, ManifestEntry, ManifestNode, Tag, TreeEntry, TreeNode
from mediavault.model.splitting import MAX_ENTRIES, Splitter, split
from mediavault.objects.codec import ObjectCodec

Buffer: TypeAlias = bytes | bytearray | memoryview

_MANIFEST_AHEAD: Final = 2 * MAX_ENTRIES
"""Manifest entries held back until the node that they belong to has certainly ended."""


class KnownObjects(Protocol):
    """What is stored already."""

    def has(self, oid: ObjectId) -> bool:
        """Tell whether an object is stored."""


class FrameSink(KnownObjects, Protocol):
    """Where new frames go; `has` tells of those that went there and may not be stored yet."""

    def append(self, frame: Buffer, raw_length: int) -> None:
        """Take a whole frame, whose payload has `raw_length` bytes when opened; its memory is the caller's again afterwards."""


class NodeWriter:
    """Writes metadata objects, skipping those that exist.

    Args:
        codec: names and seals.
        splitter: decides where nodes end.
        known: what is stored.
        sink: takes new frames.
    """

    def __init__(self, codec: ObjectCodec, splitter: Splitter, known: KnownObjects, sink: FrameSink) -> None:
        self._codec = codec
        self._splitter = splitter
        self._known = known
        self._sink = sink

    def commit(self, commit: Commit) -> ObjectId:
        """Write a commit; return its id."""
        return self._write(Kind.COMMIT, *encode_commit(commit), commit.generation)

    def tag(self, tag: Tag) -> ObjectId:
        """Write an annotated tag; return its id."""
        return self._write(Kind.TAG, *encode_tag(tag))

    def tree(self, entries: Iterable[TreeEntry]) -> ObjectId:
        """Write the nodes of one folder, and return the id of its root.

        Args:
            entries: ascending by the UTF-8 bytes of their names, whose children are written already.

        Raises:
            FormatError: an entry breaks the format's rules, or they do not ascend across nodes.
        """
        leaves = split(entries, lambda entry: self._splitter.leaf_value(entry.name), encoded_size)
        branches = [self._tree_node(TreeNode(0, tuple(leaf))) for leaf in leaves]
        level = 0
        while len(branches) > 1:
            level += 1
            branches = [self._tree_node(TreeNode(level, tuple(node))) for node in self._split_branches(branches)]
        return branches[0].child if branches else self._tree_node(TreeNode(0, ())).child

    def manifest(self) -> "ManifestWriter":
        """Return a writer for the chunks of one file."""
        return ManifestWriter(self, self._splitter)

    def manifest_node(self, node: ManifestNode) -> ObjectId:
        """Write one node of a manifest."""
        return self._write(Kind.MANIFEST, *encode_manifest_node(node))

    def _tree_node(self, node: TreeNode) -> Branch:
        oid = self._write(Kind.TREE, *encode_tree_node(node))
        last = node.entries[-1] if node.entries else None
        return Branch(oid, last.name if isinstance(last, TreeEntry) else last.bound if last else "")

    def _split_branches(self, branches: list[Branch]) -> Iterable[list[Branch]]:
        return split(branches, lambda branch: self._splitter.node_value(branch.child), encoded_size)

    def _write(self, kind: Kind, links: Sequence[Link], payload: bytes, generation: int = 0) -> ObjectId:
        oid = self._codec.name_metadata(kind, links, payload)
        if not (self._sink.has(oid) or self._known.has(oid)):
            self._sink.append(self._codec.seal_metadata(kind, oid, links, payload, generation), len(payload))
        return oid


class ManifestWriter:
    """Collects the chunks of one file in order, and writes the nodes over them as they fill up.

    Memory does not grow with the file but for one entry a leaf.
    """

    def __init__(self, nodes: NodeWriter, splitter: Splitter) -> None:
        self._nodes = nodes
        self._splitter = splitter
        self._entries: list[ManifestEntry] = []
        self._leaves: list[Branch] = []

    def append(self, chunk: ObjectId, length: int) -> None:
        """Add a chunk of `length` raw bytes, which is stored or was given to the sink already."""
        self._entries.append(ManifestEntry(chunk, length))
        if len(self._entries) >= _MANIFEST_AHEAD:
            # A node's end depends only on what follows the end before it: all but the last list are settled.
            *settled, self._entries = self._split()
            self._leaves += [self._leaf(leaf) for leaf in settled]

    def finish(self) -> Link | None:
        """Write what is left.

        Returns:
            what a tree entry links to: nothing for an empty file, the chunk itself for one chunk, else a manifest.
        """
        if not self._leaves and len(self._entries) <= 1:
            return Link(Kind.CHUNK, self._entries[0].chunk) if self._entries else None
        branches = self._leaves + [self._leaf(leaf) for leaf in self._split()]
        level = 0
        while len(branches) > 1:
            level += 1
            nodes = split(branches, lambda branch: self._splitter.node_value(branch.child), encoded_size)
            branches = [self._branch(ManifestNode(level, tuple(node))) for node in nodes]
        return Link(Kind.MANIFEST, branches[0].child)

    def _split(self) -> list[list[ManifestEntry]]:
        return list(split(self._entries, lambda entry: self._splitter.leaf_value(entry.chunk), encoded_size))

    def _leaf(self, entries: list[ManifestEntry]) -> Branch:
        return self._branch(ManifestNode(0, tuple(entries)))

    def _branch(self, node: ManifestNode) -> Branch:
        length = sum(entry.length if isinstance(entry, ManifestEntry) else int(entry.bound) for entry in node.entries)
        return Branch(self._nodes.manifest_node(node), length)
