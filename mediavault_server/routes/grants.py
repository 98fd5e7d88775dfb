"""`packs/grants` and `packs/complete`: packs of chunks that clients put straight into the store, into quarantine."""

from functools import partial
from typing import Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mediavault.errors import FormatError
from mediavault.formats.wire import (
    CompleteRequest,
    CompleteResponse,
    Grant,
    GrantList,
    GrantRequest,
    OfferedPack,
    decode_json,
    encode_json,
)
from mediavault.hosting.quarantine import LASTS
from mediavault.hosting.repository import HostedRepository
from mediavault.wire import problems
from mediavault_server.problems import RequestRefusedError
from mediavault_server.requests import MAX_JSON, check_upload, hex_id, repository
from mediavault_server.streams import in_thread, whole_body

MAX_GRANTS: Final = 64
"""Packs that one request may ask for."""
MAX_COMPLETE: Final = 1024
"""Packs that one request may name as put."""
LONGEST_WAIT: Final = 20
"""Seconds that an answer waits for checks at most."""

Message = TypeVar("Message", bound=msgspec.Struct)


async def grant(request: Request) -> Response:
    """Return for each pack where to put it; null where that goes through the server."""
    repo = await repository(request)
    asked = await _message(request, GrantRequest)
    if len(asked.packs) > MAX_GRANTS:
        raise RequestRefusedError(problems.TOO_LARGE, f"At most {MAX_GRANTS} packs at once.")
    upload, settings = check_upload(asked.upload), request.app.state.settings
    for pack in asked.packs:
        if not 0 < pack.size <= settings.max_pack_size:
            raise RequestRefusedError(problems.TOO_LARGE, f"A pack has at most {settings.max_pack_size} bytes.")
    found: list[Grant | None] = [None] * len(asked.packs)
    if settings.direct:
        found = await in_thread(lambda: [_grant(repo, upload, pack) for pack in asked.packs])
    return Response(encode_json(GrantList(LASTS, found)), media_type="application/json")


async def complete(request: Request) -> Response:
    """Look at packs that were put, and have their frames checked; perhaps wait for that."""
    repo = await repository(request)
    asked = await _message(request, CompleteRequest)
    if len(asked.packs) > MAX_COMPLETE:
        raise RequestRefusedError(problems.TOO_LARGE, f"At most {MAX_COMPLETE} packs at once.")
    upload, packs = check_upload(asked.upload), [hex_id(pack) for pack in asked.packs]
    patience = min(max(asked.wait, 0), LONGEST_WAIT)
    found = await in_thread(partial(repo.quarantine.complete, upload, packs, patience=patience))
    answer = CompleteResponse([i.hex() for i in found.waiting], [i.hex() for i in found.refused])
    return Response(encode_json(answer), media_type="application/json")


def _grant(repo: HostedRepository, upload: str, pack: OfferedPack) -> Grant | None:
    signed = repo.quarantine.grant(upload, hex_id(pack.id), size=pack.size, sha256=hex_id(pack.sha256))
    return Grant(signed.url, dict(signed.headers)) if signed else None


async def _message(request: Request, kind: type[Message]) -> Message:
    try:
        return decode_json(await whole_body(request, MAX_JSON), kind)
    except FormatError as error:
        raise RequestRefusedError(problems.BAD_REQUEST, error.message) from error
