"""Whatever a hostile store hands out, opening it gives the object or an error of this program, never anything else."""

from collections.abc import Callable, Iterator
from random import Random

import msgspec
import pytest
from blake3 import blake3
from hypothesis import assume, given
from hypothesis import strategies as st

from mediavault.errors import IntegrityError, MediaVaultError, NotAllowedError, UnsupportedFormatError, UsageError
from mediavault.formats.frame import build_frame, parse_frame
from mediavault.keys import passphrase as passphrases
from mediavault.keys import recovery
from mediavault.keys.hierarchy import RepositoryKeys
from mediavault.keys.passphrase import FLOOR
from mediavault.keys.slots import Secret, make_passphrase_slot, make_recovery_slot, unlock
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.objects import ManifestEntry
from tests.vault import MemoryFile, Vault, counting, entry, noise

VAULT = Vault()
PLAIN = Vault(plain=True)
CHUNK = noise(3000) + bytes(3000)
TREE = VAULT.nodes.tree([entry("a", VAULT.put(CHUNK)), entry("b", VAULT.put(b"b"))])
PLAIN_TREE = PLAIN.nodes.tree([entry("a", PLAIN.put(CHUNK)), entry("b", PLAIN.put(b"b"))])

REFUSED = (IntegrityError, NotAllowedError, UnsupportedFormatError)


def changes() -> st.SearchStrategy[tuple[int, int, int]]:
    """Draw where, what and how: overwrite a byte, cut, or insert."""
    return st.tuples(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 2))


def changed(data: bytes, change: tuple[int, int, int]) -> bytes:
    at, value, how = change
    at %= len(data)
    if how == 0:
        return data[:at] + bytes((value,)) + data[at + 1 :]
    return data[:at] if how == 1 else data[:at] + bytes((value,)) + data[at:]


@pytest.mark.parametrize("vault", [VAULT, PLAIN], ids=["sealed", "plain"])
@given(change=changes(), number=st.integers(0, 3))
def test_a_changed_frame_is_refused(vault: Vault, change: tuple[int, int, int], number: int) -> None:
    oid = vault.sink.appended[number % len(vault.sink.appended)]
    whole = vault.sink.frames[oid]
    data = changed(whole, change)
    assume(data[: len(whole)] != whole)
    kind = vault.sink.read(oid).header.kind
    with pytest.raises(REFUSED):
        vault.codec.open(parse_frame(data), oid, kind)


@given(change=changes())
def test_a_changed_plain_payload_with_an_honest_checksum_changes_no_content(change: tuple[int, int, int]) -> None:
    """In a plain repository anyone can make frames; canonical padding is all that may differ."""
    for oid in PLAIN.sink.appended:
        frame = PLAIN.sink.read(oid)
        kind = frame.header.kind
        content = bytes(PLAIN.codec.open(frame, oid, kind))
        body = changed(bytes(frame.body), change)
        header = msgspec.structs.replace(frame.header, stored_length=len(body))
        try:
            opened = bytes(PLAIN.codec.open(parse_frame(build_frame(header, [body])), oid, kind))
        except REFUSED:
            continue
        assert opened == content


READS: list[tuple[Kind, list[Link], Callable[[Vault, ObjectId], object]]] = [
    (Kind.TREE, [], lambda vault, oid: list(vault.reader.tree(oid))),
    (
        Kind.MANIFEST,
        [Link(Kind.CHUNK, b"c" * 32)],
        lambda vault, oid: list(vault.reader.chunk_list(Link(Kind.MANIFEST, oid), 5)),
    ),
    (Kind.COMMIT, [Link(Kind.TREE, b"t" * 32)], lambda vault, oid: vault.reader.commit(oid)),
    (Kind.TAG, [Link(Kind.COMMIT, b"c" * 32)], lambda vault, oid: vault.reader.tag(oid)),
]


@pytest.mark.parametrize(("kind", "links", "read"), READS)
@given(payload=st.binary(min_size=1, max_size=300))
def test_any_payload_reads_as_nothing_worse_than_an_error(
    kind: Kind, links: list[Link], read: Callable[[Vault, ObjectId], object], payload: bytes
) -> None:
    vault = Vault(plain=True)
    oid, data = vault.codec.encode_metadata(kind, links, payload, generation=1 if kind is Kind.COMMIT else 0)
    vault.sink.append(data, len(payload))
    message = oid.hex()
    try:
        read(vault, oid)
    except IntegrityError as error:
        message = error.message
    assert oid.hex() in message


@given(data=st.lists(st.binary(max_size=6000), min_size=1, max_size=5), at=st.integers(0, 30_000), edit=st.binary())
def test_versions_of_a_file_read_back_and_share_chunks(data: list[bytes], at: int, edit: bytes) -> None:
    vault = Vault()
    first = b"".join(part * 3 for part in data)
    at = min(at, len(first))
    second = first[:at] + edit + first[at:]
    for version in (first, second, first):
        content = vault.put(version)
        assert b"".join(vault.reader.file(entry("name", content))) == version
    assert len(set(vault.sink.appended)) == len(vault.sink.appended)


@given(lengths=st.lists(st.integers(1, 50), min_size=2, max_size=60), order=st.randoms(use_true_random=False))
def test_chunks_in_any_order_and_number_read_in_that_order(lengths: list[int], order: Random) -> None:
    raws = [noise(length, str(number)) for number, length in enumerate(lengths)]
    entries = []
    for raw in raws:
        oid = VAULT.codec.name_chunk(raw)
        VAULT.sink.append(VAULT.codec.encode_chunk(oid, raw), len(raw))
        entries.append(ManifestEntry(oid, len(raw)))
    picks = [order.randrange(len(raws)) for _ in range(100)]
    assert [bytes(block) for block in VAULT.reader.chunks(entries[n] for n in picks)] == [raws[n] for n in picks]


KEYS = RepositoryKeys(bytes(16), {0: b"k" * 32})
CODE = bytes(range(32))
FINGERPRINT = b"f" * 32
SLOTS: dict[str, tuple[bytes, Secret]] = {}


@pytest.fixture(autouse=True, scope="module")
def quick_keys() -> Iterator[None]:
    """Stand in for Argon2id, which would take a second for each example."""
    patch = pytest.MonkeyPatch()
    patch.setattr(passphrases, "hash_secret_raw", lambda secret, salt, **_: blake3(secret + salt).digest(64))
    random = counting()
    SLOTS["pass"] = (
        make_passphrase_slot(
            KEYS,
            "pass",
            "open",
            fingerprint=FINGERPRINT,
            created="2026-01-02T03:04:05Z",
            random=random,
            parameters=FLOOR,
        ),
        "open",
    )
    SLOTS["paper"] = (
        make_recovery_slot(KEYS, "paper", CODE, fingerprint=FINGERPRINT, created="2026-01-02T03:04:05Z"),
        CODE,
    )
    yield
    patch.undo()


@pytest.mark.parametrize("name", ["pass", "paper"])
@given(change=changes())
def test_a_changed_slot_gives_the_right_key_or_an_error(name: str, change: tuple[int, int, int]) -> None:
    data, secret = SLOTS[name]
    try:
        keys = unlock({name: changed(data, change)}, secret, repository=bytes(16), fingerprint=FINGERPRINT)
    except MediaVaultError:
        return
    assert keys.epochs == KEYS.epochs


@given(code=st.binary(min_size=32, max_size=32))
def test_recovery_codes_read_back(code: bytes) -> None:
    assert recovery.read_code(recovery.show_code(code)) == code


@given(text=st.text(max_size=80))
def test_any_text_is_a_code_or_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        recovery.read_code(text)


@given(contents=st.lists(st.binary(max_size=3000), max_size=20))
def test_many_files_read_back(contents: list[bytes]) -> None:
    files = [MemoryFile(content) for content in contents]
    vault = Vault()
    with vault.ingest() as ingest:
        results = list(ingest.add(files))
    for file, content in results:
        assert content is not None
        assert b"".join(vault.reader.file(entry("name", content))) == file.data
