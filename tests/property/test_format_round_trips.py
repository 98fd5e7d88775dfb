"""Whatever is written is read back alike; whatever is mangled raises nothing but a format error."""

from collections.abc import Callable
from contextlib import suppress
from itertools import zip_longest
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats import config, frame, index, metadata, pack, payload, ref, slot, wire
from mediavault.model.ids import Kind, Link
from mediavault.model.names import entry_name_problem
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
from mediavault.model.splitting import MAX_ENTRIES, MAX_NODE_BYTES, MIN_ENTRIES, split
from tests.golden.samples import FIXTURES

ids = st.binary(min_size=32, max_size=32)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
names = texts.filter(lambda name: entry_name_problem(name) is None)
people = st.builds(Person, texts, texts)
moments = st.builds(Moment, st.integers(-(10**10), 10**10), st.integers(-1439, 1439))
messages = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)
sizes = st.integers(1, (1 << 48) - 1)


@st.composite
def commits(draw: st.DrawFn) -> Commit:
    parents = tuple(draw(st.lists(ids, unique=True, max_size=4)))
    generation = draw(st.integers(2, (1 << 63) - 1)) if parents else 1
    return Commit(
        draw(ids),
        parents,
        draw(people),
        draw(moments),
        draw(people),
        draw(moments),
        generation,
        draw(messages),
        draw(st.binary(max_size=99)),
    )


tags = st.builds(
    Tag,
    st.builds(Link, st.sampled_from([Kind.TREE, Kind.COMMIT, Kind.TAG]), ids),
    texts.filter(bool),
    people,
    moments,
    messages,
    st.binary(max_size=99),
)


@st.composite
def tree_entries(draw: st.DrawFn, name: str) -> TreeEntry:
    mode = draw(st.sampled_from(Mode))
    if mode == Mode.TREE:
        return TreeEntry(name, mode, 0, b"", Link(Kind.TREE, draw(ids)))
    if mode == Mode.SYMLINK:
        target = draw(texts.filter(bool))
        data = target.encode()
        return TreeEntry(name, mode, len(data), blake3(data).digest(), None, target)
    if draw(st.booleans()):
        return TreeEntry(name, mode, 0, metadata.EMPTY_DIGEST, None)
    return TreeEntry(
        name, mode, draw(sizes), draw(ids), Link(draw(st.sampled_from([Kind.CHUNK, Kind.MANIFEST])), draw(ids))
    )


@st.composite
def tree_nodes(draw: st.DrawFn) -> TreeNode:
    chosen = sorted(draw(st.lists(names, unique=True, max_size=12)))
    level = draw(st.integers(0, 15))
    if chosen and level:
        return TreeNode(level, tuple(Branch(draw(ids), name) for name in chosen))
    return TreeNode(0, tuple(draw(tree_entries(name)) for name in chosen))


@st.composite
def manifest_nodes(draw: st.DrawFn) -> ManifestNode:
    pairs = draw(st.lists(st.tuples(ids, sizes), min_size=1, max_size=12))
    level = draw(st.integers(0, 15))
    if level:
        return ManifestNode(level, tuple(Branch(*pair) for pair in pairs))
    return ManifestNode(0, tuple(ManifestEntry(*pair) for pair in pairs))


@given(commits())
def test_commits(commit: Commit) -> None:
    links, stored = metadata.encode_commit(commit)
    assert metadata.decode_commit(links, stored, commit.generation) == commit
    assert {link.id for link in links} == {commit.tree, *commit.parents}


@given(tags)
def test_tags(tag: Tag) -> None:
    assert metadata.decode_tag(*metadata.encode_tag(tag)) == tag


@given(tree_nodes())
def test_trees(node: TreeNode) -> None:
    links, stored = metadata.encode_tree_node(node)
    assert metadata.decode_tree_node(links, stored) == node
    measured = 5 + sum(map(metadata.encoded_size, node.entries))
    assert len(stored) + 33 * len(links) <= measured


@given(manifest_nodes())
def test_manifests(node: ManifestNode) -> None:
    links, stored = metadata.encode_manifest_node(node)
    assert metadata.decode_manifest_node(links, stored) == node
    assert len(stored) + 33 * len(links) <= 5 + sum(map(metadata.encoded_size, node.entries))


@given(
    st.lists(st.tuples(st.integers(0, 0xFFFF).map(lambda value: value & 0xFE03), st.integers(1, 40_000)), max_size=400)
)
def test_nodes_hold_every_entry_once_within_the_limits(entries: list[tuple[int, int]]) -> None:
    nodes = list(split(entries, lambda entry: entry[0], lambda entry: entry[1]))
    assert [entry for node in nodes for entry in node] == entries
    assert all(nodes)
    for node, following in zip_longest(nodes, nodes[1:], fillvalue=None):
        assert node is not None
        assert len(node) <= MAX_ENTRIES
        assert 5 + sum(size for _, size in node) <= MAX_NODE_BYTES
        ends = [at for at, (value, _) in enumerate(node, 1) if at >= MIN_ENTRIES and not value & 0x1FF]
        assert ends in ([], [len(node)])
        if following and not ends and len(node) < MAX_ENTRIES:
            assert 5 + sum(size for _, size in node) + following[0][1] > MAX_NODE_BYTES


LINKED = {Kind.MANIFEST: Kind.CHUNK, Kind.COMMIT: Kind.TREE, Kind.TAG: Kind.COMMIT, Kind.TREE: Kind.TREE}


@st.composite
def headers(draw: st.DrawFn) -> frame.FrameHeader:
    kind = draw(st.sampled_from(Kind))
    sealed = draw(st.sampled_from([frame.SUITE_PLAIN, frame.SUITE_AES_GCM]))
    return frame.make_header(
        kind,
        draw(ids),
        draw(st.integers(25, 300)),
        links=(Link(LINKED[kind], draw(ids)),) if kind in LINKED else (),
        generation=draw(st.integers(1, (1 << 63) - 1)) if kind == Kind.COMMIT else 0,
        suite=sealed,
        epoch=draw(st.integers(0, (1 << 32) - 1)) if sealed else 0,
        salt=draw(ids) if sealed else b"",
    )


@given(headers(), st.binary(min_size=1, max_size=9))
def test_frames(header: frame.FrameHeader, pattern: bytes) -> None:
    stored = (pattern * 300)[: header.stored_length]
    data = frame.build_frame(header, [stored])
    parsed = frame.parse_frame(b"before" + data + b"after", 6)
    assert (parsed.header, bytes(parsed.body), bytes(parsed.data), parsed.size) == (header, stored, data, len(data))
    assert parsed.aad == frame.encode_header(header)


@given(st.binary(min_size=1, max_size=2000), st.booleans())
def test_payloads(data: bytes, padded: bool) -> None:
    for codec, raw_length in ((payload.Codec.RAW, len(data)), (payload.Codec.ZSTD, len(data) + 1)):
        decoded = payload.decode_payload(payload.encode_payload(codec, raw_length, data, padded))
        assert (decoded.codec, decoded.raw_length, bytes(decoded.data)) == (codec, raw_length, data)


@given(
    st.dictionaries(
        ids, st.lists(st.tuples(ids, st.sampled_from(Kind), st.integers(0, 1 << 28)), max_size=20), max_size=5
    )
)
def test_indexes(tables: dict[bytes, list[tuple[bytes, Kind, int]]]) -> None:
    rows = {
        name: [pack.PackRow(oid, kind, at, 100, bytes(16)) for oid, kind, at in table] for name, table in tables.items()
    }
    blob = index.IndexBlob(index.encode_index(rows, 1))
    expected: dict[bytes, list[tuple[bytes, int]]] = {}
    for name, table in rows.items():
        for row in sorted(table, key=lambda row: row.offset):
            expected.setdefault(row.id, []).append((name, row.offset))
    assert len(blob) == sum(map(len, expected.values()))
    for oid, places in expected.items():
        assert [(place.pack_id, place.offset) for place in blob.find(oid)] == places
    merged = index.IndexBlob(index.merge_indexes([blob, blob], 1))
    assert list(merged.rows()) == list(blob.rows())


values = st.builds(
    ref.RefValue,
    st.binary(min_size=16, max_size=16),
    st.sampled_from(["heads/main", "heads/a/b", "tags/v1", "remotes/origin/main", "heads/Größe"]),
    st.integers(0, (1 << 32) - 1),
    st.integers(1, (1 << 63) - 1),
    st.none() | st.builds(Link, st.just(Kind.COMMIT), ids),
    ids,
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.binary(max_size=300),
    ids,
)


@given(values)
def test_refs(value: ref.RefValue) -> None:
    assert ref.decode_ref_value(ref.encode_ref_value(value)) == value


COMMIT_LINKS = (Link(Kind.TREE, b"1" * 32), Link(Kind.COMMIT, b"A" * 32), Link(Kind.COMMIT, b"B" * 32))


def _commit(data: bytes) -> object:
    return metadata.decode_commit(COMMIT_LINKS, data, 8)


def _tree(data: bytes) -> object:
    links = (Link(Kind.CHUNK, b"A" * 32), Link(Kind.MANIFEST, b"A" * 32), Link(Kind.TREE, b"A" * 32))
    return metadata.decode_tree_node(links, data)


def _manifest(data: bytes) -> object:
    return metadata.decode_manifest_node((Link(Kind.CHUNK, b"A" * 32), Link(Kind.CHUNK, b"B" * 32)), data)


def _pack(data: bytes) -> object:
    header = pack.parse_pack_header(data)
    footer = pack.parse_footer(data)
    rows = pack.parse_table(data[footer.table_offset : -pack.PACK_FOOTER_BYTES], footer, header.plain)
    return rows, [frame.parse_frame(data, row.offset) for row in rows], list(pack.walk_frames(data))


def _index(data: bytes) -> object:
    blob = index.IndexBlob(data)
    return list(blob.rows()), [blob.find(data[at : at + 32]) for at in range(0, len(data) - 31, 7)]


def _stored(name: str) -> bytes:
    parsed = frame.parse_frame(FIXTURES[name])
    return bytes(payload.decode_payload(parsed.body).data)


def _summed(data: bytes) -> object:
    """Read a frame whose checksum fits whatever stands before it."""
    return frame.parse_frame(data + blake3(data).digest(16))


PARSERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "frame": (frame.parse_frame, FIXTURES["commit.frame"]),
    "frame-grammar": (_summed, FIXTURES["commit.frame"][:-16]),
    "frame-size": (frame.frame_size, FIXTURES["commit.frame"]),
    "payload": (payload.decode_payload, FIXTURES["padded.payload"]),
    "commit": (_commit, _stored("commit.frame")),
    "tag": (lambda data: metadata.decode_tag((Link(Kind.COMMIT, b"A" * 32),), data), _stored("tag.frame")),
    "tree": (_tree, _stored("tree-leaf.frame")),
    "manifest": (_manifest, _stored("manifest-leaf.frame")),
    "pack": (_pack, FIXTURES["plain.pack"]),
    "index": (_index, FIXTURES["small.index"]),
    "ref": (ref.decode_ref_value, FIXTURES["moved.ref"]),
    "ref-blob": (ref.split_ref_blob, FIXTURES["moved.ref"]),
    "config": (config.decode_config, FIXTURES["plain.config"]),
    "slot": (slot.decode_slot, FIXTURES["passphrase.slot"]),
    "ids": (wire.decode_ids, bytes(range(96))),
    "located": (wire.decode_located, bytes(range(152))),
    "message": (lambda data: wire.decode_json(data, wire.RefList), b'{"refs":[{"name":"a","etag":"b","value":"c"}]}'),
    "etag": (lambda data: wire.parse_etag(data.decode("latin-1")), b'"' + b"a" * 64 + b'"'),
}


@st.composite
def mangled(draw: st.DrawFn, data: bytes) -> bytes:
    """Cut, overwrite, insert, repeat; or nothing of it but noise."""
    how = draw(st.sampled_from(["cut", "flip", "overwrite", "insert", "drop", "noise"]))
    at = draw(st.integers(0, max(0, len(data) - 1)))
    noise = draw(st.binary(min_size=1, max_size=12))
    if how == "cut":
        return data[:at]
    if how == "flip":
        return data[:at] + bytes((data[at] ^ (1 << noise[0] % 8),)) + data[at + 1 :]
    if how == "overwrite":
        return data[:at] + noise + data[at + len(noise) :]
    if how == "insert":
        return data[:at] + noise + data[at:]
    if how == "drop":
        return data[:at] + data[at + len(noise) :]
    return draw(st.binary(max_size=400))


@pytest.mark.parametrize("name", sorted(PARSERS))
@given(st.data())
def test_mangled_bytes_raise_nothing_but_format_errors(name: str, data: Any) -> None:
    parse, good = PARSERS[name]
    with suppress(FormatError, UnsupportedFormatError):
        parse(data.draw(mangled(good)))


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_what_is_mangled_was_good(name: str) -> None:
    parse, good = PARSERS[name]
    assert parse(good) is not None
