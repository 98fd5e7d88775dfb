"""Packs in quarantine over a store that signs and copies: what becomes of each, whoever comes by, in whatever order."""

import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mediavault.hosting.accept import accept, feed
from mediavault.hosting.checking import verify_store
from mediavault.hosting.copying import copy_store
from mediavault.hosting.quarantine import KEPT, MOST, Arrival, Quarantine
from mediavault.hosting.refusal import RefusedError
from mediavault.hosting.repository import HostedRepository, host
from mediavault.model.ids import Kind, ObjectId
from mediavault.store.assemble import PackSource, plan_packs
from mediavault.store.keys import pack_key
from mediavault.store.receive import PackReceiver
from mediavault_backends.api import Absent, Buffer, SignedRequest, Version
from mediavault_backends.errors import NotFoundError, PreconditionFailedError, TransientError
from mediavault_backends.memory import MemoryBackend
from tests.integration.studio import Studio, noise

NOW = 1_800_000_000
UPLOAD = "ab" * 16


class Bucket(MemoryBackend):
    """A store in memory that signs and copies, and lets a test in between."""

    def __init__(self) -> None:
        super().__init__()
        self.before_copy: Callable[[], None] = lambda: None
        self.before_scan: Callable[[str], None] = lambda _: None
        self.copies = 0
        self.streamed: list[str] = []

    def sign_get(self, key: str, *, seconds: int) -> SignedRequest:
        return SignedRequest("GET", f"https://bucket/{key}?for={seconds}", {})

    def sign_put(self, key: str, *, size: int, sha256: bytes, seconds: int) -> SignedRequest:
        del size, sha256
        return SignedRequest("PUT", f"https://bucket/{key}?for={seconds}", {})

    def copy(self, source: str, target: str, *, version: Version) -> None:
        self.before_copy()
        found = self.get(source)
        if found.version != version:
            raise PreconditionFailedError("another version", key=source)
        self.delete(target)
        self.put(target, found.data, when=Absent())
        self.copies += 1

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        self.streamed.append(key)
        return super().stream(key, start=start, length=length)

    def scan(self, prefix: str = "") -> Iterator:  # type: ignore[type-arg] # of what a listing tells
        self.before_scan(prefix)
        return super().scan(prefix)


class Side:
    """A repository on such a store, and a pack of chunks that is on its way there."""

    def __init__(self, folder: Path) -> None:
        self.studio = Studio(folder / "ann")
        self.bucket = Bucket()
        self.folder = folder
        self.bucket.put("config", self.studio.config, when=Absent())
        self.repo = self.replica()
        self.commit = self.studio.commit({"rushes.mov": noise(1 << 20, 1)})
        ids = self._ids(Kind.CHUNK)
        (self.pack,) = plan_packs(self.studio.frames, ids, plain=False)
        (self.nodes,) = plan_packs(self.studio.frames, self._ids(Kind.MANIFEST), plain=False)
        self.ids = [row.id for row in self.pack.rows]

    def replica(self) -> HostedRepository:
        return host("studio/film", self.bucket, self.studio.config, self.folder / "scratch")

    def _ids(self, kind: Kind) -> list[ObjectId]:
        found = []
        for pack in self.studio.frames.index.packs():
            found += [row.id for row in self.studio.frames.pack_table(pack).rows if row.kind is kind]
        return found

    def put(self, data: bytes | None = None, *, upload: str = UPLOAD, pack: ObjectId | None = None) -> str:
        key = f"quarantine/{upload}/{NOW:08x}-{(pack or self.pack.id).hex()}"
        self.bucket.put(key, bytes_of(self.pack) if data is None else data, when=Absent())
        return key

    def send(self, repo: HostedRepository, pack: PackSource) -> None:
        with PackReceiver(repo.spool / f"upload-{secrets.token_hex(8)}", pack.id) as receiver:
            feed(receiver, pack.blocks())
            accept(repo, receiver)

    def keys(self) -> list[str]:
        return [stat.key for stat in self.bucket.scan("quarantine/")]


def bytes_of(pack: PackSource) -> bytes:
    return b"".join(bytes(block) for block in pack.blocks())


@pytest.fixture
def side(tmp_path: Path) -> Side:
    return Side(tmp_path)


def test_a_good_pack_comes_to_its_place(side: Side) -> None:
    side.put()
    assert side.repo.quarantine.complete(UPLOAD, [side.pack.id], patience=60) == ([], [])
    assert side.repo.frames.missing(side.ids) == []
    assert side.bucket.get(pack_key(side.pack.id)).data == bytes_of(side.pack)
    assert side.keys() == []


def test_rows_are_there_for_their_upload_alone(side: Side) -> None:
    side.put()
    quarantine = side.repo.quarantine
    assert quarantine.present(UPLOAD, [*side.ids, b"x" * 32]) == set(side.ids)
    assert quarantine.present("cd" * 16, side.ids) == set()
    assert side.repo.frames.missing(side.ids) == side.ids


@pytest.mark.parametrize("at", [30, 5000, -60, -200])
def test_a_damaged_pack_is_removed(side: Side, at: int) -> None:
    data = bytearray(bytes_of(side.pack))
    data[at] ^= 1
    side.put(bytes(data))
    assert side.repo.quarantine.complete(UPLOAD, [side.pack.id], patience=60) == ([], [side.pack.id])
    assert side.keys() == []
    with pytest.raises(NotFoundError):
        side.bucket.stat(pack_key(side.pack.id))


def test_a_pack_under_the_name_of_another_is_removed(side: Side) -> None:
    other = secrets.token_bytes(32)
    side.put(pack=other)
    assert side.repo.quarantine.complete(UPLOAD, [other], patience=60) == ([], [other])
    assert side.keys() == []


def test_metadata_waits_for_what_it_needs(side: Side) -> None:
    side.put()
    side.send(side.repo, side.nodes)
    assert side.keys() == []


def test_metadata_is_refused_where_what_it_needs_is_wrong(side: Side) -> None:
    data = bytearray(bytes_of(side.pack))
    data[5000] ^= 1
    side.put(bytes(data))
    with pytest.raises(RefusedError) as refused:
        side.send(side.repo, side.nodes)
    assert set(refused.value.missing) == {oid.hex() for oid in side.ids}
    assert side.keys() == []


def test_another_replica_settles_it_at_the_last_moment(side: Side) -> None:
    """The links were missing; then the other one was quicker, and there is nothing in quarantine any more."""
    side.put()
    other = side.replica()

    def quicker(prefix: str) -> None:
        if prefix.startswith("quarantine/"):
            side.bucket.before_scan = lambda _: None
            assert other.quarantine.complete(UPLOAD, [side.pack.id], patience=60) == ([], [])

    side.bucket.before_scan = quicker
    side.send(side.repo, side.nodes)
    assert side.bucket.copies == 1


def test_two_replicas_at_once(side: Side) -> None:
    side.put()
    other = side.replica()

    def quicker() -> None:
        side.bucket.before_copy = lambda: None
        assert other.quarantine.complete(UPLOAD, [side.pack.id], patience=60) == ([], [])

    side.bucket.before_copy = quicker
    assert side.repo.quarantine.complete(UPLOAD, [side.pack.id], patience=60) == ([], [])
    assert side.repo.frames.missing(side.ids) == []


def test_what_was_put_anew_after_the_check_is_not_copied(side: Side) -> None:
    key = side.put()

    def exchanged() -> None:
        side.bucket.delete(key)
        side.bucket.put(key, b"x" * len(bytes_of(side.pack)), when=Absent())

    side.bucket.before_copy = exchanged
    assert side.repo.quarantine.complete(UPLOAD, [side.pack.id], patience=60) == ([], [side.pack.id])
    with pytest.raises(NotFoundError):
        side.bucket.stat(pack_key(side.pack.id))


def test_a_store_that_fails_meanwhile_loses_nothing(side: Side) -> None:
    side.put()

    def fail() -> None:
        side.bucket.before_copy = lambda: None
        raise TransientError("not now", key="x")

    side.bucket.before_copy = fail
    with pytest.raises(TransientError):
        side.repo.quarantine.complete(UPLOAD, [side.pack.id], patience=60)
    assert len(side.keys()) == 1
    side.send(side.replica(), side.nodes)
    assert side.keys() == []


def test_a_check_under_way_is_not_begun_again(side: Side) -> None:
    side.put()
    held = threading.Event()

    def hold() -> None:
        held.wait()

    side.bucket.before_copy = hold
    quarantine = side.repo.quarantine
    assert [quarantine.complete(UPLOAD, [side.pack.id]).waiting for _ in range(2)] == [[side.pack.id]] * 2
    (arrival,) = quarantine.arrivals(UPLOAD)
    assert quarantine._begin(arrival) is quarantine._begin(arrival)
    assert quarantine.settle_holding(side.ids, patience=0) == 0
    held.set()
    assert quarantine.complete(UPLOAD, [side.pack.id], patience=60) == ([], [])
    assert side.bucket.copies == 1


def test_what_is_old_is_removed_and_what_is_not_is_finished(side: Side) -> None:
    side.put()
    old = f"quarantine/{UPLOAD}/{NOW - KEPT - 1:08x}-{'0' * 64}"
    strange = ["quarantine/x", f"quarantine/{UPLOAD}/x", f"quarantine/{UPLOAD}/{NOW:08x}-{'0' * 63}"]
    for key in (old, *strange):
        side.bucket.put(key, b"x", when=Absent())
    quarantine = Quarantine(side.bucket, side.repo.frames, plain=False, clock=lambda: NOW)
    quarantine.tidy()
    assert side.keys().count(old) == 0
    quarantine.settle_holding(side.ids)
    assert side.keys() == sorted(strange)
    assert side.repo.frames.missing(side.ids) == []


def test_who_copies_verifies_or_counts_a_store_takes_it_for_nothing(side: Side) -> None:
    side.send(side.repo, side.pack)
    side.send(side.repo, side.nodes)
    before = list(verify_store(side.bucket))
    key = side.put(b"no pack", pack=side.pack.id)
    assert list(verify_store(side.bucket)) == before
    assert not before[0].findings
    target = MemoryBackend()
    (copied,) = copy_store(side.bucket, target, side.folder / "copies")
    assert not copied.damage
    assert {stat.key for stat in target.scan()} == {stat.key for stat in side.bucket.scan()} - {key}


def test_one_look_is_bounded(side: Side) -> None:
    for number in range(MOST + 5):
        side.bucket.put(f"quarantine/{UPLOAD}/{NOW:08x}-{number:064x}", b"x", when=Absent())
    found = side.repo.quarantine.arrivals()
    assert len(found) == MOST
    assert found[0] == Arrival(found[0].key, UPLOAD, NOW, bytes(32), 1, found[0].version)


def test_grants_are_for_keys_in_quarantine_alone(side: Side) -> None:
    quarantine = Quarantine(side.bucket, side.repo.frames, plain=False, clock=lambda: NOW + 0.9)
    grant = quarantine.grant(UPLOAD, side.pack.id, size=9, sha256=bytes(32))
    assert grant is not None
    assert grant.url == f"https://bucket/quarantine/{UPLOAD}/{NOW:08x}-{side.pack.id.hex()}?for=900"
    side.put()
    quarantine.complete(UPLOAD, [side.pack.id], patience=60)
    assert quarantine.grant(UPLOAD, side.pack.id, size=9, sha256=bytes(32)) is None


def test_a_store_that_does_not_sign_gives_no_grants(side: Side) -> None:
    quarantine = Quarantine(MemoryBackend(), side.repo.frames, plain=False)
    assert not quarantine.is_used
    assert quarantine.grant(UPLOAD, side.pack.id, size=9, sha256=bytes(32)) is None
