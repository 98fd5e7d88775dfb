"""The key hierarchy: what is derived from what, pinned by another implementation and by fixed values."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mediavault.errors import NotAllowedError
from mediavault.keys.hierarchy import KeySet, PlainKeys, RepositoryKeys, expand, plain_keys
from mediavault.model.ids import PLAIN_ID_SECRET

REPOSITORY = bytes(range(16))
FIRST, SECOND = b"\x01" * 32, b"\x02" * 32
KEYS = RepositoryKeys(REPOSITORY, {0: FIRST, 1: SECOND})


def hkdf(secret: bytes, purpose: bytes, epoch: int) -> bytes:
    info = b"mediavault/1/" + purpose + epoch.to_bytes(4, "little")
    return HKDF(hashes.SHA256(), 32, REPOSITORY, info).derive(secret)


def test_expand_gives_the_first_test_vector_of_rfc_5869() -> None:
    key = expand(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)))
    assert key.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"


def test_keys_that_stay_come_from_the_first_epoch() -> None:
    assert KEYS.epoch == 1
    assert KEYS.id_secret == hkdf(FIRST, b"id", 0)
    assert KEYS.split_key == hkdf(FIRST, b"split", 0)
    assert KEYS.path_key == hkdf(FIRST, b"path", 0)
    assert KEYS.chunker_seed == int.from_bytes(hkdf(FIRST, b"chunker", 0)[:6], "little")
    assert 0 <= KEYS.chunker_seed < 1 << 48


@pytest.mark.parametrize(("epoch", "secret"), [(0, FIRST), (1, SECOND)])
def test_keys_that_change_come_from_their_epoch(epoch: int, secret: bytes) -> None:
    assert KEYS.data_key(epoch) == hkdf(secret, b"data", epoch)
    assert KEYS.meta_key(epoch) == hkdf(secret, b"meta", epoch)
    assert KEYS.ref_key(epoch) == hkdf(secret, b"ref", epoch)
    assert KEYS.slot_key(epoch) == hkdf(secret, b"slot", epoch)


def test_no_two_purposes_share_a_key() -> None:
    per_epoch = [
        derive(epoch) for epoch in (0, 1) for derive in (KEYS.data_key, KEYS.meta_key, KEYS.ref_key, KEYS.slot_key)
    ]
    assert len({KEYS.id_secret, KEYS.split_key, KEYS.path_key, *per_epoch}) == 11


def test_the_same_secret_gives_other_keys_in_another_repository() -> None:
    assert RepositoryKeys(bytes(16), {0: FIRST}).id_secret != RepositoryKeys(REPOSITORY, {0: FIRST}).id_secret


def test_an_unknown_epoch_and_a_missing_first_one_are_refused() -> None:
    with pytest.raises(NotAllowedError, match="epoch 2"):
        KEYS.data_key(2)
    with pytest.raises(NotAllowedError):
        RepositoryKeys(REPOSITORY, {1: SECOND})


def test_lengths_are_checked() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        RepositoryKeys(b"short", {0: FIRST})
    with pytest.raises(ValueError, match="32"):
        RepositoryKeys(REPOSITORY, {0: b"short"})
    with pytest.raises(ValueError, match="16 bytes"):
        PlainKeys(b"short")


def test_no_key_shows_in_a_repr() -> None:
    assert FIRST.hex() not in repr(KEYS)
    assert repr(FIRST)[2:-1] not in repr(KEYS)


def test_plain_keys_are_constants() -> None:
    sets: list[KeySet] = [plain_keys(REPOSITORY), plain_keys(bytes(16))]
    assert sets[0].split_key == sets[1].split_key
    assert {one.id_secret for one in sets} == {PLAIN_ID_SECRET}
    assert [one.chunker_seed for one in sets] == [0, 0]
    assert not sets[0].encrypted
    assert KEYS.encrypted
    assert sets[0].split_key.hex() == "9a90f0a669653cb27184c27e65cc805bae8a406a55886ed89d38d08340e4c538"
