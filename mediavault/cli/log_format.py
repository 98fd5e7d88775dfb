"""How `log` words a commit: the formats that have a name, and templates with git's placeholders."""

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from mediavault.cli.render import Console
from mediavault.cli.text import plain_time, printable, printable_lines, rfc3339, short_id
from mediavault.errors import UsageError
from mediavault.model.objects import Commit
from mediavault.ops.log import LogEntry, signature

Wording: TypeAlias = Callable[[Console, LogEntry], list[str]]
"""Gives the lines that tell of one commit, each safe to print."""

_PLACEHOLDER: Final = re.compile(r"%(%|n|x[0-9a-fA-F]{2}|[a-z][a-zA-Z]|[A-Za-z])?")
_LETTERS: Final[Mapping[str, Callable[[LogEntry], str]]] = {
    "H": lambda entry: entry.id.hex(),
    "h": lambda entry: short_id(entry.id),
    "P": lambda entry: " ".join(parent.hex() for parent in entry.commit.parents),
    "p": lambda entry: " ".join(short_id(parent) for parent in entry.commit.parents),
    "T": lambda entry: entry.commit.tree.hex(),
    "t": lambda entry: short_id(entry.commit.tree),
    "an": lambda entry: printable(entry.commit.author.name),
    "ae": lambda entry: printable(entry.commit.author.email),
    "ad": lambda entry: plain_time(entry.commit.authored),
    "aI": lambda entry: rfc3339(entry.commit.authored),
    "at": lambda entry: str(entry.commit.authored.seconds),
    "cn": lambda entry: printable(entry.commit.committer.name),
    "ce": lambda entry: printable(entry.commit.committer.email),
    "cd": lambda entry: plain_time(entry.commit.committed),
    "cI": lambda entry: rfc3339(entry.commit.committed),
    "ct": lambda entry: str(entry.commit.committed.seconds),
    "s": lambda entry: subject(entry.commit),
    "b": lambda entry: "\n".join(_body(entry.commit)),
    "B": lambda entry: "\n".join(printable_lines(entry.commit.message)),
    "d": lambda entry: f" ({names})" if (names := _labels(entry)) else "",
    "D": lambda entry: _labels(entry),  # noqa: PLW0108 -- `_labels` is defined below
    "n": lambda _: "\n",
    "%": lambda _: "%",
}
PLACEHOLDERS: Final = (
    "%H %h id, %P %p parents, %T %t tree, %an %ae %ad %aI %at author, %cn %ce %cd %cI %ct committer, "
    "%s subject, %b body, %B message, %d %D refs, %n new line, %xHH byte, %% percent sign"
)


def wording(name: str) -> Wording:
    """Return what a format names: `oneline`, `medium`, `full`, or a template with placeholders.

    Raises:
        UsageError: no format has this name, or a placeholder is unknown; the nearest one is offered.
    """
    if name in _NAMED:
        return _NAMED[name]
    text = name.removeprefix("format:").removeprefix("tformat:")
    if text == name and "%" not in name:
        near = _nearest(name, _NAMED)
        hint = f"Did you mean {near!r}? " if near else ""
        hint += f"There are {', '.join(_NAMED)}, and templates such as '%h %s'."
        raise UsageError(f"There is no format {name!r}.", untouched="Nothing was listed.", hint=hint)
    parts = _parsed(text)

    def filled(_: Console, entry: LogEntry) -> list[str]:
        return "".join(part if isinstance(part, str) else part(entry) for part in parts).split("\n")

    return filled


def _parsed(template: str) -> list[str | Callable[[LogEntry], str]]:
    parts: list[str | Callable[[LogEntry], str]] = []
    at = 0
    for found in _PLACEHOLDER.finditer(template):
        parts.append(template[at : found.start()])
        letters = found[1] or ""
        if letters not in _LETTERS and letters[:1] in _LETTERS and not letters.startswith("x"):
            letters = letters[0]  # `%sx` is the subject and an x
        if letters in _LETTERS:
            parts.append(_LETTERS[letters])
        elif letters.startswith("x") and len(letters) == 3:
            parts.append(chr(int(letters[1:], 16)))
        else:
            raise _unknown(template[found.start() : found.start() + 3])
        at = found.start() + 1 + len(letters)
    return [*parts, template[at:]]


def _unknown(shown: str) -> UsageError:
    near = _nearest(shown[1:], _LETTERS)
    hint = f"Did you mean %{near}? There are {PLACEHOLDERS}." if near else f"There are {PLACEHOLDERS}."
    return UsageError(f"Unknown placeholder: {shown}.", untouched="Nothing was listed.", hint=hint)


def _nearest(name: str, names: Mapping[str, object]) -> str:
    import difflib  # noqa: PLC0415 -- only when a person made a mistake

    return next(iter(difflib.get_close_matches(name, names, 1, 0.5)), "")


def subject(commit: Commit) -> str:
    """Return the first line of a message."""
    return next(iter(printable_lines(commit.message)), "")


def _body(commit: Commit) -> list[str]:
    lines = printable_lines(commit.message)[1:]
    while lines and not lines[0].strip():
        del lines[0]
    return lines


def _labels(entry: LogEntry) -> str:
    return ", ".join(printable(label) for label in entry.labels)


def _painted_labels(console: Console, entry: LogEntry) -> str:
    text = _labels(entry)
    return f" {console.paint('cyan', f'({text})')}" if text else ""


def _oneline(console: Console, entry: LogEntry) -> list[str]:
    start = f"{console.paint('yellow', short_id(entry.id))}{_painted_labels(console, entry)}"
    return [f"{start} {subject(entry.commit)}{_renamed(entry, ' [was {}]')}".rstrip()]


def _medium(console: Console, entry: LogEntry) -> list[str]:
    commit = entry.commit
    return [
        *_begin(console, entry),
        f"Author:  {printable(signature(commit.author))}",
        f"Date:    {plain_time(commit.authored)}",
        *_end(entry),
    ]


def _full(console: Console, entry: LogEntry) -> list[str]:
    commit = entry.commit
    return [
        *_begin(console, entry),
        f"Author:      {printable(signature(commit.author))}",
        f"AuthorDate:  {plain_time(commit.authored)}",
        f"Commit:      {printable(signature(commit.committer))}",
        f"CommitDate:  {plain_time(commit.committed)}",
        *_end(entry),
    ]


def _begin(console: Console, entry: LogEntry) -> list[str]:
    lines = [f"{console.paint('yellow', f'commit {entry.id.hex()}')}{_painted_labels(console, entry)}"]
    if len(entry.commit.parents) > 1:
        lines.append(f"Merge:   {' '.join(map(short_id, entry.commit.parents))}")
    return lines


def _end(entry: LogEntry) -> list[str]:
    renamed = _renamed(entry, "{}")
    followed = [f"File:    {printable(entry.path)}, renamed from {renamed}"] if renamed else []
    return [*followed, "", *(f"    {line}".rstrip() for line in printable_lines(entry.commit.message))]


def _renamed(entry: LogEntry, words: str) -> str:
    return words.format(printable(entry.old_path)) if entry.old_path else ""


_NAMED: Final[Mapping[str, Wording]] = {"oneline": _oneline, "medium": _medium, "full": _full}
