"""`chunks` and `manifests`: single frames, and which ids are there and where."""

from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.frame import MAX_FRAME, MAX_METADATA_FRAME, parse_frame
from mediavault.formats.wire import (
    SIGNED_ROWS,
    CheckResponse,
    SignedRows,
    encode_ids,
    encode_json,
    encode_located,
    encode_signed_rows,
)
from mediavault.hosting.accept import store_frame
from mediavault.hosting.chunks import locate as find_chunks
from mediavault.hosting.chunks import read_chunk, sign_packs
from mediavault.hosting.quarantine import LASTS
from mediavault.hosting.repository import HostedRepository
from mediavault.model.ids import Kind, ObjectId
from mediavault.wire import problems
from mediavault_server.problems import RequestRefusedError
from mediavault_server.requests import byte_range, id_list, is_json, path_id, repository, upload_of
from mediavault_server.streams import in_thread, whole_body

PATIENCE: Final = 5.0
"""Seconds that a question for what is missing waits for the checks of packs that hold it."""


async def check(request: Request) -> Response:
    """Return those of the ids in the body that are missing, in the form in which they were asked."""
    repo = await repository(request)
    ids = await id_list(request)
    missing = await in_thread(partial(repo.frames.missing, ids))
    if missing and repo.quarantine.is_used:
        missing = await in_thread(partial(_not_in_quarantine, repo, missing, upload_of(request)))
    if is_json(request):
        return Response(encode_json(CheckResponse([i.hex() for i in missing])), media_type="application/json")
    return Response(encode_ids(missing), media_type="application/octet-stream")


async def locate(request: Request) -> Response:
    """Return where the ids in the body stand; those that are missing are left out. Who asks for it also gets URLs."""
    repo = await repository(request)
    ids = await id_list(request)
    rows = await in_thread(partial(find_chunks, repo, ids))
    if request.headers.get("accept") == SIGNED_ROWS and request.app.state.settings.direct:
        urls = await in_thread(partial(sign_packs, repo, rows))
        return Response(encode_signed_rows(SignedRows(rows, LASTS, urls)), media_type=SIGNED_ROWS)
    return Response(encode_located(rows), media_type="application/octet-stream")


async def put_chunk(request: Request) -> Response:
    """Keep one chunk's frame."""
    return await _put(request, MAX_FRAME, chunk=True)


async def put_manifest(request: Request) -> Response:
    """Keep one metadata frame whose links are all there."""
    return await _put(request, MAX_METADATA_FRAME, chunk=False)


async def get_chunk(request: Request) -> Response:
    """Return a chunk's frame or a range of it."""
    repo = await repository(request)
    frame = await in_thread(partial(read_chunk, repo, path_id(request)))
    etag = f'"{frame.checksum.hex()}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    wanted = byte_range(request, frame.size, etag)
    if wanted is None:
        return Response(bytes(frame.data), headers=headers, media_type="application/octet-stream")
    start, length = wanted
    headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{frame.size}"
    return Response(bytes(frame.data[start : start + length]), 206, headers, "application/octet-stream")


def _not_in_quarantine(repo: HostedRepository, missing: list[ObjectId], upload: str) -> list[ObjectId]:
    """Return what is missing for this upload; for a new one, what an earlier one left behind is finished first."""
    if upload:
        present = repo.quarantine.present(upload, missing)
        return [oid for oid in missing if oid not in present]
    return repo.frames.missing(missing) if repo.quarantine.settle_holding(missing, patience=PATIENCE) else missing


async def _put(request: Request, limit: int, *, chunk: bool) -> Response:
    repo = await repository(request)
    wanted = path_id(request)
    body = await whole_body(request, limit)
    try:
        frame = await in_thread(partial(parse_frame, body))
    except (FormatError, UnsupportedFormatError) as error:
        raise RequestRefusedError(problems.MISMATCH, error.message) from error
    if frame.size != len(body) or frame.header.id != wanted or (frame.header.kind is Kind.CHUNK) is not chunk:
        raise RequestRefusedError(problems.MISMATCH, "The frame is not the one that the path names.")
    new = await in_thread(partial(store_frame, repo, frame))
    return Response(status_code=201 if new else 200)
