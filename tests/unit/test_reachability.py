from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from mediavault.errors import IntegrityError
from mediavault.formats.frame import Frame, parse_frame
from mediavault.model.ids import Kind, Link
from mediavault.store import reachability
from mediavault.store.frames import FrameStore
from mediavault.store.reachability import chunk_ids, closure, collect, missing_beneath, missing_from, node_links
from mediavault_backends.memory import MemoryBackend
from tests.stored import Stored, append_all, chunk, commit, manifest, open_store, tag, tree

CHUNKS = [chunk(bytes([n]) * 10) for n in range(60)]


def store_of(folder: Path, *objects: Stored) -> FrameStore:
    store = open_store(MemoryBackend())
    with store.writer(folder, plain=True) as writer:
        append_all(writer, objects)
    return store


def reached(store: FrameStore, wants: Iterable[Stored], haves: Iterable[Stored] = ()) -> list[bytes]:
    batches = closure(store, [want.link for want in wants], [have.id for have in haves])
    return [frame.header.id for batch in batches for frame in batch]


class Project:
    """Two commits: in the second one, one file of many and one part of a huge file changed."""

    def __init__(self) -> None:
        self.parts = [manifest(CHUNKS[n], CHUNKS[n + 1]) for n in range(0, 20, 2)]
        self.huge = manifest(*self.parts)
        self.folders = [tree(CHUNKS[n], name=f"folder {n}") for n in range(20, 30)]
        self.root = tree(self.huge, *self.folders)
        self.first = commit(self.root)
        self.new_part = manifest(CHUNKS[0], CHUNKS[50])
        self.new_huge = manifest(self.new_part, *self.parts[1:])
        self.new_folder = tree(CHUNKS[51], name="folder 20")
        self.new_root = tree(self.new_huge, self.new_folder, *self.folders[1:])
        self.second = commit(self.new_root, self.first)
        self.tag = tag(self.second)
        self.old = [*self.parts, self.huge, *self.folders, self.root, self.first]
        self.new = [self.new_part, self.new_huge, self.new_folder, self.new_root, self.second]

    def store(self, folder: Path) -> FrameStore:
        return store_of(folder, *CHUNKS, *self.old, *self.new, self.tag)


def test_everything_is_reached_once_parents_first(tmp_path: Path) -> None:
    project = Project()
    store = project.store(tmp_path)
    found = reached(store, [project.tag])
    assert sorted(found) == sorted(one.id for one in [*project.old, *project.new, project.tag])
    place = {oid: number for number, oid in enumerate(found)}
    for one in (project.tag, project.second, project.new_root, project.new_huge):
        for link in store.read(one.id).header.links:
            assert link.kind == Kind.CHUNK or place[one.id] < place[link.id]


def test_only_what_is_new_is_reached_and_only_what_changed_is_read(tmp_path: Path) -> None:
    project = Project()
    store = project.store(tmp_path)
    assert sorted(reached(store, [project.second], [project.first])) == sorted(one.id for one in project.new)
    assert reached(store, [project.first], [project.second]) == []
    assert reached(store, [project.second], [project.second]) == []
    read: list[bytes] = []
    real = store.read_batches

    def noted(ids: Iterable[bytes]) -> Iterator[list[Frame]]:
        ids = list(ids)
        read.extend(ids)
        return real(ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "read_batches", noted)
        reached(store, [project.second], [project.first])
    replaced = [project.root, project.huge, project.folders[0], project.parts[0]]
    assert sorted(read) == sorted(one.id for one in [*project.new[:-1], *replaced])


def test_haves_that_are_not_here_are_ignored(tmp_path: Path) -> None:
    project = Project()
    store = project.store(tmp_path)
    batches = closure(store, [project.second.link], [bytes(32), project.root.id, project.first.id])
    assert sum(map(len, batches)) == len(project.new)


def test_trees_and_manifests_may_be_wanted_themselves(tmp_path: Path) -> None:
    project = Project()
    store = project.store(tmp_path)
    assert sorted(reached(store, [project.huge])) == sorted(one.id for one in [project.huge, *project.parts])
    assert reached(store, [project.folders[0], project.folders[0]]) == [project.folders[0].id]
    root_tag = tag(project.folders[0])
    store = store_of(tmp_path, CHUNKS[20], project.folders[0], root_tag, outer := tag(root_tag, "outer"))
    assert reached(store, [outer]) == [outer.id, root_tag.id, project.folders[0].id]


def test_collecting_puts_children_before_parents(tmp_path: Path) -> None:
    deep = tree(CHUNKS[1], name="shared")
    middle = tree(deep, name="middle")
    root = tree(deep, middle)  # the shared folder stands at two depths
    first = commit(root)
    second = commit(root, first, message="second")
    named = tag(second)
    store = store_of(tmp_path, CHUNKS[1], deep, middle, root, first, second, named)
    found = collect(store, [named.link])
    assert found.nodes == [deep.id, middle.id, root.id]
    assert found.commits == [first.id, second.id]
    assert found.tags == [named.id]
    assert found.chunks == [CHUNKS[1].id]
    project = Project()
    found = collect(project.store(tmp_path), [project.second.link], [project.first.id])
    assert set(found.chunks) == {CHUNKS[n].id for n in (0, 50, 51)}
    assert found.nodes.index(project.new_part.id) < found.nodes.index(project.new_huge.id)
    assert found.nodes[-1] == project.new_root.id


def test_a_missing_object_and_a_lying_link_are_told(tmp_path: Path) -> None:
    project = Project()
    store = store_of(tmp_path, *project.old, *project.new[1:])
    with pytest.raises(IntegrityError, match=project.new_part.id.hex()):
        reached(store, [project.second])
    lying = commit(project.second._replace(link=Link(Kind.TREE, project.second.id)))
    store = store_of(tmp_path, *CHUNKS, *project.old, *project.new, lying)
    with pytest.raises(IntegrityError, match="is a commit, where a tree should be"):
        reached(store, [lying])


def test_links_are_told_apart_by_class() -> None:
    project = Project()
    mixed = parse_frame(tree(CHUNKS[0], CHUNKS[1], project.huge, project.folders[0]).frame)
    assert chunk_ids(mixed) == sorted([CHUNKS[0].id, CHUNKS[1].id])
    assert node_links(mixed) == [project.huge.link, project.folders[0].link]
    assert chunk_ids(parse_frame(tree().frame)) == []
    assert node_links(parse_frame(project.parts[0].frame)) == []


def test_missing_links_are_those_without_an_object_of_their_kind(tmp_path: Path) -> None:
    project = Project()
    store = store_of(tmp_path, CHUNKS[0], *project.parts)
    there = [CHUNKS[0].link, project.parts[0].link]
    absent = [CHUNKS[1].link, Link(Kind.TREE, project.parts[0].id)]
    assert missing_from(store, [*there, *absent]) == absent
    other = open_store(store.backend)
    assert missing_from(other, there) == []
    with store.writer(tmp_path, plain=True) as writer:
        append_all(writer, [CHUNKS[1]])
    assert missing_from(other, absent) == absent[1:]


def test_missing_links_beneath_a_group_count_what_comes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project()
    store = store_of(tmp_path, *CHUNKS[:10])
    group = [*project.parts, project.huge]
    frames = [parse_frame(one.frame) for one in group]
    own = {one.id: one.link.kind for one in group}
    assert sorted(missing_beneath(store, frames, own, 1000)) == sorted(one.link for one in CHUNKS[10:20])
    assert len(missing_beneath(store, frames, own, 3)) == 3
    assert missing_beneath(store, frames[:5], own, 1000) == []
    monkeypatch.setattr(reachability, "_LINKS_A_QUESTION", 1)
    left = iter(frames)
    assert len(missing_beneath(open_store(MemoryBackend()), left, {}, 1)) == 1
    assert len(list(left)) == len(frames) - 1
    del own[project.parts[0].id]
    assert project.parts[0].link in missing_beneath(store, frames, own, 1000)
