"""Two repositories small enough to visit each of their bytes: made by the real commands, with chunks of a few hundred bytes."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from unittest import mock

from blake3 import blake3

from mediavault.formats.config import ChunkerConfig, RepositoryConfig, encode_config, fingerprint
from mediavault.keys.hierarchy import RepositoryKeys
from mediavault.keys.keystore import KeyStore
from mediavault.keys.passphrase import FLOOR
from mediavault.keys.slots import make_passphrase_slot, make_recovery_slot
from mediavault.ops.create import PASSPHRASE_SLOT, RECOVERY_SLOT, store_identity
from mediavault.workspace.layout import Layout
from mediavault_backends.local import LocalBackend
from tests.bad_input import PROJECT, with_remote
from tests.conftest import PASSPHRASE
from tests.film import Film
from tests.prepared import copy_of, environment_of, running_server
from tests.snapshot import Snapshot, snapshot

KINDS: Final = ("encrypted", "plain")
CHUNKS: Final = ChunkerConfig(average=256, minimum=64, maximum=1024)
REPOSITORY: Final = b"a tiny one......"
SECRET: Final = b"the key of a tiny repository...."
CODE: Final = b"the code on a piece of paper...."
CREATED: Final = "2026-01-02T03:04:05Z"


@dataclass(frozen=True)
class Tiny:
    """A project, the server's storage that it was pushed to, and the home of the user who has it unlocked.

    `trees` is what its revisions hold; the last commit of `main` is checked out.
    """

    encrypted: bool
    home: Path
    project: Path
    storage: Path
    trees: dict[str, Snapshot]

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        return "encrypted" if self.encrypted else "plain"

    @property
    def store(self) -> Path:
        """The client's blobs."""
        return self.project / ".mediagit/store"

    @property
    def hosted(self) -> Path:
        """The server's blobs."""
        return self.storage / PROJECT.removeprefix("/")

    @property
    def film(self) -> Film:
        """The project, to run commands in."""
        return Film(self.project)

    def copy(self, folder: Path) -> "Tiny":
        """Return copies that a test may break."""
        home, project, storage = (
            copy_of(source, folder / source.name) for source in (self.home, self.project, self.storage)
        )
        return Tiny(self.encrypted, home, project, storage, dict(self.trees))

    @contextmanager
    def user(self) -> Iterator[None]:
        """Be the user who has it unlocked."""
        with mock.patch.dict(os.environ, environment_of(self.home), clear=True):
            yield


def make_tiny(folder: Path, *, encrypted: bool, repository: bytes = REPOSITORY, secret: bytes = SECRET) -> Tiny:
    """Make one of the two; the keys, and with them ids and cut points, are always the same."""
    made = Tiny(encrypted, folder / "home", folder / "film", folder / "srv", {})
    with made.user():
        made.home.mkdir(parents=True)
        _found(made, repository, secret)
        _fill(made)
        with running_server(made.storage, os.environ) as url:
            with_remote(made.project, url)
            made.film("push", "origin", "main", "side", "--tags")
    return made


def _found(made: Tiny, repository: bytes, secret: bytes) -> None:
    """Do what init does, with small chunks, known keys and the cheapest slot that is accepted."""
    layout = Layout(made.project)
    layout.create()
    config = encode_config(RepositoryConfig(repository, 1 if made.encrypted else 0, CHUNKS))
    slots = {}
    if made.encrypted:
        keys, mark = RepositoryKeys(repository, {0: secret}), fingerprint(config)
        slots[PASSPHRASE_SLOT] = make_passphrase_slot(
            keys,
            PASSPHRASE_SLOT,
            PASSPHRASE,
            fingerprint=mark,
            created=CREATED,
            random=os.urandom,
            label="Ann's",
            parameters=FLOOR,
        )
        slots[RECOVERY_SLOT] = make_recovery_slot(keys, RECOVERY_SLOT, CODE, fingerprint=mark, created=CREATED)
        KeyStore(made.home / "keys", "file").save(repository, keys.epochs, mark)
    store_identity(LocalBackend(layout.store), config, slots)
    layout.write_head(branch="main")


def _fill(made: Tiny) -> None:
    film = made.film
    film.write("clip.mov", blake3(b"clip").digest(1300))
    film.write("shots/notes.txt", "take one, take two\n" * 12)
    film.write("shots/empty", "")
    film.write("run.sh", "#!/bin/sh\n").chmod(0o755)
    (made.project / "latest").symlink_to("clip.mov")
    film("add", ".")
    film("commit", "-m", "First")
    film("tag", "rushes")
    made.trees["rushes"] = snapshot(made.project)
    film("switch", "-c", "side")
    film.write("clip.mov", blake3(b"clip").digest(1300)[:700] + b"an edit" + blake3(b"clip").digest(1300)[700:])
    film("add", ".")
    film("commit", "-m", "Second")
    film("tag", "-a", "-m", "For the director", "v1")
    made.trees["v1"] = made.trees["side"] = snapshot(made.project)
    film("switch", "main")
    film.write("credits.txt", "The end\n")
    film("add", ".")
    film("commit", "-m", "Third")
    made.trees["main"] = snapshot(made.project)


def blobs_of(store: Path) -> list[Path]:
    """Return the files of a store's blobs, sorted by key."""
    found = [path for path in store.rglob("*") if path.is_file() and ".tmp" not in path.parts]
    return sorted(found)


def remove_working_files(project: Path) -> None:
    """Leave only the private folder."""
    for path in project.iterdir():
        if path.name != ".mediagit":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
