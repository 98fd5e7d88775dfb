"""The record of what two stores may differ in: read along, taken over, written anew, never misread."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mediavault_backends import fsio
from mediavault_backends.errors import BackendSetupError, StorageFullError, TransientError
from mediavault_backends.multi_journal import _ROLLED, BusyError, Due, Intent, Journal


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000 * 10**9

    def __call__(self) -> int:
        self.now += 1
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(folder: Path, clock: Clock | None = None, pair: str = "folder /srv -> s3://media") -> Journal:
    return Journal(folder, pair) if clock is None else Journal(folder, pair, clock=clock)


def said(journal: Journal) -> set[tuple[str, str]]:
    return {(intent.kind, intent.key) for intent in journal.intents()}


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


def test_an_intent_is_durable_before_begin_returns(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    steps: list[str] = []
    with fsio.observe(lambda step: steps.append(step.kind)):
        journal.begin("a/b", "put")
        assert steps == ["create", "sync-file", "rename", "sync-folder"]
        steps.clear()
        journal.begin("a/c", "delete")
        assert steps == ["sync-file"]
    (file,) = files(tmp_path)
    first, second, third = file.read_text().splitlines()
    assert first == "=folder /srv -> s3://media"
    assert second.startswith("+1 ")
    assert second.endswith(" put a/b")
    assert third.endswith(" delete a/c")


def test_only_what_has_ended_is_due_oldest_first(tmp_path: Path, clock: Clock) -> None:
    journal = opened(tmp_path, clock)
    first, second = journal.begin("b", "put"), journal.begin("a", "put")
    third, fourth = journal.begin("b", "delete"), journal.begin("c", "put")
    assert journal.due() == []
    for number in (first, second, third):
        journal.ready(number)
    start = 1_700_000_000 * 10**9
    assert journal.due() == [
        Due("b", (first, third), deleted=True, since=start + 1),
        Due("a", (second,), deleted=False, since=start + 2),
    ]
    assert journal.kinds("b") == {"put", "delete"}
    assert {intent.key for intent in journal.intents(under_way=False)} == {"a", "b"}
    journal.forget([first, third])
    assert journal.kinds("b") == frozenset()
    assert said(journal) == {("put", "a"), ("put", "c")}
    journal.ready(fourth)
    assert [due.key for due in journal.due()] == ["a", "c"]


def test_others_read_along(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    assert said(other) == set()
    numbers = [one.begin(f"k/{number}", "put") for number in range(3)]
    assert said(other) == said(one) == {("put", f"k/{number}") for number in range(3)}
    one.forget(numbers[:2])
    assert said(other) == {("put", "k/2")}
    other.begin("mine", "delete")
    assert said(one) == said(other) == {("put", "k/2"), ("delete", "mine")}


def test_the_file_of_one_that_died_is_taken_over_once(tmp_path: Path, clock: Clock) -> None:
    dead, one, other = (opened(tmp_path, clock) for _ in range(3))
    dead.forget([dead.begin("done", "put")])
    dead.begin("x", "delete")
    one.take_over()
    assert one.due() == [], "it lives"
    os.close(dead._fd)
    one.take_over()
    other.take_over()
    assert [(due.key, due.deleted) for due in one.due()] == [("x", True)]
    assert one.due()[0].since == 1_700_000_000 * 10**9 + 2, "as old as it was"
    assert other.due() == []
    assert said(other) == {("delete", "x")}
    assert len(files(tmp_path)) == 1


def test_what_was_sent_to_a_bucket_may_be_under_way_for_a_while(tmp_path: Path, clock: Clock) -> None:
    dead = opened(tmp_path, clock)
    dead.begin("x", "put")
    os.close(dead._fd)
    os.utime(files(tmp_path)[0], ns=(clock.now, clock.now))
    patient = Journal(tmp_path, "folder /srv -> s3://media", settle=60.0, clock=clock)
    patient.take_over()
    assert patient.due() == []
    assert said(patient) == {("put", "x")}
    clock.now += 61 * 10**9
    patient.take_over()
    assert [due.key for due in patient.due()] == ["x"]


def test_a_long_life_leaves_a_short_file(tmp_path: Path) -> None:
    journal, reader = opened(tmp_path), opened(tmp_path)
    kept = journal.begin("kept", "put")
    for number in range(2 * _ROLLED):
        journal.forget([journal.begin(f"k/{number}", "put")])
        if number % 97 == 0:
            assert said(reader) == {("put", "kept")}
    (file,) = files(tmp_path)
    assert len(file.read_text().splitlines()) < _ROLLED + 10
    assert said(reader) == said(journal) == {("put", "kept")}
    journal.ready(kept)
    assert [due.key for due in journal.due()] == ["kept"]
    os.close(journal._fd)
    reader.take_over()
    assert [due.key for due in reader.due()] == ["kept"]


def test_a_file_that_goes_away_while_it_is_read_was_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead, heir, reader = (opened(tmp_path) for _ in range(3))
    heir.begin("mine", "put")
    dead.begin("left", "put")
    os.close(dead._fd)
    truly = reader._read_along

    def between(name: str) -> object:
        """Let the heir act when the reader has its file behind it."""
        found = truly(name) if heir._path is not None and name == heir._path.name else None
        heir.take_over()
        return found or truly(name)

    # Its own file is read first: what it takes over is not in it yet.
    listed = sorted(reader._files(), key=lambda name: heir._path is not None and name != heir._path.name)
    lists = [listed]
    really = reader._files
    monkeypatch.setattr(reader, "_files", lambda: lists.pop() if lists else really())
    monkeypatch.setattr(reader, "_read_along", between)
    assert said(reader) == {("put", "mine"), ("put", "left")}


@pytest.mark.parametrize("tail", [b"+2 17", b"+", b"-", b"+2 1700 put a/lon"])
def test_a_line_that_was_cut_off_says_nothing(tmp_path: Path, tail: bytes) -> None:
    dead = opened(tmp_path)
    dead.begin("x", "put")
    os.write(dead._fd, tail)
    os.close(dead._fd)
    journal = opened(tmp_path)
    assert said(journal) == {("put", "x")}
    journal.take_over()
    assert [due.key for due in journal.due()] == ["x"]


@pytest.mark.parametrize("line", ["+x 1 put a", "+3 1 move a", "+3 1 put", "-x", "", "?", "+3 1 put a b", "\x00\xff"])
def test_a_damaged_line_hides_no_other(tmp_path: Path, line: str) -> None:
    dead = opened(tmp_path)
    dead.begin("x", "put")
    os.write(dead._fd, line.encode("latin-1") + b"\n")
    dead.begin("y", "delete")
    os.close(dead._fd)
    assert said(opened(tmp_path)) == {("put", "x"), ("delete", "y")}


def test_half_a_line_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, reader = opened(tmp_path), opened(tmp_path)
    journal.begin("x", "put")

    def half(fd: int, blocks: tuple[bytes, ...]) -> None:
        os.write(fd, blocks[0][:5])
        raise OSError(28, "full")

    with monkeypatch.context() as patch:
        patch.setattr(fsio, "write_all", half)
        with pytest.raises(StorageFullError):
            journal.begin("y", "put")
        journal.forget([1])  # what cannot be written down is only looked at again by a later process
    assert said(journal) == set()
    assert said(reader) == {("put", "x")}
    journal.begin("z", "put")
    assert said(reader) == {("put", "x"), ("put", "z")}


def test_a_line_that_was_read_and_taken_back_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, reader = opened(tmp_path), opened(tmp_path)
    journal.begin("x", "put")

    def fail(*_: object) -> None:
        assert said(reader) == {("put", "x"), ("put", "y")}
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(fsio, "sync_file", fail)
        with pytest.raises(TransientError):
            journal.begin("y", "put")
    assert said(reader) == {("put", "x")}


def test_a_journal_of_other_stores_is_refused(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.begin("x", "delete")
    with pytest.raises(
        BackendSetupError, match="is that of folder /srv -> s3://media, not of folder /srv -> s3://else"
    ):
        opened(tmp_path, pair="folder /srv -> s3://else")
    journal.close()
    with pytest.raises(BackendSetupError):
        opened(tmp_path, pair="folder /srv -> s3://else")
    assert said(opened(tmp_path)) == {("delete", "x")}


def test_closing_leaves_a_file_only_where_it_says_something(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.close()
    journal.forget([journal.begin("x", "put")])
    journal.close()
    assert files(tmp_path) == []
    journal.begin("y", "put")
    journal.close()
    journal.close()
    assert len(files(tmp_path)) == 1
    assert said(journal) == {("put", "y")}
    journal.take_over()
    assert [due.key for due in journal.due()] == ["y"]


def test_a_folder_that_is_gone_is_not_an_empty_journal(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    journal = opened(folder)
    opened(folder).begin("x", "put")
    folder.rename(tmp_path / "elsewhere")
    assert said(journal) == {("put", "x")}, "it is read where it is now"
    for file in (tmp_path / "elsewhere" / "locks").iterdir():
        file.unlink()
    for file in (tmp_path / "elsewhere").glob("*.journal"):
        file.unlink()
    (tmp_path / "elsewhere" / "locks").rmdir()
    (tmp_path / "elsewhere").rmdir()
    for call in (journal.intents, journal.take_over, lambda: journal.begin("y", "put")):
        with pytest.raises(TransientError):
            call()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BackendSetupError, match="cannot use the journal"):
        opened(tmp_path / "file" / "journal")


def test_one_at_a_time_copies_a_key(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    with one.lock("a", timeout=0.0):
        with pytest.raises(BusyError, match="is being copied"), other.lock("a", timeout=0.0):
            pass
        with other.lock("b", timeout=0.0):
            pass
    with other.lock("a", timeout=0.0):
        pass


def test_the_second_store_is_complete_for_all_once_one_says_so(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    assert not one.is_complete
    other.mark_complete()
    other.mark_complete()
    assert one.is_complete
    assert opened(tmp_path).is_complete
    assert not opened(tmp_path, pair="folder /srv -> s3://else").is_complete
    one.mark_empty()
    one.mark_empty()
    assert not one.is_complete
    assert not opened(tmp_path).is_complete


def test_an_intent_reads_as_it_was_written(tmp_path: Path, clock: Clock) -> None:
    one, other = opened(tmp_path, clock), opened(tmp_path, clock)
    one.begin("studio/film/refs/heads%2Fmain", "put")
    assert other.intents() == [Intent(1, 1_700_000_000 * 10**9 + 1, "put", "studio/film/refs/heads%2Fmain")]


def test_two_threads_never_list_the_folder_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They would share the place in one descriptor, and one of them would miss the files of the dead."""
    dead = opened(tmp_path)
    dead.begin("a/b", "put")
    os.close(dead._fd)
    journal = opened(tmp_path)
    listed = os.listdir
    inside = threading.Semaphore(1)

    def alone(fd: int) -> list[str]:
        assert inside.acquire(blocking=False), "two listings at once"
        try:
            time.sleep(0.001)
            return listed(fd)
        finally:
            inside.release()

    monkeypatch.setattr("mediavault_backends.multi_journal.os.listdir", alone)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: journal.take_over() if number % 2 else journal.intents(), range(40)))
    assert said(journal) == {("put", "a/b")}
