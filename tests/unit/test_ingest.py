"""Taking files in: every size, every way of reading, each chunk once, and nothing left behind by a failure."""

import io
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mediavault.formats.frame import parse_frame
from mediavault.formats.payload import Codec, decode_payload
from mediavault.model.ids import Kind, Link
from mediavault.objects import ingest as ingesting
from mediavault.objects.ingest import Content, Ingest, SkipFile
from tests.vault import MemoryFile, Sink, Vault, entry, noise, stored_vault

LARGE = ingesting.WHOLE_BYTES + 1


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make files of a few hundred kilobytes take the way of large ones."""
    monkeypatch.setattr(ingesting, "WINDOW_BYTES", 64 << 10)
    monkeypatch.setattr(ingesting, "_GROUP_BYTES", 16 << 10)
    monkeypatch.setattr(ingesting, "_ARENA_BYTES", 32 << 10)
    monkeypatch.setattr(ingesting, "WHOLE_BYTES", 100_000)


def take(vault: Vault, *files: MemoryFile) -> list[Content | None]:
    with vault.ingest() as ingest:
        results = list(ingest.add(files))
    assert [file for file, _ in results] == list(files)
    assert all(file.closed for file in files)
    return [content for _, content in results]


def read_back(vault: Vault, content: Content) -> bytes:
    return b"".join(vault.reader.file(entry("name", content)))


def frames_left(vault: Vault) -> list[Kind]:
    return [vault.sink.read(oid).header.kind for oid in vault.sink.appended]


SIZES = [0, 1, 255, 256, 257, 5_000, 99_999, 100_000, 100_001, 65_536 * 2, 65_536 * 2 - 1, 65_536 * 3 + 1, 400_000]


@pytest.mark.parametrize("size", SIZES)
def test_files_of_every_size_read_back(size: int) -> None:
    vault = Vault()
    data = noise(size)
    (content,) = take(vault, MemoryFile(data))
    assert content is not None
    assert (content.size, content.digest) == (size, blake3(data).digest())
    assert read_back(vault, content) == data


@pytest.mark.parametrize("plain", [True, False])
def test_many_files_of_all_sizes_in_one_go(plain: bool) -> None:
    vault = Vault(plain=plain)
    files = [MemoryFile(noise(size, f"{size} {turn}")) for turn in range(3) for size in SIZES]
    files[5:5] = [MemoryFile(noise(100 + number, str(number))) for number in range(300)]
    for file, content in zip(files, take(vault, *files), strict=True):
        assert content is not None
        assert read_back(vault, content) == file.data


@given(sizes=st.lists(st.integers(0, 300_000), max_size=6), hints=st.lists(st.integers(0, 300_000), min_size=6))
def test_the_size_is_only_a_hint(sizes: list[int], hints: list[int]) -> None:
    vault = Vault()
    files = [MemoryFile(noise(size, str(n)), size=hints[n]) for n, size in enumerate(sizes)]
    for file, content in zip(files, take(vault, *files), strict=True):
        assert content is not None
        assert read_back(vault, content) == file.data


def test_cut_points_do_not_depend_on_the_way_a_file_takes() -> None:
    data = noise(99_000)
    contents = [take(Vault(), MemoryFile(data, size=hint))[0] for hint in (10, 60_000, 99_000, 200_000, 10_000_000)]
    assert len({content.child for content in contents if content is not None}) == 1
    cut = Vault().chunker().cut(memoryview(data))
    vault = Vault()
    (content,) = take(vault, MemoryFile(data))
    assert content is not None
    assert [chunk.length for chunk in vault.reader.chunk_list(content.child, content.size)] == cut


def test_what_a_tree_entry_links_to() -> None:
    vault = Vault()
    empty, single, several = take(vault, MemoryFile(b""), MemoryFile(b"small"), MemoryFile(noise(50_000)))
    assert empty == Content(0, blake3().digest(), None)
    assert single is not None
    assert several is not None
    assert single.child == Link(Kind.CHUNK, vault.codec.name_chunk(b"small"))
    assert several.child is not None
    assert several.child.kind is Kind.MANIFEST


@pytest.mark.parametrize("size", [200, 50_000, 300_000])
def test_each_chunk_is_stored_once(size: int) -> None:
    vault = Vault()
    data = noise(size)
    take(vault, *[MemoryFile(data) for _ in range(10)])
    first = len(vault.sink.appended)
    assert len(set(vault.sink.appended)) == first
    take(vault, MemoryFile(data))
    assert len(vault.sink.appended) == first


def test_a_file_of_zeros_is_one_chunk_many_times() -> None:
    vault = Vault()
    (content,) = take(vault, MemoryFile(bytes(500_000)))
    assert content is not None
    assert frames_left(vault).count(Kind.CHUNK) == 2, "the longest chunk, and what is left at the end"
    assert read_back(vault, content) == bytes(500_000)


def test_raw_lengths_are_told_to_the_sink() -> None:
    vault = Vault()
    take(vault, MemoryFile(b"ab" * 300))
    assert list(vault.sink.raw_lengths.values()) == [600]


def test_compression_can_be_turned_off_for_a_file() -> None:
    class Raw(MemoryFile):
        compress = False

    vault = Vault(plain=True)
    for size in (1000, 300_000):
        for kind, codec in ((MemoryFile, Codec.ZSTD), (Raw, Codec.RAW)):
            vault.sink = Sink()
            take(vault, kind(b"text " * (size // 5)))
            chunks = [parse_frame(vault.sink.frames[oid]) for oid in vault.sink.appended]
            codecs = {decode_payload(frame.body).codec for frame in chunks if frame.header.kind is Kind.CHUNK}
            assert codecs == {codec}


class Skipped(MemoryFile):
    def open(self) -> io.BytesIO:
        raise SkipFile


class Broken(MemoryFile):
    """A file that fails after some bytes."""

    def open(self) -> io.BytesIO:
        broken = super().open()
        half = len(self.data) // 2
        read = broken.readinto

        def readinto(buffer: memoryview) -> int:
            if broken.tell() >= half:
                raise OSError(5, "Input/output error")
            return read(buffer[:half])

        broken.readinto = readinto  # type: ignore[method-assign,assignment]  # fails half-way
        return broken


@pytest.mark.parametrize("size", [10, 60_000, 400_000])
def test_a_file_that_vanished_is_passed_over(size: int) -> None:
    vault = Vault()
    files = [MemoryFile(b"one"), Skipped(b"", size=size), MemoryFile(b"two"), MemoryFile(noise(300_000))]
    contents = take(vault, *files)
    assert [content is None for content in contents] == [False, True, False, False]


class Trickle(MemoryFile):
    """A file that gives few bytes at a time, as pipes and network file systems may."""

    def open(self) -> io.BytesIO:
        slow = super().open()
        read = slow.readinto

        def readinto(buffer: memoryview) -> int:
            return read(buffer[:7001])

        slow.readinto = readinto  # type: ignore[method-assign,assignment]  # short reads
        return slow


@pytest.mark.parametrize("size", [10, 99_000, 300_000])
def test_short_reads_change_nothing(size: int) -> None:
    vault = Vault()
    (content,) = take(vault, Trickle(noise(size)))
    assert content == Vault().put(noise(size))


@pytest.mark.parametrize("size", [2000, 60_000, 400_000])
def test_a_file_that_fails_stops_everything_and_leaves_nothing_open(size: int) -> None:
    vault = Vault()
    files = [MemoryFile(noise(300_000, "first")), Broken(noise(size, "broken")), MemoryFile(noise(300_000, "last"))]
    with vault.ingest() as ingest:
        with pytest.raises(OSError, match="Input/output"):
            list(ingest.add(files))
        assert all(file.closed for file in files)
        # What was abandoned is no longer thought to be on its way.
        again = list(ingest.add([files[0], files[2]]))
    for file, content in again:
        assert content is not None
        assert read_back(vault, content) == file.data


def test_a_sink_that_fails_cancels_the_workers() -> None:
    class Full(Sink):
        def append(self, frame: bytes | bytearray | memoryview, raw_length: int) -> None:
            if len(self.appended) > 20:
                raise OSError(28, "No space left on device")
            super().append(frame, raw_length)

    vault = Vault()
    vault.sink = Full()
    files = [MemoryFile(noise(2_000_000, str(n))) for n in range(3)]
    before = threading.active_count()
    with pytest.raises(OSError, match="No space"), vault.ingest() as ingest:
        list(ingest.add(files))
    assert all(file.closed for file in files)
    assert threading.active_count() == before
    assert len(files[2].opened) == 0


def test_a_caller_that_stops_early_leaves_nothing_open() -> None:
    vault = Vault()
    files = [MemoryFile(noise(size, str(n))) for n, size in enumerate([100, 400_000, 400_000, 400_000])]
    with vault.ingest() as ingest:
        results = ingest.add(files)
        next(results)
        next(results)
        results.close()
        assert all(file.closed for file in files)
        ((_, content),) = ingest.add([files[2]])
    assert content is not None
    assert read_back(vault, content) == files[2].data


def test_leaving_the_context_closes_files_of_a_run_that_was_not_ended() -> None:
    vault = Vault()
    files = [MemoryFile(noise(400_000, str(n))) for n in range(4)]
    with vault.ingest() as ingest:
        results = ingest.add(files)
        next(results)
    assert all(file.closed for file in files)
    results.close()


def test_sources_are_taken_a_few_ahead_and_not_more() -> None:
    vault = Vault()
    taken: list[int] = []

    def sources() -> Iterator[MemoryFile]:
        for number in range(100):
            taken.append(number)
            yield MemoryFile(noise(150_000, str(number)))

    with vault.ingest() as ingest:
        next(ingest.add(sources()))
    assert len(taken) <= vault.workers + 3


def test_memory_does_not_grow_with_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(MemoryFile):
        def __init__(self, size: int) -> None:
            super().__init__(b"", size=size)

        def open(self) -> io.BytesIO:
            pieces = iter(range(self.size // (64 << 10)))
            file = super().open()

            def readinto(buffer: memoryview) -> int:
                piece = next(pieces, None)
                if piece is None:
                    return 0
                data = noise(64 << 10, str(piece))
                buffer[: len(data)] = data
                return len(data)

            file.readinto = readinto  # type: ignore[method-assign,assignment]  # makes its content as it is read
            return file

    class Nowhere(Sink):
        def append(self, frame: bytes | bytearray | memoryview, raw_length: int) -> None:
            """Forget it."""

    def peak(size: int) -> int:
        vault = Vault()
        vault.sink = Nowhere()
        tracemalloc.start()
        take(vault, Endless(size))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    monkeypatch.setattr(ingesting, "WINDOW_BYTES", 128 << 10)
    peak(1 << 20)
    assert peak(16 << 20) < peak(2 << 20) + (7 << 20)  # half of what the file is larger; threads are not always as far


def test_frames_reach_a_real_store_and_come_back(tmp_path: Path) -> None:
    files = [MemoryFile(noise(size, str(size))) for size in (0, 100, 50_000, 700_000)]
    with (
        stored_vault(tmp_path) as (vault, frames),
        Ingest(vault.codec, vault.splitter, frames, vault.sink, chunker=vault.chunker, workers=2) as ingest,
    ):
        contents = [content for _, content in ingest.add(files)]
    for file, content in zip(files, contents, strict=True):
        assert content is not None
        assert read_back(vault, content) == file.data
