"""The store behind a server, spoken to with requests that the server signed. When the server is asked instead, `client` decides.

A URL is a secret that opens one object until it expires, so no message shows one. A store is sent nothing but what was
signed: no API key, no cookie; redirects are not followed.
"""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from urllib3.response import BaseHTTPResponse

from mediavault.errors import RemoteError
from mediavault.formats.wire import Grant, SignedRows
from mediavault.model.ids import ObjectId
from mediavault.wire.http import RETRIED, Patience, Traffic, UnreachableError, Wire

SMALLEST: Final = 8 << 20
"""Bytes of a pack from which on it is put straight into the store: below, asking for it costs more than it saves."""
MARGIN: Final = 60.0
"""Seconds before it expires from which on a URL is not used any more."""
MOST_URLS: Final = 4096
ATTEMPTS: Final = 2
"""How often in a row a store that once answered may fail without bringing a byte."""

_HEADER: Final = re.compile(r"(?:x-(?:amz|ms|goog)-[a-z0-9-]{1,80}|if-none-match|content-type)")


class ExpiredError(Exception):
    """The store says that a URL does not open the object: most likely, that it has expired."""


class _Address(NamedTuple):
    """Where a URL leads: to which host, and to what there."""

    origin: str
    target: str


class Straight:
    """What a client knows of the store behind one server. Safe to use from several threads.

    Args:
        patience: how long to wait for the store.
        secure: the server is asked over TLS, and so the store is too.
        clock: seconds, for what expires.
    """

    def __init__(self, patience: Patience, *, secure: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._secure = secure
        self._clock = clock
        self._lock = threading.Lock()
        self._wires: dict[str, Wire] = {}
        self._urls: OrderedDict[ObjectId, tuple[str, float]] = OrderedDict()
        self._samples: dict[ObjectId, ObjectId] = {}
        self._reached = False
        self._failures = 0
        self.fallbacks = 0
        self.usable = True

    @property
    def traffic(self) -> Traffic:
        """What was sent to stores and received from them so far."""
        with self._lock:
            parts = [wire.traffic for wire in self._wires.values()]
        return Traffic(sum(t.requests for t in parts), sum(t.sent for t in parts), sum(t.received for t in parts))

    def close(self) -> None:
        """Close all connections."""
        for wire in self._known_wires():
            wire.close()

    def abort(self) -> None:
        """Break off every transfer that is under way, in whatever thread."""
        for wire in self._known_wires():
            wire.abort()

    def give_up(self) -> None:
        """Leave the store alone from now on: the server has to do."""
        with self._lock:
            self.fallbacks += self.usable
            self.usable = False

    # Reading

    def remember(self, found: SignedRows) -> None:
        """Keep the URLs of an answer, and of each pack one object, by which it can be located again."""
        deadline = self._clock() + found.seconds - MARGIN
        with self._lock:
            for row in found.rows:
                self._samples.setdefault(row.pack, row.id)
            for pack, url in found.urls.items():
                if self._address(url) is not None:
                    self._urls[pack] = url, deadline
                    self._urls.move_to_end(pack)
            while len(self._urls) > MOST_URLS:
                self._urls.popitem(last=False)

    def url_of(self, pack: ObjectId) -> str | None:
        """Return the URL of a pack if it is known and still good."""
        with self._lock:
            url, deadline = self._urls.get(pack, ("", 0.0))
            return url if url and self._clock() < deadline else None

    def forget(self, pack: ObjectId) -> None:
        """Drop the URL of a pack."""
        with self._lock:
            self._urls.pop(pack, None)

    def sample_of(self, pack: ObjectId) -> ObjectId | None:
        """Return an object that stands in a pack which was located."""
        with self._lock:
            return self._samples.get(pack)

    def read(self, url: str, start: int, length: int) -> Generator[bytes]:
        """Yield a range of an object, or nothing where the server has to be asked.

        Raises:
            ExpiredError: the URL does not open it.
            UnreachableError: the connection broke; trying again may help.
        """
        address = self._address(url)
        if address is None:
            return
        wanted = {"Range": f"bytes={start}-{start + length - 1}"}
        try:
            with self._wire(address.origin).stream("GET", address.target, None, wanted) as (response, blocks):
                if not self._is_range(response, address.origin, start, length):
                    return
                for block in blocks:
                    length -= len(block)
                    if length < 0:
                        self.give_up()
                        return
                    self._works()
                    yield block
        except UnreachableError:
            if self._fails():
                raise
        except RemoteError:
            self.give_up()

    def _is_range(self, response: BaseHTTPResponse, origin: str, start: int, length: int) -> bool:
        """Tell whether an answer brings the range that was asked for.

        Raises:
            ExpiredError: the URL does not open the object.
            UnreachableError: the store cannot now.
        """
        if response.status in {401, 403}:
            raise ExpiredError
        if response.status in RETRIED:
            raise UnreachableError(f"The store {origin} cannot now: HTTP status {response.status}.")
        given = response.headers.get("Content-Range", "")
        if response.status == 206 and given.startswith(f"bytes {start}-{start + length - 1}/"):
            return True
        if response.status != 404:  # a pack that was collected: the server knows where its objects are now
            self.give_up()
        return False

    # Writing

    def put(self, grant: Grant, blocks: Iterable[Any], size: int) -> bool:
        """Put a pack where a grant allows it; return whether it is there now. Where not, the server has to be sent it.

        Raises:
            ExpiredError: the grant is not good any more.
        """
        address = self._address(grant.url)
        if address is None or not all(_is_sent(name, value) for name, value in grant.headers.items()):
            self.give_up()
            return False
        headers = {name: value for name, value in grant.headers.items() if name.lower() != "content-length"}
        try:
            answer = self._wire(address.origin).send("PUT", address.target, blocks, size, headers)
        except UnreachableError:
            self._fails()
            return False
        except RemoteError:
            self.give_up()
            return False
        if answer.status in {200, 201}:
            self._works()
            return True
        if answer.status in {401, 403}:
            raise ExpiredError
        if answer.status in RETRIED:
            self._fails()
        elif answer.status != 412:
            self.give_up()
        return False

    def _works(self) -> None:
        with self._lock:
            self._reached = True
            self._failures = 0

    def _fails(self) -> bool:
        """Note a failure; return whether the store is worth another try."""
        with self._lock:
            self._failures += 1
            worth = self._reached and self._failures <= ATTEMPTS
        if not worth:
            self.give_up()
        return worth

    def _known_wires(self) -> list[Wire]:
        with self._lock:
            return list(self._wires.values())

    def _wire(self, origin: str) -> Wire:
        with self._lock:
            wire = self._wires.get(origin)
            if wire is None:
                wire = self._wires[origin] = Wire(origin, {}, self._patience)
            return wire

    def _address(self, url: str) -> _Address | None:
        """Return where a URL leads; None where no request goes: no HTTP, a name and password, plain where TLS is due."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return None
        schemes = {"https"} if self._secure else {"http", "https"}
        if parts.scheme not in schemes or not parts.hostname or parts.username is not None or parts.fragment:
            return None
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        origin = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
        return _Address(origin, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))


def _is_sent(name: str, value: str) -> bool:
    """Tell whether a server may have a client send this header to a store: none that could carry it elsewhere."""
    known = _HEADER.fullmatch(name.lower()) is not None or name.lower() == "content-length"
    return known and value.isascii() and value.isprintable()
