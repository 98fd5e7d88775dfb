"""Branches: listing, making, renaming and deleting them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mediavault.errors import NeedsDecisionError, NotFoundError, UsageError
from mediavault.history.merge_base import distance
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.names import check_ref_name
from mediavault.ops.repository import Repository
from mediavault.ops.revisions import resolve
from mediavault.ops.settings import change_settings
from mediavault.refs.ref_store import RefState
from mediavault.store.ancestry import is_ancestor
from mediavault.workspace.layout import Layout
from mediavault_backends import fsio


@dataclass(frozen=True, slots=True)
class BranchEntry:
    """A branch.

    Attributes:
        name: short; `origin/main` for one last seen at a remote.
        commit: where it is; None before its first commit.
        remote: whether it is a remote's.
        current: whether it is checked out.
        upstream: what it follows, such as `origin/main`; empty for nothing.
        ahead: commits that the upstream lacks; 0 where that was never fetched.
        behind: commits of the upstream that it lacks.
        subject: the first line of the commit's message.
    """

    name: str
    commit: ObjectId | None
    remote: bool
    current: bool
    upstream: str
    ahead: int
    behind: int
    subject: str


@dataclass(frozen=True, slots=True)
class BranchMove:
    """A branch that was made, moved, renamed or deleted: where it was and is, None for nowhere."""

    name: str
    old: ObjectId | None
    new: ObjectId | None
    old_name: str = ""


def list_branches(repository: Repository, *, everywhere: bool = False, details: bool = False) -> Iterator[BranchEntry]:
    """Yield branches by name, those of remotes last.

    Args:
        repository: where.
        everywhere: those last seen at remotes too.
        details: find subjects, and how far each is from its upstream; else these are empty and 0.

    Raises:
        IntegrityError: a ref or commit is damaged.
    """
    current = repository.layout.read_head().branch
    local = {state.name.removeprefix("heads/"): state.target for state in repository.refs.list("heads/")}
    names = sorted({name for name, target in local.items() if target} | ({current} if current is not None else set()))
    for name in names:
        target = local.get(name)
        yield _entry(repository, name, target.id if target else None, current=name == current, details=details)
    if everywhere:
        for state in repository.refs.list("remotes/"):
            if state.target is not None:
                name, commit = state.name.removeprefix("remotes/"), state.target.id
                yield BranchEntry(name, commit, True, False, "", 0, 0, _subject(repository, commit) if details else "")


def _entry(repository: Repository, name: str, commit: ObjectId | None, *, current: bool, details: bool) -> BranchEntry:
    upstream, target = _upstream(repository, name)
    ahead = behind = 0
    if details and commit is not None and target is not None:
        ahead, behind = distance(repository.reader, commit, target)
    subject = _subject(repository, commit) if details and commit else ""
    return BranchEntry(name, commit, False, current, upstream, ahead, behind, subject)


def _upstream(repository: Repository, branch: str) -> tuple[str, ObjectId | None]:
    follows = repository.settings.branch.get(branch)
    if follows is None or not follows.remote or not follows.merge:
        return "", None
    name = f"{follows.remote}/{follows.merge}"
    target = repository.refs.read(f"remotes/{name}").target
    return name, target.id if target else None


def _subject(repository: Repository, commit: ObjectId) -> str:
    return repository.reader.commit(commit).message.partition("\n")[0]


def make_branch(repository: Repository, name: str, start: str | None, now: int, *, force: bool = False) -> BranchMove:
    """Make a branch; the working files and HEAD stay as they are.

    Args:
        repository: where; the caller holds its lock.
        name: of the branch.
        start: where it begins; None for HEAD.
        now: seconds since 1970.
        force: move the branch if it exists.

    Raises:
        UsageError: it exists, or cannot have this name.
        NeedsDecisionError: it is checked out, so that it cannot be moved.
        NotFoundError: `start` names nothing, or nothing is committed yet.
    """
    state = _free(repository, name, force=force)
    commit = resolve(repository, start or "HEAD").commit
    if state.target is not None and repository.layout.read_head().branch == name:
        raise NeedsDecisionError(
            f"{name} is checked out, and its files would no longer be those of the branch.",
            untouched="Nothing was changed.",
            hint="Change to another branch first with `mediagit switch`.",
        )
    target = Link(Kind.COMMIT, commit)
    if state.target != target:
        repository.refs.move(state, target, now)
    return BranchMove(name, state.target.id if state.target else None, commit)


def _free(repository: Repository, name: str, *, force: bool) -> RefState:
    check_ref_name(f"heads/{name}")
    if name == "HEAD":
        raise UsageError("A branch cannot be called HEAD.", untouched="Nothing was changed.")
    state = repository.refs.read(f"heads/{name}")
    if state.target is not None and not force:
        raise UsageError(
            f"There is a branch {name} already.",
            untouched="Nothing was changed.",
            hint=f"`mediagit switch {name}` changes to it; `mediagit branch -f {name} REV` moves it.",
        )
    return state


def rename_branch(repository: Repository, old: str | None, new: str, now: int) -> BranchMove:
    """Rename a branch, with what it follows; HEAD goes along.

    Args:
        repository: where; the caller holds its lock.
        old: the branch; None for the one that is checked out.
        new: its new name.
        now: seconds since 1970.

    Raises:
        NotFoundError: there is no such branch.
        UsageError: on no branch, or the new name is taken or cannot be one.
    """
    layout = repository.layout
    current = layout.read_head().branch
    stopped = _stopped_rename(layout)
    name = old if old is not None else current
    if old is None and stopped is not None and stopped[1] == new == current:
        name = stopped[0]
    if name is None:
        raise UsageError(
            "No branch is checked out.",
            untouched="Nothing was changed.",
            hint="Name the branch to rename: mediagit branch -m OLD NEW",
        )
    check_ref_name(f"heads/{name}")
    state = repository.refs.read(f"heads/{name}")
    if state.target is None and name != current:
        raise _unknown(name)
    # The new name first and the old one's end last: stopped in between, there are two names, and the next try goes on.
    goes_on = stopped == (name, new) and repository.refs.read(f"heads/{new}").target == state.target
    free = _free(repository, new, force=goes_on)
    fsio.write_atomic(layout.renaming, f"{name}\n{new}\n".encode())
    if state.target is not None and free.target is None:
        repository.refs.move(free, state.target, now)
    follows = repository.settings.branch.get(name)
    if follows is not None:
        change_settings(
            layout.settings_file,
            {
                f"branch.{new}.remote": follows.remote or None,
                f"branch.{new}.merge": follows.merge or None,
                f"branch.{name}.remote": None,
                f"branch.{name}.merge": None,
            },
        )
    if name == current:
        layout.write_head(branch=new)
    if state.target is not None:
        repository.refs.move(state, None, now)
    fsio.remove(layout.renaming)
    commit = state.target.id if state.target else None
    return BranchMove(new, commit, commit, name)


def _stopped_rename(layout: Layout) -> tuple[str, str] | None:
    """Return the old and the new name of a rename that did not come to its end."""
    try:
        old, new = layout.renaming.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ValueError):
        return None
    return old, new


def delete_branches(
    repository: Repository, names: Sequence[str], now: int, *, force: bool = False
) -> Sequence[BranchMove]:
    """Delete branches; all of them are checked before the first goes.

    Args:
        repository: where; the caller holds its lock.
        names: of the branches.
        now: seconds since 1970.
        force: also where commits would no longer be on any branch that is looked at.

    Raises:
        NotFoundError: there is no such branch.
        NeedsDecisionError: it is checked out, or has commits that are neither in HEAD nor in what it follows.
    """
    doomed = [_doomed(repository, name, force=force) for name in dict.fromkeys(names)]
    moves = []
    for name, state in doomed:
        if state.target is not None:
            repository.refs.move(state, None, now)
        if name in repository.settings.branch:
            change_settings(
                repository.layout.settings_file, {f"branch.{name}.remote": None, f"branch.{name}.merge": None}
            )
        moves.append(BranchMove(name, state.target.id if state.target else None, None))
    return moves


def _doomed(repository: Repository, name: str, *, force: bool) -> tuple[str, RefState]:
    check_ref_name(f"heads/{name}")
    state = repository.refs.read(f"heads/{name}")
    if repository.layout.read_head().branch == name:
        raise NeedsDecisionError(
            f"{name} is checked out.",
            untouched="Nothing was deleted.",
            hint="Change to another branch first with `mediagit switch`.",
        )
    if state.target is None:
        if name in repository.settings.branch:  # a deletion that was stopped has left what the branch followed
            return name, state
        raise _unknown(name)
    if not force and not _is_merged(repository, name, state.target.id):
        raise NeedsDecisionError(
            f"{name} has commits that neither the branch you are on nor the one that {name} follows has.",
            untouched="Nothing was deleted.",
            hint=f"`mediagit branch -D {name}` deletes it all the same.",
        )
    return name, state


def _is_merged(repository: Repository, name: str, commit: ObjectId) -> bool:
    _, upstream = _upstream(repository, name)
    places = [place for place in (repository.head_commit(), upstream) if place is not None]
    return any(is_ancestor(repository.frames, commit, place) for place in places)


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(
        f"There is no branch {name}.", untouched="Nothing was changed.", hint="`mediagit branch` lists what there is."
    )
