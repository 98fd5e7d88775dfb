"""Lists commits, newest first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mediavault.history.resolve import Resolver
from mediavault.history.walk import walk
from mediavault.model.ids import Kind, ObjectId
from mediavault.model.objects import Commit
from mediavault.ops.repository import Repository
from mediavault.ops.revisions import resolver


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A commit and the short names of the refs that point at it."""

    id: ObjectId
    commit: Commit
    refs: Sequence[str]


def log(
    repository: Repository, revisions: Sequence[str] = (), *, paths: Sequence[str] = (), limit: int | None = None
) -> Iterator[LogEntry]:
    """Yield commits, children before parents; lazily.

    Args:
        repository: whose history.
        revisions: where to begin, `A..B` for what B has and A has not; empty for HEAD.
        paths: only commits that changed one of these, relative to the root; empty for all.
        limit: at most so many.

    Raises:
        NotFoundError: a revision names nothing.
        IntegrityError: a commit is damaged.
    """
    starts, without = ends(resolver(repository), revisions, repository.head_commit())
    names = ref_names(repository)
    count = 0
    for oid, commit in walk(repository.reader, starts, without=without):
        if limit is not None and count >= limit:
            return
        if paths and not _touches(repository, commit, paths):
            continue
        count += 1
        yield LogEntry(oid, commit, names.get(oid, ()))


def ends(find: Resolver, revisions: Sequence[str], head: ObjectId | None) -> tuple[list[ObjectId], list[ObjectId]]:
    """Return where a list of revisions begins, and the commits whose history it leaves out.

    Args:
        find: understands revisions.
        revisions: each a revision, or `A..B`.
        head: where to begin where there is none.

    Raises:
        NotFoundError: a revision names nothing.
        UsageError: one is no revision.
    """
    if not revisions:
        return ([head] if head else []), []
    starts: list[ObjectId] = []
    without: list[ObjectId] = []
    for revision in revisions:
        first, dots, last = revision.partition("..")
        if dots:
            without.append(find.resolve(first or "HEAD").commit)
        starts.append(find.resolve((last or "HEAD") if dots else revision).commit)
    return starts, without


def ref_names(repository: Repository) -> dict[ObjectId, list[str]]:
    """Return the short names of the refs that point at each commit, through annotated tags too."""
    names: dict[ObjectId, list[str]] = {}
    for state in repository.refs.list():
        if state.target is not None and state.target.kind is Kind.COMMIT:
            names.setdefault(state.target.id, []).append(state.name.partition("/")[2])
        elif state.target is not None and state.target.kind is Kind.TAG:
            names.setdefault(repository.reader.tag(state.target.id).target.id, []).append(state.name.partition("/")[2])
    return names


def _touches(repository: Repository, commit: Commit, paths: Sequence[str]) -> bool:
    before = [repository.reader.commit(parent).tree for parent in commit.parents]
    return any(
        all(_entry(repository, commit.tree, path) != _entry(repository, tree, path) for tree in before)
        if before
        else _entry(repository, commit.tree, path) is not None
        for path in paths
    )


def _entry(repository: Repository, tree: ObjectId, path: str) -> object:
    return repository.reader.tree_entry(tree, path) if path else tree
