"""Names in one folder that some file systems take for one; who may add or check out what is for others."""

from collections.abc import Iterable

import msgspec

from mediavault.model.names import collision_key
from mediavault.workspace.paths import folders_above
from mediavault.workspace.stage import Stage


class Collision(msgspec.Struct, frozen=True, gc=False):
    """Two different paths that are one on file systems that fold case or normalise Unicode."""

    first: str
    second: str


def colliding_names(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two different names of one folder that collide, or None."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(collision_key(name), name)
        if other != name:
            return other, name
    return None


def find_collisions(stage: Stage, new_paths: Iterable[str]) -> list[Collision]:
    """Return the collisions that staging these paths would make, with each other or with what is staged.

    A file and a folder of one name collide too.

    Args:
        stage: what is staged; rows that are about to be removed must be gone.
        new_paths: files about to be staged.
    """
    names: dict[str, set[str]] = {}
    files: set[str] = set()
    for path in new_paths:
        files.add(path)
        entry = path
        for folder in folders_above(path):
            inside = names.setdefault(folder, set())
            name = entry[len(folder) + 1 :] if folder else entry
            if name in inside:
                break
            inside.add(name)
            entry = folder
    found = []
    for folder, inside in names.items():
        staged = stage.children(folder)
        prefix = f"{folder}/" if folder else ""
        pair = colliding_names((*sorted(inside), *staged.rows, *staged.folders))
        if pair:
            found.append(Collision(prefix + pair[0], prefix + pair[1]))
        folders_here = set(staged.folders) | {name for name in inside if prefix + name in names}
        files_here = set(staged.rows) | {name for name in inside if prefix + name in files}
        found.extend(Collision(prefix + name, prefix + name) for name in sorted(folders_here & files_here))
    return found
