"""What a remote's refs say, believed only after their MACs and what was seen of them before."""

from collections.abc import Mapping
from dataclasses import dataclass

from mediavault.errors import IntegrityError
from mediavault.formats.ref import RefValue
from mediavault.model.ids import Link
from mediavault.refs.observed import Observed, check_observed
from mediavault.refs.ref_store import check_value
from mediavault.refs.signing import RefSigner
from mediavault.sync.remote import Remote


@dataclass(frozen=True, slots=True)
class SurveyedRef:
    """A ref of a remote: its verified value, the bytes it was read from, and the ETag that a move must name."""

    value: RefValue
    value_bytes: bytes
    etag: str

    @property
    def target(self) -> Link | None:
        """Where it points; None when it was deleted."""
        return self.value.target


@dataclass(frozen=True, slots=True)
class Survey:
    """All refs of a remote, and what is to be remembered of them for the next time."""

    refs: Mapping[str, SurveyedRef]
    observed: Mapping[str, Observed]

    def target(self, name: str) -> Link | None:
        """Return where a ref points; None when it is not there."""
        ref = self.refs.get(name)
        return None if ref is None else ref.target


def survey(remote: Remote, *, repository: bytes, signer: RefSigner, observed: Mapping[str, Observed]) -> Survey:
    """Read and verify every ref of a remote.

    Args:
        remote: the other side.
        repository: the id that every value must carry.
        signer: checks the MACs.
        observed: what was seen of this remote's refs before, by name.

    Raises:
        IntegrityError: a value that no key holder made, or refs that went back on their history.
    """
    found = remote.refs()
    highest = max((seen.epoch for seen in observed.values()), default=0)
    refs: dict[str, SurveyedRef] = {}
    remembered: dict[str, Observed] = {}
    for name in sorted(found.keys() | observed.keys()):
        ref = found.get(name)
        if ref is not None:
            value = check_value(repository, signer, name, ref.value_bytes)
            refs[name] = SurveyedRef(value, ref.value_bytes, ref.etag)
        seen = check_observed(name, observed.get(name), None if ref is None else ref.value_bytes, highest_epoch=highest)
        if seen is not None:
            remembered[name] = seen
    return Survey(refs, remembered)


def check_same_repository(remote: Remote, config: bytes) -> bool:
    """Check that a remote holds the repository of this config, if it holds any.

    Returns:
        whether there is a repository.

    Raises:
        IntegrityError: it holds another one, or the same id under another config.
    """
    theirs = remote.config()
    if theirs is not None and theirs != config:
        raise IntegrityError(
            f"{remote.url} holds another repository than this one.",
            untouched="Nothing was transferred.",
            hint="Check the remote's address with `mediagit remote`.",
        )
    return theirs is not None
