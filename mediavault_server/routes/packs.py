"""`packs`: whole packs in, packs and ranges of them out."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from mediavault.hosting.repository import HostedRepository
from mediavault.store.keys import pack_key
from mediavault.wire import problems
from mediavault_backends.api import Stat
from mediavault_backends.errors import NotFoundError
from mediavault_server.accept import receive_pack
from mediavault_server.problems import RequestRefusedError
from mediavault_server.requests import byte_range, path_id, repository
from mediavault_server.streams import BlockResponse, body_blocks, in_thread


async def put(request: Request) -> Response:
    """Take a pack: 201 when it is new, 200 when it is there; answered when it is durable and indexed."""
    repo = await repository(request)
    pack = path_id(request)
    limit: int = request.app.state.settings.max_pack_size
    new = await receive_pack(repo, pack, body_blocks(request, limit), limit)
    return Response(status_code=201 if new else 200)


async def get(request: Request) -> Response:
    """Return a pack or one range of it."""
    repo = await repository(request)
    pack = path_id(request)
    key = pack_key(pack)
    stat = await in_thread(partial(_stat, repo, key))
    etag = f'"{pack.hex()}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=31536000, immutable"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    wanted = byte_range(request, stat.size, etag)
    start, length = wanted or (0, stat.size)
    headers["Content-Length"] = str(length)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{stat.size}"
    status = 200 if wanted is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type="application/octet-stream")
    blocks = await in_thread(partial(repo.backend.stream, key, start=start, length=length))
    return BlockResponse(blocks, status, headers)


def _stat(repo: HostedRepository, key: str) -> Stat:
    try:
        return repo.backend.stat(key)
    except NotFoundError:
        raise RequestRefusedError(problems.NOT_FOUND) from None
