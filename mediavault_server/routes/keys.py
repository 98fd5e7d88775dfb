"""`keys`: wrapped repository keys, which only a passphrase or a recovery code opens."""

from functools import partial

from blake3 import blake3
from starlette.requests import Request
from starlette.responses import Response

from mediavault.errors import FormatError
from mediavault.formats.slot import MAX_SLOT, check_slot_name
from mediavault.formats.wire import SlotList, encode_json, etag_of
from mediavault.hosting.slots import list_slots, read_slot, remove_slot, store_slot
from mediavault.wire import problems
from mediavault_server.problems import RequestRefusedError
from mediavault_server.requests import replaced, repository
from mediavault_server.streams import in_thread, whole_body


async def listing(request: Request) -> Response:
    """Return the names of the slots."""
    repo = await repository(request)
    names = await in_thread(partial(list_slots, repo))
    return Response(encode_json(SlotList(names)), media_type="application/json")


async def get(request: Request) -> Response:
    """Return a slot."""
    repo = await repository(request)
    blob = await in_thread(partial(read_slot, repo, _slot(request)))
    if blob is None:
        raise RequestRefusedError(problems.NOT_FOUND)
    return Response(blob.data, headers={"ETag": _etag(blob.data)}, media_type="application/json")


async def put(request: Request) -> Response:
    """Store a slot: a new one, or in place of the one that If-Match names."""
    repo = await repository(request)
    name, expected = _slot(request), replaced(request)
    body = await whole_body(request, MAX_SLOT)
    new = await in_thread(partial(store_slot, repo, name, body, expected))
    return Response(status_code=201 if new else 200, headers={"ETag": _etag(body)})


async def delete(request: Request) -> Response:
    """Remove the slot that If-Match names."""
    repo = await repository(request)
    name, expected = _slot(request), replaced(request)
    if expected is None:
        raise RequestRefusedError(problems.PRECONDITION_REQUIRED, "Send If-Match.")
    await in_thread(partial(remove_slot, repo, name, expected))
    return Response(status_code=204)


def _slot(request: Request) -> str:
    name: str = request.path_params["slot"]
    try:
        check_slot_name(name)
    except FormatError as error:
        raise RequestRefusedError(problems.BAD_REQUEST, error.message) from error
    return name


def _etag(data: bytes) -> str:
    return etag_of(blake3(data).digest())
