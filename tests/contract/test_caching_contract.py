"""The Backend protocol, clause by clause, over a cache on this machine: one that keeps packs, and one that keeps everything."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mediavault_backends.api import Backend
from mediavault_backends.caching import caching
from mediavault_backends.disk_cache import DiskCache
from mediavault_backends.kinds import is_immutable
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from tests.contract.clauses import Clauses, FolderClauses

STORES: dict[str, Callable[[Path], Backend]] = {
    "local": lambda folder: LocalBackend(folder / "store", create=True),
    "memory": lambda _: MemoryBackend(),
}
KEPT: dict[str, Callable[[str], bool]] = {"packs": is_immutable, "everything": lambda _: True}


@pytest.fixture(
    params=[
        ("local", "packs", 1 << 30),
        ("local", "everything", 5 << 20),
        ("memory", "everything", 1 << 30),
        ("memory", "everything", 1 << 20),
    ]
)
def backend(request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Backend:
    store, kept, size = request.param
    cache = DiskCache(tmp_path_factory.mktemp("cache"), size)  # the clauses count the files under tmp_path
    return caching(STORES[store](tmp_path), cache, unchanging=KEPT[kept])


class TestCachingContract(Clauses, FolderClauses):
    pass
