"""Files that are written while their chunks come: whatever the order, only whole and right ones count."""

import errno
import os
import random
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mediavault.model.ids import ObjectId
from mediavault.model.objects import ManifestEntry
from mediavault.objects.reader import Block, ObjectReader
from mediavault.workspace import arriving_files
from mediavault.workspace.arriving_files import ArrivingFiles
from mediavault.workspace.journal import StagedNames
from mediavault.workspace.materialise import Intent, run_checkout
from mediavault_backends import fsio
from tests.checkouts import CHUNK, Files, LinkTo, Program, Project

BIG = 3 * CHUNK


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


FILES: Files = {
    "a.psd": noise(1, 20_500),
    "bin/tool": Program(noise(2, 7_000)),
    "shots/1.exr": noise(3, BIG),
    "shots/2.exr": noise(4, 9_999),
    "shots/small": noise(5, BIG - 1),
    "shots/link": LinkTo("1.exr"),
    "empty": b"",
}
LARGE = ["a.psd", "bin/tool", "shots/1.exr", "shots/2.exr"]


class Watched(ObjectReader):
    """Notes which chunks are read."""

    def __init__(self, project: Project) -> None:
        super().__init__(project.frames, project.codec)
        self.asked: set[ObjectId] = set()

    def chunks(self, entries: Iterable[ManifestEntry]) -> Generator[Block, None, None]:
        def noted() -> Iterator[ManifestEntry]:
            for entry in entries:
                self.asked.add(entry.chunk)
                yield entry

        return super().chunks(noted())


class Delivery:
    """A plan to check out files, and the chunks of them."""

    def __init__(self, project: Project, files: Files) -> None:
        self.project = project
        self.tree = project.tree(files)
        self.plan = project.plan(None, self.tree)
        self.numbers = {write.path: number for number, write in enumerate(self.plan.writes)}
        self.chunks = {
            write.path: [entry.chunk for entry in project.reader.chunk_list(write.link(), write.size)]
            for write in self.plan.writes
            if write.child
        }
        self.coming = {oid for chunks in self.chunks.values() for oid in chunks}

    def files(self, coming: set[ObjectId] | None = None) -> ArrivingFiles:
        return ArrivingFiles(
            self.project.layout.checkout, self.plan, self.project.reader, self.coming if coming is None else coming
        )

    def content(self, oid: ObjectId) -> bytes:
        return bytes(self.project.codec.look_into(self.project.frames.read(oid), oid))

    def put(self, files: ArrivingFiles, *paths: str) -> None:
        """Deliver the chunks of some files in order."""
        for path in paths:
            for oid in self.chunks[path]:
                files.put(oid, self.content(oid))

    def paths(self, written: dict[int, os.stat_result]) -> list[str]:
        return [path for path, number in self.numbers.items() if number in written]

    def waiting(self) -> list[str]:
        """Return which files stand in the waiting place."""
        names = StagedNames(self.plan.lists.fresh)
        return [
            path
            for path, number in self.numbers.items()
            if os.path.lexists(self.project.layout.checkout / names.place(number, path))
        ]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving_files, "LARGE", BIG)
    monkeypatch.setattr(arriving_files, "SYNC_BYTES", 4 * CHUNK)
    monkeypatch.setattr(arriving_files, "_HASHED_AT_ONCE", 3 * CHUNK)
    monkeypatch.setattr(arriving_files, "_BLOCK", 700)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project(tmp_path / "film") as made:
        yield made


@pytest.mark.parametrize("seed", range(8))
def test_chunks_in_any_order_by_any_thread_make_the_files(project: Project, seed: int) -> None:
    delivery = Delivery(project, FILES)
    order = sorted(delivery.coming)
    random.Random(seed).shuffle(order)
    with delivery.files() as files, ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(files.put, oid, delivery.content(oid)) for oid in order]:
            done.result()
        written = files.finish()
    assert delivery.paths(written) == LARGE
    reader = Watched(project)
    run_checkout(delivery.plan, project.layout, project.stage, reader, Intent("clone"), written=written)
    assert project.working() == FILES
    assert project.status(delivery.tree).clean
    assert reader.asked == set(delivery.chunks["shots/small"])
    assert not project.layout.checkout.exists()


def test_a_chunk_that_stands_in_many_places_comes_once(project: Project) -> None:
    once, other = noise(6, CHUNK), noise(7, CHUNK)
    files: Files = {"one": once * 3 + other, "two": other + once * 5, "three": once * 7}
    delivery = Delivery(project, files)
    with delivery.files() as arriving:
        for oid in (*delivery.coming, *delivery.coming):
            arriving.put(oid, delivery.content(oid))
        written = arriving.finish()
    run_checkout(delivery.plan, project.layout, project.stage, project.reader, Intent("clone"), written=written)
    assert sorted(delivery.paths(written)) == ["one", "three", "two"]
    assert project.working() == files


def test_a_file_of_which_a_part_is_there_already_is_left(project: Project) -> None:
    delivery = Delivery(project, FILES)
    with delivery.files(delivery.coming - {delivery.chunks["a.psd"][7]}) as files:
        delivery.put(files, *LARGE)
        assert delivery.paths(files.finish()) == LARGE[1:]
    assert delivery.waiting() == LARGE[1:]


def test_a_file_that_does_not_come_whole_is_removed(project: Project) -> None:
    delivery = Delivery(project, FILES)
    with delivery.files() as files:
        delivery.put(files, "bin/tool")
        for oid in delivery.chunks["a.psd"][:-1]:
            files.put(oid, delivery.content(oid))
        assert delivery.waiting() == ["a.psd", "bin/tool"]
        assert delivery.paths(files.finish()) == ["bin/tool"]
    assert delivery.waiting() == ["bin/tool"]


@pytest.mark.parametrize("wrong", [bytes(CHUNK), bytes(CHUNK - 1), bytes(CHUNK + 1), b""])
@pytest.mark.parametrize("number", [0, 5, 19])
def test_a_file_with_another_hash_does_not_count(project: Project, wrong: bytes, number: int) -> None:
    delivery = Delivery(project, FILES)
    with delivery.files() as files:
        for at, oid in enumerate(delivery.chunks["a.psd"]):
            files.put(oid, wrong if at == number else delivery.content(oid))
        delivery.put(files, "shots/2.exr")
        written = files.finish()
    assert delivery.paths(written) == ["shots/2.exr"]
    run_checkout(delivery.plan, project.layout, project.stage, project.reader, Intent("clone"), written=written)
    assert project.working() == FILES


@pytest.mark.parametrize("kind", ["create", "sync-file"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_after_a_disk_failed_no_file_counts(project: Project, kind: str, code: int) -> None:
    delivery = Delivery(project, FILES)
    failed: list[fsio.Step] = []

    def fail(step: fsio.Step) -> None:
        if step.kind == kind and not failed:
            failed.append(step)
            raise OSError(code, os.strerror(code))

    with fsio.observe(fail), delivery.files() as files:
        delivery.put(files, "shots/1.exr", "a.psd", "shots/2.exr")
        written = files.finish()
    assert len(failed) == 1
    assert written == {}
    assert delivery.waiting() == []


def test_only_so_many_files_are_open_at_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving_files, "MOST_OPEN", 1)
    delivery = Delivery(project, FILES)
    with delivery.files() as files:
        first, *rest = delivery.chunks["a.psd"]
        files.put(first, delivery.content(first))
        delivery.put(files, "bin/tool")
        for oid in rest:
            files.put(oid, delivery.content(oid))
        assert delivery.paths(files.finish()) == ["a.psd"]
    assert delivery.waiting() == ["a.psd"]


def test_a_file_that_is_whole_makes_room_for_the_next(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving_files, "MOST_OPEN", 1)
    delivery = Delivery(project, FILES)
    before = len(list(Path("/dev/fd").iterdir()))
    with delivery.files() as files:
        for path in LARGE:
            delivery.put(files, path)
            deadline = time.monotonic() + 20
            while len(list(Path("/dev/fd").iterdir())) > before and time.monotonic() < deadline:
                time.sleep(0.001)
        assert delivery.paths(files.finish()) == LARGE


def test_only_so_many_places_are_kept(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving_files, "MOST_PLACES", 10)
    delivery = Delivery(project, FILES)
    with delivery.files() as files:
        delivery.put(files, *LARGE)
        assert delivery.paths(files.finish()) == ["bin/tool", "shots/1.exr"]


def test_what_breaks_off_leaves_no_open_file(project: Project) -> None:
    delivery = Delivery(project, FILES)
    before = set(Path("/dev/fd").iterdir())
    with delivery.files() as files:
        delivery.put(files, "bin/tool")
        files.put(delivery.chunks["a.psd"][0], noise(1, CHUNK))
        assert len(set(Path("/dev/fd").iterdir())) > len(before)
    assert set(Path("/dev/fd").iterdir()) == before


def test_new_files_follow_the_umask_as_others_do(project: Project) -> None:
    delivery = Delivery(project, FILES)
    before = os.umask(0o027)
    try:
        with delivery.files() as files:
            delivery.put(files, "a.psd", "bin/tool")
            written = files.finish()
        run_checkout(delivery.plan, project.layout, project.stage, project.reader, Intent("clone"), written=written)
    finally:
        os.umask(before)
    modes = {path: (project.root / path).stat().st_mode & 0o777 for path in FILES if path != "shots/link"}
    assert modes == {path: 0o750 if path == "bin/tool" else 0o640 for path in modes}
