"""The Backend protocol, clause by clause, over every backend that needs no service."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mediavault_backends.api import Absent, Backend, Mappable
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.prefix import prefixed
from mediavault_backends.throttle import Rates, Throttle, ThrottledBackend, throttled
from tests.contract.clauses import LARGE, Clauses, FolderClauses

RATES = Rates(*(Throttle(1 << 50) for _ in range(3)))

MAKERS: dict[str, Callable[[Path], Backend]] = {
    "local": lambda folder: LocalBackend(folder / "store", create=True),
    "memory": lambda _: MemoryBackend(),
    "prefixed-local": lambda folder: prefixed(LocalBackend(folder / "store", create=True), "team/project/"),
    "prefixed-memory": lambda _: prefixed(MemoryBackend(), "team/project/"),
    "throttled-local": lambda folder: throttled(LocalBackend(folder / "store", create=True), RATES),
    "throttled-memory": lambda _: throttled(MemoryBackend(), RATES),
}


@pytest.fixture(params=list(MAKERS))
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return MAKERS[request.param](tmp_path)


class TestContract(Clauses, FolderClauses):
    pass


def test_a_mapped_object_equals_a_read_one(backend: Backend) -> None:
    if not isinstance(backend, Mappable):
        assert isinstance(backend, MemoryBackend | ThrottledBackend) or "memory" in backend.name
        return
    backend.put("large", LARGE, when=Absent())
    backend.put("empty", b"", when=Absent())
    view = backend.map("large")
    backend.delete("large")
    assert view == LARGE
    assert view.readonly
    assert bytes(backend.map("empty")) == b""
