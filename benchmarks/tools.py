"""The tools that are measured, each behind the same few steps. What is said in `conditions` is what the flags below do."""

# ruff: noqa: D102 -- what a step does is said once, where Tool declares it

import os
import re
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Command
from benchmarks.trees import total_bytes

PASSPHRASE = "correct horse battery staple"


class Tool(ABC):
    """One tool with a repository of its own below `work`.

    `fresh` and `before_checkout` are not timed; the commands that the other steps return are.
    """

    name: str
    program: str
    conditions: str
    ask_version: Sequence[str] = ("--version",)
    keeps_modes = True
    """Whether links and executable bits come back too."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.source = work
        self.versions = 0

    @classmethod
    def found(cls) -> bool:
        """Say whether the tool is installed."""
        return shutil.which(cls.program) is not None

    @classmethod
    def version(cls) -> str:
        """Return the tool's version number."""
        shown = subprocess.run([cls.program, *cls.ask_version], capture_output=True, text=True, check=False).stdout
        found = re.search(r"\d+\.\d+(\.\d+)?", shown)
        return found[0] if found else "unknown"

    def environment(self) -> dict[str, str]:
        """Return the variables its commands run under: nothing of the user's own settings."""
        home = self.work / "home"
        home.mkdir(parents=True, exist_ok=True)
        return {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}

    @abstractmethod
    def fresh(self, source: Path) -> None:
        """Forget everything and make an empty repository for `source`."""

    @abstractmethod
    def ingest(self) -> list[Command]:
        """Return the commands that put the source's present state into the repository, as a new version."""

    @abstractmethod
    def checkout(self) -> list[Command]:
        """Return the commands that bring back the newest version, after `before_checkout`."""

    def before_checkout(self) -> None:
        """Remove what an earlier checkout left."""
        shutil.rmtree(self.restored(), ignore_errors=True)

    @abstractmethod
    def restored(self) -> Path:
        """Return the folder that a checkout fills."""

    def after_checkout(self) -> None:
        """Remove what was restored where it is a copy, so that the memory it takes is free for the next tool."""
        shutil.rmtree(self.restored(), ignore_errors=True)

    @abstractmethod
    def repository(self) -> Path:
        """Return the folder in which everything is stored."""

    def stored_bytes(self) -> int:
        """Return the size of the repository."""
        return total_bytes(self.repository())

    def discard(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.work, ignore_errors=True)

    def forget_all_but_newest(self) -> None:  # noqa: B027 -- most tools have nothing to remove
        """Remove what older versions take where they are whole copies, so that the disk does not fill up."""

    def unchanged(self) -> list[Command]:
        """Return the commands that find out that nothing changed; empty when the tool has no such step."""
        return []

    def sources(self) -> list[Path]:
        """Return the folders of its own that a revision must change."""
        return []

    def step(self, name: str) -> tuple[list[Command], list[Path]]:
        """Return the commands of "ingest", "revision", "checkout" or "status", and what they read."""
        if name == "checkout":
            return self.checkout(), [self.repository()]
        if name == "status":
            return self.unchanged(), self.sources() or [self.source]
        return self.ingest(), self.sources() or [self.source]

    def _prepare(self, *commands: tuple[str, ...], cwd: Path) -> None:
        for command in commands:
            subprocess.run(
                command, cwd=cwd, env=self.environment(), check=True, capture_output=True, stdin=subprocess.DEVNULL
            )


class Cp(Tool):
    """Plain copying: no history, no encryption, nothing made durable."""

    name = "cp"
    program = "cp"
    conditions = "plain copy, no encryption, no fsync"
    durable = False

    def fresh(self, source: Path) -> None:
        self.source = source
        shutil.rmtree(self.work / "copies", ignore_errors=True)
        (self.work / "copies").mkdir(parents=True)

    def ingest(self) -> list[Command]:
        self.versions += 1
        return self._copy(self.source, self._latest())

    def checkout(self) -> list[Command]:
        return self._copy(self._latest(), self.restored())

    def restored(self) -> Path:
        return self.work / "restored"

    def forget_all_but_newest(self) -> None:
        for copy in (self.work / "copies").iterdir():
            if copy != self._latest():
                shutil.rmtree(copy)

    def repository(self) -> Path:
        return self._latest()

    def stored_bytes(self) -> int:
        return total_bytes(self.work / "copies")

    def _latest(self) -> Path:
        return self.work / "copies" / str(self.versions)

    def _copy(self, source: Path, target: Path) -> list[Command]:
        commands = [Command(("cp", "-r", "-P", "--preserve=mode", str(source), str(target)), self.work)]
        if self.durable:
            commands.append(Command(("sync", "-f", str(target)), self.work))
        return commands


class DurableCp(Cp):
    """Copying that ends when the bytes are on the disk."""

    name = "cp + sync -f"
    conditions = "plain copy, no encryption, file system synced"
    durable = True


class WorkingTree(Tool):
    """A tool whose repository lives inside the folder that it versions."""

    private: str

    def fresh(self, source: Path) -> None:
        if self.source != source:
            shutil.rmtree(self._tree(), ignore_errors=True)
            self._tree().parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-r", "-P", "--preserve=mode", str(source), str(self._tree())], check=True)
            self.source = source
        shutil.rmtree(self._tree() / self.private, ignore_errors=True)

    def sources(self) -> list[Path]:
        return [self._tree()]

    def before_checkout(self) -> None:
        for entry in self._tree().iterdir():
            if entry.name == self.private:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def restored(self) -> Path:
        return self._tree()

    def after_checkout(self) -> None:
        """Keep it: the working tree is the source of the next version."""

    def repository(self) -> Path:
        return self._tree() / self.private

    def _tree(self) -> Path:
        return self.work / "tree"

    def _commands(self, *commands: tuple[str, ...]) -> list[Command]:
        return [Command(command, self._tree()) for command in commands]


class Branching(WorkingTree):
    """A tool with branches."""

    @abstractmethod
    def branch(self) -> None:
        """Make the branch "other" and go there; not timed."""

    @abstractmethod
    def switch(self, branch: str) -> list[Command]:
        """Return the commands that change to a branch."""


class MediaGit(Branching):
    """This product, with its defaults: encrypted, padded, crash-safe."""

    name = "mediagit"
    program = str(Path(sys.executable).parent / "mediagit")
    conditions = "AES-256-GCM, zstd 1, padding on; packs and refs synced before a command returns"
    private = ".mediagit"

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "MEDIAGIT_HOME": str(self.work / "home" / "mediagit"),
            "MEDIAGIT_PASSPHRASE": PASSPHRASE,
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        }

    def fresh(self, source: Path) -> None:
        super().fresh(source)
        self._prepare((self.program, "init", "."), cwd=self._tree())

    def adopt(self, folder: Path) -> Path:
        """Take a folder itself as the working tree instead of a copy; return where it is then."""
        self.work.mkdir(parents=True)
        self.source = folder.rename(self._tree())
        self._prepare((self.program, "init", "."), cwd=self._tree())
        return self.source

    def ingest(self) -> list[Command]:
        return self._commands((self.program, "add", "."), (self.program, "commit", "-m", "version"))

    def read_back(self, path: str) -> list[Command]:
        """Return the command that writes a file of the last commit to its standard output."""
        return self._commands((self.program, "cat", path))

    def checkout(self) -> list[Command]:
        return self._commands((self.program, "restore", "."))

    def unchanged(self) -> list[Command]:
        return self._commands((self.program, "status"))

    def branch(self) -> None:
        self._prepare((self.program, "switch", "-c", "other"), cwd=self._tree())

    def switch(self, branch: str) -> list[Command]:
        return self._commands((self.program, "switch", branch))


class MediaGitUnpadded(MediaGit):
    """This product without padding, to compare stored bytes with tools that do not pad."""

    name = "mediagit, padding off"
    conditions = "as mediagit, with core.padding = false"

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "MEDIAGIT_CORE__PADDING": "false"}


class GitLfs(Branching):
    """git with every file in LFS."""

    name = "git-lfs"
    program = "git-lfs"
    conditions = "no encryption, no compression; LFS objects are not fsynced"
    private = ".git"

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "GIT_CONFIG_NOSYSTEM": "1",
            **{
                f"GIT_{role}_{what}": "bench@example.org"
                for role in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")
            },
        }

    def fresh(self, source: Path) -> None:
        super().fresh(source)
        setup = (
            ("git", "init", "-q", "-b", "main"),
            ("git", "lfs", "install", "--local"),
            ("git", "config", "gc.auto", "0"),
        )
        self._prepare(*setup, cwd=self._tree())
        (self._tree() / ".git" / "info").mkdir(exist_ok=True)
        (self._tree() / ".git" / "info" / "attributes").write_text("* filter=lfs diff=lfs merge=lfs -text\n")

    def ingest(self) -> list[Command]:
        return self._commands(("git", "add", "."), ("git", "commit", "-q", "-m", "version"))

    def checkout(self) -> list[Command]:
        return self._commands(("git", "restore", "."))

    def unchanged(self) -> list[Command]:
        return self._commands(("git", "status", "--short"))

    def branch(self) -> None:
        self._prepare(("git", "switch", "-q", "-c", "other"), cwd=self._tree())

    def switch(self, branch: str) -> list[Command]:
        return self._commands(("git", "switch", "-q", branch))


class Git(GitLfs):
    """git without LFS, for the work in which contents play no part."""

    name = "git"
    program = "git"
    conditions = "no encryption; objects are fsynced as git does by default"

    def fresh(self, source: Path) -> None:
        super().fresh(source)
        (self._tree() / ".git" / "info" / "attributes").unlink()


class Dvc(WorkingTree):
    """DVC tracking one folder, with its defaults on a file system without reflinks: content is copied into its cache."""

    name = "dvc"
    program = "dvc"
    conditions = "MD5, no encryption, no compression, whole files, no git commit; links and executable bits lost; nothing fsynced"
    keeps_modes = False
    private = "nothing"

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self.work / "home" / "dvc")}

    def fresh(self, source: Path) -> None:
        super().fresh(source)
        for folder in (self.work / "project" / ".dvc", self.work / "home"):
            shutil.rmtree(folder, ignore_errors=True)
        for name in ("data.dvc", ".dvcignore"):
            (self.work / "project" / name).unlink(missing_ok=True)
        commands = (("dvc", "init", "-q", "--no-scm"), ("dvc", "config", "core.check_update", "false"))
        self._prepare(*commands, cwd=self.work / "project")

    def ingest(self) -> list[Command]:
        return [Command(("dvc", "add", "-q", "data"), self.work / "project")]

    def checkout(self) -> list[Command]:
        return [Command(("dvc", "checkout", "-q", "--force"), self.work / "project")]

    def unchanged(self) -> list[Command]:
        return [Command(("dvc", "status", "-q"), self.work / "project")]

    def before_checkout(self) -> None:
        shutil.rmtree(self._tree(), ignore_errors=True)

    def repository(self) -> Path:
        return self.work / "project" / ".dvc" / "cache"

    def _tree(self) -> Path:
        return self.work / "project" / "data"


class Archive(Tool):
    """A backup tool: a repository beside the source, and a folder to restore into."""

    def fresh(self, source: Path) -> None:
        self.source = source
        for name in ("repository", "home"):
            shutil.rmtree(self.work / name, ignore_errors=True)
        self.work.mkdir(parents=True, exist_ok=True)

    def before_checkout(self) -> None:
        super().before_checkout()
        self.restored().mkdir()

    def restored(self) -> Path:
        return self.work / "restored"

    def unchanged(self) -> list[Command]:
        return self.ingest()

    def repository(self) -> Path:
        return self.work / "repository"


class Borg(Archive):
    """Borg with an encrypted repository."""

    name = "borg"
    program = "borg"
    conditions = "repokey-blake2 (AES-256-CTR, BLAKE2b), zstd 1; segments fsynced on create, nothing on extract"

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "BORG_BASE_DIR": str(self.work / "home"), "BORG_PASSPHRASE": PASSPHRASE}

    def fresh(self, source: Path) -> None:
        super().fresh(source)
        self._prepare(("borg", "init", "-e", "repokey-blake2", str(self.repository())), cwd=self.work)

    def ingest(self) -> list[Command]:
        self.versions += 1
        archive = f"{self.repository()}::v{self.versions}"
        return [Command(("borg", "create", "--compression", "zstd,1", archive, "."), self.source)]

    def checkout(self) -> list[Command]:
        return [Command(("borg", "extract", f"{self.repository()}::v{self.versions}"), self.restored())]


class Restic(Archive):
    """Restic, which always encrypts."""

    name = "restic"
    program = "restic"
    ask_version = ("version",)
    conditions = (
        "AES-256-CTR with Poly1305, repository version 2, zstd auto; packs fsynced on backup, nothing on restore"
    )

    def environment(self) -> dict[str, str]:
        cache = {"RESTIC_CACHE_DIR": str(self.work / "home" / "cache")}
        return {
            **super().environment(),
            **cache,
            "RESTIC_PASSWORD": PASSPHRASE,
            "RESTIC_REPOSITORY": str(self.repository()),
        }

    def fresh(self, source: Path) -> None:
        super().fresh(source)
        self._prepare(("restic", "init", "--repository-version", "2"), cwd=self.work)

    def ingest(self) -> list[Command]:
        return [Command(("restic", "backup", "--quiet", "."), self.source)]

    def checkout(self) -> list[Command]:
        return [Command(("restic", "restore", "latest", "--quiet", "--target", str(self.restored())), self.work)]


PEERS: Mapping[str, type[Tool]] = {tool.name: tool for tool in (Cp, DurableCp, GitLfs, Borg, Restic, Dvc)}


PRODUCT: Sequence[type[Tool]] = (MediaGit, MediaGitUnpadded)
OTHERS: Sequence[type[Tool]] = (Git,)
"""Tools that some rows need whichever peers were asked for."""
