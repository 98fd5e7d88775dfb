"""A pair of which one store has a pack in an archive class: it is read from the other, and the store is not left alone for it."""

from pathlib import Path

import pytest

from mediavault_backends.api import Absent
from mediavault_backends.errors import ArchivedError, RestoringError, TransientError
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.multi_mend import Difference, mend
from tests.contract.pairs import OTHER_PACK, PACK, Cable, Trusting, pair_of
from tests.tiered import FROZEN, TieredStore


def test_what_the_primary_has_archived_is_read_from_the_secondary(tmp_path: Path) -> None:
    primary, secondary = TieredStore(), MemoryBackend()
    pair = pair_of(tmp_path, primary, secondary, mode="mirror")
    pair.put(PACK, b"pack", when=Absent())
    pair.put(OTHER_PACK, b"other", when=Absent())
    primary.classes[PACK] = FROZEN
    assert pair.get(PACK).data == b"pack"
    assert b"".join(pair.stream(PACK, start=1)) == b"ack"
    secondary.delete(OTHER_PACK)
    assert pair.get(OTHER_PACK).data == b"other", "the primary is asked for all else"
    secondary.delete(PACK)
    with pytest.raises(ArchivedError):
        pair.get(PACK)
    primary.restore(PACK, days=1)
    with pytest.raises(RestoringError):
        pair.read(PACK, 0, 1)


def test_what_the_nearer_secondary_has_archived_is_read_from_the_primary(tmp_path: Path) -> None:
    primary, secondary = MemoryBackend(), TieredStore()
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    pair = pair_of(tmp_path, primary, secondary, mode="mirror", read="nearest", clock=clock)
    pair.put(PACK, b"pack", when=Absent())
    secondary.classes[PACK] = FROZEN
    pair._reading.speeds.add(second=False, seconds=9.0, failed=False)
    pair._reading.speeds.add(second=True, seconds=0.1, failed=False)
    assert pair._reading.speeds.prefers_second()
    for _ in range(5):
        assert pair.get(PACK).data == b"pack"


@pytest.mark.parametrize("breaks", [2, 3])
def test_a_transfer_that_breaks_off_is_begun_again(tmp_path: Path, breaks: int) -> None:
    primary, secondary = MemoryBackend(), Cable(MemoryBackend())
    pair = pair_of(tmp_path, primary, secondary, mode="mirror")
    pair.put(PACK, b"pack", when=Absent())
    left = [TransientError("broken", key=PACK)] * breaks

    def before(method: str, _key: str) -> None:
        if method == "stream" and left:
            raise left.pop()

    secondary.before = before
    if breaks == 3:
        with pytest.raises(TransientError):
            list(mend(pair.stores, Trusting()))
    else:
        assert list(mend(pair.stores, Trusting())) == []


def test_an_archived_pack_is_neither_compared_nor_called_damaged(tmp_path: Path) -> None:
    primary, secondary = MemoryBackend(), TieredStore()
    pair = pair_of(tmp_path, primary, secondary, mode="mirror")
    pair.put(PACK, b"pack", when=Absent())
    pair.put(OTHER_PACK, b"other", when=Absent())
    secondary.classes[PACK] = FROZEN
    (found,) = mend(pair.stores, Trusting())
    assert found == Difference(PACK, "archived", secondary.name, reason=f"{PACK} is archived")
