"""Two stores as one, with a fault at every call of either, and a death at every durable step of the journal.

Never is anything lost that was acknowledged, never does anything come back that was deleted, and in the end both are equal.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import pytest

from mediavault_backends import fsio
from mediavault_backends.api import Absent, Backend, Matches
from mediavault_backends.errors import (
    AccessDeniedError,
    BackendError,
    NotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StorageFullError,
    TransientError,
)
from mediavault_backends.fault import Fault, FaultBackend, Method
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.multi import Mode, MultiBackend
from mediavault_backends.multi_mend import mend
from tests.contract.pairs import INDEX, OTHER_PACK, PACK, REF, SLOT, Trusting, contents, crash, journal_of, pair_of

ERRORS: list[tuple[type[BackendError], bool]] = [
    (TransientError, False),
    (OutcomeUnknownError, False),
    (OutcomeUnknownError, True),
    (AccessDeniedError, False),
    (StorageFullError, False),
]
GONE = None


@pytest.fixture(autouse=True)
def no_disk_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes die here, machines do not: what was written is there, synced or not."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


class DiedError(BaseException):
    """The process ends here."""


@dataclass
class Believed:
    """What callers may believe of each key: any of these states; None is no object."""

    states: dict[str, set[bytes | None]] = field(default_factory=dict)

    def of(self, key: str) -> set[bytes | None]:
        return self.states.setdefault(key, {GONE})

    def done(self, key: str, state: bytes | None) -> None:
        self.states[key] = {state}

    def open(self, key: str, state: bytes | None) -> None:
        self.of(key).add(state)


def put(pair: Backend, believed: Believed, key: str, data: bytes) -> None:
    """Create, or replace what is there, as a caller does that looks before."""
    try:
        found = pair.get(key)
        when: Absent | Matches = Matches(found.version)
        assert found.data in believed.of(key)
    except NotFoundError:
        when = Absent()
        assert GONE in believed.of(key), f"{key} is lost"
    except BackendError:
        return
    try:
        pair.put(key, data, when=when)
    except (OutcomeUnknownError, DiedError) as error:
        believed.open(key, data)
        if isinstance(error, DiedError):
            raise
    except PreconditionFailedError:
        of_secondary = isinstance(when, Matches) and when.version.startswith("2-")
        assert of_secondary or len(believed.of(key)) > 1, "refused for no reason"
    except BackendError:
        pass
    else:
        believed.done(key, data)


def delete(pair: Backend, believed: Believed, key: str) -> None:
    try:
        pair.delete(key)
    except DiedError:
        believed.open(key, GONE)
        raise
    except BackendError:
        believed.open(key, GONE)
    else:
        believed.done(key, GONE)


def script(pair: MultiBackend, believed: Believed) -> None:
    """Do what pushes, collections and changes of keys do to a store, with copying between."""
    put(pair, believed, PACK, b"pack")
    put(pair, believed, INDEX, b"index")
    put(pair, believed, REF, b"one")
    pair.catch_up()
    put(pair, believed, SLOT, b"slot")
    put(pair, believed, REF, b"two")
    put(pair, believed, OTHER_PACK, b"other")
    pair.catch_up()
    delete(pair, believed, SLOT)
    delete(pair, believed, PACK)
    pair.catch_up()
    put(pair, believed, REF, b"three")
    delete(pair, believed, INDEX)
    put(pair, believed, SLOT, b"again")
    delete(pair, believed, SLOT)


def check(pair: MultiBackend, believed: Believed, primary: Backend, secondary: Backend) -> None:
    for _ in range(3):
        pair.catch_up()
    assert pair.lag().pending == 0
    assert contents(primary) == contents(secondary)
    assert list(mend(pair.stores, Trusting())) == []
    assert contents(primary) == contents(secondary)
    for key, states in believed.states.items():
        try:
            found: bytes | None = pair.get(key).data
        except NotFoundError:
            found = GONE
        assert found in states, key


def calls_of(mode: Mode, folder: Path) -> Iterator[tuple[int, Method, int]]:
    """Yield every call that the script makes without faults: of which store, which method, the how many-th of it."""
    stores = FaultBackend(MemoryBackend()), FaultBackend(MemoryBackend())
    script(pair_of(folder, *stores, mode=mode), Believed())
    for number, store in enumerate(stores):
        for method in get_args(Method):
            total = len([call for call in store.calls if call.method == method])
            yield from ((number, method, nth) for nth in range(1, total + 1))


@pytest.mark.parametrize("mode", get_args(Mode))
def test_a_fault_at_every_call_of_either_store(tmp_path: Path, mode: Mode) -> None:
    cases = 0
    for which, method, nth in list(calls_of(mode, tmp_path / "none")):
        for error, lands in ERRORS:
            inner = MemoryBackend(), MemoryBackend()
            plan = [Fault(method, nth, error, lands=lands)]
            stores = [FaultBackend(store, plan if number == which else []) for number, store in enumerate(inner)]
            cases += 1
            folder = tmp_path / str(cases)
            pair = pair_of(folder, stores[0], stores[1], mode=mode)
            believed = Believed()
            script(pair, believed)
            pair.close()
            # Another process finishes, with stores that work.
            check(pair_of(folder, *stores, mode=mode), believed, *inner)
    assert cases > 200


@pytest.mark.parametrize("mode", get_args(Mode))
def test_a_death_at_every_durable_step(tmp_path: Path, mode: Mode) -> None:
    def steps_of(work: Callable[[], object], last: int | None) -> int:
        taken = 0

        def count(_: fsio.Step) -> None:
            nonlocal taken
            taken += 1
            if last is not None and taken > last:
                raise DiedError

        with fsio.observe(count):
            work()
        return taken

    def fresh(name: str) -> tuple[MultiBackend, Believed, MemoryBackend, MemoryBackend]:
        inner = MemoryBackend(), MemoryBackend()
        return pair_of(tmp_path / name, *inner, mode=mode), Believed(), *inner

    pair, believed, *_ = fresh("whole")
    total = steps_of(lambda: script(pair, believed), None)
    assert total > 10
    for last in range(total):
        pair, believed, primary, secondary = fresh(str(last))
        with pytest.raises(DiedError):
            steps_of(lambda pair=pair, believed=believed: script(pair, believed), last)  # type: ignore[misc]
        crash(pair)
        check(pair_of(tmp_path / str(last), primary, secondary, mode=mode), believed, primary, secondary)


@pytest.mark.parametrize("mode", get_args(Mode))
@pytest.mark.parametrize("which", ["primary", "secondary"])
def test_a_death_at_every_call_of_a_store(tmp_path: Path, mode: Mode, which: str) -> None:
    """The process dies in front of the n-th call of either store, and another one goes on."""

    class Mortal:
        def __init__(self, inner: Backend, left: int) -> None:
            self.inner, self.left = inner, left

        def __getattr__(self, name: str) -> object:
            if name in get_args(Method):
                if not self.left:
                    raise DiedError
                self.left -= 1
            return getattr(self.inner, name)

    for last in range(200):
        inner = MemoryBackend(), MemoryBackend()
        stores: list[Backend] = list(inner)
        at = 0 if which == "primary" else 1
        mortal = Mortal(inner[at], last)
        stores[at] = mortal  # type: ignore[call-overload]
        folder = tmp_path / str(last)
        pair = MultiBackend(stores[0], stores[1], journal_of(folder, *inner), mode=mode, background=False)
        pair._journal.mark_complete()
        believed = Believed()
        try:
            script(pair, believed)
        except DiedError:
            crash(pair)
        else:
            assert last > 20
            break
        check(pair_of(folder, *inner, mode=mode), believed, *inner)
    else:
        pytest.fail("the script never ended")
