from pathlib import Path

import pytest

from mediavault.errors import ConfigError
from mediavault.workspace.ignore import IGNORE_FILE, IgnoreRules


def rules(folder: Path, /, **files: str) -> IgnoreRules:
    for name, text in files.items():
        place = folder if name == "root" else folder / name
        place.mkdir(exist_ok=True)
        (place / IGNORE_FILE).write_text(text, encoding="utf-8")
    return IgnoreRules(folder)


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("a.tmp", True),
        ("deep/down/a.tmp", True),
        ("keep.tmp", False),
        ("build/x", True),
        ("src/build/x", True),
        ("buildx", False),
        ("out.log", True),
        ("sub/out.log", False),
        ("foo#bar", False),
        ("cache/a/b/c", True),
        ("spaced name", False),
    ],
)
def test_gitignore_syntax(tmp_path: Path, path: str, ignored: bool) -> None:
    made = rules(tmp_path, root="# comment\n\n*.tmp\n!keep.tmp\nbuild/\n/out.log\n/cache/**\n")
    assert made.ignores(path) is ignored


def test_a_folder_pattern_spares_files(tmp_path: Path) -> None:
    made = rules(tmp_path, root="build/\n")
    assert not made.ignores("build")
    assert made.ignores("build", is_folder=True)


def test_the_nearest_file_decides(tmp_path: Path) -> None:
    made = rules(tmp_path, root="*.tmp\n*.log\n", sub="!*.tmp\n/only-here\n")
    assert made.ignores("a.tmp")
    assert not made.ignores("sub/a.tmp")
    assert made.ignores("sub/a.log")
    assert made.ignores("sub/only-here")
    assert not made.ignores("only-here")


def test_nothing_comes_back_from_inside_an_ignored_folder(tmp_path: Path) -> None:
    made = rules(tmp_path, root="build/\n!build/keep\n", build="!keep\n")
    assert made.ignores("build/keep")


@pytest.mark.parametrize("path", [".mediagit", ".git", "a/.git", ".mediagit/HEAD"])
def test_private_folders_are_always_ignored(tmp_path: Path, path: str) -> None:
    assert rules(tmp_path, root="!.git\n!.mediagit\n").ignores(path)


def test_the_ignore_file_itself_is_versioned(tmp_path: Path) -> None:
    assert not rules(tmp_path, root="*.tmp").ignores(IGNORE_FILE)


def test_a_bad_pattern_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.mediagitignore line 2"):
        rules(tmp_path, root="*.tmp\n!\n").ignores("x")


def test_hostile_rule_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wildcards"):
        rules(tmp_path, root="*a" * 5).ignores("x")
    with pytest.raises(ConfigError, match="wildcards"):
        rules(tmp_path, root="**/a/**/a/**/a*b*").ignores("x")
    assert not rules(tmp_path, root="**/a/**/*_v*.exr\n/*/*/*/*/*.exr\n*a*b*c*\n").ignores("x")
    with pytest.raises(ConfigError, match="1 MiB"):
        rules(tmp_path, root="x\n" * (1 << 20)).ignores("x")
    (tmp_path / IGNORE_FILE).write_bytes(b"\xff\xfe\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        IgnoreRules(tmp_path).ignores("x")


def test_a_rule_file_behind_a_link_is_not_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("*\n")
    project = tmp_path / "project"
    project.mkdir()
    (project / IGNORE_FILE).symlink_to(outside)
    assert not IgnoreRules(project).ignores("x")
    (project / IGNORE_FILE).unlink()
    (project / IGNORE_FILE).mkdir()
    assert not IgnoreRules(project).ignores("x")
