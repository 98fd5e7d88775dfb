"""The web application: which path is served by which handler, and what stands around all of them."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mediavault_backends.api import Backend, Replicating
from mediavault_server import openapi
from mediavault_server.guard import RequestGuard
from mediavault_server.problems import answer_error
from mediavault_server.repositories import Repositories
from mediavault_server.routes import chunks, config, grants, health, keys, objects, packs, refs, stats
from mediavault_server.settings import ServerSettings

THREADS: Final = 32
"""Storage calls that a process has under way at once."""

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

CALLS: Final[tuple[tuple[str, Mapping[str, Handler]], ...]] = (
    ("/config", {"GET": config.get, "PUT": config.put}),
    ("/keys", {"GET": keys.listing}),
    ("/keys/{slot}", {"GET": keys.get, "PUT": keys.put, "DELETE": keys.delete}),
    ("/chunks/check", {"POST": chunks.check}),
    ("/chunks/locate", {"POST": chunks.locate}),
    ("/chunks/{id}", {"GET": chunks.get_chunk, "PUT": chunks.put_chunk}),
    ("/manifests/{id}", {"PUT": chunks.put_manifest}),
    ("/packs/grants", {"POST": grants.grant}),
    ("/packs/complete", {"POST": grants.complete}),
    ("/packs/{id}", {"GET": packs.get, "PUT": packs.put}),
    ("/objects/get", {"POST": objects.get}),
    ("/objects/pack", {"GET": objects.pack, "POST": objects.pack}),
    ("/refs", {"GET": refs.listing}),
    ("/refs/{name:path}", {"GET": refs.get, "PUT": refs.put}),
    ("/logs/{name:path}", {"GET": refs.log}),
    ("/stats", {"GET": stats.get}),
)
"""Every call on a repository, by path below it and method."""

ROOTS: Final = frozenset(path.split("/")[1] for path, _ in CALLS)
"""First segments that are never a team's name, because they are calls on the default repository."""


def create_app(settings: ServerSettings, storage: Backend) -> ASGIApp:
    """Return the application over a storage."""
    routes = [
        Route("/health", health.ready),
        Route("/healthz", health.live),
        Route("/readyz", health.ready),
        Route("/openapi.json", _describe),
    ]
    if settings.default_repository:
        routes += [_route(path, handlers) for path, handlers in CALLS]
    routes += [_route("/{team}/{project}" + path, handlers) for path, handlers in CALLS]
    app = Starlette(
        routes=routes,
        exception_handlers={HTTPException: answer_error, Exception: answer_error},
        lifespan=_lifespan,
    )
    app.router.redirect_slashes = False
    app.state.settings = settings
    app.state.storage = storage
    return RequestGuard(app, settings.api_key)


async def _describe(request: Request) -> Response:
    del request
    return JSONResponse(openapi.document())


def _route(path: str, handlers: Mapping[str, Handler]) -> Route:
    async def serve(request: Request) -> Response:
        if request.path_params.get("team") in ROOTS:
            raise HTTPException(404)
        handler = handlers["GET" if request.method == "HEAD" else request.method]
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception as error:  # noqa: BLE001 -- the table in `problems` decides, and logs what is the server's fault
            return await answer_error(request, error)

    return Route(path, serve, methods=list(handlers))


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
    """Give the process its threads and its scratch folder, and take them away at its end."""
    settings: ServerSettings = app.state.settings
    scratch = Path(tempfile.mkdtemp(prefix="mediagit-server-"))
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="storage")
    asyncio.get_running_loop().set_default_executor(threads)
    app.state.repositories = Repositories(app.state.storage, scratch, create=settings.create_projects)
    try:
        yield {"header_timeout": settings.header_timeout, "stall_timeout": settings.stall_timeout}
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
        if isinstance(app.state.storage, Replicating):
            app.state.storage.close()
        shutil.rmtree(scratch, ignore_errors=True)
