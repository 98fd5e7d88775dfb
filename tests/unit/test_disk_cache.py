"""The cache on disk: what is kept, what goes first, what is noticed, and what many processes and kills do to it."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from mediavault_backends import fsio
from mediavault_backends.api import Absent, Backend, Blob, Buffer
from mediavault_backends.caching import AHEAD, caching
from mediavault_backends.disk_cache import BLOCK, DamagedEntryError, DiskCache
from mediavault_backends.errors import NotFoundError
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.meter import Meter, metered

MIB = 1 << 20
PACK = f"studio/film/packs/ab/ab{'0' * 62}"
ROWS = b"rows" * 1000
INDEX = f"studio/film/index/{blake3(ROWS).hexdigest()}"
REF = "studio/film/refs/heads%2Fmain"


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "mediagit-cache").glob("[0-9a-f][0-9a-f]/*") if path.is_file())


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in entries(folder))


def keep(cache: DiskCache, name: str, data: bytes) -> None:
    entry = cache.store(name, "0", len(data), (data,))
    assert entry is not None
    entry.close()


def kept(cache: DiskCache, name: str, part: str = "0") -> bytes | None:
    entry = cache.open(name, part)
    if entry is None:
        return None
    with entry:
        return entry.read(0, entry.size)


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 7])
def test_what_is_kept_is_read_back(tmp_path: Path, size: int) -> None:
    cache, data = DiskCache(tmp_path, 64 * MIB), os.urandom(size)
    pieces = [data[at : at + 100_003] for at in range(0, size, 100_003)]
    made = cache.store("a", "0", size, pieces, note=b"a note")
    assert made is not None
    found = DiskCache(tmp_path, 64 * MIB).open("a")
    assert found is not None
    for entry in (made, found):
        with entry:
            assert (entry.size, entry.note) == (size, b"a note")
            assert entry.read(0, size + 5) == data
            for start, length in ((0, 1), (size // 2, 3), (BLOCK - 1, 2), (size, 1), (size + 9, 1)):
                assert entry.read(start, length) == data[start : start + length]
    assert kept(cache, "b") is None
    assert kept(cache, "a", "1") is None


def test_what_is_read_least_lately_goes_first_and_the_bound_holds(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 10 * MIB)
    for number in range(30):
        keep(cache, str(number), bytes([number]) * MIB)
        assert total(tmp_path) <= 10 * MIB
        time.sleep(0.002)  # file times have to differ
        assert kept(cache, "0") == bytes(MIB)
        time.sleep(0.002)
    assert kept(cache, "29") == bytes([29]) * MIB
    assert kept(cache, "1") is None
    assert total(tmp_path) > 7 * MIB
    assert cache.store("large", "0", 11 * MIB, (bytes(MIB),) * 11) is None
    assert cache.usable


def test_what_is_open_can_be_read_to_its_end_when_it_is_dropped(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 3 * MIB)
    entry = cache.store("first", "0", 2 * MIB, (b"x" * MIB, b"y" * MIB))
    assert entry is not None
    with entry:
        keep(cache, "second", bytes(2 * MIB))
        assert kept(cache, "first") is None
        assert entry.read(0, 2 * MIB) == b"x" * MIB + b"y" * MIB


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "longer", "other"])
def test_a_damaged_entry_is_never_served_and_gone(tmp_path: Path, damage: str) -> None:
    cache, data = DiskCache(tmp_path, 64 * MIB), os.urandom(3 * BLOCK + 11)
    keep(cache, "a", data)
    keep(cache, "b", os.urandom(len(data)))
    (path,) = [path for path in entries(tmp_path) if path.read_bytes()[: len(data)] == data]
    whole = path.read_bytes()
    other = next(p for p in entries(tmp_path) if p != path).read_bytes()
    places = range(0, len(whole), 4999) if damage == "flip" else [0]
    for place in (*places, len(whole) - 1) if damage == "flip" else places:
        flipped = bytearray(whole)
        flipped[place] ^= 16
        path.write_bytes(
            {
                "flip": bytes(flipped),
                "cut": whole[: len(whole) // 2],
                "empty": b"",
                "longer": b"x" + whole,
                "other": other,
            }[damage]
        )
        found: bytes | None = b""
        try:
            found = kept(cache, "a")
        except DamagedEntryError:
            found = None
        assert found is None
        assert not path.exists()
        path.write_bytes(whole)
        assert kept(cache, "a") == data


def test_a_block_that_is_sound_is_served_beside_one_that_is_not(tmp_path: Path) -> None:
    cache, data = DiskCache(tmp_path, 64 * MIB), os.urandom(4 * MIB)
    keep(cache, "a", data)
    (path,) = entries(tmp_path)
    with path.open("r+b") as file:
        file.seek(3 * MIB + 5)
        file.write(bytes([data[3 * MIB + 5] ^ 1]))
    entry = cache.open("a")
    assert entry is not None
    with entry:
        blocks = entry.blocks()
        assert b"".join(bytes(next(blocks)) for _ in range(3)) == data[: 3 * MIB]
        with pytest.raises(DamagedEntryError):
            next(blocks)


def test_a_source_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[Buffer]:
        yield b"x" * MIB
        raise NotFoundError("gone")

    cache = DiskCache(tmp_path, 8 * MIB)
    for _ in range(20):  # room that was not given back would be used up
        with pytest.raises(NotFoundError):
            cache.fetch("a", "0", 2 * MIB, failing)
        with pytest.raises(ValueError, match="more than"):
            cache.store("a", "0", MIB, (bytes(MIB), b"x"))
    assert entries(tmp_path) == []
    assert list((tmp_path / "mediagit-cache" / "new").iterdir()) == []
    for name in "abcdefg":
        keep(cache, name, bytes(MIB))
    assert len(entries(tmp_path)) == 7


def test_room_that_was_not_needed_is_given_back(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 64 * MIB)
    for number in range(5):
        short = cache.store(str(number), "0", 4 * MIB, (b"x" * 1000,))
        assert short is not None
        short.close()
        with pytest.raises(ValueError, match="more than"):
            cache.store("a", "0", MIB, (bytes(MIB), b"x"))
    counted = (tmp_path / "mediagit-cache" / "used").read_bytes()
    assert int.from_bytes(counted[:8], "little") == total(tmp_path)


@pytest.mark.parametrize("count", [b"", b"nonsense", b"\0" * 24, b"\xff" * 24])
def test_a_damaged_count_is_made_again(tmp_path: Path, count: bytes) -> None:
    cache = DiskCache(tmp_path, 5 * MIB)
    for number in range(12):
        keep(cache, str(number), bytes(MIB))
        (tmp_path / "mediagit-cache" / "used").write_bytes(count)
        assert total(tmp_path) <= 5 * MIB
    assert len(entries(tmp_path)) >= 3


def test_a_folder_that_cannot_be_used_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = DiskCache(tmp_path / "file", 8 * MIB)
    assert not cache.usable
    assert cache.store("a", "0", 1, (b"x",)) is None
    assert cache.fetch("a", "0", 1, lambda: pytest.fail("nothing can be kept")) is None
    assert cache.open("a") is None
    with cache.turn("a"):
        cache.forget("a")


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let every write fail from now on; returns the files to which some was tried."""
    tried = list[int]()

    def write_all(fd: int, _: object) -> None:
        tried.append(fd)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fsio, "write_all", write_all)
    return tried


def test_a_full_disk_is_no_failure_and_is_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = DiskCache(tmp_path, 8 * MIB)
    keep(cache, "before", b"x" * MIB)
    with monkeypatch.context() as patch:
        tried = fill_disk(patch)
        for _ in range(5):
            assert cache.store("a", "0", MIB, (bytes(MIB),)) is None
    assert len(tried) == 1
    assert not cache.usable
    assert kept(cache, "before") == b"x" * MIB
    assert list((tmp_path / "mediagit-cache" / "new").iterdir()) == []
    monkeypatch.setattr(cache, "_idle_until", 0.0)
    keep(cache, "a", bytes(MIB))


def test_a_folder_that_is_removed_meanwhile_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache(tmp_path, 8 * MIB)
    keep(cache, "a", b"x")
    subprocess.run(["rm", "-r", str(tmp_path / "mediagit-cache")], check=True)
    assert cache.store("a", "0", 1, (b"x",)) is None
    monkeypatch.setattr(cache, "_idle_until", 0.0)
    keep(cache, "a", b"x")


def test_other_files_in_the_folder_are_let_alone(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 3 * MIB)
    keep(cache, "a", bytes(MIB))
    mine = [tmp_path / "film.mov", tmp_path / "mediagit-cache" / "notes", tmp_path / "mediagit-cache" / "new" / "x.tmp"]
    mine.append(entries(tmp_path)[0].with_name("script"))
    for path in mine:
        path.write_bytes(bytes(2 * MIB))
    for number in range(9):
        keep(cache, str(number), bytes(MIB))
    assert all(path.stat().st_size == 2 * MIB for path in mine)


def test_what_many_threads_want_is_fetched_once(tmp_path: Path) -> None:
    cache, calls = DiskCache(tmp_path, 64 * MIB), list[int]()
    data = os.urandom(MIB)

    def source() -> Iterator[Buffer]:
        calls.append(1)
        time.sleep(0.05)
        yield data

    found = list[bytes]()

    def want() -> None:
        entry = cache.fetch("a", "0", MIB, source)
        assert entry is not None
        with entry:
            found.append(entry.read(0, MIB))

    threads = [threading.Thread(target=want) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [data] * 40
    assert len(calls) == 1


WORKER = """
    import os, random, sys
    from pathlib import Path
    from mediavault_backends.disk_cache import DamagedEntryError, DiskCache

    folder, seed, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    cache = DiskCache(folder, 6 << 20)

    def content(number):
        return bytes([number]) * (chance_of(number) << 10)

    def chance_of(number):
        return 100 + number * 17

    print("ready", flush=True)
    fetched = 0
    for _ in range(rounds):
        number = chance.randrange(40)
        data = content(number)

        def source():
            global fetched
            fetched += 1
            with open(folder / f"log-{seed}", "a") as log:
                log.write(f"{number}\\n")
            for at in range(0, len(data), 65536):
                yield data[at : at + 65536]

        entry = cache.fetch(str(number), "0", len(data), source)
        if entry is None:  # another process held the count for too long
            continue
        with entry:
            assert entry.read(0, entry.size) == data, number
        with cache._counting():  # nobody adds or drops an entry meanwhile
            sizes = sum(path.stat().st_size for path in (folder / "mediagit-cache").glob("[0-9a-f][0-9a-f]/*"))
        assert sizes <= 6 << 20, sizes
    print("done", fetched, flush=True)
"""


def start(folder: Path, seed: int, rounds: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORKER), str(folder), str(seed), str(rounds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_many_processes_share_a_small_cache(tmp_path: Path) -> None:
    workers = [start(tmp_path, seed, 60) for seed in range(4)]
    for worker in workers:
        output, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
        assert "done" in output
    assert 0 < total(tmp_path) <= 6 * MIB
    assert list((tmp_path / "mediagit-cache" / "new").iterdir()) == []


def test_processes_that_are_killed_leave_a_cache_that_works(tmp_path: Path) -> None:
    for seed in range(6):
        worker = start(tmp_path, seed, 1_000_000)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        log = tmp_path / f"log-{seed}"
        while not log.exists() or log.stat().st_size < 10 * (seed + 1):
            assert worker.poll() is None
            time.sleep(0.001)
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    last = start(tmp_path, 99, 30)
    _, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors
    assert total(tmp_path) <= 6 * MIB
    DiskCache(tmp_path, 6 * MIB).store("x", "0", 1, (b"x",))
    assert list((tmp_path / "mediagit-cache" / "new").iterdir()) == []


def test_a_writer_that_died_gives_back_its_room(tmp_path: Path) -> None:
    folder = tmp_path / "mediagit-cache" / "new"
    keep(DiskCache(tmp_path, 4 * MIB), "a", bytes(MIB))
    left = folder / f"{3 * MIB}-{'0' * 16}.tmp"
    left.write_bytes(b"half of it")
    cache = DiskCache(tmp_path, 4 * MIB)
    keep(cache, "b", bytes(2 * MIB))
    assert kept(cache, "a") == bytes(MIB)
    assert not left.exists()


@pytest.fixture
def meter() -> Meter:
    return Meter()


@pytest.fixture
def store(tmp_path: Path, meter: Meter) -> Backend:
    return caching(metered(MemoryBackend(), meter), DiskCache(tmp_path / "cache", 64 * MIB))


def test_a_pack_is_read_from_the_store_once(store: Backend, meter: Meter) -> None:
    data = os.urandom(2 * AHEAD + 1000)
    store.put(PACK, data, when=Absent())
    for start in range(0, len(data), 70_001):
        assert store.read(PACK, start, 70_001) == data[start : start + 70_001]
    assert meter.count.read == len(data)
    assert meter.count.calls == 1 + 3  # the put, and three parts
    for start, length in ((0, None), (5, AHEAD), (AHEAD, AHEAD), (2 * AHEAD + 1000, 1), (3 * AHEAD, 9), (7, 0)):
        expected = data[start:] if length is None else data[start : start + length]
        assert b"".join(map(bytes, store.stream(PACK, start=start, length=length))) == expected
    assert meter.count.read == len(data)


def test_an_index_is_read_from_the_store_once(store: Backend, meter: Meter) -> None:
    version = store.put(INDEX, ROWS, when=Absent())
    for _ in range(3):
        assert store.get(INDEX) == Blob(ROWS, version)
    assert meter.count.read == len(ROWS)


def test_an_index_that_comes_damaged_is_not_kept(store: Backend, meter: Meter, tmp_path: Path) -> None:
    store.put(INDEX, ROWS[:-1] + b"x", when=Absent())
    for times in (1, 2):
        store.get(INDEX)
        assert meter.count.read == times * len(ROWS)
    assert entries(tmp_path / "cache") == []


def test_what_changes_is_read_from_the_store_each_time(store: Backend, meter: Meter, tmp_path: Path) -> None:
    for key in (REF, "studio/film/config", "studio/film/keys/ann", "packs/ab/short", f"a/b/c/index/{'1' * 64}"):
        before = meter.count.calls
        store.put(key, b"value", when=Absent())
        for _ in range(2):
            assert store.get(key).data == b"value"
            assert store.read(key, 1, 2) == b"al"
            assert b"".join(map(bytes, store.stream(key))) == b"value"
        assert meter.count.calls == before + 7
    for _ in range(2):
        store.stat(REF)
        list(store.scan())
    assert meter.count.calls == before + 7 + 4
    assert entries(tmp_path / "cache") == []


def test_a_damaged_copy_is_read_from_the_store_again(store: Backend, meter: Meter, tmp_path: Path) -> None:
    data = os.urandom(AHEAD + 3 * MIB)
    store.put(PACK, data, when=Absent())
    store.put(INDEX, ROWS, when=Absent())
    for _ in range(2):
        assert b"".join(map(bytes, store.stream(PACK))) == data
        assert store.get(INDEX).data == ROWS
        before = meter.count.read
        for path in entries(tmp_path / "cache"):
            with path.open("r+b") as file:
                file.seek(path.stat().st_size // 2)
                byte = file.read(1)
                file.seek(-1, 1)
                file.write(bytes([byte[0] ^ 255]))
        blocks = list(map(bytes, store.stream(PACK)))
        assert b"".join(blocks) == data
        assert max(map(len, blocks)) <= MIB
        assert store.get(INDEX).data == ROWS
        assert meter.count.read > before


def test_without_a_folder_the_store_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = caching(MemoryBackend(), DiskCache(tmp_path / "file", 64 * MIB))
    data = os.urandom(AHEAD + 5)
    store.put(PACK, data, when=Absent())
    store.put(INDEX, ROWS, when=Absent())
    assert store.read(PACK, 10, AHEAD) == data[10 : 10 + AHEAD]
    assert b"".join(map(bytes, store.stream(PACK))) == data
    assert store.get(INDEX).data == ROWS


def test_a_disk_that_fills_up_on_the_way_goes_unnoticed(
    store: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(2 * AHEAD)
    store.put(PACK, data, when=Absent())
    blocks = store.stream(PACK)
    first = bytes(next(blocks))
    fill_disk(monkeypatch)
    assert first + b"".join(map(bytes, blocks)) == data
    assert entries(tmp_path / "cache") != []


def test_a_pack_that_is_missing_is_missing(store: Backend) -> None:
    with pytest.raises(NotFoundError):
        store.read(PACK, 0, 5)
    with pytest.raises(NotFoundError):
        store.stream(PACK)  # told at the call
    with pytest.raises(NotFoundError):
        store.get(INDEX)
    data = os.urandom(1000)
    store.put(PACK, data, when=Absent())
    assert store.read(PACK, 0, 1000) == data
    store.delete(PACK)
    with pytest.raises(NotFoundError):
        store.read(PACK, 0, 5)
