"""What handlers ask of a request: its repository, ids, conditions and ranges, each in the one form that is accepted."""

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from starlette.requests import Request

from mediavault.errors import FormatError, UsageError
from mediavault.formats.wire import CheckRequest, decode_ids, decode_json, parse_etag
from mediavault.hosting.quarantine import UPLOAD
from mediavault.hosting.repository import HostedRepository
from mediavault.model.ids import ObjectId, parse_id
from mediavault.model.names import check_ref_name
from mediavault.wire import problems
from mediavault_server.problems import RequestRefusedError
from mediavault_server.streams import in_thread, whole_body

if TYPE_CHECKING:
    from mediavault_server.repositories import Repositories

MAX_JSON: Final = 1 << 20
MAX_IDS: Final = 65_536
MAX_JSON_IDS: Final = 10_000
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def address(request: Request) -> tuple[str, str]:
    """Return team and project of a request; the default ones for a path at the root."""
    params = request.path_params
    if "team" in params:
        return params["team"], params["project"]
    team, _, project = request.app.state.settings.default_repository.partition("/")
    return team, project


async def repository(request: Request) -> HostedRepository:
    """Return the repository that a request is about.

    Raises:
        RequestRefusedError: there is none.
    """
    repositories: Repositories = request.app.state.repositories
    return await in_thread(partial(repositories.open, *address(request)))


def path_id(request: Request) -> ObjectId:
    """Return the id in the path.

    Raises:
        RequestRefusedError: it is not 64 lower-case hex digits.
    """
    return hex_id(request.path_params["id"])


def hex_id(text: str) -> ObjectId:
    """Read an id.

    Raises:
        RequestRefusedError: it is not 64 lower-case hex digits.
    """
    try:
        return parse_id(text)
    except UsageError as error:
        raise RequestRefusedError(problems.BAD_REQUEST, error.message) from error


def path_ref(request: Request) -> str:
    """Return the ref's name in the path.

    Raises:
        RequestRefusedError: it breaks the grammar of ref names.
    """
    name: str = request.path_params["name"]
    try:
        check_ref_name(name)
    except UsageError as error:
        raise RequestRefusedError(problems.BAD_REQUEST, error.message) from error
    return name


def upload_of(request: Request) -> str:
    """Return which upload a request belongs to; empty for none.

    Raises:
        RequestRefusedError: it is not 32 lower-case hex digits.
    """
    return check_upload(text) if (text := request.headers.get("x-mediagit-upload")) is not None else ""


def check_upload(text: str) -> str:
    """Return the name of an upload.

    Raises:
        RequestRefusedError: it is not 32 lower-case hex digits.
    """
    if UPLOAD.fullmatch(text) is None:
        raise RequestRefusedError(problems.BAD_REQUEST, "An upload is called by 32 lower-case hex digits.")
    return text


def is_json(request: Request) -> bool:
    """Tell whether the body is declared to be JSON."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


async def id_list(request: Request, limit: int = MAX_IDS) -> list[ObjectId]:
    """Return the ids in a body: 32 bytes each, or JSON `{"chunks": [hex, …]}`.

    Raises:
        RequestRefusedError: too many, or not of one of the forms.
    """
    try:
        if is_json(request):
            ids = [hex_id(text) for text in decode_json(await whole_body(request, MAX_JSON), CheckRequest).chunks]
            limit = min(limit, MAX_JSON_IDS)
        else:
            ids = decode_ids(await whole_body(request, limit * 32))
    except FormatError as error:
        raise RequestRefusedError(problems.BAD_REQUEST, error.message) from error
    if len(ids) > limit:
        raise RequestRefusedError(problems.TOO_LARGE, f"At most {limit} ids in this form.")
    return ids


def replaced(request: Request) -> bytes | None:
    """Return the hash that If-Match names, or None for `If-None-Match: *`.

    Raises:
        RequestRefusedError: neither or both are there, or in another form.
    """
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is None and none_match is None:
        raise RequestRefusedError(problems.PRECONDITION_REQUIRED, "Send If-Match, or If-None-Match: * for a new one.")
    if match is None:
        if none_match != "*":
            raise RequestRefusedError(problems.BAD_REQUEST, "If-None-Match is * or absent here.")
        return None
    if none_match is not None:
        raise RequestRefusedError(problems.BAD_REQUEST, "If-Match and If-None-Match exclude each other.")
    try:
        return parse_etag(match)
    except FormatError as error:
        raise RequestRefusedError(problems.BAD_REQUEST, error.message) from error


def byte_range(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """Return start and length of the range asked for; None for the whole, also where If-Range names another ETag.

    Raises:
        RequestRefusedError: several ranges, one that starts past the end, or no range of bytes.
    """
    text = request.headers.get("range")
    if text is None or request.headers.get("if-range", etag) != etag:
        return None
    refusal = {"Content-Range": f"bytes */{size}"}
    if "," in text:
        raise RequestRefusedError(problems.BAD_RANGE, "One range a request.", headers=refusal)
    found = _RANGE.fullmatch(text.replace(" ", ""))
    if found is None or not (found[1] or found[2]):
        raise RequestRefusedError(problems.BAD_RANGE, "A range looks like bytes=0-99.", headers=refusal)
    if not found[1]:
        length = min(int(found[2]), size)
        start = size - length
    else:
        start = int(found[1])
        length = (min(int(found[2]), size - 1) if found[2] else size - 1) - start + 1
    if start >= size or length <= 0:
        raise RequestRefusedError(problems.BAD_RANGE, f"There are {size} bytes.", headers=refusal)
    return start, length
