from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.errors import FormatError, IntegrityError, StorageError
from mediavault.formats.frame import build_frame, make_header, parse_frame
from mediavault.formats.pack import PackRow, encode_footer, encode_pack_header, encode_table, pack_id
from mediavault.model.ids import Kind
from mediavault.store import pack_table
from mediavault.store import receive as receiving
from mediavault.store.frames import FrameStore
from mediavault.store.keys import PACKS, pack_key
from mediavault.store.receive import PackReceiver
from mediavault_backends import fsio
from mediavault_backends.api import Absent
from mediavault_backends.errors import OutcomeUnknownError
from mediavault_backends.fault import Fault, FaultBackend
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from tests.stored import Stored, append_all, chunk, commit, manifest, open_store, tree

CHUNKS = [chunk(bytes([n]) * 300) for n in range(6)]
NONCE = b"n" * 16


def row(one: Stored, offset: int) -> PackRow:
    return PackRow(one.id, one.link.kind, offset, len(one.frame), one.frame[-16:], one.raw_length)


def pack_of(*objects: Stored, rows: list[PackRow] | None = None, plain: bool = True) -> tuple[bytes, bytes]:
    """Return a pack's name and bytes; other rows than the right ones may be given."""
    body = b"".join(one.frame for one in objects)
    if rows is None:
        rows, at = [], 24
        for one in objects:
            rows.append(row(one, at))
            at += len(one.frame)
    table = encode_table(rows, plain)
    header = encode_pack_header(NONCE, plain)
    return pack_id(NONCE, table), header + body + table + encode_footer(24 + len(body), len(rows), table)


def take_whole(receiver: PackReceiver, data: bytes, step: int = 100) -> None:
    for at in range(0, len(data), step):
        receiver.feed(data[at : at + step])
    receiver.finish()


def receive(folder: Path, data: bytes, name: bytes | None = None, step: int = 1 << 20) -> PackReceiver:
    receiver = PackReceiver(folder / "received", name)
    try:
        take_whole(receiver, data, step)
    except BaseException:
        receiver.close()
        raise
    return receiver


def store_of(folder: Path, *objects: Stored) -> FrameStore:
    store = open_store(MemoryBackend())
    with store.writer(folder, plain=True) as writer:
        append_all(writer, objects)
    return store


def test_the_disk_begins_on_a_pack_that_it_keeps_while_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "SYNC_BYTES", 500)
    name, data = pack_of(*CHUNKS)
    steps: list[fsio.Step] = []
    for kept in (False, True):
        steps.clear()
        with fsio.observe(steps.append), PackReceiver(tmp_path / "received", name, kept=kept) as receiver:
            take_whole(receiver, data)
        assert len([step for step in steps if step.kind == "sync-file"]) == (len(data) // 500 if kept else 0)


@pytest.mark.parametrize("at_its_end", [False, True])
def test_a_disk_that_fails_meanwhile_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, at_its_end: bool
) -> None:
    def fail(fd: int, path: Path) -> None:
        del fd, path
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(receiving, "SYNC_BYTES", 500)
    monkeypatch.setattr(fsio, "sync_file", fail)
    name, data = pack_of(*CHUNKS * (1 if at_its_end else 4), rows=[])
    with PackReceiver(tmp_path / "received", name, kept=True) as receiver, pytest.raises(StorageError, match="output"):
        take_whole(receiver, data)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [1, 100, 1 << 20])
def test_a_good_pack_is_published_and_can_be_read(tmp_path: Path, step: int) -> None:
    backend = LocalBackend(tmp_path / "store", create=True)
    store = open_store(backend)
    name, data = pack_of(*CHUNKS)
    with receive(backend.spool_folder, data, name, step) as receiver:
        assert (receiver.id, receiver.plain, receiver.kinds, receiver.size) == (
            name,
            True,
            frozenset({Kind.CHUNK}),
            len(data),
        )
        assert [bytes(frame.data) for frame in receiver.frames()] == [one.frame for one in CHUNKS]
        assert receiver.missing_links(store) == []
        assert not store.has(CHUNKS[0].id)
        assert receiver.publish(backend, store.index)
    assert backend.get(pack_key(name)).data == data
    assert [bytes(frame.data) for frame in store.read_many([one.id for one in CHUNKS])] == [one.frame for one in CHUNKS]
    assert list(backend.spool_folder.iterdir()) == []


def test_a_pack_that_is_there_is_not_indexed_twice(tmp_path: Path) -> None:
    store = open_store(MemoryBackend())
    name, data = pack_of(*CHUNKS)
    for created in (True, False):
        with receive(tmp_path, data, name) as receiver:
            assert receiver.publish(store.backend, store.index) == created
    assert len(list(store.backend.scan("index/"))) == 1


def test_a_pack_that_was_put_by_someone_who_died_is_indexed(tmp_path: Path) -> None:
    store = open_store(MemoryBackend())
    name, data = pack_of(*CHUNKS)
    store.backend.put(pack_key(name), data, when=Absent())
    with receive(tmp_path, data, name) as receiver:
        assert receiver.publish(store.backend, store.index)
    assert store.missing([one.id for one in CHUNKS]) == []


def test_a_cut_pack_of_the_same_name_is_not_taken_for_it(tmp_path: Path) -> None:
    store = open_store(MemoryBackend())
    name, data = pack_of(*CHUNKS)
    store.backend.put(pack_key(name), data[:-1], when=Absent())
    with receive(tmp_path, data, name) as receiver, pytest.raises(IntegrityError, match="another length"):
        receiver.publish(store.backend, store.index)


@pytest.mark.parametrize("lands", [True, False])
def test_an_unknown_outcome_is_the_senders_to_settle_unless_it_landed(tmp_path: Path, lands: bool) -> None:
    store = open_store(FaultBackend(MemoryBackend(), [Fault("put", prefix="packs/", lands=lands)]))
    name, data = pack_of(*CHUNKS)
    with receive(tmp_path, data, name) as receiver:
        if lands:
            assert receiver.publish(store.backend, store.index)
        else:
            with pytest.raises(OutcomeUnknownError):
                receiver.publish(store.backend, store.index)
    assert store.index.has(CHUNKS[0].id) == lands


def test_another_pack_than_declared_is_refused(tmp_path: Path) -> None:
    _, data = pack_of(*CHUNKS)
    with pytest.raises(IntegrityError, match="is in truth"):
        receive(tmp_path, data, bytes(32))
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_says_otherwise_than_the_frames_is_refused(tmp_path: Path) -> None:
    right = row(CHUNKS[0], 24)
    wrong: list[dict[str, object]] = [
        {"id": bytes(32)},
        {"kind": Kind.TREE},
        {"checksum": bytes(16)},
        {"raw_length": 301},
    ]
    for change in wrong:
        name, data = pack_of(CHUNKS[0], rows=[msgspec.structs.replace(right, **change)])
        with pytest.raises(FormatError):
            receive(tmp_path, data, name)
    name, data = pack_of(CHUNKS[0])
    receive(tmp_path, data, name).close()


def test_frames_that_do_not_tile_the_pack_are_refused(tmp_path: Path) -> None:
    second = row(CHUNKS[1], 24 + len(CHUNKS[0].frame))
    for rows in ([second], [row(CHUNKS[0], 24)], [row(CHUNKS[0], 24), row(CHUNKS[0], 24)]):
        name, data = pack_of(*CHUNKS[:2], rows=rows)
        with pytest.raises(FormatError):
            receive(tmp_path, data, name)


def test_an_object_twice_and_a_frame_of_another_suite_are_refused(tmp_path: Path) -> None:
    name, data = pack_of(CHUNKS[0], CHUNKS[0])
    with pytest.raises(FormatError, match="twice"):
        receive(tmp_path, data, name)
    name, data = pack_of(chunk(b"sealed", sealed=True))
    with pytest.raises(FormatError, match="suite"):
        receive(tmp_path, data, name)


def test_size_and_number_of_frames_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, data = pack_of(*CHUNKS)
    with PackReceiver(tmp_path / "received", name, max_size=len(data) - 1) as receiver:
        receiver.feed(data[:-1])
        with pytest.raises(FormatError, match="larger"):
            receiver.feed(data[-1:])
    monkeypatch.setattr(pack_table, "MAX_PACK_ROWS", 5)
    with pytest.raises(FormatError, match="frames"):
        receive(tmp_path, data, name)


@given(st.data())
def test_no_altered_pack_passes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    name, good = pack_of(*CHUNKS[:3], manifest(CHUNKS[0], CHUNKS[1]))
    altered = bytearray(good)
    if data.draw(st.booleans()):
        altered = altered[: data.draw(st.integers(0, len(good) - 1))]
    else:
        altered[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises((IntegrityError, FormatError)):
        receive(tmp_path_factory.mktemp("spool"), bytes(altered), name)


@given(st.binary(max_size=300))
def test_no_other_bytes_pass(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    with pytest.raises(FormatError):
        receive(tmp_path_factory.mktemp("spool"), data)


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    contents = manifest(CHUNKS[0], CHUNKS[5])
    root = tree(contents, CHUNKS[1])
    first = commit(root)
    name, data = pack_of(contents, root, first)
    store = store_of(tmp_path, *CHUNKS[:5])
    with receive(tmp_path, data, name) as receiver:
        assert receiver.missing_links(store) == [CHUNKS[5].link]
        assert receiver.missing_links(open_store(MemoryBackend()), limit=2) != []
    with store.writer(tmp_path, plain=True) as writer:
        append_all(writer, CHUNKS[5:])
    with receive(tmp_path, data, name) as receiver:
        assert receiver.missing_links(store) == []
        assert receiver.publish(store.backend, store.index)
    assert store.has(first.id)


def test_metadata_that_contradicts_what_is_stored_is_refused(tmp_path: Path) -> None:
    root = tree(CHUNKS[0])
    other = tree(CHUNKS[1])
    store = store_of(tmp_path, *CHUNKS, root)
    # A sender may put any id into a header; here the one of a tree that links elsewhere.
    parsed = parse_frame(other.frame)
    header = make_header(Kind.TREE, root.id, len(parsed.body), links=parsed.header.links)
    forged = Stored(root.link, build_frame(header, [parsed.body]), other.raw_length)
    name, data = pack_of(forged)
    with receive(tmp_path, data, name) as receiver, pytest.raises(IntegrityError, match="other links"):
        receiver.publish(store.backend, store.index)
    name, data = pack_of(root, tree(CHUNKS[2]))
    with receive(tmp_path, data, name) as receiver:
        assert receiver.publish(store.backend, store.index)


@pytest.mark.parametrize(("generation", "fits"), [(1, False), (2, True), (3, False)])
def test_a_commits_generation_follows_from_its_parents(tmp_path: Path, generation: int, fits: bool) -> None:
    root = tree()
    first = commit(root)
    second = commit(root, first, generation=generation, message=f"second {generation}")
    for store, pack in (
        (store_of(tmp_path, root, first), pack_of(second)),
        (store_of(tmp_path, root), pack_of(first, second)),
    ):
        with receive(tmp_path, pack[1], pack[0]) as receiver:
            if fits:
                assert receiver.publish(store.backend, store.index)
            else:
                with pytest.raises(IntegrityError, match="generation"):
                    receiver.publish(store.backend, store.index)
                assert len(list(store.backend.scan(PACKS))) < 3
                assert not store.has(second.id)


def test_frames_outlive_the_receiver(tmp_path: Path) -> None:
    name, data = pack_of(*CHUNKS)
    with receive(tmp_path, data, name) as receiver:
        frame = next(receiver.frames())
    assert bytes(frame.data) == CHUNKS[0].frame
    assert list(tmp_path.iterdir()) == []
