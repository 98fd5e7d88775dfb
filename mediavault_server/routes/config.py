"""`config`: what the repository is, as the exact bytes that were stored when it was made."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from mediavault.formats.config import MAX_CONFIG, fingerprint
from mediavault.formats.wire import etag_of
from mediavault.hosting.chunks import signs
from mediavault.hosting.repository import HostedRepository
from mediavault.hosting.uploads import keep_chunks_of_the_dead
from mediavault.wire.problems import PROTOCOL
from mediavault_server.requests import MAX_IDS, address
from mediavault_server.streams import in_thread, whole_body


async def get(request: Request) -> Response:
    """Return the config, with what this server takes in the headers.

    A client begins with this, so here is kept what killed servers left of its last one.
    """
    repo = await in_thread(partial(request.app.state.repositories.reopen, *address(request)))
    await in_thread(partial(keep_chunks_of_the_dead, repo))
    if repo.quarantine.is_used:
        await in_thread(repo.quarantine.tidy)
    return await _answer(request, repo, 200)


async def put(request: Request) -> Response:
    """Make a repository of this config: 201 when it is new, 200 when this very one is there."""
    body = await whole_body(request, MAX_CONFIG)
    repo, new = await in_thread(partial(request.app.state.repositories.create, *address(request), body))
    return await _answer(request, repo, 201 if new else 200)


async def _answer(request: Request, repo: HostedRepository, status: int) -> Response:
    headers = {
        "ETag": etag_of(fingerprint(repo.config_bytes)),
        "X-Mediagit-Protocol": str(PROTOCOL),
        "X-Mediagit-Max-Pack": str(request.app.state.settings.max_pack_size),
        "X-Mediagit-Max-Ids": str(MAX_IDS),
    }
    if request.app.state.settings.direct and await in_thread(partial(signs, repo)):
        headers["X-Mediagit-Direct"] = "true"
    return Response(repo.config_bytes, status, headers, "application/json")
