"""How long work tells how far it is; the command line shows it, other callers may ignore it."""

from typing import Final, Protocol


class Progress(Protocol):
    """One piece of work at a time: started, advanced, done."""

    def start(self, total: int | None, unit: str, label: str) -> None:
        """Begin a piece of work; one that is under way ends.

        Args:
            total: the amount of work in units, None where it is not known.
            unit: "bytes", or what is counted, such as "files".
            label: what is being done, such as "Adding".
        """

    def advance(self, amount: int) -> None:
        """Tell that `amount` more units are done; cheap, and safe from any thread. Less than 0 takes back."""

    def done(self) -> None:
        """End the piece of work; a second call does nothing."""


class _Silent:
    def start(self, total: int | None, unit: str, label: str) -> None:
        pass

    def advance(self, amount: int) -> None:
        pass

    def done(self) -> None:
        pass


SILENT: Final[Progress] = _Silent()
"""Tells nobody."""
