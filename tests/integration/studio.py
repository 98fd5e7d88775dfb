"""One side of a transfer for the tests: a local store with real objects, keys and refs, without a working tree."""

import os
import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from blake3 import blake3

from mediavault.codecs.seal import FrameSealer, PlainSealer, Sealer
from mediavault.formats.config import RepositoryConfig, encode_config
from mediavault.keys.hierarchy import KeySet, RepositoryKeys, plain_keys
from mediavault.model.ids import Kind, Link, Namer, ObjectId
from mediavault.model.objects import Commit, Mode, Moment, Person, Tag, TreeEntry
from mediavault.model.splitting import Splitter
from mediavault.objects.codec import ObjectCodec
from mediavault.objects.nodes import NodeWriter
from mediavault.objects.reader import ObjectReader
from mediavault.refs.observed import Observed
from mediavault.refs.ref_store import RefState, next_value
from mediavault.refs.signing import KeyedSigner, PlainSigner, RefSigner
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.sync.create import create_remote
from mediavault.sync.fetch import FetchReport, plan_fetch, run_fetch
from mediavault.sync.push import PushReport, RefUpdate, plan_push, run_push
from mediavault.sync.remote import Remote
from mediavault.sync.survey import survey
from mediavault.wire.http import Patience
from mediavault_backends.local import LocalBackend

QUICK = Patience(connect_timeout=2.0, stall_timeout=2.0, retries=3, connections=4)
ANN = Person("Ann", "ann@example.org")
CHUNK = 128 << 10


class Studio:
    """A repository on one computer. `secret` None makes it plain."""

    def __init__(
        self, folder: Path, *, repository: bytes = b"film-repository!", secret: bytes | None = b"s" * 32
    ) -> None:
        self.repository = repository
        self.folder = folder
        self.backend = LocalBackend(folder / "store", create=True)
        self.frames = FrameStore(self.backend, ObjectIndex(self.backend))
        self.spool = folder / "spool"
        self.plain = secret is None
        keys: KeySet
        sealer: FrameSealer
        if secret is None:
            keys, sealer = plain_keys(repository), PlainSealer()
            self.signer: RefSigner = PlainSigner()
        else:
            full = RepositoryKeys(repository, {0: secret})
            keys = full
            sealer = Sealer(
                repository,
                data_keys={0: full.data_key(0)},
                meta_keys={0: full.meta_key(0)},
                epoch=0,
                random=os.urandom,
            )
            self.signer = KeyedSigner({0: full.ref_key(0)})
        self.codec = ObjectCodec(Namer(keys.id_secret), sealer, padded=not self.plain)
        self.splitter = Splitter(keys.split_key)
        self.config = encode_config(RepositoryConfig(repository, 0 if self.plain else 1))
        self.observed = dict[str, Observed]()

    @property
    def reader(self) -> ObjectReader:
        return ObjectReader(self.frames, self.codec)

    def commit(self, files: Mapping[str, bytes], parents: Sequence[ObjectId] = ()) -> Link:
        """Store a flat tree of files, cut every 128 KiB, and a commit of it."""
        with self.frames.writer(self.spool, plain=self.plain) as writer:
            nodes = NodeWriter(self.codec, self.splitter, self.frames, writer)
            entries = []
            for name in sorted(files, key=str.encode):
                content = files[name]
                manifest = nodes.manifest()
                for at in range(0, len(content), CHUNK):
                    raw = content[at : at + CHUNK]
                    oid = self.codec.name_chunk(raw)
                    if not (writer.has(oid) or self.frames.has(oid)):
                        writer.append(self.codec.encode_chunk(oid, raw), len(raw))
                    manifest.append(oid, len(raw))
                entries.append(TreeEntry(name, Mode.FILE, len(content), blake3(content).digest(), manifest.finish()))
            tree = nodes.tree(entries)
            generation = 1 + max((self.frames.read(oid).header.generation for oid in parents), default=0)
            now = Moment(1_700_000_000, 0)
            commit = Commit(tree, tuple(parents), ANN, now, ANN, now, generation, "work")
            return Link(Kind.COMMIT, nodes.commit(commit))

    def tag(self, target: Link, name: str) -> Link:
        """Store an annotated tag."""
        with self.frames.writer(self.spool, plain=self.plain) as writer:
            nodes = NodeWriter(self.codec, self.splitter, self.frames, writer)
            return Link(Kind.TAG, nodes.tag(Tag(target, name, ANN, Moment(1_700_000_000, 0), "release")))

    def push(
        self,
        remote: Remote,
        target: Link | None,
        name: str = "heads/main",
        *,
        force: bool = False,
        pack_size: int = 1 << 20,
    ) -> PushReport:
        """Push one ref; makes the repository when it is not there."""
        create_remote(remote, self.config, {})
        plan = plan_push(
            self.frames,
            remote,
            [RefUpdate(name, target, force)],
            repository=self.repository,
            signer=self.signer,
            observed=self.observed,
        )
        report = run_push(
            plan,
            self.frames,
            remote,
            repository=self.repository,
            plain=self.plain,
            signer=self.signer,
            now=int(time.time()),
            pack_size=pack_size,
        )
        self.observed = dict(report.observed)
        return report

    def fetch(self, remote: Remote, haves: Sequence[ObjectId] = ()) -> FetchReport:
        """Fetch every branch and tag."""
        plan = plan_fetch(
            self.frames,
            remote,
            repository=self.repository,
            signer=self.signer,
            observed=self.observed,
            select=lambda name: name.startswith(("heads/", "tags/")),
            haves=haves,
        )
        report = run_fetch(plan, self.frames, remote, self.codec, spool=self.spool, pack_size=1 << 20)
        self.observed = dict(report.observed)
        return report

    def files(self, commit: ObjectId) -> dict[str, bytes]:
        """Return the content of every file of a commit, verified."""
        reader = self.reader
        tree = reader.commit(commit).tree
        return {path: b"".join(map(bytes, reader.file(entry))) for path, entry in reader.walk_tree(tree)}

    def ref_value(self, remote: Remote, name: str, target: Link | None, time_: int = 1) -> tuple[bytes, str | None]:
        """Return the value that would move a remote's ref from where it is now, and the ETag to name."""
        ref = survey(remote, repository=self.repository, signer=self.signer, observed={}).refs.get(name)
        state = RefState(name) if ref is None else RefState(name, ref.value, ref.value_bytes)
        return next_value(self.repository, self.signer, state, target, time_), None if ref is None else ref.etag


def noise(size: int, seed: int) -> bytes:
    """Return bytes that do not compress, the same for the same seed."""
    return random.Random(seed).randbytes(size)
