"""Reading content back: in order, ahead in bounds, and never a byte that is not what it should be."""

import threading
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest

from mediavault.errors import FormatError, IntegrityError, NotAllowedError, UnsupportedFormatError
from mediavault.formats.frame import CHECKSUM_BYTES, Frame, parse_frame
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.objects import ManifestEntry
from mediavault.objects import reader as reading
from mediavault.objects.reader import ObjectReader
from tests.vault import Sink, Spot, Vault, entry, noise


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH_BYTES", 16 << 10)


def chunk_entries(vault: Vault, count: int, length: int = 3000) -> tuple[list[ManifestEntry], list[bytes]]:
    raws = [noise(length + number, str(number)) for number in range(count)]
    entries = []
    for raw in raws:
        oid = vault.codec.name_chunk(raw)
        vault.sink.append(vault.codec.encode_chunk(oid, raw), len(raw))
        entries.append(ManifestEntry(oid, len(raw)))
    return entries, raws


@pytest.mark.parametrize("count", [0, 1, 5, 6, 200])
def test_chunks_come_in_order(count: int) -> None:
    vault = Vault()
    entries, raws = chunk_entries(vault, count)
    assert [bytes(block) for block in vault.reader.chunks(iter(entries))] == raws


def test_a_chunk_that_repeats_is_fetched_once_a_batch() -> None:
    vault = Vault()
    entries, raws = chunk_entries(vault, 2, 1000)
    asked: list[ObjectId] = []
    batch = vault.sink.read_batch

    def counted(ids: Sequence[ObjectId], *, checked: bool = True) -> list[Frame]:
        asked.extend(ids)
        return batch(ids, checked=checked)

    vault.sink.read_batch = counted  # type: ignore[method-assign]  # counts what is fetched
    blocks = [bytes(block) for block in vault.reader.chunks(entries * 5)]
    assert blocks == raws * 5
    assert sorted(asked) == sorted(one.chunk for one in entries)


def test_reading_ahead_is_bounded_and_ends_when_the_caller_stops() -> None:
    vault = Vault()
    entries, raws = chunk_entries(vault, 100)
    taken: list[int] = []

    def counted() -> Iterator[ManifestEntry]:
        for number, one in enumerate(entries):
            taken.append(number)
            yield one

    before = threading.active_count()
    blocks = vault.reader.chunks(counted())
    assert bytes(next(blocks)) == raws[0]
    assert len(taken) <= 5 * 5
    blocks.close()
    assert threading.active_count() == before


def test_a_damaged_chunk_ends_the_reading_threads() -> None:
    vault = Vault()
    entries, raws = chunk_entries(vault, 60)
    entries[31] = ManifestEntry(entries[30].chunk, entries[31].length)
    before = threading.active_count()
    seen: list[bytes] = []
    with pytest.raises(IntegrityError, match="bytes long"):
        seen.extend(bytes(block) for block in vault.reader.chunks(entries))
    assert threading.active_count() == before
    assert seen == raws[: len(seen)]
    assert len(seen) <= 31


@pytest.mark.parametrize("length", [2999, 3001])
def test_a_chunk_of_another_length_than_its_file_says_is_refused(length: int) -> None:
    vault = Vault()
    (one,), _ = chunk_entries(vault, 1)
    with pytest.raises(IntegrityError, match=one.chunk.hex()):
        list(vault.reader.chunks([ManifestEntry(one.chunk, length)]))


@pytest.mark.parametrize("size", [0, 1, 3000, 500_000])
def test_a_file_reads_back(size: int) -> None:
    vault = Vault()
    content = vault.put(noise(size))
    assert b"".join(vault.reader.file(entry("name", content))) == noise(size)


@pytest.mark.parametrize("size", [0, 3000, 100_000])
def test_the_whole_files_hash_is_compared(size: int) -> None:
    vault = Vault()
    one = msgspec.structs.replace(entry("take 1.wav", vault.put(noise(size))), digest=bytes(32))
    with pytest.raises(IntegrityError, match=r"take 1\.wav"):
        list(vault.reader.file(one))


def test_chunks_in_another_order_are_noticed() -> None:
    vault = Vault()
    content = vault.put(noise(20_000))
    chunks = list(vault.reader.chunk_list(content.child, content.size))
    manifest = vault.nodes.manifest()
    for chunk in [chunks[1], chunks[0], *chunks[2:]]:
        manifest.append(chunk.chunk, chunk.length)
    swapped = msgspec.structs.replace(entry("name", content), child=manifest.finish())
    with pytest.raises(IntegrityError):
        list(vault.reader.file(swapped))


class TwoCopies(Sink):
    """A store that gives a bad copy first, as one does whose frames were made by two holders of the key."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: dict[ObjectId, bytes] = {}

    def stored(self, oid: ObjectId) -> bytes:
        return self.bad.get(oid) or self.frames[oid]

    def copies(self, oid: ObjectId) -> Iterator[tuple[Spot, Frame]]:
        if oid in self.bad:
            yield Spot(), parse_frame(self.bad[oid])
        if oid in self.frames:
            yield Spot(), parse_frame(self.frames[oid])


def with_bad_copies(store: TwoCopies) -> Vault:
    vault = Vault()
    vault.sink = store
    vault.reader = ObjectReader(store, vault.codec)
    return vault


def test_another_copy_is_tried_when_one_does_not_open() -> None:
    store = TwoCopies()
    vault = with_bad_copies(store)
    content = vault.put(noise(100_000))
    for oid in store.appended:
        kind = parse_frame(store.frames[oid]).header.kind
        if kind is Kind.CHUNK:
            store.bad[oid] = bytes(vault.codec.encode_chunk(oid, b"other content"))
    assert b"".join(vault.reader.file(entry("name", content))) == noise(100_000)


def test_damage_names_the_object_the_pack_and_the_offset() -> None:
    store = TwoCopies()
    vault = with_bad_copies(store)
    content = vault.put(b"good")
    assert content.child is not None
    store.bad[content.child.id] = bytes(vault.codec.encode_chunk(content.child.id, b"other"))
    del store.frames[content.child.id]
    with pytest.raises(IntegrityError) as caught:
        list(vault.reader.file(entry("name", content)))
    for part in (content.child.id.hex(), Spot.pack_id.hex(), "at 24"):
        assert part in caught.value.message


def test_a_payload_that_does_not_parse_names_its_object() -> None:
    vault = Vault()
    oid, frame = vault.codec.encode_metadata(Kind.TREE, [], b"\xc1 is no msgpack")
    vault.sink.append(frame, 0)
    with pytest.raises(IntegrityError, match=oid.hex()):
        list(vault.reader.tree(oid))


def test_a_key_that_is_not_known_is_not_taken_for_damage() -> None:
    vault = Vault()
    content = vault.put(b"content")

    def refuse(*_: object) -> bytes:
        raise NotAllowedError("no key")

    vault.codec.open = refuse  # type: ignore[method-assign,assignment]  # a frame of an epoch that is not known here
    with pytest.raises(NotAllowedError):
        list(vault.reader.file(entry("name", content)))


KINDS: list[Callable[[ObjectReader, ObjectId], object]] = [
    ObjectReader.commit,
    ObjectReader.tag,
    lambda reader, oid: list(reader.tree(oid)),
    lambda reader, oid: list(reader.chunk_list(Link(Kind.MANIFEST, oid), 7)),
    lambda reader, oid: reader.tree_entry(oid, "a/b"),
]


@pytest.mark.parametrize("read", KINDS)
def test_an_object_of_another_kind_is_refused(read: Callable[[ObjectReader, ObjectId], object]) -> None:
    vault = Vault()
    oid = vault.codec.name_chunk(b"content")
    vault.sink.append(vault.codec.encode_chunk(oid, b"content"), 7)
    with pytest.raises(IntegrityError, match="expected"):
        read(vault.reader, oid)


@pytest.mark.parametrize("plain", [True, False])
def test_content_is_not_read_from_a_frame_that_was_changed_anywhere_but_in_its_checksum(plain: bool) -> None:
    vault = Vault(plain=plain)
    entries, raws = chunk_entries(vault, 1, 300)
    (oid, frame) = next(iter(vault.sink.frames.items()))
    wrong = 0
    for at in range(len(frame)):
        changed = bytearray(frame)
        changed[at] ^= 0x10
        vault.sink.frames[oid] = bytes(changed)
        try:
            assert [bytes(block) for block in vault.reader.chunks(entries)] == raws
        except (FormatError, UnsupportedFormatError, IntegrityError, NotAllowedError):
            wrong += 1
    assert wrong == len(frame) - (0 if plain else CHECKSUM_BYTES)
