"""One commit, the tag that led to it, and what it changed."""

from collections.abc import Sequence
from dataclasses import dataclass

from mediavault.model.objects import Tag
from mediavault.ops.diff import MeasuredDiff, measure
from mediavault.ops.log import LogEntry, Names, files_of, names_at
from mediavault.ops.repository import Repository
from mediavault.ops.revisions import resolve
from mediavault.progress import SILENT, Progress


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


def show(
    repository: Repository, revision: str = "HEAD", paths: Sequence[str] = (), progress: Progress | None = None
) -> ShowReport:
    """Find a commit and what it changed.

    Args:
        repository: whose commit.
        revision: which.
        paths: files and folders to look at, relative to the root; empty for all.
        progress: told of the files that are compared.

    Raises:
        NotFoundError: the revision names nothing.
        IntegrityError: something is missing or damaged.
    """
    found = resolve(repository, revision)
    commit = repository.reader.commit(found.commit)
    names = names_at(repository).get(found.commit, Names())
    entry = LogEntry(found.commit, commit, names.refs, names.labels)
    files = measure(repository, files_of(repository, entry, paths), {}, progress or SILENT)
    return ShowReport(entry, repository.reader.tag(found.tag) if found.tag else None, files)
