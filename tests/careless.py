"""A store in memory that takes conditions on writes and ignores them, as several services do."""

from mediavault_backends.api import Absent, Body, Condition, Matches, Version
from mediavault_backends.errors import NotFoundError, PreconditionFailedError
from mediavault_backends.memory import MemoryBackend


class CarelessBackend(MemoryBackend):
    """Writes whatever the condition says."""

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        """Store `body`, whatever is there."""
        del when
        while True:
            try:
                present: Condition = Matches(self.stat(key).version)
            except NotFoundError:
                present = Absent()
            try:
                return super().put(key, body, when=present)
            except PreconditionFailedError:  # another writer was between
                continue
