"""The backend that fails on purpose."""

import pytest

from mediavault_backends.api import Absent
from mediavault_backends.errors import NotFoundError, OutcomeUnknownError, TransientError
from mediavault_backends.fault import Call, Fault, FaultBackend
from mediavault_backends.memory import MemoryBackend


def test_a_planned_call_fails_once_without_landing() -> None:
    backend = FaultBackend(MemoryBackend(), [Fault("put", nth=2, error=TransientError, prefix="refs/")])
    backend.put("packs/a", b"", when=Absent())
    backend.put("refs/a", b"", when=Absent())
    with pytest.raises(TransientError) as caught:
        backend.put("refs/b", b"", when=Absent())
    assert caught.value.key == "refs/b"
    with pytest.raises(NotFoundError):
        backend.get("refs/b")
    backend.put("refs/b", b"", when=Absent())
    assert [stat.key for stat in backend.scan("refs/")] == ["refs/a", "refs/b"]
    assert backend.calls == (
        *(Call("put", key) for key in ("packs/a", "refs/a", "refs/b")),
        *(Call("get", "refs/b"), Call("put", "refs/b"), Call("scan", "refs/")),
    )


def test_a_reply_may_be_lost_after_the_call_landed() -> None:
    backend = FaultBackend(MemoryBackend(), [Fault("put", lands=True), Fault("delete", lands=True)])
    with pytest.raises(OutcomeUnknownError):
        backend.put("a", b"1", when=Absent())
    assert backend.read("a", 0, 1) == b"1"
    assert backend.stat("a").size == 1
    with pytest.raises(OutcomeUnknownError):
        backend.delete("a")
    with pytest.raises(NotFoundError):
        backend.stream("a")


def test_a_plan_cannot_lie() -> None:
    with pytest.raises(ValueError, match="must not land"):
        Fault("put", error=TransientError, lands=True)


def test_it_has_a_name() -> None:
    assert FaultBackend(MemoryBackend()).name == "faulty memory"
