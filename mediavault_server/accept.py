"""How an upload becomes part of a repository: received, verified without a key, found closed, then published."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Final

from starlette.requests import ClientDisconnect

from mediavault.errors import IntegrityError, UnsupportedFormatError
from mediavault.formats.frame import Frame
from mediavault.formats.pack import NONCE_BYTES, encode_footer, encode_pack_header, encode_table, pack_id, row_of
from mediavault.model.ids import ObjectId
from mediavault.store.receive import PackReceiver
from mediavault.wire import problems
from mediavault_server.problems import RequestRefusedError
from mediavault_server.repositories import HostedRepository
from mediavault_server.streams import in_order, in_thread
from mediavault_server.uploads import keep_chunks, new_upload

_UNFIT: Final = (IntegrityError, UnsupportedFormatError)
"""What an upload that is not what it claims to be makes the parsers raise."""


async def receive_pack(
    repo: HostedRepository, pack: ObjectId, blocks: AsyncIterator[list[bytes]], max_size: int
) -> bool:
    """Take a pack that is streamed in: to a file of the storage's own first, into the repository when it is checked.

    Of an upload that breaks off the whole chunks are kept, so that the sender needs not send them again.

    Returns:
        whether it is new.

    Raises:
        RequestRefusedError: it is not what its name says, not of this repository's suite, or not closed.
    """
    file = new_upload(repo.spool)
    receiver = await in_thread(partial(PackReceiver, file, pack, max_size=max_size))
    try:
        await in_order(partial(_feed, receiver), blocks)
    except (ClientDisconnect, asyncio.CancelledError):
        await asyncio.shield(in_thread(partial(keep_chunks, repo, receiver, file)))
        raise
    except BaseException:
        await in_thread(receiver.close)
        raise
    try:
        return await in_thread(partial(_accept, repo, receiver))
    finally:
        await in_thread(receiver.close)


def store_frame(repo: HostedRepository, frame: Frame) -> bool:
    """Keep one frame as a pack of its own, under a name that never was.

    Returns:
        whether an object of this id is new.

    Raises:
        RequestRefusedError: see `receive_pack`.
    """
    pack, data = pack_of_one(frame, plain=repo.plain)
    known = not repo.frames.missing([frame.header.id])
    with PackReceiver(new_upload(repo.spool), pack) as receiver:
        _feed(receiver, [data])
        if known:
            _check(repo, receiver)
            return False
        _accept(repo, receiver)
    return True


def pack_of_one(frame: Frame, *, plain: bool) -> tuple[ObjectId, bytes]:
    """Return name and bytes of a new pack that holds one frame.

    Raises:
        RequestRefusedError: the frame is of another suite, or its payload does not parse (plain repositories).
    """
    nonce = os.urandom(NONCE_BYTES)
    header = encode_pack_header(nonce, plain)
    try:
        row = row_of(frame, len(header), plain)
    except _UNFIT as error:
        raise RequestRefusedError(problems.MISMATCH, error.message) from error
    table = encode_table([row], plain)
    footer = encode_footer(len(header) + frame.size, 1, table)
    return pack_id(nonce, table), b"".join((header, frame.data, table, footer))


def _feed(receiver: PackReceiver, blocks: Iterable[bytes]) -> None:
    try:
        for block in blocks:
            receiver.feed(block)
    except _UNFIT as error:
        raise RequestRefusedError(problems.MISMATCH, error.message) from error


def _accept(repo: HostedRepository, receiver: PackReceiver) -> bool:
    _check(repo, receiver)
    try:
        return receiver.publish(repo.backend, repo.frames.index)
    except _UNFIT as error:
        raise RequestRefusedError(problems.MISMATCH, error.message) from error


def _check(repo: HostedRepository, receiver: PackReceiver) -> None:
    """Refuse what may not enter the repository."""
    try:
        receiver.finish()
    except _UNFIT as error:
        raise RequestRefusedError(problems.MISMATCH, error.message) from error
    if receiver.plain != repo.plain:
        raise RequestRefusedError(problems.MISMATCH, "The pack is not of this repository's suite.")
    missing = receiver.missing_links(repo.frames, limit=1000)
    if missing:
        raise RequestRefusedError(
            problems.NOT_CLOSED,
            f"Objects that this pack links to are missing: {len(missing)} or more.",
            missing=[link.id for link in missing],
        )
