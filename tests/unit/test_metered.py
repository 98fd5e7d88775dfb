"""What the meter counts: calls, bytes put once they are, bytes read as they come."""

from pathlib import Path

import pytest

from mediavault_backends.api import Absent, Spooling
from mediavault_backends.errors import PreconditionFailedError
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.meter import Count, Meter, metered


def test_each_call_and_byte_is_counted() -> None:
    meter = Meter()
    store = metered(MemoryBackend(), meter)
    store.put("a", b"12345", when=Absent())
    assert meter.count == Count(1, 5, 0, writes=1)
    with pytest.raises(PreconditionFailedError):
        store.put("a", b"12345", when=Absent())
    assert meter.count == Count(2, 5, 0, writes=2)
    store.get("a")
    store.read("a", 1, 2)
    assert b"".join(map(bytes, store.stream("a", start=3))) == b"45"
    assert meter.count == Count(5, 5, 9, writes=2, reads=3)
    store.stat("a")
    assert [stat.key for stat in store.scan()] == ["a"]
    store.delete("a")
    assert meter.count == Count(8, 5, 9, writes=2, lists=1, reads=4)


def test_a_folder_for_spools_stays_one(tmp_path: Path) -> None:
    store = LocalBackend(tmp_path / "store", create=True)
    counted = metered(store, Meter())
    assert isinstance(counted, Spooling)
    assert counted.spool_folder == store.spool_folder
    assert not isinstance(metered(MemoryBackend(), Meter()), Spooling)
