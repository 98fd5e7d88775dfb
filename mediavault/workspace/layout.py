"""Where a checkout keeps its private files, and what HEAD says; what the files hold is for others."""

import os
from pathlib import Path
from typing import Final

import msgspec

from mediavault.errors import IntegrityError, NotARepositoryError, StorageError, UsageError
from mediavault.model.ids import ID_BYTES, ObjectId
from mediavault_backends import fsio

PRIVATE_FOLDER: Final = ".mediagit"
_BRANCH_MARK: Final = "ref: heads/"


class Head(msgspec.Struct, frozen=True, gc=False):
    """What is checked out: a branch by its short name, or (detached) a commit; exactly one of them is set."""

    branch: str | None
    commit: ObjectId | None = None


def encode_head(head: Head) -> bytes:
    """Return the content of the HEAD file."""
    if head.branch is not None:
        return f"{_BRANCH_MARK}{head.branch}\n".encode()
    assert head.commit is not None
    return f"{head.commit.hex()}\n".encode()


def decode_head(data: bytes) -> Head:
    """Read the content of the HEAD file.

    Raises:
        IntegrityError: it is neither a branch nor an id.
    """
    try:
        text = data.decode().removesuffix("\n")
        if text.startswith(_BRANCH_MARK) and len(text) > len(_BRANCH_MARK):
            return Head(text.removeprefix(_BRANCH_MARK))
        commit = bytes.fromhex(text)
    except ValueError:
        commit = b""
    if len(commit) != ID_BYTES:
        raise IntegrityError(
            "The HEAD file is damaged: it names neither a branch nor a commit.",
            untouched="Nothing was changed.",
            hint="Write 'ref: heads/main' into .mediagit/HEAD, with the name of your branch.",
        )
    return Head(None, commit)


class Layout(msgspec.Struct, frozen=True):
    """The paths of one checkout. `root` is the folder that the working files stand in."""

    root: Path

    @property
    def folder(self) -> Path:
        """The private folder."""
        return self.root / PRIVATE_FOLDER

    @property
    def head(self) -> Path:
        """The file that says what is checked out."""
        return self.folder / "HEAD"

    @property
    def settings_file(self) -> Path:
        """The repository's own settings."""
        return self.folder / "mediagit.toml"

    @property
    def lock_file(self) -> Path:
        """What a command holds while it changes the working tree, the stage or HEAD."""
        return self.folder / "lock"

    @property
    def collection_lock(self) -> Path:
        """What `gc` holds alone, and transfers, which do not hold `lock_file`, together."""
        return self.folder / "collection.lock"

    @property
    def store(self) -> Path:
        """The root of the Backend."""
        return self.folder / "store"

    @property
    def stage_file(self) -> Path:
        """The staging index and stat cache."""
        return self.folder / "state.sqlite"

    @property
    def checkout(self) -> Path:
        """Where a checkout under way keeps new files and its journal; absent at rest."""
        return self.folder / "checkout"

    @property
    def clone_marker(self) -> Path:
        """What says of a clone that it is not finished; absent at rest."""
        return self.folder / "clone"

    @property
    def message_file(self) -> Path:
        """What the editor of a commit's message works on; absent at rest."""
        return self.folder / "COMMIT_MESSAGE"

    @property
    def renaming(self) -> Path:
        """Which branch is about to be called how; absent at rest."""
        return self.folder / "renaming"

    @property
    def clock(self) -> Path:
        """An empty file that is touched to read the file system's clock."""
        return self.folder / "clock"

    @classmethod
    def find(cls, start: Path) -> "Layout":
        """Return the layout of the repository that `start` is in.

        Raises:
            NotARepositoryError: it is in none.
        """
        return cls(find_root(start))

    def create(self) -> None:
        """Make the private folder and the store's root; HEAD is written last, by the caller.

        Raises:
            UsageError: there is a repository already.
        """
        if os.path.lexists(self.head):
            raise UsageError(f"There is a repository in {self.root} already.", untouched="Nothing was changed.")
        fsio.make_folders(self.store)

    def read_head(self) -> Head:
        """Return what is checked out.

        Raises:
            IntegrityError: the file is damaged.
            NotARepositoryError: there is none.
        """
        try:
            return decode_head(self.head.read_bytes())
        except FileNotFoundError as error:
            raise NotARepositoryError(f"{self.root} is not a repository: it has no .mediagit/HEAD.") from error

    def write_head(self, *, branch: str | None = None, commit: ObjectId | None = None) -> None:
        """Say durably what is checked out: exactly one of a branch's short name and a commit."""
        if (branch is None) == (commit is None):
            raise ValueError("HEAD is a branch or a commit")
        fsio.write_atomic(self.head, encode_head(Head(branch, commit)))

    def clock_ns(self) -> int:
        """Return the file system's own time in ns; 0, which trusts nothing, where the folder cannot be written."""
        try:
            fd = os.open(self.clock, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except OSError:
            return 0
        try:
            os.utime(fd)
            return os.fstat(fd).st_mtime_ns
        finally:
            os.close(fd)


def find_root(start: Path) -> Path:
    """Return the nearest folder at or above `start` that holds a repository, as a real path.

    Raises:
        NotARepositoryError: there is none.
    """
    folder = Path(os.path.realpath(start))
    try:
        for candidate in (folder, *folder.parents):
            private = candidate / PRIVATE_FOLDER
            if (private / "HEAD").is_file() and not private.is_symlink():
                return candidate
    except OSError as error:
        raise StorageError(f"Cannot look for a repository in {start}: {error.strerror}.") from error
    raise NotARepositoryError(
        f"There is no repository in {folder} or above it.",
        hint="Type 'mediagit init' to make one here, or 'mediagit clone URL' to get one.",
    )
