"""The calls on a repository at a cache: which are answered from here, and which are passed on to upstream."""

import re
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from mediavault.formats.wire import PackRequest, encode_ids
from mediavault.model.ids import Kind
from mediavault.wire import problems
from mediavault.wire.http import Answer
from mediavault_backends.disk_cache import DiskCache
from mediavault_server.app import ROOTS
from mediavault_server.problems import RequestRefusedError
from mediavault_server.requests import byte_range, hex_id, id_list
from mediavault_server.routes.objects import MAX_FRAMES, wanted
from mediavault_server.settings import NAME, ServerSettings
from mediavault_server.streams import BlockResponse, in_thread
from mediavault_server.upstream.admission import Admissions
from mediavault_server.upstream.history import COUNT_HEADER, CachedHistory
from mediavault_server.upstream.objects import CachedObjects
from mediavault_server.upstream.origin import Caller, Origin, UpstreamAnswerError
from mediavault_server.upstream.packs import CachedPacks
from mediavault_server.upstream.relay import Relay, respond

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_MAX_PACK: Final = "X-Mediagit-Max-Pack"
_BINARY: Final = {"Content-Type": "application/octet-stream"}


class _Call(NamedTuple):
    """One request: the repository and the key, and the path below the repository."""

    request: Request
    caller: Caller
    path: str


class Calls:
    """Answers calls.

    Args:
        settings: which repositories are served, and with whose key.
        origin: upstream.
        relay: passes on.
        cache: keeps.
    """

    def __init__(self, settings: ServerSettings, origin: Origin, relay: Relay, cache: DiskCache) -> None:
        self._settings = settings
        self._origin = origin
        self._relay = relay
        self._admissions = Admissions(origin)
        self._packs = CachedPacks(origin, cache)
        self._history = CachedHistory(origin, cache)
        self._objects = CachedObjects(origin, self._packs)
        self._answered: tuple[tuple[str, re.Pattern[str], Callable[[_Call], Awaitable[Response]]], ...] = (
            ("GET", re.compile("/config"), self._config),
            ("GET HEAD", re.compile("/packs/[^/]+"), self._pack),
            ("GET HEAD", re.compile("/chunks/[^/]+"), self._chunk),
            ("POST", re.compile("/chunks/locate"), self._locate),
            ("POST", re.compile("/objects/get"), self._get),
            ("GET POST", re.compile("/objects/pack"), self._assemble),
        )

    async def serve(self, request: Request) -> Response:
        """Answer a request.

        Raises:
            UpstreamAnswerError: with upstream's answer in its place.
            RequestRefusedError: it cannot be answered.
            ClientDisconnect: the client went away.
        """
        call = self._read(request)
        for methods, pattern, handler in self._answered:
            if request.method in methods.split() and pattern.fullmatch(call.path):
                return await handler(call)
        return respond(await self._pass_on(call), head=request.method == "HEAD")

    def _read(self, request: Request) -> _Call:
        """Tell repository and call apart; a path at the root is a call on the default repository."""
        path = request.scope["raw_path"].decode("latin-1")
        segments = path.split("/")
        own = self._origin.project or f"/{self._settings.default_repository}"
        if segments[1] in ROOTS and len(own) > 1:
            project, rest = own, path
        elif len(segments) > 3 and segments[1] not in ROOTS and all(map(NAME.fullmatch, segments[1:3])):
            project, rest = "/".join(segments[:3]), "/" + "/".join(segments[3:])
        else:
            raise RequestRefusedError(problems.NOT_FOUND)
        if self._origin.project and project != self._origin.project:
            raise RequestRefusedError(problems.NO_REPOSITORY, f"This server has {self._origin.project[1:]} alone.")
        key = self._settings.upstream_api_key
        authorization = f"Bearer {key}" if key else request.headers.get("authorization", "")
        return _Call(request, Caller(project, authorization), rest)

    async def _pass_on(self, call: _Call) -> Answer:
        query = call.request.scope["query_string"].decode("latin-1")
        return await self._relay.pass_on(call.request, call.caller, call.path + (f"?{query}" if query else ""))

    async def _admit(self, call: _Call) -> None:
        await in_thread(partial(self._admissions.check, call.caller))

    async def _config(self, call: _Call) -> Response:
        """Pass on; the largest pack is what both servers take."""
        answer = await self._pass_on(call)
        self._admissions.learn(call.caller, answer)
        response = respond(answer)
        if (limit := answer.headers.get(_MAX_PACK, "")).isdecimal():
            response.headers[_MAX_PACK] = str(min(int(limit), self._settings.max_pack_size))
        return response

    async def _pack(self, call: _Call) -> Response:
        pack = hex_id(call.path.rpartition("/")[2])
        await self._admit(call)
        outline = await in_thread(partial(self._packs.outline, call.caller, pack))
        etag = f'"{pack.hex()}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "Cache-Control": "private, max-age=31536000, immutable"}
        if call.request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        part = byte_range(call.request, outline.size, etag)
        start, length = part or (0, outline.size)
        headers["Content-Length"] = str(length)
        if part is not None:
            headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{outline.size}"
        status = 200 if part is None else 206
        if call.request.method == "HEAD":
            return Response(status_code=status, headers=headers, media_type="application/octet-stream")
        return BlockResponse(self._packs.stream(call.caller, pack, start, length), status, headers)

    async def _chunk(self, call: _Call) -> Response:
        oid = hex_id(call.path.rpartition("/")[2])
        await self._admit(call)
        rows = await in_thread(partial(self._objects.locate, call.caller, [oid]))
        frame = await in_thread(partial(self._objects.read, call.caller, rows[0])) if rows else None
        if frame is None or frame.header.kind is not Kind.CHUNK:
            return respond(await self._pass_on(call), head=call.request.method == "HEAD")
        etag = f'"{frame.checksum.hex()}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes"}
        if call.request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        part = byte_range(call.request, frame.size, etag)
        if part is None:
            return Response(bytes(frame.data), headers=headers, media_type="application/octet-stream")
        start, length = part
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{frame.size}"
        return Response(bytes(frame.data[start : start + length]), 206, headers, "application/octet-stream")

    async def _locate(self, call: _Call) -> Response:
        """Pass on the plain form alone: an answer with addresses of the store would lead past this cache."""
        ids = await id_list(call.request)
        return respond(await self._relay.ask(call.caller, "POST", "/chunks/locate", encode_ids(ids), _BINARY))

    async def _get(self, call: _Call) -> Response:
        ids = await id_list(call.request, MAX_FRAMES)
        await self._admit(call)
        rows = await in_thread(partial(self._objects.locate, call.caller, ids))
        if rows is None:  # upstream says which are missing
            raise UpstreamAnswerError(
                await self._relay.ask(call.caller, "POST", "/objects/get", encode_ids(ids), _BINARY)
            )
        return BlockResponse(self._objects.read_all(call.caller, rows))

    async def _assemble(self, call: _Call) -> Response:
        asked = await wanted(call.request)
        await self._admit(call)
        trees = None if asked.trees is None else [tree.hex() for tree in asked.trees]
        request = PackRequest([i.hex() for i in asked.want], [i.hex() for i in asked.have], asked.depth, trees)
        found = await in_thread(partial(self._history.assemble, call.caller, request))
        headers = {COUNT_HEADER: found.chunked, "Content-Length": str(found.size), "ETag": f'"{found.pack.hex()}"'}
        return BlockResponse(found.blocks, 200, headers)
