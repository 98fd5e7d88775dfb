"""Sends what is written to a terminal through a program that shows it page by page; which program, `session` says."""

import io
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, TextIO, cast

from mediavault.cli.render import Console

if TYPE_CHECKING:
    import subprocess


class Pager(NamedTuple):
    """A program to start, what it finds in its environment, and whether the user asked for this one."""

    command: list[str]
    environment: Mapping[str, str]
    chosen: bool


@contextmanager
def paged(console: Console, pager: Pager | None) -> Iterator[None]:
    """Show what is written within the block through a pager, which starts with the first line and is waited for.

    Nothing is changed where there is no pager, no terminal, or JSON is asked for. Whoever leaves the pager early ends
    the block, without an error.
    """
    if pager is None or console.json or not sys.stdout.isatty():
        yield
        return
    streams = sys.stdout, sys.stderr
    output = _Output(console, pager, sys.stdout, errors=sys.stderr.isatty())
    sys.stdout = cast("TextIO", output)
    try:
        # Whoever has seen enough leaves: that is no failure.
        with suppress(BrokenPipeError):
            yield
    finally:
        sys.stdout, sys.stderr = streams
        output.finish()


class _Output(io.TextIOBase):
    """Stands for stdout; starts the pager when something is written, and goes on without it where it is not installed."""

    def __init__(self, console: Console, pager: Pager, terminal: TextIO, *, errors: bool) -> None:
        super().__init__()
        self._console = console
        self._pager = pager
        self._terminal = terminal
        self._errors = errors
        self._process: subprocess.Popen[str] | None = None
        self._stream: TextIO | None = None

    def write(self, text: str) -> int:
        """Write to the pager."""
        if self._stream is None:
            self._stream = self._start()
        return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]  # a text stream takes text
        """Write several texts to the pager."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Send on what was written."""
        if self._stream is not None:
            self._stream.flush()

    def fileno(self) -> int:
        """Return the terminal's descriptor."""
        return self._terminal.fileno()

    def finish(self) -> None:
        """Wait until the pager has ended; only the person in front of it ends it."""
        process = self._process
        if process is None:
            self.flush()
            return
        with suppress(BrokenPipeError):
            assert process.stdin is not None
            process.stdin.close()
        while process.poll() is None:
            # An interrupt reaches the pager as well, which goes on.
            with suppress(KeyboardInterrupt):
                process.wait()

    def _start(self) -> TextIO:
        import subprocess  # noqa: PLC0415 -- only where there is something to show on a terminal

        self._terminal.flush()
        try:
            process = subprocess.Popen(  # noqa: S603 -- the user's own setting
                self._pager.command,
                stdin=subprocess.PIPE,
                env=dict(self._pager.environment),
                encoding="utf-8",
                errors="backslashreplace",
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            if self._pager.chosen:
                self._console.warn(f"the pager {self._pager.command[0]} does not start ({reason}).")
            return self._terminal
        self._process = process
        assert process.stdin is not None
        stream = cast("TextIO", process.stdin)
        if self._errors:
            sys.stderr = stream  # words on stderr would be drawn over what the pager shows
        return stream
