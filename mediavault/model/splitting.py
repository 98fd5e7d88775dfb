"""Where the nodes of a tree or manifest end. A cut depends on the entries near it alone, so an edit rewrites a few nodes.

Knows nothing of bytes: what an entry measures is told by the caller (`mediavault.formats.metadata.encoded_size`).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from blake3 import blake3

from mediavault.model.ids import ObjectId

MIN_ENTRIES = 32
MAX_ENTRIES = 4096
MAX_NODE_BYTES = 512 << 10
"""Raw payload and links of one node together."""

NODE_OVERHEAD = 5
"""Bytes that a node's payload has beside its entries, at most: array, level, and an array head of 3."""

SPLIT_MASK = 0x1FF

Item = TypeVar("Item")


class Splitter:
    """Computes the split values of one repository.

    Args:
        split_key: 32 bytes; it keeps node sizes from telling names in an encrypted repository.
    """

    __slots__ = ("_key",)

    def __init__(self, split_key: bytes) -> None:
        self._key = split_key

    def leaf_value(self, entry: str | ObjectId) -> int:
        """Return the split value of a leaf's entry: of a name in a tree, or of a chunk's id in a manifest."""
        if isinstance(entry, str):
            return int.from_bytes(blake3(entry.encode(), key=self._key).digest(2), "little")
        return entry[0] | entry[1] << 8

    def node_value(self, child: ObjectId) -> int:
        """Return the split value of an entry above the leaves.

        It is the child's id that counts: a child's last name has always met the leaf's test, and levels would not shrink.
        """
        return child[0] | child[1] << 8


def split(
    items: Iterable[Item],
    value_of: Callable[[Item], int],
    size_of: Callable[[Item], int],
) -> Iterator[list[Item]]:
    """Yield the entries of each node of one level, in order; nothing when there are no items.

    A node ends after an entry whose split value has nine zero bits when it has at least 32 entries, at 4,096 entries,
    or before an entry that would bring it past 512 KiB.

    Args:
        items: the level's entries in order.
        value_of: an entry's split value, a u16.
        size_of: an entry's measured size in bytes.
    """
    node: list[Item] = []
    size = NODE_OVERHEAD
    for item in items:
        item_size = size_of(item)
        if node and size + item_size > MAX_NODE_BYTES:
            yield node
            node, size = [], NODE_OVERHEAD
        node.append(item)
        size += item_size
        count = len(node)
        if count == MAX_ENTRIES or (count >= MIN_ENTRIES and not value_of(item) & SPLIT_MASK):
            yield node
            node, size = [], NODE_OVERHEAD
    if node:
        yield node
