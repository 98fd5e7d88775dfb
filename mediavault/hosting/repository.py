"""One repository as its host sees it: blobs, config and index, without a key."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.config import RepositoryConfig, decode_config
from mediavault.hosting.quarantine import Quarantine
from mediavault.hosting.refusal import RefusedError
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.wire import problems
from mediavault_backends.api import Absent, Backend, Spooling
from mediavault_backends.errors import NotFoundError, OutcomeUnknownError, PreconditionFailedError

CONFIG_KEY: Final = "config"


@dataclass(frozen=True, slots=True)
class HostedRepository:
    """One repository: its blobs, its config, its index. Safe to use from several threads.

    Attributes:
        name: what messages call it.
        backend: its blobs.
        config_bytes: the exact bytes that were stored when it was made.
        config: what they say.
        frames: its objects.
        spool: a folder for uploads under way.
        adopts: whether the backend takes files of that folder as they are.
        quarantine: packs that clients put straight into the store, until they are checked.
    """

    name: str
    backend: Backend
    config_bytes: bytes
    config: RepositoryConfig
    frames: FrameStore
    spool: Path
    adopts: bool
    quarantine: Quarantine

    @property
    def plain(self) -> bool:
        """Whether it is not encrypted."""
        return self.config.suite == 0


def read_config(name: str, backend: Backend) -> bytes:
    """Return the exact bytes of a repository's config.

    Raises:
        RefusedError: there is no repository.
    """
    try:
        return backend.get(CONFIG_KEY).data
    except NotFoundError:
        raise RefusedError(problems.NO_REPOSITORY, f"There is no repository {name}.") from None


def host(name: str, backend: Backend, config_bytes: bytes, scratch: Path) -> HostedRepository:
    """Return the repository of this config.

    Args:
        name: what messages call it.
        backend: its blobs.
        config_bytes: from `read_config`.
        scratch: a folder for uploads under way, for a backend that has none of its own.

    Raises:
        FormatError: the config is damaged.
        UnsupportedFormatError: a newer version made it.
    """
    config = decode_config(config_bytes)
    adopts = isinstance(backend, Spooling)
    spool = backend.spool_folder if isinstance(backend, Spooling) else scratch
    spool.mkdir(parents=True, exist_ok=True)
    frames = FrameStore(backend, ObjectIndex(backend))
    quarantine = Quarantine(backend, frames, plain=config.suite == 0)
    return HostedRepository(name, backend, config_bytes, config, frames, spool, adopts, quarantine)


def check_config(config_bytes: bytes) -> RepositoryConfig:
    """Read a config that somebody sends.

    Raises:
        RefusedError: it is none.
    """
    try:
        return decode_config(config_bytes)
    except (FormatError, UnsupportedFormatError) as error:
        raise RefusedError(problems.MISMATCH, error.message) from error


def is_there(name: str, backend: Backend, config_bytes: bytes) -> bool:
    """Tell whether the repository of this config lives here.

    Raises:
        RefusedError: another one does.
    """
    try:
        found = read_config(name, backend)
    except RefusedError:
        return False
    if found != config_bytes:
        theirs, ours = decode_config(found).repository.hex(), decode_config(config_bytes).repository.hex()
        raise RefusedError(
            problems.OTHER_REPOSITORY, f"{name} is repository {theirs}, not {ours}.", repository=theirs, given=ours
        )
    return True


def make(name: str, backend: Backend, config_bytes: bytes) -> bool:
    """Make a repository where there is none.

    Returns:
        whether it is new; False where this very one was made meanwhile.

    Raises:
        RefusedError: another one was.
    """
    try:
        backend.put(CONFIG_KEY, config_bytes, when=Absent())
    except (PreconditionFailedError, OutcomeUnknownError) as error:
        if not is_there(name, backend, config_bytes):
            raise RefusedError(problems.UNAVAILABLE) from error
        return False
    return True
