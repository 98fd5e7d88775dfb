"""Which commits changed a path, and one file through its renames."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mediavault.history import follow
from mediavault.history.follow import Follower, Step
from mediavault.history.paths import PathChanges
from mediavault.history.walk import walk
from mediavault.model.ids import ObjectId
from mediavault.model.objects import TreeEntry
from tests.checkouts import CHUNK, Files, LinkTo, Program, Project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project(tmp_path) as made:
        yield made


def blocks(*names: str) -> bytes:
    """Return content of one chunk for each name."""
    return b"".join(name.encode().ljust(CHUNK, b".") for name in names)


def grown(project: Project, *states: Files) -> list[ObjectId]:
    """Commit states one after another."""
    commits: list[ObjectId] = []
    for number, files in enumerate(states):
        commits.append(project.commit(project.tree(files), *commits[-1:], message=str(number)))
    return commits


def changed(project: Project, tip: ObjectId, *paths: str) -> str:
    """Return the messages of the commits that changed paths, oldest first."""
    changes = PathChanges(project.reader, paths)
    found = [commit.message for _, commit in walk(project.reader, [tip]) if changes(commit)]
    return " ".join(reversed(found))


def followed(project: Project, tip: ObjectId, path: str) -> list[tuple[str, Step]]:
    """Return messages and steps, newest first."""
    follower = Follower(project.reader, path, [tip])
    steps = [(commit.message, follower(oid, commit)) for oid, commit in walk(project.reader, [tip])]
    return [(message, step) for message, step in steps if step is not None]


def test_files_and_folders(project: Project) -> None:
    *_, tip = grown(
        project,
        {"a": b"1", "d/e/x": b"1"},
        {"a": b"2", "d/e/x": b"1"},
        {"a": b"2", "d/e/x": b"2"},
        {"a": b"2", "d/e/x": b"2", "d/y": b"1"},
        {"a": b"2", "d/y": b"1"},
        {"a": Program(b"2"), "d/y": b"1"},
        {"a": Program(b"2"), "d": b"now a file"},
        {"a": Program(b"2"), "d": b"now a file"},
    )
    assert changed(project, tip, "a") == "0 1 5"
    assert changed(project, tip, "d") == "0 2 3 4 6"
    assert changed(project, tip, "d/e") == changed(project, tip, "d/e/x") == "0 2 4"
    assert changed(project, tip, "d/y") == "3 6"
    assert changed(project, tip, "a", "d/y") == "0 1 3 5 6"
    assert changed(project, tip, "") == "0 1 2 3 4 5 6"
    assert changed(project, tip, "gone", "a/b") == ""


def test_a_merge_is_listed_only_where_it_differs_from_all_parents(project: Project) -> None:
    base = project.commit(project.tree({"a": b"0", "b": b"0"}), message="base")
    one = project.commit(project.tree({"a": b"1", "b": b"0"}), base, message="one")
    two = project.commit(project.tree({"a": b"0", "b": b"2"}), base, message="two")
    clean = project.commit(project.tree({"a": b"1", "b": b"2"}), one, two, message="clean")
    mixed = project.commit(project.tree({"a": b"m", "b": b"2"}), one, two, message="mixed")
    assert set(changed(project, clean, "a").split()) == {"base", "one"}
    assert set(changed(project, clean, "b").split()) == {"base", "two"}
    assert set(changed(project, clean, "a", "b").split()) == {"base", "one", "two", "clean"}
    assert set(changed(project, mixed, "a").split()) == {"base", "one", "mixed"}


def test_equal_folders_are_not_opened(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = grown(project, *({"d/e/x": b"1", "n": str(number).encode()} for number in range(5)))
    read: list[str] = []
    original = project.reader.tree_entry

    def counted(root: ObjectId, path: str) -> TreeEntry | None:
        read.append(path)
        return original(root, path)

    monkeypatch.setattr(project.reader, "tree_entry", counted)
    assert changed(project, commits[-1], "d/e/x") == "0"
    assert read.count("d") == 5  # once in each root; what is below it is equal, until the first commit is looked at
    assert read.count("x") == 1


def test_a_renamed_file_is_followed_to_where_it_began(project: Project) -> None:
    *_, tip = grown(
        project,
        {"a.mov": blocks("1", "2"), "other": b"x"},
        {"a.mov": blocks("1", "3"), "other": b"x"},
        {"shots/b.mov": blocks("1", "3"), "other": b"x"},
        {"shots/b.mov": blocks("1", "3"), "other": b"y"},
        {"shots/b.mov": blocks("4", "3"), "other": b"y"},
        {"shots/c.mov": blocks("4", "3", "5"), "other": b"y"},  # renamed and edited at once
    )
    assert followed(project, tip, "shots/c.mov") == [
        ("5", Step("shots/c.mov", "shots/b.mov")),
        ("4", Step("shots/b.mov")),
        ("2", Step("shots/b.mov", "a.mov")),
        ("1", Step("a.mov")),
        ("0", Step("a.mov")),
    ]
    assert [message for message, _ in followed(project, tip, "other")] == ["3", "0"]


def test_half_of_the_larger_file_must_be_in_both(project: Project) -> None:
    *_, tip = grown(project, {"a": blocks("1", "2", "3", "4")}, {"b": blocks("1", "2", "5", "6")})
    assert followed(project, tip, "b") == [("1", Step("b", "a")), ("0", Step("a"))]
    *_, tip = grown(project, {"a": blocks("1", "2", "3", "4")}, {"b": blocks("1", "5", "6", "7")})
    assert followed(project, tip, "b") == [("1", Step("b"))]
    *_, tip = grown(project, {"a": blocks("1", "2")}, {"b": blocks("1", "2", "3", "4", "5")})
    assert followed(project, tip, "b") == [("1", Step("b"))]


def test_the_closest_file_that_went_is_where_it_came_from(project: Project) -> None:
    old = {"far": blocks("1", "2", "8", "9"), "near": blocks("1", "2", "3", "9"), "kept": blocks("1", "2", "3", "4")}
    *_, tip = grown(project, old, {"new": blocks("1", "2", "3", "5"), "kept": old["kept"]})
    assert followed(project, tip, "new")[0][1] == Step("new", "near")
    same = {"x/take.mov": blocks("1"), "a": blocks("1")}
    *_, tip = grown(project, same, {"y/take.mov": blocks("1")})
    assert followed(project, tip, "y/take.mov")[0][1] == Step("y/take.mov", "x/take.mov")


def test_links_and_empty_files_are_not_followed(project: Project) -> None:
    *_, tip = grown(project, {"a": b"", "l": LinkTo("x")}, {"b": b"", "m": LinkTo("x")})
    assert followed(project, tip, "b") == [("1", Step("b"))]
    assert followed(project, tip, "m") == [("1", Step("m"))]


def test_a_commit_that_deleted_very_many_files_is_searched_for_equal_content_only(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "_MOST_COMPARED", 1)
    old = {"a": blocks("1", "2"), "b": blocks("3", "4")}
    *_, tip = grown(project, old, {"c": blocks("1", "9")})
    assert followed(project, tip, "c") == [("1", Step("c"))]
    *_, tip = grown(project, old, {"c": blocks("1", "2")})
    assert followed(project, tip, "c") == [("1", Step("c", "a")), ("0", Step("a"))]


def test_each_side_of_a_merge_may_have_had_another_name(project: Project) -> None:
    base = project.commit(project.tree({"a": blocks("1", "2")}), message="base")
    renamed = project.commit(project.tree({"b": blocks("1", "2")}), base, message="renamed")
    edited = project.commit(project.tree({"a": blocks("1", "3")}), base, message="edited")
    merge = project.commit(project.tree({"b": blocks("1", "3")}), renamed, edited, message="merge")
    found = dict(followed(project, merge, "b"))
    assert found == {
        "merge": Step("b", "a"),
        "renamed": Step("b", "a"),
        "edited": Step("a"),
        "base": Step("a"),
    }


def test_a_file_that_was_deleted_can_be_followed_by_its_last_name(project: Project) -> None:
    *_, tip = grown(project, {"a": b"1"}, {"b": b"1"}, {}, {"x": b""})
    assert followed(project, tip, "b") == [("2", Step("b")), ("1", Step("b", "a")), ("0", Step("a"))]
    assert followed(project, tip, "never") == []
