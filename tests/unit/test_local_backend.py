"""What a folder as a store does beyond the contract: steps, foreign files, lost syncs, stale files, file errors."""

import errno
import os
from pathlib import Path

import pytest

from mediavault_backends import fsio
from mediavault_backends.api import Absent, FileSource, Matches
from mediavault_backends.errors import (
    AccessDeniedError,
    BackendSetupError,
    NotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StorageFullError,
    TransientError,
)
from mediavault_backends.fsio import FileLock, Step
from mediavault_backends.local import LocalBackend
from mediavault_backends.prefix import prefixed


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def backend(root: Path) -> LocalBackend:
    made = LocalBackend(root, create=True)
    made.put("warm/up", b"", when=Absent())
    made.delete("warm/up")
    return made


def fail_at(kind: str, code: int) -> fsio.Observer:
    def stop(step: Step) -> None:
        if step.kind == kind:
            raise OSError(code, os.strerror(code))

    return stop


def scratch_of(root: Path) -> list[Path]:
    return [path for path in (root / ".tmp" / "write").rglob("*") if path.is_file()]


def test_the_steps_of_a_first_put(root: Path, backend: LocalBackend) -> None:
    steps: list[Step] = []
    with fsio.observe(steps.append):
        backend.put("packs/ab/x", b"1", when=Absent())
    assert [(step.kind, step.path) for step in steps if step.path.parent != root / ".tmp" / "write"] == [
        ("make-folder", root / "packs"),
        ("sync-folder", root),
        ("make-folder", root / "packs" / "ab"),
        ("sync-folder", root / "packs"),
        ("link", root / "packs" / "ab" / "x"),
        ("sync-folder", root / "packs" / "ab"),
    ]
    assert [step.kind for step in steps if step.path.parent == root / ".tmp" / "write"] == [
        "create",
        "sync-file",
        "unlink",
    ]


def test_the_steps_of_replacing_adopting_and_deleting(root: Path, backend: LocalBackend) -> None:
    version = backend.put("x", b"1", when=Absent())
    spool = backend.spool_folder / "a.spool"
    spool.write_bytes(b"2")
    steps: list[Step] = []
    with fsio.observe(steps.append):
        version = backend.put("x", b"1", when=Matches(version))
        backend.put("x", FileSource(spool, 1, adopt=True), when=Matches(version))
        backend.delete("x")
    assert [step.kind for step in steps] == [
        *("create", "sync-file", "rename", "sync-folder"),
        *("sync-file", "rename", "sync-folder"),
        *("unlink", "sync-folder"),
    ]
    assert [step.path for step in steps[-4:]] == [root / "x", root, root / "x", root]


def test_a_folder_that_is_missing_is_not_made_unasked(root: Path) -> None:
    with pytest.raises(BackendSetupError, match="no folder"):
        LocalBackend(root)
    assert not root.exists()
    LocalBackend(root, create=True).put("a", b"", when=Absent())
    assert LocalBackend(root).get("a").data == b""


def test_foreign_files_are_not_objects(root: Path, backend: LocalBackend) -> None:
    backend.put("refs/a", b"1", when=Absent())
    backend.put("wanted", b"1", when=Absent())
    for name in (".DS_Store", "with blank", ".nfs0001", "refs/.a.swp", "refs/ä"):
        (root / name).write_bytes(b"")
    (root / ".hidden").mkdir()
    (root / ".hidden" / "a").write_bytes(b"")
    (root / "link").symlink_to(root / "wanted")
    (root / "folder").symlink_to(root / "refs")
    assert [stat.key for stat in backend.scan()] == ["refs/a", "wanted"]
    with pytest.raises(TransientError):
        backend.get("link")


def test_the_scratch_folder_is_no_key_and_not_listed(root: Path, backend: LocalBackend) -> None:
    (backend.spool_folder / "x.spool").write_bytes(b"")
    assert backend.spool_folder.is_relative_to(root / ".tmp")
    assert list(backend.scan()) == []


def test_prefixes_have_spools_of_their_own(backend: LocalBackend) -> None:
    one, two = prefixed(backend, "team/one/"), prefixed(backend, "team/two/")
    folders = {getattr(part, "spool_folder") for part in (one, two)}  # noqa: B009 - a capability, not of every backend
    assert len(folders) == 2
    assert all(folder.is_dir() and folder.is_relative_to(backend.spool_folder) for folder in folders)


@pytest.mark.parametrize("prefix", ["", "team", "/", "team//", "../", ".tmp/"])
def test_a_prefix_is_whole_segments(backend: LocalBackend, prefix: str) -> None:
    with pytest.raises(ValueError, match=r"prefix|no key"):
        prefixed(backend, prefix)


def test_a_failed_sync_of_the_folder_leaves_the_outcome_open(backend: LocalBackend) -> None:
    version = backend.put("x", b"1", when=Absent())
    with fsio.observe(fail_at("sync-folder", errno.EIO)):
        with pytest.raises(OutcomeUnknownError):
            backend.put("y", b"1", when=Absent())
        with pytest.raises(OutcomeUnknownError):
            backend.put("x", b"2", when=Matches(version))
        with pytest.raises(OutcomeUnknownError):
            backend.delete("y")
    assert backend.get("x").data == b"2"


def test_an_object_that_is_reported_to_exist_is_durable(root: Path, backend: LocalBackend) -> None:
    backend.put("x", b"1", when=Absent())
    steps: list[Step] = []
    with fsio.observe(steps.append), pytest.raises(PreconditionFailedError):
        backend.put("x", b"2", when=Absent())
    assert steps == [Step("sync-folder", root)]


@pytest.mark.parametrize("kind", ["make-folder", "create", "sync-file", "link"])
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ENOSPC, StorageFullError),
        (errno.EDQUOT, StorageFullError),
        (errno.EROFS, AccessDeniedError),
        (errno.EIO, TransientError),
    ],
)
def test_errors_before_the_name_change_nothing(
    root: Path, backend: LocalBackend, kind: str, code: int, error: type[Exception]
) -> None:
    with fsio.observe(fail_at(kind, code)), pytest.raises(error):
        backend.put("a/b", b"1", when=Absent())
    assert list(backend.scan()) == []
    assert scratch_of(root) == []


def test_a_file_system_without_links_is_named(backend: LocalBackend) -> None:
    with fsio.observe(fail_at("link", errno.EPERM)), pytest.raises(BackendSetupError, match="hard links"):
        backend.put("a", b"1", when=Absent())


@pytest.mark.parametrize("exists", [False, True])
def test_a_spool_on_another_device_is_copied(root: Path, backend: LocalBackend, tmp_path: Path, exists: bool) -> None:
    when = Matches(backend.put("x", b"old", when=Absent())) if exists else Absent()
    source = tmp_path / "spool"
    source.write_bytes(b"body")
    tried: list[Step] = []

    def refuse_first(step: Step) -> None:
        if step.kind in {"link", "rename"}:
            tried.append(step)
            if len(tried) == 1:
                raise OSError(errno.EXDEV, "cross-device link")

    with fsio.observe(refuse_first):
        backend.put("x", FileSource(source, 4, adopt=True), when=when)
    assert len(tried) == 2
    assert backend.get("x").data == b"body"
    assert not source.exists()
    assert scratch_of(root) == []


def test_only_files_are_adopted(root: Path, backend: LocalBackend, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a file"):
        backend.put("x", FileSource(tmp_path, tmp_path.stat().st_size, adopt=True), when=Absent())
    with pytest.raises(TransientError):
        backend.put("x", FileSource(tmp_path / "none", 0, adopt=True), when=Absent())
    assert sorted(path.name for path in root.iterdir()) == [".tmp", "warm"]


def test_a_cleaning_that_fails_does_not_hide_a_success(backend: LocalBackend, tmp_path: Path) -> None:
    source = tmp_path / "spool"
    source.write_bytes(b"body")
    with fsio.observe(fail_at("unlink", errno.EIO)):
        backend.put("x", FileSource(source, 4, adopt=True), when=Absent())
        backend.put("y", b"1", when=Absent())
    assert [stat.key for stat in backend.scan()] == ["x", "y"]


def test_a_lock_that_is_never_freed_is_a_passing_failure(
    root: Path, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediavault_backends.local._LOCK_TIMEOUT", 0.0)
    version = backend.put("x", b"1", when=Absent())
    backend.put("x", b"2", when=Matches(version))
    stopped = [FileLock(path) for path in (root / ".tmp" / "locks").iterdir()]
    assert all(lock.acquire() for lock in stopped)
    try:
        with pytest.raises(TransientError, match="lock"):
            backend.delete("x")
    finally:
        for lock in stopped:
            lock.release()
    assert backend.get("x").data == b"2"


def test_large_objects_carry_a_fine_time(
    root: Path, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ticks = iter((1_000_000_001, 1_000_000_002, 1_000_000_003))
    monkeypatch.setattr("time.time_ns", lambda: next(ticks))
    version = backend.put("x", b"a" * 100_000, when=Absent())
    assert (root / "x").stat().st_mtime_ns == 1_000_000_001
    replaced = backend.put("x", b"b" * 100_000, when=Matches(version))
    spool = tmp_path / "spool"
    spool.write_bytes(b"a" * 100_000)
    adopted = backend.put("x", FileSource(spool, 100_000, adopt=True), when=Matches(replaced))
    assert (root / "x").stat().st_mtime_ns == 1_000_000_003
    assert len({version, replaced, adopted}) == 3


def test_scanning_large_objects_reads_none_of_them(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.put("x", bytes(100_000), when=Absent())

    def refuse(*_: object) -> bytes:
        raise AssertionError("read")

    monkeypatch.setattr(os, "pread", refuse)
    assert [stat.size for stat in backend.scan()] == [100_000]


def test_reads_that_the_system_cuts_are_continued(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.put("x", b"0123456789", when=Absent())
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: pread(fd, min(length, 3), offset))
    assert backend.read("x", 1, 8) == b"12345678"
    assert backend.get("x").data == b"0123456789"
    assert b"".join(backend.stream("x", start=1)) == b"123456789"


def test_a_broken_disk_shows_as_a_passing_failure(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.put("x", b"1", when=Absent())
    stream = backend.stream("x")

    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(TransientError):
        backend.read("x", 0, 1)
    with pytest.raises(TransientError):
        backend.get("x")
    with pytest.raises(TransientError):
        next(iter(stream))


def test_what_may_not_be_read_is_told(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "refused")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(AccessDeniedError):
        backend.read("x", 0, 1)
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(AccessDeniedError):
        list(backend.scan())


def test_dropped_streams_close_their_files(backend: LocalBackend) -> None:
    backend.put("x", bytes(10), when=Absent())
    folder = Path("/dev/fd")
    before = len(list(folder.iterdir()))
    for _ in range(20):
        backend.stream("x")
        list(backend.stream("x"))
    assert len(list(folder.iterdir())) == before


def test_stale_files_go_when_their_writer_is_dead(root: Path, backend: LocalBackend) -> None:
    write, spool = root / ".tmp" / "write", backend.spool_folder / "team"
    spool.mkdir()
    paths = {name: folder / name for folder in (write, spool) for name in (f"{folder.name}-old", f"{folder.name}-new")}
    for name, path in paths.items():
        path.write_bytes(b"")
        if name.endswith("old"):
            os.utime(path, (1, 1))
    with fsio.new_file(write / "alive") as fd:
        os.utime(fd, (1, 1))
        assert backend.remove_stale() == 2
        assert (write / "alive").exists()
    assert [name for name, path in paths.items() if path.exists()] == ["write-new", "team-new"]
    assert backend.remove_stale() == 0


def test_a_store_without_scratch_folder_works(root: Path) -> None:
    root.mkdir()
    (root / "x").write_bytes(b"1")
    backend = LocalBackend(root)
    assert backend.get("x").data == b"1"
    assert [path.name for path in root.iterdir()] == ["x"]
    backend.put("x", b"2", when=Matches(backend.stat("x").version))
    assert backend.get("x").data == b"2"


def test_a_folder_is_no_object(backend: LocalBackend) -> None:
    with pytest.raises(NotFoundError):
        backend.map("warm")
    with pytest.raises(NotFoundError):
        backend.stream("warm")
