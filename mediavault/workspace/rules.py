"""Finding and reading rule files (`.mediagitignore`, `.mediagitattributes`); what a line means is for others.

Rule files are repository content, hence hostile: they are read with a cap, never through a link, and only decide what
is scanned and how hard it is compressed.
"""

import errno
import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mediavault.errors import ConfigError
from mediavault.workspace.long_paths import reach

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

MAX_RULE_FILE: Final = 1 << 20
"""Bytes of a rule file."""

MAX_FREEDOM: Final = 3
"""How many wildcards of one pattern may be tried against every position: the time to match grows with its power.

Patterns may be hostile. Measured on the worst names: 2 takes 5 ms, 3 takes 0.3 s, 4 takes 18 s.
"""

_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_rule_lines(root: Path, path: str) -> list[str] | None:
    """Return the lines of a rule file; None where there is none, or where the name is a link or a folder.

    Args:
        root: the working tree.
        path: the file, relative to the root.

    Raises:
        ConfigError: it is too large or not UTF-8.
    """
    try:
        fd = reach(lambda name, folder: os.open(name, _OPEN, dir_fd=folder), root, path)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMLINK}:
            return None
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        with open(fd, "rb", closefd=False) as file:
            data = file.read(MAX_RULE_FILE + 1)
    except IsADirectoryError:
        return None
    finally:
        os.close(fd)
    if len(data) > MAX_RULE_FILE:
        raise ConfigError(f"{path} is larger than 1 MiB.", hint="Write fewer, wider patterns.")
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}).") from error


def compile_patterns(path: str, patterns: list[tuple[int, str]]) -> "GitIgnoreSpec":
    """Compile gitignore patterns.

    Args:
        path: the rule file, for messages.
        patterns: line number and text of each.

    Raises:
        ConfigError: a pattern is not valid; the message names the line.
    """
    for number, pattern in patterns:
        if _freedom(pattern) > MAX_FREEDOM:
            raise ConfigError(
                f"{path} line {number}: {pattern[:80]!r} has too many wildcards.",
                hint="Write it as several simpler patterns.",
            )
        try:
            _compiled([pattern])
        except (ValueError, re.error) as error:
            raise ConfigError(f"{path} line {number}: {pattern!r} is not a valid pattern.") from error
    return _compiled([pattern for _, pattern in patterns])


def _compiled(patterns: list[str]) -> "GitIgnoreSpec":
    import pathspec  # noqa: PLC0415 -- 33 ms, and most projects have few rules or none

    with warnings.catch_warnings():
        # `re` warns of sets such as `[[a]` and `[a--b]`, whose meaning it may change one day; it is no one's mistake here.
        warnings.simplefilter("ignore", FutureWarning)
        return pathspec.GitIgnoreSpec.from_lines(patterns, backend="simple")


def _freedom(pattern: str) -> int:
    """Return how many wildcards can give way to each other: all but one between slashes, and every `**`.

    Stars beside each other mean what one of them means, but each is tried: pathspec does not join them.
    """
    return sum(1 if part == "**" else max(0, part.count("*") - 1) for part in pattern.split("/"))
