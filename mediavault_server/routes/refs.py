"""`refs` and `logs`: names that move by compare-and-swap to what is there whole."""

import base64
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from mediavault.errors import FormatError, IntegrityError, RefMovedError, UsageError
from mediavault.formats.ref import MAX_REF_BLOB, RefValue, decode_ref_value, value_hash
from mediavault.formats.wire import LogList, RefList, RefRow, encode_json, etag_of
from mediavault.model.ids import Link
from mediavault.refs.advance import accept_value, check_move
from mediavault.refs.blobs import RefBlob, list_blobs, placeholder, read_blob, read_log
from mediavault.store.ancestry import is_ancestor, peel
from mediavault.wire import problems
from mediavault_server.problems import RequestRefusedError
from mediavault_server.repositories import HostedRepository
from mediavault_server.requests import path_ref, replaced, repository
from mediavault_server.streams import in_thread, whole_body


async def listing(request: Request) -> Response:
    """Return every ref that was ever moved, with its ETag; deleted ones (nil) too."""
    repo = await repository(request)
    blobs = await in_thread(partial(list_blobs, repo.backend))
    rows = [
        RefRow(blob.name, etag_of(blob.hash), base64.b64encode(blob.value_bytes).decode())
        for blob in blobs
        if _value(blob).seq
    ]
    return Response(encode_json(RefList(rows)), media_type="application/json")


async def get(request: Request) -> Response:
    """Return a ref's value."""
    repo = await repository(request)
    blob = await in_thread(partial(read_blob, repo.backend, path_ref(request)))
    if blob is None or not _value(blob).seq:
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
    forced = _forced(request)
    body = await whole_body(request, MAX_REF_BLOB)
    blob = await in_thread(partial(_move, repo, name, body, expected, forced=forced))
    return Response(status_code=201 if expected is None else 200, headers={"ETag": etag_of(blob.hash)})


def _value(blob: RefBlob) -> RefValue:
    """Return what is stored under a ref's name, parsed.

    Raises:
        IntegrityError: it is damaged.
    """
    try:
        return decode_ref_value(blob.value_bytes)
    except FormatError as error:
        raise IntegrityError(f"The ref {blob.name} is damaged: {error.message}") from error


def _forced(request: Request) -> bool:
    text = request.headers.get("x-mediagit-force", "false")
    if text not in {"true", "false"}:
        raise RequestRefusedError(problems.BAD_REQUEST, "X-Mediagit-Force is true or false.")
    return text == "true"


def _move(repo: HostedRepository, name: str, body: bytes, expected: bytes | None, *, forced: bool) -> RefBlob:
    repository_id = repo.config.repository
    former = read_blob(repo.backend, name)
    former_bytes = placeholder(repository_id, name) if former is None else former.value_bytes
    try:
        if body != former_bytes:
            new = _next_value(former_bytes, body, repo, name, expected)
            _check_target(repo, new.target)
            if not forced:
                _check_fast_forward(repo, decode_ref_value(former_bytes), new)
        return accept_value(
            repo.backend,
            repository_id,
            name,
            body,
            expected=expected,
            recheck=partial(_check_stored, repo, body),
        )
    except RefMovedError as error:
        raise RequestRefusedError(problems.PRECONDITION, error.message) from error
    except UsageError as error:
        raise RequestRefusedError(problems.MISMATCH, error.message) from error


def _next_value(former: bytes, body: bytes, repo: HostedRepository, name: str, expected: bytes | None) -> RefValue:
    """Return the new value, after telling a move that came too late from one that could never be made."""
    wanted = value_hash(placeholder(repo.config.repository, name)) if expected is None else expected
    if value_hash(former) != wanted:
        raise RequestRefusedError(problems.PRECONDITION, f"{name} was moved by someone else in the meantime.")
    return check_move(former, body, repository=repo.config.repository, name=name)


def _check_stored(repo: HostedRepository, value_bytes: bytes) -> None:
    _check_target(repo, decode_ref_value(value_bytes).target)


def _check_target(repo: HostedRepository, target: Link | None) -> None:
    """Refuse a target that is not there. Presence is closure: metadata enters only after what it links to."""
    if target is None:
        return
    if repo.frames.missing([target.id]):
        raise RequestRefusedError(problems.NOT_CLOSED, "The target is not there.", missing=[target.id])
    place = repo.frames.locate(target.id)
    if place is None or place.kind != target.kind:
        raise RequestRefusedError(problems.MISMATCH, "The target is of another kind.")


def _check_fast_forward(repo: HostedRepository, old: RefValue, new: RefValue) -> None:
    if old.target is None or new.target is None or old.target == new.target:
        return
    if new.name.startswith("tags/"):
        raise RequestRefusedError(problems.NOT_FAST_FORWARD, f"{new.name} is there already; tags do not move.")
    ancestor, descendant = peel(repo.frames, old.target), peel(repo.frames, new.target)
    if not is_ancestor(repo.frames, ancestor.id, descendant.id):
        raise RequestRefusedError(problems.NOT_FAST_FORWARD, f"{new.name} has commits that the new one lacks.")
