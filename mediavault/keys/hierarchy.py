"""All keys of a repository as derived from one secret for each epoch; where that secret comes from is for others to say.

HKDF-SHA256 (RFC 5869) with the repository id as salt and a purpose with its epoch as info. What names and cuts
content comes from epoch 0 and stays, so that deduplication survives a rotation; what seals and signs changes.
"""

import hmac
from collections.abc import Mapping
from functools import cached_property
from typing import Final, Protocol

from mediavault.errors import NotAllowedError
from mediavault.model.ids import PLAIN_ID_SECRET

KEY_BYTES: Final = 32
_DOMAIN: Final = b"mediavault/1/"


def expand(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """Return 32 bytes of HKDF-SHA256 (extract, then the first block of expand)."""
    extracted = hmac.digest(salt, secret, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


class KeySet(Protocol):
    """What the rooms that name, cut and sort need to know of a repository's keys, encrypted or plain."""

    @property
    def repository(self) -> bytes:
        """The repository's id, 16 bytes."""

    @property
    def encrypted(self) -> bool:
        """Whether frames are sealed and refs authenticated."""

    @property
    def id_secret(self) -> bytes:
        """The secret from which object ids are keyed."""

    @property
    def chunker_seed(self) -> int:
        """The 48-bit seed of the cut points; 0 in plain repositories."""

    @property
    def split_key(self) -> bytes:
        """The key that decides where tree nodes end."""


class RepositoryKeys:
    """The keys of an encrypted repository.

    Args:
        repository: its id, 16 bytes.
        epochs: the 32-byte repository key of each epoch known here; epoch 0 is always needed.

    Raises:
        NotAllowedError: epoch 0 is not among `epochs`.
        ValueError: a key or the id has another length.
    """

    encrypted = True

    def __init__(self, repository: bytes, epochs: Mapping[int, bytes]) -> None:
        if len(repository) != 16 or any(len(key) != KEY_BYTES for key in epochs.values()):
            raise ValueError("A repository id has 16 bytes and a repository key 32.")
        if 0 not in epochs:
            raise NotAllowedError("The first key of this repository is not known here.", hint="Unlock it again.")
        self.repository = repository
        self._epochs = dict(epochs)

    def __repr__(self) -> str:
        return f"RepositoryKeys({self.repository.hex()}, epochs {sorted(self._epochs)})"

    @property
    def epoch(self) -> int:
        """The highest epoch known here; new frames are sealed under it."""
        return max(self._epochs)

    @property
    def epochs(self) -> Mapping[int, bytes]:
        """The repository keys themselves, for wrapping them again."""
        return dict(self._epochs)

    @cached_property
    def id_secret(self) -> bytes:
        """The secret from which object ids are keyed."""
        return self.derive(b"id", 0)

    @cached_property
    def chunker_seed(self) -> int:
        """The 48-bit seed of the cut points."""
        return int.from_bytes(self.derive(b"chunker", 0)[:6], "little")

    @cached_property
    def split_key(self) -> bytes:
        """The key that decides where tree nodes end."""
        return self.derive(b"split", 0)

    @cached_property
    def path_key(self) -> bytes:
        """The key under which paths are named towards a server (locks)."""
        return self.derive(b"path", 0)

    def data_key(self, epoch: int) -> bytes:
        """The key from which those of chunk frames are derived."""
        return self.derive(b"data", epoch)

    def meta_key(self, epoch: int) -> bytes:
        """The key from which those of metadata frames are derived."""
        return self.derive(b"meta", epoch)

    def ref_key(self, epoch: int) -> bytes:
        """The key of the refs' MACs."""
        return self.derive(b"ref", epoch)

    def slot_key(self, epoch: int) -> bytes:
        """The key that vouches for the public half of a recovery slot."""
        return self.derive(b"slot", epoch)

    def derive(self, purpose: bytes, epoch: int) -> bytes:
        """Return the 32-byte key for one purpose in one epoch.

        Raises:
            NotAllowedError: the repository key of that epoch is not known here.
        """
        secret = self._epochs.get(epoch)
        if secret is None:
            raise NotAllowedError(
                f"The key of epoch {epoch} is not known on this computer.", hint="Unlock the repository again."
            )
        return expand(secret, self.repository, _DOMAIN + purpose + epoch.to_bytes(4, "little"))


class PlainKeys:
    """What stands for keys in a repository that is not encrypted: constants that everyone knows."""

    encrypted = False
    id_secret = PLAIN_ID_SECRET
    chunker_seed = 0

    def __init__(self, repository: bytes) -> None:
        if len(repository) != 16:
            raise ValueError("A repository id has 16 bytes.")
        self.repository = repository

    @cached_property
    def split_key(self) -> bytes:
        """The key that decides where tree nodes end; the same in every plain repository."""
        return expand(bytes(KEY_BYTES), b"", _DOMAIN + b"split" + bytes(4))


def plain_keys(repository: bytes) -> PlainKeys:
    """Return the key set of a plain repository."""
    return PlainKeys(repository)
