"""The web application of a server that is a cache of another: what stands around its calls."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mediavault.hosting.refusal import RefusedError
from mediavault.wire.http import Patience
from mediavault_backends.disk_cache import DiskCache
from mediavault_server import openapi
from mediavault_server.app import THREADS
from mediavault_server.guard import RequestGuard
from mediavault_server.problems import RequestRefusedError, answer_error, problem_for, problem_response
from mediavault_server.routes import health
from mediavault_server.settings import ServerSettings
from mediavault_server.upstream.calls import Calls
from mediavault_server.upstream.origin import Caller, Origin, UpstreamAnswerError
from mediavault_server.upstream.relay import Relay, respond

_LOG: Final = logging.getLogger("mediavault_server")
CONNECT_TIMEOUT: Final = 5.0
"""Seconds until upstream counts as away."""
READY_TIMEOUT: Final = 5.0
METHODS: Final = ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH")


def create_upstream_app(settings: ServerSettings) -> ASGIApp:
    """Return the application of a cache of `settings.upstream`."""
    routes = [
        Route("/health", _ready),
        Route("/healthz", health.live),
        Route("/readyz", _ready),
        Route("/openapi.json", _describe),
        Route("/{path:path}", _serve, methods=list(METHODS)),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            HTTPException: answer_error,
            RefusedError: _answer_refusal,
            UpstreamAnswerError: _answer_as_upstream,
            Exception: answer_error,
        },
        lifespan=_lifespan,
    )
    app.router.redirect_slashes = False
    app.state.settings = settings
    return RequestGuard(app, settings.api_key, relayed=settings.relay_keys)


async def _serve(request: Request) -> Response:
    calls: Calls = request.app.state.calls
    try:
        return await calls.serve(request)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody reads it


async def _answer_refusal(request: Request, error: Exception) -> Response:
    """Turn a refusal into its answer, also one that comes with a body's first block; upstream's faults are no traceback."""
    refusal = problem_for(error)
    if refusal.kind.status >= 500:
        _LOG.warning("%s %s: %s", request.method, request.url.path, refusal.detail)
    return problem_response(refusal)


async def _answer_as_upstream(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, UpstreamAnswerError)
    return respond(error.answer)


async def _ready(request: Request) -> Response:
    """Answer whether upstream does, and whether anything can be kept; the latter hinders nobody."""
    cache: DiskCache = request.app.state.cache
    usable = cache.usable
    state = await _upstream_state(request.app.state.relay)
    checks = {"upstream": state, "cache": "ok" if usable else "cannot be written: nothing is kept"}
    fine = state == "ok"
    return JSONResponse({"status": "ok" if fine else "failing", "checks": checks}, 200 if fine else 503)


async def _upstream_state(relay: Relay) -> str:
    try:
        async with asyncio.timeout(READY_TIMEOUT):
            answer = await relay.ask(Caller("", ""), "GET", "/readyz")
    except (TimeoutError, RequestRefusedError):
        return "no answer"
    return "ok" if answer.status == 200 else f"answers {answer.status}"


async def _describe(request: Request) -> Response:
    del request
    return JSONResponse(openapi.document())


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
    """Give the process its threads, connections and cache, and take them away at its end."""
    settings: ServerSettings = app.state.settings
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="cache")
    asyncio.get_running_loop().set_default_executor(threads)
    patience = Patience(CONNECT_TIMEOUT, settings.stall_timeout, retries=0, connections=2 * THREADS)
    origin = Origin(settings.upstream, patience)
    relay = Relay(origin, settings.max_pack_size)
    app.state.relay = relay
    app.state.cache = DiskCache(Path(settings.cache), settings.cache_size)
    app.state.calls = Calls(settings, origin, relay, app.state.cache)
    try:
        yield {"header_timeout": settings.header_timeout, "stall_timeout": settings.stall_timeout}
    finally:
        origin.close()
        relay.close()
        threads.shutdown(wait=True, cancel_futures=True)
