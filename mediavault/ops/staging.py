"""The stage of a repository, made anew from the checked-out commit where its file is damaged."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from mediavault.model.ids import ObjectId
from mediavault.ops.repository import Repository
from mediavault.workspace.collisions import Collision, find_collisions
from mediavault.workspace.stage import Stage, StageDamagedError
from mediavault.workspace.trees import tree_rows

_REMADE = "and was made again from the last commit: what was added since must be added again."


@contextmanager
def opened_stage(repository: Repository, warn: Callable[[str], None]) -> Iterator[Stage]:
    """Open the stage; one that is lost or does not open is made again.

    Args:
        repository: whose stage.
        warn: told when something that was added must be added again.

    Raises:
        StorageError: the disk failed or is full.
        IntegrityError: the checked-out commit is damaged too.
    """
    path = repository.layout.stage_file
    # Without its file everything would count as staged for deletion.
    lost = not (path.exists() and path.stat().st_size)
    commit = repository.head_commit() if lost else None
    try:
        stage = Stage(path)
        _ = stage.empty  # reads the file's first pages
    except StageDamagedError:
        path.replace(path.with_name(path.name + ".damaged"))
        path.with_name(path.name + "-journal").unlink(missing_ok=True)
        stage = Stage(path)
        _fill(repository, stage, repository.head_commit())
        warn(f"The staging index was damaged {_REMADE}")
    else:
        if commit is not None:
            _fill(repository, stage, commit)
            warn(f"The staging index was lost {_REMADE}")
    with stage:
        try:
            yield stage
        except StageDamagedError as error:
            error.untouched = error.untouched or "The files and commits are untouched."
            error.hint = f"Remove {path} and run the command again: it is made anew from the last commit."
            raise


def _fill(repository: Repository, stage: Stage, commit: ObjectId | None) -> None:
    if commit is not None:
        stage.replace_all(tree_rows(repository.reader, repository.tree_of(commit)))


class _TakeBack(Exception):  # noqa: N818 -- a signal that ends a transaction, and no failure
    """Undoes what a look into the future changed."""


def collisions_after(stage: Stage, new: Sequence[str], gone: Sequence[str]) -> list[Collision]:
    """Return the names that would collide once `new` paths are staged and `gone` ones are not; the stage stays as it is."""
    if not gone:
        return find_collisions(stage, new)
    found: list[Collision] = []
    with suppress(_TakeBack), stage.transaction():
        stage.remove_many(gone)
        found = find_collisions(stage, new)
        raise _TakeBack
    return found
