"""What is refused before a handler runs: paths not in their one form, foreign hosts, missing credentials."""

import hmac
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

from blake3 import blake3
from starlette.types import ASGIApp, Receive, Scope, Send

from mediavault.wire import problems
from mediavault_server.problems import RequestRefusedError, problem_response
from mediavault_server.settings import is_loopback

MAX_PATH: Final = 2048
OPEN_PATHS: Final = frozenset({"/health", "/healthz", "/readyz", "/openapi.json"})
"""What answers without credentials: it tells nothing about any repository."""

_FORBIDDEN: Final = re.compile(rb"%(?:2[fF]|5[cC]|0[0-9a-fA-F]|1[0-9a-fA-F]|7[fF])|[^\x21-\x7e]|[\\;]")
_BAD_PERCENT: Final = re.compile(rb"%(?![0-9a-fA-F]{2})")


class RequestGuard:
    """Lets a request through to `app`, or answers it.

    Args:
        app: what is guarded.
        api_key: what `Authorization: Bearer` must carry; empty lets everybody in, but only under loopback names, so
            that no web page can reach the server through a name of its own that resolves to this computer.
        relayed: keys are judged elsewhere, so that a request has to carry one, whatever it is.
    """

    def __init__(self, app: ASGIApp, api_key: str, *, relayed: bool = False) -> None:
        self._app = app
        self._relayed = relayed
        self._digest = _digest(api_key.encode()) if api_key else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "http":
            try:
                check_path(scope["raw_path"])
                self._check_head(scope)
            except RequestRefusedError as refusal:
                await problem_response(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check_head(self, scope: Scope) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if _count(headers, b"content-length") and _count(headers, b"transfer-encoding"):
            raise RequestRefusedError(problems.BAD_REQUEST, "Content-Length and Transfer-Encoding exclude each other.")
        if any(_count(headers, name) > 1 for name in (b"content-length", b"host", b"authorization", b"range")):
            raise RequestRefusedError(problems.BAD_REQUEST, "A header that may stand once is there twice.")
        if scope["path"] in OPEN_PATHS:
            return
        if self._relayed:
            if not _count(headers, b"authorization"):
                raise RequestRefusedError(problems.UNAUTHENTICATED, headers={"WWW-Authenticate": "Bearer"})
        elif self._digest:
            self._check_key(headers)
        elif not _names_this_computer(headers):
            raise RequestRefusedError(
                problems.FORBIDDEN, "A server without authentication answers under loopback names only."
            )

    def _check_key(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        given = next((value for name, value in headers if name == b"authorization"), b"")
        scheme, _, key = given.partition(b" ")
        # The digests are compared, so that neither time nor length tells anything about the key.
        if scheme.lower() != b"bearer" or not hmac.compare_digest(_digest(key.strip()), self._digest):
            raise RequestRefusedError(problems.UNAUTHENTICATED, headers={"WWW-Authenticate": "Bearer"})


def check_path(raw_path: bytes) -> None:
    """Refuse a path that could be read in two ways.

    Raises:
        RequestRefusedError: an encoded slash or backslash, control characters, dot or empty segments, broken percent
            signs, bytes that are no UTF-8, or more than 2,048 bytes.
    """
    if len(raw_path) > MAX_PATH:
        raise RequestRefusedError(problems.BAD_PATH, "The path is too long.")
    if not raw_path.startswith(b"/") or _FORBIDDEN.search(raw_path) or _BAD_PERCENT.search(raw_path):
        raise RequestRefusedError(problems.BAD_PATH)
    decoded = unquote_to_bytes(raw_path)
    try:
        decoded.decode()
    except UnicodeDecodeError:
        raise RequestRefusedError(problems.BAD_PATH, "The path is no UTF-8.") from None
    if raw_path != b"/" and any(segment in {b"", b".", b".."} for segment in decoded[1:].split(b"/")):
        raise RequestRefusedError(problems.BAD_PATH, "The path has an empty segment or one of dots.")


def _digest(secret: bytes) -> bytes:
    return blake3(secret).digest()


def _count(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> int:
    return sum(name == wanted for name, _ in headers)


def _names_this_computer(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    host = next((value for name, value in headers if name == b"host"), b"").decode("latin-1")
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name)
