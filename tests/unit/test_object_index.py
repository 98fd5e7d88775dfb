import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mediavault.errors import IntegrityError
from mediavault.formats.index import encode_index, index_id
from mediavault.formats.pack import PackRow
from mediavault.model.ids import Kind, ObjectId
from mediavault.store import index as index_module
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import index_key
from mediavault_backends.api import Absent, Backend, Blob, Stat
from mediavault_backends.errors import StorageFullError
from mediavault_backends.fault import Fault, FaultBackend
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend


def an_id(number: int) -> ObjectId:
    return blake3(number.to_bytes(4, "little")).digest()


def rows(*numbers: int) -> list[PackRow]:
    return [PackRow(an_id(n), Kind.CHUNK, 24 + 100 * at, 100, bytes(16)) for at, n in enumerate(numbers)]


def open_index(backend: Backend) -> ObjectIndex:
    times = count(1)
    return ObjectIndex(backend, clock=lambda: next(times))


def put_blob(backend: Backend, packs: dict[bytes, list[PackRow]], condemned: frozenset[bytes] = frozenset()) -> None:
    blob = encode_index(packs, 7, condemned=condemned)
    backend.put(index_key(index_id(blob)), blob, when=Absent())


PACKS = [bytes([n]) * 32 for n in range(1, 40)]


@pytest.mark.parametrize("local", [True, False])
def test_what_was_added_is_found_by_this_and_other_readers(tmp_path: Path, local: bool) -> None:
    backend = LocalBackend(tmp_path) if local else MemoryBackend()
    index = open_index(backend)
    assert index.find(an_id(1)) == []
    index.add({PACKS[0]: rows(1, 2), PACKS[1]: rows(3)})
    for reader in (index, open_index(backend)):
        (place,) = reader.find(an_id(2))
        assert (place.pack_id, place.offset, place.length, place.kind) == (PACKS[0], 124, 100, Kind.CHUNK)
        assert reader.has(an_id(3))
        assert not reader.has(an_id(4))
        assert reader.packs() == {PACKS[0], PACKS[1]}
    assert len(list(backend.scan("index/"))) == 1


def test_missing_asks_the_store_again_before_it_says_so() -> None:
    backend = MemoryBackend()
    reader = open_index(backend)
    assert reader.missing([an_id(1)]) == [an_id(1)]
    open_index(backend).add({PACKS[0]: rows(1)})
    assert not reader.has(an_id(1))
    assert reader.missing([an_id(3), an_id(1), an_id(2)]) == [an_id(3), an_id(2)]
    assert reader.has(an_id(1))


def test_missing_lists_the_store_once_at_most() -> None:
    backend = FaultBackend(MemoryBackend())
    reader = open_index(backend)
    reader.add({PACKS[0]: rows(1)})
    reader.missing([an_id(n) for n in range(50)])
    before = len(backend.calls)
    assert reader.missing([an_id(1)]) == []
    assert len(backend.calls) == before
    reader.missing([an_id(n) for n in range(50)])
    assert len(backend.calls) == before + 1


def test_a_blob_that_is_gone_is_forgotten() -> None:
    backend = MemoryBackend()
    index = open_index(backend)
    index.add({PACKS[0]: rows(1)})
    assert index.has(an_id(1))
    for stat in list(backend.scan("index/")):
        backend.delete(stat.key)
    index.refresh()
    assert not index.has(an_id(1))


def test_an_object_in_several_packs_is_found_in_each_once() -> None:
    backend = MemoryBackend()
    index = open_index(backend)
    index.add({PACKS[0]: rows(1)})
    index.add({PACKS[1]: rows(1)})
    index.add({PACKS[0]: rows(1), PACKS[2]: rows(9)})
    assert sorted(place.pack_id for place in index.find(an_id(1))) == [PACKS[0], PACKS[1]]


def test_a_pack_flagged_in_any_blob_is_read_last_and_not_relied_upon() -> None:
    backend = MemoryBackend()
    put_blob(backend, {PACKS[0]: rows(1, 2)})
    put_blob(backend, {PACKS[0]: rows(1, 2), PACKS[1]: rows(7)}, condemned=frozenset({PACKS[0]}))
    index = open_index(backend)
    assert not index.has(an_id(1))
    assert index.missing([an_id(1), an_id(7)]) == [an_id(1)]
    assert [place.condemned for place in index.find(an_id(1))] == [True]
    index.add({PACKS[2]: rows(1)})
    assert [(place.pack_id, place.condemned) for place in index.find(an_id(1))] == [(PACKS[2], False), (PACKS[0], True)]
    assert index.has(an_id(1))


def test_a_batch_becomes_one_blob_and_is_visible_before() -> None:
    backend = MemoryBackend()
    index = open_index(backend)
    with index.batch():
        index.add({PACKS[0]: rows(1)})
        index.add({PACKS[1]: rows(2)})
        assert index.has(an_id(1))
        assert [place.pack_id for place in index.find(an_id(2))] == [PACKS[1]]
        assert list(backend.scan("index/")) == []
    assert len(list(backend.scan("index/"))) == 1
    assert open_index(backend).missing([an_id(1), an_id(2)]) == []
    assert len(index.find(an_id(1))) == 1


def test_a_batch_that_fails_adds_nothing() -> None:
    def failing() -> None:
        with index.batch():
            index.add({PACKS[0]: rows(1)})
            raise RuntimeError("stop")

    backend = MemoryBackend()
    index = open_index(backend)
    with pytest.raises(RuntimeError, match="stop"):
        failing()
    assert list(backend.scan("index/")) == []
    assert not index.has(an_id(1))
    index.add({PACKS[0]: rows(1)})
    assert index.has(an_id(1))


@pytest.mark.parametrize("lands", [True, False])
def test_a_lost_reply_is_settled_by_putting_again(lands: bool) -> None:
    inner = MemoryBackend()
    index = open_index(FaultBackend(inner, [Fault("put", lands=lands)]))
    index.add({PACKS[0]: rows(1)})
    assert open_index(inner).has(an_id(1))
    assert len(list(inner.scan("index/"))) == 1


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_blob_is_told_and_can_be_passed_over(tmp_path: Path, local: bool, cut: bool) -> None:
    backend = LocalBackend(tmp_path) if local else MemoryBackend()
    open_index(backend).add({PACKS[0]: rows(1)})
    open_index(backend).add({PACKS[1]: rows(2)})
    key = next(iter(backend.scan("index/"))).key
    data = bytearray(backend.get(key).data)
    data[70] ^= 1
    backend.delete(key)
    backend.put(key, data[:-1] if cut else data, when=Absent())
    with pytest.raises(IntegrityError, match=key):
        open_index(backend).has(an_id(1))
    tolerant = ObjectIndex(backend, tolerant=True)
    assert tolerant.has(an_id(1)) != tolerant.has(an_id(2))
    assert list(tolerant.damaged) == [key]


def test_compaction_merges_the_small_blobs_and_loses_no_row() -> None:
    backend = MemoryBackend()
    index = open_index(backend)
    index.add({PACKS[38]: rows(*range(1000, 3000))})
    for n in range(20):
        index.add({PACKS[n]: rows(n, n + 100)})
    watching = open_index(backend)
    assert watching.has(an_id(5))
    big = index.blobs()[0]
    assert index.compact(keep=8) == 20
    assert len(list(backend.scan("index/"))) == 2
    assert index.blobs()[0] is big
    for reader in (index, watching, open_index(backend)):
        assert reader.missing([an_id(n) for n in (*range(20), *range(100, 120), 1000, 2999)]) == []
        reader.refresh()
        assert len(reader.find(an_id(5))) == 1
    assert index.compact(keep=8) == 0


def test_compaction_leaves_at_most_as_many_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = MemoryBackend()
    index = open_index(backend)
    for n in range(12):
        index.add({PACKS[n]: rows(*range(n * 1000, n * 1000 + 4 ** min(n, 5)))})
    with monkeypatch.context() as patch:
        patch.setattr(index_module, "MERGE_ROWS", 25)
        assert index.compact(keep=1) == 3
    index.compact(keep=8)
    assert len(index.blobs()) <= 8


def test_a_merged_blob_that_equals_an_old_one_is_not_removed_with_it() -> None:
    backend = MemoryBackend()
    put_blob(backend, {PACKS[0]: rows(1, 2)})
    ObjectIndex(backend, clock=lambda: 8).add({PACKS[0]: rows(1, 2)})
    assert ObjectIndex(backend, clock=lambda: 7).compact(keep=1) == 2
    assert open_index(backend).missing([an_id(1), an_id(2)]) == []


def test_compaction_keeps_flags() -> None:
    backend = MemoryBackend()
    put_blob(backend, {PACKS[0]: rows(1)}, condemned=frozenset({PACKS[0]}))
    for n in range(1, 5):
        put_blob(backend, {PACKS[n]: rows(n + 1)})
    index = open_index(backend)
    assert index.compact(keep=2) >= 3
    assert not open_index(backend).has(an_id(1))
    assert open_index(backend).find(an_id(1))[0].condemned


def test_compaction_writes_before_it_removes() -> None:
    inner = MemoryBackend()
    for n in range(5):
        open_index(inner).add({PACKS[n]: rows(n)})
    with pytest.raises(StorageFullError):
        open_index(FaultBackend(inner, [Fault("put", error=StorageFullError)])).compact(keep=2)
    assert open_index(inner).missing([an_id(n) for n in range(5)]) == []
    backend = FaultBackend(inner)
    open_index(backend).compact(keep=2)
    writes = [call.method for call in backend.calls if call.method in ("put", "delete")]
    assert writes == ["put"] + ["delete"] * (len(writes) - 1)
    assert len(writes) > 2


def test_a_reader_survives_a_compaction_between_listing_and_loading() -> None:
    inner = MemoryBackend()
    for n in range(3):
        open_index(inner).add({PACKS[n]: rows(n)})

    class Racing(MemoryBackend):
        """Removes a blob at the first reading, as a compaction does."""

        raced = False

        def get(self, key: str) -> Blob:
            if not self.raced:
                self.raced = True
                open_index(inner).compact(keep=1)
            return inner.get(key)

        def scan(self, prefix: str = "") -> Iterator[Stat]:
            return inner.scan(prefix)

    index = open_index(Racing())
    assert index.missing([an_id(n) for n in range(3)]) == []


def test_many_threads_may_add_and_look_up_at_once() -> None:
    backend = MemoryBackend()
    index = open_index(backend)
    wrong: list[int] = []

    def work(worker: int) -> None:
        for n in range(10):
            number = worker * 100 + n
            index.add({bytes([worker + 1, n]) * 16: rows(number)})
            if not index.has(an_id(number)) or index.missing([an_id(number)]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(index.packs()) == 80
    assert len(open_index(backend).blobs()) == 80


@given(st.lists(st.lists(st.integers(0, 40), max_size=12, unique=True), max_size=8), st.booleans())
def test_an_index_agrees_with_a_dict(tables: list[list[int]], compacted: bool) -> None:
    backend = MemoryBackend()
    index = open_index(backend)
    expected: dict[int, set[bytes]] = {}
    for pack, numbers in zip(PACKS, tables, strict=False):
        index.add({pack: rows(*numbers)})
        for number in numbers:
            expected.setdefault(number, set()).add(pack)
    if compacted:
        index.compact(keep=1)
    for reader in (index, open_index(backend)):
        for number in range(41):
            assert {place.pack_id for place in reader.find(an_id(number))} == expected.get(number, set())
            assert reader.has(an_id(number)) == (number in expected)
