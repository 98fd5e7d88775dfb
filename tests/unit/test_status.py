import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from blake3 import blake3

from mediavault.errors import IntegrityError
from mediavault.model.ids import ObjectId
from mediavault.workspace import status
from mediavault.workspace.content import digest_of_small, open_working_file
from mediavault.workspace.scan import lstat_file
from mediavault.workspace.stage import SLACK_NS, row_of, trusted
from mediavault.workspace.status import Change, ChangeKind, compare, staged_changes
from mediavault.workspace.trees import tree_rows
from tests.checkouts import Files, LinkTo, Program, Project, age

FILES: Files = {"a": b"1" * 2500, "b/c": b"xyz", "b/d/e": Program(b"#!"), "l": LinkTo("a"), "empty": b""}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project(tmp_path) as made:
        yield made


@pytest.fixture
def tree(project: Project) -> ObjectId:
    tree = project.tree(FILES)
    project.switch(None, tree)
    return tree


def settle(project: Project) -> None:
    """Wait until a check made now can trust the stamp of every file."""
    changed = max(path.lstat().st_ctime_ns for path in project.root.rglob("*") if ".mediagit" not in path.parts)
    while project.layout.clock_ns() - SLACK_NS <= changed:
        pass


def test_a_fresh_checkout_is_clean(project: Project, tree: ObjectId) -> None:
    report = project.status(tree)
    assert report.clean
    assert (report.untracked, report.problems) == ([], [])


def test_before_the_first_commit_everything_is_added_or_untracked(project: Project) -> None:
    project.write("x", b"1")
    assert project.status(None).untracked == ["x"]
    project.switch(None, project.tree({"x": b"1", "y": b"2"}))
    assert project.status(None).staged == [Change("x", ChangeKind.ADDED), Change("y", ChangeKind.ADDED)]


def test_edits_of_every_sort(project: Project, tree: ObjectId) -> None:
    project.write("a", b"2" * 2500)
    project.write("b/c", b"longer than before")
    (project.root / "b/d/e").unlink()
    (project.root / "empty").chmod(0o755)
    (project.root / "l").unlink()
    project.write("l", LinkTo("b/c"))
    project.write("new/deep", b"")
    report = project.status(tree)
    assert report.modified == ["a", "b/c", "empty", "l"]
    assert report.deleted == ["b/d/e"]
    assert report.untracked == ["new/deep"]
    assert report.staged == []
    assert not report.clean


def test_what_is_staged_is_compared_with_head(project: Project, tree: ObjectId) -> None:
    other = project.tree({"a": b"new", "b/c": b"xyz", "b/d/e": b"#!", "n/1": b"1", "n/2": b"2", "empty/now": b"x"})
    project.switch(tree, other)
    report = project.status(tree)
    assert report.staged == [
        Change("a", ChangeKind.MODIFIED),
        Change("b/d/e", ChangeKind.MODIFIED),
        Change("empty", ChangeKind.DELETED),
        Change("empty/now", ChangeKind.ADDED),
        Change("l", ChangeKind.DELETED),
        Change("n/1", ChangeKind.ADDED),
        Change("n/2", ChangeKind.ADDED),
    ]
    back = staged_changes(project.stage, lambda: project.reader, project.tree({}))
    assert [change.path for change in back] == sorted(["a", "b/c", "b/d/e", "empty/now", "n/1", "n/2"])


def test_a_staged_file_where_head_has_a_folder(project: Project, tree: ObjectId) -> None:
    project.stage.remove_many(["b/c", "b/d/e"])
    row = project.stage.get("empty")
    assert row is not None
    from mediavault.workspace.stage import row_of_entry

    project.stage.put(row_of_entry("b", row.entry()))
    found = staged_changes(project.stage, lambda: project.reader, tree)
    assert found == [
        Change("b", ChangeKind.ADDED),
        Change("b/c", ChangeKind.DELETED),
        Change("b/d/e", ChangeKind.DELETED),
    ]


def test_folders_nested_without_end_are_refused(project: Project) -> None:
    project.stage.put_many(tree_rows(project.reader, project.nested(100)))
    deep = project.nested(1500)
    with pytest.raises(IntegrityError, match="inside each other"):
        project.status(deep)
    with pytest.raises(IntegrityError, match="inside each other"):
        list(tree_rows(project.reader, deep))
    assert len(list(tree_rows(project.reader, project.nested(127)))) == 1


def no_reader() -> NoReturn:
    raise AssertionError("trees were read")


def test_an_unchanged_stage_needs_no_trees_and_no_content(
    project: Project, tree: ObjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(project)
    assert project.status(tree).clean  # earns the trust of what was written just before

    def never(*_: object, **__: object) -> NoReturn:
        raise AssertionError("content was read")

    monkeypatch.setattr(status, "holds", never)
    assert compare(project.layout, project.stage, no_reader, tree, project.rules).clean


def test_racy_edit_of_equal_size_and_restored_time_is_seen(project: Project, tree: ObjectId) -> None:
    """An edit right after the checkout, with size and modification time as before, is not missed."""
    target = project.root / "b/c"
    times = target.stat()
    target.write_bytes(b"XYZ")
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert target.stat().st_mtime_ns == times.st_mtime_ns
    assert project.status(tree).modified == ["b/c"]
    assert project.status(tree).modified == ["b/c"]


def test_later_edit_of_equal_size_and_restored_time_is_seen(project: Project, tree: ObjectId) -> None:
    settle(project)
    assert project.status(tree).clean
    target = project.root / "b/c"
    times = target.stat()
    target.write_bytes(b"XYZ")
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert project.status(tree).modified == ["b/c"]


def test_edit_in_the_tick_of_the_check_is_seen(project: Project, tree: ObjectId) -> None:
    """Whatever the kernel's tick: a stamp as young as its check is never trusted, so the content is read."""
    target = project.root / "b/c"
    for number in range(30):
        checked = project.layout.clock_ns()
        target.write_bytes(b"%03d" % number)
        file = lstat_file(project.root, "b/c")
        row = project.stage.get("b/c")
        assert file is not None
        assert row is not None
        assert not trusted(row.stamped(file, checked), file)
    assert project.status(tree).modified == ["b/c"]


def test_a_touched_file_is_trusted_again_once_it_was_read(project: Project, tree: ObjectId) -> None:
    age(project.root / "b/c")
    settle(project)
    assert project.status(tree).clean
    row = project.stage.get("b/c")
    file = lstat_file(project.root, "b/c")
    assert row is not None
    assert file is not None
    assert trusted(row, file)


def test_a_replaced_file_with_the_same_stamp_but_inode_is_read(project: Project, tree: ObjectId) -> None:
    target = project.root / "b/c"
    times = target.stat()
    project.write("other", b"XYZ").replace(target)
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert project.status(tree).modified == ["b/c"]


@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (2 << 20) + 17])
def test_large_files_are_compared_by_their_content(project: Project, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    path = project.write("big", content)
    tree = project.tree({"small": b""})
    project.switch(None, tree)
    checked = project.layout.clock_ns()
    file = lstat_file(project.root, "big")
    assert file is not None
    project.stage.put(row_of(file, blake3(content).digest(), None, "", checked))
    assert project.status(tree).modified == []
    path.write_bytes(content[:-1] + b"!")
    assert project.status(tree).modified == ["big"]


@pytest.mark.parametrize(("held", "said"), [(b"12345", 3), (b"123", 5), (b"12345", 0)])
def test_a_file_that_changes_size_while_it_is_read_is_hashed_whole(tmp_path: Path, held: bytes, said: int) -> None:
    (tmp_path / "f").write_bytes(held)
    fd = open_working_file(tmp_path / "f")
    try:
        assert digest_of_small(fd, said) == (len(held), blake3(held).digest())
    finally:
        os.close(fd)


def test_ignored_but_tracked_files_are_still_watched(project: Project) -> None:
    tree = project.tree({".mediagitignore": b"*.tmp\nbuild/\n", "a.tmp": b"1", "build/x": b"2", "build/y": b"3"})
    project.switch(None, tree)
    assert project.status(tree).clean
    project.write("a.tmp", b"changed")
    (project.root / "build/x").unlink()
    project.write("build/new", b"")
    project.write("new.tmp", b"")
    report = project.status(tree)
    assert (report.modified, report.deleted, report.untracked) == (["a.tmp"], ["build/x"], [])


def test_a_folder_that_became_a_link_hides_its_files(project: Project, tree: ObjectId) -> None:
    (project.root / "b").rename(project.root / "elsewhere")
    project.write("b", LinkTo("elsewhere"))
    report = project.status(tree)
    assert report.deleted == ["b/c", "b/d/e"]
    assert report.untracked == ["b", "elsewhere/c", "elsewhere/d/e"]


def test_chosen_paths(project: Project, tree: ObjectId) -> None:
    project.write("a", b"")
    project.write("b/c", b"")
    project.write("b.x", b"")
    project.stage.remove_many(["b/d/e", "empty"])
    report = project.status(tree, "b")
    assert report.modified == ["b/c"]
    assert report.untracked == ["b/d/e"]
    assert report.staged == [Change("b/d/e", ChangeKind.DELETED)]
    assert project.status(tree, "b/c", "b").modified == ["b/c"]


def test_problems_are_told(project: Project, tree: ObjectId) -> None:
    project.write("aux", b"")
    report = project.status(tree)
    assert [problem.path for problem in report.problems] == ["aux"]
    assert report.untracked == []


def test_a_file_that_cannot_be_read_is_modified_and_a_problem(
    project: Project, tree: ObjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    project.write("b/c", b"XYZ")
    monkeypatch.setattr(status, "holds", refuse)
    report = project.status(tree, "b/c")
    assert report.modified == ["b/c"]
    assert [(problem.path, problem.reason) for problem in report.problems] == [
        ("b/c", "cannot be read (Permission denied)")
    ]
