import errno
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from mediavault.errors import IntegrityError, NeedsDecisionError, StorageError, WouldOverwriteError
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.objects import ManifestEntry, Mode, TreeEntry
from mediavault.workspace import folders, materialise
from mediavault.workspace.checkout_plan import plan_restore
from mediavault.workspace.journal import Intent, Lists, StagedNames, WriteList, read_journal, write_of
from mediavault.workspace.layout import Head
from mediavault.workspace.links import target_problem
from mediavault.workspace.materialise import CheckoutPlan, has_room, recover, run_checkout
from mediavault.workspace.scan import lstat_file
from mediavault.workspace.stage import StageRow, trusted
from mediavault.workspace.status import Change, ChangeKind
from mediavault.workspace.trees import tree_files
from mediavault_backends import fsio
from tests.checkouts import CHUNK, Content, Files, LinkTo, Program, Project, working_files

ONE: Files = {
    "a": b"1" * 2500,
    "b/c": b"old",
    "b/d/e": Program(b"#!"),
    "l": LinkTo("a"),
    "empty": b"",
    "same": b"same",
    "gone/deep/x": b"x",
    "file": b"was a file",
    "folder/in": b"was in a folder",
}
TWO: Files = {
    "a": b"2" * 2500,
    "b/c": b"new",
    "b/d/e": b"#!",
    "l": LinkTo("b/c"),
    "empty": b"not now",
    "same": b"same",
    "file/in": b"is in a folder",
    "folder": b"is a file",
    "ü/neu": Program(b"3" * 5000),
}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project(tmp_path) as made:
        yield made


@pytest.fixture
def one(project: Project) -> ObjectId:
    tree = project.tree(ONE)
    project.switch(None, tree)
    return tree


@pytest.fixture
def two(project: Project) -> ObjectId:
    return project.tree(TWO)


def refused(project: Project, base: ObjectId | None, target: ObjectId) -> list[str]:
    """Check that a checkout is refused without changing anything; return the paths that are named."""
    before, rows, head = project.working(), list(project.stage.all()), project.layout.read_head()
    plan = project.plan(base, target)
    with pytest.raises(WouldOverwriteError) as caught:
        project.run(plan)
    assert (project.working(), list(project.stage.all()), project.layout.read_head()) == (before, rows, head)
    assert not project.layout.checkout.exists()
    assert caught.value.paths == plan.conflicts
    return plan.conflicts


def test_a_checkout_makes_the_tree(project: Project, one: ObjectId) -> None:
    assert project.working() == ONE
    assert project.built() == one
    assert not project.layout.checkout.exists()
    assert (project.root / "b/d/e").stat().st_mode & 0o111
    assert not (project.root / "a").stat().st_mode & 0o111


def test_a_switch_turns_one_tree_into_the_other(project: Project, one: ObjectId, two: ObjectId) -> None:
    report = project.switch(one, two, head="other")
    assert project.working() == TWO
    assert project.layout.read_head() == Head("other")
    assert project.status(two).clean
    assert not (project.root / "gone").exists()
    assert report.left == []
    assert report.deleted == 3
    project.switch(two, one)
    assert project.working() == ONE
    assert project.status(one).clean
    project.switch(one, None)
    assert project.working() == {}
    assert list(project.root.iterdir()) == [project.layout.folder]


def test_files_that_are_equal_are_not_touched(project: Project, one: ObjectId, two: ObjectId) -> None:
    before = (project.root / "same").stat()
    plan = project.plan(one, two)
    assert "same" not in {write.path for write in plan.writes}
    project.run(plan)
    assert (project.root / "same").stat() == before


def test_only_the_mode_changes_where_only_the_mode_differs(project: Project, one: ObjectId, two: ObjectId) -> None:
    before = (project.root / "b/d/e").stat()
    project.switch(one, two)
    after = (project.root / "b/d/e").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not after.st_mode & 0o111


def test_trees_are_remembered_only_where_the_stage_has_them(project: Project, one: ObjectId) -> None:
    assert project.stage.cached_tree("") == one
    project.stage.remove("b/c")
    project.switch(one, project.tree({**ONE, "a": b"x"}))
    assert project.stage.cached_tree("") is None
    assert project.stage.cached_tree("b") is None
    assert project.stage.cached_tree("folder") is not None
    assert project.built() == project.tree({path: c for path, c in {**ONE, "a": b"x"}.items() if path != "b/c"})


@pytest.mark.parametrize("many", [3, 40])
def test_large_and_many_files(project: Project, many: int) -> None:
    files: Files = {f"d{number % 7}/f{number}": bytes([number]) * (number * 700) for number in range(many)}
    tree = project.tree(files)
    counted: list[int] = []
    report = run_checkout(
        project.plan(None, tree),
        project.layout,
        project.stage,
        project.reader,
        Intent("clone"),
        progress=counted.append,
    )
    assert project.working() == files
    assert report.written == many
    assert sum(counted) == report.bytes_written == sum(map(len, files.values()))
    assert project.status(tree).clean


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a", b"my work" * 10),
        ("a", b"9" * 2500),
        ("gone/deep/x", b"mine"),
        ("b/d/e", Program(b"%!")),
        ("folder/in", b"mine"),
        ("file", b"mine"),
    ],
)
def test_edited_files_are_not_overwritten(
    project: Project, one: ObjectId, two: ObjectId, path: str, content: Content
) -> None:
    times = (project.root / path).stat()
    project.write(path, content)
    os.utime(project.root / path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path in refused(project, one, two)


@pytest.mark.parametrize("path", ["ü/neu", "file/in"])
def test_untracked_files_are_not_overwritten(project: Project, one: ObjectId, two: ObjectId, path: str) -> None:
    (project.root / "file").unlink()
    project.write(path, b"untracked")
    assert refused(project, one, two) == [path]


def test_ignored_files_are_not_overwritten(project: Project, one: ObjectId, two: ObjectId) -> None:
    project.write(".mediagitignore", "ü/\n".encode())
    project.write("ü/neu", b"ignored")
    assert refused(project, one, two) == ["ü/neu"]


def test_untracked_files_in_a_folder_that_becomes_a_file(project: Project, one: ObjectId, two: ObjectId) -> None:
    project.write("folder/mine/too", b"untracked")
    assert refused(project, one, two) == ["folder/mine/too"]


def test_an_untracked_link_or_file_where_a_folder_is_needed(project: Project, one: ObjectId, two: ObjectId) -> None:
    project.write("ü", LinkTo("b"))
    assert refused(project, one, two) == ["ü"]
    (project.root / "ü").unlink()
    project.write("ü", b"")
    assert refused(project, one, two) == ["ü"]


def test_something_special_is_in_the_way(project: Project, one: ObjectId, two: ObjectId) -> None:
    (project.root / "ü").mkdir()
    os.mkfifo(project.root / "ü" / "neu")
    assert project.plan(one, two).conflicts == ["ü/neu"]


def test_staged_work_is_not_overwritten(project: Project, one: ObjectId, two: ObjectId) -> None:
    middle = project.tree({**ONE, "b/c": b"staged"})
    project.switch(one, middle)
    assert refused(project, one, two) == ["b/c"]
    project.switch(middle, one)
    project.stage.remove("a")
    assert "a" in refused(project, one, two)


def test_staged_new_files_are_not_overwritten(project: Project, one: ObjectId, two: ObjectId) -> None:
    project.switch(one, project.tree({**ONE, "ü/neu": b"staged new"}))
    assert refused(project, one, two) == ["ü/neu"]
    (project.root / "ü/neu").unlink()
    assert refused(project, one, two) == ["ü/neu"]


def test_staged_files_cannot_stand_beside_a_folder_or_file_of_their_name(project: Project, one: ObjectId) -> None:
    project.switch(one, project.tree({**ONE, "n": b"staged"}))
    (project.root / "n").unlink()
    assert refused(project, one, project.tree({**ONE, "n/below": b"1"})) == ["n"]
    (project.root / "folder/mine").write_bytes(b"")
    project.stage.put(StageRow("folder/mine", Mode.FILE, 0, blake3().digest(), None))
    (project.root / "folder/mine").unlink()
    target = project.tree({path: content for path, content in ONE.items() if path != "folder/in"} | {"folder": b"f"})
    assert refused(project, one, target) == ["folder/mine"]


def test_work_that_is_in_nobodys_way_is_kept(project: Project, one: ObjectId) -> None:
    other = project.tree({**ONE, "a": b"theirs"})
    project.write("b/c", b"my edit")
    project.write("untracked", b"mine")
    staged = project.tree({**ONE, "new": b"staged"})
    project.switch(one, staged)
    project.switch(one, other)
    assert project.working() == {**ONE, "a": b"theirs", "b/c": b"my edit", "untracked": b"mine", "new": b"staged"}
    report = project.status(other)
    assert report.modified == ["b/c"]
    assert report.untracked == ["untracked"]
    assert report.staged == [Change("new", ChangeKind.ADDED)]


def test_identical_files_in_the_way_are_taken_over(project: Project, one: ObjectId, two: ObjectId) -> None:
    (project.root / "file").unlink()
    for path in ("file/in", "ü/neu", "b/c"):
        project.write(path, TWO[path])
    before = (project.root / "ü/neu").stat().st_ino
    project.switch(one, two)
    assert (project.root / "ü/neu").stat().st_ino == before
    assert project.status(two).clean


def test_deleted_files_are_no_work(project: Project, one: ObjectId, two: ObjectId) -> None:
    for path in ("a", "gone/deep/x", "same"):
        (project.root / path).unlink()
    project.switch(one, two)
    assert project.working() == {path: content for path, content in TWO.items() if path != "same"}
    assert project.status(two).deleted == ["same"]


def test_force_gives_up_edits_but_not_untracked_files(project: Project, one: ObjectId, two: ObjectId) -> None:
    project.write("a", b"mine")
    project.write("gone/deep/x", b"mine")
    project.write("same", b"mine")
    project.write("untracked", b"mine")
    project.switch(one, project.tree({**ONE, "b/c": b"staged", "staged": b"s"}))
    project.switch(one, two, force=True)
    assert project.working() == {**TWO, "untracked": b"mine"}
    assert project.status(two).clean
    project.stage.remove("a")
    project.write("a", b"untracked now")
    assert project.plan(two, one, force=True).conflicts == ["a"]


# Hostile trees: entries that only a tampering writer could make, given to the planner directly.


def planned(project: Project, path: str, content: Content) -> CheckoutPlan:
    with project.writer() as writer:
        entry = project.entry(writer, path.rpartition("/")[2], content)
    return plan_restore(project.layout, project.stage, [(path, entry)])


@pytest.mark.parametrize(
    ("path", "target", "problem"),
    [
        ("l", "a", None),
        ("l", "./a/b/", None),
        ("d/l", "../a", None),
        ("d/e/l", "../../a", None),
        ("l", "..", "outside"),
        ("l", "../a", "outside"),
        ("d/l", "../../a", "outside"),
        ("d/l", "./../../a", "outside"),
        ("d/e/l", "../x/../../..", "down and up"),
        ("l", "a/../b", "down and up"),
        ("l", "/etc/passwd", "absolute"),
        ("l", "C:\\x", "absolute"),
        ("l", "C:x", "absolute"),
        ("l", "a\\..\\..\\b", "absolute"),
        ("l", "\\\\server\\share", "absolute"),
        ("l", "", "usable"),
        ("l", "a\0b", "usable"),
        ("l", "x" * 5000, "usable"),
        ("l", ".mediagit/HEAD", "private"),
        ("l", "d/.GIT", "private"),
        ("l", "\udcff", "UTF-8"),
    ],
)
def test_targets_of_links(path: str, target: str, problem: str | None) -> None:
    found = target_problem(path, target)
    assert (found is None) == (problem is None)
    assert (problem or "") in (found or "")


@pytest.mark.parametrize("target", ["/etc", "../outside", ".mediagit/state.sqlite"])
def test_links_out_of_the_tree_are_not_made(project: Project, target: str) -> None:
    tree = project.tree({"fine": b"1", "l": LinkTo(target)})
    with pytest.raises(IntegrityError, match="refused") as caught:
        project.plan(None, tree)
    assert caught.value.untouched
    assert project.working() == {}


@pytest.mark.parametrize("path", ["/".join("d" * 129), "/".join(["d" * 200] * 21)])
def test_paths_that_are_too_long_are_refused(project: Project, path: str) -> None:
    with pytest.raises(IntegrityError, match="too long or too deep"):
        planned(project, path, b"")


@pytest.mark.parametrize("force", [False, True])
def test_folders_nested_without_end_are_refused(project: Project, force: bool) -> None:
    with pytest.raises(IntegrityError, match="inside each other"):
        project.plan(None, project.nested(1500), force=force)
    with pytest.raises(IntegrityError, match=r"inside each other|too deep"):
        project.plan(None, project.nested(128), force=force)
    project.switch(None, project.nested(127), force=force)
    assert list(project.working()) == ["d/" * 127 + "f"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("Readme", "README"), ("e\u0301", "\u00e9"), ("stra\u00dfe", "STRASSE"), ("Dir/a", "dir/b"), ("A/x", "a")],
)
def test_names_that_collide_are_refused_before_anything_is_written(project: Project, first: str, second: str) -> None:
    tree = project.tree({"deep/" + first: b"1", "deep/" + second: b"2", "aaa": b"0"})
    for force in (False, True):
        with pytest.raises(NeedsDecisionError) as caught:
            project.plan(None, tree, force=force)
        assert caught.value.hint
    assert project.working() == {}


def test_a_link_put_in_the_way_during_the_checkout_is_not_followed(
    project: Project, one: ObjectId, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The cases of git-lfs CVE-2025-26625 and git CVE-2021-21300: a folder on the way becomes a link."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "c").write_bytes(b"precious")
    target = project.tree({**ONE, "b/c": b"new", "b/new": b"new", "gone/deep/x": b"changed"})
    plan = project.plan(one, target)

    def swap(step: fsio.Step) -> None:
        if step.path.name == "journal" and step.kind == "rename":
            (project.root / "b").rename(project.root / "moved")
            (project.root / "b").symlink_to(outside)

    with fsio.observe(swap):
        report = project.run(plan)
    assert report.left == ["b/c", "b/new"]
    assert working_files(outside) == {"c": b"precious"}
    assert project.working()["gone/deep/x"] == b"changed"
    assert project.status(target).deleted == ["b/c", "b/d/e", "b/new"]


def test_a_tracked_link_that_becomes_a_folder_is_replaced_and_not_followed(project: Project) -> None:
    """The case of gix CVE-2026-44471: a link first, then files below its name."""
    project.write("real/keep", b"keep")
    first = project.tree({"d": LinkTo("real")})
    second = project.tree({"d/keep": b"overwritten?", "d/x": b"1"})
    project.switch(None, first)
    project.switch(first, second)
    assert project.working() == {"real/keep": b"keep", "d/keep": b"overwritten?", "d/x": b"1"}
    assert not (project.root / "d").is_symlink()


@pytest.mark.parametrize("change", ["edit", "create", "delete", "replace by folder"])
def test_files_that_change_after_the_plan_are_left_alone(project: Project, one: ObjectId, change: str) -> None:
    target = project.tree({**ONE, "a": b"new", "b/new": b"new", "b/c": b"newer"})
    plan = project.plan(one, target)

    def interfere(step: fsio.Step) -> None:
        if step.path.name == "journal" and step.kind == "rename":
            if change == "edit":
                project.write("a", b"mine")
            elif change == "create":
                project.write("b/new", b"mine")
            elif change == "delete":
                (project.root / "a").unlink()
            else:
                (project.root / "a").unlink()
                project.write("a/mine", b"mine")

    with fsio.observe(interfere):
        report = project.run(plan)
    working = project.working()
    assert working["b/c"] == b"newer"
    if change == "edit":
        assert (report.left, working["a"]) == (["a"], b"mine")
        assert project.status(target).modified == ["a"]
    elif change == "create":
        assert (report.left, working["b/new"]) == (["b/new"], b"mine")
        assert project.status(target).modified == ["b/new"]
    elif change == "delete":
        assert (report.left, working["a"]) == ([], b"new")
    else:
        assert (report.left, working["a/mine"]) == (["a"], b"mine")
    assert not project.layout.checkout.exists()


@pytest.mark.parametrize("many", [1, 30])
def test_a_new_folder_that_somebody_makes_meanwhile_is_shared(project: Project, one: ObjectId, many: int) -> None:
    new: Files = {f"new/er/{number}": b"new" for number in range(many)}
    target = project.tree({**ONE, **new, "new/x": b"x"})
    plan = project.plan(one, target)
    assert plan.lists.fresh == ["new"]

    def interfere(step: fsio.Step) -> None:
        if step.path.name == "journal" and step.kind == "rename":
            project.write("new/er/0", b"mine")
            project.write("new/mine", b"mine too")

    with fsio.observe(interfere):
        report = project.run(plan)
    assert report.left == ["new/er/0"]
    assert project.working() == {**ONE, **new, "new/x": b"x", "new/er/0": b"mine", "new/mine": b"mine too"}
    status = project.status(target)
    assert (status.modified, status.untracked) == (["new/er/0"], ["new/mine"])
    assert not project.layout.checkout.exists()


def test_new_folders_are_moved_whole(project: Project, one: ObjectId) -> None:
    target = project.tree({**ONE, "b/new/1": b"1", "b/new/er/2": b"2", "b/new.txt": b"", "z/3": b"3", "z.txt": b""})
    plan = project.plan(one, target)
    assert plan.lists.fresh == ["b/new", "z"]
    steps: list[fsio.Step] = []
    with fsio.observe(steps.append):
        project.run(plan)
    moved = {step.path.relative_to(project.root).as_posix() for step in steps if step.kind == "rename"}
    assert moved - {".mediagit/checkout/journal", ".mediagit/HEAD"} == {"b/new", "b/new.txt", "z", "z.txt"}
    assert project.status(target).clean


def test_where_new_files_wait() -> None:
    names = StagedNames(["a.b", "a", "c/d"])
    assert names.place(7, "x") == "7"
    assert names.place(7, "a/b/c") == "f1/b/c"
    assert names.place(7, "a.b/c") == "f0/c"
    assert names.place(7, "c/d/e") == "f2/e"
    assert names.place(7, "c/e") == "7"
    assert names.place(7, "c/de/f") == "7"
    assert names.place(7, "ab") == "7"


def test_deleted_by_plan_but_edited_meanwhile_is_left(project: Project, one: ObjectId) -> None:
    target = project.tree({path: content for path, content in ONE.items() if path != "a"})
    plan = project.plan(one, target)
    project.write("a", b"mine")
    assert project.run(plan).left == ["a"]
    assert project.working()["a"] == b"mine"
    assert project.status(target).untracked == ["a"]


def test_staged_changes_keep_a_folder_from_being_remembered(project: Project, one: ObjectId) -> None:
    staged = {**ONE, "b/c": b"staged"}
    project.switch(one, project.tree(staged))
    target = {"b/new": b"new", "gone/deep/y": b"y"}
    project.switch(one, project.tree({**ONE, **target}))
    assert project.stage.cached_tree("b") is None
    assert project.stage.cached_tree("") is None
    assert project.stage.cached_tree("gone/deep") is not None
    assert project.built() == project.tree({**staged, **target})


def test_an_edit_between_the_move_and_the_look_at_its_stamp_is_seen(
    project: Project, one: ObjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(materialise, "_RACY_BYTES", 0)
    target = project.tree({**ONE, "n": b"new"})

    def move_and_edit(source: str, source_fd: int, name: str, target_fd: int) -> None:
        folders.rename_exclusive(source, source_fd, name, target_fd)
        before = project.layout.clock_ns()
        while project.layout.clock_ns() == before:
            pass
        (project.root / "n").write_bytes(b"NEW")

    monkeypatch.setattr("mediavault.workspace.moves.rename_exclusive", move_and_edit)
    project.switch(one, target)
    assert project.status(target).modified == ["n"]


def test_what_was_just_written_need_not_be_read_again(
    project: Project, one: ObjectId, two: ObjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(materialise, "_RACY_BYTES", 0)
    project.switch(one, two)
    for path in ("a", "ü/neu", "l", "folder"):
        row, file = project.stage.get(path), lstat_file(project.root, path)
        assert row is not None
        assert file is not None
        assert trusted(row, file), path


def test_an_edit_right_after_the_move_is_seen_by_status(project: Project, one: ObjectId) -> None:
    target = project.tree({**ONE, "b/c": b"new"})
    project.run(project.plan(one, target))
    file = project.root / "b/c"
    times = file.stat()
    file.write_bytes(b"NEW")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert project.status(target).modified == ["b/c"]


@pytest.mark.parametrize("native", [True, False])
def test_renaming_never_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    if not native:
        monkeypatch.setattr(folders, "_native_rename", lambda: lambda *_: errno.EINVAL)
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(FileExistsError):
            folders.rename_exclusive("a", fd, "b", fd)
        folders.rename_exclusive("a", fd, "c", fd)
        with pytest.raises(FileNotFoundError):
            folders.rename_exclusive("a", fd, "d", fd)
        with pytest.raises(FileNotFoundError):
            folders.rename_exclusive("a", fd, "b", fd)
    finally:
        os.close(fd)
    assert working_files(tmp_path) == {"b": b"b", "c": b"a"}


# Damage and full disks


def damaged(project: Project, change: Callable[[TreeEntry], TreeEntry]) -> CheckoutPlan:
    with project.writer() as writer:
        entry = project.entry(writer, "x", b"5" * (2 * CHUNK + 5))
    return plan_restore(project.layout, project.stage, [("ok", entry), ("x", change(entry))])


def with_digest(entry: TreeEntry) -> TreeEntry:
    return TreeEntry(entry.name, entry.mode, entry.size, blake3(b"other").digest(), entry.child)


def missing_chunk(entry: TreeEntry) -> TreeEntry:
    return TreeEntry(entry.name, entry.mode, 5, entry.digest, Link(Kind.CHUNK, b"?" * 32))


def no_content(entry: TreeEntry) -> TreeEntry:
    return TreeEntry(entry.name, entry.mode, entry.size, entry.digest, None)


def wrong_link(entry: TreeEntry) -> TreeEntry:
    return TreeEntry("x", Mode.SYMLINK, 1, entry.digest, None, "a")


@pytest.mark.parametrize("change", [with_digest, missing_chunk, no_content, wrong_link])
def test_content_that_is_not_what_was_promised_reaches_no_working_file(
    project: Project, change: Callable[[TreeEntry], TreeEntry]
) -> None:
    plan = damaged(project, change)
    with pytest.raises(IntegrityError) as caught:
        project.run(plan)
    assert caught.value.untouched
    assert project.working() == {}
    assert project.stage.empty
    assert not project.layout.checkout.exists()


class Lying:
    """A reader that yields more or less content than it promises."""

    def __init__(self, project: Project, blocks: list[bytes]) -> None:
        self._reader = project.reader
        self._blocks = blocks

    def chunk_list(self, child: Link | None, size: int) -> Iterator[ManifestEntry]:
        return self._reader.chunk_list(child, size)

    def chunks(self, entries: Iterator[ManifestEntry]) -> Generator[bytes, None, None]:
        list(entries)
        yield from self._blocks


@pytest.mark.parametrize("blocks", [[b"12"], [], [b"123", b"45"], [b"1234"], [b"12", b"34"]])
def test_the_length_is_exactly_as_declared(project: Project, blocks: list[bytes]) -> None:
    with project.writer() as writer:
        entry = project.entry(writer, "x", b"123")
    plan = plan_restore(project.layout, project.stage, [("x", entry)])
    reader: Any = Lying(project, blocks)
    if blocks == [b"123", b"45"]:
        run_checkout(plan, project.layout, project.stage, reader, Intent("restore"))
        assert project.working() == {"x": b"123"}
        return
    with pytest.raises(IntegrityError):
        run_checkout(plan, project.layout, project.stage, reader, Intent("restore"))
    assert project.working() == {}


def test_a_full_disk_is_found_before_anything_is_written(
    project: Project, one: ObjectId, two: ObjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(materialise, "_RESERVE_BYTES", 1 << 60)
    with pytest.raises(StorageError, match="MiB left"):
        project.switch(one, two)
    assert project.working() == ONE


def test_what_is_written_already_needs_no_room_again(
    project: Project, one: ObjectId, two: ObjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, intent = project.plan(one, two), Intent("switch")
    number = next(number for number, write in enumerate(plan.writes) if write.path == "a")
    free = next(size for size in range(16 << 20, 1 << 30, 100) if fits(plan, project, size, monkeypatch))
    monkeypatch.setattr(materialise, "_free", lambda _: free - 1000)
    with pytest.raises(StorageError, match="MiB left"):
        run_checkout(plan, project.layout, project.stage, project.reader, intent)
    project.layout.checkout.mkdir()
    new = project.layout.checkout / str(number)
    new.write_bytes(b"2" * 2500)
    run_checkout(plan, project.layout, project.stage, project.reader, intent, written={number: new.stat()})
    assert project.working() == TWO


def fits(plan: CheckoutPlan, project: Project, free: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Tell whether a plan's files, and a million bytes besides, fit on a disk."""
    monkeypatch.setattr(materialise, "_free", lambda _: free + 1_000_000)
    return has_room(plan, project.layout, 1_000_000)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fails_while_files_are_written_changes_nothing(
    project: Project, one: ObjectId, two: ObjectId, code: int
) -> None:
    def fail(step: fsio.Step) -> None:
        if step.path.name == "3" and step.kind == "create":
            raise OSError(code, os.strerror(code))

    with fsio.observe(fail), pytest.raises(StorageError) as caught:
        project.switch(one, two)
    assert "not changed" in caught.value.untouched
    assert project.working() == ONE
    assert project.status(one).clean
    assert not project.layout.checkout.exists()
    assert recover(project.layout) is None


def test_a_disk_that_fails_while_files_are_moved_is_finished_later(
    project: Project, one: ObjectId, two: ObjectId
) -> None:
    def fail(step: fsio.Step) -> None:
        if step.path == project.root / "folder" and step.kind == "rename":
            raise OSError(errno.EIO, "disk")

    with fsio.observe(fail), pytest.raises(StorageError) as caught:
        project.switch(one, two, head="other")
    assert "next mediagit command" in caught.value.hint
    report = recover(project.layout)
    assert report is not None
    assert (report.finished, report.verb, report.left) == (True, "switch to 'other'", [])
    assert project.working() == TWO
    assert project.layout.read_head() == Head("other")
    assert project.status(two).clean


def test_a_folder_that_may_not_be_written_is_refused_first(
    project: Project, one: ObjectId, two: ObjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("/b") and real(path, mode))
    with pytest.raises(StorageError, match="'b'"):
        project.switch(one, two)
    assert project.working() == ONE


def test_a_checkout_does_not_start_over_an_interrupted_one(project: Project, one: ObjectId, two: ObjectId) -> None:
    plan = project.plan(one, two)
    project.layout.checkout.mkdir()
    with pytest.raises(RuntimeError, match="recover"):
        project.run(plan)
    assert recover(project.layout) is None
    project.run(plan)
    assert project.working() == TWO


# Restore


def restore(
    project: Project, tree: ObjectId, *paths: str, keep_stage: bool = False, remove: tuple[str, ...] = ()
) -> None:
    wanted = [(path, entry) for path, entry in tree_files(project.reader, tree) if path in paths]
    plan = plan_restore(project.layout, project.stage, wanted, remove, keep_stage=keep_stage)
    run_checkout(plan, project.layout, project.stage, project.reader, Intent("restore"))


def test_restore_overwrites_edits_of_tracked_files(project: Project, one: ObjectId, two: ObjectId) -> None:
    project.write("a", b"mine")
    (project.root / "b/c").unlink()
    project.write("same", b"mine too")
    restore(project, one, "a", "b/c")
    assert project.working() == {**ONE, "same": b"mine too"}
    assert project.layout.read_head() == Head("main")
    restore(project, two, "b/c", remove=("gone/deep/x",))
    assert project.stage.get("gone/deep/x") is None
    assert project.status(one).staged == [
        Change("b/c", ChangeKind.MODIFIED),
        Change("gone/deep/x", ChangeKind.DELETED),
    ]


def test_restore_can_leave_the_stage_alone(project: Project, one: ObjectId, two: ObjectId) -> None:
    restore(project, two, "b/c", keep_stage=True, remove=("gone/deep/x",))
    assert project.working()["b/c"] == b"new"
    report = project.status(one)
    assert (report.staged, report.modified, report.deleted) == ([], ["b/c"], ["gone/deep/x"])
    restore(project, one, "b/c", "gone/deep/x", keep_stage=True)
    assert project.status(one).clean
    assert project.working() == ONE


def test_restore_does_not_overwrite_untracked_files(project: Project, two: ObjectId) -> None:
    project.write("ü/neu", b"mine")
    with pytest.raises(WouldOverwriteError):
        restore(project, two, "ü/neu")


def test_restore_does_not_write_behind_a_link(
    project: Project, one: ObjectId, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "c").write_bytes(b"precious")
    for path in ("b/d/e", "b/c"):
        (project.root / path).unlink()
    (project.root / "b/d").rmdir()
    (project.root / "b").rmdir()
    project.write("b", LinkTo(str(outside)))
    with pytest.raises(WouldOverwriteError) as caught:
        restore(project, one, "b/c")
    assert caught.value.paths == ["b"]
    assert working_files(outside) == {"c": b"precious"}


# The ref of an intent


def test_a_ref_is_moved_before_the_journal_goes(project: Project, one: ObjectId, two: ObjectId) -> None:
    intent = Intent("pull", ref="heads/main", ref_from=b"1" * 32, ref_to=b"2" * 32)
    moved: list[Intent] = []

    def fail(_: Intent) -> None:
        raise OSError(errno.EIO, "disk")

    with pytest.raises(StorageError):
        run_checkout(project.plan(one, two), project.layout, project.stage, project.reader, intent, finish=fail)
    first = recover(project.layout)
    assert first is not None
    assert first.pending == intent
    assert project.working() == TWO
    second = recover(project.layout, moved.append)
    assert second is not None
    assert (second.pending, moved) == (None, [intent])
    assert recover(project.layout) is None
    assert project.status(two).clean


def test_a_ref_needs_someone_to_move_it(project: Project, one: ObjectId, two: ObjectId) -> None:
    with pytest.raises(ValueError, match="ref"):
        run_checkout(
            project.plan(one, two), project.layout, project.stage, project.reader, Intent("pull", ref="heads/main")
        )


# The journal


def test_long_lists_of_writes_keep_their_order() -> None:
    writes = WriteList()
    entry = TreeEntry("x", Mode.FILE, 1, b"d" * 32, Link(Kind.CHUNK, b"c" * 32))
    for number in range(1300):
        writes.append(write_of(str(number), entry, None))
    assert len(writes) == 1300
    assert [int(write.path) for write in writes] == list(range(1300))
    again = WriteList(writes.blocks())
    assert list(again) == list(writes)
    assert len(again) == 1300
    assert next(iter(again)).link() == entry.child


def test_every_flipped_byte_of_a_journal_is_found(project: Project, one: ObjectId, two: ObjectId) -> None:
    copy = project.root / "copy"

    def keep(step: fsio.Step) -> None:
        if step.kind == "rename" and step.path.name == "a":
            copy.write_bytes((project.layout.checkout / "journal").read_bytes())

    with fsio.observe(keep):
        project.switch(one, two)
    assert read_journal(copy) is not None
    whole = copy.read_bytes()
    for at in range(0, len(whole), 7):
        copy.write_bytes(whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :])
        with pytest.raises(IntegrityError):
            read_journal(copy)
    for length in (0, 5, 40, len(whole) - 1):
        copy.write_bytes(whole[:length])
        with pytest.raises(IntegrityError):
            read_journal(copy)


def test_a_damaged_journal_is_named(project: Project) -> None:
    project.layout.checkout.mkdir()
    (project.layout.checkout / "journal").write_bytes(b"?")
    with pytest.raises(IntegrityError) as caught:
        recover(project.layout)
    assert "journal" in caught.value.hint


def test_an_empty_list_is_a_plan_without_files(project: Project) -> None:
    lists = Lists([], [], [], [], [], [], keep_stage=False)
    plan = CheckoutPlan(WriteList(), lists, [], 0)
    assert not plan.changes_files
    assert project.run(plan).written == 0
