"""Commits, tags and nodes: layout, strictness, limits."""

from typing import Any

import msgspec
import pytest
from blake3 import blake3

from mediavault.errors import FormatError
from mediavault.formats.metadata import (
    EMPTY_DIGEST,
    decode_commit,
    decode_manifest_node,
    decode_tag,
    decode_tree_node,
    encode_commit,
    encode_manifest_node,
    encode_tag,
    encode_tree_node,
)
from mediavault.model.ids import Kind, Link
from mediavault.model.objects import Branch, ManifestEntry, ManifestNode, Mode, Moment, Person, TreeEntry, TreeNode
from tests.golden.samples import COMMIT, FIRST_COMMIT, MANIFEST_BRANCHES, MANIFEST_LEAF, TAG, TREE_BRANCHES, TREE_LEAF

pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode
replace = msgspec.structs.replace
DIGEST = bytes(32)
CHUNK = Link(Kind.CHUNK, DIGEST)


def _file(name: str, **fields: Any) -> TreeEntry:
    return replace(TreeEntry(name, Mode.FILE, 5, DIGEST, CHUNK), **fields)


def _symlink(target: str) -> TreeEntry:
    data = target.encode()
    return TreeEntry("s", Mode.SYMLINK, len(data), blake3(data).digest(), None, target)


def test_objects_are_read_back() -> None:
    for commit in (COMMIT, FIRST_COMMIT, replace(COMMIT, signature=b"s", message="")):
        links, payload = encode_commit(commit)
        assert decode_commit(links, payload, commit.generation) == commit
    links, payload = encode_tag(TAG)
    assert decode_tag(links, payload) == TAG
    for tree in (TREE_LEAF, TREE_BRANCHES, TreeNode(0, ())):
        assert decode_tree_node(*encode_tree_node(tree)) == tree
    for manifest in (MANIFEST_LEAF, MANIFEST_BRANCHES):
        assert decode_manifest_node(*encode_manifest_node(manifest)) == manifest


def test_parents_keep_their_order_while_links_ascend() -> None:
    links, payload = encode_commit(COMMIT)
    assert links == (Link(Kind.TREE, b"1" * 32), Link(Kind.COMMIT, b"A" * 32), Link(Kind.COMMIT, b"B" * 32))
    assert unpack(payload)[1] == [2, 1]


def test_a_chunk_that_comes_twice_is_linked_once() -> None:
    links, payload = encode_manifest_node(MANIFEST_LEAF)
    assert len(links) == 2
    assert unpack(payload)[1] == [[1, 131_072], [0, 65_536], [1, 131_072]]


def test_the_generation_is_that_of_the_header() -> None:
    links, payload = encode_commit(COMMIT)
    with pytest.raises(FormatError, match="header"):
        decode_commit(links, payload, 7)


@pytest.mark.parametrize(
    "fields",
    [
        {"parents": (b"A" * 32, b"A" * 32)},
        {"parents": (b"short",)},
        {"parents": ()},
        {"parents": tuple(number.to_bytes(32, "little") for number in range(1025))},
        {"generation": 0},
        {"generation": 1},
        {"generation": 1 << 63},
        {"author": Person("A\nB", "")},
        {"author": Person("A", "\x1b[31m")},
        {"committer": Person("x" * 1025, "")},
        {"committer": Person("\udcff", "")},
        {"authored": Moment(1 << 60, 0)},
        {"committed": Moment(0, 1440)},
        {"committed": Moment(-(1 << 60), 0)},
        {"message": "a\0b"},
        {"message": "\udcff"},
        {"message": "x" * ((256 << 10) + 1)},
        {"signature": bytes((16 << 10) + 1)},
    ],
)
def test_commits_that_break_the_rules(fields: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        encode_commit(replace(COMMIT, **fields))


def test_the_reader_of_commits_is_as_strict() -> None:
    links, payload = encode_commit(COMMIT)
    fields = unpack(payload)
    changes: list[tuple[int, Any]] = [
        (0, 1), (0, -1), (0, 3), (0, "0"), (1, [1, 1]), (1, [1]), (1, [2, 1, 1]), (1, [0, 1]), (1, [2, -1]), (2, ["A"]), (2, ["A", "b", "c"]),
        (2, ["A\n", "b"]), (3, [0]), (3, [0, 9999]), (3, [2**62, 0]), (5, [0.0, 0]), (6, 0), (6, 8.0), (6, True), (7, "\0"), (7, b"x"),
        (8, "x"), (8, None),
    ]  # fmt: skip
    for at, value in changes:
        changed = [*fields]
        changed[at] = value
        with pytest.raises(FormatError):
            decode_commit(links, pack(changed), 8)
    others: list[Any] = [[*fields, 0], fields[:-1], {}, []]
    for wrong in others:
        with pytest.raises(FormatError):
            decode_commit(links, pack(wrong), 8)
    for other in (links[:2], (*links, Link(Kind.COMMIT, b"C" * 32)), (links[1], *links[1:]), (CHUNK, *links[1:]), ()):
        with pytest.raises(FormatError):
            decode_commit(other, payload, 8)


def test_longer_forms_of_the_same_values_are_refused() -> None:
    links, payload = encode_manifest_node(ManifestNode(0, (ManifestEntry(DIGEST, 7),)))
    assert payload == b"\x92\x00\x91\x92\x00\x07"
    for wrong in (
        b"\x92\x00\x91\x92\x00\xcc\x07",  # u8 for a small integer
        b"\x92\x00\x91\x92\x00\xcd\x00\x07",
        b"\x92\x00\x91\x92\x00\xd0\x07",  # signed
        b"\x92\x00\xdc\x00\x01\x92\x00\x07",  # array 16
        b"\xdc\x00\x02\x00\x91\x92\x00\x07",
        b"\x92\xcc\x00\x91\x92\x00\x07",
        b"\x92\x00\x91\x93\x00\x07\x00",  # one element more
        b"\x93\x00\x91\x92\x00\x07\x00",
        payload + b"\x00",
        payload[:-1],
        b"",
        b"\x92",
        b"\x92\x10\x91\x92\x00\x07",  # level 16
    ):
        with pytest.raises(FormatError):
            decode_manifest_node(links, wrong)


@pytest.mark.parametrize(
    "entry",
    [
        _file("a", size=0),
        _file("a", size=-1),
        _file("a", size=1 << 63),
        _file("a", digest=b"short"),
        _file("a", child=None),
        _file("a", child=None, size=0),  # not the digest of nothing
        _file("a", child=Link(Kind.TREE, DIGEST)),
        _file("a", child=Link(Kind.CHUNK, b"short")),
        _file("a", target="x"),
        _file("a", mode=Mode.TREE),
        _file("a", mode=Mode.SYMLINK),
        TreeEntry("a", Mode.TREE, 0, b"", None),
        TreeEntry("a", Mode.TREE, 0, b"", CHUNK),
        TreeEntry("a", Mode.TREE, 1, b"", Link(Kind.TREE, DIGEST)),
        TreeEntry("a", Mode.TREE, 0, DIGEST, Link(Kind.TREE, DIGEST)),
        replace(_symlink("x"), digest=DIGEST),
        replace(_symlink("x"), size=2),
        replace(_symlink("x"), child=CHUNK),
        _symlink(""),
        _symlink("a\0b"),
        _symlink("x" * 4096),
        replace(_symlink("x"), target="\udcff"),
        _file(".git"),
        _file("a/b"),
        _file(""),
        _file("\udcff"),
    ],
)
def test_tree_entries_that_break_the_rules(entry: TreeEntry) -> None:
    with pytest.raises(FormatError):
        encode_tree_node(TreeNode(0, (entry,)))


def test_tree_entries_of_every_mode() -> None:
    entries = (
        TreeEntry("a", Mode.EXECUTABLE, 0, EMPTY_DIGEST, None),
        _file("b", size=(1 << 63) - 1, child=Link(Kind.MANIFEST, DIGEST)),
        replace(_symlink("x" * 4095), name="c"),
        replace(_symlink("../out/of/the/tree"), name="d"),  # whether it is made is the checkout's business
        TreeEntry("e", Mode.TREE, 0, b"", Link(Kind.TREE, DIGEST)),
    )
    node = TreeNode(0, entries)
    assert decode_tree_node(*encode_tree_node(node)) == node


def test_names_ascend_by_their_bytes() -> None:
    good = TreeNode(0, tuple(_file(name) for name in ("A", "a", "a.b", "ab", "é", "\uffee", "\U0001f3ac")))
    links, payload = encode_tree_node(good)
    assert decode_tree_node(links, payload) == good
    for names in (("b", "a"), ("a", "a")):
        with pytest.raises(FormatError, match="ascend"):
            encode_tree_node(TreeNode(0, tuple(_file(name) for name in names)))
        with pytest.raises(FormatError, match="ascend"):
            decode_tree_node(links, pack([0, [[1, name, 5, DIGEST, 0] for name in names]]))
        with pytest.raises(FormatError, match="ascend"):
            decode_tree_node((Link(Kind.TREE, DIGEST),), pack([1, [[0, name] for name in names]]))


def test_the_reader_of_trees_is_as_strict() -> None:
    good = [1, "a", 5, DIGEST, 0]
    assert decode_tree_node((CHUNK,), pack([0, [good]])).entries == (_file("a"),)
    wrong: list[Any] = [
        [5, "a", 5, DIGEST, 0], [0, "a", 5, DIGEST, 0], ["1", "a", 5, DIGEST, 0], [1, ".git", 5, DIGEST, 0], [1, "a", 0, DIGEST, 0],
        [1, "a", 5, DIGEST[1:], 0], [1, "a", 5, DIGEST, 1], [1, "a", 5, DIGEST, -1], [1, "a", 5, DIGEST, None], [1, "a", 5, DIGEST],
        [1, "a", 5, DIGEST, 0, 0], [1, b"a", 5, DIGEST, 0], [3, "a", "x"], [4, "a", 0], [4, "a", None], [3, "a", ""], "a", None, [],
    ]  # fmt: skip
    for entry in wrong:
        with pytest.raises(FormatError):
            decode_tree_node((CHUNK,), pack([0, [entry]]))
    with pytest.raises(FormatError):
        decode_tree_node((), pack([0, [good]]))
    with pytest.raises(FormatError, match="exactly the links"):
        decode_tree_node((CHUNK, Link(Kind.CHUNK, b"\1" * 32)), pack([0, [good]]))
    with pytest.raises(FormatError):
        decode_tree_node((Link(Kind.TREE, DIGEST),), pack([0, [good]]))


def test_levels_hold_their_own_kind_of_entries() -> None:
    branch = Branch(DIGEST, "a")
    for tree in (
        TreeNode(0, (branch,)),
        TreeNode(1, (_file("a"),)),
        TreeNode(1, (Branch(DIGEST, 5),)),
        TreeNode(1, ()),
        TreeNode(16, (branch,)),
    ):
        with pytest.raises(FormatError):
            encode_tree_node(tree)
    for manifest in (
        ManifestNode(0, (Branch(DIGEST, 5),)),
        ManifestNode(1, (ManifestEntry(DIGEST, 5),)),
        ManifestNode(1, (branch,)),
        ManifestNode(0, ()),
        ManifestNode(-1, (Branch(DIGEST, 5),)),
    ):
        with pytest.raises(FormatError):
            encode_manifest_node(manifest)
    links, payload = encode_manifest_node(MANIFEST_LEAF)
    with pytest.raises(FormatError):
        decode_tree_node(links, payload)
    with pytest.raises(FormatError):
        decode_manifest_node(links, b"\x92\x01" + payload[2:])
    tree_links, tree_payload = encode_tree_node(TREE_BRANCHES)
    with pytest.raises(FormatError):
        decode_tree_node((CHUNK, *tree_links[1:]), tree_payload)
    with pytest.raises(FormatError):
        decode_tree_node((), pack([1, []]))


def test_lengths_of_chunks_are_positive_and_add_up() -> None:
    for lengths in ((0,), (-1,), (1 << 62, 1 << 62)):
        with pytest.raises(FormatError):
            encode_manifest_node(ManifestNode(1, tuple(Branch(bytes((at,)) * 32, n) for at, n in enumerate(lengths))))
        with pytest.raises(FormatError):
            decode_manifest_node((CHUNK,), pack([0, [[0, length] for length in lengths]]))


def test_nodes_have_a_greatest_size() -> None:
    many = tuple(ManifestEntry(number.to_bytes(32, "big"), 1) for number in range(4097))
    links, _ = encode_manifest_node(ManifestNode(0, many[:4096]))
    assert len(links) == 4096
    with pytest.raises(FormatError):
        encode_manifest_node(ManifestNode(0, many))
    with pytest.raises(FormatError, match="larger"):
        encode_manifest_node(ManifestNode(0, (many[0],) * 4097))
    long = tuple(replace(_symlink("x" * 4095), name=f"{number:04}") for number in range(129))
    with pytest.raises(FormatError, match="larger"):
        encode_tree_node(TreeNode(0, long))
    links, payload = encode_tree_node(TreeNode(0, long[:127]))
    assert decode_tree_node(links, payload).entries == long[:127]


def test_tags_that_break_the_rules() -> None:
    for fields in ({"name": ""}, {"name": "a\n"}, {"target": CHUNK}, {"message": "\0"}, {"tagged": Moment(0, -1440)}):
        with pytest.raises(FormatError):
            encode_tag(replace(TAG, **fields))
    links, payload = encode_tag(TAG)
    for other in ((), (CHUNK,), (*links, *links)):
        with pytest.raises(FormatError):
            decode_tag(other, payload)
    for wrong in (b"\x96\x01" + payload[2:], b"\xc0", payload + payload):
        with pytest.raises(FormatError):
            decode_tag(links, wrong)


def test_text_that_is_not_utf8_is_refused() -> None:
    links, payload = encode_tag(TAG)
    for wrong in (b"\xff\xfe", b"\xed\xa0"):
        with pytest.raises(FormatError):
            decode_tag(links, payload.replace(b"v1", wrong))


def test_payloads_may_be_views() -> None:
    links, payload = encode_tree_node(TREE_LEAF)
    assert decode_tree_node(links, memoryview(payload)) == TREE_LEAF
