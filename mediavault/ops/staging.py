"""The stage of a repository, made anew from the checked-out commit where its file is damaged."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mediavault.ops.repository import Repository
from mediavault.workspace.collisions import Collision, find_collisions
from mediavault.workspace.stage import Stage, StageDamagedError, StageRow
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

    def committed() -> Iterable[StageRow]:
        # Without these rows, in the same transaction, everything would count as staged for deletion.
        commit = repository.head_commit()
        return () if commit is None else tree_rows(repository.reader, repository.tree_of(commit))

    try:
        stage = _readable(path, committed)
        what = "lost" if stage.made and not stage.empty else ""
    except StageDamagedError:
        path.replace(path.with_name(path.name + ".damaged"))
        path.with_name(path.name + "-journal").unlink(missing_ok=True)
        stage, what = Stage(path, committed), "damaged"
    with stage:
        if what:
            warn(f"The staging index was {what} {_REMADE}")
        try:
            yield stage
        except StageDamagedError as error:
            error.untouched = error.untouched or "The files and commits are untouched."
            error.hint = f"Remove {path} and run the command again: it is made anew from the last commit."
            raise


def _readable(path: Path, first: Callable[[], Iterable[StageRow]]) -> Stage:
    """Open a stage, made with `first` where it is lost, and read its file's first pages."""
    stage = Stage(path, first)
    try:
        _ = stage.empty
    except BaseException:
        stage.close()
        raise
    return stage


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
