"""The server's application without its sockets: requests as text go in, whole answers come out, over storage in memory.

What uvicorn's parser makes of bytes on a connection is for `test_fuzzed_connections.py`.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import httptools
from starlette.types import ASGIApp

from mediavault.formats import config, metadata, ref, wire
from mediavault.model.ids import Kind, Link
from mediavault.model.objects import Commit
from mediavault.wire import problems
from mediavault_backends.memory import MemoryBackend
from mediavault_server.app import create_app
from mediavault_server.routes import health
from mediavault_server.settings import ServerSettings
from tests.golden import samples

PATIENCE: Final = 30.0
"""Seconds after which a request counts as hung."""

_HOST: Final = b"host: localhost"


class Answer(NamedTuple):
    """What came back: the status, the headers by name in lower case, the body."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """Return a request as `send` takes it: a line, headers, an empty line and the body, with bare newlines."""
    lines = [f"{method} {path}".encode(), _HOST, *(header.encode("latin-1") for header in headers)]
    return b"\n".join(lines) + b"\n\n" + body


@contextmanager
def opened() -> Iterator[Callable[[bytes], object]]:
    """Give the check of one request: it is answered, without a failure of the server's own, and in the protocol's form."""
    with asyncio.Runner() as runner:
        app, state, stop = runner.run(_start())
        for seed in _FIRST:
            runner.run(_send(app, state, seed))
        try:
            yield lambda data: check_answer(runner.run(asyncio.wait_for(_send(app, state, data), PATIENCE)))
        finally:
            runner.run(stop())


def check_answer(answer: Answer | None) -> None:
    """Assert that an answer is no failure, and that a refusal is a problem document."""
    if answer is None:
        return  # the line was none that a connection lets through
    assert 200 <= answer.status < 500, answer
    if answer.status >= 400:
        assert answer.headers["content-type"] == problems.MEDIA_TYPE, answer
        document = json.loads(answer.body)
        assert document["status"] == answer.status
        assert document["type"] in problems.BY_URI


async def _start() -> tuple[ASGIApp, dict[str, Any], Callable[[], Any]]:
    settings = ServerSettings(storage={"backend": "memory"}, default_repository="studio/film", stall_timeout=5.0)
    storage = MemoryBackend()
    health.mark(storage)
    app = create_app(settings, storage)
    told: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    heard: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    state: dict[str, Any] = {}
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state}
    running = asyncio.ensure_future(_lifespan(app, scope, told, heard))
    await told.put({"type": "lifespan.startup"})
    assert (await heard.get())["type"] == "lifespan.startup.complete"

    async def stop() -> None:
        await told.put({"type": "lifespan.shutdown"})
        await running

    return app, state, stop


async def _lifespan(app: ASGIApp, scope: Any, told: "asyncio.Queue[Any]", heard: "asyncio.Queue[Any]") -> None:
    await app(scope, told.get, heard.put)


async def _send(app: ASGIApp, state: dict[str, Any], data: bytes) -> Answer | None:
    head, _, body = data.partition(b"\n\n")
    line, *fields = head.split(b"\n")
    scope = _scope(line, fields, state)
    if scope is None:
        return None
    pieces = [body[: len(body) // 2], body[len(body) // 2 :]]
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        if not pieces:
            await asyncio.Event().wait()  # the client stays, and says nothing more
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *blocks = sent
    assert start["type"] == "http.response.start"
    assert blocks
    assert [block.get("more_body", False) for block in blocks] == [True] * (len(blocks) - 1) + [False]
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in start["headers"]}
    answer = Answer(start["status"], headers, b"".join(bytes(block.get("body", b"")) for block in blocks))
    if "content-length" in headers and scope["method"] != "HEAD" and answer.status != 304:
        assert int(headers["content-length"]) == len(answer.body), answer
    return answer


def _scope(line: bytes, fields: list[bytes], state: dict[str, Any]) -> dict[str, Any] | None:
    """Return what uvicorn makes of a request's head; None where its parser refuses it."""
    method, _, target = line.partition(b" ")
    try:
        url = httptools.parse_url(target)
        path = unquote(url.path.decode("ascii"))
        name = method.decode("ascii")
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError, AttributeError, TypeError):
        return None
    if not name.isalpha():
        return None
    headers = [(key.lower().strip(), value.strip()) for key, _, value in (field.partition(b":") for field in fields)]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 9),
        "scheme": "http",
        "root_path": "",
        "method": name,
        "path": path,
        "raw_path": url.path,
        "query_string": url.query or b"",
        "headers": [(key, value) for key, value in headers if key],
        "state": state.copy(),
    }


_CONFIG: Final = config.encode_config(samples.PLAIN_CONFIG)
_JSON: Final = "content-type: application/json"
_HELLO: Final = samples.HELLO_ID.hex()
_TREE: Final = samples.FIXTURES["empty-tree.frame"]
_TREE_ID: Final = _TREE[7:39]
_PACK: Final = samples.PLAIN_PACK_ID.hex()
_LINKS, _STORED = metadata.encode_commit(
    Commit(_TREE_ID, (), samples.ADA, samples.THEN, samples.ADA, samples.THEN, 1, "First cut")
)
_COMMIT: Final = samples.frame_of(Kind.COMMIT, _LINKS, _STORED, 1)
_COMMIT_ID: Final = _COMMIT[7:39]
_VALUE: Final = ref.encode_ref_value(
    ref.RefValue(
        samples.REPOSITORY,
        "heads/main",
        0,
        1,
        Link(Kind.COMMIT, _COMMIT_ID),
        ref.value_hash(ref.encode_ref_value(samples.PLACEHOLDER)),
        samples.SECONDS,
    )
)
_ETAG: Final = wire.etag_of(ref.value_hash(_VALUE))

_FIRST: Final = (
    request("PUT", "/config", _CONFIG, _JSON),
    request("PUT", f"/packs/{_PACK}", samples.PLAIN_PACK),
    request("PUT", f"/manifests/{_TREE_ID.hex()}", _TREE),
    request("PUT", f"/manifests/{_COMMIT_ID.hex()}", _COMMIT),
    request("PUT", "/refs/heads/main", _VALUE, "if-none-match: *"),
)
"""What makes the repository that all requests meet."""

SEEDS: Final = (
    *_FIRST,
    request("GET", "/studio/film/config"),
    request("GET", "/health"),
    request("GET", "/openapi.json"),
    request("GET", "/keys"),
    request("PUT", "/keys/passphrase-1", samples.FIXTURES["passphrase.slot"], "if-none-match: *"),
    request("GET", "/keys/passphrase-1"),
    request("DELETE", "/keys/passphrase-1", b"", 'if-match: "' + "ab" * 32 + '"'),
    request("POST", "/chunks/check", samples.HELLO_ID + bytes(32)),
    request("POST", "/chunks/check", b'{"chunks":["%b"]}' % _HELLO.encode(), _JSON),
    request("POST", "/chunks/locate", samples.HELLO_ID),
    request("GET", f"/chunks/{_HELLO}", b"", "range: bytes=1-9"),
    request("PUT", f"/chunks/{_HELLO}", samples.HELLO_FRAME),
    request("GET", f"/packs/{_PACK}", b"", "range: bytes=-40", f'if-range: "{_PACK}"'),
    request("HEAD", f"/studio/film/packs/{_PACK}"),
    request("POST", "/objects/get", _TREE_ID),
    request("GET", f"/objects/pack?want={_COMMIT_ID.hex()}&have={'ab' * 32}"),
    request("POST", "/objects/pack", b'{"want":["%b"],"have":[]}' % _COMMIT_ID.hex().encode(), _JSON),
    request("GET", "/refs"),
    request("GET", "/refs/heads/main", b"", f"if-none-match: {_ETAG}"),
    request("PUT", "/refs/heads/main", _VALUE, f"if-match: {_ETAG}", "x-mediagit-force: true"),
    request("GET", "/logs/heads/main"),
    request("GET", "/studio/film/refs/tags/Gr%C3%B6%C3%9Fe"),
    request("PUT", "/a/b/config", _CONFIG, "content-length: 999999"),
)
