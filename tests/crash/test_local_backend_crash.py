"""A writer to a folder dies before each of its durable steps: others see the old or the new state and go on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mediavault_backends import fsio
from mediavault_backends.api import Absent, FileSource, Matches
from mediavault_backends.errors import NotFoundError
from mediavault_backends.fsio import Step
from mediavault_backends.local import LocalBackend

OLD, NEW = b"old" * 40_000, b"new" * 40_000


class Crash(BaseException):
    """The process is gone: every later step fails as well."""


def create(backend: LocalBackend) -> None:
    backend.put("packs/ab/x", NEW, when=Absent())


def adopt(backend: LocalBackend) -> None:
    spool = backend.spool_folder / "x.spool"
    spool.write_bytes(NEW)
    backend.put("packs/ab/x", FileSource(spool, len(NEW), adopt=True), when=Absent())


def replace(backend: LocalBackend) -> None:
    backend.put("packs/ab/x", NEW, when=Matches(backend.stat("packs/ab/x").version))


def delete(backend: LocalBackend) -> None:
    backend.delete("packs/ab/x")


def content(backend: LocalBackend) -> bytes | None:
    try:
        return backend.get("packs/ab/x").data
    except NotFoundError:
        return None


def store(folder: Path, old: bytes | None) -> LocalBackend:
    backend = LocalBackend(folder, create=True)
    if old is not None:
        backend.put("packs/ab/x", old, when=Absent())
    return backend


@pytest.mark.parametrize(
    ("action", "old", "new"),
    [(create, None, NEW), (adopt, None, NEW), (replace, OLD, NEW), (delete, OLD, None)],
)
def test_every_crash_leaves_the_old_or_the_new(
    tmp_path: Path, action: Callable[[LocalBackend], None], old: bytes | None, new: bytes | None
) -> None:
    steps: list[Step] = []
    backend = store(tmp_path / "whole", old)
    with fsio.observe(steps.append):
        action(backend)
    outcomes = []
    for survived in range(len(steps)):
        backend = store(tmp_path / str(survived), old)
        taken: list[Step] = []

        def die(step: Step, taken: list[Step] = taken, survived: int = survived) -> None:
            if len(taken) == survived:
                raise Crash
            taken.append(step)

        with fsio.observe(die), pytest.raises(Crash):
            action(backend)
        again = LocalBackend(tmp_path / str(survived))
        outcomes.append(content(again))
        assert [stat.key for stat in again.scan()] == ["packs/ab/x"] * (outcomes[-1] is not None)
        if outcomes[-1] == old:
            action(again)
        assert content(again) == new
        again.remove_stale(older_than=-1.0)
        assert [
            path for path in (tmp_path / str(survived) / ".tmp").rglob("*") if path.suffix in {".tmp", ".spool"}
        ] == []
    named = outcomes.index(new)
    assert outcomes == [old] * named + [new] * (len(outcomes) - named)
    assert 0 < named < len(outcomes)
