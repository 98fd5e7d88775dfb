"""Copies a repository from a remote into a folder; run again after a crash, it continues."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from mediavault.errors import NotFoundError, UsageError
from mediavault.formats.config import RepositoryConfig, decode_config
from mediavault.formats.slot import check_slot_name
from mediavault.model.ids import ObjectId
from mediavault.ops.checkout import plan_move, run_move
from mediavault.ops.create import CONFIG, FIRST_BRANCH
from mediavault.ops.fetch import FetchReport
from mediavault.ops.files_ahead import FilesAhead, usual_branch
from mediavault.ops.repository import Repository
from mediavault.ops.settings import change_settings
from mediavault.ops.unlock import SLOTS
from mediavault.progress import Progress
from mediavault.sync.remote import Remote
from mediavault.workspace.layout import PRIVATE_FOLDER, Layout
from mediavault.workspace.materialise import NOTHING_WRITTEN, Intent
from mediavault.workspace.stage import Stage
from mediavault_backends import fsio
from mediavault_backends.api import Absent, Backend
from mediavault_backends.errors import PreconditionFailedError

REMOTE: Final = "origin"


class _Marker(msgspec.Struct, frozen=True):
    """What an unfinished clone says of itself."""

    url: str
    config: bytes


@dataclass(frozen=True, slots=True)
class ClonePlan:
    """What is to be copied where; `resumed` when an unfinished clone of the same is there."""

    root: Path
    url: str
    config: RepositoryConfig
    config_bytes: bytes
    resumed: bool

    @property
    def layout(self) -> Layout:
        """Where the clone's files will be."""
        return Layout(Path(os.path.realpath(self.root)))


@dataclass(frozen=True, slots=True)
class CloneReport:
    """What a clone brought: the branch and commit that are checked out, files written, and the traffic of the fetch."""

    fetched: FetchReport
    branch: str
    commit: ObjectId | None
    written: int
    bytes_written: int
    left: Sequence[str]


def plan_clone(remote: Remote, root: Path, *, encrypted: bool) -> ClonePlan:
    """Ask the remote what it holds, and check that the folder can take it.

    Args:
        remote: where to copy from.
        root: where to.
        encrypted: what the user expects; a server must not turn an encrypted repository into a plain one.

    Raises:
        NotFoundError: there is no repository at the remote.
        UsageError: the folder is in use, or the repository is not of the expected kind.
    """
    config_bytes = remote.config()
    if config_bytes is None:
        raise NotFoundError(
            f"There is no repository at {remote.url}.",
            untouched="Nothing was made.",
            hint="Check the address. `mediagit push` from a repository makes it there.",
        )
    config = decode_config(config_bytes)
    if encrypted and config.suite == 0:
        raise UsageError(
            "This repository is NOT encrypted: whoever runs the server can read and change it.",
            untouched="Nothing was made.",
            hint="If that is what you expect, clone it with --no-encryption. If not, ask who made it.",
        )
    if not encrypted and config.suite != 0:
        raise UsageError(
            "This repository is encrypted.", untouched="Nothing was made.", hint="Clone it without --no-encryption."
        )
    return ClonePlan(root, remote.url, config, config_bytes, _is_unfinished(root, remote.url, config_bytes))


def _is_unfinished(root: Path, url: str, config_bytes: bytes) -> bool:
    if not os.path.lexists(root):
        return False
    if not root.is_dir():
        raise UsageError(f"{root} is a file.", untouched="It was left as it is.", hint="Choose another folder.")
    marker = _read_marker(Layout(root))
    if marker is None:
        if any(entry.name != PRIVATE_FOLDER for entry in root.iterdir()) or _is_begun(Layout(root)):
            raise UsageError(
                f"{root} is not empty.", untouched="It was left as it is.", hint="mediagit clone URL OTHER-FOLDER"
            )
        return False
    if (marker.url, marker.config) != (url, config_bytes):
        raise UsageError(
            f"{root} holds an unfinished clone of {marker.url}.",
            untouched="It was left as it is.",
            hint=f"Continue it with `mediagit clone {marker.url} {root}`, or choose another folder.",
        )
    return True


def _is_begun(layout: Layout) -> bool:
    return layout.head.exists() or (layout.store / CONFIG).exists()


def is_unfinished_clone(layout: Layout) -> bool:
    """Say whether a repository is what an interrupted clone left."""
    return layout.clone_marker.exists()


def begin(plan: ClonePlan) -> None:
    """Make the folder and mark it as an unfinished clone. May be repeated."""
    fsio.make_folders(plan.root)
    if not plan.resumed:
        plan.layout.create()
        marker = msgspec.msgpack.encode(_Marker(plan.url, plan.config_bytes))
        fsio.write_atomic(plan.layout.clone_marker, marker)


def prepare(plan: ClonePlan, backend: Backend, slots: dict[str, bytes]) -> None:
    """Write what makes the folder this repository: config, keys, the remote's address. May be repeated.

    From here on the other verbs work in it: what was received can be looked at, and the remote be verified.

    Raises:
        FormatError: the remote has a key with an impossible name.
    """
    layout = plan.layout
    for name in slots:
        check_slot_name(name)
    for key, blob in {**{SLOTS + name: slot for name, slot in slots.items()}, CONFIG: plan.config_bytes}.items():
        try:
            backend.put(key, blob, when=Absent())
        except PreconditionFailedError:
            continue
    change_settings(layout.settings_file, {f"remote.{REMOTE}.url": plan.url})
    if not layout.head.exists():
        layout.write_head(branch=FIRST_BRANCH)


def run_clone(
    repository: Repository,
    stage: Stage,
    fetched: FetchReport,
    ahead: FilesAhead,
    *,
    branch: str | None,
    now: int,
    progress: Progress,
) -> CloneReport:
    """Choose a branch of what was fetched, and write its files. May be repeated after a crash.

    Args:
        repository: the clone, whose lock the caller holds.
        stage: its stage.
        fetched: what was fetched.
        ahead: has written files while they were fetched.
        branch: what to check out; None for the usual one.
        now: seconds since 1970-01-01 UTC.
        progress: told of the bytes that are written.

    Raises:
        NotFoundError: there is no such branch.
        WouldOverwriteError: files that are not the clone's are in the way.
        StorageError: the disk is full or failed.
    """
    name, commit = _choose(repository, branch)
    layout = repository.layout
    if commit is not None:
        state = repository.refs.read(f"heads/{name}")
        if state.target is None:
            found = repository.refs.read(f"remotes/{REMOTE}/{name}").target
            repository.refs.move(state, found, now)
        else:
            commit = state.target.id
        change_settings(layout.settings_file, {f"branch.{name}.remote": REMOTE, f"branch.{name}.merge": name})
    layout.write_head(branch=name)
    prepared = ahead.take(commit)
    plan, written = prepared or (plan_move(repository, stage, commit, base=None), NOTHING_WRITTEN)
    report = run_move(repository, stage, plan, Intent("clone"), now=now, progress=progress, written=written)
    fsio.remove(layout.clone_marker)
    return CloneReport(fetched, name, commit, report.written, report.bytes_written, report.left)


def _choose(repository: Repository, branch: str | None) -> tuple[str, ObjectId | None]:
    prefix = f"remotes/{REMOTE}/"
    found = {
        state.name.removeprefix(prefix): state.target.id
        for state in repository.refs.list(prefix)
        if state.target is not None
    }
    if branch is not None:
        if branch not in found:
            raise NotFoundError(
                f"There is no branch {branch} there.",
                hint=f"The branches are: {', '.join(found)}. Run the clone again with one of them.",
            )
        return branch, found[branch]
    name = usual_branch(found)
    return name, found.get(name)


def _read_marker(layout: Layout) -> _Marker | None:
    try:
        return msgspec.msgpack.decode(layout.clone_marker.read_bytes(), type=_Marker)
    except (OSError, msgspec.DecodeError, RecursionError):
        return None
