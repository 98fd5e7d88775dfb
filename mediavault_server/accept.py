"""How an upload arrives: streamed to a file of the storage's own, then handed to the repository; kept in part if it breaks off."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from starlette.requests import ClientDisconnect

from mediavault.hosting.accept import accept, feed
from mediavault.hosting.repository import HostedRepository
from mediavault.hosting.uploads import keep_chunks, new_upload
from mediavault.model.ids import ObjectId
from mediavault.store.receive import PackReceiver
from mediavault_server.streams import in_order, in_thread


async def receive_pack(
    repo: HostedRepository, pack: ObjectId, blocks: AsyncIterator[list[bytes]], max_size: int
) -> bool:
    """Take a pack that is streamed in: to a file of the storage's own first, into the repository when it is checked.

    Of an upload that breaks off the whole chunks are kept, so that the sender needs not send them again.

    Returns:
        whether it is new.

    Raises:
        RefusedError: it is not what its name says, not of this repository's suite, or not closed.
    """
    file = new_upload(repo.spool)
    receiver = await in_thread(partial(PackReceiver, file, pack, max_size=max_size, kept=repo.adopts))
    try:
        await in_order(partial(feed, receiver), blocks)
    except (ClientDisconnect, asyncio.CancelledError):
        await asyncio.shield(in_thread(partial(keep_chunks, repo, receiver, file)))
        raise
    except BaseException:
        await in_thread(receiver.close)
        raise
    try:
        return await in_thread(partial(accept, repo, receiver))
    finally:
        await in_thread(receiver.close)
