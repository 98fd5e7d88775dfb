"""Repository keys kept on this computer, so that a passphrase is asked for once; how they were unlocked is for others.

A real keyring of the system is used where there is one; else a file that only its owner may read.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar

import msgspec

from mediavault.errors import IntegrityError, NotAllowedError, StorageError
from mediavault.keys.hierarchy import RepositoryKeys
from mediavault_backends import fsio

Mode: TypeAlias = Literal["auto", "keyring", "file"]
T = TypeVar("T")

_SERVICE: Final = "mediavault"
_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700
_OTHERS: Final = 0o077
_PATIENCE: Final = 5.0
"""Seconds to wait for a keyring: one that asks its user something on a screen nobody sees would wait for ever."""


class StoredKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of one repository.

    Attributes:
        repository: its id in hex.
        fingerprint: the BLAKE3 of the config that the keys were unlocked under, in hex.
        epochs: the repository key of each epoch.
        version: of this record.
    """

    repository: str
    fingerprint: str
    epochs: dict[int, bytes]
    version: Literal[1] = 1


_decoder = msgspec.json.Decoder(StoredKeys)


class KeyStore:
    """The keys that this computer knows.

    Args:
        folder: where key files are kept; made when needed.
        mode: `file`, `keyring`, or `auto`: the keyring where there is a real one.
    """

    def __init__(self, folder: Path, mode: Mode = "auto") -> None:
        self._folder = folder
        self._mode = mode

    def save(self, repository: bytes, epochs: Mapping[int, bytes], fingerprint: bytes) -> None:
        """Keep a repository's keys.

        Raises:
            NotAllowedError: the mode is `keyring` and there is none.
            StorageError: the file could not be written.
        """
        record = StoredKeys(repository.hex(), fingerprint.hex(), dict(epochs))
        text = msgspec.json.encode(record)
        if self._mode != "file" and self._save_in_keyring(record.repository, text.decode()):
            return
        path = self._path(repository)
        try:
            fsio.make_folders(self._folder)
            self._folder.chmod(_FOLDER_MODE)
            fsio.write_atomic(path, text, mode=_FILE_MODE)
        except OSError as error:
            raise StorageError(f"The key could not be kept in {path}: {error.strerror}.") from error

    def load(self, repository: bytes, fingerprint: bytes) -> RepositoryKeys | None:
        """Return a repository's keys, or None when none are kept.

        Raises:
            IntegrityError: what is kept does not parse, or the repository's config is another than it was.
            NotAllowedError: others may read the file.
        """
        text = self._read_file(repository)
        if text is None and self._mode != "file":
            text = self._read_keyring(repository.hex())
        if text is None:
            return None
        try:
            record = _decoder.decode(text)
            keys = RepositoryKeys(bytes.fromhex(record.repository), record.epochs)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise IntegrityError(
                f"The key kept for repository {repository.hex()} is damaged.", hint="Unlock the repository again."
            ) from error
        if keys.repository != repository or record.fingerprint != fingerprint.hex():
            raise IntegrityError(
                "The repository's config is not the one that its key was unlocked under.",
                untouched="Nothing was changed.",
                hint="Whoever stores the repository may have replaced it; compare the fingerprint with other members.",
            )
        return keys

    def forget(self, repository: bytes) -> bool:
        """Remove a repository's keys from this computer; return whether there were any."""
        path = self._path(repository)
        found = path.exists()
        if found:
            fsio.remove(path)
        if self._mode != "file":
            found = self._forget_in_keyring(repository.hex()) or found
        return found

    def _path(self, repository: bytes) -> Path:
        return self._folder / f"{repository.hex()}.json"

    def _read_file(self, repository: bytes) -> bytes | None:
        path = self._path(repository)
        try:
            with path.open("rb") as file:
                if path.stat().st_mode & _OTHERS:
                    raise NotAllowedError(f"Others may read the key in {path}.", hint=f"Type: chmod 600 {path}")
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"The key in {path} cannot be read: {error.strerror}.") from error

    def _save_in_keyring(self, name: str, text: str) -> bool:
        keyring = _real_keyring()
        if keyring is not None and _patiently(
            lambda: keyring.set_password(_SERVICE, name, text) or True, default=False
        ):
            return True
        if self._mode == "keyring":
            raise NotAllowedError(
                "This computer has no keyring that answers.", hint='Set `keys.store` to "file" to keep keys in a file.'
            )
        return False

    def _read_keyring(self, name: str) -> bytes | None:
        keyring = _real_keyring()
        text = None if keyring is None else _patiently(lambda: keyring.get_password(_SERVICE, name), default=None)
        return None if text is None else str(text).encode()

    def _forget_in_keyring(self, name: str) -> bool:
        keyring = _real_keyring()
        if keyring is None or _patiently(lambda: keyring.get_password(_SERVICE, name), default=None) is None:
            return False
        return _patiently(lambda: keyring.delete_password(_SERVICE, name) or True, default=False)


def _real_keyring() -> Any:
    """Return the system's keyring, or None where there is none that protects anything."""
    import keyring  # noqa: PLC0415 - costs 40 ms, and only where no key file is there

    found = _patiently(keyring.get_keyring, default=None)
    # Priority 1 is where keyrings begin that the system itself guards; files in clear and stubs are below it.
    return found if found is not None and float(getattr(found, "priority", 0)) >= 1 else None


def _patiently(ask: Callable[[], T], *, default: T) -> T:
    """Return what a keyring answers, or `default` when it fails or says nothing in time."""
    answers: list[T] = []

    def run() -> None:
        try:
            answers.append(ask())
        except Exception:  # noqa: BLE001 - keyrings raise whatever their service does; each means "no answer"
            return

    thread = threading.Thread(target=run, name="keyring", daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return answers[0] if answers else default
