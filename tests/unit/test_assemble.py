from itertools import count
from pathlib import Path

import pytest

from mediavault.errors import IntegrityError
from mediavault.formats.pack import PackRow
from mediavault.model.ids import Kind
from mediavault.store import assemble
from mediavault.store.assemble import PackSource, plan_packs
from mediavault.store.frames import FrameStore
from mediavault.store.keys import pack_key
from mediavault.store.receive import PackReceiver
from mediavault_backends.api import Absent, Backend
from mediavault_backends.fault import FaultBackend
from mediavault_backends.memory import MemoryBackend
from tests.stored import Stored, append_all, chunk, open_store

CHUNKS = [chunk(bytes([n]) * 1000) for n in range(40)]
FRAME = len(CHUNKS[0].frame)


def store_of(backend: Backend, folder: Path, objects: list[Stored] = CHUNKS, *, plain: bool = True) -> FrameStore:
    store = open_store(backend)
    with store.writer(folder, plain=plain, target=12_000) as writer:
        append_all(writer, objects)
    return store


def sent(source: PackSource) -> bytes:
    return b"".join(source.blocks())


def received(folder: Path, source: PackSource) -> list[bytes]:
    """Check a pack as a server does; return the frames."""
    with PackReceiver(folder / "received", source.id) as receiver:
        receiver.feed(sent(source))
        receiver.finish()
        assert receiver.rows == source.rows
        return [bytes(frame.data) for frame in receiver.frames()]


@pytest.mark.parametrize("plain", [True, False])
def test_chosen_frames_become_a_valid_pack_byte_for_byte(tmp_path: Path, plain: bool) -> None:
    chunks = CHUNKS if plain else [chunk(bytes([n]) * 1000, sealed=True) for n in range(40)]
    store = store_of(MemoryBackend(), tmp_path, chunks, plain=plain)
    chosen = [chunks[n] for n in (30, 3, 4, 5, 17, 3)]
    (source,) = plan_packs(store, [one.id for one in chosen], plain=plain)
    assert len(sent(source)) == source.size
    assert sorted(received(tmp_path, source)) == sorted({one.frame for one in chosen})
    assert sent(source) == sent(source)


def test_neighbours_stay_together_and_are_streamed_in_one_request(tmp_path: Path) -> None:
    backend = FaultBackend(MemoryBackend())
    store = store_of(backend, tmp_path)
    (source,) = plan_packs(store, [one.id for one in reversed(CHUNKS)], plain=True)
    assert sum(call.method == "stream" for call in backend.calls) == 0
    sent(source)
    assert sum(call.method == "stream" for call in backend.calls) == len(store.index.packs()) == 4


def test_an_order_is_kept_over_all_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "SLICE_IDS", 7)
    store = store_of(MemoryBackend(), tmp_path)
    wanted = [CHUNKS[n] for n in range(39, -1, -3)]
    sources = list(plan_packs(store, [one.id for one in wanted], plain=True, ordered=True, target=6000))
    assert len(sources) == 3
    assert [frame for source in sources for frame in received(tmp_path, source)] == [one.frame for one in wanted]


def test_packs_stay_within_their_target_and_their_number_of_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(MemoryBackend(), tmp_path)
    sources = list(plan_packs(store, [one.id for one in CHUNKS], plain=True, target=10_000))
    assert all(source.size <= 10_000 for source in sources)
    assert [len(source.rows) for source in sources] == [8, 8, 8, 8, 8]
    (alone, _) = plan_packs(store, [CHUNKS[0].id, CHUNKS[1].id], plain=True, target=10)
    assert len(alone.rows) == 1
    monkeypatch.setattr(assemble, "MAX_PACK_ROWS", 3)
    assert max(len(source.rows) for source in plan_packs(store, [one.id for one in CHUNKS], plain=True)) == 3
    assert list(plan_packs(store, [], plain=True)) == []


def test_every_pack_has_a_name_of_its_own(tmp_path: Path) -> None:
    store = store_of(MemoryBackend(), tmp_path)
    (source,) = plan_packs(store, [one.id for one in CHUNKS[:3]], plain=True)
    (twin,) = plan_packs(store, [one.id for one in CHUNKS[:3]], plain=True)
    renewed = source.renewed()
    assert len({source.id, twin.id, renewed.id}) == 3
    assert received(tmp_path, renewed) == received(tmp_path, source)
    numbers = count(1)
    (counted,) = plan_packs(store, [CHUNKS[0].id], plain=True, random=lambda n: bytes([next(numbers)]) * n)
    assert sent(counted)[8:24] == b"\1" * 16
    assert sent(counted.renewed())[8:24] == b"\2" * 16


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    store = store_of(MemoryBackend(), tmp_path)
    with pytest.raises(IntegrityError, match="is missing"):
        list(plan_packs(store, [bytes(32)], plain=True))
    located = store.index.find(CHUNKS[0].id)[0]
    store.index.add({located.pack_id: [PackRow(b"x" * 32, Kind.CHUNK, 24, 10, bytes(16))]})
    with pytest.raises(IntegrityError, match="does not hold object"):
        list(plan_packs(store, [b"x" * 32], plain=True))


def test_a_pack_that_is_cut_while_it_is_sent_is_told(tmp_path: Path) -> None:
    store = store_of(MemoryBackend(), tmp_path)
    (source,) = plan_packs(store, [one.id for one in CHUNKS], plain=True)
    for pack in store.index.packs():
        data = store.backend.get(pack_key(pack)).data
        store.backend.delete(pack_key(pack))
        store.backend.put(pack_key(pack), data[: 2 * FRAME], when=Absent())
    with pytest.raises(IntegrityError, match="is cut"):
        sent(source)
