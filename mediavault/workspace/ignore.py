"""Which untracked files to leave alone, by `.mediagitignore` files; scanning is for others.

The syntax and precedence are gitignore's: the nearest file decides, within it the last pattern that matches, and what
is inside an ignored folder stays ignored.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from mediavault.workspace.layout import PRIVATE_FOLDER
from mediavault.workspace.rules import compile_patterns, read_rule_lines

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE: Final = ".mediagitignore"
ALWAYS_IGNORED: Final = frozenset((PRIVATE_FOLDER, ".git"))

_ALWAYS_ENDS: Final = tuple(ALWAYS_IGNORED)


class _Level(NamedTuple):
    prefix_length: int
    spec: "GitIgnoreSpec"


class FolderRules:
    """The rules that hold inside one folder: its own file's, then those of the folders above it."""

    __slots__ = ("_levels",)

    def __init__(self, levels: tuple[_Level, ...] = ()) -> None:
        self._levels = levels

    @property
    def empty(self) -> bool:
        """Whether no pattern can match here."""
        return not self._levels

    def ignores(self, path: str, *, is_folder: bool) -> bool:
        """Say whether an entry of this folder is ignored.

        Args:
            path: the entry, relative to the root.
            is_folder: some patterns match only folders.
        """
        if path.endswith(_ALWAYS_ENDS) and path.rpartition("/")[2] in ALWAYS_IGNORED:
            return True
        for length, spec in self._levels:
            found = spec.check_file(path[length:] + "/" if is_folder else path[length:]).include
            if found is not None:
                return found
        return False


class IgnoreRules:
    """The ignore files of a working tree, read when a folder is entered."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def enter(self, folder: str, above: FolderRules | None, *, has_file: bool = True) -> FolderRules:
        """Return the rules inside a folder.

        Args:
            folder: relative to the root; empty for the root itself.
            above: the rules of the folder that holds it; None for the root.
            has_file: False when the caller saw that the folder has no ignore file.

        Raises:
            ConfigError: its ignore file is not usable.
        """
        above = above or FolderRules()
        if not has_file:
            return above
        path = f"{folder}/{IGNORE_FILE}" if folder else IGNORE_FILE
        patterns = [
            (number, line)
            for number, line in enumerate(read_rule_lines(self._root, path) or (), 1)
            if line.strip() and not line.startswith("#")
        ]
        if not patterns:
            return above
        level = _Level(len(folder) + 1 if folder else 0, compile_patterns(path, patterns))
        return FolderRules((level, *above._levels))  # noqa: SLF001 -- rules of the folder above, same class

    def ignores(self, path: str, *, is_folder: bool = False) -> bool:
        """Say whether a path is ignored, by itself or with a folder above it.

        Raises:
            ConfigError: an ignore file on the way is not usable.
        """
        rules, folder = self.enter("", None), ""
        parts = path.split("/")
        for depth, part in enumerate(parts, 1):
            at_end = depth == len(parts)
            entry = f"{folder}/{part}" if folder else part
            if rules.ignores(entry, is_folder=is_folder or not at_end):
                return True
            if not at_end:
                rules, folder = self.enter(entry, rules), entry
        return False
