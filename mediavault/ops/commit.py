"""Makes a commit of what is staged: trees, then the commit, then the ref."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mediavault.errors import MediaVaultError, UsageError
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.objects import Commit, Moment, Person, TreeEntry
from mediavault.objects.nodes import NodeWriter
from mediavault.ops.repository import Repository
from mediavault.progress import Progress
from mediavault.refs.ref_store import RefState
from mediavault.workspace.stage import Stage
from mediavault.workspace.status import Change, staged_changes
from mediavault.workspace.trees import BuiltTree, build_tree


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """A commit to be made: on which ref's state (None: detached), with which parents, and what it changes."""

    branch: RefState | None
    parents: tuple[ObjectId, ...]
    replaced: Commit | None
    changes: Sequence[Change]
    message: str


@dataclass(frozen=True, slots=True)
class CommitReport:
    """A commit that was made."""

    id: ObjectId
    branch: str
    parents: tuple[ObjectId, ...]
    message: str
    changes: Sequence[Change]
    first: bool


def plan_commit(
    repository: Repository, stage: Stage, message: str | None, *, amend: bool = False, allow_empty: bool = False
) -> CommitPlan:
    """Find what a commit would hold.

    Args:
        repository: where.
        stage: what to commit.
        message: what to say about it; None keeps the amended commit's.
        amend: replace the last commit.
        allow_empty: commit even if nothing changed.

    Raises:
        UsageError: no message, or nothing to amend.
        MediaVaultError: nothing changed.
    """
    layout = repository.layout
    head = layout.read_head()
    state = repository.refs.read(f"heads/{head.branch}") if head.branch is not None else None
    last = repository.head_commit()
    replaced = None
    parents: tuple[ObjectId, ...] = (last,) if last else ()
    if amend:
        if last is None:
            raise UsageError(
                "There is no commit to amend.", untouched="Nothing was changed.", hint="Leave out --amend."
            )
        replaced = repository.reader.commit(last)
        parents = replaced.parents
        message = replaced.message if message is None else message
    if message is None or not message.strip():
        raise UsageError("A commit needs a message.", untouched="Nothing was changed.", hint='mediagit commit -m "..."')
    # An amended commit is compared with its parent: what it holds is what it changed, together with the stage.
    base = repository.tree_of(parents[0]) if parents else None
    changes = staged_changes(stage, lambda: repository.reader, base)
    if not changes and not allow_empty and not (amend and replaced and parents):
        raise MediaVaultError(
            "There is nothing new to commit.",
            untouched="Nothing was changed.",
            hint="Choose what to commit with `mediagit add FILE`, or `mediagit commit -a` for all changed files.",
        )
    return CommitPlan(state, parents, replaced, changes, message.strip())


def run_commit(
    repository: Repository, stage: Stage, plan: CommitPlan, author: Person, now: Moment, *, progress: Progress
) -> CommitReport:
    """Write the trees and the commit, then move the branch.

    The caller holds the repository's lock.

    Raises:
        RefMovedError: another process moved the branch; nothing refers to the new commit.
        FormatError: the message or a name is not storable.
    """
    generation = 1 + max((repository.frames.read(parent).header.generation for parent in plan.parents), default=0)
    with repository.writer() as writer:
        nodes = NodeWriter(repository.codec, repository.splitter, repository.frames, writer)
        built = _built(stage, nodes, repository, progress)
        commit = Commit(
            tree=built.root,
            parents=plan.parents,
            author=plan.replaced.author if plan.replaced else author,
            authored=plan.replaced.authored if plan.replaced else now,
            committer=author,
            committed=now,
            generation=generation,
            message=plan.message,
        )
        oid = nodes.commit(commit)
    stage.remember_trees(built.folders)
    repository.tidy()
    if plan.branch is None:
        repository.layout.write_head(commit=oid)
        branch = ""
    else:
        repository.refs.move(plan.branch, Link(Kind.COMMIT, oid), now.seconds)
        branch = plan.branch.name.removeprefix("heads/")
    return CommitReport(oid, branch, plan.parents, plan.message, plan.changes, not plan.parents)


def _built(stage: Stage, nodes: NodeWriter, repository: Repository, progress: Progress) -> BuiltTree:
    """Write the trees of what is staged."""

    def write(entries: Iterable[TreeEntry]) -> ObjectId:
        listed = list(entries)
        oid = nodes.tree(listed)
        progress.advance(len(listed))
        return oid

    progress.start(None, "names", "Writing folders")
    try:
        return build_tree(stage, write, repository.frames.has)
    finally:
        progress.done()
