"""Sends branches and tags to a remote, making the repository there first where it is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mediavault.errors import NotFoundError, RefMovedError, UsageError
from mediavault.model.ids import Kind, Link
from mediavault.ops.observed import read_observed, write_observed
from mediavault.ops.prices import Estimate, Place, estimate, writes_of
from mediavault.ops.repository import Repository
from mediavault.ops.settings import change_settings
from mediavault.ops.unlock import SLOTS
from mediavault.progress import Progress
from mediavault.sync import push as sync_push
from mediavault.sync.create import create_remote, is_made
from mediavault.sync.push import ANYTHING, RefMove, RefUpdate
from mediavault.sync.remote import Remote
from mediavault.wire.http import Traffic
from mediavault_backends.prices import Usage

_WRITES_A_PACK: Final = 1
"""Beside the pack itself: its index."""
_WRITES_A_MOVE: Final = 2
"""The former value goes to the log; a new ref has a placeholder first."""
_READS_A_MOVE: Final = 6
"""The ref, and what shows that its target is there whole."""
_LISTS: Final = 3
"""The index is looked through again before something is called missing."""


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What a push will ask of a remote: refs to move, and the branch that is to follow it from now on."""

    remote: str
    updates: Sequence[RefUpdate]
    follow: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class PushReport:
    """What a push did."""

    remote: str
    url: str
    created: bool
    moves: Sequence[RefMove]
    unchanged: Sequence[str]
    chunks: int
    objects: int
    packs: int
    bytes_sent: int
    requests: int
    follow: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class PushPreview:
    """What a push would do: `created` makes the repository there, `bytes` are those of its `packs`.

    `estimate` is what that asks of the store behind the remote, and costs there.
    """

    remote: str
    url: str
    created: bool
    moves: Sequence[RefMove]
    unchanged: Sequence[str]
    chunks: int
    objects: int
    packs: int
    bytes: int
    estimate: Estimate


def plan_push(
    repository: Repository,
    remote: str,
    refs: Sequence[str],
    *,
    follow: bool = False,
    lease: bool = False,
    tags: bool = False,
    delete: bool = False,
) -> PushPlan:
    """Find which refs are meant; nothing is asked of the remote.

    Args:
        repository: what to push from.
        remote: its name in the settings.
        refs: branches and tags, `HERE:THERE` for another name there, `:THERE` to delete; empty for the current branch.
        follow: let the branch follow the remote's from now on.
        lease: replace what was last seen at the remote, and nothing newer.
        tags: all tags as well.
        delete: `refs` are to be deleted at the remote.

    Raises:
        NotFoundError: a ref does not exist, or the branch has no commit yet.
        UsageError: the flags do not go together.
    """
    head = repository.layout.read_head()
    specs = list(refs)
    if delete:
        if not refs or follow or tags:
            raise UsageError("--delete takes names, and neither -u nor --tags.", untouched="Nothing was sent.")
        specs = [f":{name}" for name in refs]
    elif not specs and not (tags and head.branch is None):
        if head.branch is None:
            raise UsageError(
                "No branch is checked out.",
                untouched="Nothing was sent.",
                hint=f"Name the branch to push: mediagit push {remote} BRANCH",
            )
        follows = repository.settings.branch.get(head.branch)
        there = follows.merge if follows and follows.remote == remote and follows.merge else head.branch
        specs = [f"{head.branch}:{there}"]
    updates = [_update(repository, remote, spec, head.branch, lease=lease) for spec in specs]
    if tags:
        named = {update.name for update in updates}
        updates += [
            RefUpdate(state.name, state.target)
            for state in repository.refs.list("tags/")
            if state.target is not None and state.name not in named
        ]
    return PushPlan(remote, updates, _follow(specs, head.branch) if follow else None)


def _update(repository: Repository, remote: str, spec: str, current: str | None, *, lease: bool) -> RefUpdate:
    here, colon, there = spec.partition(":")
    if colon and not there:
        raise UsageError(f"{spec!r} names nothing at the remote.", untouched="Nothing was sent.")
    if colon and not here:
        name = there if there.startswith(("heads/", "tags/")) else _name_there(repository, remote, there)
        expected = repository.refs.read(_tracking(remote, name)).target if name.startswith("heads/") else ANYTHING
        seen = isinstance(expected, Link)
        return RefUpdate(name, None, force=True, expected=expected if lease else ANYTHING, seen=seen)
    name, target = _source(repository, current if here == "HEAD" and current else here)
    prefix = name.partition("/")[0]
    wanted = f"{prefix}/{there}" if there else name
    if not lease:
        return RefUpdate(wanted, target)
    last = repository.refs.read(_tracking(remote, wanted)).target if prefix == "heads" else ANYTHING
    return RefUpdate(wanted, target, force=True, expected=last)


def _source(repository: Repository, text: str) -> tuple[str, Link]:
    for prefix in ("heads", "tags"):
        target = repository.refs.read(f"{prefix}/{text}").target
        if target is not None:
            return f"{prefix}/{text}", target
    if repository.layout.read_head().branch == text:
        raise NotFoundError(
            f"The branch {text} has no commit yet.", untouched="Nothing was sent.", hint='mediagit commit -m "..."'
        )
    raise NotFoundError(
        f"There is no branch or tag {text}.",
        untouched="Nothing was sent.",
        hint="`mediagit branch` lists the branches.",
    )


def _name_there(repository: Repository, remote: str, text: str) -> str:
    branch = repository.refs.read(f"remotes/{remote}/{text}").target or repository.refs.read(f"heads/{text}").target
    tag = repository.refs.read(f"tags/{text}").target
    return f"tags/{text}" if tag is not None and branch is None else f"heads/{text}"


def _tracking(remote: str, name: str) -> str:
    return f"remotes/{remote}/{name.removeprefix('heads/')}"


def _follow(specs: Sequence[str], current: str | None) -> tuple[str, str]:
    here, _, there = specs[0].partition(":") if specs else ("", "", "")
    here = current or here if here == "HEAD" else here
    if len(specs) != 1 or not here:
        raise UsageError("-u takes one branch.", untouched="Nothing was sent.", hint="mediagit push -u origin BRANCH")
    return here, there or here


def run_push(
    repository: Repository,
    plan: PushPlan,
    remote: Remote,
    *,
    slots: Mapping[str, bytes],
    now: int,
    progress: Progress,
) -> PushReport:
    """Send what the remote lacks, move its refs, and remember where they are.

    Raises:
        DivergedError: the remote has commits that the push would lose.
        RefMovedError: someone else pushed meanwhile, or since the last fetch.
        RemoteError: the remote failed; the next push continues.
    """
    layout = repository.layout
    before = remote.traffic
    created = create_remote(remote, repository.config_bytes, slots)
    found = sync_push.plan_push(
        repository.frames,
        remote,
        plan.updates,
        repository=repository.id,
        signer=repository.signer,
        observed=read_observed(layout, plan.remote),
    )
    report = sync_push.run_push(
        found,
        repository.frames,
        remote,
        repository=repository.id,
        plain=repository.plain,
        signer=repository.signer,
        now=now,
        progress=progress,
        pack_size=repository.settings.core.pack_size,
        connections=repository.settings.network.connections,
    )
    write_observed(layout, plan.remote, report.observed)
    for update in plan.updates:
        if update.name.startswith("heads/"):
            track(repository, _tracking(plan.remote, update.name), update.target, now)
    if plan.follow:
        here, there = plan.follow
        change_settings(layout.settings_file, {f"branch.{here}.remote": plan.remote, f"branch.{here}.merge": there})
    after = remote.traffic
    return PushReport(
        plan.remote,
        remote.url,
        created,
        report.moves,
        report.unchanged,
        report.chunks,
        report.objects,
        report.packs,
        after.sent - before.sent,
        after.requests - before.requests,
        plan.follow,
    )


def preview_push(repository: Repository, plan: PushPlan, remote: Remote, place: Place) -> PushPreview:
    """Find out what a push would send and move, and what that costs; nothing is changed, here or there.

    Raises:
        ConfigError: the settings name prices that there are not.
        DivergedError: the remote has commits that the push would lose.
        RemoteError: the remote failed.
    """
    before = remote.traffic
    made = is_made(remote, repository.config_bytes)
    found = sync_push.plan_push(
        repository.frames,
        remote,
        plan.updates,
        repository=repository.id,
        signer=repository.signer,
        observed=read_observed(repository.layout, plan.remote) if made else {},
        nothing_there=not made,
    )
    packs = sync_push.planned_packs(
        found, repository.frames, remote, plain=repository.plain, pack_size=repository.settings.core.pack_size
    )
    puts = sum(writes_of(repository.settings, place, size) + _WRITES_A_PACK for size in packs)
    puts += not found.moves  # of a ref that is there already
    if not made:
        puts += 1 + sum(1 for _ in repository.backend.scan(SLOTS))
    return PushPreview(
        plan.remote,
        remote.url,
        not made,
        found.moves,
        found.unchanged,
        len(found.chunks),
        len(found.chunks) + len(found.nodes) + len(found.history),
        len(packs),
        sum(packs),
        estimate(repository.settings, place, _usage(found, puts, packs, _between(before, remote.traffic))),
    )


def _usage(found: sync_push.PushPlan, puts: int, packs: Sequence[int], looked: Traffic) -> Usage:
    """Return what a push asks of a store: what was just asked to plan it, then `puts` for packs of these sizes, and refs."""
    moves = found.moves
    return Usage(
        looked.writes + puts + sum(_WRITES_A_MOVE + (move.old is None) for move in moves),
        looked.lists + (_LISTS if moves else 0),
        looked.reads + _READS_A_MOVE * len(moves),
        sum(packs),
        looked.received if looked.reads else 0,  # what a server reads of its store is not seen here
    )


def _between(before: Traffic, after: Traffic) -> Traffic:
    return Traffic(*(now - then for then, now in zip(before, after, strict=True)))


def track(repository: Repository, name: str, target: Link | None, now: int) -> Link | None:
    """Let the local name of a remote's branch point where it does there; return where it pointed before."""
    state = repository.refs.read(name)
    former = state.target
    while state.target != target and (target is None or target.kind is Kind.COMMIT):
        try:
            state = repository.refs.move(state, target, now)
        except RefMovedError:  # another fetch was quicker; what it saw may be older
            state = repository.refs.read(name)
    return former
