"""A push to two stores as one whose second one is cut off in the middle: success means that both have everything."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mediavault.errors import MediaVaultError
from mediavault.sync.direct import DirectRemote
from mediavault_backends.errors import BackendError, OutcomeUnknownError, TransientError
from mediavault_backends.memory import MemoryBackend
from tests.contract.pairs import Cable, contents, pair_of
from tests.integration.studio import Studio, noise

STEPS = 400
"""More than a push of these tests asks of the second store."""


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediavault.sync.direct.time.sleep", lambda _: None)


@pytest.fixture
def ann(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "ann")


class Cutter:
    """Cuts a store off at one of its calls: for this one call, or until it is mended."""

    def __init__(self, cable: Cable, at: int, error: type[BackendError], *, for_good: bool) -> None:
        self.cable = cable
        self.left = at
        self.error = error
        self.for_good = for_good
        cable.before = self

    def __call__(self, _method: str, key: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.cable.cut = self.error if self.for_good else None
            raise self.error("cut off", key=key)

    @property
    def happened(self) -> bool:
        return self.left <= 0


def pushes(tmp_path: Path, ann: Studio, error: type[BackendError], *, for_good: bool) -> Iterator[bool]:
    """Push twice, cut off at one step after another; yield whether that step was reached. What each call says is checked."""
    first = ann.commit({"a.mov": noise(300_000, 1)})
    second = ann.commit({"a.mov": noise(300_000, 1), "b.mov": noise(200_000, 2)}, [first.id])
    for step in range(1, STEPS):
        fast, safe = MemoryBackend(), Cable(MemoryBackend())
        pair = pair_of(tmp_path / f"journal-{step}", fast, safe, mode="mirror")
        cutter = Cutter(safe, step, error, for_good=for_good)
        for target in (first, second):
            for _attempt in range(5):
                ann.observed = {}
                remote = DirectRemote("s3://bucket/film", lambda _: pair, tmp_path / "scratch", probed=False)  # noqa: B023 -- used at once
                try:
                    ann.push(remote, target, pack_size=150_000)
                except MediaVaultError:
                    safe.cut = None  # it comes back after the push gave up
                else:
                    break
                finally:
                    remote.close()
            else:
                raise AssertionError("the push never succeeds")
            # Nothing was copied later: no thread does that here.
            assert contents(safe.inner) == contents(fast), f"cut off at step {step}"
        yield cutter.happened
        pair.close()


@pytest.mark.parametrize("for_good", [False, True], ids=["one call", "until the push gave up"])
@pytest.mark.parametrize("error", [TransientError, OutcomeUnknownError])
def test_a_push_that_succeeds_is_in_both_stores(
    tmp_path: Path, ann: Studio, error: type[BackendError], *, for_good: bool
) -> None:
    steps = 0
    for happened in pushes(tmp_path, ann, error, for_good=for_good):
        if not happened:
            break
        steps += 1
    assert 30 < steps < STEPS - 1
