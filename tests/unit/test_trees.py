from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mediavault.model.ids import ObjectId
from mediavault.model.objects import TreeEntry
from mediavault.workspace.stage import row_of_entry
from mediavault.workspace.trees import build_tree, find_entry, tree_files, tree_rows
from tests.checkouts import Files, LinkTo, Program, Project

FILES: Files = {
    "a": b"1" * 2500,
    "a.txt": b"",
    "b/c": b"x",
    "b/d/e": Program(b"#!"),
    "b-c": b"y",
    "z/l": LinkTo("../a"),
}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project(tmp_path) as made:
        yield made


def stage_tree(project: Project, files: Files) -> ObjectId:
    tree = project.tree(files)
    project.stage.replace_all(tree_rows(project.reader, tree))
    return tree


def test_rows_of_a_tree_build_that_tree(project: Project) -> None:
    tree = stage_tree(project, FILES)
    assert [row.path for row in project.stage.all()] == sorted(FILES)
    assert project.built() == tree


def test_nothing_staged_is_the_empty_tree(project: Project) -> None:
    assert project.built() == project.tree({})
    assert list(tree_rows(project.reader, None)) == []


def test_files_come_in_path_order(project: Project) -> None:
    paths = [path for path, _ in tree_files(project.reader, project.tree(FILES))]
    assert paths == sorted(FILES) == ["a", "a.txt", "b-c", "b/c", "b/d/e", "z/l"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.sets(st.lists(st.sampled_from(["a", "b", "b.x", "é"]), min_size=1, max_size=4).map("/".join), max_size=12))
def test_any_set_of_paths_round_trips(tmp_path_factory: pytest.TempPathFactory, paths: set[str]) -> None:
    files: Files = {path: path.encode() for path in paths if not any(other.startswith(path + "/") for other in paths)}
    with Project(tmp_path_factory.mktemp("p")) as project:
        tree = stage_tree(project, files)
        assert dict(sizes(project, tree)) == {path: len(content) for path, content in files.items()}
        assert project.built() == tree


def sizes(project: Project, tree: ObjectId) -> Iterable[tuple[str, int]]:
    return ((row.path, row.size) for row in tree_rows(project.reader, tree))


class Counting:
    """Counts the folders that are written."""

    def __init__(self, project: Project) -> None:
        self.written = 0
        self._project = project

    def __call__(self, entries: Iterable[TreeEntry]) -> ObjectId:
        self.written += 1
        with self._project.writer() as writer:
            return self._project.nodes(writer).tree(entries)


def test_only_folders_that_changed_are_built_again(project: Project) -> None:
    stage_tree(project, FILES)
    project.built()
    counting = Counting(project)
    assert build_tree(project.stage, counting, project.frames.has).folders == []
    assert counting.written == 0
    row = project.stage.get("b/c")
    assert row is not None
    project.stage.put(row_of_entry("b/new", row.entry()))
    built = build_tree(project.stage, counting, project.frames.has)
    assert [folder for folder, _ in built.folders] == ["b", ""]
    assert counting.written == 2
    assert built.root == project.tree({**FILES, "b/new": b"x"})


def test_a_remembered_tree_that_is_gone_is_built_again(project: Project) -> None:
    tree = stage_tree(project, FILES)
    project.stage.remember_trees([("", b"?" * 32), ("b", b"!" * 32)])
    assert project.built() == tree


def test_entries_are_found_by_path(project: Project) -> None:
    tree = project.tree(FILES)
    found = find_entry(project.reader, tree, "b/d/e")
    assert found is not None
    assert found.name == "e"
    assert find_entry(project.reader, tree, "b/d") is not None
    assert find_entry(project.reader, tree, "b/d/x") is None
    assert find_entry(project.reader, tree, "a/x") is None
    assert find_entry(project.reader, tree, "") is None
