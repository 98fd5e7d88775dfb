"""`stats`: how much is stored of a repository."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from mediavault.formats.wire import encode_json
from mediavault.hosting.holdings import holdings
from mediavault_server.requests import repository
from mediavault_server.streams import in_thread


async def get(request: Request) -> Response:
    """Return how many objects, packs and refs there are, and how many bytes they take."""
    repo = await repository(request)
    found = await in_thread(partial(holdings, repo))
    return Response(encode_json(found), media_type="application/json")
