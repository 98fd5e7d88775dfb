"""Lists the files of a commit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mediavault.errors import NotFoundError
from mediavault.model.ids import ObjectId
from mediavault.model.objects import Mode, TreeEntry
from mediavault.ops.repository import Repository
from mediavault.ops.revisions import resolve
from mediavault.workspace.paths import shown, without_nested


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file or link of a commit, by its path relative to the root."""

    path: str
    entry: TreeEntry


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a commit, in path order folder by folder; `files` is read as it is iterated, once."""

    commit: ObjectId
    files: Iterator[ListedFile]


def list_files(repository: Repository, revision: str = "HEAD", paths: Sequence[str] = ()) -> Listing:
    """Find the files of a commit.

    Args:
        repository: where.
        revision: which commit.
        paths: files and folders to list, relative to the root; empty for all.

    Raises:
        NotFoundError: the revision names nothing, or nothing stands at a path.
        IntegrityError: a tree is missing or damaged; also while iterating.
    """
    commit = resolve(repository, revision).commit
    tree = repository.tree_of(commit)
    roots = [(path, _at(repository, tree, path, revision)) for path in without_nested(paths or ("",))]
    return Listing(commit, _files(repository, roots))


def _at(repository: Repository, tree: ObjectId, path: str, revision: str) -> TreeEntry | ObjectId:
    if not path:
        return tree
    entry = repository.reader.tree_entry(tree, path)
    if entry is None:
        raise NotFoundError(
            f"There is no {shown(path)} in {revision}.", hint=f"`mediagit ls {revision}` lists what there is."
        )
    return entry.child.id if entry.mode is Mode.TREE and entry.child else entry


def _files(repository: Repository, roots: Sequence[tuple[str, TreeEntry | ObjectId]]) -> Iterator[ListedFile]:
    for path, found in roots:
        if isinstance(found, TreeEntry):
            yield ListedFile(path, found)
            continue
        prefix = f"{path}/" if path else ""
        for inner, entry in repository.reader.walk_tree(found):
            yield ListedFile(prefix + inner, entry)
