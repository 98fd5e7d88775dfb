"""How a transfer tells how far it is. The shape is that of `mediavault.ops.progress`, which lies above."""

from typing import Final, Protocol


class Progress(Protocol):
    """One piece of work at a time: started, advanced, done. `advance` is called from any thread."""

    def start(self, total: int | None, unit: str, label: str) -> None:
        """Begin a piece of work of `total` units."""

    def advance(self, amount: int) -> None:
        """Tell that `amount` more units are done."""

    def done(self) -> None:
        """End it."""


class _Silent:
    def start(self, total: int | None, unit: str, label: str) -> None:
        pass

    def advance(self, amount: int) -> None:
        pass

    def done(self) -> None:
        pass


SILENT: Final[Progress] = _Silent()
"""Tells nobody."""
