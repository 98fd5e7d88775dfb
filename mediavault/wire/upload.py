"""Packs of one push on their way straight into the store: granted ahead, put, completed, settled before anything needs them."""

import hashlib
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, Protocol, TypeVar

import msgspec

from mediavault.formats.wire import (
    CompleteRequest,
    CompleteResponse,
    Grant,
    GrantList,
    GrantRequest,
    OfferedPack,
)
from mediavault.model.ids import ObjectId
from mediavault.wire.http import Patience, UnreachableError
from mediavault.wire.straight import SMALLEST, ExpiredError, Straight
from mediavault_backends.api import Buffer

AHEAD: Final = 4
"""For how many packs grants are asked at once. Their SHA-256 is taken meanwhile: they are read twice."""
TOLD_AT_ONCE: Final = 8
"""After how many puts the server is told, so that it can begin to check them."""
MOST_TOLD: Final = 512
LONGEST_WAIT: Final = 20.0
"""Seconds that an answer may wait for checks."""


class PackBody(Protocol):
    """A pack to send."""

    @property
    def id(self) -> ObjectId:
        """The pack's name."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    def blocks(self) -> Iterator[Buffer]:
        """Yield its bytes, from the start at every call."""


Body = TypeVar("Body", bound=PackBody)
Message = TypeVar("Message", bound=msgspec.Struct)


class Ask(Protocol):
    """Sends a message to the server and returns its answer."""

    def __call__(self, path: str, message: msgspec.Struct, answer: type[Message]) -> Message:
        """Send to `path`, and read what comes as `answer`."""


class Upload:
    """The packs of one push that went straight into the store. Safe to use from several threads.

    Args:
        ask: sends a message to the server.
        straight: the store.
        send: sends a pack through the server.
        patience: how long an answer may take, and how often in a row the server may have checked nothing meanwhile.
    """

    def __init__(self, ask: Ask, straight: Straight, send: Callable[[PackBody], object], patience: Patience) -> None:
        self._ask = ask
        self._straight = straight
        self._send = send
        self._retries = patience.retries
        self._wait = int(min(LONGEST_WAIT, patience.stall_timeout / 2))
        self._name = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._settling = threading.Lock()
        self._grants: dict[ObjectId, tuple[OfferedPack, Grant]] = {}
        self._put: dict[ObjectId, PackBody] = {}
        self._untold = 0

    @property
    def headers(self) -> Mapping[str, str]:
        """What tells the server whose question it is: what this upload put is there for it before it is for others."""
        with self._lock:
            return {"X-Mediagit-Upload": self._name} if self._put else {}

    def ahead(self, packs: Iterable[Body]) -> Iterator[Body]:
        """Yield packs, for which it was asked where to put them."""
        left = iter(packs)
        while batch := list(islice(left, AHEAD)):
            if self._straight.usable:
                self._ask_grants([_offer(pack) for pack in batch if pack.size >= SMALLEST])
            yield from batch

    def put(self, pack: PackBody) -> bool:
        """Put a pack straight into the store, if that was granted; return whether it is there."""
        with self._lock:
            granted = self._grants.pop(pack.id, None)
        if granted is None or not self._straight.usable or not self._try(pack, *granted):
            return False
        with self._lock:
            self._put[pack.id] = pack
            self._untold += 1
            told = list(self._put) if self._untold >= TOLD_AT_ONCE else []
            self._untold = 0 if told else self._untold
        if told:
            self._complete(told[:MOST_TOLD], wait=0)
        return True

    def settle(self) -> None:
        """Wait until everything that was put so far is checked and there for all; what is refused goes through the server.

        Raises:
            UnreachableError: the server is not done with it.
        """
        with self._settling:
            failures, waiting = 0, self._waiting()
            while waiting:
                self._complete(waiting[:MOST_TOLD], wait=self._wait)
                still = set(self._waiting())
                left = [pack for pack in waiting if pack in still]
                failures = failures + 1 if len(left) == len(waiting) else 0
                waiting = left
                if failures > self._retries:
                    raise UnreachableError("The server has not yet checked what was put into its store.")

    def _waiting(self) -> list[ObjectId]:
        with self._lock:
            return list(self._put)

    def _complete(self, packs: list[ObjectId], *, wait: int) -> None:
        """Tell the server what was put, and forget what it has done."""
        request = CompleteRequest(self._name, [pack.hex() for pack in packs], wait)
        answer = self._ask("/packs/complete", request, CompleteResponse)
        waiting, refused = set(answer.waiting), set(answer.refused)
        again = []
        with self._lock:
            for pack in packs:
                if pack.hex() in waiting or pack not in self._put:
                    continue
                body = self._put.pop(pack)
                if pack.hex() in refused:
                    again.append(body)
        for body in again:
            self._send(body)

    def _try(self, pack: PackBody, offer: OfferedPack, grant: Grant) -> bool:
        try:
            return self._straight.put(grant, pack.blocks(), pack.size)
        except ExpiredError:
            self._ask_grants([offer])
        with self._lock:
            granted = self._grants.pop(pack.id, None)
        try:
            return granted is not None and self._straight.put(granted[1], pack.blocks(), pack.size)
        except ExpiredError:
            self._straight.give_up()
            return False

    def _ask_grants(self, offers: list[OfferedPack]) -> None:
        if not offers:
            return
        answer = self._ask("/packs/grants", GrantRequest(self._name, offers), GrantList)
        with self._lock:
            for offer, grant in zip(offers, answer.grants, strict=False):
                if grant is not None:
                    self._grants[bytes.fromhex(offer.id)] = offer, grant


def _offer(pack: PackBody) -> OfferedPack:
    digest = hashlib.sha256()
    for block in pack.blocks():
        digest.update(block)
    return OfferedPack(pack.id.hex(), pack.size, digest.hexdigest())
