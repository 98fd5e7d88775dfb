"""The Python interface: docs/api.md runs as it stands, and what it says of errors is so."""

import ast
import inspect
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mediavault import api, errors
from mediavault.errors import (
    DivergedError,
    NotAllowedError,
    NotARepositoryError,
    NotFoundError,
    RepositoryBusyError,
    UsageError,
    WouldOverwriteError,
)
from mediavault.workspace.layout import Layout
from mediavault_backends.fsio import FileLock

DOCUMENT = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")


def test_the_examples_run_one_after_another(
    tmp_path: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"SERVER": serve()}
    examples = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert len(examples) >= 7
    for example in examples:
        exec(compile(example, "docs/api.md", "exec"), names)
    assert (tmp_path / "copy.raw").read_bytes() == bytes(3_000_000)


def test_every_method_is_shown_and_every_error_is_in_the_table() -> None:
    methods = {name for name, _ in inspect.getmembers(api.Project, callable) if not name.startswith("_")}
    functions = {name for name in api.__all__ if name != "Project"}
    used = {
        node.attr
        for example in re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.Attribute)
    }
    assert methods | functions <= used
    listed = set(re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE))
    tree = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    # FormatError is an IntegrityError by the time anyone sees it.
    assert listed == tree - {"MediaVaultError", "FormatError"}


@pytest.fixture
def film(tmp_path: Path) -> api.Project:
    api.init(tmp_path / "film", encrypted=False)
    film = api.open_project(tmp_path / "film")
    (film.root / "a.txt").write_text("one")
    (film.root / "folder").mkdir()
    (film.root / "folder/b.txt").write_text("b")
    film.add()
    film.commit("One")
    return film


def test_it_opens_from_inside_and_not_outside(film: api.Project, tmp_path: Path) -> None:
    assert api.open_project(film.root / "folder").root == film.root
    assert repr(film) == f"Project({str(film.root)!r})"
    with pytest.raises(NotARepositoryError):
        api.open_project(tmp_path)
    with pytest.raises(UsageError):
        api.init(film.root, encrypted=False)


def test_a_passphrase_that_is_missing_or_wrong_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    with pytest.raises(NotAllowedError, match="none was given"):
        api.init(tmp_path / "film")
    assert not (tmp_path / "film").exists()
    home, other = ({"MEDIAGIT_HOME": str(tmp_path / name)} for name in ("home", "other"))
    made = api.init(tmp_path / "film", passphrase="clear as day", environ=home)
    assert made.recovery_code
    assert api.open_project(tmp_path / "film", environ=home).status().branch == "main"
    with pytest.raises(NotAllowedError, match="none was given"):
        api.open_project(tmp_path / "film", environ=other).status()
    with pytest.raises(NotAllowedError):
        api.open_project(tmp_path / "film", environ=other, passphrase="dark as night").status()
    unlocked = api.open_project(tmp_path / "film", environ=other, passphrase="clear as day")
    assert unlocked.status().commit is None


def test_paths_are_relative_to_the_root_or_absolute_and_never_outside(film: api.Project, tmp_path: Path) -> None:
    (film.root / "c.txt").write_text("c")
    (tmp_path / "outside").write_text("o")
    assert film.add(film.root / "c.txt").added == ["c.txt"]
    with pytest.raises(UsageError):
        film.add(tmp_path / "outside")
    with pytest.raises(NotFoundError):
        film.read("nothing")
    with pytest.raises(UsageError, match="is a folder"):
        film.read("folder")
    assert b"".join(film.read("folder/b.txt")) == b"b"


def test_uncommitted_work_is_never_overwritten(film: api.Project) -> None:
    film.switch("grade", create=True)
    (film.root / "a.txt").write_text("graded")
    film.add()
    film.commit("Graded")
    film.switch("main")
    (film.root / "a.txt").write_text("work")
    with pytest.raises(WouldOverwriteError) as caught:
        film.switch("grade")
    assert caught.value.paths == ["a.txt"]
    assert (film.root / "a.txt").read_text() == "work"


def test_it_waits_for_nobody_for_long(film: api.Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediavault.ops.repository.LOCK_SECONDS", 0.01)
    with FileLock(Layout(film.root).lock_file).held():
        with pytest.raises(RepositoryBusyError):
            film.add()
        assert film.status().branch == "main"


def test_histories_that_went_different_ways_are_told(film: api.Project, serve: Callable[..., str]) -> None:
    url = f"{serve()}/studio/film"
    film.add_remote("origin", url)
    film.push("origin", "main", follow=True)
    copy = api.clone(url, film.root.parent / "copy", encrypted=False)
    for one, text in ((film, "mine"), (copy, "theirs")):
        (one.root / "a.txt").write_text(text)
        one.add()
        one.commit(text)
    copy.push()
    with pytest.raises(DivergedError):
        film.push()
    with pytest.raises(DivergedError):
        film.pull()
    assert (film.root / "a.txt").read_text() == "mine"
    with pytest.raises(UsageError):
        film.add_remote("other", "not an address")


def test_one_object_serves_several_threads(film: api.Project) -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(b"".join(film.read("a.txt")) + bytes(film.verify().ok)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b"one" + bytes(1)] * 4


def test_remarks_are_handed_on(film: api.Project) -> None:
    heard: list[str] = []
    Layout(film.root).stage_file.write_bytes(b"no database at all, and long enough to be looked at" * 99)
    assert api.open_project(film.root, remark=heard.append).status().changes.modified == []
    assert "staging index" in heard[0]
