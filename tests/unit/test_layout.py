import os
from pathlib import Path

import pytest

from mediavault.errors import IntegrityError, NotARepositoryError, UsageError
from mediavault.workspace.layout import Head, Layout, decode_head, encode_head, find_root
from mediavault.workspace.paths import (
    folders_above,
    is_under,
    repository_path,
    shown,
    without_nested,
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path.resolve())
    layout.create()
    layout.write_head(branch="main")
    return layout


def test_a_repository_is_found_from_a_folder_inside_it(layout: Layout) -> None:
    inside = layout.root / "a" / "b"
    inside.mkdir(parents=True)
    assert find_root(inside) == layout.root
    assert Layout.find(inside) == layout


def test_no_repository_is_an_error_that_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotARepositoryError) as caught:
        find_root(tmp_path)
    assert "mediagit init" in caught.value.hint


def test_a_private_folder_without_head_or_behind_a_link_is_no_repository(layout: Layout, tmp_path: Path) -> None:
    half = tmp_path / "half"
    (half / ".mediagit").mkdir(parents=True)
    assert find_root(half) == layout.root
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / ".mediagit").symlink_to(layout.folder)
    assert find_root(linked) == layout.root


def test_creating_twice_is_refused(layout: Layout) -> None:
    with pytest.raises(UsageError):
        layout.create()


@pytest.mark.parametrize("head", [Head("main"), Head("a/b"), Head(None, bytes(range(32)))])
def test_head_round_trips(layout: Layout, head: Head) -> None:
    layout.write_head(branch=head.branch, commit=head.commit)
    assert layout.read_head() == head
    assert decode_head(encode_head(head)) == head


@pytest.mark.parametrize("data", [b"", b"ref: heads/", b"ref: tags/x\n", b"abcd\n", b"\xff\xfe", b"zz" * 32])
def test_a_damaged_head_is_an_integrity_error(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode_head(data)


def test_head_is_a_branch_or_a_commit(layout: Layout) -> None:
    with pytest.raises(ValueError, match="a branch or a commit"):
        layout.write_head()


def test_the_clock_is_the_file_systems(layout: Layout) -> None:
    before = layout.clock_ns()
    (layout.root / "x").write_bytes(b"")
    assert before <= (layout.root / "x").stat().st_mtime_ns <= layout.clock_ns()


def test_without_a_writable_folder_the_clock_proves_nothing(layout: Layout) -> None:
    layout.clock.mkdir()
    assert layout.clock_ns() == 0


def test_arguments_become_paths_of_the_tree(layout: Layout) -> None:
    root = layout.root
    (root / "sub").mkdir()
    assert repository_path(root, root / "sub", "x.png") == "sub/x.png"
    assert repository_path(root, root / "sub", "../x.png") == "x.png"
    assert repository_path(root, root, ".") == ""
    assert repository_path(root, root, str(root / "a" / "b")) == "a/b"


def test_a_link_is_named_and_not_followed(layout: Layout) -> None:
    (layout.root / "link").symlink_to("/etc")
    assert repository_path(layout.root, layout.root, "link") == "link"


def test_a_root_named_through_a_link_is_understood(layout: Layout, tmp_path: Path) -> None:
    alias = tmp_path / "alias"
    alias.symlink_to(layout.root, target_is_directory=True)
    assert repository_path(layout.root, layout.root, f"{alias}/x") == "alias/x"
    outside = tmp_path.parent / f"{tmp_path.name}-alias"
    outside.symlink_to(layout.root, target_is_directory=True)
    assert repository_path(layout.root, layout.root, f"{outside}/x") == "x"
    assert repository_path(layout.root, layout.root, str(outside)) == ""


@pytest.mark.parametrize("argument", ["..", "../other", "/etc/passwd", ".mediagit", ".mediagit/HEAD", "a/../.mediagit"])
def test_arguments_outside_or_in_the_private_folder_are_refused(layout: Layout, argument: str) -> None:
    with pytest.raises(UsageError):
        repository_path(layout.root, layout.root, argument)


def test_folders_and_nesting() -> None:
    assert folders_above("a/b/c") == ["a/b", "a", ""]
    assert folders_above("a") == [""]
    assert is_under("a/b", "a")
    assert is_under("a", "a")
    assert is_under("a", "")
    assert not is_under("ab", "a")
    assert without_nested(["b", "a/x", "a", "a.x", "b"]) == ["a.x", "a", "b"]
    assert without_nested(["a", ""]) == [""]


def test_undecodable_names_can_be_shown() -> None:
    assert shown(os.fsdecode(b"a\xff")) == "a\\xff"
