"""Moves or renames tracked files: in the working tree first, then in the stage."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from mediavault.errors import NotFoundError, StorageError, UsageError
from mediavault.model.names import check_path
from mediavault.ops.repository import Repository
from mediavault.ops.staging import collisions_after
from mediavault.workspace.folders import rename_exclusive
from mediavault.workspace.paths import folders_above, shown
from mediavault.workspace.stage import Stage


@dataclass(frozen=True, slots=True)
class MovePlan:
    """Which files and folders go where, and the tracked paths that this changes."""

    moves: Sequence[tuple[str, str]]
    paths: Sequence[tuple[str, str]]


def plan_moves(repository: Repository, stage: Stage, sources: Sequence[str], target: str) -> MovePlan:
    """Find what a move means.

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
    into = not target or (root / target).is_dir()
    if len(sources) > 1 and not into:
        raise UsageError(f"{shown(target)} is not a folder.", untouched="Nothing was moved.")
    moves: list[tuple[str, str]] = []
    paths: list[tuple[str, str]] = []
    for source in sources:
        rows = [row.path for row in stage.under(source)] if source else []
        if not rows or not os.path.lexists(root / source):
            raise NotFoundError(
                f"{shown(source) or '.'} is not a file or folder of the project.",
                untouched="Nothing was moved.",
                hint="Files that were never added you can simply move.",
            )
        name = source.rpartition("/")[2]
        place = (f"{target}/{name}" if target else name) if into else target
        check_path(place)
        if link := next((folder for folder in folders_above(place) if (root / folder).is_symlink()), None):
            raise UsageError(f"{shown(link)} is a link, not a folder of the project.", untouched="Nothing was moved.")
        if os.path.lexists(root / place) or stage.get(place) is not None:
            raise UsageError(f"There is a {shown(place)} already.", untouched="Nothing was moved.")
        if f"{place}/".startswith(f"{source}/"):
            raise UsageError(f"{shown(source)} cannot move into itself.", untouched="Nothing was moved.")
        moves.append((source, place))
        paths += [(row, place + row[len(source) :]) for row in rows]
    _refuse_collisions(stage, paths)
    return MovePlan(moves, paths)


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
        base = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for source, place in plan.moves:
                (root / place).parent.mkdir(parents=True, exist_ok=True)
                rename_exclusive(source, base, place, base)
                done.append(source)
        finally:
            os.close(base)
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
