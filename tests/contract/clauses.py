"""The Backend protocol, clause by clause; which stores must keep them is said by the modules that use these classes.

A user module supplies a fixture `backend`, an empty store, and a class that inherits the clauses.
"""

import errno
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from mediavault_backends.api import Absent, Backend, Buffer, FileSource, Mappable, Matches, Source, Spooling, Version
from mediavault_backends.errors import NotFoundError, PreconditionFailedError, StorageFullError, TransientError

MIB = 1 << 20
LARGE = bytes(range(256)) * (3 * MIB // 256) + b"tail"


@dataclass(frozen=True)
class Blocks:
    """A Source that says it has `size` bytes, yields its parts and then fails if it has an error."""

    size: int
    parts: tuple[Buffer, ...]
    error: BaseException | None = None

    def blocks(self) -> Iterator[Buffer]:
        yield from self.parts
        if self.error is not None:
            raise self.error


def keys_of(backend: Backend, prefix: str = "") -> list[str]:
    return [stat.key for stat in backend.scan(prefix)]


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "locks"]


def spooled(backend: Backend, tmp_path: Path, data: bytes) -> Path:
    folder = backend.spool_folder if isinstance(backend, Spooling) else tmp_path
    path = folder / "x.spool"
    path.write_bytes(data)
    return path


class Clauses:
    """What every backend does."""

    writers: ClassVar = 64
    """How many race on one key."""

    # Writing

    def test_what_is_put_is_read_back(self, backend: Backend) -> None:
        version = backend.put("refs/main", b"value", when=Absent())
        blob = backend.get("refs/main")
        assert (blob.data, blob.version) == (b"value", version)
        stat = backend.stat("refs/main")
        assert (stat.key, stat.size, stat.version) == ("refs/main", 5, version)

    def test_an_empty_body_is_an_object(self, backend: Backend) -> None:
        version = backend.put("empty", b"", when=Absent())
        assert backend.get("empty").data == b""
        assert backend.stat("empty").version == version
        assert backend.read("empty", 0, 10) == b""
        assert list(backend.stream("empty")) == []
        assert [(stat.key, stat.size, stat.version) for stat in backend.scan()] == [("empty", 0, version)]

    @pytest.mark.parametrize(
        "body",
        [
            bytearray(LARGE),
            memoryview(LARGE),
            memoryview(LARGE + bytes(4 - len(LARGE) % 4)).cast("I"),
            Blocks(len(LARGE), (LARGE[:MIB], bytearray(LARGE[MIB : 2 * MIB]), b"", memoryview(LARGE)[2 * MIB :])),
        ],
        ids=["bytearray", "memoryview", "memoryview of integers", "source"],
    )
    def test_a_body_may_be_any_buffer_or_a_source(self, backend: Backend, body: Buffer | Source) -> None:
        version = backend.put("packs/ab/x", body, when=Absent())
        blob = backend.get("packs/ab/x")
        assert blob.data[: len(LARGE)] == LARGE
        assert blob.version == version == next(iter(backend.scan())).version

    def test_create_only_fails_when_the_key_exists(self, backend: Backend) -> None:
        version = backend.put("config", b"first", when=Absent())
        with pytest.raises(PreconditionFailedError) as caught:
            backend.put("config", b"second", when=Absent())
        assert caught.value.key == "config"
        assert backend.get("config").data == b"first"
        assert backend.get("config").version == version

    @pytest.mark.parametrize("size", [5, 100_000, len(LARGE)])
    def test_replacing_needs_the_present_version(self, backend: Backend, size: int) -> None:
        first = backend.put("refs/a", LARGE[:size], when=Absent())
        second = backend.put("refs/a", LARGE[-size:][::-1], when=Matches(first))
        assert first != second
        with pytest.raises(PreconditionFailedError) as caught:
            backend.put("refs/a", b"third", when=Matches(first))
        assert caught.value.key == "refs/a"
        assert backend.get("refs/a").data == LARGE[-size:][::-1]
        assert backend.get("refs/a").version == second

    def test_replacing_fails_when_there_is_nothing(self, backend: Backend) -> None:
        version = backend.put("refs/a", b"x", when=Absent())
        backend.delete("refs/a")
        for key in ("refs/a", "refs/a/b", "elsewhere/b", "refs"):
            with pytest.raises(PreconditionFailedError):
                backend.put(key, b"y", when=Matches(version))
        assert keys_of(backend) == []

    def test_a_deleted_key_can_be_made_again(self, backend: Backend) -> None:
        backend.put("a/b/c", b"1", when=Absent())
        backend.delete("a/b/c")
        backend.put("a/b/c", b"2", when=Absent())
        assert backend.get("a/b/c").data == b"2"

    @pytest.mark.parametrize("condition", ["absent", "matches"])
    def test_of_many_writers_exactly_one_wins(self, backend: Backend, condition: str) -> None:
        when = Absent() if condition == "absent" else Matches(backend.put("refs/main", b"start", when=Absent()))
        barrier = threading.Barrier(self.writers)

        def write(number: int) -> tuple[int, Version] | None:
            barrier.wait()
            try:
                return number, backend.put("refs/main", b"writer %d" % number, when=when)
            except PreconditionFailedError:
                return None

        with ThreadPoolExecutor(self.writers) as pool:
            winners = [result for result in pool.map(write, range(self.writers)) if result is not None]
        assert len(winners) == 1
        number, version = winners[0]
        blob = backend.get("refs/main")
        assert (blob.data, blob.version) == (b"writer %d" % number, version)

    def test_no_increment_is_lost_between_writers_that_retry(self, backend: Backend) -> None:
        backend.put("counter", b"0", when=Absent())

        def increment(_: int) -> None:
            while True:
                blob = backend.get("counter")
                try:
                    backend.put("counter", b"%d" % (int(blob.data) + 1), when=Matches(blob.version))
                except PreconditionFailedError:
                    continue
                return

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(increment, range(40)))
        assert backend.get("counter").data == b"40"

    # Bodies that fail

    @pytest.mark.parametrize("exists", [False, True])
    def test_a_source_that_fails_leaves_nothing_behind(self, backend: Backend, tmp_path: Path, exists: bool) -> None:
        when = Matches(backend.put("a/b", b"old", when=Absent())) if exists else Absent()
        before = files_under(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            backend.put("a/b", Blocks(10, (b"12345",), KeyboardInterrupt()), when=when)
        assert [backend.get(key).data for key in keys_of(backend)] == [b"old"] * exists
        assert files_under(tmp_path) == before

    @pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
    def test_a_full_disk_leaves_nothing_behind(self, backend: Backend, tmp_path: Path, code: int) -> None:
        with pytest.raises(StorageFullError) as caught:
            backend.put("a/b", Blocks(10, (b"12345",), OSError(code, "full")), when=Absent())
        assert caught.value.key == "a/b"
        assert keys_of(backend) == []
        assert files_under(tmp_path) == []

    @pytest.mark.parametrize("parts", [(b"123",), (b"1234", b"56")], ids=["short", "long"])
    def test_a_source_of_another_length_is_refused(
        self, backend: Backend, tmp_path: Path, parts: tuple[bytes, ...]
    ) -> None:
        with pytest.raises(ValueError, match="than the 5 bytes"):
            backend.put("a", Blocks(5, parts, AssertionError("read on") if len(parts) > 1 else None), when=Absent())
        assert keys_of(backend) == []
        assert files_under(tmp_path) == []

    # Files as bodies

    @pytest.mark.parametrize("data", [b"", b"small", LARGE], ids=["empty", "small", "large"])
    @pytest.mark.parametrize("exists", [False, True])
    def test_an_adopted_file_becomes_the_object(
        self, backend: Backend, tmp_path: Path, data: bytes, exists: bool
    ) -> None:
        when = Matches(backend.put("packs/ab/x", b"old", when=Absent())) if exists else Absent()
        path = spooled(backend, tmp_path, data)
        inode = path.stat().st_ino
        version = backend.put("packs/ab/x", FileSource(path, len(data), adopt=True), when=when)
        assert not path.exists()
        blob = backend.get("packs/ab/x")
        assert (blob.data, blob.version) == (data, version)
        assert keys_of(backend) == ["packs/ab/x"]
        if isinstance(backend, Spooling):
            assert inode in {file.stat().st_ino for file in files_under(tmp_path)}, "copied, not adopted"

    def test_a_file_that_is_not_adopted_stays(self, backend: Backend, tmp_path: Path) -> None:
        path = spooled(backend, tmp_path, LARGE)
        backend.put("x", FileSource(path, len(LARGE)), when=Absent())
        assert path.read_bytes() == backend.get("x").data == LARGE
        path.write_bytes(b"changed")
        assert backend.get("x").data == LARGE

    def test_a_file_stays_when_it_could_not_be_adopted(self, backend: Backend, tmp_path: Path) -> None:
        version = backend.put("x", b"there", when=Absent())
        backend.put("x", b"newer", when=Matches(version))
        path = spooled(backend, tmp_path, b"mine")
        for when in (Absent(), Matches(version)):
            with pytest.raises(PreconditionFailedError):
                backend.put("x", FileSource(path, 4, adopt=True), when=when)
        with pytest.raises(ValueError, match="the 9 bytes"):
            backend.put("y", FileSource(path, 9, adopt=True), when=Absent())
        with pytest.raises((ValueError, TransientError)):
            backend.put("y", FileSource(tmp_path, tmp_path.stat().st_size, adopt=True), when=Absent())
        assert path.read_bytes() == b"mine"
        assert keys_of(backend) == ["x"]

    # Reading

    def test_ranges_end_where_the_object_ends(self, backend: Backend) -> None:
        backend.put("x", b"0123456789", when=Absent())
        assert backend.read("x", 2, 3) == b"234"
        assert backend.read("x", 8, 5) == b"89"
        assert backend.read("x", 8, 1 << 40) == b"89"
        assert backend.read("x", 10, 1) == b""
        assert backend.read("x", 1 << 40, 1) == b""
        assert backend.read("x", 3, 0) == b""
        assert b"".join(backend.stream("x", start=3)) == b"3456789"
        assert b"".join(backend.stream("x", start=3, length=2)) == b"34"
        assert b"".join(backend.stream("x", start=8, length=1 << 40)) == b"89"
        assert list(backend.stream("x", start=11)) == []
        for start, length in ((-1, 2), (0, -1)):
            with pytest.raises(ValueError, match="range"):
                backend.read("x", start, length)
            with pytest.raises(ValueError, match="range"):
                backend.stream("x", start=start, length=length)

    def test_a_stream_comes_in_blocks_of_one_mebibyte(self, backend: Backend) -> None:
        backend.put("x", LARGE, when=Absent())
        blocks = [bytes(block) for block in backend.stream("x", start=1)]
        assert max(map(len, blocks)) <= MIB
        assert b"".join(blocks) == LARGE[1:]

    def test_a_stream_survives_the_object_being_replaced(self, backend: Backend) -> None:
        version = backend.put("x", LARGE, when=Absent())
        stream = iter(backend.stream("x"))
        first = bytes(next(stream))
        backend.put("x", b"other", when=Matches(version))
        assert first + b"".join(stream) == LARGE

    def test_a_stream_may_be_dropped_unread(self, backend: Backend) -> None:
        backend.put("x", LARGE, when=Absent())
        backend.stream("x")
        next(iter(backend.stream("x")))
        assert backend.read("x", 0, 1) == LARGE[:1]

    @pytest.mark.parametrize("key", ["a", "a/b", "x/y/z"])
    def test_a_missing_key_is_told_at_the_call(self, backend: Backend, key: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: backend.get(key),
            lambda: backend.read(key, 0, 1),
            lambda: backend.stream(key),
            lambda: backend.stat(key),
        ]
        if isinstance(backend, Mappable):
            mappable = backend
            calls.append(lambda: mappable.map(key))
        for call in calls:
            with pytest.raises(NotFoundError) as caught:
                call()
            assert caught.value.key == key

    # Listing and deleting

    def test_scan_is_ordered_by_key_and_cut_by_prefix(self, backend: Backend) -> None:
        keys = [
            "a-b",
            "a.b/c",
            "a/b/c",
            "a/b-",
            "a/b.c/d",
            "a0",
            "A",
            "b",
            "refs/heads%2Fmain",
            "refs/heads-x",
            "refs/z/1",
        ]
        for key in reversed(keys):
            backend.put(key, key.encode(), when=Absent())
        assert keys_of(backend) == sorted(keys)
        for prefix in [
            "a",
            "a/",
            "a/b",
            "a/b/",
            "a/b.",
            "refs/heads",
            "refs/heads%2Fmain",
            "refs/heads%2Fmain/",
            "c",
            "A/",
        ]:
            assert keys_of(backend, prefix) == [key for key in sorted(keys) if key.startswith(prefix)]
        assert {stat.key: stat.size for stat in backend.scan("a/")} == {"a/b-": 4, "a/b.c/d": 7, "a/b/c": 5}
        assert [stat.version for stat in backend.scan()] == [backend.stat(key).version for key in sorted(keys)]

    @pytest.mark.parametrize("prefix", ["/", "a//", "../", "..", ".tmp/", ".", "a/../b", "ä"])
    def test_a_prefix_that_no_key_has_is_refused(self, backend: Backend, prefix: str) -> None:
        with pytest.raises(ValueError, match="no key"):
            backend.scan(prefix)

    def test_scan_goes_on_while_others_delete(self, backend: Backend) -> None:
        for number in range(20):
            backend.put(f"x/{number:02}", b"", when=Absent())
        seen = []
        for stat in backend.scan():
            seen.append(stat.key)
            backend.delete("x/19")
        assert seen[:19] == [f"x/{number:02}" for number in range(19)]

    def test_delete_removes_and_forgives(self, backend: Backend) -> None:
        backend.put("x/y", b"1", when=Absent())
        backend.put("x/z", b"2", when=Absent())
        backend.delete("x/y")
        backend.delete("x/y")
        backend.delete("never/there")
        assert keys_of(backend) == ["x/z"]
        with pytest.raises(NotFoundError):
            backend.get("x/y")

    @pytest.mark.parametrize(
        "key", ["", "/", "a/", "/a", "a//b", ".", "..", "a/../b", ".tmp/x", "a/.b", "a b", "ä", "a\n", "a\0"]
    )
    def test_a_wrong_key_is_refused_before_anything_is_touched(
        self, backend: Backend, tmp_path: Path, key: str
    ) -> None:
        calls: list[Callable[[], object]] = [
            lambda: backend.put(key, b"", when=Absent()),
            lambda: backend.get(key),
            lambda: backend.read(key, 0, 1),
            lambda: backend.stream(key),
            lambda: backend.stat(key),
            lambda: backend.delete(key),
        ]
        for call in calls:
            with pytest.raises(ValueError, match="not a key"):
                call()
        assert keys_of(backend) == []
        assert files_under(tmp_path) == []

    @pytest.mark.parametrize(
        "key", ["tmp", "tmp/x", "a..b", "-", "_", "%", "%2Ehidden", "UPPER%C3%A4", "a" * 255, "b/" * 127 + "c"]
    )
    def test_odd_keys_are_keys(self, backend: Backend, key: str) -> None:
        backend.put(key, b"x", when=Absent())
        assert keys_of(backend) == [key]
        backend.delete(key)
        assert keys_of(backend) == []

    def test_the_name_can_be_shown(self, backend: Backend) -> None:
        assert backend.name
        assert "\n" not in backend.name


class FolderClauses:
    """What a backend does besides that cannot hold an object under the name of a folder."""

    def test_a_key_cannot_be_a_folder_of_another(self, backend: Backend) -> None:
        backend.put("a/b", b"x", when=Absent())
        for key in ("a", "a/b/c", "a/b/c/d"):
            with pytest.raises(ValueError, match=r"folder of other keys|under another object"):
                backend.put(key, b"y", when=Absent())
            with pytest.raises(NotFoundError):
                backend.get(key)
            with pytest.raises(NotFoundError):
                backend.read(key, 0, 1)
            with pytest.raises(NotFoundError):
                backend.stat(key)
            backend.delete(key)
        assert keys_of(backend) == ["a/b"]
        backend.put("a/c/d", b"x", when=Absent())
        for key in ("a/b", "a/c/d"):
            backend.delete(key)
        backend.put("a", b"y", when=Absent())
        assert keys_of(backend) == ["a"]
