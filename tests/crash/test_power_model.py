"""The model of a power cut sees what careless writers lose, and nothing where each step is synced in its order."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mediavault_backends import fsio
from tests.crash.power import Film, Outage, Recorder


def filmed(folder: Path, monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> Film:
    recorder = Recorder(folder)
    monkeypatch.setattr(os, "fsync", lambda _fd: recorder.synced())
    with fsio.observe(recorder):
        action()
    return recorder.end()


def endings(film: Film, target: Path) -> list[set[bytes | None]]:
    """Return for each point what the file `name` may hold after a power cut; None where it is gone."""
    found: list[set[bytes | None]] = []
    for number in range(1, len(film.steps) + 2):
        outage = Outage(film, number)
        contents: set[bytes | None] = set()
        for at, variant in enumerate(outage.variants()):
            left = target / f"{number}-{at}"
            outage.leave(variant, left)
            contents.add((left / "name").read_bytes() if (left / "name").exists() else None)
        found.append(contents)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    (made / "name").write_bytes(b"old" * 400)
    (tmp_path / "left").mkdir()
    return made


OLD, NEW = b"old" * 400, b"new" * 800


def test_a_careful_write_leaves_the_old_or_the_new_and_in_the_end_the_new(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = filmed(folder, monkeypatch, lambda: fsio.write_atomic(folder / "name", NEW))
    found = endings(film, folder.parent / "left")
    assert [step.step.kind for step in film.steps] == ["create", "sync-file", "rename", "sync-folder"]
    assert found == [{OLD}, {OLD}, {OLD}, {OLD, NEW}, {NEW}]


def test_a_rename_before_its_bytes_are_synced_loses_both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless() -> None:
        with fsio.new_file(folder / "new") as fd:
            fsio.write_all(fd, [NEW])
            fsio.place(folder / "new", folder / "name", exclusive=False)
            fsio.sync_folder(folder)

    found = endings(filmed(folder, monkeypatch, careless), folder.parent / "left")
    assert {b"", bytes(len(NEW)), NEW[:1024]} <= found[-1]


def test_a_folder_that_was_not_synced_may_lose_the_new_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless() -> None:
        with fsio.new_file(folder / "new") as fd:
            fsio.write_all(fd, [NEW])
            fsio.sync_file(fd, folder / "new")
            fsio.place(folder / "new", folder / "name", exclusive=False)

    assert endings(filmed(folder, monkeypatch, careless), folder.parent / "left")[-1] == {OLD, NEW}


def test_a_file_that_is_written_over_may_be_half_of_each(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless() -> None:
        (folder / "name").write_bytes(b"NEW" * 400)
        fsio.announce("sync-file", folder / "elsewhere")

    found = endings(filmed(folder, monkeypatch, careless), folder.parent / "left")
    assert {OLD, (b"NEW" * 400)[:512] + OLD[512:]} <= found[-1]


def test_a_file_in_a_new_folder_is_lost_with_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "name").unlink()

    def careless() -> None:
        (folder / "inner").mkdir()
        fsio.write_atomic(folder / "inner" / "name", NEW)

    film = filmed(folder, monkeypatch, careless)
    left = folder.parent / "left" / "x"
    outage = Outage(film, len(film.steps) + 1)
    assert outage.unsynced == 1
    outage.leave(next(outage.variants()), left)
    assert list(left.iterdir()) == []


def test_a_sync_that_another_thread_has_not_ended_counts_for_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unfinished() -> None:
        monkeypatch.setattr(os, "fsync", lambda _fd: None)  # the recorder never hears of an end
        fsio.write_atomic(folder / "name", NEW)

    assert OLD in endings(filmed(folder, monkeypatch, unfinished), folder.parent / "left")[-1]
