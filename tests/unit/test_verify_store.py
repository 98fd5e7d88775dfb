from pathlib import Path

import pytest

from mediavault.formats.pack import PackRow
from mediavault.model.ids import Kind
from mediavault.store.frames import FrameStore
from mediavault.store.keys import PACKS, named_by, pack_key
from mediavault.store.verify import Damage, scrub
from mediavault_backends.api import Absent
from mediavault_backends.memory import MemoryBackend
from tests.stored import append_all, chunk, commit, manifest, open_store, tree

CHUNKS = [chunk(bytes([n]) * 500) for n in range(12)]
CONTENTS = manifest(*CHUNKS[:6])
ROOT = tree(CONTENTS, *CHUNKS[6:])
COMMIT = commit(ROOT)
ALL = [*CHUNKS, CONTENTS, ROOT, COMMIT]


@pytest.fixture
def store(tmp_path: Path) -> FrameStore:
    store = open_store(MemoryBackend())
    with store.writer(tmp_path, plain=True, target=4000) as writer:
        append_all(writer, ALL)
    return store


def rewrite(store: FrameStore, key: str, data: bytes) -> None:
    store.backend.delete(key)
    store.backend.put(key, data, when=Absent())


def found(store: FrameStore) -> list[Damage]:
    return list(scrub(store.backend))


def test_a_sound_store_has_no_damage_and_every_pack_is_reported(store: FrameStore) -> None:
    seen: dict[bytes, int] = {}
    assert list(scrub(store.backend, on_pack=seen.__setitem__)) == []
    assert {pack_key(pack): size for pack, size in seen.items()} == {
        stat.key: stat.size for stat in store.backend.scan(PACKS)
    }


def test_every_flipped_byte_of_every_pack_is_found(store: FrameStore) -> None:
    for stat in list(store.backend.scan(PACKS)):
        data = store.backend.get(stat.key).data
        for at in range(0, len(data), 37):
            flipped = bytearray(data)
            flipped[at] ^= 0x04
            rewrite(store, stat.key, bytes(flipped))
            assert found(store), (stat.key, at)
        rewrite(store, stat.key, data)
    assert found(store) == []


def test_a_damaged_frame_is_named_by_object_pack_and_offset(store: FrameStore) -> None:
    place = store.index.find(CHUNKS[3].id)[0]
    key = pack_key(place.pack_id)
    data = bytearray(store.backend.get(key).data)
    data[place.offset + 100] ^= 1
    rewrite(store, key, bytes(data))
    (damage,) = found(store)
    assert (damage.object, damage.pack, damage.offset) == (CHUNKS[3].id, place.pack_id, place.offset)
    assert "checksum" in damage.reason


def test_a_cut_pack_is_named_with_the_objects_it_lost(store: FrameStore) -> None:
    place = max(store.index.find(CHUNKS[2].id) + store.index.find(CHUNKS[1].id), key=lambda place: place.offset)
    key = pack_key(place.pack_id)
    rewrite(store, key, store.backend.get(key).data[: place.offset + 10])
    damages = found(store)
    assert {damage.pack for damage in damages} == {place.pack_id}
    lost = {row for row in (one.id for one in CHUNKS) for at in store.index.find(row) if at.pack_id == place.pack_id}
    assert CHUNKS[2].id in {damage.object for damage in damages} <= lost | {None}
    assert CHUNKS[0].id not in {damage.object for damage in damages}


def test_a_missing_pack_and_what_leads_into_it_are_named(store: FrameStore) -> None:
    place = store.index.find(CONTENTS.id)[0]
    store.backend.delete(pack_key(place.pack_id))
    (damage,) = found(store)
    assert damage.pack == place.pack_id
    assert "missing; 2 objects" in damage.reason


def test_a_pack_under_another_name_is_found(store: FrameStore) -> None:
    stats = list(store.backend.scan(PACKS))
    rewrite(store, stats[0].key, store.backend.get(stats[1].key).data)
    assert any(damage.pack == named_by(stats[0].key) and "its name" in damage.reason for damage in found(store))
    store.backend.put("packs/zz/stranger", b"x", when=Absent())
    assert any("packs/zz/stranger" in damage.reason for damage in found(store))


def test_a_link_that_leads_nowhere_is_found(store: FrameStore, tmp_path: Path) -> None:
    lost = chunk(b"never stored")
    orphan = tree(lost)
    with store.writer(tmp_path, plain=True) as writer:
        append_all(writer, [orphan])
    (damage,) = found(store)
    assert damage.object == lost.id
    assert orphan.id.hex() in damage.reason


def test_an_index_that_hides_misplaces_or_is_damaged_is_found(store: FrameStore) -> None:
    key = next(iter(store.backend.scan("index/"))).key
    good = store.backend.get(key).data
    rewrite(store, key, good[:-1])
    assert any(key in damage.reason for damage in found(store))
    rewrite(store, key, good)
    place = store.index.find(CHUNKS[0].id)[0]
    store.index.add({place.pack_id: [PackRow(bytes(32), Kind.CHUNK, 24, 99, bytes(16))] * 9})
    (damage,) = found(store)
    assert damage.pack == place.pack_id
    assert "do not stand there" in damage.reason
    store.backend.delete(key)
    hidden = {damage.object for damage in found(store) if "does not lead" in damage.reason}
    assert CHUNKS[0].id in hidden


def test_a_pack_that_nothing_names_yet_is_no_damage(store: FrameStore) -> None:
    for stat in list(store.backend.scan("index/")):
        store.backend.delete(stat.key)
    assert found(store) == []
