from collections.abc import Iterator
from pathlib import Path

import pytest

from mediavault.errors import IntegrityError
from mediavault.history.diff import ChunkDiff, DiffKind, FileDiff, compare_chunks, diff_trees, with_renames
from mediavault.model.ids import ObjectId
from mediavault.model.objects import TreeEntry
from mediavault.workspace.trees import find_entry
from tests.checkouts import CHUNK, Files, LinkTo, Program, Project

OLD: Files = {"a": b"1", "b/c": b"2", "b/d": b"3", "p": b"#!", "same/x": b"", "l": LinkTo("a"), "was file": b"z"}
NEW: Files = {"a": b"9", "b/c": b"2", "n": b"4", "p": Program(b"#!"), "same/x": b"", "l": b"a", "was file/in": b"q"}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project(tmp_path) as made:
        yield made


def kinds(changes: list[FileDiff]) -> dict[str, DiffKind]:
    return {change.path: change.kind for change in changes}


def test_every_sort_of_change(project: Project) -> None:
    changes = list(diff_trees(project.reader, project.tree(OLD), project.tree(NEW)))
    assert kinds(changes) == {
        "a": DiffKind.MODIFIED,
        "b/d": DiffKind.DELETED,
        "l": DiffKind.MODIFIED,
        "n": DiffKind.ADDED,
        "p": DiffKind.MODE,
        "was file": DiffKind.DELETED,
        "was file/in": DiffKind.ADDED,
    }
    assert [change.path for change in changes] == sorted(kinds(changes))
    for change in changes:
        assert (change.old is None) == (change.kind is DiffKind.ADDED)
        assert (change.new is None) == (change.kind is DiffKind.DELETED)


def test_a_change_and_back_are_each_other(project: Project) -> None:
    one, two = project.tree(OLD), project.tree(NEW)
    forth = {(change.path, change.old, change.new) for change in diff_trees(project.reader, one, two)}
    back = {(change.path, change.new, change.old) for change in diff_trees(project.reader, two, one)}
    assert forth == back


def test_nothing_and_everything(project: Project) -> None:
    tree = project.tree(OLD)
    assert list(diff_trees(project.reader, tree, tree)) == []
    assert set(kinds(list(diff_trees(project.reader, None, tree))).values()) == {DiffKind.ADDED}
    assert len(list(diff_trees(project.reader, tree, None))) == len(OLD)


def test_equal_folders_are_not_read(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = project.tree({"a/b/c": b"1", "x": b"1"}), project.tree({"a/b/c": b"1", "x": b"2"})
    read: list[bytes] = []
    original = project.reader.tree

    def tree(oid: ObjectId) -> Iterator[TreeEntry]:
        read.append(oid)
        return original(oid)

    monkeypatch.setattr(project.reader, "tree", tree)
    assert kinds(list(diff_trees(project.reader, one, two))) == {"x": DiffKind.MODIFIED}
    assert read == [one, two]


def test_folders_nested_without_end_are_refused(project: Project) -> None:
    with pytest.raises(IntegrityError, match="inside each other"):
        list(diff_trees(project.reader, None, project.nested(1500)))
    assert len(list(diff_trees(project.reader, None, project.nested(127)))) == 1


def test_a_moved_file_is_one_rename(project: Project) -> None:
    old = project.tree({"a": b"content", "twin": b"same", "twin2": b"same", "empty": b""})
    new = project.tree({"b/a": b"content", "x": b"same", "y": b"same", "empty2": b""})
    changes = with_renames(diff_trees(project.reader, old, new))
    assert [(change.path, change.kind, change.old_path) for change in changes] == [
        ("b/a", DiffKind.RENAMED, "a"),
        ("empty", DiffKind.DELETED, ""),
        ("empty2", DiffKind.ADDED, ""),
        ("x", DiffKind.RENAMED, "twin"),
        ("y", DiffKind.RENAMED, "twin2"),
    ]


def test_a_copy_is_no_rename(project: Project) -> None:
    old, new = project.tree({"a": b"content"}), project.tree({"a": b"content", "b": b"content"})
    assert kinds(with_renames(diff_trees(project.reader, old, new))) == {"b": DiffKind.ADDED}


def test_chunks_shared_and_new(project: Project) -> None:
    blocks = [bytes([number]) * CHUNK for number in range(6)]
    tree = project.tree(
        {"old": b"".join(blocks[:4]), "new": b"".join([*blocks[1:4], blocks[3], blocks[5], b"tail"]), "none": b""}
    )
    old, new, none = (find_entry(project.reader, tree, name) for name in ("old", "new", "none"))
    assert compare_chunks(project.reader, old, new) == ChunkDiff(3, 2, 3 * CHUNK, CHUNK + 4)
    assert compare_chunks(project.reader, None, old) == ChunkDiff(0, 4, 0, 4 * CHUNK)
    assert compare_chunks(project.reader, old, old) == ChunkDiff(4, 0, 4 * CHUNK, 0)
    assert compare_chunks(project.reader, old, None) == ChunkDiff(0, 0, 0, 0)
    assert compare_chunks(project.reader, none, none) == ChunkDiff(0, 0, 0, 0)
