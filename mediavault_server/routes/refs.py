"""`refs` and `logs`: names that move, and where they stood."""

import base64
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from mediavault.formats.ref import MAX_REF_BLOB
from mediavault.formats.wire import LogList, RefList, RefRow, encode_json, etag_of
from mediavault.hosting.refs import list_refs, move_ref, read_ref
from mediavault.refs.blobs import read_log
from mediavault.wire import problems
from mediavault_server.problems import RequestRefusedError
from mediavault_server.requests import path_ref, replaced, repository
from mediavault_server.streams import in_thread, whole_body


async def listing(request: Request) -> Response:
    """Return every ref that was ever moved, with its ETag; deleted ones (nil) too."""
    repo = await repository(request)
    blobs = await in_thread(partial(list_refs, repo))
    rows = [RefRow(blob.name, etag_of(blob.hash), base64.b64encode(blob.value_bytes).decode()) for blob in blobs]
    return Response(encode_json(RefList(rows)), media_type="application/json")


async def get(request: Request) -> Response:
    """Return a ref's value."""
    repo = await repository(request)
    blob = await in_thread(partial(read_ref, repo, path_ref(request)))
    if blob is None:
        raise RequestRefusedError(problems.NOT_FOUND)
    etag = etag_of(blob.hash)
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    return Response(blob.value_bytes, headers={"ETag": etag}, media_type="application/octet-stream")


async def log(request: Request) -> Response:
    """Return a ref's former values, oldest first."""
    repo = await repository(request)
    values = await in_thread(partial(read_log, repo.backend, path_ref(request)))
    encoded = [base64.b64encode(value).decode() for value in values]
    return Response(encode_json(LogList(encoded)), media_type="application/json")


async def put(request: Request) -> Response:
    """Move a ref to the value in the body, which only a key holder can have made."""
    repo = await repository(request)
    name, expected = path_ref(request), replaced(request)
    forced, adopted = _asked(request, "X-Mediagit-Force"), _asked(request, "X-Mediagit-Adopt")
    body = await whole_body(request, MAX_REF_BLOB)
    blob = await in_thread(partial(move_ref, repo, name, body, expected, forced=forced, adopted=adopted))
    return Response(status_code=201 if expected is None else 200, headers={"ETag": etag_of(blob.hash)})


def _asked(request: Request, name: str) -> bool:
    text = request.headers.get(name, "false")
    if text not in {"true", "false"}:
        raise RequestRefusedError(problems.BAD_REQUEST, f"{name} is true or false.")
    return text == "true"
