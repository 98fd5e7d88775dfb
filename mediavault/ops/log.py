"""Lists commits: which part of history, which of its commits, in which order; showing them is for others."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from mediavault.errors import UsageError
from mediavault.history.diff import DiffKind, FileDiff, diff_trees, with_renames
from mediavault.history.follow import Follower, Step
from mediavault.history.paths import PathChanges
from mediavault.history.ranges import Ends, ends
from mediavault.history.topology import draw_selected, keep_lines_together
from mediavault.history.walk import walk
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.objects import Commit, Person
from mediavault.ops.repository import Repository
from mediavault.ops.revisions import resolver
from mediavault.progress import SILENT, Progress
from mediavault.workspace.paths import is_under

_HERE: Final = Step("")


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A commit and what points at it.

    Attributes:
        id: its id.
        commit: what it says.
        refs: the short names of the refs that point at it.
        labels: the same as git writes them: `HEAD -> main`, `tag: v1`, `origin/main`.
        path: what the followed file is called in it; empty where none is followed.
        old_path: what the file was called before this commit renamed it; empty where it did not.
        lines_to: the commits that its lines lead to in a drawing; empty where none is made.
    """

    id: ObjectId
    commit: Commit
    refs: Sequence[str]
    labels: Sequence[str] = ()
    path: str = ""
    old_path: str = ""
    lines_to: Sequence[ObjectId] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which commits to list; empty and None ask for nothing.

    Attributes:
        since: committed then or later, in seconds since 1970-01-01 UTC.
        until: committed then or earlier.
        authors: regular expressions, one of which is found in `Name <email>` of the author.
        messages: regular expressions, one of which is found in the message.
        ignore_case: whether these take `a` and `A` for the same.
        paths: changed one of these files or folders, relative to the root; the empty path is all.
        follow: changed this file, under the names that it had before too.
    """

    since: int | None = None
    until: int | None = None
    authors: Sequence[str] = ()
    messages: Sequence[str] = ()
    ignore_case: bool = False
    paths: Sequence[str] = ()
    follow: str = ""


@dataclass(frozen=True, slots=True)
class LogPlan:
    """A part of history, and what of it to list: after the first `skip` at most `limit` commits."""

    ends: Ends
    wanted: Wanted
    skip: int = 0
    limit: int | None = None


def plan_log(
    repository: Repository,
    revisions: Sequence[str] = (),
    *,
    every: bool = False,
    wanted: Wanted | None = None,
    skip: int = 0,
    limit: int | None = None,
) -> LogPlan:
    """Find the part of history that is meant.

    Args:
        repository: whose history.
        revisions: where to begin, and what to leave out, as `mediavault.history.ranges.ends` reads them; HEAD without.
        every: begin at all branches, tags, remote branches and HEAD as well.
        wanted: which commits.
        skip: how many of these to pass over.
        limit: at most so many.

    Raises:
        NotFoundError: a revision names nothing.
        UsageError: one is no revision, or a regular expression is none.
        IntegrityError: a commit is damaged.
    """
    head = repository.head_commit()
    also = sorted(names_at(repository)) if every else []
    wanted = wanted or Wanted()
    for pattern in (*wanted.authors, *wanted.messages):
        _compiled(pattern, wanted)
    return LogPlan(ends(resolver(repository), repository.reader, revisions, head, also=also), wanted, skip, limit)


def run_log(repository: Repository, plan: LogPlan, progress: Progress, *, reverse: bool = False) -> Iterator[LogEntry]:
    """Yield commits, children before parents; lazily, in memory that does not grow with them.

    Args:
        repository: whose history.
        plan: what to list.
        progress: told of each commit that is looked at.
        reverse: the oldest of what is listed first; the ids are held in memory then.

    Raises:
        IntegrityError: something is damaged.
    """
    entry = _Entries(repository)
    found = islice(_selected(repository, plan, progress), plan.skip, _stop(plan))
    if not reverse:
        return (entry(oid, commit, step) for oid, commit, step in found)
    listed = [(oid, step) for oid, _, step in found]
    return (entry(oid, repository.reader.commit(oid), step) for oid, step in reversed(listed))


def draw_log(repository: Repository, plan: LogPlan, progress: Progress) -> Iterator[LogEntry]:
    """Yield commits for a drawing: children before parents, lines of work kept together, each with where its lines lead.

    Lazy where all that refs lead to is listed; else the part of history is looked through first and its ids are held.

    Raises:
        IntegrityError: something is damaged.
    """
    entry = _Entries(repository)
    if plan.wanted == Wanted() and not plan.ends.without:
        drawn = keep_lines_together(walk(repository.reader, plan.ends.starts))
        steps: dict[ObjectId, Step] = {}
    else:
        steps = {}
        ordered = keep_lines_together(_noted(repository, plan, progress, steps))
        drawn = iter(draw_selected([(one.id, one.parents) for one in ordered], steps.__contains__))
    for one in islice(drawn, plan.skip, _stop(plan)):
        commit = repository.reader.commit(one.id)
        yield entry(one.id, commit, steps.get(one.id, _HERE), one.parents)


def log(
    repository: Repository, revisions: Sequence[str] = (), *, paths: Sequence[str] = (), limit: int | None = None
) -> Iterator[LogEntry]:
    """Yield commits, children before parents; lazily. `plan_log` and `run_log` can do more.

    Args:
        repository: whose history.
        revisions: where to begin, `A..B` for what B has and A has not; empty for HEAD.
        paths: only commits that changed one of these, relative to the root; empty for all.
        limit: at most so many.

    Raises:
        NotFoundError: a revision names nothing.
        IntegrityError: a commit is damaged.
    """
    plan = plan_log(repository, revisions, wanted=Wanted(paths=paths), limit=limit)
    return run_log(repository, plan, SILENT)


def files_of(repository: Repository, entry: LogEntry, paths: Sequence[str] = ()) -> list[FileDiff]:
    """Return what a commit changed since its first parent, or brought where it has none.

    Args:
        repository: whose commit.
        entry: the commit; of a file that is followed, only that file is looked at.
        paths: files and folders to look at; empty for all.

    Raises:
        IntegrityError: a tree is damaged.
    """
    commit = entry.commit
    before = repository.tree_of(commit.parents[0]) if commit.parents else None
    changes = with_renames(diff_trees(repository.reader, before, commit.tree))
    if entry.path:
        return _followed(changes, entry)
    if paths and "" not in paths:
        sides = ((change, (change.path, change.old_path or change.path)) for change in changes)
        return [change for change, both in sides if any(is_under(path, one) for path in both for one in paths)]
    return changes


def _followed(changes: Sequence[FileDiff], entry: LogEntry) -> list[FileDiff]:
    now = next((change for change in changes if change.path == entry.path), None)
    was = next((change for change in changes if change.path == entry.old_path and entry.old_path), None)
    if now is not None and now.kind is DiffKind.ADDED and was is not None and was.kind is DiffKind.DELETED:
        return [FileDiff(now.path, DiffKind.RENAMED, was.old, now.new, was.path)]  # renamed and edited
    return [now] if now is not None else []


@dataclass(frozen=True, slots=True)
class Names:
    """What points at a commit: the short names of refs, and the same as git writes them, HEAD first."""

    refs: Sequence[str] = ()
    labels: Sequence[str] = ()


def names_at(repository: Repository) -> Mapping[ObjectId, Names]:
    """Return what points at each commit, through annotated tags too."""
    head, branch = repository.head_commit(), repository.layout.read_head().branch
    refs = _refs_at(repository)
    found = {}
    for oid in refs.keys() | ({head} if head else set()):
        names = refs.get(oid, [])
        here = [f"HEAD -> {branch}" if branch else "HEAD"] if oid == head else []
        found[oid] = Names(
            [_short(name) for name in names],
            [*here, *(_label(name) for name in names if not here or name != f"heads/{branch}")],
        )
    return found


def _short(name: str) -> str:
    return name.partition("/")[2]


def _label(name: str) -> str:
    return f"tag: {_short(name)}" if name.startswith("tags/") else _short(name)


def _refs_at(repository: Repository) -> dict[ObjectId, list[str]]:
    names: dict[ObjectId, list[str]] = {}
    for state in repository.refs.list():
        if state.target is not None:
            peeled = _peeled(repository, state.target)
            if peeled.kind is Kind.COMMIT:
                names.setdefault(peeled.id, []).append(state.name)
    return names


def _peeled(repository: Repository, link: Link) -> Link:
    while link.kind is Kind.TAG:
        link = repository.reader.tag(link.id).target
    return link


class _Entries:
    """Puts commits and the names of refs together; the refs are read once."""

    def __init__(self, repository: Repository) -> None:
        self._names = names_at(repository)

    def __call__(self, oid: ObjectId, commit: Commit, step: Step, lines_to: Sequence[ObjectId] = ()) -> LogEntry:
        """Return the entry of one commit."""
        names = self._names.get(oid, Names())
        return LogEntry(oid, commit, names.refs, names.labels, step.path, step.old_path, lines_to)


def _stop(plan: LogPlan) -> int | None:
    return None if plan.limit is None else plan.skip + plan.limit


def _walk(repository: Repository, plan: LogPlan) -> Iterator[tuple[ObjectId, Commit]]:
    return walk(repository.reader, plan.ends.starts, without=plan.ends.without)


def _selected(repository: Repository, plan: LogPlan, progress: Progress) -> Iterator[tuple[ObjectId, Commit, Step]]:
    select = _selection(repository, plan)
    for oid, commit in _walk(repository, plan):
        progress.advance(1)
        step = select(oid, commit)
        if step is not None:
            yield oid, commit, step


def _noted(
    repository: Repository, plan: LogPlan, progress: Progress, steps: dict[ObjectId, Step]
) -> Iterator[tuple[ObjectId, Commit]]:
    """Yield all commits of a part of history; note those that are selected."""
    select = _selection(repository, plan)
    for oid, commit in _walk(repository, plan):
        progress.advance(1)
        step = select(oid, commit)
        if step is not None:
            steps[oid] = step
        yield oid, commit


def _selection(repository: Repository, plan: LogPlan) -> Callable[[ObjectId, Commit], Step | None]:
    """Return what says whether a commit is listed; it must be asked about each, children before parents."""
    wanted = plan.wanted
    follower = Follower(repository.reader, wanted.follow, plan.ends.starts) if wanted.follow else None
    changed = PathChanges(repository.reader, wanted.paths) if wanted.paths else None
    authors = [_compiled(pattern, wanted) for pattern in wanted.authors]
    messages = [_compiled(pattern, wanted) for pattern in wanted.messages]

    def select(oid: ObjectId, commit: Commit) -> Step | None:
        step = follower(oid, commit) if follower else _HERE
        told = (
            step is not None
            and (wanted.since is None or commit.committed.seconds >= wanted.since)
            and (wanted.until is None or commit.committed.seconds <= wanted.until)
            and (not authors or _matches(authors, signature(commit.author)))
            and (not messages or _matches(messages, commit.message))
            and (changed is None or changed(commit))
        )
        return step if told else None

    return select


def signature(person: Person) -> str:
    """Return a person as `Name <email>`."""
    return f"{person.name} <{person.email}>"


def _matches(patterns: Iterable[re.Pattern[str]], text: str) -> bool:
    return any(pattern.search(text) for pattern in patterns)


def _compiled(pattern: str, wanted: Wanted) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.MULTILINE | (re.IGNORECASE if wanted.ignore_case else 0))
    except re.error as error:
        raise UsageError(
            f"{pattern!r} is not a regular expression: {error}.",
            untouched="Nothing was listed.",
            hint="Put a backslash before a character that is meant as it stands, such as \\( or \\[.",
        ) from None
