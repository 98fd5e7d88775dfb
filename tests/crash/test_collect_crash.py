"""Stops a collection before every durable step that it takes: what is needed reads, and the next one finishes."""

import os
from itertools import count
from pathlib import Path

import pytest

from mediavault.errors import MediaVaultError
from mediavault.model.ids import Kind, ObjectId
from mediavault.store.collect import Needs, plan_collection, run_collection
from mediavault.store.frames import FrameStore
from mediavault.store.keys import PACKS
from mediavault.store.salvage import salvage, unsettled_packs
from mediavault.store.verify import scrub
from mediavault_backends import fsio
from mediavault_backends.errors import BackendError
from mediavault_backends.local import LocalBackend
from tests.stored import Stored, append_all, chunk, commit, manifest, open_store, tree


class Crash(BaseException):
    """The process died here."""


class Death:
    """Lets no durable step happen from the nth one on."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def __call__(self, step: fsio.Step) -> None:
        self.left -= 1
        if self.left < 0:
            raise Crash(step)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _fd: None)


def state(number: int, *parents: Stored) -> list[Stored]:
    chunks = [chunk(bytes([number, n]) * 400) for n in range(4)]
    contents = manifest(*chunks[:3])
    root = tree(contents, *chunks[3:])
    return [*chunks, contents, root, commit(root, *parents, message=f"state {number}")]


FIRST, SECOND, DEAD = state(1), state(2), state(3)
KEPT = commit(SECOND[-2], FIRST[-1])
NEEDED = [*FIRST, *SECOND[:-1], KEPT]
STRAY = [SECOND[-1], *DEAD]


def made(root: Path) -> LocalBackend:
    """Make a store in which something is dead in packs of its own, and something in one with what is needed."""
    backend = LocalBackend(root, create=True)
    for objects in (FIRST, [*SECOND, KEPT, *DEAD[:2]], DEAD[2:]):
        with open_store(backend).writer(backend.spool_folder, plain=True) as writer:
            append_all(writer, objects)
    return backend


def collect(backend: LocalBackend) -> None:
    frames = open_store(backend)
    needs = Needs([KEPT.link], pending=unsettled_packs(backend.spool_folder))
    plan = plan_collection(frames, needs, lambda _: None)
    with frames.writer(backend.spool_folder, plain=True) as writer:
        run_collection(frames, plan, writer, copied=lambda _: None, settled=lambda: None)


def check(root: Path) -> FrameStore:
    """Everything needed reads; whatever is relied upon is whole; nothing looks damaged."""
    backend = LocalBackend(root)
    frames = open_store(backend)
    for one in NEEDED:
        assert frames.read(one.id).header.id == one.id
    by_id: dict[ObjectId, Stored] = {one.id: one for one in (*NEEDED, *STRAY)}
    for oid in by_id:
        if frames.has(oid):
            links = frames.read(oid).header.links
            assert [link for link in links if not frames.has(link.id)] == [], "indexed, and not whole"
    assert list(scrub(backend)) == []
    return frames


@pytest.mark.parametrize("between", ["nothing", "a salvage", "a compaction", "a new commit of what was dead"])
def test_a_collection_that_stops_anywhere_loses_nothing_and_is_finished_by_the_next(
    tmp_path: Path, between: str
) -> None:
    for nth in count():
        backend = made(root := tmp_path / str(nth))
        death = Death(nth)
        try:
            with fsio.observe(death):
                collect(backend)
        except (Crash, BackendError, MediaVaultError):
            assert death.left < 0
        frames = check(root)
        backend = LocalBackend(root)
        if between == "a salvage":
            salvage(backend, frames.index, backend.spool_folder)
        elif between == "a compaction":
            frames.index.compact(keep=1)
        elif between == "a new commit of what was dead":
            with frames.writer(backend.spool_folder, plain=True) as writer:
                append_all(writer, [one for one in DEAD if not frames.has(one.id)])
            for one in DEAD:
                assert open_store(backend).read(one.id)
            assert open_store(backend).missing([one.id for one in DEAD]) == []
        check(root)
        collect(LocalBackend(root))
        frames = check(root)
        assert [one for one in STRAY if frames.has(one.id)] == []
        assert not any(pack.condemned for blob in frames.index.blobs() for pack in blob.packs)
        rows = [row for pack in frames.index.packs() for row in frames.pack_table(pack).rows]
        assert sorted(row.id for row in rows) == sorted(one.id for one in NEEDED)
        pending = unsettled_packs(backend.spool_folder)
        listed = {bytes.fromhex(stat.key.rpartition("/")[2]) for stat in backend.scan(PACKS)}
        assert listed - pending == frames.index.packs() - pending
        assert all(row.kind in set(Kind) for row in rows)
        if death.left >= 0:
            break
    assert nth >= 20
