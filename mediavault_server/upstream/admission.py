"""Who may read which repository: upstream decides, and is remembered for a moment."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from blake3 import blake3

from mediavault.wire.http import Answer
from mediavault_server.problems import RequestRefusedError
from mediavault_server.upstream.origin import Caller, Origin, UpstreamAnswerError, is_passing

FRESH: Final = 30.0
"""Seconds for which upstream is not asked again."""
OUTAGE: Final = 3600.0
"""Seconds for which whom upstream let in may go on while it cannot be asked."""
MOST: Final = 10_000
"""Callers that are remembered."""
_STRIPES: Final = 64


class Admissions:
    """Which callers upstream let read. Safe to use from several threads; of a key, only a digest is kept.

    Args:
        origin: decides.
        clock: seconds that only grow.
    """

    def __init__(self, origin: Origin, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._origin = origin
        self._clock = clock
        self._lock = threading.Lock()
        self._asking = [threading.Lock() for _ in range(_STRIPES)]
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def check(self, caller: Caller) -> None:
        """Return if the caller may read the repository.

        Raises:
            UpstreamAnswerError: upstream says no.
            RequestRefusedError: it does not answer, and did not let this caller in lately.
        """
        if self._age(caller) < FRESH:
            return
        with self._asking[_digest(caller)[0] % _STRIPES]:  # so that many of one caller's requests ask once
            if self._age(caller) < FRESH:
                return
            try:
                answer = self._origin.ask(caller, "GET", "/config")
            except RequestRefusedError:
                if self._age(caller) < OUTAGE:
                    return
                raise
            if is_passing(answer) and self._age(caller) < OUTAGE:
                return
            self.learn(caller, answer)
            if answer.status != 200:
                raise UpstreamAnswerError(answer)

    def learn(self, caller: Caller, answer: Answer) -> None:
        """Take note of how upstream answered when this caller asked for the repository's config."""
        digest = _digest(caller)
        with self._lock:
            if answer.status == 200:
                self._seen[digest] = self._clock()
                self._seen.move_to_end(digest)
                while len(self._seen) > MOST:
                    self._seen.popitem(last=False)
            elif not is_passing(answer):
                self._seen.pop(digest, None)

    def _age(self, caller: Caller) -> float:
        with self._lock:
            seen = self._seen.get(_digest(caller))
        return OUTAGE if seen is None else self._clock() - seen


def _digest(caller: Caller) -> bytes:
    return blake3(f"{caller.project}\0{caller.authorization}".encode()).digest()
