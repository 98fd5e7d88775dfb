"""The probe at start-up: stores that keep conditions pass and stay clean, the others are refused by name of their fault."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mediavault_backends.api import Absent, Blob, Body, Condition, Matches, Version
from mediavault_backends.errors import AccessDeniedError, BackendSetupError, NotFoundError, PreconditionFailedError
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.probe import RACERS, check_conditions


@pytest.mark.parametrize("make", [lambda _: MemoryBackend(), lambda path: LocalBackend(path, create=True)])
def test_a_store_that_keeps_conditions_passes(
    tmp_path: Path, make: Callable[[Path], MemoryBackend | LocalBackend]
) -> None:
    backend = make(tmp_path)
    backend.put("other", b"1", when=Absent())
    check_conditions(backend)
    assert [stat.key for stat in backend.scan()] == ["other"]


class _Careless(MemoryBackend):
    """Ignores what a test says it ignores."""

    def _overwrite(self, key: str, body: Body) -> Version:
        while True:
            try:
                version = self.stat(key).version
            except NotFoundError:
                when: Condition = Absent()
            else:
                when = Matches(version)
            try:
                return MemoryBackend.put(self, key, body, when=when)
            except PreconditionFailedError:
                continue


class IgnoresAbsent(_Careless):
    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        return self._overwrite(key, body) if isinstance(when, Absent) else super().put(key, body, when=when)


class IgnoresMatches(_Careless):
    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        return self._overwrite(key, body) if isinstance(when, Matches) else super().put(key, body, when=when)


class LooksThenWrites(_Careless):
    """Checks conditions, but not at the instant of writing."""

    def __init__(self) -> None:
        super().__init__()
        self._barrier = threading.Barrier(RACERS)

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        if not bytes(body).startswith(b"racer"):  # type: ignore[arg-type]
            return super().put(key, body, when=when)
        if isinstance(when, Matches) and self.stat(key).version != when.version:
            raise AssertionError
        self._barrier.wait(60)
        return self._overwrite(key, body)


class CreatesByMatch(_Careless):
    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        if isinstance(when, Matches) and not any(stat.key == key for stat in self.scan()):
            return self._overwrite(key, body)
        return super().put(key, body, when=when)


class Stale(MemoryBackend):
    def get(self, key: str) -> Blob:
        return Blob(b"first", super().get(key).version)


class Undying(MemoryBackend):
    def delete(self, key: str) -> None:
        pass


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (IgnoresAbsent, "although one is there"),
        (IgnoresMatches, "although it has changed"),
        (LooksThenWrites, f"lets {RACERS} of {RACERS} writers win"),
        (CreatesByMatch, "that is not there"),
        (Stale, "does not hand back"),
        (Undying, "that was deleted"),
    ],
)
def test_a_store_that_does_not_is_refused(kind: type[MemoryBackend], fault: str) -> None:
    backend = kind()
    with pytest.raises(BackendSetupError, match=fault) as caught:
        check_conditions(backend)
    assert "use a store that keeps conditions" in str(caught.value)
    if kind is not Undying:
        assert list(backend.scan()) == []


def test_a_store_that_refuses_is_not_called_careless() -> None:
    class Closed(MemoryBackend):
        def put(self, key: str, body: Body, *, when: Condition) -> Version:
            raise AccessDeniedError(f"no {body!r} when {when}", key=key)

    with pytest.raises(AccessDeniedError):
        check_conditions(Closed())
