"""Keys kept on this computer: a private file, or a real keyring that is never waited for."""

import threading
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend

from mediavault.errors import IntegrityError, NotAllowedError
from mediavault.keys import keystore
from mediavault.keys.keystore import KeyStore

REPOSITORY = bytes(range(16))
FINGERPRINT = b"f" * 32
EPOCHS = {0: b"a" * 32, 1: b"b" * 32}


class MemoryKeyring(KeyringBackend):
    """A keyring as the system has them, in memory."""

    priority = 5

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


class SilentKeyring(MemoryKeyring):
    """A keyring that asks its user something on a screen that nobody sees."""

    def __init__(self, seen: threading.Event) -> None:
        super().__init__()
        self.seen = seen

    def set_password(self, service: str, username: str, password: str) -> None:
        self.seen.wait()
        super().set_password(service, username, password)

    def get_password(self, service: str, username: str) -> str | None:
        self.seen.wait()
        return super().get_password(service, username)


@pytest.fixture(name="ring")
def memory_keyring(monkeypatch: pytest.MonkeyPatch) -> MemoryKeyring:
    ring = MemoryKeyring()
    monkeypatch.setattr(keyring, "get_keyring", lambda: ring)
    return ring


@pytest.fixture(name="folder")
def key_folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keys"


def test_a_file_that_only_its_owner_may_read(folder: Path) -> None:
    store = KeyStore(folder, "file")
    assert store.load(REPOSITORY, FINGERPRINT) is None
    store.save(REPOSITORY, EPOCHS, FINGERPRINT)
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    keys = store.load(REPOSITORY, FINGERPRINT)
    assert keys is not None
    assert keys.epochs == EPOCHS
    assert keys.repository == REPOSITORY


def test_saving_again_replaces(folder: Path) -> None:
    store = KeyStore(folder, "file")
    store.save(REPOSITORY, {0: b"a" * 32}, FINGERPRINT)
    store.save(REPOSITORY, EPOCHS, FINGERPRINT)
    keys = store.load(REPOSITORY, FINGERPRINT)
    assert keys is not None
    assert keys.epochs == EPOCHS


def test_forgetting(folder: Path) -> None:
    store = KeyStore(folder, "file")
    store.save(REPOSITORY, EPOCHS, FINGERPRINT)
    assert store.forget(REPOSITORY)
    assert not store.forget(REPOSITORY)
    assert store.load(REPOSITORY, FINGERPRINT) is None


def test_a_file_that_others_may_read_is_refused(folder: Path) -> None:
    store = KeyStore(folder, "file")
    store.save(REPOSITORY, EPOCHS, FINGERPRINT)
    (path,) = folder.iterdir()
    path.chmod(0o640)
    with pytest.raises(NotAllowedError) as caught:
        store.load(REPOSITORY, FINGERPRINT)
    assert "chmod 600" in caught.value.hint


def test_another_config_than_the_keys_were_unlocked_under_is_an_alarm(folder: Path) -> None:
    store = KeyStore(folder, "file")
    store.save(REPOSITORY, EPOCHS, FINGERPRINT)
    with pytest.raises(IntegrityError, match="config"):
        store.load(REPOSITORY, b"g" * 32)


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", '{"repository":"00","fingerprint":"","epochs":{},"version":1}', "\ud7ff"],
)
def test_a_damaged_file_is_told(folder: Path, text: str) -> None:
    store = KeyStore(folder, "file")
    store.save(REPOSITORY, EPOCHS, FINGERPRINT)
    (path,) = folder.iterdir()
    path.write_text(text, encoding="utf-8")
    with pytest.raises(IntegrityError, match="damaged"):
        store.load(REPOSITORY, FINGERPRINT)


def test_a_record_of_another_repository_is_refused(folder: Path) -> None:
    store = KeyStore(folder, "file")
    store.save(bytes(16), EPOCHS, FINGERPRINT)
    (path,) = folder.iterdir()
    path.rename(folder / f"{REPOSITORY.hex()}.json")
    with pytest.raises(IntegrityError):
        store.load(REPOSITORY, FINGERPRINT)


def test_a_real_keyring_is_used_where_there_is_one(folder: Path, ring: MemoryKeyring) -> None:
    store = KeyStore(folder, "auto")
    store.save(REPOSITORY, EPOCHS, FINGERPRINT)
    assert not folder.exists()
    assert len(ring.kept) == 1
    keys = store.load(REPOSITORY, FINGERPRINT)
    assert keys is not None
    assert keys.epochs == EPOCHS
    assert store.forget(REPOSITORY)
    assert not ring.kept
    assert store.load(REPOSITORY, FINGERPRINT) is None


def test_without_a_real_keyring_auto_keeps_a_file(folder: Path) -> None:
    KeyStore(folder, "auto").save(REPOSITORY, EPOCHS, FINGERPRINT)
    assert len(list(folder.iterdir())) == 1
    assert KeyStore(folder, "auto").load(REPOSITORY, FINGERPRINT) is not None


def test_a_keyring_that_was_demanded_must_be_there(folder: Path) -> None:
    with pytest.raises(NotAllowedError, match="keyring"):
        KeyStore(folder, "keyring").save(REPOSITORY, EPOCHS, FINGERPRINT)
    assert not folder.exists()


def test_a_keyring_that_keeps_passwords_in_clear_is_none(folder: Path, ring: MemoryKeyring) -> None:
    ring.priority = 0.5  # type: ignore[assignment]  # keyring declares a property of classes
    KeyStore(folder, "auto").save(REPOSITORY, EPOCHS, FINGERPRINT)
    assert not ring.kept
    assert len(list(folder.iterdir())) == 1


def test_a_keyring_that_says_nothing_is_not_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = threading.Event()
    monkeypatch.setattr(keystore, "_PATIENCE", 0.05)
    monkeypatch.setattr(keyring, "get_keyring", lambda: SilentKeyring(seen))
    store = KeyStore(folder, "auto")
    assert store.load(REPOSITORY, FINGERPRINT) is None
    store.save(REPOSITORY, EPOCHS, FINGERPRINT)
    assert len(list(folder.iterdir())) == 1
    assert store.load(REPOSITORY, FINGERPRINT) is not None
    seen.set()


def test_a_keyring_that_fails_is_none(folder: Path, ring: MemoryKeyring, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the service went away")

    monkeypatch.setattr(ring, "set_password", fail)
    KeyStore(folder, "auto").save(REPOSITORY, EPOCHS, FINGERPRINT)
    assert len(list(folder.iterdir())) == 1


def test_file_mode_never_touches_the_keyring(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "get_keyring", lambda: pytest.fail("asked for a keyring"))
    store = KeyStore(folder, "file")
    store.save(REPOSITORY, EPOCHS, FINGERPRINT)
    assert store.load(REPOSITORY, FINGERPRINT) is not None
    assert store.forget(REPOSITORY)
