"""Which repositories this server holds, and what each needs to be served; keeps nothing that storage does not have."""

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

from mediavault.hosting.refusal import RefusedError
from mediavault.hosting.repository import HostedRepository, check_config, host, is_there, make, read_config
from mediavault.wire import problems
from mediavault_backends.api import Backend
from mediavault_backends.keys import encode_segment
from mediavault_backends.prefix import prefixed
from mediavault_server.problems import RequestRefusedError
from mediavault_server.settings import NAME

KEPT: Final = 256
"""How many repositories' indexes a process holds at once."""


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
            RefusedError: there is none.
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
            RefusedError: there is none.
        """
        name = _name(team, project)
        backend = self._backend(team, project)
        try:
            config = read_config(name, backend)
        except RefusedError:
            with self._lock:
                self._open.pop(name, None)
            raise
        with self._lock:
            found = self._open.get(name)
            if found is None or found.config_bytes != config:
                found = host(name, backend, config, self._scratch / team / project)
                self._open[name] = found
            while len(self._open) > KEPT:
                self._open.popitem(last=False)
        return found

    def create(self, team: str, project: str, config: bytes) -> tuple[HostedRepository, bool]:
        """Make a repository, or find that it is there.

        Returns:
            the repository, and whether it is new.

        Raises:
            RefusedError: bytes that are no config; another repository of this name; or nobody may make one.
        """
        name = _name(team, project)
        check_config(config)
        backend = self._backend(team, project)
        new = not is_there(name, backend, config)
        if new and not self._create:
            raise RequestRefusedError(problems.FORBIDDEN, f"There is no project {name}, and this server makes none.")
        new = new and make(name, backend, config)
        return self.reopen(team, project), new

    def _backend(self, team: str, project: str) -> Backend:
        return prefixed(self.storage, f"{encode_segment(team)}/{encode_segment(project)}/")


def _name(team: str, project: str) -> str:
    if not (NAME.fullmatch(team) and NAME.fullmatch(project)):
        raise RequestRefusedError(problems.BAD_PATH, "A team or project has letters, digits and . _ - in its name.")
    return f"{team}/{project}"
