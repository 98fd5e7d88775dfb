"""Stops a writer at every durable step that it takes, and looks at what is left."""

from itertools import count
from pathlib import Path

from mediavault.errors import MediaVaultError
from mediavault.model.ids import Link
from mediavault.refs.ref_store import RefStore
from mediavault.refs.signing import PlainSigner
from mediavault.store.frames import FrameStore
from mediavault.store.reachability import collect
from mediavault.store.salvage import salvage
from mediavault.store.verify import scrub
from mediavault_backends import fsio
from mediavault_backends.errors import BackendError
from mediavault_backends.local import LocalBackend
from tests.stored import REPOSITORY, Stored, chunk, commit, manifest, open_store, tree

MAIN = "heads/main"


def state(number: int, *parents: Stored) -> list[Stored]:
    """Make one state of a project, children first, the commit last."""
    chunks = [chunk(bytes([number, n]) * 400) for n in range(6)]
    contents = manifest(*chunks[:4])
    root = tree(contents, *chunks[4:])
    return [*chunks, contents, root, commit(root, *parents, message=f"state {number}")]


FIRST = state(1)
SECOND = state(2, FIRST[-1])


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


def opened(root: Path) -> tuple[LocalBackend, FrameStore, RefStore]:
    backend = LocalBackend(root, create=True)
    return backend, open_store(backend), RefStore(backend, REPOSITORY, PlainSigner())


def save(root: Path, objects: list[Stored]) -> int:
    """Do what add and commit do; return how many frames had to be written."""
    backend, store, refs = opened(root)
    salvage(backend, store.index, backend.spool_folder)
    before = refs.read(MAIN)
    new = [one for one in objects if not store.has(one.id)]
    with store.writer(backend.spool_folder, plain=True, target=3000) as writer:
        for one in new:
            writer.append(one.frame, one.raw_length)
    refs.move(before, objects[-1].link, 1)
    return len(new)


def check(root: Path, allowed: set[Link]) -> None:
    backend, store, refs = opened(root)
    target = refs.read(MAIN).target
    assert target in allowed
    assert list(scrub(backend)) == []
    found = collect(store, [target] if target else [])
    assert len(found.commits) >= 1
    for frame in store.read_many([*found.chunks, *found.nodes]):
        assert frame.size


def test_a_save_that_stops_anywhere_leaves_the_old_or_the_new_state_and_can_be_repeated(tmp_path: Path) -> None:
    written = []
    for nth in count():
        root = tmp_path / str(nth)
        save(root, FIRST)
        death = Death(nth)
        try:
            with fsio.observe(death):
                save(root, SECOND)
        except (Crash, BackendError, MediaVaultError):
            check(root, {FIRST[-1].link, SECOND[-1].link})
            written.append(save(root, SECOND) if opened(root)[2].read(MAIN).target != SECOND[-1].link else 0)
        check(root, {SECOND[-1].link})
        assert list((root / ".tmp" / "spool").iterdir()) == []
        if death.left >= 0:
            break
    assert len(written) > 20
    # All six chunks were spooled before the first durable step of a put; none is ever written again.
    assert max(written[1:]) <= 3, written


def test_compaction_that_stops_anywhere_loses_no_row(tmp_path: Path) -> None:
    for nth in count():
        root = tmp_path / str(nth)
        history: list[Stored] = []
        for number in range(4):
            objects = state(number, *history[-1:])
            save(root, objects)
            history += objects
        death = Death(nth)
        try:
            with fsio.observe(death):
                opened(root)[1].index.compact(keep=1)
        except (Crash, BackendError):
            pass
        store = opened(root)[1]
        assert store.missing([one.id for one in history]) == []
        if death.left >= 0:
            assert len(store.index.blobs()) == 1
            break
    assert nth >= 5
