"""Collection in a store of small objects: what goes, what stays, and what is refused."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pytest

from mediavault.errors import IntegrityError
from mediavault.formats.frame import parse_frame
from mediavault.formats.pack import NONCE_BYTES, encode_footer, encode_pack_header, encode_table, pack_id, row_of
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.store.collect import CollectionPlan, Needs, plan_collection, run_collection
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.store.keys import INDEX, PACKS, index_key, named_by, pack_key
from mediavault.store.verify import scrub
from mediavault_backends.api import Absent
from mediavault_backends.memory import MemoryBackend
from tests.stored import Stored, append_all, chunk, commit, manifest, open_store, tag, tree

KIB = 1024


def big(name: str) -> Stored:
    """Make a chunk of 10 KiB."""
    return chunk(name.encode().ljust(10 * KIB, b"."))


class Shelf:
    """A store in memory, and the ways into it."""

    def __init__(self, spool: Path) -> None:
        self.backend = MemoryBackend()
        self.spool = spool

    @property
    def frames(self) -> FrameStore:
        return open_store(self.backend)

    @property
    def packs(self) -> set[ObjectId]:
        return {name for stat in self.backend.scan(PACKS) if (name := named_by(stat.key))}

    def save(self, *objects: Stored) -> set[ObjectId]:
        """Store objects in packs of their own; return these."""
        before = self.packs
        with self.frames.writer(self.spool, plain=True) as writer:
            append_all(writer, objects)
        return self.packs - before

    def put_pack(self, *objects: Stored, nonce: int = 1, index: bool = True) -> ObjectId:
        """Store objects in one pack as they are, of whatever kinds."""
        rows, data, at = [], b"", len(encode_pack_header(bytes(NONCE_BYTES), plain=True))
        for one in objects:
            rows.append(row_of(parse_frame(one.frame), at + len(data), plain=True))
            data += one.frame
        table = encode_table(rows, plain=True)
        head = nonce.to_bytes(NONCE_BYTES, "big")
        name = pack_id(head, table)
        footer = encode_footer(at + len(data), len(rows), table)
        body = encode_pack_header(head, plain=True) + data + table + footer
        self.backend.put(pack_key(name), body, when=Absent())
        if index:
            ObjectIndex(self.backend).add({name: rows})
        return name

    def plan(
        self,
        *current: Stored,
        former: Iterable[Stored] = (),
        young: Iterable[ObjectId] = (),
        pending: Iterable[ObjectId] = (),
    ) -> tuple[FrameStore, CollectionPlan]:
        frames = self.frames
        needs = Needs(
            current=[one.link for one in current],
            former=[one.link for one in former],
            young=frozenset(young),
            pending=frozenset(pending),
        )
        return frames, plan_collection(frames, needs, lambda _: None)

    def collect(
        self, *current: Stored, former: Iterable[Stored] = (), young: Iterable[ObjectId] = ()
    ) -> CollectionPlan:
        frames, plan = self.plan(*current, former=former, young=young)
        with frames.writer(self.spool, plain=True) as writer:
            run_collection(frames, plan, writer, copied=lambda _: None, settled=lambda: None)
        return plan

    def check(self, there: Sequence[Stored], gone: Sequence[Stored] = ()) -> None:
        """Everything that is there reads from the store as it is, the rest is not claimed, and nothing is damaged."""
        frames = self.frames
        for one in there:
            assert frames.read(one.id).header.id == one.id
        assert [one for one in gone if frames.has(one.id)] == []
        assert list(scrub(self.backend)) == []
        assert frames.index.packs() == self.packs


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "spool")


def state(name: str, *parents: Stored, chunks: Sequence[Stored] = ()) -> list[Stored]:
    """Make one state of a project, children first, the commit last."""
    parts = [*chunks, big(name), big(name + "'")]
    contents = manifest(*parts)
    root = tree(contents, name=name)
    return [*parts, contents, root, commit(root, *parents, message=name)]


def test_packs_that_nothing_leads_to_go_whole(shelf: Shelf) -> None:
    one, other = state("one"), state("other")
    kept, dead = shelf.save(*one), shelf.save(*other)
    plan = shelf.collect(one[-1])
    assert set(plan.deleted) == dead
    assert plan.rewritten == []
    assert (plan.objects, plan.stray) == (len(one), len(other))
    assert shelf.packs == kept
    shelf.check(one, other)


def test_what_is_needed_of_a_half_dead_pack_moves(shelf: Shelf) -> None:
    one, other = state("one"), state("other")
    packs = shelf.save(*one, *other)
    plan = shelf.collect(one[-1])
    assert plan.deleted == []
    assert set(plan.rewritten) == packs
    assert not shelf.packs & packs
    assert plan.bytes_copied == sum(len(item.frame) for item in one)
    shelf.check(one, other)


def test_a_little_waste_of_chunks_stays_and_stays_usable(shelf: Shelf) -> None:
    one = state("one", chunks=[big(str(n)) for n in range(20)])
    extra = big("extra")
    (pack,) = shelf.save(*one[:-3], extra)
    shelf.save(*one[-3:])
    plan = shelf.collect(one[-1])
    assert plan.gone == frozenset()
    assert plan.packs[pack].waste == len(extra.frame)
    shelf.check([*one, extra])


def test_a_pack_with_one_stray_tree_is_written_anew_however_little_that_is(shelf: Shelf) -> None:
    """Else the tree would stay indexed while what it leads to goes, and the next commit would rely on it."""
    one = state("one")
    lost = chunk(b"lost")
    stray = tree(lost, name="stray")
    many = [tree(one[0], name=str(n)) for n in range(40)]
    root = tree(*many, *one[-2:-1])
    last = commit(root)
    shelf.save(*one, *many, root, last, stray)
    shelf.save(lost)
    shelf.collect(last, one[-1])
    shelf.check([*one, *many, root, last], [stray, lost])


def test_former_and_young_and_tagged_things_stay(shelf: Shelf) -> None:
    one, two, three, four = (state(name) for name in ("one", "two", "three", "four"))
    label = tag(one[-1])
    for objects in ([*one, label], two, four):
        shelf.save(*objects)
    young = shelf.save(*three)
    plan = shelf.collect(label, former=[two[-1]], young=young)
    uses = [use for pack, use in plan.packs.items() if pack not in plan.gone]
    for objects, kind in (([*one, label], "current"), (two, "former"), (three, "young")):
        assert sum(getattr(use, kind) for use in uses) == sum(len(item.frame) for item in objects)
    shelf.check([*one, *two, *three, label], four)


def test_staged_things_stay(shelf: Shelf) -> None:
    one, staged = state("one"), [big("staged"), big("staged too")]
    contents = manifest(*staged)
    shelf.save(*one, *staged, contents, *state("dead"))
    frames = shelf.frames
    plan = plan_collection(frames, Needs([one[-1].link], staged=iter([contents.link])), lambda _: None)
    with frames.writer(shelf.spool, plain=True) as writer:
        run_collection(frames, plan, writer, copied=lambda _: None, settled=lambda: None)
    shelf.check([*one, *staged, contents], state("dead"))


def test_what_a_young_pack_leads_to_stays_though_it_is_old(shelf: Shelf) -> None:
    old = big("old")
    shelf.save(old)
    root = tree(old)
    young = shelf.save(root)
    shelf.collect(young=young)
    shelf.check([root, old])
    shelf.collect()
    shelf.check([], [root, old])


def test_equal_frames_are_kept_once(shelf: Shelf) -> None:
    same = big("same")
    shelf.put_pack(same, nonce=1)
    shelf.put_pack(same, big("dead"), nonce=2)
    plan = shelf.collect(same)
    assert len(plan.deleted) == 1
    assert plan.rewritten == []
    assert len(shelf.packs) == 1
    shelf.check([same])


def test_frames_of_one_id_that_differ_all_move(tmp_path: Path) -> None:
    backend = MemoryBackend()
    first, second = (chunk(b"sealed" * 999, sealed=True, salt=bytes([n]) * 32) for n in (1, 2))
    dead = [chunk(bytes([n]) * 5000, sealed=True) for n in range(4)]
    for one, waste in ((first, dead[:2]), (second, dead[2:])):
        with open_store(backend).writer(tmp_path, plain=False) as writer:
            append_all(writer, [one, *waste])
    frames = open_store(backend)
    plan = plan_collection(frames, Needs([first.link]), lambda _: None)
    assert len(plan.rewritten) == 2
    with frames.writer(tmp_path, plain=False) as writer:
        run_collection(frames, plan, writer, copied=lambda _: None, settled=lambda: None)
    found = {frame.checksum for _, frame in open_store(backend).copies(first.id)}
    assert found == {parse_frame(first.frame).checksum, parse_frame(second.frame).checksum}
    assert [one for one in dead if open_store(backend).has(one.id)] == []


def test_packs_that_no_index_names_go_unless_they_are_young_or_a_writer_will_come_back(shelf: Shelf) -> None:
    names = [shelf.put_pack(big(str(n)), nonce=n, index=False) for n in range(3)]
    _, plan = shelf.plan(young=names[:1], pending=names[1:2])
    assert plan.deleted == names[2:]


def test_an_indexed_pack_is_not_pending(shelf: Shelf) -> None:
    """Its journal outlived it: keeping it would keep its trees without what they lead to."""
    lost = big("lost")
    shelf.save(lost)
    packs = shelf.save(tree(lost))
    _, plan = shelf.plan(pending=packs)
    assert set(plan.deleted) == shelf.packs


def test_something_needed_that_is_missing_ends_it_with_nothing_changed(shelf: Shelf) -> None:
    one = state("one")
    packs = shelf.save(*one)
    shelf.save(*state("dead"))
    holder = next(pack for pack in packs if any(row.kind == Kind.CHUNK for row in shelf.frames.pack_table(pack).rows))
    shelf.backend.delete(pack_key(holder))
    before = {stat.key for stat in shelf.backend.scan()}
    with pytest.raises(IntegrityError, match="is missing"):
        shelf.collect(one[-1])
    with pytest.raises(IntegrityError, match="is missing"):
        shelf.collect(one[0])
    assert {stat.key for stat in shelf.backend.scan()} == before


def test_a_damaged_frame_that_would_move_ends_it_before_anything_goes(shelf: Shelf) -> None:
    one = state("one")
    packs = shelf.save(*one, *state("other"))
    key = next(pack_key(p) for p in packs if any(row.id == one[0].id for row in shelf.frames.pack_table(p).rows))
    row = next(row for row in shelf.frames.pack_table(bytes.fromhex(key[-64:])).rows if row.id == one[0].id)
    blob = shelf.backend.get(key)
    data = bytearray(blob.data)
    data[row.offset + row.length // 2] ^= 1
    shelf.backend.delete(key)
    shelf.backend.put(key, bytes(data), when=Absent())
    with pytest.raises(IntegrityError, match="is damaged"):
        shelf.collect(one[-1])
    assert packs <= shelf.packs
    assert shelf.frames.has(one[1].id)


def test_what_an_interrupted_collection_flagged_goes_at_the_next_whatever_its_age(shelf: Shelf) -> None:
    one, dead = state("one"), state("dead")
    shelf.save(*one)
    flagged = shelf.save(*dead)
    shelf.frames.index.condemn(flagged)
    assert [item for item in dead if shelf.frames.has(item.id)] == []
    shelf.frames.index.compact(keep=1)
    plan = shelf.collect(one[-1], young=flagged)
    assert set(plan.deleted) == flagged
    shelf.check(one, dead)
    assert not any(pack.condemned for blob in shelf.frames.index.blobs() for pack in blob.packs)


def test_something_needed_that_stands_only_in_a_flagged_pack_moves(shelf: Shelf) -> None:
    one = state("one")
    flagged = shelf.save(*one)
    shelf.frames.index.condemn(flagged)
    plan = shelf.collect(one[-1])
    assert set(plan.rewritten) == flagged
    shelf.check(one)


def test_nothing_is_settled_before_all_that_stays_was_found(shelf: Shelf) -> None:
    one, dead = state("one"), state("dead")
    shelf.save(*one)
    shelf.save(*dead)
    frames, plan = shelf.plan(one[-1])
    kept = next(pack for pack in shelf.packs if pack not in plan.gone)
    seen = []
    frames.index.drop([kept], frames.index.condemn([kept]))  # as if someone else had been at work
    with frames.writer(shelf.spool, plain=True) as writer, pytest.raises(IntegrityError, match="would be lost"):
        run_collection(frames, plan, writer, copied=lambda _: None, settled=lambda: seen.append(1))
    assert seen == []
    assert plan.gone <= shelf.packs


def test_the_flags_are_the_last_of_the_index_to_go_and_packs_go_after_them(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        shelf.save(*state(str(number)))
    flags = []
    condemn, delete = ObjectIndex.condemn, shelf.backend.delete
    deleted: list[str] = []

    def note(key: str) -> None:
        deleted.append(key)
        delete(key)

    def noting(index: ObjectIndex, packs: Collection[ObjectId]) -> ObjectId:
        flags.append(index_key(condemn(index, packs)))
        return bytes.fromhex(flags[0].rpartition("/")[2])

    monkeypatch.setattr(ObjectIndex, "condemn", noting)
    monkeypatch.setattr(shelf.backend, "delete", note)
    shelf.collect()
    of_index = [key for key in deleted if key.startswith(INDEX)]
    assert len(of_index) == 5
    assert of_index[-1:] == flags
    assert deleted[: len(of_index)] == of_index
    assert shelf.packs == set()


def test_a_second_collection_finds_nothing(shelf: Shelf) -> None:
    one, two = state("one"), state("two")
    shelf.save(*one, *two)
    shelf.collect(two[-1])
    before = shelf.packs
    again = shelf.collect(two[-1])
    assert again.gone == frozenset()
    assert again.stray == 0
    assert shelf.packs == before


def test_a_link_to_another_kind_is_refused(shelf: Shelf) -> None:
    one = state("one")
    shelf.save(*one)
    frames = shelf.frames
    with pytest.raises(IntegrityError):
        plan_collection(frames, Needs([Link(Kind.TREE, one[-1].id)]), lambda _: None)
