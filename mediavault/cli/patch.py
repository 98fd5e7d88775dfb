"""Lines of text files that changed, as `diff -u` shows them, safe to print on a terminal."""

import unicodedata
from collections.abc import Iterator
from typing import Final

from mediavault.cli.render import Console
from mediavault.cli.text import byte_size, printable
from mediavault.history.text_diff import Hunk
from mediavault.ops.texts import TEXT_BYTES, TextChange

_COLORS: Final = {"-": "red", "+": "green"}
_ESCAPED: Final = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})
"""Categories that a terminal obeys, or that change the order or the look of what is beside them."""


def show_text(console: Console, change: TextChange) -> None:
    """Write the changes of one file."""
    if change.hunks is None:
        console.line()
        path, limit = printable(change.file.path), byte_size(TEXT_BYTES)
        console.line(console.paint("dim", f"{path}: not compared line by line, since it is larger than {limit}."))
    elif change.hunks:
        console.line()
        console.lines(_lines(console, change))


def _lines(console: Console, change: TextChange) -> Iterator[str]:
    file = change.file
    old = f"a/{printable(file.old_path or file.path)}" if file.old else "/dev/null"
    new = f"b/{printable(file.path)}" if file.new else "/dev/null"
    yield console.paint("bold", f"--- {old}")
    yield console.paint("bold", f"+++ {new}")
    for hunk in change.hunks or ():
        yield console.paint("cyan", _place(hunk))
        for sign, line in hunk.lines:
            text = line.removesuffix("\n")
            if change.returns:
                text = text.removesuffix("\r")
            shown = sign + visible(text)
            yield console.paint(_COLORS[sign], shown) if sign in _COLORS else shown
            if not line.endswith("\n"):
                yield "\\ No newline at end of file"


def _place(hunk: Hunk) -> str:
    return f"@@ -{_range(hunk.old_start, hunk.old_count)} +{_range(hunk.new_start, hunk.new_count)} @@"


def _range(start: int, count: int) -> str:
    """Return lines as `diff -u` counts them: from 1, and where there is none, the line before."""
    first = start + 1 if count else start
    return str(first) if count == 1 else f"{first},{count}"


def visible(text: str) -> str:
    """Return text in which every character that a terminal would obey is an escape; tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        printable(char) if char != "\t" and unicodedata.category(char) in _ESCAPED else char for char in text
    )
