"""What stands in the working tree: names, modes and stamps, in path order; content and tracking are for others."""

import os
import stat
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from mediavault.model.names import MAX_DEPTH, MAX_PATH_BYTES, entry_name_problem
from mediavault.model.objects import Mode
from mediavault.workspace.ignore import IGNORE_FILE, FolderRules, IgnoreRules
from mediavault.workspace.layout import PRIVATE_FOLDER
from mediavault.workspace.long_paths import listing, look_at
from mediavault.workspace.paths import shown, without_nested

INODE_MASK: Final = (1 << 63) - 1
"""Inode numbers are compared modulo 2^63: SQLite has no larger integers."""


_TYPE_BITS: Final = 0o170000
_NO_RULES: Final = FolderRules()


class ScannedFile(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A file or link in the working tree and its stamp; times in ns, `size` in bytes."""

    path: str
    mode: Mode
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Problem(msgspec.Struct, frozen=True, gc=False):
    """Something that cannot be versioned: a printable path, the end of a sentence about it, and the way out."""

    path: str
    reason: str
    hint: str = ""


def unreadable(path: str, error: OSError) -> Problem:
    """Return what to say of a file or folder that the system does not let one read."""
    reason = f"cannot be read ({error.strerror or error})"
    return Problem(shown(path), reason, "Change its permissions, or name it in .mediagitignore.")


def scanned(path: str, status: os.stat_result) -> ScannedFile | None:
    """Return what lstat says of a path; None when it is neither a file nor a link."""
    bits = status.st_mode
    kind = bits & _TYPE_BITS
    if kind == stat.S_IFREG:
        mode = Mode.EXECUTABLE if bits & stat.S_IXUSR else Mode.FILE
    elif kind == stat.S_IFLNK:
        mode = Mode.SYMLINK
    else:
        return None
    return ScannedFile(path, mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino & INODE_MASK)


def lstat_file(root: Path, path: str) -> ScannedFile | None:
    """Return what stands at a path; None when nothing, a folder or something special, or when a link leads there."""
    folder, _, _ = path.rpartition("/")
    while folder:
        try:
            if not stat.S_ISDIR(look_at(root, folder).st_mode):
                return None
        except (FileNotFoundError, NotADirectoryError):
            return None
        folder, _, _ = folder.rpartition("/")
    try:
        return scanned(path, look_at(root, path))
    except (FileNotFoundError, NotADirectoryError):
        return None


class Scan:
    """One walk over the working tree: iterate it once, then read `problems`.

    Files come in path order (UTF-8 bytes of the whole path), no link is followed, and what is ignored or cannot be
    versioned is left out; only the latter is a problem. Memory is bounded by the largest folder.

    Args:
        root: the working tree.
        rules: what to ignore; None for nothing but private folders.
        paths: files and folders to walk, relative to the root; empty for everything.
    """

    def __init__(self, root: Path, rules: IgnoreRules | None, paths: Sequence[str] = ()) -> None:
        self._root = str(root)
        self._rules = rules
        self._paths = without_nested(paths or ("",))
        self.problems: list[Problem] = []

    def __iter__(self) -> Iterator[ScannedFile]:
        """Yield the files.

        Raises:
            ConfigError: an ignore file is not usable.
        """
        for path in self._in_order():
            yield from self._walk_from(path)

    def _enter(self, folder: str, above: FolderRules | None, *, has_file: bool = True) -> FolderRules:
        if self._rules is None:
            return _NO_RULES
        return self._rules.enter(folder, above, has_file=has_file)

    def _in_order(self) -> list[str]:
        def key(path: str) -> str:
            return path + "/" if self._is_folder(path) else path

        return sorted(self._paths, key=key)

    def _walk_from(self, path: str) -> Iterator[ScannedFile]:
        if not path:
            yield from self._walk("", self._enter("", None))
            return
        rules, folder = self._enter("", None), ""
        *parents, _ = path.split("/")
        for part in parents:
            folder = f"{folder}/{part}" if folder else part
            if not self._is_plain_folder(folder, rules) or self._refused(folder, part):
                return
            rules = self._enter(folder, rules)
        name = path.rpartition("/")[2]
        try:
            status = look_at(self._root, path)
        except OSError as error:
            self._unreadable(path, error)
            return
        is_folder = stat.S_ISDIR(status.st_mode)
        if self._ignored(path, rules, is_folder=is_folder):
            return
        if not is_folder:
            file = self._checked(path, name, status)
            if file is not None:
                yield file
        elif not self._refused(path, name):
            yield from self._walk(path + "/", rules)

    def _is_folder(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(look_at(self._root, path).st_mode)
        except OSError:
            return False

    def _is_plain_folder(self, folder: str, rules: FolderRules) -> bool:
        try:
            bits = look_at(self._root, folder).st_mode
        except OSError as error:
            self._unreadable(folder, error)
            return False
        if stat.S_ISLNK(bits):
            self._report(
                folder,
                "is a link, and what is behind a link is not part of the project",
                hint="Name the files where they really are.",
            )
            return False
        return not self._ignored(folder, rules, is_folder=True)

    def _ignored(self, path: str, rules: FolderRules, *, is_folder: bool) -> bool:
        if rules.ignores(path, is_folder=is_folder):
            self._report(path, f"is ignored by {IGNORE_FILE}", hint=f"Change {IGNORE_FILE} if it should be versioned.")
            return True
        return False

    def _walk(self, prefix: str, rules: FolderRules) -> Iterator[ScannedFile]:
        levels = [iter(self._entries(prefix, rules))]
        while levels:
            for entry in levels[-1]:
                if isinstance(entry, list):
                    yield from entry
                else:
                    levels.append(iter(self._entries(*entry)))
                    break
            else:
                levels.pop()

    def _entries(self, prefix: str, rules: FolderRules) -> list["list[ScannedFile] | tuple[str, FolderRules]"]:
        """Return runs of a folder's files, and its folders as arguments for this function, in path order."""
        folder = prefix.removesuffix("/")
        if prefix.count("/") > MAX_DEPTH - 1 or len(os.fsencode(prefix)) > MAX_PATH_BYTES:
            self._report(folder, "lies too deep", hint="Move it up, or name it in .mediagitignore.")
            return []
        try:
            with listing(self._root, prefix) as found:
                return self._listed(prefix, found, rules)
        except OSError as error:
            self._unreadable(folder, error)
            return []

    def _listed(
        self, prefix: str, found: Iterator["os.DirEntry[str]"], rules: FolderRules
    ) -> list["list[ScannedFile] | tuple[str, FolderRules]"]:
        entries = {entry.name: entry for entry in found}
        folder = prefix.removesuffix("/")
        if prefix:
            if PRIVATE_FOLDER in entries:
                hint = "Give its files to this project by removing its .mediagit, or name it in .mediagitignore."
                self._report(folder, "is a repository of its own and was left out", hint=hint)
                return []
            rules = self._enter(folder, rules, has_file=IGNORE_FILE in entries)
        files: list[ScannedFile] = []
        inside: list[str] = []
        for name, entry in entries.items():
            path = prefix + name
            if entry.is_dir(follow_symlinks=False):
                if not rules.ignores(path, is_folder=True) and not self._refused(path, name):
                    inside.append(path + "/")
            elif not rules.ignores(path, is_folder=False):
                file = self._looked_at(path, entry)
                if file is not None:
                    files.append(file)
        files.sort(key=_path)
        return _interleaved(files, [(path, rules) for path in sorted(inside)])

    def _looked_at(self, path: str, entry: "os.DirEntry[str]") -> ScannedFile | None:
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            self._unreadable(path, error)
            return None
        return self._checked(path, entry.name, status)

    def _checked(self, path: str, name: str, status: os.stat_result) -> ScannedFile | None:
        file = scanned(path, status)
        if file is None:
            self._report(path, "is neither a file nor a folder nor a link", hint="Name it in .mediagitignore.")
            return None
        return None if self._refused(path, name) else file

    def _refused(self, path: str, name: str) -> bool:
        problem = entry_name_problem(name)
        if problem is None and len(path) > MAX_PATH_BYTES // 4 and len(path.encode()) > MAX_PATH_BYTES:
            problem = f"has a path longer than {MAX_PATH_BYTES} bytes"
        if problem:
            self._report(path, problem, hint="Rename it, or name it in .mediagitignore.")
        return problem is not None

    def _unreadable(self, path: str, error: OSError) -> None:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):  # those are gone since they were listed
            self.problems.append(unreadable(path, error))

    def _report(self, path: str, reason: str, *, hint: str) -> None:
        self.problems.append(Problem(shown(path), reason, hint))


def _path(file: ScannedFile) -> str:
    return file.path


def _interleaved(
    files: list[ScannedFile], folders: list[tuple[str, FolderRules]]
) -> list[list[ScannedFile] | tuple[str, FolderRules]]:
    """Put folders between the files where what is in them belongs by its path."""
    merged: list[list[ScannedFile] | tuple[str, FolderRules]] = []
    start = 0
    for folder in folders:
        end = bisect_left(files, folder[0], key=_path)
        if end > start:
            merged.append(files[start:end])
            start = end
        merged.append(folder)
    if start < len(files):
        merged.append(files[start:])
    return merged
