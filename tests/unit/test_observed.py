import pytest

from mediavault.errors import IntegrityError
from mediavault.formats.ref import NO_PREVIOUS, RefValue, encode_ref_value, placeholder_value, value_hash
from mediavault.model.ids import Kind, Link
from mediavault.refs.observed import Observed, check_observed

REPOSITORY = b"r" * 16
MAIN = "heads/main"


def value(seq: int, *, previous: bytes = NO_PREVIOUS, time: int = 0, epoch: int = 4, nil: bool = False) -> bytes:
    target = None if nil else Link(Kind.COMMIT, bytes(32))
    return encode_ref_value(RefValue(REPOSITORY, MAIN, epoch, seq, target, previous, time))


def seen(data: bytes) -> Observed:
    found = check_observed(MAIN, None, data)
    assert found is not None
    return found


FIRST = value(5)
NEXT = value(6, previous=value_hash(FIRST))


def test_what_is_seen_first_is_remembered() -> None:
    assert check_observed(MAIN, None, None) is None
    assert seen(FIRST) == Observed(5, value_hash(FIRST), 4)


def test_going_on_is_fine() -> None:
    for after in (FIRST, NEXT, value(7), value(6, previous=value_hash(FIRST), nil=True), value(7, epoch=5)):
        assert check_observed(MAIN, seen(FIRST), after) == seen(after)


@pytest.mark.parametrize(
    ("current", "reason"),
    [
        (None, "it was there and is gone"),
        (value(4), "at move 4, after move 5"),
        (encode_ref_value(placeholder_value(REPOSITORY, MAIN)), "at move 0, after move 5"),
        (value(5, time=1), "not the one that was seen"),
        (value(6, previous=b"x" * 32), "does not follow"),
        (value(7, epoch=3), "key epoch 3"),
    ],
)
def test_going_back_is_an_alarm(current: bytes | None, reason: str) -> None:
    with pytest.raises(IntegrityError, match=reason):
        check_observed(MAIN, seen(FIRST), current)


def test_an_epoch_below_the_highest_seen_in_any_ref_is_an_alarm() -> None:
    with pytest.raises(IntegrityError, match="key epoch 4"):
        check_observed(MAIN, None, FIRST, highest_epoch=5)
    new = encode_ref_value(placeholder_value(REPOSITORY, MAIN))
    assert check_observed(MAIN, None, new, highest_epoch=5) == Observed(0, value_hash(new), 0)


def test_a_damaged_value_is_told() -> None:
    with pytest.raises(IntegrityError, match="is damaged"):
        check_observed(MAIN, None, FIRST[:-1])
