"""Remotes without a server, beyond what every remote does: faults of the store, races, what a killed push leaves."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mediavault.errors import (
    IntegrityError,
    MediaVaultError,
    NotAllowedError,
    NotFoundError,
    RefMovedError,
    RemoteError,
    StorageError,
)
from mediavault.formats.ref import decode_ref_value
from mediavault.formats.slot import PassphraseSlot, encode_slot
from mediavault.hosting.late_index import EVERY
from mediavault.hosting.uploads import new_upload
from mediavault.model.ids import Link
from mediavault.store.keys import INDEX, PACKS
from mediavault.sync.direct import DirectRemote
from mediavault.wire.http import UnreachableError
from mediavault_backends import errors as backend_errors
from mediavault_backends.api import Absent, Backend, Body, Buffer, Condition, Version
from mediavault_backends.errors import AccessDeniedError, TransientError
from mediavault_backends.fault import Fault, FaultBackend
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from tests.integration.studio import CHUNK, Studio, noise

ROOT = Path(__file__).resolve().parent.parent.parent
URL = "s3://bucket/film"
MIB = 1 << 20
WRITERS = 24


@pytest.fixture
def ann(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "ann")


@pytest.fixture
def ben(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "ben")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let no retry wait; returns how often one would have."""
    waits: list[float] = []
    monkeypatch.setattr("mediavault.sync.direct.time.sleep", waits.append)
    return waits


def slot(repository: bytes, label: str) -> bytes:
    """Return a slot that parses; nothing opens it."""
    return encode_slot(
        PassphraseSlot(
            "passphrase",
            "2026-01-01T00:00:00Z",
            label,
            repository.hex(),
            epoch=0,
            time=1,
            memory=65536,
            lanes=1,
            salt=bytes(16),
            commitment=bytes(32),
            wrap_salt=bytes(32),
            wrapped=bytes(48),
        )
    )


def direct(store: Backend, scratch: Path, *, probed: bool = True) -> DirectRemote:
    return DirectRemote(URL, lambda create: store, scratch, probed=probed)  # noqa: ARG005 -- it is there


def test_nothing_there_is_no_repository(tmp_path: Path) -> None:
    remote = direct(MemoryBackend(), tmp_path)
    assert remote.config() is None
    with pytest.raises(NotFoundError, match="no repository s3://bucket/film"):
        remote.refs()
    assert DirectRemote(URL, lambda create: None, tmp_path).config() is None  # noqa: ARG005 -- nor is there a folder


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (backend_errors.TransientError, UnreachableError, "does not answer"),
        (backend_errors.OutcomeUnknownError, UnreachableError, "does not answer"),
        (backend_errors.AccessDeniedError, NotAllowedError, "refuses these credentials"),
        (backend_errors.StorageFullError, StorageError, "is full"),
        (backend_errors.PreconditionFailedError, RefMovedError, "changed by someone else"),
        (backend_errors.BackendSetupError, RemoteError, "cannot be used"),
    ],
)
def test_what_the_store_says_is_said_again(
    ann: Studio, tmp_path: Path, fault: type[backend_errors.BackendError], error: type[MediaVaultError], words: str
) -> None:
    store = MemoryBackend()
    ann.push(direct(store, tmp_path / "scratch"), ann.commit({"a": b"1"}))
    remote = direct(FaultBackend(store, [Fault("scan", error=fault, prefix="refs/")]), tmp_path / "scratch")
    with pytest.raises(error, match=words) as caught:
        remote.refs()
    assert URL in caught.value.message
    assert remote.refs().keys() == {"heads/main"}


def test_a_store_without_conditions_gets_no_repository(ann: Studio, tmp_path: Path) -> None:
    class Careless(MemoryBackend):
        def put(self, key: str, body: Body, *, when: Condition) -> Version:
            del when
            self.delete(key)
            return super().put(key, body, when=Absent())

    store = Careless()
    with pytest.raises(RemoteError, match="keeps conditions"):
        ann.push(direct(store, tmp_path / "scratch"), ann.commit({"a": b"1"}))
    assert [stat.key for stat in store.scan()] == []


def test_a_range_that_breaks_off_goes_on_where_it_broke(
    ann: Studio, ben: Studio, tmp_path: Path, patient: list[float]
) -> None:
    class Breaking(MemoryBackend):
        def __init__(self) -> None:
            super().__init__()
            self.asked = list[tuple[str, int]]()

        def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
            self.asked.append((key, start))
            whole = b"".join(map(bytes, super().stream(key, start=start, length=length)))
            if len(whole) > 1000:
                return self._breaking(whole[: len(whole) // 2])
            return iter([whole])

        def _breaking(self, part: bytes) -> Iterator[Buffer]:
            yield part
            raise TransientError("the answer broke off")

    store = Breaking()
    files = {"film.mov": noise(2 * MIB, 1)}
    commit = ann.commit(files)
    ann.push(direct(store, tmp_path / "scratch"), commit)
    ben.fetch(direct(store, tmp_path / "scratch"))
    assert ben.files(commit.id) == files
    assert len(patient) > 3
    assert len(set(store.asked)) == len(store.asked)


def test_a_store_that_breaks_off_for_ever_is_given_up(
    ann: Studio, ben: Studio, tmp_path: Path, patient: list[float]
) -> None:
    class Dead(MemoryBackend):
        def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
            if key.startswith(PACKS):
                raise TransientError("nothing comes")
            return super().stream(key, start=start, length=length)

    store = Dead()
    ann.push(direct(store, tmp_path / "scratch"), ann.commit({"film.mov": noise(MIB, 1)}))
    with pytest.raises(UnreachableError, match="does not answer"):
        ben.fetch(direct(store, tmp_path / "scratch"))
    assert 5 <= len(patient) <= 20


def test_a_pack_that_is_cut_is_damage(ann: Studio, ben: Studio, tmp_path: Path) -> None:
    store = LocalBackend(tmp_path / "nas", create=True)
    ann.push(direct(store, tmp_path), ann.commit({"film.mov": noise(MIB, 1)}))
    for stat in list(store.scan(PACKS)):
        path = tmp_path / "nas" / stat.key
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[: stat.size // 2])
    with pytest.raises(IntegrityError):
        ben.fetch(direct(store, tmp_path))


def test_a_flipped_byte_reaches_nobody(ann: Studio, ben: Studio, tmp_path: Path) -> None:
    store = LocalBackend(tmp_path / "nas", create=True)
    commit = ann.commit({"film.mov": noise(MIB, 1)})
    ann.push(direct(store, tmp_path), commit)
    largest = max(store.scan(PACKS), key=lambda stat: stat.size)
    path = tmp_path / "nas" / largest.key
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="damaged chunk"):
        ben.fetch(direct(store, tmp_path))
    assert ben.frames.missing([commit.id]) == [commit.id]


def test_one_of_many_clients_wins_a_ref(ann: Studio, tmp_path: Path) -> None:
    folder = tmp_path / "nas"
    remotes = [direct(LocalBackend(folder, create=True), tmp_path / f"scratch-{n}") for n in range(3)]
    base = ann.commit({"n": b"base"})
    ann.push(remotes[0], base)
    targets = [ann.commit({"n": str(number).encode()}, [base.id]) for number in range(WRITERS)]
    for number, target in enumerate(targets):
        ann.push(remotes[0], target, f"heads/w{number}")
    values = [ann.ref_value(remotes[0], "heads/main", target, number) for number, target in enumerate(targets)]
    won, lost = list[Link](), list[RefMovedError]()
    start = threading.Barrier(WRITERS)

    def write(number: int) -> None:
        start.wait()
        try:
            remotes[number % len(remotes)].put_ref(*values[number])
            won.append(targets[number])
        except RefMovedError as error:
            lost.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, WRITERS - 1)
    assert decode_ref_value(remotes[1].refs()["heads/main"].value_bytes).target == won[0]


def test_a_lost_answer_to_a_move_is_no_other_persons_move(ann: Studio, tmp_path: Path) -> None:
    store = MemoryBackend()
    first = ann.commit({"a": b"1"})
    ann.push(direct(store, tmp_path / "scratch"), first)
    losing = FaultBackend(store, [Fault("put", prefix="refs/", lands=True)])
    second = ann.commit({"a": b"2"}, [first.id])
    ann.push(direct(losing, tmp_path / "scratch"), second)
    found = direct(store, tmp_path / "scratch").refs()["heads/main"]
    assert decode_ref_value(found.value_bytes).target == second


def test_what_a_killed_push_had_written_is_kept(ann: Studio, tmp_path: Path) -> None:
    store, scratch = LocalBackend(tmp_path / "nas", create=True), tmp_path / "scratch"
    remote = direct(store, scratch)
    remote.create(ann.config, {})
    commit = ann.commit({"film.mov": noise(3 * MIB, 1)})
    pack = max((stat for stat in ann.backend.scan(PACKS)), key=lambda stat: stat.size)
    # What a process leaves that dies with half a pack written: its lock is gone, the bytes are there.
    new_upload(store.spool_folder).write_bytes(ann.backend.read(pack.key, 0, pack.size // 2))
    again = direct(store, scratch)
    report = ann.push(again, commit)
    assert 0 < report.chunks < 20
    assert report.bytes_sent < 0.6 * 3 * MIB


def test_chunk_packs_share_index_blobs(ann: Studio, tmp_path: Path) -> None:
    watched = FaultBackend(MemoryBackend())
    remote = direct(watched, tmp_path / "scratch")
    report = ann.push(remote, ann.commit({"film.mov": noise(16 * MIB, 1)}), pack_size=MIB)
    assert report.packs >= 16
    put = [call.key for call in watched.calls if call.method == "put"]
    assert len([key for key in put if key.startswith(PACKS)]) == report.packs
    assert len([key for key in put if key.startswith(INDEX)]) <= report.packs // EVERY + 3
    assert not list((tmp_path / "scratch").iterdir())


def test_what_was_stored_and_not_indexed_is_indexed_by_the_next_push(ann: Studio, tmp_path: Path) -> None:
    """A process that dies before its packs are indexed: the next one need not send their chunks again."""
    commit = ann.commit({"film.mov": noise(4 * MIB, 1)})
    dying = f"""
import os
from pathlib import Path
from mediavault.hosting.late_index import LateIndex
from mediavault.model.ids import Kind, Link
from mediavault.sync.direct import DirectRemote
from mediavault_backends.local import LocalBackend
from tests.integration.studio import Studio

LateIndex.flush = lambda self: os._exit(9)
here = Path({str(tmp_path)!r})
store = LocalBackend(here / "nas", create=True)
target = Link(Kind.COMMIT, bytes.fromhex({commit.id.hex()!r}))
Studio(here / "ann").push(DirectRemote({URL!r}, lambda create: store, here / "scratch"), target, pack_size=1 << 20)
"""
    died = subprocess.run([sys.executable, "-c", dying], cwd=ROOT, check=False)
    assert died.returncode == 9
    store = LocalBackend(tmp_path / "nas")
    assert list(store.scan(PACKS))
    assert not list(store.scan(INDEX))
    report = ann.push(direct(store, tmp_path / "scratch"), commit)
    assert report.chunks == 0
    assert not list(store.spool_folder.glob("*.packs"))


def test_a_failed_index_is_tried_again_at_the_end(ann: Studio, tmp_path: Path) -> None:
    store = MemoryBackend()
    remote = direct(FaultBackend(store, [Fault("put", error=AccessDeniedError, prefix=INDEX)]), tmp_path / "scratch")
    with pytest.raises(NotAllowedError):
        ann.push(remote, ann.commit({"film.mov": noise(4 * MIB, 1)}), pack_size=MIB)
    assert not list(store.scan(INDEX))
    remote.close()
    assert len(list(store.scan(INDEX))) == 1
    assert not list((tmp_path / "scratch").glob("*.packs"))


def test_metadata_takes_few_calls_however_many_files_there_are(ann: Studio, ben: Studio, tmp_path: Path) -> None:
    """Trees and manifests stand in a pack children first and are sent parents first: read once, neighbours together."""
    store = MemoryBackend()
    files = {f"{number:03}": noise(2 * CHUNK, number) for number in range(64)}
    ann.push(direct(store, tmp_path / "scratch"), ann.commit(files))
    watched = FaultBackend(store)
    report = ben.fetch(direct(watched, tmp_path / "scratch"))
    assert report.chunks == 128
    assert len(watched.calls) < 64


def test_metadata_that_does_not_fit_one_answer_is_asked_for_again(
    ann: Studio, ben: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediavault.hosting.metadata.MAX_METADATA", 1 << 10)
    store = MemoryBackend()
    files = {f"{number:03}": noise(2 * CHUNK, number) for number in range(32)}
    commit = ann.commit(files)
    ann.push(direct(store, tmp_path / "scratch"), commit)
    ben.fetch(direct(store, tmp_path / "scratch"))
    assert ben.files(commit.id) == files


def test_what_the_dead_left_is_settled_once_and_only_by_who_writes(ann: Studio, ben: Studio, tmp_path: Path) -> None:
    store, settled = MemoryBackend(), list[str]()

    def remote() -> DirectRemote:
        return DirectRemote(URL, lambda create: store, tmp_path, settle=lambda: settled.append("settled"))  # noqa: ARG005

    ann.push(remote(), ann.commit({"film.mov": noise(MIB, 1)}))
    assert settled == ["settled"]
    ben.fetch(remote())
    assert settled == ["settled"]


def test_a_transfer_is_broken_off_at_its_next_block(ann: Studio, tmp_path: Path) -> None:
    store = MemoryBackend()
    remote = direct(store, tmp_path / "scratch")
    ann.push(remote, ann.commit({"film.mov": noise(MIB, 1)}))
    (pack, *_) = [bytes.fromhex(stat.key.rpartition("/")[2]) for stat in store.scan(PACKS)]
    blocks = remote.read_pack(pack, 0, 100)
    remote.abort()
    with pytest.raises(UnreachableError, match="broken off"):
        next(blocks)


def test_slots_are_changed_by_those_who_know_them(ann: Studio, tmp_path: Path) -> None:
    remote = direct(MemoryBackend(), tmp_path / "scratch")
    one, two = slot(ann.repository, "one"), slot(ann.repository, "two")
    remote.create(ann.config, {"passphrase": one})
    assert remote.slots() == {"passphrase": one}
    with pytest.raises(RefMovedError, match="Another key slot"):
        remote.put_slot("passphrase", two, None)
    with pytest.raises(RefMovedError):
        remote.put_slot("passphrase", two, b"something else")
    remote.put_slot("passphrase", two, one)
    with pytest.raises(RefMovedError):
        remote.delete_slot("passphrase", one)
    remote.delete_slot("passphrase", two)
    remote.delete_slot("passphrase", two)
    assert remote.slots() == {}
