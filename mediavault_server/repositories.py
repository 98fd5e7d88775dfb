"""Which repositories this server holds, and what each needs to be served; keeps nothing that storage does not have."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.config import RepositoryConfig, decode_config
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.wire import problems
from mediavault_backends.api import Absent, Backend, Spooling
from mediavault_backends.errors import NotFoundError, OutcomeUnknownError, PreconditionFailedError
from mediavault_backends.keys import encode_segment
from mediavault_backends.prefix import prefixed
from mediavault_server.problems import RequestRefusedError
from mediavault_server.settings import NAME

CONFIG_KEY: Final = "config"
KEPT: Final = 256
"""How many repositories' indexes a process holds at once."""


@dataclass(frozen=True, slots=True)
class HostedRepository:
    """One repository: its blobs, its config, its index. Safe to use from several threads."""

    name: str
    backend: Backend
    config_bytes: bytes
    config: RepositoryConfig
    frames: FrameStore
    spool: Path

    @property
    def plain(self) -> bool:
        """Whether it is not encrypted."""
        return self.config.suite == 0


class Repositories:
    """All repositories of one storage, at `team/project/` each.

    Args:
        storage: where they are.
        scratch: a folder for uploads under way, for storage that has none of its own.
        create: whether a client may make one.
    """

    def __init__(self, storage: Backend, scratch: Path, *, create: bool) -> None:
        self.storage = storage
        self._scratch = scratch
        self._create = create
        self._lock = threading.Lock()
        self._open: OrderedDict[str, HostedRepository] = OrderedDict()

    def open(self, team: str, project: str) -> HostedRepository:
        """Return a repository, from memory if this process has it.

        Raises:
            RequestRefusedError: there is none.
        """
        name = _name(team, project)
        with self._lock:
            found = self._open.get(name)
            if found is not None:
                self._open.move_to_end(name)
                return found
        return self.reopen(team, project)

    def reopen(self, team: str, project: str) -> HostedRepository:
        """Return a repository after reading its config anew: an operator may have put another in its place.

        Raises:
            RequestRefusedError: there is none.
        """
        name = _name(team, project)
        backend = self._backend(team, project)
        try:
            config = backend.get(CONFIG_KEY).data
        except NotFoundError:
            with self._lock:
                self._open.pop(name, None)
            raise RequestRefusedError(problems.NO_REPOSITORY, f"There is no repository {name}.") from None
        with self._lock:
            found = self._open.get(name)
            if found is None or found.config_bytes != config:
                frames = FrameStore(backend, ObjectIndex(backend))
                spool = backend.spool_folder if isinstance(backend, Spooling) else self._scratch / team / project
                spool.mkdir(parents=True, exist_ok=True)
                found = HostedRepository(name, backend, config, decode_config(config), frames, spool)
                self._open[name] = found
            while len(self._open) > KEPT:
                self._open.popitem(last=False)
        return found

    def create(self, team: str, project: str, config: bytes) -> tuple[HostedRepository, bool]:
        """Make a repository, or find that it is there.

        Returns:
            the repository, and whether it is new.

        Raises:
            RequestRefusedError: bytes that are no config; another repository of this name; or nobody may make one.
        """
        name = _name(team, project)
        try:
            wanted = decode_config(config)
        except (FormatError, UnsupportedFormatError) as error:
            raise RequestRefusedError(problems.MISMATCH, error.message) from error
        try:
            return self._same(team, project, wanted, config), False
        except RequestRefusedError as refusal:
            if refusal.kind is not problems.NO_REPOSITORY:
                raise
        if not self._create:
            raise RequestRefusedError(problems.FORBIDDEN, f"There is no project {name}, and this server makes none.")
        try:
            self._backend(team, project).put(CONFIG_KEY, config, when=Absent())
        except (PreconditionFailedError, OutcomeUnknownError):
            return self._same(team, project, wanted, config), False
        return self.reopen(team, project), True

    def _same(self, team: str, project: str, wanted: RepositoryConfig, config: bytes) -> HostedRepository:
        found = self.reopen(team, project)
        if found.config_bytes != config:
            raise RequestRefusedError(
                problems.OTHER_REPOSITORY,
                f"{found.name} is repository {found.config.repository.hex()}, not {wanted.repository.hex()}.",
                repository=found.config.repository.hex(),
                given=wanted.repository.hex(),
            )
        return found

    def _backend(self, team: str, project: str) -> Backend:
        return prefixed(self.storage, f"{encode_segment(team)}/{encode_segment(project)}/")


def _name(team: str, project: str) -> str:
    if not (NAME.fullmatch(team) and NAME.fullmatch(project)):
        raise RequestRefusedError(problems.BAD_PATH, "A team or project has letters, digits and . _ - in its name.")
    return f"{team}/{project}"
