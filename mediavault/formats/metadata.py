"""Metadata payloads: commits, tags and the nodes of trees and manifests, as canonical msgpack beside a list of links.

A payload holds no ids, only positions in the header's links, so links cannot lie. Every decoder encodes again and
compares, since a lenient reading (extra elements, long integers) would let one object have several ids. Naming and
sealing are left to `mediavault.objects`; where nodes end to `mediavault.model.splitting`.
"""

from collections.abc import Iterable, Sequence
from operator import ge
from typing import Any, TypeAlias, TypeVar

import msgspec
from blake3 import blake3

from mediavault.errors import FormatError
from mediavault.formats.frame import MAX_GENERATION, MAX_LINKS, Buffer
from mediavault.model.ids import LINK_BYTES, Kind, Link, ObjectId
from mediavault.model.names import check_entry_name
from mediavault.model.objects import (
    Branch,
    Commit,
    ManifestEntry,
    ManifestNode,
    Mode,
    Moment,
    Person,
    Tag,
    TreeEntry,
    TreeNode,
)
from mediavault.model.splitting import MAX_ENTRIES, MAX_NODE_BYTES

Links: TypeAlias = tuple[Link, ...]

MAX_LEVEL = 15
MAX_PARENTS = 1024
MAX_TEXT_BYTES = 1024
"""A person's name or address, or a tag's name."""

MAX_MESSAGE_BYTES = 256 << 10
MAX_SIGNATURE_BYTES = 16 << 10
MAX_TARGET_BYTES = 4095
MAX_FILE_BYTES = (1 << 63) - 1
EMPTY_DIGEST: bytes = blake3().digest()
"""The BLAKE3 of an empty file."""

# One day inside the years 1 and 9999, so that every zone's local time can still be shown.
_FIRST_SECOND = -62_135_510_400
_LAST_SECOND = 253_402_214_399
_MEASURE_POSITION = 4095


class _Person(msgspec.Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    name: str
    email: str


class _Moment(msgspec.Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    seconds: int
    offset: int


class _Commit(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    tree: int
    parents: list[int]
    author: _Person
    authored: _Moment
    committer: _Person
    committed: _Moment
    generation: int
    message: str
    signature: bytes


class _Tag(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    target: int
    name: str
    tagger: _Person
    tagged: _Moment
    message: str
    signature: bytes


class _File(msgspec.Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True, tag=1):
    name: str
    size: int
    digest: bytes
    child: int | None


class _Executable(msgspec.Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True, tag=2):
    name: str
    size: int
    digest: bytes
    child: int | None


class _Symlink(msgspec.Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True, tag=3):
    name: str
    target: str


class _Folder(msgspec.Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True, tag=4):
    name: str
    child: int


_StoredEntry: TypeAlias = _File | _Executable | _Symlink | _Folder


class _TreeLeaf(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    level: int
    entries: list[_StoredEntry]


class _TreeBranches(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    level: int
    entries: list[tuple[int, str]]


class _Numbers(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Both levels of a manifest: position and byte length."""

    level: int
    entries: list[tuple[int, int]]


_encode = msgspec.msgpack.Encoder().encode
_commit_decoder = msgspec.msgpack.Decoder(_Commit)
_tag_decoder = msgspec.msgpack.Decoder(_Tag)
_leaf_decoder = msgspec.msgpack.Decoder(_TreeLeaf)
_branches_decoder = msgspec.msgpack.Decoder(_TreeBranches)
_numbers_decoder = msgspec.msgpack.Decoder(_Numbers)

_Struct = TypeVar("_Struct", _Commit, _Tag, _TreeLeaf, _TreeBranches, _Numbers)


def encode_commit(commit: Commit) -> tuple[Links, bytes]:
    """Return a commit's links and payload.

    Raises:
        FormatError: the commit breaks the format's rules.
    """
    parents = [Link(Kind.COMMIT, parent) for parent in commit.parents]
    links = _sorted_links([Link(Kind.TREE, commit.tree), *parents])
    _check_commit(commit)
    at = {link: position for position, link in enumerate(links)}
    stored = _Commit(
        0,
        [at[parent] for parent in parents],
        _store_person(commit.author),
        _store_moment(commit.authored),
        _store_person(commit.committer),
        _store_moment(commit.committed),
        commit.generation,
        commit.message,
        commit.signature,
    )
    return links, _encode(stored)


def decode_commit(links: Sequence[Link], payload: Buffer, generation: int) -> Commit:
    """Read a commit; `generation` is the frame header's.

    Raises:
        FormatError: the payload does not parse, is not canonical, or breaks the format's rules.
    """
    stored = _unpack(_commit_decoder, payload, "commit")
    positions = [stored.tree, *stored.parents]
    _check_positions(positions, links)
    if len(positions) != len(links):
        raise FormatError("A commit names a parent twice.")
    if [links[at].kind for at in positions] != [Kind.TREE] + [Kind.COMMIT] * len(stored.parents):
        raise FormatError("A commit links to kinds that it may not link to.")
    commit = Commit(
        links[stored.tree].id,
        tuple([links[at].id for at in stored.parents]),
        _load_person(stored.author),
        _load_moment(stored.authored),
        _load_person(stored.committer),
        _load_moment(stored.committed),
        stored.generation,
        stored.message,
        stored.signature,
    )
    _check_commit(commit)
    if commit.generation != generation:
        raise FormatError("A commit's generation differs from its header's.")
    return commit


def encode_tag(tag: Tag) -> tuple[Links, bytes]:
    """Return a tag's links and payload.

    Raises:
        FormatError: the tag breaks the format's rules.
    """
    _check_tag(tag)
    stored = _Tag(0, tag.name, _store_person(tag.tagger), _store_moment(tag.tagged), tag.message, tag.signature)
    return (tag.target,), _encode(stored)


def decode_tag(links: Sequence[Link], payload: Buffer) -> Tag:
    """Read a tag.

    Raises:
        FormatError: the payload does not parse, is not canonical, or breaks the format's rules.
    """
    stored = _unpack(_tag_decoder, payload, "tag")
    _check_positions([stored.target], links)
    tag = Tag(
        links[0],
        stored.name,
        _load_person(stored.tagger),
        _load_moment(stored.tagged),
        stored.message,
        stored.signature,
    )
    _check_tag(tag)
    return tag


def encode_tree_node(node: TreeNode) -> tuple[Links, bytes]:
    """Return a tree node's links and payload.

    Raises:
        FormatError: the node breaks the format's rules.
    """
    if node.level:
        return _encode_branches(Kind.TREE, node.level, node.entries, str)
    entries: tuple[TreeEntry, ...] = node.entries  # type: ignore[assignment]  # level 0 holds entries
    _check_names([_of_type(entry, TreeEntry).name for entry in entries])
    links = _sorted_links({entry.child for entry in entries if entry.child is not None})
    at = {link: position for position, link in enumerate(links)}
    stored = _TreeLeaf(0, [_store_entry(entry, None if entry.child is None else at[entry.child]) for entry in entries])
    return links, _pack_node(stored, links)


def decode_tree_node(links: Sequence[Link], payload: Buffer) -> TreeNode:
    """Read a tree node of any level. Whether its level and bounds are what its parent promised is the caller's to check.

    Raises:
        FormatError: the payload does not parse, is not canonical, or breaks the format's rules.
    """
    if _level(payload):
        branches = _unpack_node(_branches_decoder, payload, links, "tree")
        _check_names([name for _, name in branches.entries])
        ids = _branch_ids(Kind.TREE, links, [at for at, _ in branches.entries])
        return TreeNode(
            branches.level,
            tuple([Branch(oid, name) for oid, (_, name) in zip(ids, branches.entries, strict=True)]),
        )
    leaf = _unpack_node(_leaf_decoder, payload, links, "tree")
    _check_names([entry.name for entry in leaf.entries])
    _check_positions(
        [entry.child for entry in leaf.entries if not isinstance(entry, _Symlink) and entry.child is not None],
        links,
    )
    entries = tuple([_load_entry(entry, links) for entry in leaf.entries])
    return TreeNode(0, entries)


def encode_manifest_node(node: ManifestNode) -> tuple[Links, bytes]:
    """Return a manifest node's links and payload.

    Raises:
        FormatError: the node breaks the format's rules.
    """
    if node.level:
        return _encode_branches(Kind.MANIFEST, node.level, node.entries, int)
    entries: tuple[ManifestEntry, ...] = node.entries  # type: ignore[assignment]  # level 0 holds chunks
    _check_sizes([_of_type(entry, ManifestEntry).length for entry in entries])
    links = _sorted_links({Link(Kind.CHUNK, entry.chunk) for entry in entries})
    at = {link.id: position for position, link in enumerate(links)}
    stored = _Numbers(0, [(at[entry.chunk], entry.length) for entry in entries])
    return links, _pack_node(stored, links)


def decode_manifest_node(links: Sequence[Link], payload: Buffer) -> ManifestNode:
    """Read a manifest node of any level. Whether its level and length are what its parent promised is the caller's to check.

    Raises:
        FormatError: the payload does not parse, is not canonical, or breaks the format's rules.
    """
    level = _level(payload)
    node = _unpack_node(_numbers_decoder, payload, links, "manifest")
    _check_sizes([length for _, length in node.entries])
    ids = _branch_ids(Kind.MANIFEST if level else Kind.CHUNK, links, [at for at, _ in node.entries])
    pairs = zip(ids, node.entries, strict=True)
    if level:
        return ManifestNode(level, tuple([Branch(oid, length) for oid, (_, length) in pairs]))
    return ManifestNode(0, tuple([ManifestEntry(oid, length) for oid, (_, length) in pairs]))


def encoded_size(entry: TreeEntry | ManifestEntry | Branch) -> int:
    """Return an entry's measured size in bytes: 33 for a link, and its msgpack with 4095 for the link's position.

    So the measure depends on the entry alone, never on the node it stands in.
    """
    if isinstance(entry, TreeEntry):
        position = None if entry.child is None else _MEASURE_POSITION
        return LINK_BYTES + len(_encode(_store_entry(entry, position)))
    bound = entry.length if isinstance(entry, ManifestEntry) else entry.bound
    return LINK_BYTES + len(_encode((_MEASURE_POSITION, bound)))


def _encode_branches(kind: Kind, level: int, entries: Iterable[Any], bound: type) -> tuple[Links, bytes]:
    branches: list[Branch] = [_of_type(entry, Branch) for entry in entries]
    bounds: list[Any] = [_of_type(branch.bound, bound) for branch in branches]
    if not 0 < level <= MAX_LEVEL:
        raise FormatError("A node's level is out of range.")
    if bound is str:
        _check_names(bounds)
    else:
        _check_sizes(bounds)
    links = _sorted_links({Link(kind, branch.child) for branch in branches})
    at = {link.id: position for position, link in enumerate(links)}
    pairs = [(at[branch.child], bound) for branch, bound in zip(branches, bounds, strict=True)]
    stored = _TreeBranches(level, pairs) if kind == Kind.TREE else _Numbers(level, pairs)
    return links, _pack_node(stored, links)


def _branch_ids(kind: Kind, links: Sequence[Link], positions: list[int]) -> list[ObjectId]:
    _check_positions(positions, links)
    if any(link.kind != kind for link in links):
        raise FormatError("A node links to kinds that it may not link to.")
    return [links[at].id for at in positions]


def _store_entry(entry: TreeEntry, position: int | None) -> _StoredEntry:
    """Return an entry as it is stored, with the position of its child's link.

    Raises:
        FormatError: the entry breaks the format's rules.
    """
    _check_entry(entry)
    if entry.mode == Mode.FILE:
        return _File(entry.name, entry.size, entry.digest, position)
    if entry.mode == Mode.EXECUTABLE:
        return _Executable(entry.name, entry.size, entry.digest, position)
    if entry.mode == Mode.SYMLINK:
        return _Symlink(entry.name, entry.target)
    assert position is not None
    return _Folder(entry.name, position)


def _load_entry(stored: _StoredEntry, links: Sequence[Link]) -> TreeEntry:
    if isinstance(stored, _Symlink):
        target = stored.target.encode()
        entry = TreeEntry(stored.name, Mode.SYMLINK, len(target), blake3(target).digest(), None, stored.target)
    elif isinstance(stored, _Folder):
        entry = TreeEntry(stored.name, Mode.TREE, 0, b"", links[stored.child])
    else:
        mode = Mode.FILE if isinstance(stored, _File) else Mode.EXECUTABLE
        child = None if stored.child is None else links[stored.child]
        entry = TreeEntry(stored.name, mode, stored.size, stored.digest, child)
    _check_entry(entry)
    return entry


def _check_entry(entry: TreeEntry) -> None:
    mode, child = entry.mode, entry.child
    if mode <= Mode.EXECUTABLE:
        good = (
            len(entry.digest) == 32
            and not entry.target
            and 0 <= entry.size <= MAX_FILE_BYTES
            and (child.kind <= Kind.MANIFEST and entry.size > 0 if child else entry.size == 0)
            and (child is not None or entry.digest == EMPTY_DIGEST)
        )
    elif mode == Mode.TREE:
        good = (
            child is not None and child.kind == Kind.TREE and not entry.size and not entry.digest and not entry.target
        )
    else:
        target = _utf8(entry.target)
        good = (
            child is None
            and 0 < len(target) <= MAX_TARGET_BYTES
            and b"\0" not in target
            and entry.size == len(target)
            and entry.digest == blake3(target).digest()
        )
    if not good:
        raise FormatError(f"The tree entry {entry.name[:200]!r} breaks the format's rules.")


def _check_names(names: list[str]) -> None:
    for name in names:
        check_entry_name(name)
    # Code points order as their UTF-8 bytes do.
    if any(map(ge, names, names[1:])):
        raise FormatError("The names in a tree do not ascend.")


def _check_sizes(sizes: list[int]) -> None:
    if not sizes or min(sizes) < 1 or sum(sizes) > MAX_FILE_BYTES:
        raise FormatError("A manifest is empty, or has a length that is out of range.")


def _check_positions(positions: list[int], links: Sequence[Link]) -> None:
    """Refuse positions that do not use each link, and nothing else."""
    used = set(positions)
    if len(used) != len(links) or (used and (min(used) < 0 or max(used) >= len(links))):
        raise FormatError("A payload does not use exactly the links of its header.")


def _check_commit(commit: Commit) -> None:
    if not 1 <= commit.generation <= MAX_GENERATION or len(commit.parents) > MAX_PARENTS:
        raise FormatError("A commit's generation or number of parents is out of range.")
    if (commit.generation == 1) != (not commit.parents):
        raise FormatError("A commit's generation does not fit its parents.")
    _check_message(commit.message, commit.signature)


def _check_tag(tag: Tag) -> None:
    if tag.target.kind not in (Kind.TREE, Kind.COMMIT, Kind.TAG):
        raise FormatError("A tag points at something that it may not point at.")
    _check_text(tag.name)
    if not tag.name:
        raise FormatError("A tag has no name.")
    _check_message(tag.message, tag.signature)


def _check_message(message: str, signature: bytes) -> None:
    text = _utf8(message)
    if len(text) > MAX_MESSAGE_BYTES or b"\0" in text or len(signature) > MAX_SIGNATURE_BYTES:
        raise FormatError("A message or signature is too long, or a message contains NUL.")


def _check_text(text: str) -> None:
    if len(_utf8(text)) > MAX_TEXT_BYTES or any(c < " " or "\x7f" <= c <= "\x9f" for c in text):
        raise FormatError("A name or address is too long, or contains a control character.")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise FormatError("A text is not valid UTF-8.") from error


def _store_person(person: Person) -> _Person:
    _check_text(person.name)
    _check_text(person.email)
    return _Person(person.name, person.email)


def _load_person(stored: _Person) -> Person:
    _check_text(stored.name)
    _check_text(stored.email)
    return Person(stored.name, stored.email)


def _store_moment(moment: Moment) -> _Moment:
    if not _FIRST_SECOND <= moment.seconds <= _LAST_SECOND or not -1439 <= moment.offset <= 1439:
        raise FormatError("A time or its zone is out of range.")
    return _Moment(moment.seconds, moment.offset)


def _load_moment(stored: _Moment) -> Moment:
    moment = Moment(stored.seconds, stored.offset)
    _store_moment(moment)
    return moment


def _sorted_links(links: Iterable[Link]) -> Links:
    ordered = tuple(sorted(links))
    if len(ordered) > MAX_LINKS or any(map(ge, ordered, ordered[1:])):
        raise FormatError("An object has too many links, or one twice.")
    if any(len(link.id) != 32 for link in ordered):
        raise FormatError("An id has 32 bytes.")
    return ordered


def _of_type(value: Any, expected: type) -> Any:
    if not isinstance(value, expected):
        raise FormatError("A node holds entries of a kind that its level may not hold.")
    return value


def _level(payload: Buffer) -> int:
    # A canonical node is an array of two, the first of which is a one-byte integer.
    if len(payload) < 2 or payload[0] != 0x92 or payload[1] > MAX_LEVEL:
        raise FormatError("This is not a node.")
    return payload[1]


def _pack_node(stored: _TreeLeaf | _TreeBranches | _Numbers, links: Links) -> bytes:
    payload = _encode(stored)
    _check_node(stored, payload, links)
    return payload


def _unpack(decoder: "msgspec.msgpack.Decoder[_Struct]", payload: Buffer, what: str) -> _Struct:
    try:
        stored = decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"A {what} does not parse: {error}.") from error
    if _encode(stored) != payload:
        raise FormatError(f"A {what} is not in its canonical form.")
    return stored


def _unpack_node(
    decoder: "msgspec.msgpack.Decoder[_Struct]",
    payload: Buffer,
    links: Sequence[Link],
    what: str,
) -> _Struct:
    stored = _unpack(decoder, payload, what)
    assert isinstance(stored, _TreeLeaf | _TreeBranches | _Numbers)
    _check_node(stored, payload, links)
    return stored


def _check_node(stored: _TreeLeaf | _TreeBranches | _Numbers, payload: Buffer, links: Sequence[Link]) -> None:
    if len(stored.entries) > MAX_ENTRIES or len(payload) + LINK_BYTES * len(links) > MAX_NODE_BYTES:
        raise FormatError("A node is larger than the format allows.")
    if stored.level and not stored.entries:
        raise FormatError("A node above the leaves is empty.")
