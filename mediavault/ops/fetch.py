"""Brings what a remote has into the store, and notes where its branches are; no working file changes."""

from collections.abc import Sequence
from dataclasses import dataclass

from mediavault.errors import NotFoundError
from mediavault.model.ids import Link
from mediavault.ops.observed import read_observed, write_observed
from mediavault.ops.push import track
from mediavault.ops.repository import Repository
from mediavault.progress import Progress
from mediavault.sync import fetch as sync_fetch
from mediavault.sync.remote import Remote
from mediavault.sync.survey import check_same_repository


@dataclass(frozen=True, slots=True)
class TrackedMove:
    """A branch or tag of a remote that is elsewhere than it was: its local name, from where, to where."""

    name: str
    old: Link | None
    new: Link | None


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What a fetch brought. `kept_tags` are tags that differ here; they were left alone."""

    remote: str
    url: str
    moves: Sequence[TrackedMove]
    kept_tags: Sequence[str]
    chunks: int
    objects: int
    bytes_received: int
    requests: int


def run_fetch(
    repository: Repository,
    name: str,
    remote: Remote,
    now: int,
    progress: Progress,
    *,
    sink: sync_fetch.ChunkSink | None = None,
) -> FetchReport:
    """Fetch every branch and tag.

    Args:
        repository: where to.
        name: of the remote.
        remote: the other side.
        now: seconds since 1970-01-01 UTC.
        progress: told of bytes.
        sink: uses content as it comes.

    Raises:
        NotFoundError: there is no repository at the remote.
        IntegrityError: it is another repository, its refs went back, or something it sent is damaged.
        RemoteError: the remote failed; the next fetch continues.
    """
    layout = repository.layout
    before = remote.traffic
    if not check_same_repository(remote, repository.config_bytes):
        raise NotFoundError(
            f"There is no repository at {remote.url}.",
            untouched="Nothing was changed.",
            hint=f"`mediagit push -u {name} BRANCH` makes it.",
        )
    local = (*repository.refs.list("heads/"), *repository.refs.list("tags/"), *repository.refs.list("remotes/"))
    haves = [state.target.id for state in local if state.target is not None]
    plan = sync_fetch.plan_fetch(
        repository.frames,
        remote,
        repository=repository.id,
        signer=repository.signer,
        observed=read_observed(layout, name),
        select=lambda ref: ref.startswith(("heads/", "tags/")),
        haves=[oid for oid in dict.fromkeys(haves) if repository.frames.has(oid)],
    )
    report = sync_fetch.run_fetch(
        plan,
        repository.frames,
        remote,
        repository.codec,
        spool=repository.spool,
        progress=progress,
        pack_size=repository.settings.core.pack_size,
        connections=repository.settings.network.connections,
        sink=sink,
    )
    moves, kept = _note_refs(repository, name, plan, now)
    write_observed(layout, name, report.observed)
    after = remote.traffic
    return FetchReport(
        name,
        remote.url,
        moves,
        kept,
        report.chunks,
        report.objects,
        after.received - before.received,
        after.requests - before.requests,
    )


def _note_refs(
    repository: Repository, remote: str, plan: sync_fetch.FetchPlan, now: int
) -> tuple[list[TrackedMove], list[str]]:
    moves: list[TrackedMove] = []
    kept: list[str] = []
    for ref, seen in plan.survey.refs.items():
        if ref.startswith("heads/"):
            name = f"remotes/{remote}/{ref.removeprefix('heads/')}"
            old = track(repository, name, seen.target, now)
            if old != seen.target:
                moves.append(TrackedMove(name, old, seen.target))
        elif ref.startswith("tags/") and seen.target is not None:
            state = repository.refs.read(ref)
            if state.target is None:
                repository.refs.move(state, seen.target, now)
                moves.append(TrackedMove(ref, None, seen.target))
            elif state.target != seen.target:
                kept.append(ref.removeprefix("tags/"))
    return moves, kept
