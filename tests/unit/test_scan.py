import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mediavault.model.objects import Mode
from mediavault.workspace.ignore import IgnoreRules
from mediavault.workspace.scan import Scan, ScannedFile, lstat_file
from tests.checkouts import LinkTo, Program, Project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project(tmp_path) as made:
        yield made


def test_files_come_in_the_order_of_their_paths(project: Project) -> None:
    paths = ["a.txt", "a/b", "a/z/1", "a0", "Z", "é", "a/b.x", "a/b/c"]
    paths.remove("a/b")
    for path in paths:
        project.write(path, b"")
    found, problems = project.scan()
    assert found == sorted(paths, key=str.encode)
    assert problems == []


def test_modes_sizes_and_stamps(project: Project) -> None:
    project.write("file", b"12345")
    project.write("program", Program(b"#!"))
    project.write("link", LinkTo("nowhere"))
    (project.root / "empty folder").mkdir()
    found = {file.path: file for file in Scan(project.root, project.rules)}
    assert {path: file.mode for path, file in found.items()} == {
        "file": Mode.FILE,
        "program": Mode.EXECUTABLE,
        "link": Mode.SYMLINK,
    }
    status = (project.root / "file").lstat()
    assert found["file"] == ScannedFile("file", Mode.FILE, 5, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def test_no_link_is_followed(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret").write_bytes(b"x")
    project.write("link", LinkTo(str(outside)))
    assert project.scan() == (["link"], [])
    assert project.scan("link/secret") == ([], ["link"])
    assert lstat_file(project.root, "link/secret") is None


def test_ignored_files_and_folders_are_left_out(project: Project) -> None:
    project.write(".mediagitignore", b"*.tmp\n/cache/\n")
    project.write("a.tmp", b"")
    project.write("cache/x", b"")
    project.write("sub/cache/y", b"")
    project.write(".git/config", b"")
    assert project.scan()[0] == [".mediagitignore", "sub/cache/y"]
    everything = [file.path for file in Scan(project.root, None)]
    assert everything == [".mediagitignore", "a.tmp", "cache/x", "sub/cache/y"]


def test_chosen_paths_only(project: Project) -> None:
    for path in ("a/1", "a/2", "b/1", "c", "a.x"):
        project.write(path, b"")
    assert project.scan("c", "a", "a/1", "a.x")[0] == ["a.x", "a/1", "a/2", "c"]
    assert project.scan("missing", "c/d")[0] == []


def test_a_chosen_path_that_is_ignored_is_a_problem(project: Project) -> None:
    project.write(".mediagitignore", b"*.tmp\ncache/\n")
    project.write("a.tmp", b"")
    project.write("cache/x", b"")
    assert project.scan("a.tmp", "cache/x") == ([], ["a.tmp", "cache"])


@pytest.mark.parametrize("name", ["CON", "aux.txt", "trailing.", "trailing ", "a:b", "back\\slash", "x\x01", "GIT~1"])
def test_names_that_cannot_stand_everywhere_are_problems(project: Project, name: str) -> None:
    project.write(f"sub/{name}", b"")
    project.write("fine", b"")
    found, problems = project.scan()
    assert found == ["fine"]
    assert problems == [f"sub/{name}"]
    assert project.scan(f"sub/{name}") == ([], [f"sub/{name}"])


def test_folders_with_such_names_are_problems_once(project: Project) -> None:
    project.write("nul/a", b"")
    project.write("nul/b", b"")
    project.write(".GIT/hooks", b"")
    assert project.scan() == ([], [".GIT", "nul"]) or project.scan() == ([], ["nul", ".GIT"])
    assert project.scan("nul/a") == ([], ["nul"])


def test_names_that_are_not_utf8_are_shown_escaped(project: Project) -> None:
    Path(os.fsdecode(os.fsencode(project.root) + b"/bad\xff")).write_bytes(b"")
    assert project.scan() == ([], ["bad\\xff"])


def test_special_files_are_problems(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(project.root / "pipe")
    monkeypatch.chdir(project.root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    found, problems = project.scan()
    assert found == []
    assert sorted(problems) == ["pipe", "socket"]


def test_repositories_inside_are_left_out_with_a_note(project: Project) -> None:
    project.write("inner/.mediagit/HEAD", b"ref: heads/main\n")
    project.write("inner/file", b"")
    project.write("file", b"")
    assert project.scan() == (["file"], ["inner"])


@pytest.mark.parametrize(("depth", "length"), [(130, 1), (30, 200)])
def test_paths_that_are_too_deep_or_long_are_problems(project: Project, depth: int, length: int) -> None:
    place = os.open(project.root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * length, dir_fd=place)
        below = os.open("d" * length, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    scan = Scan(project.root, IgnoreRules(project.root))
    assert list(scan) == []
    (problem,) = scan.problems
    assert problem.reason in {"lies too deep", "has a path longer than 4096 bytes"}
