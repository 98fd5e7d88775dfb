"""MediaVault from Python: a small, stable, typed interface to one checkout. Everything else in the package may change.

What a method returns is the report of `mediavault.ops`, a frozen record; what it raises is of the tree in
`mediavault.errors`. Nothing is printed and nobody is asked: a passphrase that is needed and not given raises
NotAllowedError. docs/api.md shows each method at work.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mediavault import compose
from mediavault.errors import NotAllowedError
from mediavault.ops.create import CreateReport, plan_create
from mediavault.ops.remotes import default_remote, remote_url
from mediavault.ops.repository import Repository, locked, uncollected
from mediavault.ops.staging import opened_stage
from mediavault.progress import SILENT, Progress
from mediavault.workspace.layout import Layout
from mediavault.workspace.paths import repository_path
from mediavault.workspace.stage import Stage

if TYPE_CHECKING:
    from mediavault.ops.add import AddReport
    from mediavault.ops.commit import CommitReport
    from mediavault.ops.fetch import FetchReport
    from mediavault.ops.log import LogEntry
    from mediavault.ops.ls import ListedFile
    from mediavault.ops.pull import PullReport
    from mediavault.ops.push import PushReport
    from mediavault.ops.restore import RestoreReport
    from mediavault.ops.stats import StatsReport
    from mediavault.ops.status import RepositoryStatus
    from mediavault.ops.switch import SwitchReport
    from mediavault.ops.verify import VerifyReport

__all__ = ["Project", "clone", "init", "open_project"]


def init(
    folder: str | os.PathLike[str],
    *,
    passphrase: str | None = None,
    encrypted: bool = True,
    environ: Mapping[str, str] | None = None,
) -> CreateReport:
    """Make a repository in a folder, which is made too when it is missing.

    Args:
        folder: where.
        passphrase: opens the repository on other computers; MEDIAGIT_PASSPHRASE where it is left out.
        encrypted: False stores everything in clear.
        environ: the environment that settings are read from; the process's own where it is left out.

    Returns:
        what was made; its `recovery_code` is shown here and never again.

    Raises:
        UsageError: there is a repository already, or a file of that name.
        NotAllowedError: encrypted, and no passphrase was given.
        StorageError: the folder cannot be written.
    """
    environment = _environment(environ)
    plan = plan_create(Path(os.path.abspath(folder)), encrypted=encrypted)  # noqa: PTH100 -- without following links
    secret = _passphrase(passphrase, environment)() if encrypted else ""
    settings = compose.settings_of(environment, None).settings
    return compose.make_repository(plan, secret, compose.key_store(environment, settings))


def open_project(
    folder: str | os.PathLike[str] = ".",
    *,
    passphrase: str | None = None,
    environ: Mapping[str, str] | None = None,
    remark: Callable[[str], None] | None = None,
) -> "Project":
    """Open the repository that a folder is in.

    Args:
        folder: the repository's own, or one inside it.
        passphrase: unlocks it where this computer does not know its key; MEDIAGIT_PASSPHRASE where it is left out.
        environ: the environment that settings are read from; the process's own where it is left out.
        remark: told what the command line would show as a warning.

    Raises:
        NotARepositoryError: the folder is in none.
    """
    environment = _environment(environ)
    layout = Layout.find(Path(folder))
    return Project(layout, environment, _passphrase(passphrase, environment), remark or _unheard)


def clone(
    url: str,
    folder: str | os.PathLike[str],
    *,
    passphrase: str | None = None,
    encrypted: bool = True,
    branch: str | None = None,
    environ: Mapping[str, str] | None = None,
    remark: Callable[[str], None] | None = None,
    progress: Progress = SILENT,
) -> "Project":
    """Copy a repository from a server into a folder. After an interruption, the same call continues.

    Args:
        url: `http(s)://HOST[:PORT]/TEAM/PROJECT`.
        folder: where to; made when it is missing.
        passphrase: opens the repository; MEDIAGIT_PASSPHRASE where it is left out.
        encrypted: what is expected: a server must not turn an encrypted repository into a plain one.
        branch: what to check out; the server's usual one where it is left out.
        environ: the environment that settings are read from; the process's own where it is left out.
        remark: told what the command line would show as a warning.
        progress: told of bytes.

    Raises:
        NotFoundError: there is no such repository or branch.
        UsageError: the folder is in use, or the repository is not of the expected kind.
        NotAllowedError: the passphrase is wrong or missing.
        RemoteError: the server cannot be reached or failed.
        IntegrityError: something it sent is not what it should be.
    """
    environment = _environment(environ)
    root = Path(os.path.abspath(folder))  # noqa: PTH100 -- without following links
    ask = _passphrase(passphrase, environment)
    compose.clone_repository(
        environment,
        url,
        root,
        encrypted=encrypted,
        branch=branch,
        ask=ask,
        given=encrypted and bool(passphrase or environment.get("MEDIAGIT_PASSPHRASE")),
        progress=progress,
        remark=remark or _unheard,
    )
    return Project(Layout.find(root), environment, ask, remark or _unheard)


class Project:
    """A checkout with its repository. Made by `open_project` and `clone`.

    Each method opens the repository anew, takes the locks that its command takes, and sees what others did meanwhile;
    so one object may be used from several threads. Besides what they name, all raise RepositoryBusyError when another
    process works in the repository, IntegrityError when something stored is damaged, NotAllowedError when the
    repository is locked, ConfigError when a setting is wrong, and StorageError when the disk is full or failed.

    Paths are given relative to the root, with `/`, or absolute; reports have them relative to the root.
    """

    def __init__(
        self,
        layout: Layout,
        environ: Mapping[str, str],
        ask: Callable[[], str],
        remark: Callable[[str], None],
    ) -> None:
        self._layout = layout
        self._environ = environ
        self._ask = ask
        self._remark = remark

    def __repr__(self) -> str:
        return f"Project({str(self.root)!r})"

    @property
    def root(self) -> Path:
        """The folder that the files are in."""
        return self._layout.root

    def status(self) -> "RepositoryStatus":
        """Return what changed since the last commit, and what the next one will hold."""
        from mediavault.ops.status import status  # noqa: PLC0415 -- what is not used is not imported

        repository = self._read()
        with opened_stage(repository, self._remark) as stage:
            return status(repository, stage)

    def add(self, *paths: str | os.PathLike[str], force: bool = False, progress: Progress = SILENT) -> "AddReport":
        """Choose what goes into the next commit: new, changed and deleted files; without paths the whole project.

        Args:
            paths: files and folders.
            force: take ignored files too.
            progress: told of bytes.

        Raises:
            NotFoundError: nothing is there under one of the paths, and nothing was.
            UsageError: a path is outside of the project, or two names cannot stand beside each other everywhere.
        """
        from mediavault.ops.add import plan_add, run_add  # noqa: PLC0415 -- as above

        with self._write() as (repository, stage):
            plan = plan_add(repository, stage, self._paths(paths), force=force)
            return run_add(repository, stage, plan, progress)

    def commit(
        self, message: str, *, amend: bool = False, allow_empty: bool = False, progress: Progress = SILENT
    ) -> "CommitReport":
        """Keep what was added for good.

        Args:
            message: what changed.
            amend: replace the last commit.
            allow_empty: commit even if nothing changed.
            progress: told of names.

        Raises:
            UsageError: no message, or nothing to amend.
            MediaVaultError: nothing changed.
        """
        from mediavault.ops.commit import plan_commit, run_commit  # noqa: PLC0415 -- as above

        with self._write() as (repository, stage):
            plan = plan_commit(repository, stage, message, amend=amend, allow_empty=allow_empty)
            author = compose.author(repository.settings)
            return run_commit(repository, stage, plan, author, compose.now(), progress=progress)

    def log(
        self, *revisions: str, paths: Iterable[str | os.PathLike[str]] = (), limit: int | None = None
    ) -> "Iterator[LogEntry]":
        """Yield commits, children before parents; lazily.

        Args:
            revisions: where to begin, `A..B` for what B has and A has not; HEAD where they are left out.
            paths: only commits that changed one of these.
            limit: at most so many.

        Raises:
            NotFoundError: a revision names nothing.
        """
        from mediavault.ops.log import log  # noqa: PLC0415 -- as above

        wanted = [repository_path(self.root, self.root, os.fspath(path)) for path in paths]
        return log(self._read(), revisions, paths=wanted, limit=limit)

    def files(self, revision: str = "HEAD") -> "Iterator[ListedFile]":
        """Yield the files of a commit, folder by folder.

        Raises:
            NotFoundError: the revision names nothing.
        """
        from mediavault.ops.ls import list_files  # noqa: PLC0415 -- as above

        return list_files(self._read(), revision).files

    def read(self, path: str | os.PathLike[str], revision: str = "HEAD") -> Iterator[bytes]:
        """Yield a file's content, as a commit has it, in blocks of at most a few MiB.

        Every block is verified before it is yielded. Only when the iterator ends without an exception were they the
        whole file.

        Args:
            path: the file.
            revision: which commit.

        Raises:
            NotFoundError: the revision or the path names nothing.
            UsageError: the path is a folder.
        """
        from mediavault.ops.cat import content, find_file  # noqa: PLC0415 -- as above

        repository = self._read()
        file = find_file(repository, revision, repository_path(self.root, self.root, os.fspath(path)))
        return (bytes(block) for block in content(repository, file))

    def restore(
        self, *paths: str | os.PathLike[str], source: str | None = None, progress: Progress = SILENT
    ) -> "RestoreReport":
        """Bring back working files as they were added, or as a commit has them; what was changed in them is given up.

        Args:
            paths: files and folders.
            source: the commit to take them from.
            progress: told of bytes.

        Raises:
            NotFoundError: a path or the revision names nothing.
        """
        from mediavault.ops.restore import plan_paths, run_restore  # noqa: PLC0415 -- as above
        from mediavault.ops.revisions import resolve  # noqa: PLC0415 -- as above

        with self._write() as (repository, stage):
            commit = resolve(repository, source).commit if source is not None else None
            plan = plan_paths(repository, stage, self._paths(paths), source=commit, staged=False, worktree=True)
            return run_restore(repository, stage, plan, progress)

    def switch(self, branch: str, *, create: bool = False, progress: Progress = SILENT) -> "SwitchReport":
        """Change to another branch; the files become what it holds.

        Args:
            branch: its name.
            create: make it here.
            progress: told of bytes.

        Raises:
            NotFoundError: there is no such branch.
            UsageError: the branch to be made exists, or cannot have this name.
            WouldOverwriteError: uncommitted work is in the way; nothing changed.
        """
        from mediavault.ops.switch import plan_switch, run_switch  # noqa: PLC0415 -- as above

        with self._write() as (repository, stage):
            plan = plan_switch(repository, stage, branch, create=create)
            return run_switch(repository, stage, plan, compose.now().seconds, progress)

    def add_remote(self, name: str, url: str) -> None:
        """Name a server.

        Raises:
            UsageError: the name is taken or cannot be one, or the address is none.
        """
        from mediavault.ops.remotes import add_remote  # noqa: PLC0415 -- as above

        compose.check_address(url)
        with locked(self._layout):
            add_remote(self._layout, compose.settings_of(self._environ, self._layout).settings, name, url)

    def push(
        self,
        remote: str | None = None,
        *refs: str,
        follow: bool = False,
        tags: bool = False,
        progress: Progress = SILENT,
    ) -> "PushReport":
        """Send commits to a server, and only what it lacks. After an interruption, the same call sends the rest.

        Args:
            remote: its name; the one that the branch follows where it is left out.
            refs: branches and tags; the current branch where they are left out.
            follow: let the branch follow the server's from now on.
            tags: all tags too.
            progress: told of bytes.

        Raises:
            NotFoundError: there is no such remote or ref.
            DivergedError: the server has commits that the push would lose; nothing moved there.
            RefMovedError: someone else pushed meanwhile.
            RemoteError: the server cannot be reached or failed.
        """
        from mediavault.ops.push import plan_push, run_push  # noqa: PLC0415 -- as above

        with uncollected(self._layout):
            repository = self._read()
            name = self._remote(repository, remote)
            plan = plan_push(repository, name, refs, follow=follow, tags=tags)
            slots = compose.read_slots(repository.backend)
            with compose.connected(self._environ, repository.settings, remote_url(repository.settings, name)) as other:
                return run_push(repository, plan, other, slots=slots, now=compose.now().seconds, progress=progress)

    def fetch(self, remote: str | None = None, *, progress: Progress = SILENT) -> "FetchReport":
        """Get commits, branches and tags from a server; no working file changes.

        Args:
            remote: its name; the one that the branch follows where it is left out.
            progress: told of bytes.

        Raises:
            NotFoundError: there is no such remote, or no repository at it.
            RemoteError: the server cannot be reached or failed; the next fetch continues.
        """
        from mediavault.ops.fetch import run_fetch  # noqa: PLC0415 -- as above

        with uncollected(self._layout):
            repository = self._read()
            name = self._remote(repository, remote)
            with compose.connected(self._environ, repository.settings, remote_url(repository.settings, name)) as other:
                return run_fetch(repository, name, other, compose.now().seconds, progress)

    def pull(
        self, remote: str | None = None, branch: str | None = None, *, progress: Progress = SILENT
    ) -> "PullReport":
        """Get commits and bring the current branch and its files up to date, where that loses nothing.

        Args:
            remote: its name; the one that the branch follows where it is left out.
            branch: the branch there.
            progress: told of bytes.

        Raises:
            NotFoundError: there is no such remote or branch.
            DivergedError: both sides have commits that the other lacks; what is new was fetched.
            WouldOverwriteError: uncommitted work is in the way.
            RemoteError: the server cannot be reached or failed.
        """
        from mediavault.ops.fetch import run_fetch  # noqa: PLC0415 -- as above
        from mediavault.ops.pull import run_pull, upstream_of  # noqa: PLC0415 -- as above

        with self._write() as (repository, stage):
            name = self._remote(repository, remote)
            here, merge = upstream_of(repository, name, repository.layout.read_head().branch, branch)
            stamp = compose.now().seconds
            with compose.connected(self._environ, repository.settings, remote_url(repository.settings, name)) as other:
                fetched = run_fetch(repository, name, other, stamp, progress)
            return run_pull(repository, stage, fetched, branch=here, merge=merge, now=stamp, progress=progress)

    def verify(self, *, quick: bool = False, progress: Progress = SILENT) -> "VerifyReport":
        """Check that everything stored is what its name promises. What is damaged stands in the report.

        Args:
            quick: look contents up without reading them.
            progress: told of bytes.
        """
        from mediavault.ops.verify import verify  # noqa: PLC0415 -- as above

        return verify(self._read(), progress, quick=quick)

    def stats(self, *, progress: Progress = SILENT) -> "StatsReport":
        """Return how much all versions are, and how little of it is stored."""
        from mediavault.ops.stats import stats  # noqa: PLC0415 -- as above

        return stats(self._read(), progress)

    def _open(self) -> Repository:
        return compose.open_repository(self._environ, self._layout, self._ask)

    def _read(self) -> Repository:
        if not self._layout.checkout.exists():
            return self._open()
        with locked(self._layout):
            return self._recovered()

    @contextmanager
    def _write(self) -> Iterator[tuple[Repository, Stage]]:
        with locked(self._layout):
            repository = self._recovered()
            with opened_stage(repository, self._remark) as stage:
                yield repository, stage

    def _recovered(self) -> Repository:
        repository, report = compose.recovered(self._layout, self._open)
        if report is not None and report.finished:
            self._remark(f"An interrupted {report.verb or 'checkout'} was finished now.")
        for path in report.left if report is not None else ():
            self._remark(f"{path} was changed since and was left as it is.")
        return repository

    def _paths(self, paths: Iterable[str | os.PathLike[str]]) -> list[str]:
        return [repository_path(self.root, self.root, os.fspath(path)) for path in paths] or [""]

    def _remote(self, repository: Repository, name: str | None) -> str:
        return name or default_remote(repository.settings, repository.layout.read_head().branch)


def _environment(environ: Mapping[str, str] | None) -> Mapping[str, str]:
    return os.environ if environ is None else environ


def _passphrase(given: str | None, environ: Mapping[str, str]) -> Callable[[], str]:
    """Return what gives the passphrase where it is needed."""

    def passphrase() -> str:
        found = given or environ.get("MEDIAGIT_PASSPHRASE")
        if not found:
            raise NotAllowedError(
                "A passphrase is needed, and none was given.",
                untouched="Nothing was changed.",
                hint="Pass passphrase=..., or set MEDIAGIT_PASSPHRASE.",
            )
        return found

    return passphrase


def _unheard(_: str) -> None:
    """Tell nobody."""
