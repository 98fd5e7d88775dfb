"""Checks that a remote has all that its refs need, intact; nothing is stored here or changed there."""

from mediavault.errors import NotFoundError
from mediavault.ops.observed import read_observed
from mediavault.ops.repository import Repository
from mediavault.ops.verify import VerifyReport, affected_files
from mediavault.progress import Progress
from mediavault.sync.audit import Audit
from mediavault.sync.remote import Remote
from mediavault.sync.survey import check_same_repository


def verify_remote(
    repository: Repository, name: str, remote: Remote, progress: Progress, *, quick: bool = False
) -> VerifyReport:
    """Read and open everything that a remote's refs lead to.

    Args:
        repository: whose keys open it.
        name: of the remote in the settings.
        remote: the remote itself.
        progress: told the objects checked.
        quick: look chunks up without reading them.

    Raises:
        NotFoundError: there is no repository at the remote.
        IntegrityError: it is another repository, or its refs are not authentic or went back on their history.
        RemoteError: the remote failed.
    """
    if not check_same_repository(remote, repository.config_bytes):
        raise NotFoundError(
            f"There is no repository at {remote.url}.",
            untouched="Nothing was checked.",
            hint=f"`mediagit push -u {name} BRANCH` makes it.",
        )
    check = Audit(
        remote,
        repository.codec,
        repository=repository.id,
        signer=repository.signer,
        observed=read_observed(repository.layout, name),
        quick=quick,
        progress=progress,
        connections=repository.settings.network.connections,
    )
    damage = list(check)
    return VerifyReport(
        place=remote.url,
        quick=quick,
        refs=len(check.observed),
        objects=check.objects,
        packs=0,
        bytes=check.bytes,
        damage=damage,
        affected=affected_files(repository, repository.reader, damage),
    )
