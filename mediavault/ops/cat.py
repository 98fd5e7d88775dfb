"""A file's content out of any commit, verified as it is read."""

from collections.abc import Iterator
from dataclasses import dataclass

from mediavault.errors import IntegrityError, NotFoundError, UsageError
from mediavault.model.ids import ObjectId
from mediavault.model.objects import Mode, TreeEntry
from mediavault.objects.reader import Block
from mediavault.ops.repository import Repository
from mediavault.ops.revisions import resolve
from mediavault.workspace.paths import shown


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file of a commit."""

    commit: ObjectId
    path: str
    entry: TreeEntry


def find_file(repository: Repository, revision: str, path: str) -> FoundFile:
    """Find a file or link.

    Args:
        repository: where.
        revision: in which commit.
        path: relative to the root.

    Raises:
        NotFoundError: the revision or the path names nothing.
        UsageError: the path is a folder.
    """
    commit = resolve(repository, revision).commit
    entry = repository.reader.tree_entry(repository.tree_of(commit), path) if path else None
    if not path or (entry is not None and entry.mode is Mode.TREE):
        raise UsageError(
            f"{shown(path) or 'The project'} is a folder.",
            hint=f"`mediagit ls {revision} -- {shown(path) or '.'}` lists it.",
        )
    if entry is None:
        raise NotFoundError(
            f"There is no {shown(path)} in {revision}.", hint=f"`mediagit ls {revision}` lists what there is."
        )
    return FoundFile(commit, path, entry)


def content(repository: Repository, file: FoundFile) -> Iterator[Block]:
    """Yield a file's content, or the text of a link; only when this ends without an exception was it the whole file.

    Raises:
        IntegrityError: something is missing or damaged; what was yielded before is right, but not all.
    """
    if file.entry.mode is Mode.SYMLINK:
        yield file.entry.target.encode()
        return
    try:
        yield from repository.reader.file(file.entry)
    except IntegrityError as error:
        raise IntegrityError(
            error.message,
            untouched="What was written so far is not the whole file.",
            hint="`mediagit verify` shows what else is damaged.",
        ) from error
