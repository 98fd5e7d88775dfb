"""Key slots: they open with their secret, in their place, and never with less work than was asked for."""

import os
from collections.abc import Callable

import msgspec
import pytest

from mediavault.errors import FormatError, IntegrityError, NotAllowedError, UnsupportedFormatError, UsageError
from mediavault.formats.slot import PassphraseSlot, RecoverySlot, decode_slot, encode_slot
from mediavault.keys import passphrase as passphrases
from mediavault.keys import slots
from mediavault.keys.hierarchy import RepositoryKeys
from mediavault.keys.passphrase import CEILING, FLOOR, KdfParameters, check_parameters, normalise
from mediavault.keys.recovery import new_code, public_half, read_code, seal_to, show_code, vouch
from mediavault.keys.slots import Secret, make_passphrase_slot, make_recovery_slot, open_slot, unlock

REPOSITORY = bytes(range(16))
FINGERPRINT = b"f" * 32
CREATED = "2026-01-02T03:04:05Z"
KEYS = RepositoryKeys(REPOSITORY, {0: b"k" * 32})
CODE = bytes(range(32))


def passphrase_slot(name: str = "main", text: str = "open sesame") -> bytes:
    return make_passphrase_slot(
        KEYS, name, text, fingerprint=FINGERPRINT, created=CREATED, random=os.urandom, label="me", parameters=FLOOR
    )


def recovery_slot(name: str = "paper") -> bytes:
    return make_recovery_slot(KEYS, name, CODE, fingerprint=FINGERPRINT, created=CREATED)


@pytest.fixture(scope="module", name="slot")
def one_slot() -> bytes:
    return passphrase_slot()


def opened(data: bytes, secret: Secret, *, repository: bytes = REPOSITORY, fingerprint: bytes = FINGERPRINT) -> bytes:
    return open_slot(data, secret, repository=repository, fingerprint=fingerprint).epochs[0]


def change(data: bytes, **fields: object) -> bytes:
    return encode_slot(msgspec.structs.replace(decode_slot(data), **fields))


def test_a_passphrase_opens_its_slot(slot: bytes) -> None:
    assert opened(slot, "open sesame") == b"k" * 32
    assert opened(slot, "open sesame\n") == b"k" * 32
    kept = decode_slot(slot)
    assert isinstance(kept, PassphraseSlot)
    assert (kept.time, kept.memory, kept.lanes, kept.label) == (3, 64 << 10, 4, "me")
    assert b"k" * 32 not in slot


@pytest.mark.parametrize("wrong", ["open sesam", "Open sesame", "open sesame ", CODE])
def test_nothing_else_does(slot: bytes, wrong: Secret) -> None:
    with pytest.raises(NotAllowedError):
        opened(slot, wrong)


def test_every_slot_is_made_with_fresh_salts(slot: bytes) -> None:
    first, second = decode_slot(slot), decode_slot(passphrase_slot())
    assert isinstance(first, PassphraseSlot)
    assert isinstance(second, PassphraseSlot)
    assert first.salt != second.salt
    assert first.wrap_salt != second.wrap_salt


def test_a_slot_is_bound_to_its_place(slot: bytes) -> None:
    with pytest.raises(IntegrityError):
        opened(slot, "open sesame", fingerprint=b"g" * 32)
    with pytest.raises(IntegrityError):
        opened(change(slot, slot="other"), "open sesame")
    with pytest.raises(IntegrityError):
        opened(slot, "open sesame", repository=bytes(16))
    with pytest.raises(IntegrityError):
        opened(change(slot, repository=bytes(16).hex()), "open sesame", repository=bytes(16))
    with pytest.raises(IntegrityError, match="another slot"):
        unlock({"elsewhere": slot}, "open sesame", repository=REPOSITORY, fingerprint=FINGERPRINT)


@pytest.mark.parametrize("field", ["wrapped", "wrap_salt"])
def test_an_altered_wrap_is_told_from_a_wrong_passphrase(slot: bytes, field: str) -> None:
    value = bytearray(getattr(decode_slot(slot), field))
    value[0] ^= 1
    with pytest.raises(IntegrityError, match="altered"):
        opened(change(slot, **{field: bytes(value)}), "open sesame")


def test_a_commitment_is_compared_before_anything_is_decrypted(slot: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        pytest.fail("decrypted under a key that was not committed to")

    monkeypatch.setattr(slots, "_cipher", never)
    with pytest.raises(NotAllowedError):
        opened(slot, "wrong")


@pytest.mark.parametrize(
    "fields",
    [{"time": 2}, {"memory": (64 << 10) - 1}, {"lanes": 3}, {"time": 17}, {"memory": (4 << 20) + 1}, {"lanes": 17}],
)
def test_weakened_and_exhausting_costs_are_refused(
    slot: bytes, fields: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passphrases, "hash_secret_raw", lambda *_, **__: pytest.fail("derived all the same"))
    with pytest.raises(IntegrityError, match="outside"):
        opened(change(slot, **fields), "open sesame")


def test_floor_default_and_ceiling_are_accepted() -> None:
    for parameters in (FLOOR, KdfParameters(), CEILING):
        check_parameters(parameters)
    assert KdfParameters() == KdfParameters(time=3, memory=256 << 10, lanes=4)


def test_passphrases_are_normalised() -> None:
    assert normalise("Cafe\u0301\r\n") == "Caf\u00e9".encode()
    assert normalise("two\n\n") == b"two\n"
    for empty in ("", "\n"):
        with pytest.raises(UsageError):
            normalise(empty)
    with pytest.raises(UsageError):
        normalise("\ud800")


def test_unlock_finds_the_slot_that_opens(slot: bytes) -> None:
    stored = {"main": slot, "other": passphrase_slot("other", "second"), "paper": recovery_slot()}
    for secret in ("open sesame", "second", CODE):
        keys = unlock(stored, secret, repository=REPOSITORY, fingerprint=FINGERPRINT)
        assert keys.id_secret == KEYS.id_secret
    with pytest.raises(NotAllowedError, match="passphrase is wrong"):
        unlock(stored, "third", repository=REPOSITORY, fingerprint=FINGERPRINT)
    with pytest.raises(NotAllowedError, match="No slot"):
        unlock({"main": slot}, CODE, repository=REPOSITORY, fingerprint=FINGERPRINT)


def test_what_does_not_parse_and_what_is_newer_are_told_apart(slot: bytes) -> None:
    with pytest.raises(FormatError):
        opened(slot[:-1], "open sesame")
    with pytest.raises(UnsupportedFormatError):
        opened(slot.replace(b'"version":1', b'"version":2'), "open sesame")
    with pytest.raises(UnsupportedFormatError):
        opened(change(slot, epoch=1), "open sesame")


def test_the_recovery_code_opens_its_slot() -> None:
    data = recovery_slot()
    assert opened(data, CODE) == b"k" * 32
    with pytest.raises(NotAllowedError):
        opened(data, bytes(32))
    with pytest.raises(NotAllowedError):
        opened(data, "open sesame")


def test_a_recovery_slot_is_bound_to_its_place() -> None:
    data = recovery_slot()
    with pytest.raises(IntegrityError):
        opened(data, CODE, fingerprint=b"g" * 32)
    with pytest.raises(IntegrityError):
        opened(change(data, slot="other"), CODE)


def forge_seal(slot: RecoverySlot) -> dict[str, object]:
    """Seal a key of one's own to the public key, as whoever stores the repository can."""
    binding = slots._binding(b"recovery", REPOSITORY, 0, slot.slot, FINGERPRINT)
    forged = RepositoryKeys(REPOSITORY, {0: b"x" * 32})
    return {"sealed": seal_to(slot.public, b"x" * 32, binding), "mac": slots._mac(forged, binding, slot.public)}


def forge_root(slot: RecoverySlot) -> dict[str, object]:
    """Do the same, and vouch for it with a code of one's own."""
    return {**forge_seal(slot), "root": vouch(bytes(32), REPOSITORY, b"x" * 32)}


def forge_mac(slot: RecoverySlot) -> dict[str, object]:
    return {"mac": bytes(reversed(slot.mac))}


@pytest.mark.parametrize("forge", [forge_seal, forge_root, forge_mac])
def test_a_key_that_the_code_did_not_vouch_for_is_refused(forge: Callable[[RecoverySlot], dict[str, object]]) -> None:
    slot = decode_slot(recovery_slot())
    assert isinstance(slot, RecoverySlot)
    with pytest.raises(IntegrityError, match="altered"):
        opened(encode_slot(msgspec.structs.replace(slot, **forge(slot))), CODE)


def test_a_replaced_public_key_is_noticed() -> None:
    with pytest.raises(NotAllowedError):
        opened(change(recovery_slot(), public=public_half(bytes(32), REPOSITORY)), CODE)


def test_a_code_reads_back_however_it_is_typed() -> None:
    shown = show_code(CODE)
    assert len(shown.split("-")) == 14
    assert {len(group) for group in shown.split("-")} == {4}
    assert read_code(shown) == CODE
    assert read_code(shown.lower().replace("-", " ") + "\n") == CODE
    assert read_code(shown.replace("O", "0").replace("I", "1").replace("B", "8")) == CODE
    assert read_code(show_code(new_code(os.urandom))) != read_code(show_code(new_code(os.urandom)))


@pytest.mark.parametrize("at", range(0, 69, 5))
def test_a_mistyped_code_is_noticed(at: int) -> None:
    shown = show_code(CODE)
    at += shown[at] == "-"
    wrong = shown[:at] + ("X" if shown[at] != "X" else "Y") + shown[at + 1 :]
    with pytest.raises(UsageError):
        read_code(wrong)


@pytest.mark.parametrize("text", ["", "hello", "A" * 56, show_code(CODE)[:-1], show_code(CODE) + "AAAAAAAA"])
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_code(text)


def test_a_code_stands_for_another_key_pair_in_another_repository() -> None:
    assert public_half(CODE, REPOSITORY) != public_half(CODE, bytes(16))
    assert len(public_half(CODE, REPOSITORY)) == 1216
