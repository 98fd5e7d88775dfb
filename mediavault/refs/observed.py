"""Knows what a client has seen of a remote's refs, and which changes since then are an alarm."""

import msgspec

from mediavault.errors import FormatError, IntegrityError
from mediavault.formats.ref import decode_ref_value, value_hash


class Observed(msgspec.Struct, frozen=True, gc=False):
    """The last value of a ref that was seen: its number, the BLAKE3 of the value with its MAC, and its key epoch."""

    seq: int
    hash: bytes
    epoch: int


def check_observed(
    name: str, previous: Observed | None, current: bytes | None, *, highest_epoch: int = 0
) -> Observed | None:
    """Compare a remote's ref with what was seen of it before.

    Args:
        name: the ref's name.
        previous: what was seen last; None when it was never seen.
        current: the value the remote shows now, its MAC already checked; None when it shows none.
        highest_epoch: the highest key epoch seen in any ref of this remote.

    Returns:
        what is to be remembered; None when there is nothing.

    Raises:
        IntegrityError: the remote rolled the ref back, replaced a move, removed it without a trace, or does not
            continue from what was seen.
    """
    if current is None:
        if previous is not None:
            raise _alarm(name, "it was there and is gone, without the mark that a deletion leaves")
        return None
    try:
        value = decode_ref_value(current)
    except FormatError as error:
        raise IntegrityError(f"The ref {name} is damaged: {error.message}", untouched="Nothing was changed.") from error
    seen = Observed(value.seq, value_hash(current), value.epoch)
    if previous is not None:
        if value.seq < previous.seq:
            raise _alarm(name, f"it is at move {value.seq}, after move {previous.seq} was seen")
        if value.seq == previous.seq and seen.hash != previous.hash:
            raise _alarm(name, f"its move {value.seq} is not the one that was seen")
        if value.seq == previous.seq + 1 and value.previous != previous.hash:
            raise _alarm(name, f"its move {value.seq} does not follow the one that was seen")
    if value.seq and value.epoch < max(highest_epoch, 0 if previous is None else previous.epoch):
        raise _alarm(name, f"it is signed in key epoch {value.epoch}, after a later one was seen")
    return seen


def _alarm(name: str, what: str) -> IntegrityError:
    return IntegrityError(
        f"The remote's {name} went back on its history: {what}.",
        untouched="Nothing was changed.",
        hint="The remote was restored from a backup or tampered with. Ask whoever runs it before you go on.",
    )
