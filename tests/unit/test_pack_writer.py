import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mediavault.errors import StorageError
from mediavault.model.ids import Kind
from mediavault.store import pack_writer
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import PACKS, named_by, pack_key
from mediavault.store.pack_table import PackTable, read_pack_table
from mediavault.store.pack_writer import PackWriter
from mediavault_backends.api import Backend
from mediavault_backends.errors import StorageFullError
from mediavault_backends.fault import Fault, FaultBackend
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from tests.stored import Stored, append_all, chunk, commit, make, manifest, open_store, tree

CHUNKS = [chunk(bytes([n]) * 1000) for n in range(20)]


def writer_of(backend: Backend, folder: Path, target: int = 1 << 20, *, plain: bool = True) -> PackWriter:
    return PackWriter(backend, ObjectIndex(backend), folder, plain=plain, target=target)


def tables(backend: Backend) -> list[PackTable]:
    names = [named_by(stat.key) for stat in backend.scan(PACKS)]
    return [read_pack_table(backend, name) for name in names if name is not None]


def a_project() -> list[Stored]:
    contents = manifest(CHUNKS[0], CHUNKS[1])
    root = tree(contents)
    return [commit(root), root, contents, CHUNKS[0], CHUNKS[1]]


def test_what_was_appended_is_read_back_after_finish(tmp_path: Path) -> None:
    store = open_store(LocalBackend(tmp_path / "store", create=True))
    with store.writer(tmp_path / "spool", plain=True) as writer:
        append_all(writer, CHUNKS)
        assert not store.has(CHUNKS[3].id)
    assert [bytes(store.read(one.id).data) for one in CHUNKS] == [one.frame for one in CHUNKS]
    assert writer.frames_written == 20
    assert writer.bytes_written == sum(len(one.frame) for one in CHUNKS)
    assert list((tmp_path / "spool").iterdir()) == []


def test_pending_frames_can_be_read_while_spooled_and_once_put(tmp_path: Path) -> None:
    writer = writer_of(MemoryBackend(), tmp_path, target=5000)
    with writer:
        append_all(writer, CHUNKS)
        for one in CHUNKS:
            frame = writer.read(one.id)
            assert writer.has(one.id)
            assert frame is not None
            assert bytes(frame.data) == one.frame
    assert not writer.has(CHUNKS[0].id)
    assert writer.read(CHUNKS[0].id) is None


def test_a_frame_is_appended_with_one_write_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = writer_of(MemoryBackend(), tmp_path)
    writer.append(CHUNKS[0].frame, 1000)
    calls = []
    real = os.pwrite

    def counted(fd: int, data: bytes, offset: int) -> int:
        calls.append(data)
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", counted)
    big = chunk(bytes(131072)).frame
    writer.append(big, 131072)
    assert len(calls) == 1
    assert calls[0] is big
    writer.abort()


def test_a_pack_is_closed_before_it_passes_its_target(tmp_path: Path) -> None:
    backend = MemoryBackend()
    with writer_of(backend, tmp_path, target=5000) as writer:
        append_all(writer, CHUNKS)
    assert len(tables(backend)) == 5
    assert all(table.end <= 5000 for table in tables(backend))


def test_a_pack_holds_a_bounded_number_of_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_writer, "MAX_PACK_ROWS", 8)
    backend = MemoryBackend()
    with writer_of(backend, tmp_path) as writer:
        append_all(writer, CHUNKS)
    assert sorted(len(table.rows) for table in tables(backend)) == [4, 8, 8]


def test_kinds_go_to_packs_of_their_own_and_are_put_before_the_index(tmp_path: Path) -> None:
    backend = FaultBackend(MemoryBackend())
    with writer_of(backend, tmp_path) as writer:
        append_all(writer, a_project())
    puts = [call.key for call in backend.calls if call.method == "put"]
    assert [key.partition("/")[0] for key in puts] == ["packs", "packs", "packs", "index"]
    kinds = [{row.kind for row in read_pack_table(backend, bytes.fromhex(key[-64:])).rows} for key in puts[:3]]
    assert kinds == [{Kind.CHUNK}, {Kind.MANIFEST, Kind.TREE}, {Kind.COMMIT}]


@pytest.mark.parametrize("plain", [True, False])
def test_raw_lengths_stand_only_in_plain_packs(tmp_path: Path, plain: bool) -> None:
    backend = MemoryBackend()
    with writer_of(backend, tmp_path, plain=plain) as writer:
        append_all(writer, [make(Kind.CHUNK, payload=b"abc", sealed=not plain)])
    (table,) = tables(backend)
    assert table.plain == plain
    assert table.rows[0].raw_length == (3 if plain else None)


def test_a_frame_that_is_pending_is_not_written_twice(tmp_path: Path) -> None:
    backend = MemoryBackend()
    with writer_of(backend, tmp_path) as writer:
        append_all(writer, [CHUNKS[0], CHUNKS[0]])
    assert len(tables(backend)[0].rows) == 1


def test_a_writer_goes_on_after_finish(tmp_path: Path) -> None:
    store = open_store(MemoryBackend())
    with store.writer(tmp_path, plain=True) as writer:
        append_all(writer, CHUNKS[:3])
        writer.finish()
        assert store.has(CHUNKS[0].id)
        append_all(writer, CHUNKS[3:6])
    assert all(store.has(one.id) for one in CHUNKS[:6])


def test_long_runs_index_their_chunk_packs_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_writer, "INDEX_EVERY", 2)
    store = open_store(MemoryBackend())
    with store.writer(tmp_path, plain=True, target=5000) as writer:
        append_all(writer, [*a_project()[:3], *CHUNKS])
        assert store.has(CHUNKS[0].id)
        assert not writer.has(CHUNKS[0].id)
        assert not store.has(a_project()[0].id)


def test_nothing_refers_to_packs_when_one_of_them_could_not_be_put(tmp_path: Path) -> None:
    inner = MemoryBackend()
    backend = FaultBackend(inner, [Fault("put", nth=3, error=StorageFullError, prefix="packs/")])
    writer = writer_of(backend, tmp_path)
    with pytest.raises(StorageFullError), writer:
        append_all(writer, a_project())
    assert list(inner.scan("index/")) == []
    assert len(list(tmp_path.glob("history-*.spool"))) == 1


@pytest.mark.parametrize("lands", [True, False])
def test_an_unknown_outcome_never_makes_a_name_twice(tmp_path: Path, lands: bool) -> None:
    inner = MemoryBackend()
    backend = FaultBackend(inner, [Fault("put", prefix="packs/", lands=lands)])
    with writer_of(backend, tmp_path) as writer:
        append_all(writer, CHUNKS)
    puts = [call.key for call in backend.calls if call.method == "put" and call.key.startswith(PACKS)]
    assert len(set(puts)) == len(puts) == (1 if lands else 2)
    assert [stat.key for stat in inner.scan(PACKS)] == [puts[-1]]
    assert open_store(inner).read(CHUNKS[7].id).size == len(CHUNKS[7].frame)
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_never_answers_is_given_up(tmp_path: Path) -> None:
    plan = [Fault("put", nth=n, prefix="packs/") for n in (1, 2, 3)]
    with (
        pytest.raises(StorageError, match="does not say"),
        writer_of(FaultBackend(MemoryBackend(), plan), tmp_path) as w,
    ):
        append_all(w, CHUNKS)


def test_a_full_disk_is_told_and_leaves_the_frames_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(MemoryBackend())
    writer = store.writer(tmp_path, plain=True)
    append_all(writer, CHUNKS[:2])

    def full(_fd: int, _data: bytes, _offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(StorageError, match="full"):
            writer.append(CHUNKS[2].frame, 1000)
    writer.append(CHUNKS[3].frame, 1000)
    writer.finish()
    assert store.missing([one.id for one in CHUNKS[:4]]) == [CHUNKS[2].id]


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, bytes(data)[:100], offset))
    store = open_store(MemoryBackend())
    with store.writer(tmp_path, plain=True) as writer:
        append_all(writer, CHUNKS[:3])
    assert bytes(store.read(CHUNKS[1].id).data) == CHUNKS[1].frame


def test_aborting_keeps_the_spools_and_frees_their_locks(tmp_path: Path) -> None:
    def failing_producer() -> Iterator[Stored]:
        yield from CHUNKS
        raise RuntimeError("stop")

    writer = writer_of(MemoryBackend(), tmp_path)
    with pytest.raises(RuntimeError, match="stop"), writer:
        append_all(writer, failing_producer())
    (spool,) = tmp_path.iterdir()
    assert spool.stat().st_size > sum(len(one.frame) for one in CHUNKS)
    writer.abort()
    assert not writer.has(CHUNKS[0].id)


def test_a_pack_that_was_adopted_is_the_spool_itself(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path / "store", create=True)
    writer = writer_of(backend, backend.spool_folder)
    append_all(writer, CHUNKS)
    (spool,) = backend.spool_folder.glob("*.spool")
    inode = spool.stat().st_ino
    writer.finish()
    (table,) = tables(backend)
    assert (tmp_path / "store" / pack_key(table.pack_id)).stat().st_ino == inode
