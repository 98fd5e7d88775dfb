"""The database that keeps refs, beyond the contract: addresses, what its errors mean, several processes, no secrets."""

import multiprocessing
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import exc

from mediavault_backends.api import Absent, FileSource, Matches
from mediavault_backends.errors import (
    AccessDeniedError,
    BackendError,
    BackendSetupError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StorageFullError,
    TransientError,
)
from mediavault_backends.sql import MAX_OBJECT, SqlBackend


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/refs.db"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "not the address of a database"),
        ("refs.db", "not the address of a database"),
        ("sqlite://", "absolute path"),
        ("sqlite:///refs.db", "absolute path"),
        ("mysql://host/db", "'mysql'"),
        ("sqlite+aiosqlite:////tmp/x", "sqlite\\+aiosqlite"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, words: str) -> None:
    with pytest.raises(BackendSetupError, match=words) as caught:
        SqlBackend(url)
    assert "sqlite:////" in str(caught.value)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackendSetupError, match="unable to open database file"):
        SqlBackend(f"sqlite:///{tmp_path}/none/refs.db")


def test_no_password_shows(tmp_path: Path) -> None:
    del tmp_path
    with pytest.raises(BackendError) as caught:
        SqlBackend("postgresql://studio:hush-hush@127.0.0.1:1/refs")
    assert isinstance(caught.value, TransientError)
    assert "hush" not in str(caught.value) + repr(caught.value.__cause__)
    assert "studio:***@127.0.0.1" in str(caught.value)


def test_a_body_that_is_no_small_object_is_refused(url: str, tmp_path: Path) -> None:
    store = SqlBackend(url)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MAX_OBJECT + 1)
    with pytest.raises(BackendSetupError, match="larger than the 16777216 bytes"):
        store.put("refs/a", FileSource(large, MAX_OBJECT + 1), when=Absent())
    assert list(store.scan()) == []


def test_what_is_put_is_durable_for_the_next_process(url: str) -> None:
    version = SqlBackend(url).put("refs/a", b"1", when=Absent())
    again = SqlBackend(url)
    assert again.get("refs/a").version == version
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def _increment(url: str, times: int) -> None:
    store = SqlBackend(url)
    for _ in range(times):
        while True:
            blob = store.get("counter")
            try:
                store.put("counter", b"%d" % (int(blob.data) + 1), when=Matches(blob.version))
            except PreconditionFailedError:
                continue
            break


def test_processes_that_share_a_file_lose_nothing(url: str) -> None:
    SqlBackend(url).put("counter", b"0", when=Absent())
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_increment, args=(url, 25)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert SqlBackend(url).get("counter").data == b"75"


def test_of_a_thousand_races_each_has_one_winner(url: str) -> None:
    store = SqlBackend(url)
    wins = list[int]()
    barrier = threading.Barrier(4)

    def run(number: int) -> None:
        for race in range(1000):
            barrier.wait()
            try:
                store.put(f"refs/{race:04}", b"%d" % number, when=Absent())
            except PreconditionFailedError:
                continue
            wins.append(race)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == list(range(1000))


class _DriverError(Exception):
    """What a driver raises."""


@pytest.mark.parametrize(
    ("words", "broken", "error"),
    [
        ("database or disk is full", False, StorageFullError),
        ("could not extend file: No space left on device", False, StorageFullError),
        ("attempt to write a readonly database", False, AccessDeniedError),
        ("permission denied for table mediagit_objects", False, AccessDeniedError),
        ("database is locked", False, TransientError),
        ("server closed the connection unexpectedly", True, OutcomeUnknownError),
        ("disk I/O error", False, TransientError),
    ],
)
def test_what_a_failed_commit_means(
    url: str, monkeypatch: pytest.MonkeyPatch, words: str, broken: bool, error: type[BackendError]
) -> None:
    store = SqlBackend(url)

    def commit(_: object) -> None:
        raise exc.OperationalError(
            "INSERT the secret bytes", {"data": b"the secret bytes"}, _DriverError(words), connection_invalidated=broken
        )

    monkeypatch.setattr("sqlalchemy.engine.Connection.commit", commit)
    with pytest.raises(error) as caught:
        store.put("refs/a", b"the secret bytes", when=Absent())
    assert words in str(caught.value)
    assert "secret bytes" not in str(caught.value)
    assert caught.value.key == "refs/a"
    monkeypatch.undo()
    assert list(store.scan()) == []
