"""Many small index blobs answer like a few: the same places, flags and absences, whatever comes and goes."""

from itertools import pairwise

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mediavault.formats.index import IndexBlob, encode_index, index_id
from mediavault.formats.pack import PackRow
from mediavault.model.ids import Kind, ObjectId
from mediavault.store import index_groups
from mediavault.store.index import ObjectIndex
from mediavault.store.index_groups import LOOSE, Group, regroup
from mediavault.store.keys import index_key
from mediavault_backends.memory import MemoryBackend


def an_id(number: int) -> ObjectId:
    return blake3(number.to_bytes(4, "little")).digest()


def pack(number: int) -> ObjectId:
    return blake3(b"pack" + number.to_bytes(4, "little")).digest()


def rows(*numbers: int) -> list[PackRow]:
    return [PackRow(an_id(n), Kind.CHUNK, 24 + 100 * at, 100, bytes(16)) for at, n in enumerate(numbers)]


def blob(number: int, *objects: int, condemned: bool = False) -> tuple[ObjectId, IndexBlob]:
    flags = frozenset([pack(number)]) if condemned else frozenset()
    data = encode_index({pack(number): rows(*objects)}, number, condemned=flags)
    return index_id(data), IndexBlob(data)


def filled(store: MemoryBackend, count: int) -> ObjectIndex:
    writer = ObjectIndex(store)
    for number in range(count):
        writer.add({pack(number): rows(number, number + 1)})
    return writer


def test_hundreds_of_blobs_are_searched_as_a_few() -> None:
    store = MemoryBackend()
    writer = filled(store, 300)
    assert len(writer.blobs()) == 300
    for index in (writer, ObjectIndex(store)):
        index.refresh()
        assert index._view is not None
        assert len(index._view.searched) <= LOOSE + 10
        for number in range(301):
            packs = {place.pack_id for place in index.find(an_id(number))}
            assert packs == {pack(n) for n in (number - 1, number) if 0 <= n < 300}
        assert index.missing([an_id(n) for n in range(295, 305)]) == [an_id(n) for n in range(301, 305)]


def test_few_blobs_are_left_alone() -> None:
    blobs = dict(blob(number, number) for number in range(LOOSE))
    assert regroup(blobs, ()) == ()


def test_a_blob_that_is_gone_is_gone_from_its_group() -> None:
    store = MemoryBackend()
    index = filled(store, 40)
    (name,) = (index_id(encode_index({pack(9): rows(9, 10)}, found.written_ns)) for found in index.blobs()
               if found.packs[0].id == pack(9))  # fmt: skip
    store.delete(index_key(name))
    index.refresh()
    assert [place.pack_id for place in index.find(an_id(9))] == [pack(8)]
    assert [place.pack_id for place in index.find(an_id(10))] == [pack(10)]
    assert len(index.find(an_id(20))) == 2


def test_a_flag_that_comes_later_counts() -> None:
    store = MemoryBackend()
    index = filled(store, 40)
    reader = ObjectIndex(store)
    assert reader.has(an_id(0))
    index.condemn([pack(0)])
    reader.refresh()
    for one in (index, reader):
        assert not one.has(an_id(0))
        assert [place.condemned for place in one.find(an_id(0))] == [True]
        assert [place.condemned for place in one.find(an_id(1))] == [False, True]


def test_a_flag_without_rows_hides_no_row() -> None:
    blobs = dict([*(blob(number, number) for number in range(30)), blob(5, condemned=True)])
    groups = regroup(blobs, ())
    assert all(pack(5) not in {entry.id for entry in group.blob.packs} for group in groups)
    assert groups


def test_long_blobs_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_groups, "SMALL_ROWS", 3)
    blobs = dict([*(blob(number, number) for number in range(30)), blob(99, *range(50, 60))])
    (group,) = regroup(blobs, ())
    assert len(group.blob) == 30


def test_groups_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_groups, "GROUP_ROWS", 20)
    blobs = dict(blob(number, 2 * number, 2 * number + 1) for number in range(64))
    groups = regroup(blobs, ())
    assert all(len(group.blob) <= 20 for group in groups)
    assert sum(len(group.names) for group in groups) == 64


def test_groups_are_kept_and_merged_when_they_are_alike() -> None:
    blobs: dict[ObjectId, IndexBlob] = {}
    groups: tuple[Group, ...] = ()
    made = 0
    for number in range(400):
        blobs.update([blob(number, number)])
        before, groups = groups, regroup(blobs, groups)
        made += groups != before
        lengths = [len(group.blob) for group in groups]
        assert all(one >= 2 * two for one, two in pairwise(lengths))
        assert number + 1 - sum(lengths) <= LOOSE
    assert made <= 400 // LOOSE + 1


changes = st.lists(st.tuples(st.sampled_from(["add", "remove", "flag"]), st.integers(0, 60)), min_size=20, max_size=120)


@given(changes)
def test_a_reader_with_groups_agrees_with_one_without(steps: list[tuple[str, int]]) -> None:
    blobs: dict[ObjectId, IndexBlob] = {}
    groups: tuple[Group, ...] = ()
    for what, number in steps:
        name, one = blob(number, number, number % 7, condemned=what == "flag")
        if what == "remove":
            blobs.pop(name, None)
        else:
            blobs[name] = one
        groups = regroup(blobs, groups)
        grouped = {name for group in groups for name in group.names}
        assert grouped <= blobs.keys()
        searched = [*(one for name, one in blobs.items() if name not in grouped), *(group.blob for group in groups)]
        for wanted in (number, number % 7, 1):
            found = sorted((p.pack_id, p.offset) for one in searched for p in one.find(an_id(wanted)))
            assert found == sorted((p.pack_id, p.offset) for one in blobs.values() for p in one.find(an_id(wanted)))
