"""A client that reads a remote whole into a store in memory: what a fetch, the key slots, the logs and an audit give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mediavault.errors import IntegrityError
from mediavault.formats.config import fingerprint
from mediavault.keys.slots import unlock
from mediavault.model.ids import Link
from mediavault.objects.reader import ObjectReader
from mediavault.ops.repository import Repository
from mediavault.refs.observed import Observed
from mediavault.refs.ref_store import check_value
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.store.verify import scrub
from mediavault.sync.audit import audit
from mediavault.sync.fetch import plan_fetch, run_fetch
from mediavault.sync.remote import Remote
from mediavault.sync.survey import check_same_repository
from mediavault_backends.memory import MemoryBackend
from tests.conftest import PASSPHRASE
from tests.hostile.reading import read_objects
from tests.hostile.tiny import CODE


@dataclass(frozen=True)
class Received:
    """What a remote gave: the keys that each secret unlocks, the targets of each ref, all objects and all files."""

    keys: Sequence[Mapping[int, bytes]]
    refs: Mapping[str, tuple[Link | None, ...]]
    objects: Mapping[Link, Any]
    files: Mapping[tuple[bytes, str], tuple[int, str, bytes]]


@dataclass
class Newcomer:
    """Someone with the repository's config and keys, and nothing else yet. `observed` is what they remember of refs."""

    repository: Repository
    observed: Mapping[str, Observed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.backend = MemoryBackend()
        self.frames = FrameStore(self.backend, ObjectIndex(self.backend))

    def receive(self, remote: Remote) -> Received:
        """Do what clone does, and read all of it."""
        check_same_repository(remote, self.repository.config_bytes)
        keys = self._unlock(remote.slots()) if not self.repository.plain else ()
        plan = plan_fetch(
            self.frames,
            remote,
            repository=self.repository.id,
            signer=self.repository.signer,
            observed=self.observed,
            select=lambda name: name.startswith(("heads/", "tags/")),
        )
        with TemporaryDirectory() as spool:  # what one fetch keeps would spare the next one the asking
            run_fetch(plan, self.frames, remote, self.repository.codec, spool=Path(spool), connections=1)
        self.observed = plan.survey.observed
        refs = {}
        for name, ref in plan.survey.refs.items():
            logged = remote.ref_log(name)
            values = [check_value(self.repository.id, self.repository.signer, name, value) for value in logged]
            refs[name] = (*(value.target for value in values), ref.target)
        tips = {ref.target for ref in plan.survey.refs.values() if ref.target is not None}
        reader = ObjectReader(self.frames, self.repository.codec)
        return Received(keys, refs, *read_objects(reader, tips))

    def _unlock(self, slots: Mapping[str, bytes]) -> Sequence[Mapping[int, bytes]]:
        mark = fingerprint(self.repository.config_bytes)
        secrets: tuple[str | bytes, ...] = (PASSPHRASE, CODE)
        return [unlock(slots, secret, repository=self.repository.id, fingerprint=mark).epochs for secret in secrets]

    def check_clean(self) -> None:
        """Check that all that was stored is verified, whatever the remote did.

        Raises:
            IntegrityError: something is not.
        """
        codec = self.repository.codec

        def judge(frame: Any) -> str:
            codec.open(frame, frame.header.id, frame.header.kind)
            return ""

        for found in scrub(self.backend, judge=judge):
            if "It is missing" not in found.reason:
                raise IntegrityError(found.reason)

    def audit(self, remote: Remote) -> int:
        """Check the remote without storing anything; return how much damage there is."""
        check_same_repository(remote, self.repository.config_bytes)
        repository = self.repository
        return len(
            list(
                audit(
                    remote,
                    repository.codec,
                    repository=repository.id,
                    signer=repository.signer,
                    observed=self.observed,
                )
            )
        )
