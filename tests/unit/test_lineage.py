"""Which values a mirror's ref takes: the chain of former values, where it is whole, cut or led elsewhere."""

from collections.abc import Callable, Sequence

import pytest

from mediavault.errors import IntegrityError
from mediavault.formats.ref import decode_ref_value, value_hash
from mediavault.formats.wire import etag_of
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.refs.blobs import placeholder
from mediavault.refs.ref_store import RefState, next_value
from mediavault.refs.signing import KeyedSigner
from mediavault.sync.lineage import Course, Refusal, course_of, without
from mediavault.wire.client import RemoteRef

REPOSITORY = b"r" * 16
MAIN = "heads/main"
SIGNER = KeyedSigner({0: b"k" * 32})
NEW = placeholder(REPOSITORY, MAIN)


def after(former: bytes, number: int) -> bytes:
    state = RefState(MAIN, decode_ref_value(former), former)
    return next_value(REPOSITORY, SIGNER, state, Link(Kind.COMMIT, oid(number)), 5)


def oid(number: int) -> ObjectId:
    return bytes([number]) * 32


def moves(count: int, start: bytes = NEW, *, first: int = 1) -> list[bytes]:
    values = []
    for number in range(first, first + count):
        start = after(start, number)
        values.append(start)
    return values


def ref(value: bytes) -> RemoteRef:
    return RemoteRef(value, etag_of(value_hash(value)))


def log_of(values: Sequence[bytes]) -> Callable[[], Sequence[bytes]]:
    return lambda: values


def asked_for_nothing() -> Sequence[bytes]:
    raise AssertionError("the log is asked for without need")


def course(
    mine: bytes,
    theirs: bytes | None,
    log: Sequence[bytes] | None = None,
    *,
    their_log: Sequence[bytes] = (),
    force: bool = False,
) -> Course | Refusal | None:
    return course_of(
        MAIN,
        ref(mine),
        None if theirs is None else ref(theirs),
        log=asked_for_nothing if log is None else log_of(log),
        their_log=log_of(their_log),
        force=force,
    )


def found(course: Course | Refusal | None) -> Course:
    assert isinstance(course, Course)
    return course


def test_the_same_value_needs_nothing() -> None:
    (value,) = moves(1)
    assert course(value, value) is None


def test_one_move_needs_no_log() -> None:
    one, two = moves(2)
    assert found(course(one, None)).values == [one]
    step = found(course(two, one))
    assert (step.values, step.expected, step.adopted, step.former) == (
        [two],
        ref(one).etag,
        False,
        Link(Kind.COMMIT, oid(1)),
    )


@pytest.mark.parametrize("behind", range(1, 5))
def test_every_move_is_made_again(behind: int) -> None:
    values = moves(5)
    theirs = values[-1 - behind]
    step = found(course(values[-1], theirs, [NEW, *values[:-1]]))
    assert step.values == values[-behind:]
    assert not step.adopted
    assert [target.id for target in step.targets] == [oid(number) for number in range(6 - behind, 6)]


def test_a_new_mirror_goes_through_all_of_them() -> None:
    values = moves(4)
    step = found(course(values[-1], None, [NEW, *values[:-1]]))
    assert (step.values, step.expected, step.adopted) == (values, None, False)


def test_a_log_that_is_cut_begins_later() -> None:
    values = moves(6)
    step = found(course(values[-1], None, values[3:-1]))
    assert (step.values, step.adopted, step.proven) == (values[3:], True, True)
    step = found(course(values[-1], values[0], values[3:-1]))
    assert (step.values, step.adopted, step.proven) == (values[3:], True, False)


@pytest.mark.parametrize("theirs", [1, 2])
def test_another_history_is_refused(theirs: int) -> None:
    """Theirs has as many moves as the source or fewer: what the source's log holds at that place is another value."""
    values = moves(3)
    strange = moves(theirs, values[0], first=100)[-1]
    log = [NEW, *values[:-1]]
    assert course(values[-1], strange, log) == Refusal(MAIN, ahead=False)
    step = found(course(values[-1], strange, log, force=True))
    assert (step.values, step.adopted, step.lost, step.proven) == ([values[-1]], True, True, True)


def test_who_is_ahead_is_refused() -> None:
    values = moves(4)
    log = [NEW, values[0]]
    assert course(values[1], values[3], log, their_log=values[:3]) == Refusal(MAIN, ahead=True)
    step = found(course(values[1], values[3], log, their_log=values[:3], force=True))
    assert (step.values, step.lost) == ([values[1]], True)


def test_what_the_source_no_longer_has_is_passed_over() -> None:
    values = moves(5)
    whole = found(course(values[-1], values[0], [NEW, *values[:-1]]))
    assert without(whole, set(), "there") == whole
    step = without(whole, {oid(3)}, "there")
    assert (step.values, step.adopted, step.expected) == (values[3:], True, whole.expected)
    with pytest.raises(IntegrityError, match=f"there lacks object {oid(5).hex()}"):
        without(whole, {oid(5)}, "there")


def test_a_deleted_ref_leads_nowhere() -> None:
    (one,) = moves(1)
    gone = next_value(REPOSITORY, SIGNER, RefState(MAIN, decode_ref_value(one), one), None, 5)
    step = found(course(gone, None, [NEW, one]))
    assert step.target is None
    assert [target.id for target in step.targets] == [oid(1)]
    assert without(step, {oid(1)}, "there").values == [gone]
