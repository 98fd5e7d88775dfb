"""A million keys: listed whole, in order, each once, by prefix, and in little memory."""

import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mediavault_backends.api import Absent, Backend
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.multi import multi
from tests.contract.many_keys import check_listing, keys_of
from tests.contract.pairs import journal_of

pytestmark = pytest.mark.deep

COUNT = 1_000_000


def folder_of_files(folder: Path) -> Backend:
    """Return a local store that holds the keys; files are made directly, for a put of each would sync a million times."""
    store = LocalBackend(folder / "store", create=True)
    made = set[Path]()
    for key in keys_of(COUNT):
        path = folder / "store" / key
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        path.touch()
    return store


def memory(_: Path) -> Backend:
    store = MemoryBackend()
    for key in keys_of(COUNT):
        store.put(key, b"", when=Absent())
    return store


@pytest.mark.parametrize("make", [folder_of_files, memory])
@pytest.mark.timeout(3600)
def test_a_million_keys_are_listed(make: Callable[[Path], Backend], tmp_path: Path) -> None:
    store = make(tmp_path)
    check_listing(store, COUNT)


@pytest.mark.timeout(3600)
def test_a_million_keys_of_two_stores_are_listed(tmp_path: Path) -> None:
    primary, secondary = memory(tmp_path), memory(tmp_path)
    journal = journal_of(tmp_path, primary, secondary)
    with closing(multi(primary, secondary, journal, mode="mirror", read="nearest")) as store:
        check_listing(store, COUNT)


@pytest.mark.timeout(3600)
def test_a_listing_of_a_folder_takes_little_memory(tmp_path: Path) -> None:
    store = folder_of_files(tmp_path)
    tracemalloc.start()
    try:
        assert sum(1 for _ in store.scan()) == COUNT
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20, "it holds a folder at a time"
