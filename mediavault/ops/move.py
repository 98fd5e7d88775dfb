"""Moves or renames tracked files: in the working tree first, then in the stage."""

import errno
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mediavault.errors import FormatError, NotFoundError, StorageError, UsageError
from mediavault.model.names import check_path
from mediavault.ops.repository import Repository
from mediavault.ops.staging import collisions_after
from mediavault.workspace.folders import OpenFolders, rename_exclusive
from mediavault.workspace.long_paths import is_there, look_at, reach
from mediavault.workspace.paths import folders_above, parent_of, shown
from mediavault.workspace.stage import Stage
from mediavault_backends import fsio


@dataclass(frozen=True, slots=True)
class MovePlan:
    """Which files and folders go where, the tracked paths that this changes, and the sources that went there before."""

    moves: Sequence[tuple[str, str]]
    paths: Sequence[tuple[str, str]]
    gone: frozenset[str] = frozenset()


def plan_moves(repository: Repository, stage: Stage, sources: Sequence[str], target: str) -> MovePlan:
    """Find what a move means. What stands at its new place already, by hand or by a move that was stopped, is only noted.

    Args:
        repository: where.
        stage: its stage.
        sources: files and folders, relative to the root.
        target: the new name, or a folder to move into.

    Raises:
        NotFoundError: a source is not tracked or not there.
        UsageError: the target is taken, is no folder for several sources, or cannot be a name.
    """
    root = repository.layout.root
    into = not target or _leads_to_folder(root, target)
    if len(sources) > 1 and not into:
        raise UsageError(f"{shown(target)} is not a folder.", untouched="Nothing was moved.")
    moves: list[tuple[str, str]] = []
    paths: list[tuple[str, str]] = []
    gone: set[str] = set()
    for source in sources:
        rows = [row.path for row in stage.under(source)] if source else []
        name = source.rpartition("/")[2]
        place = (f"{target}/{name}" if target else name) if into else target
        if rows and not is_there(root, source):
            places = [place, target] if len(sources) == 1 else [place]
            place = next((found for found in places if found and _is_new(root, stage, found)), place)
            gone |= {source} if _is_new(root, stage, place) else set()
        if not rows or not (source in gone or is_there(root, source)):
            raise NotFoundError(
                f"{shown(source) or '.'} is not a file or folder of the project.",
                untouched="Nothing was moved.",
                hint="Files that were never added you can simply move.",
            )
        _check(place)
        if link := next((folder for folder in folders_above(place) if _is_link(root, folder)), None):
            raise UsageError(f"{shown(link)} is a link, not a folder of the project.", untouched="Nothing was moved.")
        if source not in gone and (is_there(root, place) or stage.get(place) is not None):
            raise UsageError(f"There is a {shown(place)} already.", untouched="Nothing was moved.")
        if f"{place}/".startswith(f"{source}/"):
            raise UsageError(f"{shown(source)} cannot move into itself.", untouched="Nothing was moved.")
        moves.append((source, place))
        paths += [(row, place + row[len(source) :]) for row in rows]
    _refuse_collisions(stage, paths)
    return MovePlan(moves, paths, frozenset(gone))


def _is_new(root: Path, stage: Stage, path: str) -> bool:
    """Say whether something stands at a path, and nothing of it was ever added."""
    return is_there(root, path) and next(stage.under(path), None) is None


def _check(place: str) -> None:
    try:
        check_path(place)
    except FormatError as error:
        raise UsageError(
            error.message,
            untouched="Nothing was moved.",
            hint="docs/names.md lists the names that every system can hold.",
        ) from None


def _leads_to_folder(root: Path, path: str) -> bool:
    try:
        return stat.S_ISDIR(reach(lambda name, folder: os.stat(name, dir_fd=folder), root, path).st_mode)
    except OSError:
        return False


def _is_link(root: Path, path: str) -> bool:
    try:
        return stat.S_ISLNK(look_at(root, path).st_mode)
    except OSError:
        return False


def _refuse_collisions(stage: Stage, paths: Sequence[tuple[str, str]]) -> None:
    for collision in collisions_after(stage, [new for _, new in paths], [old for old, _ in paths]):
        raise UsageError(
            f"{shown(collision.first)} and {shown(collision.second)} are one name on other systems.",
            untouched="Nothing was moved.",
            hint="Choose another name.",
        )


def run_moves(repository: Repository, stage: Stage, plan: MovePlan) -> MovePlan:
    """Carry out the plan. The caller holds the lock. What was edited and not added stays so.

    Raises:
        StorageError: the system refused; what was moved before stays moved, in the stage too.
    """
    root = repository.layout.root
    done: list[str] = []
    try:
        with OpenFolders(root, sync=True) as sources, OpenFolders(root, sync=True) as targets:
            for source, place in plan.moves:
                if source in plan.gone:
                    done.append(source)
                    continue
                here = sources.enter(parent_of(source), make=False)
                there = targets.enter(parent_of(place), make=True)
                assert there is not None
                if here is None:
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), source)
                fsio.announce("rename", root / place)
                rename_exclusive(source.rpartition("/")[2], here, place.rpartition("/")[2], there)
                sources.note_change()
                targets.note_change()
                done.append(source)
    except OSError as error:
        raise StorageError(
            f"Cannot move a file: {error.strerror}.", hint="`mediagit status` shows what was moved."
        ) from error
    finally:
        moved = [(old, new) for old, new in plan.paths if any(f"{old}/".startswith(f"{source}/") for source in done)]
        rows = [(row, new) for old, new in moved if (row := stage.get(old)) is not None]
        with stage.transaction():
            stage.remove_many([old for old, _ in moved])
            # Renaming moves the change time, so the old stamp proves nothing any more.
            stage.put_many([msgspec.structs.replace(row, path=new, checked_ns=0) for row, new in rows])
    return plan
