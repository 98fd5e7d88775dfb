"""What a person calls a commit, understood in one repository."""

from mediavault.history.resolve import Resolved, Resolver
from mediavault.ops.repository import Repository


def resolver(repository: Repository) -> Resolver:
    """Return what understands several revisions of the repository as it is now."""
    return Resolver(repository.reader, repository.refs, repository.head_commit())


def resolve(repository: Repository, revision: str) -> Resolved:
    """Return the commit that a revision names: a branch, a tag, `origin/main`, an id or its beginning, `HEAD~2`.

    Raises:
        NotFoundError: nothing has this name.
        UsageError: it is no revision, or names several commits.
    """
    return resolver(repository).resolve(revision)
