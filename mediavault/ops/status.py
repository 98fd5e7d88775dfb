"""What differs between the last commit, the stage and the working tree, and how far the branch is from its remote."""

from dataclasses import dataclass

from mediavault.model.ids import ObjectId
from mediavault.ops.repository import Repository
from mediavault.workspace.ignore import IgnoreRules
from mediavault.workspace.stage import Stage
from mediavault.workspace.status import StatusReport, compare


@dataclass(frozen=True, slots=True)
class RepositoryStatus:
    """The state of a checkout.

    Attributes:
        branch: the branch's name; None where a commit is checked out without one.
        commit: what HEAD is at; None before the first commit.
        upstream: such as `origin/main`; empty where the branch follows nothing, or that was never fetched.
        ahead: commits that the upstream lacks.
        behind: commits of the upstream that are not here.
        changes: the paths.
        unfinished: `clone` where an interrupted clone is still to bring files; else empty.
    """

    branch: str | None
    commit: ObjectId | None
    upstream: str
    ahead: int
    behind: int
    changes: StatusReport
    unfinished: str = ""


def status(repository: Repository, stage: Stage, paths: tuple[str, ...] = ()) -> RepositoryStatus:
    """Compare everything; the stamps of files that had to be read are renewed in the stage.

    Raises:
        ConfigError: an ignore file is not usable.
    """
    head = repository.layout.read_head()
    commit = repository.head_commit()
    tree = repository.claimed_tree_of(commit) if commit else None
    rules = IgnoreRules(repository.layout.root)
    changes = compare(repository.layout, stage, lambda: repository.reader, tree, rules, paths=paths)
    upstream, ahead, behind = _upstream(repository, head.branch, commit)
    unfinished = "clone" if repository.layout.clone_marker.exists() else ""
    return RepositoryStatus(head.branch, commit, upstream, ahead, behind, changes, unfinished)


def _upstream(repository: Repository, branch: str | None, commit: ObjectId | None) -> tuple[str, int, int]:
    follows = repository.settings.branch.get(branch or "")
    if follows is None or not follows.remote or not follows.merge:
        return "", 0, 0
    name = f"{follows.remote}/{follows.merge}"
    target = repository.refs.read(f"remotes/{name}").target
    if target is None:
        return "", 0, 0
    if commit is None or target.id == commit:
        return name, 0, 0
    from mediavault.history.merge_base import distance  # noqa: PLC0415 -- most often the two are equal

    ahead, behind = distance(repository.reader, commit, target.id)
    return name, ahead, behind
