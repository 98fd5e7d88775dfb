from pathlib import Path

import pytest

from mediavault.errors import IntegrityError
from mediavault.formats.index import encode_index, index_id
from mediavault.store import rebuild
from mediavault.store.frames import FrameStore
from mediavault.store.keys import INDEX, PACKS, index_key, pack_key
from mediavault.store.rebuild import rebuild_index
from mediavault.store.verify import scrub
from mediavault_backends.api import Absent, Backend
from mediavault_backends.errors import StorageFullError
from mediavault_backends.fault import Fault, FaultBackend
from mediavault_backends.memory import MemoryBackend
from tests.stored import Stored, append_all, chunk, commit, manifest, open_store, tree

CHUNKS = [chunk(bytes([n]) * 500) for n in range(12)]
CONTENTS = manifest(*CHUNKS[:6])
FOLDER = tree(*CHUNKS[6:8], name="sound")
ROOT = tree(CONTENTS, FOLDER, *CHUNKS[8:])
COMMIT = commit(ROOT)
ALL = [*CHUNKS, CONTENTS, FOLDER, ROOT, COMMIT]


@pytest.fixture
def store(tmp_path: Path) -> FrameStore:
    store = open_store(MemoryBackend())
    for n, objects in enumerate((CHUNKS[:5], CHUNKS[5:], [CONTENTS], [FOLDER], [ROOT, COMMIT])):
        with store.writer(tmp_path / str(n), plain=True) as writer:
            append_all(writer, objects)
    return store


def there(backend: Backend, objects: list[Stored] = ALL) -> list[Stored]:
    store = open_store(backend)
    return [one for one in objects if store.has(one.id)]


def lose_index(backend: Backend) -> None:
    for stat in list(backend.scan(INDEX)):
        backend.delete(stat.key)


@pytest.mark.parametrize("lost", [True, False])
def test_an_index_is_made_anew_from_the_packs(store: FrameStore, lost: bool) -> None:
    if lost:
        lose_index(store.backend)
    report = rebuild_index(store.backend)
    assert (report.packs, report.frames, report.dropped, report.cut) == (6, 16, 0, [])
    again = open_store(store.backend)
    assert [bytes(again.read(one.id).data) for one in ALL] == [one.frame for one in ALL]
    assert len(list(store.backend.scan(INDEX))) == 2
    assert list(scrub(store.backend)) == []


def test_a_damaged_index_is_replaced(store: FrameStore) -> None:
    key = next(iter(store.backend.scan(INDEX))).key
    store.backend.delete(key)
    store.backend.put(key, b"damaged", when=Absent())
    with pytest.raises(IntegrityError):
        there(store.backend)
    rebuild_index(store.backend)
    assert there(store.backend) == ALL


def test_metadata_whose_links_are_missing_is_left_out_until_none_is_left(store: FrameStore) -> None:
    place = store.index.find(CHUNKS[0].id)[0]
    store.backend.delete(pack_key(place.pack_id))
    lose_index(store.backend)
    report = rebuild_index(store.backend)
    assert report.dropped == 3
    assert there(store.backend) == [*CHUNKS[5:], FOLDER]
    assert list(scrub(store.backend)) == []


def test_metadata_leads_through_its_other_copy_when_one_is_damaged(store: FrameStore, tmp_path: Path) -> None:
    place = store.index.find(CONTENTS.id)[0]
    with store.writer(tmp_path, plain=True) as writer:
        append_all(writer, [CONTENTS])
    key = pack_key(place.pack_id)
    data = bytearray(store.backend.get(key).data)
    data[place.offset + 60] ^= 1
    store.backend.delete(key)
    store.backend.put(key, data, when=Absent())
    assert rebuild_index(store.backend).dropped == 1
    assert there(store.backend) == ALL


def test_what_is_whole_in_a_cut_pack_is_kept(store: FrameStore) -> None:
    place = store.index.find(CHUNKS[9].id)[0]
    key = pack_key(place.pack_id)
    data = store.backend.get(key).data
    store.backend.delete(key)
    store.backend.put(key, data[: place.offset + 50], when=Absent())
    report = rebuild_index(store.backend)
    assert report.cut == [place.pack_id]
    assert there(store.backend) == [*CHUNKS[:9], CONTENTS, FOLDER]
    assert bytes(open_store(store.backend).read(CHUNKS[8].id).data) == CHUNKS[8].frame


def test_what_is_no_pack_is_passed_over(store: FrameStore) -> None:
    store.backend.put(pack_key(bytes(32)), b"nothing", when=Absent())
    store.backend.put("packs/zz/stranger", b"nothing", when=Absent())
    assert rebuild_index(store.backend).cut == [bytes(32)]
    assert there(store.backend) == ALL


def test_flags_stay(store: FrameStore) -> None:
    place = store.index.find(CHUNKS[0].id)[0]
    table = store.pack_table(place.pack_id)
    blob = encode_index({place.pack_id: table.rows}, 1, condemned={place.pack_id})
    store.backend.put(index_key(index_id(blob)), blob, when=Absent())
    rebuild_index(store.backend)
    again = open_store(store.backend)
    assert not again.has(CHUNKS[0].id)
    assert again.read(CHUNKS[0].id)


def test_long_indexes_are_split_and_the_old_one_stays_until_all_is_written(
    store: FrameStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebuild, "BLOB_ROWS", 5)
    failing = FaultBackend(store.backend, [Fault("put", nth=2, error=StorageFullError)])
    with pytest.raises(StorageFullError):
        rebuild_index(failing)
    assert there(store.backend) == ALL
    report = rebuild_index(store.backend)
    assert report.frames == 16
    assert len(list(store.backend.scan(INDEX))) == 3
    assert there(store.backend) == ALL
    assert len(list(store.backend.scan(PACKS))) == 6
