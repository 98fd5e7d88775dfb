"""A store in memory with classes, an archive and a history of what was moved: where no service runs that has all of these."""

import threading
from collections.abc import Callable, Iterator

from mediavault_backends.api import Blob, Buffer, Stat, Tier
from mediavault_backends.errors import ArchivedError, RestoringError
from mediavault_backends.memory import MemoryBackend

HOT, COLD, FROZEN = "HOT", "COLD", "FROZEN"


class TieredStore(MemoryBackend):
    """Objects are HOT until they are moved. What is FROZEN cannot be read before `thaw`, after it was asked for.

    `before` is called with the name of a call and its key before it is made. `forgets`: moving does nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.classes: dict[str, str] = {}
        self.moved: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.thawed: set[str] = set()
        self.before: Callable[[str, str], object] = lambda _method, _key: None
        self.forgets = False
        self._guard = threading.Lock()

    def tier(self, key: str) -> Tier:
        self.before("tier", key)
        self.stat(key)
        name = self.classes.get(key, HOT)
        frozen = name == FROZEN and key not in self.thawed
        return Tier(name, readable=not frozen, restoring=frozen and key in self.asked)

    def set_tier(self, key: str, name: str) -> None:
        self.before("set_tier", key)
        self.stat(key)
        with self._guard:
            self.moved.append((key, name))
            if not self.forgets:
                self.classes[key] = name
                self.thawed.discard(key)

    def restore(self, key: str, *, days: int) -> None:
        self.before("restore", key)
        self.stat(key)
        assert days > 0
        with self._guard:
            self.asked.append(key)

    def thaw(self) -> None:
        """Let what was asked for be read."""
        self.thawed.update(self.asked)

    def stat(self, key: str) -> Stat:
        found = super().get(key)
        return Stat(key, len(found.data), found.version)

    def get(self, key: str) -> Blob:
        self._check(key)
        return super().get(key)

    def read(self, key: str, start: int, length: int) -> bytes:
        self._check(key)
        return super().read(key, start, length)

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        self._check(key)
        return super().stream(key, start=start, length=length)

    def _check(self, key: str) -> None:
        if self.classes.get(key) == FROZEN and key not in self.thawed:
            kind = RestoringError if key in self.asked else ArchivedError
            raise kind(f"{key} is archived", key=key)
