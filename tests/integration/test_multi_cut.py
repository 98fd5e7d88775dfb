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
from tests.integration.test_direct_remotes import slot

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


def pushes(tmp_path: Path, ann: Studio, error: type[BackendError], *, outage: int) -> Iterator[bool]:
    """Push twice, cut off at one step after another; yield whether that step was reached. What each call says is checked.

    The second store comes back when so many pushes gave up; 0: it failed in one call alone.
    """
    first = ann.commit({"a.mov": noise(300_000, 1)})
    second = ann.commit({"a.mov": noise(300_000, 1), "b.mov": noise(200_000, 2)}, [first.id])
    for step in range(1, STEPS):
        fast, safe = MemoryBackend(), Cable(MemoryBackend())
        pair = pair_of(tmp_path / f"journal-{step}", fast, safe, mode="mirror")
        cutter = Cutter(safe, step, error, for_good=outage > 0)
        failures = 0
        for target in (first, second):
            for _attempt in range(5 + outage):
                ann.observed = {}
                remote = DirectRemote("s3://bucket/film", lambda _: pair, tmp_path / "scratch", probed=False)  # noqa: B023 -- used at once
                try:
                    ann.push(remote, target, pack_size=150_000)
                except MediaVaultError:
                    failures += 1
                    if failures >= outage:
                        safe.cut = None
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


@pytest.mark.parametrize("outage", [0, 1, 3], ids=["one call", "until the push gave up", "for two more pushes"])
@pytest.mark.parametrize("error", [TransientError, OutcomeUnknownError])
def test_a_push_that_succeeds_is_in_both_stores(
    tmp_path: Path, ann: Studio, error: type[BackendError], outage: int
) -> None:
    steps = 0
    for happened in pushes(tmp_path, ann, error, outage=outage):
        if not happened:
            break
        steps += 1
    assert 30 < steps < STEPS - 1


def test_a_key_slot_that_is_replaced_is_in_both_stores(tmp_path: Path, ann: Studio) -> None:
    fast, safe = MemoryBackend(), Cable(MemoryBackend())
    pair = pair_of(tmp_path / "journal", fast, safe, mode="mirror")
    remote = DirectRemote("s3://bucket/film", lambda _: pair, tmp_path / "scratch", probed=False)
    one, two = slot(ann.repository, "one"), slot(ann.repository, "two")
    remote.create(ann.config, {"passphrase": one})
    Cutter(safe, 2, TransientError, for_good=True)  # looked at, and then not put
    for _ in range(2):
        with pytest.raises(MediaVaultError):
            remote.put_slot("passphrase", two, one)
        assert remote.slots() == {"passphrase": two}
    safe.cut = None
    remote.put_slot("passphrase", two, one)
    assert contents(safe) == contents(fast)
    remote.close()
    pair.close()
