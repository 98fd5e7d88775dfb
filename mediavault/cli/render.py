"""What a command writes: data on stdout, words on stderr, one JSON document where it was asked for."""

import sys
from collections.abc import Iterable
from typing import Any, Final

from mediavault.cli.progress import BarProgress, LineProgress
from mediavault.errors import MediaVaultError
from mediavault.progress import SILENT, Progress

_COLORS: Final = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36", "bold": "1", "dim": "2"}


class Console:
    """The three ways out of a command, as its flags ask for."""

    def __init__(self) -> None:
        self.json = False
        self.quiet = False
        self.color = True

    def settle(self, *, no_color: bool) -> None:
        """Decide on colours once the flags are known; `no_color` is true when the user or the environment forbids them."""
        self.color = self.color and not no_color and not self.json and sys.stdout.isatty()

    def paint(self, color: str, text: str) -> str:
        """Return text in a colour, or as it is where colours are off."""
        return f"\x1b[{_COLORS[color]}m{text}\x1b[0m" if self.color and text else text

    def document(self, value: Any) -> None:
        """Write one JSON document."""
        sys.stdout.write(to_json(value) + "\n")

    def line(self, text: str = "") -> None:
        """Write a line of what was asked for."""
        sys.stdout.write(text + "\n")

    def lines(self, texts: Iterable[str]) -> None:
        """Write several lines of what was asked for."""
        sys.stdout.writelines(text + "\n" for text in texts)

    def result(self, text: str) -> None:
        """Write a line on what was done; silent under `--quiet` and `--json`."""
        if not self.quiet and not self.json:
            self.line(text)

    def say(self, text: str) -> None:
        """Write a remark to stderr; silent under `--quiet`."""
        if not self.quiet:
            sys.stdout.flush()
            sys.stderr.write(text + "\n")

    def warn(self, text: str) -> None:
        """Write a warning to stderr, always."""
        sys.stdout.flush()
        sys.stderr.write(f"warning: {_harmless(text)}\n")

    def error(self, error: MediaVaultError, code: int) -> None:
        """Write what happened, what is untouched and what to do next; under `--json` a document as well."""
        sys.stdout.flush()
        lines = [f"error: {_harmless(error.message)}"]
        if error.untouched:
            lines.append(f"       {_harmless(error.untouched)}")
        if error.hint:
            lines.append(f"  next: {_harmless(error.hint)}")
        sys.stderr.write("\n".join(lines) + "\n")
        if self.json:
            words = {"message": error.message, "untouched": error.untouched, "hint": error.hint, "exit_code": code}
            self.document({"error": words})

    def progress(self) -> Progress:
        """Return where long work reports how far it is."""
        if self.quiet:
            return SILENT
        return BarProgress() if sys.stderr.isatty() else LineProgress(sys.stderr)


def to_json(value: Any) -> str:
    """Return a document as JSON text; what a terminal would obey or not show stands as an escape, as do bytes that are not UTF-8."""
    import json  # noqa: PLC0415 -- only where JSON is asked for

    text = json.dumps(value, ensure_ascii=False, indent=2)
    escapes = {ord(c): _json_escape(c) for c in set(text) if not c.isprintable() and c != "\n"}
    return text.translate(escapes) if escapes else text


def _json_escape(char: str) -> str:
    code = ord(char)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def _harmless(text: str) -> str:
    """Return words without what a terminal would obey: they may quote names, servers and files of any origin."""
    if text.isprintable():
        return text
    from mediavault.cli.text import printable  # noqa: PLC0415 -- hardly ever needed, and at every start it would cost

    return "\n".join(printable(line) for line in text.split("\n"))
