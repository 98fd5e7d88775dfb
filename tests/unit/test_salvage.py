import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mediavault.model.ids import Kind
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import PACKS
from mediavault.store.salvage import Salvaged, salvage
from mediavault.store.verify import scrub
from mediavault_backends.api import Backend
from mediavault_backends.errors import TransientError
from mediavault_backends.fault import Fault, FaultBackend
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from tests.stored import append_all, chunk, commit, make, open_store, tree

CHUNKS = [chunk(bytes([n]) * 1000) for n in range(20)]
NOTHING = Salvaged(0, 0, 0)


def left_behind(backend: Backend, folder: Path, *, plain: bool = True, target: int = 1 << 20) -> FrameStore:
    """Leave what a writer leaves that stops in the middle."""
    store = open_store(backend)
    writer = store.writer(folder, plain=plain, target=target)
    append_all(writer, CHUNKS)
    root = tree(CHUNKS[0])
    append_all(writer, [root, commit(root)])
    writer.abort()
    return store


def run(store: FrameStore, folder: Path) -> Salvaged:
    return salvage(store.backend, store.index, folder)


def test_chunks_are_kept_and_metadata_is_dropped(tmp_path: Path) -> None:
    store = left_behind(MemoryBackend(), tmp_path)
    assert run(store, tmp_path) == Salvaged(20, sum(len(one.frame) for one in CHUNKS), 1)
    assert [bytes(store.read(one.id).data) for one in CHUNKS] == [one.frame for one in CHUNKS]
    assert not store.has(tree(CHUNKS[0]).id)
    assert list(tmp_path.iterdir()) == []
    assert list(scrub(store.backend)) == []
    assert run(store, tmp_path) == NOTHING


def test_a_folder_that_does_not_exist_holds_nothing(tmp_path: Path) -> None:
    assert run(open_store(MemoryBackend()), tmp_path / "none") == NOTHING


def test_sealed_chunks_are_kept_without_a_key(tmp_path: Path) -> None:
    store = open_store(MemoryBackend())
    sealed = [chunk(bytes([n]) * 500, sealed=True) for n in range(5)]
    writer = store.writer(tmp_path, plain=False)
    append_all(writer, sealed)
    writer.abort()
    assert run(store, tmp_path).frames == 5
    assert all(store.has(one.id) for one in sealed)


@pytest.mark.parametrize("plain", [True, False])
def test_spools_of_another_sort_of_repository_are_removed(tmp_path: Path, plain: bool) -> None:
    store = left_behind(MemoryBackend(), tmp_path)
    assert salvage(store.backend, store.index, tmp_path, plain=plain).frames == (20 if plain else 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [1, 500, 1021])
def test_a_cut_frame_at_the_end_is_left_out(tmp_path: Path, cut: int) -> None:
    store = left_behind(MemoryBackend(), tmp_path)
    (spool,) = tmp_path.glob("chunks-*")
    os.truncate(spool, spool.stat().st_size - cut)
    assert run(store, tmp_path).frames == 19
    assert store.missing([one.id for one in CHUNKS]) == [CHUNKS[19].id]
    assert list(scrub(store.backend)) == []


def test_nothing_after_a_damaged_frame_is_believed(tmp_path: Path) -> None:
    store = left_behind(MemoryBackend(), tmp_path)
    (spool,) = tmp_path.glob("chunks-*")
    data = bytearray(spool.read_bytes())
    data[24 + 5 * len(CHUNKS[0].frame) + 200] ^= 1
    spool.write_bytes(data)
    assert run(store, tmp_path).frames == 5


@pytest.mark.parametrize("content", [b"", b"MVPK", bytes(5000), b"MVPK\x01\x00\x01\x00" + bytes(16)])
def test_what_is_no_spool_is_removed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "chunks-x.spool").write_bytes(content)
    assert run(open_store(MemoryBackend()), tmp_path) == NOTHING
    assert list(tmp_path.iterdir()) == []


def test_a_living_writer_is_not_touched(tmp_path: Path) -> None:
    store = open_store(MemoryBackend())
    with store.writer(tmp_path, plain=True) as writer:  # no pack is full, so that the writer itself removes none
        append_all(writer, CHUNKS)
        before = sorted(tmp_path.iterdir())
        assert salvage(store.backend, ObjectIndex(store.backend), tmp_path) == NOTHING
        assert sorted(tmp_path.iterdir()) == before
    assert store.missing([one.id for one in CHUNKS]) == []


def test_packs_that_were_put_and_not_indexed_are_found(tmp_path: Path) -> None:
    inner = MemoryBackend()
    root = tree(CHUNKS[0])
    failing = open_store(FaultBackend(inner, [Fault("put", error=TransientError, prefix="index/")]))
    with pytest.raises(TransientError), failing.writer(tmp_path, plain=True, target=5000) as writer:
        append_all(writer, [*CHUNKS, root, commit(root)])
    assert len(list(inner.scan(PACKS))) == 7
    store = open_store(inner)
    assert run(store, tmp_path).frames == 20
    assert store.missing([one.id for one in CHUNKS]) == []
    assert len(list(inner.scan(PACKS))) == 5
    assert list(tmp_path.iterdir()) == []


def test_packs_that_an_index_names_are_kept(tmp_path: Path) -> None:
    """The writer died between its index blob and the removal of its journal."""
    store = open_store(MemoryBackend())
    root = tree(CHUNKS[0])
    writer = store.writer(tmp_path, plain=True)
    append_all(writer, [CHUNKS[0], root, commit(root)])
    kept: list[bytes] = []
    unlink = Path.unlink

    def remembered(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".packs":
            kept.append(path.read_bytes())
        unlink(path, missing_ok=missing_ok)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", remembered)
        writer.finish()
    (tmp_path / "0.packs").write_bytes(kept[0])
    again = open_store(store.backend)
    assert run(again, tmp_path) == NOTHING
    assert again.missing([commit(root).id, root.id, CHUNKS[0].id]) == []
    assert again.read(commit(root).id).size == len(commit(root).frame)


def test_a_spool_that_is_a_pack_already_is_not_written_to(tmp_path: Path) -> None:
    """The writer died between linking its spool to the pack's name and removing the spool."""
    store = left_behind(MemoryBackend(), tmp_path)
    (spool,) = tmp_path.glob("chunks-*")
    twin = tmp_path / "pack"
    os.link(spool, twin)
    before = twin.read_bytes()
    assert run(store, tmp_path) == NOTHING
    assert twin.read_bytes() == before
    assert not spool.exists()


def test_a_salvage_that_dies_is_salvaged(tmp_path: Path) -> None:
    inner = MemoryBackend()
    left_behind(inner, tmp_path)
    failing = open_store(FaultBackend(inner, [Fault("put", error=TransientError, prefix="index/")]))
    with pytest.raises(TransientError):
        run(failing, tmp_path)
    store = open_store(inner)
    assert run(store, tmp_path).frames == 20
    assert len(list(inner.scan(PACKS))) == 1
    assert store.missing([one.id for one in CHUNKS]) == []


KILLED = """
import sys, time
from pathlib import Path
from mediavault.store.index import ObjectIndex
from mediavault.store.pack_writer import PackWriter
from mediavault_backends.local import LocalBackend
from tests.stored import chunk

backend = LocalBackend(Path(sys.argv[1]), create=True)
writer = PackWriter(backend, ObjectIndex(backend), backend.spool_folder, plain=True, target=300_000)
for n in range(50):
    one = chunk(n.to_bytes(4, "little") * 5000)
    writer.append(one.frame, one.raw_length)
print("ready", flush=True)
time.sleep(60)
"""


def test_a_killed_process_loses_no_chunk(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert child.stdout is not None
    with child.stdout as output:
        assert output.readline() == b"ready\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
    backend = LocalBackend(tmp_path)
    store = open_store(backend)
    run(store, backend.spool_folder)
    assert store.missing([chunk(n.to_bytes(4, "little") * 5000).id for n in range(50)]) == []
    assert list(scrub(backend)) == []
    assert list(backend.spool_folder.iterdir()) == []


def test_metadata_packs_that_nothing_names_are_removed(tmp_path: Path) -> None:
    inner = MemoryBackend()
    failing = open_store(FaultBackend(inner, [Fault("put", error=TransientError, prefix="index/")]))
    with pytest.raises(TransientError), failing.writer(tmp_path, plain=True) as writer:
        append_all(writer, [make(Kind.TREE)])
    assert run(open_store(inner), tmp_path) == NOTHING
    assert list(inner.scan(PACKS)) == []
