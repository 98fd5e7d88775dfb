"""How a pack becomes part of a repository: received, verified without a key, found closed, then published."""

import os
from collections.abc import Iterable
from typing import Final

from mediavault.errors import IntegrityError, UnsupportedFormatError
from mediavault.formats.frame import Frame
from mediavault.formats.pack import NONCE_BYTES, encode_footer, encode_pack_header, encode_table, pack_id, row_of
from mediavault.hosting.refusal import RefusedError
from mediavault.hosting.repository import HostedRepository
from mediavault.hosting.uploads import new_upload
from mediavault.model.ids import Link, ObjectId
from mediavault.store.receive import PackReceiver
from mediavault.wire import problems
from mediavault_backends.api import Buffer

_UNFIT: Final = (IntegrityError, UnsupportedFormatError)
"""What an upload that is not what it claims to be makes the parsers raise."""


def feed(receiver: PackReceiver, blocks: Iterable[Buffer]) -> None:
    """Take some more of a pack.

    Raises:
        RefusedError: it is not what its name says.
    """
    try:
        for block in blocks:
            receiver.feed(block)
    except _UNFIT as error:
        raise RefusedError(problems.MISMATCH, error.message) from error


def accept(repo: HostedRepository, receiver: PackReceiver) -> bool:
    """Check a pack that came whole, and make it part of the repository.

    Returns:
        whether it is new.

    Raises:
        RefusedError: it is not what its name says, not of this repository's suite, or not closed.
    """
    check(repo, receiver)
    check_closed(repo, receiver)
    return publish(repo, receiver)


def store_frame(repo: HostedRepository, frame: Frame) -> bool:
    """Keep one frame as a pack of its own, under a name that never was.

    Returns:
        whether an object of this id is new.

    Raises:
        RefusedError: see `accept`.
    """
    pack, data = pack_of_one(frame, plain=repo.plain)
    known = not repo.frames.missing([frame.header.id])
    with PackReceiver(new_upload(repo.spool), pack) as receiver:
        feed(receiver, [data])
        if known:
            check(repo, receiver)
            check_closed(repo, receiver)
            return False
        accept(repo, receiver)
    return True


def pack_of_one(frame: Frame, *, plain: bool) -> tuple[ObjectId, bytes]:
    """Return name and bytes of a new pack that holds one frame.

    Raises:
        RefusedError: the frame is of another suite, or its payload does not parse (plain repositories).
    """
    nonce = os.urandom(NONCE_BYTES)
    header = encode_pack_header(nonce, plain)
    try:
        row = row_of(frame, len(header), plain)
    except _UNFIT as error:
        raise RefusedError(problems.MISMATCH, error.message) from error
    table = encode_table([row], plain)
    footer = encode_footer(len(header) + frame.size, 1, table)
    return pack_id(nonce, table), b"".join((header, frame.data, table, footer))


def publish(repo: HostedRepository, receiver: PackReceiver) -> bool:
    """Store and index a pack that was checked.

    Returns:
        whether it is new.

    Raises:
        RefusedError: it contradicts what is stored.
    """
    try:
        return receiver.publish(repo.backend, repo.frames.index)
    except _UNFIT as error:
        raise RefusedError(problems.MISMATCH, error.message) from error


def check(repo: HostedRepository, receiver: PackReceiver) -> None:
    """Refuse what is not what its name says, or not of this repository's suite.

    Raises:
        RefusedError: it is one of these.
    """
    try:
        receiver.finish()
    except _UNFIT as error:
        raise RefusedError(problems.MISMATCH, error.message) from error
    if receiver.plain != repo.plain:
        raise RefusedError(problems.MISMATCH, "The pack is not of this repository's suite.")


def check_closed(repo: HostedRepository, receiver: PackReceiver) -> None:
    """Refuse metadata that leads to what is not there. What stands in quarantine is checked first, and is there then.

    Raises:
        RefusedError: it does.
    """
    missing = _missing_links(repo, receiver)
    if missing:
        raise RefusedError(
            problems.NOT_CLOSED,
            f"Objects that this pack links to are missing: {len(missing)} or more.",
            missing=[link.id for link in missing],
        )


def _missing_links(repo: HostedRepository, receiver: PackReceiver) -> list[Link]:
    """Return links that lead nowhere, not even to what can be had from quarantine."""
    missing = receiver.missing_links(repo.frames, limit=1000)
    while missing and repo.quarantine.is_used:
        settled = repo.quarantine.settle_holding({link.id for link in missing})
        before, missing = missing, receiver.missing_links(repo.frames, limit=1000)
        if missing == before and not settled:  # asked again, for others may have settled it meanwhile
            break
    return missing
