"""An opened repository: its rooms put together once, for the verbs to take what they need."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mediavault.config import Settings
from mediavault.errors import MediaVaultError, NotFoundError, RepositoryBusyError, StorageError
from mediavault.formats.config import RepositoryConfig
from mediavault.keys.hierarchy import PlainKeys, RepositoryKeys
from mediavault.model.ids import Kind, Namer, ObjectId
from mediavault.model.splitting import Splitter
from mediavault.refs.ref_store import RefStore
from mediavault.refs.signing import KeyedSigner, PlainSigner, RefSigner
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.workspace.layout import Layout
from mediavault_backends import fsio
from mediavault_backends.api import Backend, Spooling
from mediavault_backends.fsio import FileLock

if TYPE_CHECKING:
    from mediavault.objects.codec import ObjectCodec
    from mediavault.objects.reader import ObjectReader
    from mediavault.store.pack_writer import PackWriter

LOCK_SECONDS = 2.0
"""How long a verb waits for another one in the same repository before it says so."""


@dataclass(frozen=True)
class Repository:
    """A repository with a working tree. Nothing here changes after it was opened.

    Attributes:
        layout: where its files are.
        settings: all layers merged.
        config: what it is; `config_bytes` are the exact bytes.
        keys: its keys, or what stands for them in a plain repository.
        backend: where its blobs are.
    """

    layout: Layout
    settings: Settings
    config: RepositoryConfig
    config_bytes: bytes
    keys: RepositoryKeys | PlainKeys
    backend: Backend

    @property
    def id(self) -> bytes:
        """The repository's id, 16 bytes."""
        return self.config.repository

    @property
    def plain(self) -> bool:
        """Whether it is not encrypted."""
        return isinstance(self.keys, PlainKeys)

    @cached_property
    def index(self) -> ObjectIndex:
        """Where each object stands."""
        return ObjectIndex(self.backend)

    @cached_property
    def frames(self) -> FrameStore:
        """The sealed objects."""
        return FrameStore(self.backend, self.index)

    @cached_property
    def signer(self) -> RefSigner:
        """What authenticates refs."""
        if isinstance(self.keys, PlainKeys):
            return PlainSigner()
        return KeyedSigner({epoch: self.keys.ref_key(epoch) for epoch in self.keys.epochs})

    @cached_property
    def refs(self) -> RefStore:
        """The names that move."""
        return RefStore(self.backend, self.id, self.signer)

    @cached_property
    def splitter(self) -> Splitter:
        """What decides where nodes of trees and manifests end."""
        return Splitter(self.keys.split_key)

    @cached_property
    def codec(self) -> "ObjectCodec":
        """What opens and seals objects."""
        # cryptography and zstandard cost 50 ms at the start of verbs that open no object
        from mediavault.codecs.seal import PlainSealer, Sealer  # noqa: PLC0415 -- see above
        from mediavault.objects.codec import ObjectCodec  # noqa: PLC0415 -- see above

        namer, core = Namer(self.keys.id_secret), self.settings.core
        if isinstance(self.keys, PlainKeys):
            return ObjectCodec(namer, PlainSealer(), padded=False, level=core.compression_level)
        epochs = self.keys.epochs
        sealer = Sealer(
            self.id,
            data_keys={epoch: self.keys.data_key(epoch) for epoch in epochs},
            meta_keys={epoch: self.keys.meta_key(epoch) for epoch in epochs},
            epoch=self.keys.epoch,
            random=os.urandom,
        )
        return ObjectCodec(namer, sealer, padded=core.padding, level=core.compression_level)

    @cached_property
    def reader(self) -> "ObjectReader":
        """What reads objects and checks them."""
        from mediavault.objects.reader import ObjectReader  # noqa: PLC0415 -- see codec

        return ObjectReader(self.frames, self.codec)

    @property
    def workers(self) -> int:
        """How many threads cut and seal."""
        return self.settings.core.workers or os.cpu_count() or 1

    @property
    def spool(self) -> Path:
        """Where unfinished packs are kept."""
        if not isinstance(self.backend, Spooling):
            raise TypeError(f"{self.backend.name} has no place for unfinished packs")
        return self.backend.spool_folder

    def writer(self) -> "PackWriter":
        """Return a writer of new objects; leaving its context finishes the packs."""
        return self.frames.writer(self.spool, plain=self.plain, target=self.settings.core.pack_size, random=os.urandom)

    def tidy(self) -> None:
        """Merge small index blobs; the caller holds the repository's lock."""
        self.index.compact()

    def head_commit(self) -> ObjectId | None:
        """Return the commit that HEAD is at; None on a branch without commits."""
        head = self.layout.read_head()
        if head.branch is None:
            return head.commit
        target = self.refs.read(f"heads/{head.branch}").target
        return target.id if target else None

    def tree_of(self, commit: ObjectId) -> ObjectId:
        """Return the tree of a commit, which is opened for it: only then is the link known to be the author's.

        Raises:
            IntegrityError: the commit is missing or damaged.
            NotFoundError: the object is no commit.
        """
        self.claimed_tree_of(commit)
        return self.reader.commit(commit).tree

    def claimed_tree_of(self, commit: ObjectId) -> ObjectId:
        """Return the tree that a commit's clear header names, without a key: to compare with, never to check out.

        Raises:
            IntegrityError: the commit is missing or damaged.
            NotFoundError: the object is no commit.
        """
        header = self.frames.read(commit).header
        if header.kind is not Kind.COMMIT:
            raise NotFoundError(f"{commit.hex()} is a {header.kind.name.lower()}, not a commit.")
        return next(link.id for link in header.links if link.kind is Kind.TREE)


@contextmanager
def locked(layout: Layout) -> Iterator[None]:
    """Hold the repository's lock, so that one verb at a time changes the working tree and the stage.

    Raises:
        RepositoryBusyError: another process holds it.
    """
    with _held(FileLock(layout.lock_file), "Another mediagit command is working in this repository."):
        _settle(layout)
        try:
            yield
        except MediaVaultError as error:
            if not isinstance(error, StorageError):
                _mark(layout, b"")
            raise
        _mark(layout, b"")


def _settle(layout: Layout) -> None:
    """Note that a verb is at work; where the last one died, bring what it left to the disk before it is built upon.

    A process that died before a sync leaves names that everyone sees and that a power cut would still take back.
    """
    with suppress(FileNotFoundError):
        if layout.lock_file.stat().st_size:
            fsio.sync_filesystem(layout.folder)
    _mark(layout, b"1")


def _mark(layout: Layout, data: bytes) -> None:
    with suppress(OSError):  # a full disk must not keep anyone from making room
        layout.lock_file.write_bytes(data)


@contextmanager
def uncollected(layout: Layout) -> Iterator[None]:
    """Keep `gc` away while objects come or are relied upon; any number of verbs do so beside each other.

    For those that do not hold the lock of `locked`, which keeps `gc` away too.

    Raises:
        RepositoryBusyError: a `gc` is under way.
    """
    with _held(FileLock(layout.collection_lock), "`mediagit gc` is cleaning up this repository.", shared=True):
        yield


@contextmanager
def collecting(layout: Layout) -> Iterator[None]:
    """Keep transfers away while objects are removed; the caller holds the lock of `locked` as well.

    Raises:
        RepositoryBusyError: a transfer is under way.
    """
    with _held(FileLock(layout.collection_lock), "A push or fetch is under way in this repository."):
        yield


@contextmanager
def _held(lock: FileLock, busy: str, *, shared: bool = False) -> Iterator[None]:
    if not lock.acquire(shared=shared, timeout=LOCK_SECONDS):
        raise RepositoryBusyError(
            busy,
            untouched="Nothing was changed.",
            hint="Wait until it has ended, then run this one again.",
        )
    try:
        yield
    finally:
        lock.release()
