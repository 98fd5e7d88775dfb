"""`objects`: metadata and frames by id, for whoever walks history."""

from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from mediavault.errors import FormatError
from mediavault.formats.wire import PackRequest, decode_json
from mediavault.hosting.metadata import Wanted, assemble
from mediavault.wire import problems
from mediavault_server.problems import RequestRefusedError
from mediavault_server.requests import MAX_JSON, hex_id, id_list, repository
from mediavault_server.streams import BlockResponse, in_thread, whole_body

MAX_FRAMES: Final = 4096
MAX_NAMED: Final = 4096
"""How many ids one request for a pack may name."""


async def get(request: Request) -> Response:
    """Return the frames of the ids in the body, in their order."""
    repo = await repository(request)
    ids = await id_list(request, MAX_FRAMES)
    missing = await in_thread(partial(repo.frames.missing, ids))
    if missing:
        raise RequestRefusedError(problems.NOT_FOUND, "Some of these objects are missing.", missing=missing)
    return BlockResponse(frame.data for frame in repo.frames.read_many(ids))


async def pack(request: Request) -> Response:
    """Return a pack with the metadata reachable from `want` and not from `have`, parents first."""
    repo = await repository(request)
    asked = await wanted(request)
    source, chunked = await in_thread(partial(assemble, repo, asked))
    headers = {"X-Chunked-Objects": str(chunked), "Content-Length": str(source.size), "ETag": f'"{source.id.hex()}"'}
    if request.method == "HEAD":
        return Response(headers=headers, media_type="application/octet-stream")
    return BlockResponse(source.blocks(), 200, headers)


async def wanted(request: Request) -> Wanted:
    """Return what a request for a pack names.

    Raises:
        RequestRefusedError: too much, nothing, or not in a form that is accepted.
    """
    query = request.query_params
    if unknown := set(query) - {"want", "have", "depth", "trees"}:
        raise RequestRefusedError(problems.BAD_REQUEST, f"Unknown parameters: {', '.join(sorted(unknown))}.")
    want, have = query.getlist("want"), query.getlist("have")
    depth, trees = _depth(query.getlist("depth")), query.getlist("trees") or None
    if request.method == "POST":
        try:
            body = decode_json(await whole_body(request, MAX_JSON), PackRequest)
        except FormatError as error:
            raise RequestRefusedError(problems.BAD_REQUEST, error.message) from error
        want, have = want + body.want, have + body.have
        depth = body.depth if depth is None else depth
        trees = trees if body.trees is None else [*(trees or ()), *body.trees]
    if not want or len(want) + len(have) + len(trees or ()) > MAX_NAMED:
        raise RequestRefusedError(problems.BAD_REQUEST, f"Name between one and {MAX_NAMED} ids.")
    if depth is not None and depth < 1:
        raise RequestRefusedError(problems.BAD_REQUEST, "A depth is 1 or more.")
    return Wanted(
        [hex_id(i) for i in want],
        [hex_id(i) for i in have],
        depth,
        None if trees is None else [hex_id(i) for i in trees],
    )


def _depth(given: list[str]) -> int | None:
    if not given:
        return None
    if len(given) > 1 or not (given[0].isascii() and given[0].isdigit() and len(given[0]) < 10):
        raise RequestRefusedError(problems.BAD_REQUEST, "A depth is one number.")
    return int(given[0])
