"""How a file is to be stored, by `.mediagitattributes` files; storing it is for others.

A line is a gitignore pattern and attributes: `*.exr compress=off`. The nearest file decides, within it the last line
that matches. Attributes only tune; nothing in them can run anything.
"""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from mediavault.errors import ConfigError
from mediavault.workspace.paths import parent_of
from mediavault.workspace.rules import compile_patterns, read_rule_lines

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

ATTRIBUTES_FILE: Final = ".mediagitattributes"
_VALUES: Final = {"compress": ("auto", "off")}
_EMPTY: Final[dict[str, str]] = {}


class FileAttributes(msgspec.Struct, frozen=True, gc=False):
    """What the rules say of one file. `compress`: try to make its chunks smaller."""

    compress: bool = True


class _Level(NamedTuple):
    prefix_length: int
    spec: "GitIgnoreSpec"
    settings: list[dict[str, str]]


class AttributeRules:
    """The attribute files of a working tree, each read once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._levels: dict[str, tuple[_Level, ...]] = {}

    def of(self, path: str) -> FileAttributes:
        """Return the attributes of a file.

        Raises:
            ConfigError: an attribute file on the way is not usable.
        """
        levels = self._inside(parent_of(path))
        if not levels:
            return FileAttributes()
        found: dict[str, str] = {}
        for length, spec, settings in levels:
            for name, value in _matching(spec, settings, path[length:]).items():
                found.setdefault(name, value)
        return FileAttributes(compress=found.get("compress") != "off")

    def _inside(self, folder: str) -> tuple[_Level, ...]:
        known = self._levels.get(folder)
        if known is None:
            above = self._inside(parent_of(folder)) if folder else ()
            own = _read_level(self._root, folder)
            known = self._levels[folder] = (own, *above) if own else above
        return known


def _read_level(root: Path, folder: str) -> _Level | None:
    path = f"{folder}/{ATTRIBUTES_FILE}" if folder else ATTRIBUTES_FILE
    patterns, settings = [], []
    for number, line in enumerate(read_rule_lines(root, path) or (), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        pattern, *attributes = line.split()
        if pattern.startswith("!"):
            raise ConfigError(f"{path} line {number}: a pattern here cannot start with '!'.")
        patterns.append((number, pattern))
        settings.append(dict(_attribute(path, number, text) for text in attributes))
    if not patterns:
        return None
    return _Level(len(folder) + 1 if folder else 0, compile_patterns(path, patterns), settings)


def _attribute(path: str, number: int, text: str) -> tuple[str, str]:
    name, equals, value = text.removeprefix("-").partition("=")
    if text.startswith("-"):
        value = "off" if not equals else "-"
    elif not equals:
        value = "auto"
    if name not in _VALUES:
        near = difflib.get_close_matches(name, _VALUES, n=1, cutoff=0.0)[0]
        raise ConfigError(f"{path} line {number}: unknown attribute {name!r}; did you mean {near!r}?")
    if value not in _VALUES[name]:
        allowed = " or ".join(_VALUES[name])
        raise ConfigError(f"{path} line {number}: {text!r} is not possible; {name} is {allowed}.")
    return name, value


def _matching(spec: "GitIgnoreSpec", settings: list[dict[str, str]], path: str) -> dict[str, str]:
    """Return the settings of the lines that match, later lines over earlier ones."""
    found = dict(_EMPTY)
    for pattern, values in zip(spec.patterns, settings, strict=True):
        if pattern.match_file(path) is not None:
            found.update(values)
    return found
