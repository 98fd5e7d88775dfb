"""Whether this process lives, and whether it can do its work; answers everybody and tells nothing else."""

import asyncio
import contextlib
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mediavault_backends.api import Absent, Backend, Replicating
from mediavault_backends.errors import BackendError, NotFoundError, OutcomeUnknownError, PreconditionFailedError
from mediavault_backends.keys import SERVER_MARK
from mediavault_server.streams import in_thread

STORAGE_TIMEOUT: Final = 5.0


async def live(request: Request) -> Response:
    """Answer that the process runs."""
    del request
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    """Answer whether every dependency does. A second store that is behind is told, and hinders nobody."""
    storage: Backend = request.app.state.repositories.storage
    checks = {"storage": await _storage_state(storage)}
    if isinstance(storage, Replicating):
        checks["storage_secondary"] = await _secondary_state(storage)
    fine = checks["storage"] == "ok"
    return JSONResponse({"status": "ok" if fine else "failing", "checks": checks}, 200 if fine else 503)


def mark(storage: Backend) -> None:
    """Put the mark by which `ready` knows the storage: where it is gone, another disk is mounted, or none.

    Raises:
        BackendError: the storage cannot be read, or has no mark and cannot be written.
    """
    try:
        storage.stat(SERVER_MARK)
    except NotFoundError:
        with contextlib.suppress(PreconditionFailedError, OutcomeUnknownError):
            storage.put(SERVER_MARK, b'{"storage":1}', when=Absent())


async def _storage_state(storage: Backend) -> str:
    try:
        async with asyncio.timeout(STORAGE_TIMEOUT):
            await in_thread(partial(storage.stat, SERVER_MARK))
    except TimeoutError:
        return "no answer"
    except NotFoundError:
        return "not the storage that the server started with"
    except (BackendError, OSError) as error:
        return type(error).__name__
    return "ok"


async def _secondary_state(storage: Replicating) -> str:
    try:
        async with asyncio.timeout(STORAGE_TIMEOUT):
            lag = await in_thread(storage.lag)
    except TimeoutError:
        return "no answer"
    except BackendError as error:
        return type(error).__name__
    state = "" if lag.answers else "does not answer"
    if lag.pending:
        behind = f"{lag.pending} {'object' if lag.pending == 1 else 'objects'} behind, for {lag.oldest_seconds:.0f} s"
        return f"{behind}; {state}" if state else behind
    return state or ("ok" if lag.filled else "not filled yet")
