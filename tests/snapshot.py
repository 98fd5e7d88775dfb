"""What a working tree holds, in a form that two trees can be compared by."""

import os
from pathlib import Path

from blake3 import blake3

Snapshot = dict[str, str]


def snapshot(root: Path) -> Snapshot:
    """Return kind and content of everything below a folder, by path; `.mediagit` is left out.

    A file is `file HEX` or `exec HEX` with its BLAKE3, a symbolic link `link TARGET`, an empty folder `folder`.
    """
    found: Snapshot = {}
    for folder, folders, files in os.walk(root):
        if Path(folder) == root and ".mediagit" in folders:
            folders.remove(".mediagit")
        if not folders and not files and Path(folder) != root:
            found[Path(folder).relative_to(root).as_posix()] = "folder"
        for name in (*files, *(name for name in folders if Path(folder, name).is_symlink())):
            path = Path(folder, name)
            found[path.relative_to(root).as_posix()] = _describe(path)
    return found


def _describe(path: Path) -> str:
    if path.is_symlink():
        return f"link {path.readlink()}"
    digest = blake3(path.read_bytes()).hexdigest()
    return f"{'exec' if path.stat().st_mode & 0o100 else 'file'} {digest}"
