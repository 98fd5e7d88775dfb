"""Durable writes: the order of their steps, what stays after a failure, and locks."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from mediavault_backends import fsio
from mediavault_backends.fsio import FileLock, Step


class Crash(BaseException):
    """The process ends here: nothing may catch it."""


def steps_of(action: Callable[[], object]) -> list[Step]:
    steps: list[Step] = []
    with fsio.observe(steps.append):
        action()
    return steps


def kinds(steps: list[Step]) -> list[str]:
    return [step.kind for step in steps]


def fail_at(kind: str, error: BaseException) -> fsio.Observer:
    def stop(step: Step) -> None:
        if step.kind == kind:
            raise error

    return stop


def test_a_file_is_synced_before_its_name_and_the_folder_after(tmp_path: Path) -> None:
    path = tmp_path / "HEAD"
    steps = steps_of(lambda: fsio.write_atomic(path, b"new"))
    assert kinds(steps) == ["create", "sync-file", "rename", "sync-folder"]
    temporary = steps[0].path
    assert temporary.parent == tmp_path
    assert [step.path for step in steps] == [temporary, temporary, path, tmp_path]
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["HEAD"]  # noqa: PTH208 - names alone


def test_an_exclusive_file_is_linked(tmp_path: Path) -> None:
    path = tmp_path / "HEAD"
    steps = steps_of(lambda: fsio.write_atomic(path, memoryview(b"new"), exclusive=True))
    assert kinds(steps) == ["create", "sync-file", "link", "sync-folder", "unlink"]
    with pytest.raises(FileExistsError):
        fsio.write_atomic(path, b"newer", exclusive=True)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["create", "sync-file", "rename"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), Crash()])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, kind: str, error: BaseException) -> None:
    path = tmp_path / "HEAD"
    path.write_bytes(b"old")
    with fsio.observe(fail_at(kind, error)), pytest.raises(type(error)) as caught:
        fsio.write_atomic(path, b"new")
    assert caught.value is error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_mode_is_asked_for_less_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        fsio.write_atomic(tmp_path / "open", b"")
        fsio.write_atomic(tmp_path / "private", b"", mode=0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600


def test_write_all_goes_on_after_a_partial_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    with fsio.new_file(tmp_path / "x") as fd:
        fsio.write_all(fd, [b"12345", memoryview(b"abcdefgh").cast("I"), b""])
        assert os.pread(fd, 99, 0) == b"12345abcdefgh"


def test_a_new_file_keeps_its_content_when_it_is_renamed(tmp_path: Path) -> None:
    with fsio.new_file(tmp_path / "x") as fd:
        os.write(fd, b"1")
        assert not FileLock(tmp_path / "x").acquire()
        fsio.place(tmp_path / "x", tmp_path / "y", exclusive=False)
    assert [path.name for path in tmp_path.iterdir()] == ["y"]
    with pytest.raises(FileExistsError), fsio.new_file(tmp_path / "y"):
        pass
    assert (tmp_path / "y").read_bytes() == b"1"


@pytest.mark.parametrize("exclusive", [False, True])
def test_adopting_syncs_first_and_copies_nothing(tmp_path: Path, exclusive: bool) -> None:
    source, target = tmp_path / "source", tmp_path / "to" / "target"
    target.parent.mkdir()
    source.write_bytes(b"body")
    inode = source.stat().st_ino
    steps = steps_of(lambda: fsio.adopt(source, target, exclusive=exclusive))
    assert kinds(steps) == [
        "sync-file",
        *(["link", "sync-folder", "unlink"] if exclusive else ["rename", "sync-folder"]),
    ]
    assert [step.path for step in steps[:3]] == [source, target, target.parent]
    assert not source.exists()
    assert target.stat().st_ino == inode
    assert target.read_bytes() == b"body"


def test_adopting_exclusively_never_replaces(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"mine")
    target.write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        fsio.adopt(source, target, exclusive=True)
    assert source.read_bytes() == b"mine"
    assert target.read_bytes() == b"theirs"


def test_a_link_is_not_adopted(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(OSError, match=r"(?i)symbolic links") as caught:
        fsio.adopt(tmp_path / "link", tmp_path / "target", exclusive=False)
    assert caught.value.errno == errno.ELOOP


def test_each_new_folder_is_synced_into_its_parent(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    path = tmp_path / "a" / "b"
    steps = steps_of(lambda: fsio.make_folders(path))
    assert steps == [
        Step("make-folder", tmp_path / "a"),
        Step("sync-folder", tmp_path),
        Step("make-folder", path),
        Step("sync-folder", tmp_path / "a"),
    ]
    assert path.is_dir()


def test_an_empty_folder_may_be_a_dead_process_s_and_is_synced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    path.mkdir(parents=True)
    assert steps_of(lambda: fsio.make_folders(path)) == [Step("sync-folder", tmp_path / "a")]
    (path / "file").write_bytes(b"")  # whoever put it there had synced the folder's name
    assert steps_of(lambda: fsio.make_folders(path)) == []


def test_a_file_is_not_taken_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    for path in (tmp_path / "f", tmp_path / "f" / "g"):
        with pytest.raises(FileExistsError):
            fsio.make_folders(path)


def test_many_may_make_the_same_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c"
    barrier = threading.Barrier(8)
    failures: list[BaseException] = []

    def make() -> None:
        barrier.wait()
        try:
            fsio.make_folders(path)
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert path.is_dir()


def test_removing_is_durable(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"")
    assert steps_of(lambda: fsio.remove(path)) == [Step("unlink", path), Step("sync-folder", tmp_path)]
    with pytest.raises(FileNotFoundError):
        fsio.remove(path)


def test_syncing_files_and_file_systems(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    with (tmp_path / "x").open("rb") as file:
        assert steps_of(lambda: fsio.sync_file(file.fileno())) == [Step("sync-file", fsio.UNNAMED)]
        assert steps_of(lambda: fsio.sync_filesystem(tmp_path)) == [Step("sync-filesystem", tmp_path)]
    with pytest.raises(FileNotFoundError):
        fsio.sync_filesystem(tmp_path / "none")
    with pytest.raises(NotADirectoryError):
        fsio.sync_folder(tmp_path / "x")


@pytest.mark.parametrize(("code", "passes"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_folder_that_refuses_to_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, passes: bool
) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(os, "fsync", refuse)
    with nullcontext() if passes else pytest.raises(OSError, match="refused"):
        fsio.sync_folder(tmp_path)


def test_a_lock_on_a_read_only_store_can_be_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lock").write_bytes(b"")
    real_open = os.open

    def read_only(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, "read-only")
        return real_open(path, flags, mode)

    monkeypatch.setattr(os, "open", read_only)
    lock = FileLock(tmp_path / "lock")
    assert lock.acquire(shared=True)
    lock.release()
    with pytest.raises(OSError, match="read-only"):
        lock.acquire()


def test_an_observer_hears_nothing_after_its_block(tmp_path: Path) -> None:
    heard: list[Step] = []
    with pytest.raises(Crash), fsio.observe(heard.append):
        raise Crash
    fsio.write_atomic(tmp_path / "x", b"")
    assert heard == []


# Locks


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire(timeout=0.01)
    assert not second.acquire(shared=True)
    with pytest.raises(RuntimeError, match="held already"):
        first.acquire()
    first.release()
    first.release()
    assert second.acquire()
    second.release()


def test_readers_share_a_lock(tmp_path: Path) -> None:
    first, second, writer = (FileLock(tmp_path / "lock") for _ in range(3))
    assert first.acquire(shared=True)
    assert second.acquire(shared=True)
    assert not writer.acquire()
    first.release()
    assert not writer.acquire()
    second.release()
    assert writer.acquire()
    writer.release()


def test_a_waiting_writer_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    first.acquire()
    timer = threading.Timer(0.05, first.release)
    timer.start()
    assert second.acquire(timeout=30.0)
    second.release()
    timer.join()


def test_a_block_holds_the_lock(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    with first.held(), pytest.raises(TimeoutError), second.held():
        pass
    with pytest.raises(Crash), first.held():
        raise Crash
    with second.held(shared=True):
        assert first.acquire(shared=True)
        first.release()


def test_a_lock_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "none" / "lock").acquire()


def test_a_dead_holder_frees_the_lock(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from mediavault_backends.fsio import FileLock;"
        "print(FileLock(pathlib.Path(sys.argv[1])).acquire(), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    lock = FileLock(tmp_path / "lock")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not lock.acquire()
        holder.kill()
        holder.wait()
    assert lock.acquire(timeout=10.0)
    lock.release()
