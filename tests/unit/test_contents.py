from typing import Any

import pytest

from mediavault.errors import IntegrityError
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
from mediavault.ops.contents import ChunkSet, chunks_of, walk_metadata

ADA, THEN = Person("Ada", "ada@x"), Moment(0, 0)


def oid(number: int) -> ObjectId:
    return number.to_bytes(32, "big")


class Objects:
    """Stands in for a reader: objects by number."""

    def __init__(self) -> None:
        self.all: dict[ObjectId, Commit | Tag | TreeNode | ManifestNode] = {}
        self.reads: list[ObjectId] = []

    def put(self, number: int, body: Commit | Tag | TreeNode | ManifestNode) -> ObjectId:
        self.all[oid(number)] = body
        return oid(number)

    def _get(self, wanted: ObjectId) -> Any:
        self.reads.append(wanted)
        if wanted not in self.all:
            raise IntegrityError(f"Object {wanted.hex()} is missing.")
        return self.all[wanted]

    commit = tag = tree_node = manifest_node = _get


def folder(name: str, child: ObjectId) -> TreeEntry:
    return TreeEntry(name, Mode.TREE, 0, b"", Link(Kind.TREE, child))


def file(name: str, link: Link | None, size: int) -> TreeEntry:
    return TreeEntry(name, Mode.FILE, size, bytes(32), link)


def commit(tree: ObjectId, *parents: ObjectId) -> Commit:
    return Commit(tree, parents, ADA, THEN, ADA, THEN, 1 + len(parents), "x")


def walked(objects: Objects, start: Link) -> list[int]:
    found = walk_metadata(objects, [start])
    return [int.from_bytes(visit.link.id, "big") for visit in found]


def a_history() -> tuple[Objects, Link]:
    objects = Objects()
    objects.put(1, ManifestNode(0, (ManifestEntry(oid(100), 5), ManifestEntry(oid(101), 6))))
    objects.put(2, ManifestNode(1, (Branch(oid(1), 11), Branch(oid(1), 11))))
    objects.put(3, TreeNode(0, (file("a", Link(Kind.MANIFEST, oid(2)), 22), file("b", Link(Kind.CHUNK, oid(102)), 7))))
    objects.put(4, TreeNode(0, (folder("x", oid(3)), folder("y", oid(3)), file("z", None, 0))))
    objects.put(5, commit(oid(4)))
    objects.put(6, TreeNode(0, (folder("x", oid(3)),)))
    objects.put(7, commit(oid(6), oid(5)))
    objects.put(8, Tag(Link(Kind.COMMIT, oid(7)), "v1", ADA, THEN, "x"))
    return objects, Link(Kind.TAG, oid(8))


def test_each_object_comes_once_and_nodes_come_after_what_is_beneath_them() -> None:
    objects, start = a_history()
    order = walked(objects, start)
    assert sorted(order) == list(range(1, 9))
    assert [number for number in order if number < 7 and number != 5] == [1, 2, 3, 6, 4]
    assert len(objects.reads) == 8


def test_damage_is_told_and_passed_over_or_raised() -> None:
    objects, start = a_history()
    del objects.all[oid(2)]
    with pytest.raises(IntegrityError, match="missing"):
        walked(objects, start)
    told: list[Link] = []
    visits = list(walk_metadata(objects, [start], damaged=lambda link, _: told.append(link)))
    assert told == [Link(Kind.MANIFEST, oid(2))]
    assert sorted(int.from_bytes(visit.link.id, "big") for visit in visits) == [3, 4, 5, 6, 7, 8]


def test_folders_nested_without_end_are_damage() -> None:
    objects = Objects()
    objects.put(1, TreeNode(0, ()))
    for number in range(2, 5000):
        objects.put(number, TreeNode(0, (folder("x", oid(number - 1)),)))
    with pytest.raises(IntegrityError, match="nested too deep"):
        walked(objects, Link(Kind.TREE, oid(4999)))


def test_a_chunk_set_holds_each_chunk_once_with_its_length() -> None:
    objects, start = a_history()
    with ChunkSet() as chunks:
        for _ in range(2):
            for visit in walk_metadata(objects, [start]):
                chunks.add(chunks_of(visit.body))
        chunks.add(ManifestEntry(oid(number % 300 + 100), 9) for number in range(3, 9000))
        found = list(chunks)
    assert len(found) == len(dict(found)) == 300
    assert dict(found)[oid(399)] == 9
