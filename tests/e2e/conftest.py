"""Projects and a server's storage that are made once, and copies of them for tests that break things."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from blake3 import blake3

from tests.bad_input import with_remote
from tests.film import Film
from tests.prepared import MIB, copy_of, environment_of, run_installed, running_server
from tests.snapshot import Snapshot, snapshot


@dataclass(frozen=True)
class Made:
    """Projects that are made once; tests work on copies.

    `encrypted` has two commits, its main branch is pushed to `storage`; `empty` is the same repository without
    commits. `plain` is a repository without encryption and one commit. `tree` is what the last commits hold.
    """

    home: Path
    encrypted: Path
    empty: Path
    plain: Path
    storage: Path
    tree: Snapshot


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Make the projects."""
    root = tmp_path_factory.mktemp("made")
    home, encrypted, plain, storage = (root / name for name in ("home", "encrypted", "plain", "srv"))
    env = environment_of(home)
    for project, flags in ((encrypted, ()), (plain, ("--no-encryption",))):
        project.mkdir()
        run_installed("init", *flags, cwd=project, env=env)
    shutil.copytree(encrypted, root / "empty")
    fill(encrypted, "first")
    run_installed("add", ".", cwd=encrypted, env=env)
    run_installed("commit", "-m", "First", cwd=encrypted, env=env)
    for project in (encrypted, plain):
        fill(project, "second")
        run_installed("add", ".", cwd=project, env=env)
        run_installed("commit", "-m", "Second", cwd=project, env=env)
    with running_server(storage, env) as url:
        run_installed("push", "-u", "origin", "main", cwd=with_remote(encrypted, url), env=env)
    return Made(home, encrypted, root / "empty", plain, storage, snapshot(plain))


def fill(project: Path, what: str) -> None:
    """Write a few files, one of several chunks; nothing of it compresses much or repeats."""
    (project / "shots").mkdir(exist_ok=True)
    (project / "rushes.mov").write_bytes(blake3(what.encode()).digest(MIB + MIB // 2))
    (project / "shots/notes.txt").write_text(f"{what} {what[::-1]}\n" * 400)
    (project / "shots/empty").touch()
    if not (project / "latest").is_symlink():
        (project / "latest").symlink_to("rushes.mov")


@pytest.fixture
def ann(made: Made, own_user: Path) -> Made:
    """Let the test's user be the one who made the projects, and has them unlocked."""
    shutil.copytree(made.home, own_user, dirs_exist_ok=True)
    return made


@pytest.fixture
def film(ann: Made, tmp_path: Path) -> Film:
    """Give a copy of the encrypted project."""
    return Film(copy_of(ann.encrypted, tmp_path / "film"))


@pytest.fixture
def plain(ann: Made, tmp_path: Path) -> Film:
    """Give a copy of the project without encryption."""
    return Film(copy_of(ann.plain, tmp_path / "plain"))


@pytest.fixture
def storage(ann: Made, tmp_path: Path) -> Path:
    """Give a copy of the server's storage."""
    return copy_of(ann.storage, tmp_path / "srv")


@pytest.fixture
def empty(ann: Made, tmp_path: Path) -> Film:
    """Give a copy of the encrypted repository before its first commit."""
    return Film(copy_of(ann.empty, tmp_path / "empty"))
