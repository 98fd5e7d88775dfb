"""Fetches, then brings the current branch and its files up to date where that loses nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from mediavault.errors import DivergedError, NotFoundError, UsageError
from mediavault.history.merge_base import distance
from mediavault.model.ids import ObjectId
from mediavault.ops.checkout import plan_move, run_move
from mediavault.ops.fetch import FetchReport
from mediavault.ops.repository import Repository
from mediavault.progress import Progress
from mediavault.workspace.materialise import Intent
from mediavault.workspace.stage import Stage


@dataclass(frozen=True, slots=True)
class PullReport:
    """What a pull did: what came, from where to where the branch moved, and how many files changed."""

    fetched: FetchReport
    branch: str
    upstream: str
    old: ObjectId | None
    new: ObjectId | None
    ahead: int
    written: int
    deleted: int
    left: Sequence[str]


def upstream_of(repository: Repository, remote: str, branch: str | None, asked: str | None) -> tuple[str, str]:
    """Return the current branch and the branch of the remote that a pull brings.

    Raises:
        UsageError: no branch is checked out.
    """
    if branch is None:
        raise UsageError(
            "No branch is checked out, so there is none to bring up to date.",
            untouched="Nothing was changed.",
            hint="`mediagit fetch` gets what is new; `mediagit switch BRANCH` changes to a branch.",
        )
    follows = repository.settings.branch.get(branch)
    if asked:
        return branch, asked
    return branch, follows.merge if follows and follows.merge and follows.remote == remote else branch


def run_pull(
    repository: Repository,
    stage: Stage,
    fetched: FetchReport,
    *,
    branch: str,
    merge: str,
    now: int,
    progress: Progress,
) -> PullReport:
    """Move the branch forward to what was fetched, files included. The caller holds the lock.

    Raises:
        NotFoundError: the remote has no such branch.
        DivergedError: both sides have commits that the other lacks.
        WouldOverwriteError: uncommitted work is in the way.
    """
    repository.tidy()
    upstream = f"{fetched.remote}/{merge}"
    target = repository.refs.read(f"remotes/{upstream}").target
    if target is None:
        raise NotFoundError(
            f"There is no branch {merge} at {fetched.remote}.",
            untouched="Nothing was changed.",
            hint="`mediagit branch --all` lists what was fetched.",
        )
    old, new = repository.head_commit(), target.id
    ahead, behind = distance(repository.reader, old, new)
    if not behind:
        return PullReport(fetched, branch, upstream, old, old, ahead, 0, 0, ())
    if ahead:
        raise DivergedError(
            f"{branch} and {upstream} went different ways: {ahead} here, {behind} there.",
            untouched=f"What is new at {fetched.remote} was fetched; your files and commits are untouched.",
            hint=(
                f"`mediagit log {branch}..{upstream}` shows theirs. To take theirs and keep yours beside it: "
                f"`mediagit switch -c mine`, `mediagit branch --force {branch} {upstream}`, `mediagit switch {branch}`, "
                f"then bring over files with `mediagit restore --source mine -- PATH`."
            ),
        )
    plan = plan_move(repository, stage, new, base=old)
    intent = Intent(f"pull of {upstream}", None, f"heads/{branch}", old or b"", new)
    report = run_move(repository, stage, plan, intent, now=now, progress=progress)
    return PullReport(fetched, branch, upstream, old, new, 0, report.written, report.deleted, report.left)
