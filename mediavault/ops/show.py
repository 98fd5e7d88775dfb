"""One commit, the tag that led to it, and what it changed."""

from collections.abc import Sequence
from dataclasses import dataclass

from mediavault.model.objects import Tag
from mediavault.ops.diff import MeasuredDiff, diff_commit
from mediavault.ops.log import LogEntry, ref_names
from mediavault.ops.progress import NoProgress
from mediavault.ops.repository import Repository
from mediavault.ops.revisions import resolve


@dataclass(frozen=True, slots=True)
class ShowReport:
    """A commit.

    Attributes:
        entry: the commit, with the refs that point at it.
        tag: the annotated tag that was named, None for none.
        files: what differs from its first parent; all files where it has none.
    """

    entry: LogEntry
    tag: Tag | None
    files: Sequence[MeasuredDiff]


def show(repository: Repository, revision: str = "HEAD") -> ShowReport:
    """Find a commit and what it changed.

    Raises:
        NotFoundError: the revision names nothing.
        IntegrityError: something is missing or damaged.
    """
    found = resolve(repository, revision)
    commit = repository.reader.commit(found.commit)
    parent = commit.parents[0] if commit.parents else None
    files = diff_commit(repository, commit.tree, parent, NoProgress())
    entry = LogEntry(found.commit, commit, ref_names(repository).get(found.commit, ()))
    return ShowReport(entry, repository.reader.tag(found.tag) if found.tag else None, files)
