"""Names in one folder that some file systems take for one; who may add or check out what is for others."""

from collections.abc import Collection, Iterable, Iterator

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


class NameWatch:
    """Watches the paths that are about to be staged, folder by folder, for names that collide.

    Memory is bounded by the largest folder. Tell it every path under the roots that will be staged, those that are
    staged already too; all paths of a folder one after the other.

    Args:
        roots: what is walked, relative to the working tree's root.
    """

    def __init__(self, roots: Iterable[str]) -> None:
        self._beside: dict[str, dict[str, str]] = {
            f"{folder}/" if folder else "": {} for root in roots for folder in folders_above(root)
        }
        self._open: list[tuple[str, dict[str, str]]] = [("", self._beside.get("", {}))]
        self._groups: dict[tuple[str, str], set[str]] = {}

    def see(self, path: str) -> None:
        """Note a path."""
        prefix, names = self._open[-1]
        while not path.startswith(prefix):
            self._open.pop()
            prefix, names = self._open[-1]
        name, slash, rest = path[len(prefix) :].partition("/")
        while slash:
            self._name(prefix, names, name)
            prefix = f"{prefix}{name}/"
            names = self._beside.get(prefix, {})
            self._open.append((prefix, names))
            name, slash, rest = rest.partition("/")
        self._name(prefix, names, name)

    def _name(self, prefix: str, names: dict[str, str], name: str) -> None:
        key = collision_key(name)
        other = names.setdefault(key, name)
        if other != name:
            self._groups.setdefault((prefix, key), {other}).add(name)

    def refused(self, stage: Stage, gone: Collection[str]) -> Iterator[Collision]:
        """Yield each new file or folder whose name collides, and a name that it collides with.

        Where one of the names is staged already, that one stays; of new ones none is better than the other.

        Args:
            stage: what is staged.
            gone: staged paths that will be staged no more.
        """
        groups = {place: set(names) for place, names in self._groups.items()}
        unseen = set()
        for prefix, names in self._beside.items():
            children = stage.children(prefix.removesuffix("/"))
            for name in (*children.rows, *children.folders):
                key = collision_key(name)
                first = names.get(key, name)
                if first != name and name not in groups.get((prefix, key), ()):
                    groups.setdefault((prefix, key), {first}).add(name)
                    unseen.add(prefix + name)
        gone = frozenset(gone) if groups else frozenset()
        for (prefix, _), group in sorted(groups.items()):
            paths = {prefix + name for name in group}
            kept = {path for path in paths if any(row.path not in gone for row in stage.under(path))}
            new = paths - kept - unseen
            for path in sorted(new):
                others = sorted(kept or new - {path})
                if others:
                    yield Collision(path, others[0])
