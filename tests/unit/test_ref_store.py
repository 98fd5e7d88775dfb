import threading

import msgspec
import pytest

from mediavault.errors import FormatError, IntegrityError, RefMovedError, StorageError
from mediavault.formats.ref import NO_MAC, decode_ref_value, encode_ref_value, signed_part, value_hash
from mediavault.model.ids import Kind, Link
from mediavault.refs.blobs import LOGS, REFS, list_blobs, placeholder, read_blob, ref_key
from mediavault.refs.ref_store import RefStore
from mediavault.refs.signing import KeyedSigner, PlainSigner, RefSigner
from mediavault_backends.api import Absent, Backend, Matches
from mediavault_backends.fault import Fault, FaultBackend
from mediavault_backends.memory import MemoryBackend

REPOSITORY = b"r" * 16
KEYS = {0: b"0" * 32, 1: b"1" * 32}
MAIN = "heads/main"


def target(number: int) -> Link:
    return Link(Kind.COMMIT, bytes([number]) * 32)


def store_of(backend: Backend, signer: RefSigner | None = None) -> RefStore:
    return RefStore(backend, REPOSITORY, signer or KeyedSigner(KEYS))


def renew(backend: Backend, name: str) -> None:
    """Do what a collector does: put the same value with other random bytes."""
    blob = backend.get(ref_key(name))
    backend.put(ref_key(name), blob.data[:-16] + b"renewed".ljust(16, b"."), when=Matches(blob.version))


def overwrite(backend: Backend, name: str, data: bytes) -> None:
    backend.delete(ref_key(name))
    backend.put(ref_key(name), data, when=Absent())


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("signer", [KeyedSigner(KEYS), PlainSigner()])
def test_a_ref_is_made_moved_and_deleted(signer: RefSigner) -> None:
    backend = MemoryBackend()
    refs = store_of(backend, signer)
    state = refs.read(MAIN)
    assert (state.value, state.version, state.target) == (None, None, None)
    first = refs.move(state, target(1), 1000)
    second = refs.move(first, target(2), 2000)
    assert refs.read(MAIN) == second
    assert second.target == target(2)
    assert second.value is not None
    assert (second.value.seq, second.value.time, second.value.epoch) == (2, 2000, signer.epoch)
    assert second.value.previous == value_hash(first.value_bytes)
    assert (second.value.mac == NO_MAC) == isinstance(signer, PlainSigner)
    gone = refs.move(second, None, 3000)
    assert gone.target is None
    assert refs.read(MAIN).value is not None
    assert refs.move(refs.read(MAIN), target(3), 4000).target == target(3)


def test_every_former_value_is_kept_oldest_first() -> None:
    backend = MemoryBackend()
    refs = store_of(backend)
    state = refs.read(MAIN)
    for number in range(12):
        state = refs.move(state, target(number), number)
    assert [value.seq for value in refs.log(MAIN)] == list(range(12))
    assert [value.target for value in refs.log(MAIN)] == [None, *map(target, range(11))]
    keys = [stat.key for stat in backend.scan(LOGS)]
    assert f"logs/refs/heads%2Fmain/10-{value_hash(encode_ref_value(refs.log(MAIN)[10])).hex()[:16]}" in keys
    assert refs.log("heads/other") == []


def test_names_that_differ_in_case_or_nest_do_not_collide() -> None:
    backend = MemoryBackend()
    refs = store_of(backend)
    names = ["heads/a", "heads/A", "heads/a/b", "tags/a", "remotes/origin/a"]
    for number, name in enumerate(names):
        refs.move(refs.read(name), target(number), 0)
    assert [refs.read(name).target for name in names] == [target(number) for number in range(5)]
    assert [state.name for state in refs.list("heads/")] == ["heads/A", "heads/a", "heads/a/b"]
    assert len(refs.list()) == 5
    assert len({stat.key.lower() for stat in backend.scan(REFS)}) == 5


def test_who_comes_second_is_told_and_changes_nothing() -> None:
    backend = MemoryBackend()
    refs = store_of(backend)
    absent = refs.read(MAIN)
    first = refs.move(absent, target(1), 0)
    with pytest.raises(RefMovedError):
        refs.move(absent, target(2), 0)
    second = refs.move(first, target(2), 0)
    with pytest.raises(RefMovedError):
        refs.move(first, target(3), 0)
    assert refs.read(MAIN) == second


def test_a_placeholder_that_someone_else_made_is_no_obstacle() -> None:
    backend = MemoryBackend()
    overwrite(backend, MAIN, placeholder(REPOSITORY, MAIN) + b"someone else's.!")
    refs = store_of(backend)
    state = refs.read(MAIN)
    assert state.target is None
    assert refs.move(state, target(1), 0).target == target(1)


def test_a_renewal_between_reading_and_moving_is_invisible() -> None:
    backend = MemoryBackend()
    refs = store_of(backend)
    state = refs.move(refs.read(MAIN), target(1), 0)
    renew(backend, MAIN)
    moved = refs.move(state, target(2), 0)
    assert refs.read(MAIN) == moved


def test_no_two_writes_put_the_same_bytes() -> None:
    backend = MemoryBackend()
    refs = store_of(backend)
    state = refs.move(refs.read(MAIN), target(1), 0)
    other = MemoryBackend()
    store_of(other).move(store_of(other).read(MAIN), target(1), 0)
    assert read_blob(other, MAIN) is not None
    assert backend.get(ref_key(MAIN)).data != other.get(ref_key(MAIN)).data
    assert backend.get(ref_key(MAIN)).data[:-16] == state.value_bytes


@pytest.mark.parametrize("lands", [True, False])
@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("prefix", ["refs/", "logs/"])
def test_a_lost_reply_is_settled_by_reading(prefix: str, nth: int, lands: bool) -> None:
    inner = MemoryBackend()
    refs = store_of(FaultBackend(inner, [Fault("put", nth=nth, prefix=prefix, lands=lands)]))
    state = refs.move(refs.read(MAIN), target(1), 0)
    state = refs.move(state, target(2), 0)
    assert store_of(inner).read(MAIN) == state
    assert [value.seq for value in store_of(inner).log(MAIN)] == [0, 1]


def test_a_store_that_never_answers_is_given_up() -> None:
    plan = [Fault("put", nth=n, prefix="refs/") for n in range(1, 40)]
    refs = store_of(FaultBackend(MemoryBackend(), plan))
    with pytest.raises(StorageError, match="no clear answer"):
        refs.move(refs.read(MAIN), target(1), 0)


def test_one_of_many_writers_wins() -> None:
    backend = MemoryBackend()
    start = store_of(backend).move(store_of(backend).read(MAIN), target(0), 0)
    won: list[int] = []
    lost: list[int] = []

    def work(number: int) -> None:
        try:
            store_of(backend).move(start, target(number), 0)
        except RefMovedError:
            lost.append(number)
        else:
            won.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 33)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == 31
    assert store_of(backend).read(MAIN).target == target(won[0])


def test_every_flipped_byte_of_a_value_is_noticed() -> None:
    backend = MemoryBackend()
    refs = store_of(backend)
    refs.move(refs.read(MAIN), target(1), 0)
    good = backend.get(ref_key(MAIN)).data
    for at in range(len(good) - 16):
        overwrite(backend, MAIN, flip(good, at))
        with pytest.raises(IntegrityError):
            refs.read(MAIN)
    for length in (0, 10, 80, len(good) - 1):
        overwrite(backend, MAIN, good[:length])
        with pytest.raises(IntegrityError):
            refs.read(MAIN)


def test_a_value_of_another_name_repository_key_or_epoch_is_refused() -> None:
    backend = MemoryBackend()
    refs = store_of(backend)
    refs.move(refs.read(MAIN), target(1), 0)
    good = backend.get(ref_key(MAIN)).data
    overwrite(backend, "heads/other", good)
    with pytest.raises(IntegrityError, match="stands the ref heads/main"):
        refs.read("heads/other")
    with pytest.raises(IntegrityError, match="another repository"):
        RefStore(backend, b"x" * 16, KeyedSigner(KEYS)).read(MAIN)
    with pytest.raises(IntegrityError, match="not written by anyone"):
        store_of(backend, KeyedSigner({1: b"other".ljust(32)})).read(MAIN)
    with pytest.raises(IntegrityError, match="epoch 1, whose key is not here"):
        store_of(backend, KeyedSigner({0: KEYS[0]})).read(MAIN)
    with pytest.raises(IntegrityError, match="without a key"):
        store_of(backend, PlainSigner()).read(MAIN)


def test_an_unsigned_value_other_than_the_placeholder_is_refused() -> None:
    backend = MemoryBackend()
    plain = store_of(backend, PlainSigner())
    plain.move(plain.read(MAIN), target(1), 0)
    with pytest.raises(IntegrityError, match="not written by anyone"):
        store_of(backend).read(MAIN)


def test_an_old_epochs_values_are_read_and_the_new_one_signs() -> None:
    backend = MemoryBackend()
    old = store_of(backend, KeyedSigner({0: KEYS[0]}))
    old.move(old.read(MAIN), target(1), 0)
    new = store_of(backend)
    state = new.move(new.read(MAIN), target(2), 0)
    assert state.value is not None
    assert state.value.epoch == 1
    with pytest.raises(IntegrityError, match="newer key"):
        old.next_value(state, target(3), 0)


def test_the_mac_covers_all_before_it() -> None:
    signer = KeyedSigner(KEYS)
    refs = store_of(MemoryBackend(), signer)
    value = decode_ref_value(refs.next_value(refs.read(MAIN), target(1), 77))
    signer.check(value)
    assert signer.mac(signed_part(value)) == value.mac
    with pytest.raises(IntegrityError):
        signer.check(msgspec.structs.replace(value, time=78))


def test_a_branch_points_at_commits_only() -> None:
    refs = store_of(MemoryBackend())
    with pytest.raises(FormatError):
        refs.move(refs.read(MAIN), Link(Kind.TREE, bytes(32)), 0)
    assert refs.list() == []


def test_a_listing_reads_only_what_changed() -> None:
    backend = FaultBackend(MemoryBackend())
    refs = store_of(backend)
    for number in range(5):
        refs.move(refs.read(f"heads/b{number}"), target(number), 0)
    known = {blob.name: blob for blob in list_blobs(backend)}
    refs.move(refs.read("heads/b3"), target(9), 0)
    before = len(backend.calls)
    assert {blob.name for blob in list_blobs(backend, known=known)} == known.keys()
    assert [call.key for call in backend.calls[before:] if call.method == "get"] == [ref_key("heads/b3")]


def test_a_stranger_among_the_refs_or_logs_is_told() -> None:
    backend = MemoryBackend()
    backend.put("refs/UPPER", b"x", when=Absent())
    with pytest.raises(IntegrityError, match="refs/UPPER"):
        store_of(backend).list()
    backend.put("logs/refs/heads%2Fmain/what", b"x", when=Absent())
    with pytest.raises(IntegrityError, match="what"):
        store_of(backend).log(MAIN)
