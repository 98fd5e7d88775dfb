from pathlib import Path

import pytest
from blake3 import blake3

from mediavault.errors import IntegrityError, UnsupportedFormatError
from mediavault.formats.frame import CHECKSUM_BYTES
from mediavault.formats.pack import PackRow
from mediavault.model.ids import Kind
from mediavault.store import frames as frames_module
from mediavault.store.frames import FrameStore
from mediavault.store.keys import PACKS, pack_key
from mediavault_backends.api import Absent, Backend
from mediavault_backends.fault import FaultBackend
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from tests.stored import Stored, append_all, chunk, open_store

CHUNKS = [chunk(bytes([n]) * 1000) for n in range(40)]


def store_of(backend: Backend, folder: Path, objects: list[Stored] = CHUNKS, target: int = 10_000) -> FrameStore:
    store = open_store(backend)
    with store.writer(folder, plain=True, target=target) as writer:
        append_all(writer, objects)
    return store


def rewrite(backend: Backend, key: str, data: bytes) -> None:
    backend.delete(key)
    backend.put(key, data, when=Absent())


def damage(store: FrameStore, one: Stored, place: int = 0, at: int | None = None) -> None:
    """Flip a bit of one copy of an object: in its middle, or at an offset in the frame."""
    located = store.index.find(one.id)[place]
    key = pack_key(located.pack_id)
    data = bytearray(store.backend.get(key).data)
    data[located.offset + (located.length // 2 if at is None else at)] ^= 0x10
    rewrite(store.backend, key, bytes(data))


@pytest.mark.parametrize("local", [True, False])
def test_frames_come_back_in_the_order_asked_for(tmp_path: Path, local: bool) -> None:
    backend = LocalBackend(tmp_path / "store", create=True) if local else MemoryBackend()
    store = store_of(backend, tmp_path / "spool")
    wanted = [CHUNKS[n] for n in (7, 3, 39, 3, 0, 21, 22)]
    expected = [one.frame for one in wanted]
    assert [bytes(frame.data) for frame in store.read_batch([one.id for one in wanted])] == expected
    assert [bytes(frame.data) for frame in store.read_many(one.id for one in wanted)] == expected
    assert [bytes(store.read(one.id).data) for one in wanted] == expected
    assert store.read_batch([]) == []


def test_neighbours_are_read_in_one_request_and_strangers_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = FaultBackend(MemoryBackend())
    store = store_of(backend, tmp_path, target=1 << 20)

    def reads(*numbers: int) -> int:
        before = len(backend.calls)
        store.read_batch([CHUNKS[n].id for n in numbers])
        return sum(call.method == "read" for call in backend.calls[before:])

    assert reads(*range(40)) == 1
    assert reads(0, 39) == 1
    assert reads(39, 0, 20) == 1
    monkeypatch.setattr(frames_module, "GAP_BYTES", 5000)
    assert reads(2, 39, 1, 20, 0, 21) == 3
    monkeypatch.setattr(frames_module, "READ_BYTES", 5000)
    assert reads(*range(8)) == 2


def test_long_lists_are_read_in_batches_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(MemoryBackend(), tmp_path)
    monkeypatch.setattr(frames_module, "BATCH_BYTES", 5000)
    batches = list(store.read_batches(one.id for one in CHUNKS))
    assert [len(batch) for batch in batches] == [4] * 10
    monkeypatch.setattr(frames_module, "BATCH_IDS", 3)
    assert max(len(batch) for batch in store.read_batches(one.id for one in CHUNKS)) == 3


def test_a_damaged_frame_is_named_and_does_not_spoil_its_neighbours(tmp_path: Path) -> None:
    store = store_of(MemoryBackend(), tmp_path)
    damage(store, CHUNKS[5])
    located = store.index.find(CHUNKS[5].id)[0]
    with pytest.raises(IntegrityError) as caught:
        store.read(CHUNKS[5].id)
    for part in (CHUNKS[5].id.hex(), located.pack_id.hex(), str(located.offset)):
        assert part in caught.value.message
    with pytest.raises(IntegrityError, match=CHUNKS[5].id.hex()):
        store.read_batch([CHUNKS[4].id, CHUNKS[5].id])
    assert store.read_batch([CHUNKS[4].id, CHUNKS[6].id])[1].size == len(CHUNKS[6].frame)


def test_a_flipped_version_is_damage_and_no_newer_format(tmp_path: Path) -> None:
    store = store_of(MemoryBackend(), tmp_path)
    damage(store, CHUNKS[5], at=0)
    with pytest.raises(IntegrityError, match="checksum"):
        store.read(CHUNKS[5].id)
    with pytest.raises(IntegrityError, match="checksum"):
        store.read_batch([CHUNKS[4].id, CHUNKS[5].id])


def test_a_frame_of_a_newer_version_says_so(tmp_path: Path) -> None:
    store = store_of(MemoryBackend(), tmp_path)
    located = store.index.find(CHUNKS[5].id)[0]
    newer = b"\x02" + CHUNKS[5].frame[1:-CHECKSUM_BYTES]
    data = bytearray(store.backend.get(pack_key(located.pack_id)).data)
    data[located.offset : located.offset + located.length] = newer + blake3(newer).digest(CHECKSUM_BYTES)
    rewrite(store.backend, pack_key(located.pack_id), bytes(data))
    with pytest.raises(UnsupportedFormatError, match="version 2"):
        store.read(CHUNKS[5].id)


@pytest.mark.parametrize("place", [0, 1])
def test_another_copy_is_read_when_one_is_damaged(tmp_path: Path, place: int) -> None:
    backend = MemoryBackend()
    store_of(backend, tmp_path)
    store = store_of(backend, tmp_path, CHUNKS[5:8])
    damage(store, CHUNKS[6], place)
    frames = store.read_batch([one.id for one in CHUNKS[5:8]])
    assert [bytes(frame.data) for frame in frames] == [one.frame for one in CHUNKS[5:8]]
    assert len(list(store.copies(CHUNKS[6].id))) == 1
    assert [bytes(frame.data) for _, frame in store.copies(CHUNKS[5].id)] == [CHUNKS[5].frame] * 2


def test_a_frame_that_an_index_misplaces_is_not_believed(tmp_path: Path) -> None:
    store = store_of(MemoryBackend(), tmp_path)
    located = store.index.find(CHUNKS[1].id)[0]
    stranger = chunk(b"stranger")
    lie = PackRow(stranger.id, Kind.CHUNK, located.offset, located.length, bytes(16))
    store.index.add({located.pack_id: [lie]})
    with pytest.raises(IntegrityError, match="another frame stands there"):
        store.read(stranger.id)
    with pytest.raises(IntegrityError, match="another frame stands there"):
        store.read_batch([CHUNKS[0].id, stranger.id])


def test_what_no_index_names_is_missing(tmp_path: Path) -> None:
    store = store_of(MemoryBackend(), tmp_path)
    stranger = chunk(b"stranger").id
    assert store.missing([stranger]) == [stranger]
    assert store.locate(stranger) is None
    assert list(store.copies(stranger)) == []
    with pytest.raises(IntegrityError, match=f"{stranger.hex()} is missing"):
        store.read(stranger)
    with pytest.raises(IntegrityError, match="is missing"):
        store.read_batch([CHUNKS[0].id, stranger])


def test_a_reader_follows_objects_that_moved_to_another_pack(tmp_path: Path) -> None:
    backend = MemoryBackend()
    store = store_of(backend, tmp_path)
    assert store.read(CHUNKS[0].id)
    for stat in [*backend.scan(PACKS), *backend.scan("index/")]:
        backend.delete(stat.key)
    store_of(backend, tmp_path)
    assert [bytes(frame.data) for frame in store.read_many([one.id for one in CHUNKS])] == [one.frame for one in CHUNKS]


def test_a_missing_pack_is_named(tmp_path: Path) -> None:
    store = store_of(MemoryBackend(), tmp_path)
    pack = store.index.find(CHUNKS[0].id)[0].pack_id
    store.backend.delete(pack_key(pack))
    with pytest.raises(IntegrityError, match=pack.hex()):
        store.read(CHUNKS[0].id)
    with pytest.raises(IntegrityError, match=f"{pack.hex()} is missing"):
        store.pack_table(pack)


def test_a_table_is_verified_against_the_packs_name(tmp_path: Path) -> None:
    store = store_of(MemoryBackend(), tmp_path)
    keys = [stat.key for stat in store.backend.scan(PACKS)]
    data = store.backend.get(keys[0]).data
    name = bytes.fromhex(keys[0][-64:])
    assert [row.id for row in store.pack_table(name).rows] == [
        row.id for row in sorted(store.pack_table(name).rows, key=lambda row: row.offset)
    ]
    rewrite(store.backend, keys[1], data)
    with pytest.raises(IntegrityError, match="does not match its name"):
        store.pack_table(bytes.fromhex(keys[1][-64:]))
    for at in (3, 20, len(data) - 60, len(data) - 100, len(data) - 40, len(data) - 1):
        flipped = bytearray(data)
        flipped[at] ^= 1
        rewrite(store.backend, keys[0], bytes(flipped))
        with pytest.raises(IntegrityError, match=name.hex()):
            store.pack_table(name)
    for length in (0, 10, 24, 71, len(data) - 1):
        rewrite(store.backend, keys[0], data[:length])
        with pytest.raises(IntegrityError, match=name.hex()):
            store.pack_table(name)
