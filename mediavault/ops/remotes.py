"""Which servers a repository is shared with: names, addresses, and the branches last seen there."""

from collections.abc import Sequence
from dataclasses import dataclass

from mediavault.config import Settings
from mediavault.errors import NotFoundError, UsageError
from mediavault.model.names import check_ref_name
from mediavault.ops.observed import copy_observed, forget_observed
from mediavault.ops.repository import Repository
from mediavault.ops.settings import change_settings
from mediavault.workspace.layout import Layout


@dataclass(frozen=True, slots=True)
class RemoteEntry:
    """A named remote."""

    name: str
    url: str


def list_remotes(settings: Settings) -> Sequence[RemoteEntry]:
    """Return all remotes by name."""
    return [RemoteEntry(name, remote.url) for name, remote in sorted(settings.remote.items())]


def remote_url(settings: Settings, name: str) -> str:
    """Return a remote's address.

    Raises:
        NotFoundError: there is no such remote.
    """
    if name in settings.remote:
        return settings.remote[name].url
    known = ", ".join(sorted(settings.remote))
    hint = f"The remotes are: {known}." if known else f"mediagit remote add {name} http://HOST:3000/TEAM/PROJECT"
    if "://" in name:
        hint = f"Give the address a name first, then use that: mediagit remote add NAME {name}"
    raise NotFoundError(f"There is no remote named {name}.", untouched="Nothing was transferred.", hint=hint)


def default_remote(settings: Settings, branch: str | None) -> str:
    """Return the remote that a branch follows, else `origin`, else the only one.

    Raises:
        NotFoundError: there is none.
        UsageError: there are several, and none of them is meant.
    """
    follows = settings.branch.get(branch or "")
    if follows and follows.remote:
        return follows.remote
    if "origin" in settings.remote:
        return "origin"
    if len(settings.remote) == 1:
        return next(iter(settings.remote))
    if not settings.remote:
        raise NotFoundError(
            "This repository has no remote.",
            untouched="Nothing was transferred.",
            hint="mediagit remote add origin http://HOST:3000/TEAM/PROJECT",
        )
    raise UsageError(
        "This repository has several servers, and the branch follows none of them.",
        untouched="Nothing was transferred.",
        hint=f"Name one of: {', '.join(sorted(settings.remote))}.",
    )


def add_remote(layout: Layout, settings: Settings, name: str, url: str) -> None:
    """Name an address.

    Raises:
        UsageError: the name is taken or cannot be one.
    """
    _check_name(name)
    if name in settings.remote:
        raise UsageError(
            f"There is a remote {name} already: {settings.remote[name].url}.",
            untouched="Nothing was changed.",
            hint=f"`mediagit remote set-url {name} {url}` changes its address.",
        )
    forget_observed(layout, name)  # of a remote of this name whose removal was stopped
    change_settings(layout.settings_file, {f"remote.{name}.url": url})


def set_url(layout: Layout, settings: Settings, name: str, url: str) -> None:
    """Change a remote's address; what was seen of its refs stays known.

    Raises:
        NotFoundError: there is no such remote.
    """
    remote_url(settings, name)
    change_settings(layout.settings_file, {f"remote.{name}.url": url})


def remove_remote(repository: Repository, name: str, now: int) -> None:
    """Forget a remote, what was seen there, and which branches follow it.

    Raises:
        NotFoundError: there is no such remote.
    """
    remote_url(repository.settings, name)
    for state in repository.refs.list(f"remotes/{name}/"):
        if state.target is not None:
            repository.refs.move(state, None, now)
    changes: dict[str, object | None] = {f"remote.{name}.url": None}
    for branch, follows in repository.settings.branch.items():
        if follows.remote == name:
            changes |= {f"branch.{branch}.remote": None, f"branch.{branch}.merge": None}
    change_settings(repository.layout.settings_file, changes)
    forget_observed(repository.layout, name)


def rename_remote(repository: Repository, old: str, new: str, now: int) -> None:
    """Give a remote another name.

    Raises:
        NotFoundError: there is no such remote.
        UsageError: the new name is taken or cannot be one.
    """
    url = remote_url(repository.settings, old)
    _check_name(new)
    if new in repository.settings.remote:
        raise UsageError(f"There is a remote {new} already.", untouched="Nothing was changed.")
    for state in repository.refs.list(f"remotes/{old}/"):
        if state.target is not None:
            renamed = f"remotes/{new}/{state.name.removeprefix(f'remotes/{old}/')}"
            repository.refs.move(repository.refs.read(renamed), state.target, now)
            repository.refs.move(state, None, now)
    changes: dict[str, object | None] = {f"remote.{old}.url": None, f"remote.{new}.url": url}
    for branch, follows in repository.settings.branch.items():
        if follows.remote == old:
            changes[f"branch.{branch}.remote"] = new
    # In this order: stopped in between, the next try finds the old name, and what was seen there is never forgotten.
    copy_observed(repository.layout, old, new)
    change_settings(repository.layout.settings_file, changes)
    forget_observed(repository.layout, old)


def _check_name(name: str) -> None:
    if "/" in name:
        raise UsageError(
            f"A remote's name has no slash: {name!r}.", untouched="Nothing was changed.", hint="Try `origin`."
        )
    check_ref_name(f"remotes/{name}/x")
