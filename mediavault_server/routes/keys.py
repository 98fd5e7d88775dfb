"""`keys`: wrapped repository keys, which only a passphrase or a recovery code opens. Changed conditionally, never over another."""

from functools import partial
from typing import Final

from blake3 import blake3
from starlette.requests import Request
from starlette.responses import Response

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.slot import MAX_SLOT, check_slot_name, decode_slot
from mediavault.formats.wire import SlotList, encode_json, etag_of
from mediavault.wire import problems
from mediavault_backends.api import Absent, Blob, Matches
from mediavault_backends.errors import NotFoundError, OutcomeUnknownError, PreconditionFailedError
from mediavault_server.problems import RequestRefusedError
from mediavault_server.repositories import HostedRepository
from mediavault_server.requests import replaced, repository
from mediavault_server.streams import in_thread, whole_body

PREFIX: Final = "keys/"


async def listing(request: Request) -> Response:
    """Return the names of the slots."""
    repo = await repository(request)
    keys = await in_thread(lambda: [stat.key.removeprefix(PREFIX) for stat in repo.backend.scan(PREFIX)])
    return Response(encode_json(SlotList([key for key in keys if "/" not in key])), media_type="application/json")


async def get(request: Request) -> Response:
    """Return a slot."""
    repo = await repository(request)
    blob = await in_thread(partial(_read, repo, _slot(request)))
    if blob is None:
        raise RequestRefusedError(problems.NOT_FOUND)
    return Response(blob.data, headers={"ETag": _etag(blob.data)}, media_type="application/json")


async def put(request: Request) -> Response:
    """Store a slot: a new one, or in place of the one that If-Match names."""
    repo = await repository(request)
    name, expected = _slot(request), replaced(request)
    body = await whole_body(request, MAX_SLOT)
    try:
        slot = decode_slot(body)
    except (FormatError, UnsupportedFormatError) as error:
        raise RequestRefusedError(problems.MISMATCH, error.message) from error
    if slot.slot != name or slot.repository != repo.config.repository.hex():
        raise RequestRefusedError(problems.MISMATCH, "The slot has another name, or is of another repository.")
    new = await in_thread(partial(_store, repo, name, body, expected))
    return Response(status_code=201 if new else 200, headers={"ETag": _etag(body)})


async def delete(request: Request) -> Response:
    """Remove the slot that If-Match names."""
    repo = await repository(request)
    name, expected = _slot(request), replaced(request)
    if expected is None:
        raise RequestRefusedError(problems.PRECONDITION_REQUIRED, "Send If-Match.")
    await in_thread(partial(_remove, repo, name, expected))
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


def _read(repo: HostedRepository, name: str) -> Blob | None:
    try:
        return repo.backend.get(PREFIX + name)
    except NotFoundError:
        return None


def _store(repo: HostedRepository, name: str, body: bytes, expected: bytes | None) -> bool:
    """Put a slot; its being there already, byte for byte, is success, so that a lost answer can be asked for again."""
    current = _read(repo, name)
    if current is not None and current.data == body:
        return False
    _check_expected(current, expected)
    try:
        repo.backend.put(PREFIX + name, body, when=Absent() if current is None else Matches(current.version))
    except (PreconditionFailedError, OutcomeUnknownError):
        found = _read(repo, name)
        if found is None or found.data != body:
            raise RequestRefusedError(problems.PRECONDITION) from None
    return current is None


def _remove(repo: HostedRepository, name: str, expected: bytes) -> None:
    current = _read(repo, name)
    if current is None:
        raise RequestRefusedError(problems.NOT_FOUND)
    _check_expected(current, expected)
    repo.backend.delete(PREFIX + name)


def _check_expected(current: Blob | None, expected: bytes | None) -> None:
    if expected is None and current is not None:
        raise RequestRefusedError(problems.SLOT_TAKEN)
    if expected is not None and (current is None or blake3(current.data).digest() != expected):
        raise RequestRefusedError(problems.PRECONDITION)
