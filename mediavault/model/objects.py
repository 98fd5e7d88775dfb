"""What a repository stores, as frozen types: commits, tags, tree and manifest entries.

Links are real ids here. Their stored form (positions in the header's list of links) is the business of
`mediavault.formats.metadata`.
"""

from enum import IntEnum

import msgspec

from mediavault.model.ids import Link, ObjectId


class Mode(IntEnum):
    """What a tree entry is. The number is stored."""

    FILE = 1
    EXECUTABLE = 2
    SYMLINK = 3
    TREE = 4


class Person(msgspec.Struct, frozen=True, gc=False):
    """Who did something."""

    name: str
    email: str


class Moment(msgspec.Struct, frozen=True, gc=False):
    """When: seconds since 1970-01-01 UTC, and the zone's offset in minutes east of UTC."""

    seconds: int
    offset: int


class Commit(msgspec.Struct, frozen=True, gc=False):
    """A state of the whole project and how it came to be.

    `generation` is 1 + the highest generation of the parents, 1 without parents. `signature` is empty or signs
    the payload with the signature empty (version 1 stores it and checks nothing).
    """

    tree: ObjectId
    parents: tuple[ObjectId, ...]
    author: Person
    authored: Moment
    committer: Person
    committed: Moment
    generation: int
    message: str
    signature: bytes = b""


class Tag(msgspec.Struct, frozen=True, gc=False):
    """An annotated name for an object."""

    target: Link
    name: str
    tagger: Person
    tagged: Moment
    message: str
    signature: bytes = b""


class TreeEntry(msgspec.Struct, frozen=True, gc=False):
    """One name in a folder.

    Files: `size` bytes, `digest` the unkeyed BLAKE3 of the whole content, `child` a CHUNK (a file of one chunk),
    a MANIFEST (several), or None (an empty file). Symlinks: `target` is the link's text, `size` its UTF-8 length,
    `digest` its BLAKE3, no child. Folders: size 0, digest empty, `child` a TREE.
    """

    name: str
    mode: Mode
    size: int
    digest: bytes
    child: Link | None
    target: str = ""


class ManifestEntry(msgspec.Struct, frozen=True, gc=False):
    """One chunk of a file, in order; `length` is its raw size in bytes."""

    chunk: ObjectId
    length: int


class Branch(msgspec.Struct, frozen=True, gc=False):
    """An entry of a node above the leaves: a child node, with the last name (tree) or byte length (manifest) in it."""

    child: ObjectId
    bound: str | int


class TreeNode(msgspec.Struct, frozen=True, gc=False):
    """A node of a tree: level 0 holds entries, names ascending by UTF-8 bytes; higher levels hold branches."""

    level: int
    entries: tuple[TreeEntry, ...] | tuple[Branch, ...]


class ManifestNode(msgspec.Struct, frozen=True, gc=False):
    """A node of a manifest: level 0 holds chunks in file order; higher levels hold branches."""

    level: int
    entries: tuple[ManifestEntry, ...] | tuple[Branch, ...]
