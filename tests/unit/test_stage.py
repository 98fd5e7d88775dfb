import sqlite3
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.errors import RepositoryBusyError, UnsupportedFormatError
from mediavault.model.ids import Kind, Link
from mediavault.model.objects import Mode
from mediavault.workspace.collisions import Collision, find_collisions
from mediavault.workspace.scan import ScannedFile, scanned
from mediavault.workspace.stage import (
    SLACK_NS,
    Stage,
    StageDamagedError,
    StageRow,
    row_of,
    trusted,
)

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND


def row(path: str, *, digest: bytes = b"d" * 32, child: Link | None = None) -> StageRow:
    return StageRow(path, Mode.FILE, 5, digest, child or Link(Kind.CHUNK, b"c" * 32), "", 1, 2, 3, 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


def test_rows_survive_being_closed(path: Path) -> None:
    rows = [
        row("a"),
        row("b/c", child=Link(Kind.MANIFEST, b"m" * 32)),
        StageRow("e", Mode.EXECUTABLE, 0, b"0" * 32, None),
        StageRow("l", Mode.SYMLINK, 3, b"t" * 32, None, "b/c"),
    ]
    with Stage(path) as stage:
        assert stage.empty
        stage.put_many(rows)
    with Stage(path) as stage:
        assert list(stage.all()) == rows
        assert stage.get("b/c") == rows[1]
        assert stage.get("b") is None
        assert stage.count() == 4
        assert not stage.empty


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=4)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@given(st.sets(PATHS, max_size=30))
def test_rows_come_in_byte_order_and_by_folder(paths: set[str]) -> None:
    with Stage(Path(":memory:")) as stage:
        stage.put_many(row(path) for path in paths)
        assert [row.path for row in stage.all()] == sorted(paths, key=str.encode)
        for folder in {"", *(path.rpartition("/")[0] for path in paths)}:
            inside = {path for path in paths if not folder or path.startswith(folder + "/")}
            prefix = f"{folder}/" if folder else ""
            names = {path[len(prefix) :] for path in inside}
            found = stage.children(folder)
            assert set(found.rows) == {name for name in names if "/" not in name}
            assert found.folders == sorted({name.split("/")[0] for name in names if "/" in name}, key=lambda n: n + "/")
            under = inside | ({folder} & paths)
            assert [row.path for row in stage.under(folder)] == sorted(under, key=str.encode)


def test_putting_replaces_and_removing_removes(path: Path) -> None:
    with Stage(path) as stage:
        stage.put_many([row("a"), row("b")])
        stage.put(row("a", digest=b"n" * 32))
        stage.remove("b")
        stage.remove("never there")
        assert [(row.path, row.digest) for row in stage.all()] == [("a", b"n" * 32)]
        stage.replace_all([row("z")])
        assert [row.path for row in stage.all()] == ["z"]


def test_trees_are_forgotten_above_what_changes(path: Path) -> None:
    with Stage(path) as stage:
        stage.put_many([row("a/b/c"), row("a/d"), row("e/f")])
        trees = {"": b"0" * 32, "a": b"1" * 32, "a/b": b"2" * 32, "e": b"3" * 32}
        stage.remember_trees(trees.items())
        assert stage.cached_trees() == trees
        stage.refresh_many([row("a/b/c")])
        assert stage.cached_trees() == trees
        stage.put(row("a/d"))
        assert stage.cached_trees() == {"a/b": b"2" * 32, "e": b"3" * 32}
        assert stage.cached_tree("e") == b"3" * 32
        assert stage.cached_tree("a") is None
        stage.remove_many(["e/f", "a/b/c"])
        assert stage.cached_trees() == {}


def test_a_transaction_is_all_or_nothing(path: Path) -> None:
    with Stage(path) as stage:
        stage.put(row("a"))

        def change_and_fail() -> None:
            with stage.transaction():
                stage.remove("a")
                stage.put(row("b"))
                raise RuntimeError

        with pytest.raises(RuntimeError):
            change_and_fail()
        assert [row.path for row in stage.all()] == ["a"]


def test_refreshing_spares_rows_whose_content_changed(path: Path) -> None:
    with Stage(path) as stage:
        stage.put(row("a", digest=b"n" * 32))
        stage.refresh_many([StageRow("a", Mode.FILE, 5, b"o" * 32, None, "", 9, 9, 9, 9)])
        assert stage.get("a") == row("a", digest=b"n" * 32)
        stage.refresh_many([StageRow("a", Mode.FILE, 5, b"n" * 32, None, "", 9, 9, 9, 9)])
        found = stage.get("a")
        assert found is not None
        assert (found.mtime_ns, found.child) == (9, Link(Kind.CHUNK, b"c" * 32))


@pytest.mark.parametrize("content", [b"not a database" * 400, b"SQLite format 3\0" + bytes(4096)])
def test_a_file_that_is_no_stage_is_damaged(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StageDamagedError):
        Stage(path)


def test_every_cut_of_the_file_is_found_or_harmless(path: Path) -> None:
    rows = [row(f"{number:04}") for number in range(200)]
    with Stage(path) as stage:
        stage.put_many(rows)
    whole = path.read_bytes()
    found = 0
    for length in range(100, len(whole), len(whole) // 23):
        path.write_bytes(whole[:length])
        try:
            with Stage(path) as stage:
                assert list(stage.all()) == rows
        except StageDamagedError:
            found += 1
    assert found > 10


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE rows SET mode = 4",
        "UPDATE rows SET digest = x'00'",
        "UPDATE rows SET child_kind = 3",
        "UPDATE rows SET child_id = x'00'",
        "DROP TABLE rows",
    ],
)
def test_rows_that_make_no_sense_are_damage(path: Path, change: str) -> None:
    with Stage(path) as stage:
        stage.put(row("a"))
        stage._db.execute(change)
        with pytest.raises(StageDamagedError):
            list(stage.all())


def test_a_newer_version_is_refused(path: Path) -> None:
    Stage(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(UnsupportedFormatError):
        Stage(path)


def test_a_locked_stage_says_that_another_command_works(path: Path) -> None:
    with Stage(path) as stage, Stage(path) as other:
        stage._db.execute("PRAGMA busy_timeout = 10")
        with other.transaction():
            other.put(row("a"))
            with pytest.raises(RepositoryBusyError):
                stage.put(row("b"))
        stage.put(row("b"))
        assert other.count() == 2


def test_two_that_make_the_stage_at_once_agree(path: Path) -> None:
    failures: list[Exception] = []

    def make(name: str) -> None:
        try:
            with Stage(path) as stage:
                stage.put(row(name))
        except Exception as error:  # noqa: BLE001 - a thread's error must reach the test
            failures.append(error)

    threads = [threading.Thread(target=make, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with Stage(path) as stage:
        assert stage.count() == 6


def stamped(**changes: int | Mode) -> tuple[StageRow, ScannedFile]:
    file = ScannedFile("a", Mode.FILE, 5, NOW - SECOND, NOW - SECOND, 7)
    values = {
        name: changes.get(name, getattr(file, name)) for name in ("mode", "size", "mtime_ns", "ctime_ns", "inode")
    }
    now = ScannedFile("a", **values)
    return row_of(file, b"d" * 32, None, "", NOW), now


def test_an_old_equal_stamp_is_trusted() -> None:
    assert trusted(*stamped())


@pytest.mark.parametrize(
    "change", [{"size": 6}, {"mtime_ns": NOW}, {"ctime_ns": NOW}, {"inode": 8}, {"mode": Mode.EXECUTABLE}]
)
def test_any_difference_in_the_stamp_breaks_trust(change: dict[str, int]) -> None:
    assert not trusted(*stamped(**change))


@pytest.mark.parametrize(
    ("mtime", "ctime", "expected"),
    [
        (NOW - SLACK_NS - 1, NOW - SLACK_NS - 1, True),
        (NOW - SLACK_NS, NOW - SECOND, False),
        (NOW - SECOND, NOW - SLACK_NS, False),
        (NOW, NOW, False),
        (NOW - SECOND, NOW + SECOND, False),
        (NOW + SECOND, NOW - SECOND, False),
        (NOW + 3600 * SECOND, NOW - SECOND, True),
    ],
)
def test_a_stamp_as_young_as_the_check_is_not_trusted(mtime: int, ctime: int, expected: bool) -> None:
    file = ScannedFile("a", Mode.FILE, 5, mtime, ctime, 7)
    assert trusted(row_of(file, b"d" * 32, None, "", NOW), file) is expected


def test_rows_without_a_check_are_never_trusted() -> None:
    file = ScannedFile("a", Mode.FILE, 5, 0, 0, 0)
    assert not trusted(StageRow("a", Mode.FILE, 5, b"d" * 32, None), file)


def test_large_inode_numbers_fit(path: Path) -> None:
    status = SimpleNamespace(st_mode=0o100644, st_ino=(1 << 64) - 1, st_size=5, st_mtime_ns=1, st_ctime_ns=1)
    file = scanned("a", cast("Any", status))
    assert file is not None
    with Stage(path) as stage:
        stage.put(row_of(file, b"d" * 32, None, "", NOW))
        found = stage.get("a")
        assert found is not None
        assert found.inode == file.inode


def test_collisions_with_what_is_staged_and_with_each_other() -> None:
    with Stage(Path(":memory:")) as stage:
        stage.put_many([row("Readme"), row("dir/a"), row("file")])
        assert find_collisions(stage, ["new", "dir/b", "Readme"]) == []
        assert find_collisions(stage, ["README"]) == [Collision("README", "Readme")]
        assert find_collisions(stage, ["Dir/x"]) == [Collision("Dir", "dir")]
        assert find_collisions(stage, ["x/\u00e9", "x/e\u0301"]) == [Collision("x/e\u0301", "x/\u00e9")]
        assert find_collisions(stage, ["stra\u00dfe", "STRASSE"]) == [Collision("STRASSE", "stra\u00dfe")]
        assert find_collisions(stage, ["file/below"]) == [Collision("file", "file")]
        assert find_collisions(stage, ["dir"]) == [Collision("dir", "dir")]
