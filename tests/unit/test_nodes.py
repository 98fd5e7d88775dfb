"""Trees and manifests as nodes: built and read back, few rewritten by an edit, and lies between levels noticed."""

import tracemalloc
from collections.abc import Sequence

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mediavault.errors import FormatError, IntegrityError
from mediavault.formats.metadata import encode_manifest_node, encode_tree_node, encoded_size
from mediavault.model.ids import Kind, Link, ObjectId
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
from mediavault.model.splitting import split
from mediavault.objects.nodes import NodeWriter
from tests.vault import Sink, Vault, noise

WHO, WHEN = Person("Ada", "ada@example.org"), Moment(1_700_000_000, 60)


def file(name: str, number: int = 0) -> TreeEntry:
    return TreeEntry(name, Mode.FILE, number + 1, noise(32, name), Link(Kind.CHUNK, noise(32, f"chunk {number}")))


def files(count: int) -> list[TreeEntry]:
    return [file(f"shot_{number:06}.exr", number) for number in range(count)]


def chunks(count: int) -> list[ManifestEntry]:
    return [ManifestEntry(noise(32, f"chunk {number}"), 100 + number % 7) for number in range(count)]


def write_manifest(vault: Vault, entries: Sequence[ManifestEntry]) -> Link | None:
    manifest = vault.nodes.manifest()
    for one in entries:
        manifest.append(one.chunk, one.length)
    return manifest.finish()


def read_manifest(vault: Vault, child: Link | None, entries: Sequence[ManifestEntry]) -> list[ManifestEntry]:
    return list(vault.reader.chunk_list(child, sum(one.length for one in entries)))


def put_tree(vault: Vault, node: TreeNode) -> ObjectId:
    """Store a node as it is, whatever it claims."""
    oid, frame = vault.codec.encode_metadata(Kind.TREE, *encode_tree_node(node))
    vault.sink.append(frame, 0)
    return oid


def put_manifest(vault: Vault, node: ManifestNode) -> Link:
    oid, frame = vault.codec.encode_metadata(Kind.MANIFEST, *encode_manifest_node(node))
    vault.sink.append(frame, 0)
    return Link(Kind.MANIFEST, oid)


@pytest.mark.parametrize("count", [0, 1, 31, 500, 20_000])
def test_a_folder_reads_back(count: int) -> None:
    vault = Vault()
    entries = files(count)
    root = vault.nodes.tree(iter(entries))
    assert list(vault.reader.tree(root)) == entries
    assert vault.nodes.tree(entries) == root


@given(names=st.sets(st.text("abcdefgh", min_size=1, max_size=8), max_size=300))
def test_any_folder_reads_back_and_is_found_by_name(names: set[str]) -> None:
    vault = Vault(plain=True)
    entries = [file(name) for name in sorted(names)]
    root = vault.nodes.tree(entries)
    assert list(vault.reader.tree(root)) == entries
    for one in entries[:5]:
        assert vault.reader.tree_entry(root, one.name) == one
    assert vault.reader.tree_entry(root, "not there") is None


def test_a_large_folder_is_searched_by_few_nodes() -> None:
    vault = Vault()
    entries = files(20_000)
    root = vault.nodes.tree(entries)
    reads: list[ObjectId] = []
    read = vault.sink.read

    def counted(oid: ObjectId) -> object:
        reads.append(oid)
        return read(oid)

    vault.sink.read = counted  # type: ignore[method-assign,assignment]  # counts the reads
    for number in (0, 1, 12_345, 19_999):
        reads.clear()
        assert vault.reader.tree_entry(root, entries[number].name) == entries[number]
        assert len(reads) <= 3
    assert vault.reader.tree_entry(root, "shot_999999.exr") is None
    assert vault.reader.tree_entry(root, "shot_000000.exr/below") is None


def test_one_new_file_among_many_rewrites_few_nodes() -> None:
    vault = Vault()
    entries = files(20_000)
    vault.nodes.tree(entries)
    before = len(vault.sink.appended)
    assert before > 20
    entries.insert(10_000, file("shot_009999x.exr"))
    vault.nodes.tree(entries)
    assert len(vault.sink.appended) - before <= 4


@pytest.mark.parametrize("count", [0, 1, 2, 40, 9_000, 30_000])
def test_a_manifest_reads_back(count: int) -> None:
    vault = Vault()
    entries = chunks(count)
    child = write_manifest(vault, entries)
    if count == 0:
        assert child is None
    elif count == 1:
        assert child == Link(Kind.CHUNK, entries[0].chunk)
    else:
        assert child is not None
        assert child.kind is Kind.MANIFEST
    assert read_manifest(vault, child, entries) == entries


def test_a_manifest_is_the_same_however_it_was_collected() -> None:
    """Nodes are written as they fill up; a whole list cut at once gives the same ones."""
    vault = Vault()
    entries = chunks(30_000)
    write_manifest(vault, entries)
    leaves = list(split(entries, lambda one: vault.splitter.leaf_value(one.chunk), encoded_size))
    assert len(leaves) > 10
    for leaf in leaves:
        assert vault.sink.has(
            vault.codec.name_metadata(Kind.MANIFEST, *encode_manifest_node(ManifestNode(0, tuple(leaf))))
        )


def test_a_manifest_of_one_repeated_chunk() -> None:
    vault = Vault()
    entries = [ManifestEntry(b"z" * 32, 512)] * 20_000
    child = write_manifest(vault, entries)
    assert read_manifest(vault, child, entries) == entries


def test_a_manifest_takes_no_memory_that_grows_with_the_file() -> None:
    class Nowhere(Sink):
        def append(self, frame: bytes | bytearray | memoryview, raw_length: int) -> None:
            """Forget it."""

    vault = Vault()
    manifest = NodeWriter(vault.codec, vault.splitter, Nowhere(), Nowhere()).manifest()
    tracemalloc.start()
    for number in range(60_000):
        manifest.append(noise(32, str(number)), 1000)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert manifest.finish() is not None
    assert held < 2_500_000, "60,000 entries would take six megabytes"


def test_an_edit_in_the_middle_rewrites_few_nodes() -> None:
    vault = Vault()
    entries = chunks(30_000)
    write_manifest(vault, entries)
    before = len(vault.sink.appended)
    entries[15_000] = ManifestEntry(b"new chunk".ljust(32), 5)
    write_manifest(vault, entries)
    assert len(vault.sink.appended) - before <= 4


def test_commits_and_tags_read_back() -> None:
    vault = Vault()
    tree = vault.nodes.tree([])
    first = vault.nodes.commit(Commit(tree, (), WHO, WHEN, WHO, WHEN, 1, "first"))
    commit = Commit(tree, (first,), WHO, WHEN, WHO, WHEN, 2, "second")
    oid = vault.nodes.commit(commit)
    assert vault.reader.commit(oid) == commit
    tag = Tag(Link(Kind.COMMIT, oid), "v1", WHO, WHEN, "shipped")
    assert vault.reader.tag(vault.nodes.tag(tag)) == tag
    with pytest.raises(IntegrityError):
        vault.reader.tag(oid)


def test_what_is_stored_is_not_written_again() -> None:
    vault = Vault()
    vault.nodes.tree(files(3))
    assert len(vault.sink.appended) == 1
    other = Sink()
    NodeWriter(vault.codec, vault.splitter, vault.sink, other).tree(files(3))
    assert not other.appended


def test_files_below_folders_are_walked_in_order() -> None:
    vault = Vault()
    inner = vault.nodes.tree([file("b.exr"), file("c.exr")])
    link = TreeEntry("link", Mode.SYMLINK, 5, blake3(b"a.exr").digest(), None, "a.exr")
    root = vault.nodes.tree([file("a.exr"), TreeEntry("dir", Mode.TREE, 0, b"", Link(Kind.TREE, inner)), link])
    assert [path for path, _ in vault.reader.walk_tree(root)] == ["a.exr", "dir/b.exr", "dir/c.exr", "link"]
    found = vault.reader.tree_entry(root, "dir/c.exr")
    assert found == file("c.exr")
    assert vault.reader.tree_entry(root, "dir/d.exr") is None


def test_a_tree_that_is_too_deep_is_refused() -> None:
    vault = Vault()
    oid = vault.nodes.tree([file("a")])
    for _ in range(128):
        oid = vault.nodes.tree([TreeEntry("d", Mode.TREE, 0, b"", Link(Kind.TREE, oid))])
    with pytest.raises(IntegrityError, match="deeper"):
        list(vault.reader.walk_tree(oid))


def test_names_that_do_not_ascend_are_refused_when_written() -> None:
    with pytest.raises(FormatError):
        Vault().nodes.tree([file("b"), file("a")])


def leaf(vault: Vault, *names: str) -> ObjectId:
    return put_tree(vault, TreeNode(0, tuple(file(name) for name in names)))


def branches(vault: Vault, level: int, *pairs: tuple[ObjectId, str]) -> ObjectId:
    return put_tree(vault, TreeNode(level, tuple(Branch(oid, bound) for oid, bound in pairs)))


def lying_trees(vault: Vault) -> dict[str, ObjectId]:
    ab, cd, ac = leaf(vault, "a", "b"), leaf(vault, "c", "d"), leaf(vault, "a", "c")
    low = branches(vault, 1, (ab, "b"), (cd, "d"))
    single, end = branches(vault, 1, (ab, "b")), branches(vault, 1, (leaf(vault, "x"), "x"))
    return {
        "one child": branches(vault, 1, (ab, "b")),
        "wrong bound": branches(vault, 1, (ab, "b"), (cd, "e")),
        "overlap": branches(vault, 1, (ab, "b"), (ac, "c")),
        "level skipped": branches(vault, 2, (ab, "b"), (cd, "d")),
        "level kept": branches(vault, 1, (ab, "b"), (low, "d")),
        "empty leaf": branches(vault, 1, (leaf(vault), "a"), (cd, "d")),
        "too few inside": branches(vault, 2, (single, "b"), (end, "x")),
    }


@pytest.mark.parametrize("name", list(lying_trees(Vault())))
def test_a_tree_whose_nodes_are_not_what_the_parent_promises_is_refused(name: str) -> None:
    vault = Vault()
    root = lying_trees(vault)[name]
    with pytest.raises(IntegrityError):
        list(vault.reader.tree(root))


def test_the_last_node_of_a_level_may_have_one_entry() -> None:
    vault = Vault()
    ab, c, x = leaf(vault, "a", "b"), leaf(vault, "c"), leaf(vault, "x")
    full, end = branches(vault, 1, (ab, "b"), (c, "c")), branches(vault, 1, (x, "x"))
    root = branches(vault, 2, (full, "c"), (end, "x"))
    assert [one.name for one in vault.reader.tree(root)] == ["a", "b", "c", "x"]


@pytest.mark.parametrize("name", ["wrong bound", "level skipped", "level kept", "one child"])
def test_a_search_checks_what_it_passes(name: str) -> None:
    vault = Vault()
    root = lying_trees(vault)[name]
    with pytest.raises(IntegrityError):
        vault.reader.tree_entry(root, "e" if name == "wrong bound" else "a" if name != "level kept" else "c")


def lying_manifests(vault: Vault) -> dict[str, tuple[Link, int]]:
    def low(*lengths: int) -> Link:
        entries = (ManifestEntry(noise(32, str(n)), length) for n, length in enumerate(lengths))
        return put_manifest(vault, ManifestNode(0, tuple(entries)))

    def high(level: int, *pairs: tuple[Link, int]) -> Link:
        return put_manifest(vault, ManifestNode(level, tuple(Branch(link.id, length) for link, length in pairs)))

    one, two = low(5, 5), low(7, 7)
    return {
        "short": (low(5, 5), 11),
        "long": (low(5, 5), 9),
        "one chunk": (low(5), 5),
        "one child": (high(1, (one, 10)), 10),
        "wrong bound": (high(1, (one, 11), (two, 13)), 24),
        "wrong sum": (high(1, (one, 10), (two, 14)), 25),
        "level skipped": (high(2, (one, 10), (two, 14)), 24),
        "level kept": (high(1, (one, 10), (high(1, (one, 10), (two, 14)), 24)), 34),
    }


@pytest.mark.parametrize("name", list(lying_manifests(Vault())))
def test_a_manifest_that_does_not_add_up_is_refused(name: str) -> None:
    vault = Vault()
    child, size = lying_manifests(vault)[name]
    with pytest.raises(IntegrityError):
        list(vault.reader.chunk_list(child, size))


def test_a_file_with_bytes_and_no_content_is_refused() -> None:
    with pytest.raises(IntegrityError):
        list(Vault().reader.chunk_list(None, 1))
    assert list(Vault().reader.chunk_list(None, 0)) == []
