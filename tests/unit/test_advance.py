import threading
from functools import partial

import msgspec
import pytest

from mediavault.errors import DivergedError, RefMovedError, UsageError
from mediavault.formats.ref import RefValue, decode_ref_value, encode_ref_value, value_hash
from mediavault.model.ids import Kind, Link
from mediavault.refs.advance import accept_value, check_adoption, check_move
from mediavault.refs.blobs import LOGS, placeholder, read_blob, read_log, ref_key
from mediavault.refs.ref_store import RefState, next_value
from mediavault.refs.signing import KeyedSigner
from mediavault_backends.api import Backend, Body, Condition, Matches, Version
from mediavault_backends.errors import TransientError
from mediavault_backends.fault import Fault, FaultBackend
from mediavault_backends.memory import MemoryBackend

REPOSITORY = b"r" * 16
MAIN = "heads/main"
SIGNER = KeyedSigner({3: b"k" * 32})
NEW = placeholder(REPOSITORY, MAIN)


def following(former: bytes, number: int = 1) -> bytes:
    """Make what a client makes."""
    state = RefState(MAIN, decode_ref_value(former), former)
    return next_value(REPOSITORY, SIGNER, state, Link(Kind.COMMIT, bytes([number]) * 32), 5)


def accept(backend: Backend, value: bytes, expected: bytes | None) -> bytes:
    return accept_value(backend, REPOSITORY, MAIN, value, expected=expected).value_bytes


def test_a_client_makes_the_first_value_without_asking() -> None:
    backend = MemoryBackend()
    first = following(NEW)
    assert accept(backend, first, None) == first
    second = following(first, 2)
    assert accept(backend, second, value_hash(first)) == second
    found = read_blob(backend, MAIN)
    assert found is not None
    assert (found.value_bytes, found.hash) == (second, value_hash(second))
    assert read_log(backend, MAIN) == [NEW, first]


def test_an_absent_client_state_equals_the_placeholder() -> None:
    assert next_value(REPOSITORY, SIGNER, RefState(MAIN), Link(Kind.COMMIT, b"\1" * 32), 5) == following(NEW)


def test_a_ref_that_moved_is_refused() -> None:
    backend = MemoryBackend()
    first = following(NEW)
    accept(backend, first, None)
    for expected in (None, value_hash(NEW), bytes(32)):
        with pytest.raises(RefMovedError):
            accept(backend, following(NEW, 2), expected)
    found = read_blob(backend, MAIN)
    assert found is not None
    assert found.value_bytes == first


def test_asking_again_after_a_lost_answer_is_success() -> None:
    backend = MemoryBackend()
    first = following(NEW)
    accept(backend, first, None)
    assert accept(backend, first, None) == first
    assert len(list(backend.scan(LOGS))) == 1


def changed(value: bytes, **fields: object) -> bytes:
    return encode_ref_value(msgspec.structs.replace(decode_ref_value(value), **fields))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"seq": 1}, "the next one is 2"),
        ({"seq": 3}, "the next one is 2"),
        ({"previous": bytes(32)}, "does not follow"),
        ({"epoch": 2}, "key epoch 2"),
        ({"repository": b"x" * 16}, "another repository"),
        ({"name": "heads/other"}, "carries the name"),
    ],
)
def test_a_value_that_may_not_follow_is_refused(fields: dict[str, object], reason: str) -> None:
    backend = MemoryBackend()
    first = following(NEW)
    accept(backend, first, None)
    with pytest.raises(UsageError, match=reason):
        accept(backend, changed(following(first, 2), **fields), value_hash(first))
    assert read_log(backend, MAIN) == [NEW]


def test_bytes_that_are_no_value_are_refused() -> None:
    for junk in (b"", b"junk", following(NEW)[:-1], following(NEW) + b"\0"):
        with pytest.raises(UsageError, match="does not parse"):
            check_move(NEW, junk, repository=REPOSITORY, name=MAIN)


def test_a_deletion_and_what_comes_after_it_are_moves() -> None:
    backend = MemoryBackend()
    first = following(NEW)
    accept(backend, first, None)
    gone = changed(following(first), target=None)
    accept(backend, gone, value_hash(first))
    with pytest.raises(RefMovedError):
        accept(backend, following(NEW, 2), None)
    again = following(gone, 2)
    accept(backend, again, value_hash(gone))
    assert decode_ref_value(again).seq == 3


class Renewing(MemoryBackend):
    """A collector renews the ref before each of the first puts."""

    left = 2

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        if key == ref_key(MAIN) and isinstance(when, Matches) and self.left:
            self.left -= 1
            blob = self.get(key)
            super().put(key, blob.data[:-16] + bytes([self.left]) * 16, when=Matches(blob.version))
        return super().put(key, body, when=when)


def test_renewals_are_invisible_and_what_is_relied_on_is_checked_after_each() -> None:
    backend = Renewing()
    checks: list[int] = []
    first = following(NEW)
    accept_value(backend, REPOSITORY, MAIN, first, expected=None, recheck=lambda: checks.append(backend.left))
    assert checks == [2, 1, 0]
    found = read_blob(backend, MAIN)
    assert found is not None
    assert found.value_bytes == first


class Interloper(MemoryBackend):
    """Someone else's push lands just before the first put that would move the ref."""

    theirs: bytes | None = None

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        if key == ref_key(MAIN) and isinstance(when, Matches) and self.theirs is not None:
            theirs, self.theirs = self.theirs, None
            accept(self, theirs, None)
        return super().put(key, body, when=when)


def test_a_push_that_lands_in_between_wins() -> None:
    backend = Interloper()
    backend.theirs = following(NEW, 9)
    with pytest.raises(RefMovedError):
        accept(backend, following(NEW, 1), None)
    found = read_blob(backend, MAIN)
    assert found is not None
    assert found.value_bytes == following(NEW, 9)


def test_a_failed_check_changes_nothing() -> None:
    def refuse() -> None:
        raise DivergedError("not a fast-forward")

    backend = MemoryBackend()
    with pytest.raises(DivergedError):
        accept_value(backend, REPOSITORY, MAIN, following(NEW), expected=None, recheck=refuse)
    found = read_blob(backend, MAIN)
    assert found is not None
    assert found.value_bytes == NEW
    assert list(backend.scan(LOGS)) == []


@pytest.mark.parametrize("lands", [True, False])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_lost_reply_of_the_store_is_settled(nth: int, lands: bool) -> None:
    inner = MemoryBackend()
    first = following(NEW)
    assert accept(FaultBackend(inner, [Fault("put", nth=nth, prefix="refs/", lands=lands)]), first, None) == first
    found = read_blob(inner, MAIN)
    assert found is not None
    assert found.value_bytes == first


def test_the_log_is_written_before_the_ref_moves() -> None:
    backend = FaultBackend(MemoryBackend())
    accept(backend, following(NEW), None)
    puts = [call.key.partition("/")[0] for call in backend.calls if call.method == "put"]
    assert puts == ["refs", "logs", "refs"]


def test_one_of_fifty_pushes_wins() -> None:
    backend = MemoryBackend()
    first = following(NEW)
    accept(backend, first, None)
    outcomes: list[bool] = []

    def push(number: int) -> None:
        try:
            accept(backend, following(first, number), value_hash(first))
        except RefMovedError:
            outcomes.append(False)
        else:
            outcomes.append(True)

    threads = [threading.Thread(target=push, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 49 + [True]
    found = read_blob(backend, MAIN)
    assert found is not None
    value: RefValue = decode_ref_value(found.value_bytes)
    assert value.seq == 2


def test_a_mirror_takes_over_a_later_value() -> None:
    first = following(NEW)
    third = following(following(first, 2), 3)
    found = check_adoption(first, third, repository=REPOSITORY, name=MAIN, forced=False)
    assert found.seq == 3
    assert check_adoption(NEW, third, repository=REPOSITORY, name=MAIN, forced=False) == found


def test_a_mirror_goes_back_by_force_alone() -> None:
    first = following(NEW)
    second, other = following(first, 2), following(first, 9)
    for later in (second, other):
        with pytest.raises(UsageError, match="was made here already"):
            check_adoption(second, later, repository=REPOSITORY, name=MAIN, forced=False)
        assert check_adoption(second, later, repository=REPOSITORY, name=MAIN, forced=True).seq == 2
    assert check_adoption(second, first, repository=REPOSITORY, name=MAIN, forced=True).seq == 1


@pytest.mark.parametrize("forced", [False, True])
def test_a_mirror_takes_over_nothing_strange(*, forced: bool) -> None:
    second = following(following(NEW), 2)
    adopt = partial(check_adoption, NEW, forced=forced)
    with pytest.raises(UsageError, match="another repository"):
        adopt(second, repository=b"x" * 16, name=MAIN)
    with pytest.raises(UsageError, match="carries the name"):
        adopt(second, repository=REPOSITORY, name="heads/other")
    with pytest.raises(UsageError, match="does not parse"):
        adopt(second[:-1], repository=REPOSITORY, name=MAIN)
    with pytest.raises(UsageError, match="never moved"):
        adopt(NEW, repository=REPOSITORY, name=MAIN)


def test_a_mirror_does_not_go_to_an_older_epoch() -> None:
    first = following(NEW)
    value = decode_ref_value(following(following(first, 2), 3))
    third = encode_ref_value(msgspec.structs.replace(value, epoch=2))
    with pytest.raises(UsageError, match="epoch 2, the present one has 3"):
        check_adoption(first, third, repository=REPOSITORY, name=MAIN, forced=False)


def test_a_value_that_is_there_already_is_put_again() -> None:
    """Reading asks one of two stores that are one; a put is answered by both."""
    backend = FaultBackend(MemoryBackend())
    first = following(NEW)
    accept(backend, first, None)
    before = len(backend.calls)
    assert accept(backend, first, None) == first
    assert [call.method for call in backend.calls[before:]] == ["get", "put"]
    again = FaultBackend(backend, [Fault("put", 1, TransientError)])
    with pytest.raises(TransientError):
        accept(again, first, None)


def test_after_a_lost_answer_the_put_is_repeated() -> None:
    backend = MemoryBackend()
    first = following(NEW)
    faulty = FaultBackend(backend, [Fault("put", 3, lands=True)])
    assert accept(faulty, first, None) == first
    puts = [call.key for call in faulty.calls if call.method == "put"]
    assert puts.count(ref_key(MAIN)) == 3  # the placeholder, the value, and the value again
