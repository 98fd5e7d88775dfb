"""The upstream server: whole answers, uploads, and the bytes of packs, each asked for with the caller's own key."""

import re
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Final, NamedTuple

from mediavault.errors import RemoteError
from mediavault.model.ids import ObjectId
from mediavault.wire import problems
from mediavault.wire.client import split_url
from mediavault.wire.http import RETRIED, Answer, Patience, Wire
from mediavault_server.problems import RequestRefusedError

RETRY_AFTER: Final = "5"
"""Seconds after which a client may ask again when upstream is away."""
BREAKS: Final = 3
"""How often in a row a transfer may break without having brought a byte."""
_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


class Caller(NamedTuple):
    """Who asks for which repository: its path, such as `/studio/film`, and the value of Authorization, perhaps empty."""

    project: str
    authorization: str

    @property
    def headers(self) -> dict[str, str]:
        """What tells upstream who asks."""
        return {"Authorization": self.authorization} if self.authorization else {}


class UpstreamAnswerError(Exception):
    """Upstream answers otherwise than with what was asked for; its `answer` is for the client."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"upstream answers {answer.status}")
        self.answer = answer


class Origin:
    """One server. Safe to use from several threads.

    Args:
        url: its root, or the one project of it that is served.
        patience: how long to wait; nothing is repeated here, for clients do that themselves.
    """

    def __init__(self, url: str, patience: Patience) -> None:
        self.url, self.project = split_url(url)
        self._wire = Wire(self.url, {}, patience)

    def close(self) -> None:
        """Break off what is under way."""
        self._wire.abort()
        self._wire.close()

    def ask(
        self,
        caller: Caller,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make a call on the caller's repository and return the whole answer, whatever it is.

        Raises:
            RequestRefusedError: upstream does not answer.
        """
        try:
            target = caller.project + path
            return self._wire.ask(method, target, body, {**(headers or {}), **caller.headers}, repeat=False)
        except RemoteError as error:
            raise away(self.url) from error

    def send(
        self,
        caller: Caller,
        method: str,
        path: str,
        blocks: Iterable[bytes],
        *,
        size: int | None,
        headers: Mapping[str, str],
    ) -> Answer:
        """Send a body as it comes and return the whole answer, whatever it is.

        Raises:
            RequestRefusedError: upstream does not answer; it may have taken the body.
        """
        try:
            return self._wire.send(method, caller.project + path, blocks, size, {**headers, **caller.headers})
        except RemoteError as error:
            raise away(self.url) from error

    @contextmanager
    def stream(
        self, caller: Caller, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> Iterator[tuple[Mapping[str, str], Iterator[bytes]]]:
        """Make a call on the caller's repository and give the headers of the answer and the blocks of its body.

        Raises:
            UpstreamAnswerError: it is not 200.
            RequestRefusedError: upstream does not answer, or breaks off.
        """
        target = caller.project + path
        try:
            with self._wire.stream(method, target, body, {**headers, **caller.headers}) as (response, blocks):
                if response.status != 200:
                    raise UpstreamAnswerError(self._wire.whole(response))
                yield response.headers, blocks
        except RemoteError as error:
            raise away(self.url) from error

    def pack_end(self, caller: Caller, pack: ObjectId, length: int) -> tuple[bytes, int]:
        """Return the last bytes of a pack, and its size.

        Raises:
            UpstreamAnswerError: there is no such pack, or none for this caller.
            RequestRefusedError: upstream does not answer, or with another range.
        """
        answer = self.ask(caller, "GET", _path(pack), None, {"Range": f"bytes=-{length}"})
        if answer.status != 206:
            raise UpstreamAnswerError(answer)
        given = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        start, end, size = map(int, given.groups()) if given else (0, 0, 0)
        if end + 1 != size or start != max(0, size - length) or len(answer.body) != size - start:
            raise damaged(f"It sends another range than the end of pack {pack.hex()}.")
        return answer.body, size

    def pack_bytes(self, caller: Caller, pack: ObjectId, start: int, length: int) -> Generator[bytes]:
        """Yield a range of a pack; a connection that breaks goes on at the byte where it broke.

        Raises:
            UpstreamAnswerError: there is no such pack, or none for this caller.
            RequestRefusedError: upstream does not answer, or with another range.
        """
        end, failures = start + length, 0
        while start < end:
            before, lost = start, None
            try:
                with closing(self._range(caller, pack, start, end)) as blocks:
                    for block in blocks:
                        start += len(block)
                        yield block
            except RemoteError as error:
                lost = error
            failures = 0 if start > before else failures + 1
            if failures >= BREAKS:
                raise away(self.url) from lost

    def _range(self, caller: Caller, pack: ObjectId, start: int, end: int) -> Generator[bytes]:
        headers = {"Range": f"bytes={start}-{end - 1}", **caller.headers}
        with self._wire.stream("GET", caller.project + _path(pack), None, headers) as (response, blocks):
            if response.status != 206:
                raise UpstreamAnswerError(self._wire.whole(response))
            if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-{end - 1}/"):
                raise damaged(f"It sends another range of pack {pack.hex()} than it was asked for.")
            left = end - start
            for block in blocks:
                left -= len(block)
                if left < 0:
                    raise damaged(f"It sends more of pack {pack.hex()} than it was asked for.")
                yield block


def away(url: str) -> RequestRefusedError:
    """Return the refusal of what only upstream can answer, when it does not."""
    return RequestRefusedError(
        problems.UNAVAILABLE, f"The upstream server {url} does not answer.", headers={"Retry-After": RETRY_AFTER}
    )


def damaged(detail: str) -> RequestRefusedError:
    """Return the refusal of what came from upstream and is not what it claims to be."""
    return RequestRefusedError(problems.DAMAGED, f"What the upstream server sends is damaged. {detail}")


def is_passing(answer: Answer) -> bool:
    """Tell whether an answer says that upstream cannot now."""
    return answer.status in RETRIED


def _path(pack: ObjectId) -> str:
    return f"/packs/{pack.hex()}"
