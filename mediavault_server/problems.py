"""Refusals as RFC 9457 documents, and the one table that maps errors to them."""

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from mediavault.errors import (
    FormatError,
    IntegrityError,
    MediaVaultError,
    StorageError,
    UnsupportedFormatError,
    UsageError,
)
from mediavault.formats.wire import Problem, encode_json
from mediavault.hosting.refusal import RefusedError
from mediavault.model.ids import ObjectId
from mediavault.wire import problems
from mediavault.wire.problems import ProblemType
from mediavault_backends import errors as backend_errors

_LOG: Final = logging.getLogger("mediavault_server")


class RequestRefusedError(RefusedError):
    """A request is refused; the fields go into the answer.

    Args:
        kind: the type of the refusal.
        detail: what is wrong with this very request; never contains a secret.
        missing: ids that the request links to and that are not there.
        headers: more headers for the answer.
    """

    def __init__(
        self,
        kind: ProblemType,
        detail: str = "",
        *,
        missing: Iterable[ObjectId] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(kind, detail, missing=missing)
        self.headers = dict(headers or {})


RETRY_SOON: Final = {"Retry-After": "1"}
RETRY_LATER: Final = {"Retry-After": "3600"}
"""For what a store brings back from an archive class: it takes hours."""

_BACKEND_ERRORS: Final[tuple[tuple[type[Exception], ProblemType, Mapping[str, str]], ...]] = (
    (backend_errors.StorageFullError, problems.STORAGE_FULL, {}),
    (backend_errors.TransientError, problems.UNAVAILABLE, RETRY_SOON),
    (backend_errors.OutcomeUnknownError, problems.UNAVAILABLE, RETRY_SOON),
    (backend_errors.PreconditionFailedError, problems.PRECONDITION, {}),
    (backend_errors.NotFoundError, problems.NOT_FOUND, {}),
    (backend_errors.RestoringError, problems.ARCHIVED, RETRY_LATER),
    (backend_errors.ArchivedError, problems.ARCHIVED, {}),
    (backend_errors.AccessDeniedError, problems.INTERNAL, {}),
    (backend_errors.BackendSetupError, problems.INTERNAL, {}),
    (backend_errors.BackendError, problems.INTERNAL, {}),
    (FormatError, problems.DAMAGED, {}),  # what a client sends is checked where it is read; this is the storage's
    (IntegrityError, problems.DAMAGED, {}),
    (UnsupportedFormatError, problems.NEWER_FORMAT, {}),
    (UsageError, problems.BAD_REQUEST, {}),
    (StorageError, problems.INTERNAL, {}),
)


def problem_for(error: Exception) -> RefusedError:
    """Return the refusal that an error becomes; what is not in the table is the server's own failure."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, HTTPException):
        kind = {404: problems.NOT_FOUND, 405: problems.METHOD}.get(error.status_code, problems.BAD_REQUEST)
        return RequestRefusedError(kind, headers=error.headers)
    for expected, kind, headers in _BACKEND_ERRORS:
        if isinstance(error, expected):
            return RequestRefusedError(kind, _shown(error), headers=headers)
    return RequestRefusedError(problems.INTERNAL)


def _shown(error: Exception) -> str:
    """Return what a client is told of an error; what a store says is the operator's business."""
    match error:
        case MediaVaultError():
            return error.message
        case backend_errors.RestoringError():
            return f"{error.key} is on its way out of an archive class, which takes hours"
        case backend_errors.ArchivedError():
            return f"{error.key} is in an archive class; an operator runs `mediagit-server storage restore`"
        case _:
            return ""


def problem_response(refusal: RefusedError) -> Response:
    """Return the answer."""
    body = Problem(
        type=refusal.kind.uri,
        title=refusal.kind.title,
        status=refusal.kind.status,
        detail=refusal.detail,
        missing=refusal.missing,
        repository=refusal.repository,
        given=refusal.given,
    )
    headers = refusal.headers if isinstance(refusal, RequestRefusedError) else None
    return Response(encode_json(body), refusal.kind.status, media_type=problems.MEDIA_TYPE, headers=headers)


async def answer_error(request: Request, error: Exception) -> Response:
    """Turn any error of a handler into its answer; a failure of the server's own is logged with its traceback."""
    refusal = problem_for(error)
    if refusal.kind.status >= 500:
        _LOG.error("%s %s failed: %s", request.method, request.url.path, error, exc_info=error)
    return problem_response(refusal)
