"""Making a repository at a remote that has none, so that the first push needs no other command."""

from collections.abc import Mapping

from mediavault.errors import NeedsDecisionError
from mediavault.formats.config import decode_config
from mediavault.sync.remote import Remote


def is_made(remote: Remote, config: bytes) -> bool:
    """Tell whether this repository is at `remote`.

    Raises:
        NeedsDecisionError: another repository lives there.
    """
    theirs = remote.config()
    if theirs is not None and theirs != config:
        raise NeedsDecisionError(
            f"Another repository lives at {remote.url}: {decode_config(theirs).repository.hex()}; "
            f"this one is {decode_config(config).repository.hex()}.",
            untouched="Nothing was sent.",
            hint="Push to another project, or clone the one that is there.",
        )
    return theirs is not None


def create_remote(remote: Remote, config: bytes, slots: Mapping[str, bytes]) -> bool:
    """Make this repository at `remote`, unless it is there.

    Args:
        remote: the other side.
        config: exact bytes of the local config.
        slots: the wrapped keys to store with a new repository. They are added, too, where an earlier attempt made
            the repository and stopped before its first key; they never come back where some were removed later.

    Returns:
        whether the repository is new there.

    Raises:
        NeedsDecisionError: another repository lives there.
        NotAllowedError: the remote makes no repositories.
    """
    made = is_made(remote, config)
    if not made or (slots and not remote.slots()):
        remote.create(config, slots)
    return not made
