"""Bodies on their way to and from a remote store: cut into parts going out, counted coming in. Leaves requests to the adapters."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

from mediavault_backends.api import Body, Buffer, FileSource, blocks_of
from mediavault_backends.errors import BackendSetupError, TransientError, translate_write_error

BLOCK: Final = 1 << 20
"""Largest block that a stream yields, in bytes."""


def size_of(body: Body) -> int:
    """Return the size of a body in bytes: of a Source, what it says."""
    return memoryview(body).nbytes if isinstance(body, bytes | bytearray | memoryview) else body.size


def parts_of(body: Body, size: int, key: str) -> Iterator[Buffer]:
    """Cut a body into parts of `size` bytes, of which only the last may be shorter; an empty body has none.

    A part is yielded once it is known whether more follows, so the last one comes only when the body proved to be as
    long as it says. One part is held at a time; a buffer is not copied.

    Raises:
        ValueError: a Source yields more or fewer bytes than its size says.
        BackendError: reading a Source failed; `key` is the object that it was for.
    """
    if isinstance(body, bytes | bytearray | memoryview):
        view = memoryview(body).cast("B")
        yield from (view[at : at + size] for at in range(0, view.nbytes, size))
        return
    part = bytearray()
    try:
        for block in blocks_of(body):
            rest = memoryview(block).cast("B")
            while rest.nbytes:
                if len(part) == size:
                    yield part
                    part = bytearray()
                taken = size - len(part)
                part += rest[:taken]
                rest = rest[taken:]
    except OSError as error:
        raise translate_write_error(error, key) from error
    if part:
        yield part


def give_up_adopted(body: Body) -> None:
    """Remove the file of a stored body that was to be adopted."""
    if isinstance(body, FileSource) and body.adopt:
        with contextlib.suppress(OSError):  # it is stored: a file that stays is no failure of the put
            body.path.unlink()


def check_range(start: int, length: int | None) -> None:
    """Check that a range of an object is one.

    Raises:
        ValueError: it starts before the object or has a negative length.
    """
    if start < 0 or (length is not None and length < 0):
        raise ValueError(f"not a range: {length} bytes from {start}")


def check_answer(status: int, size: str | None, key: str, *, ranged: bool) -> int:
    """Return how many bytes the body of an answer must have.

    Args:
        status: 200 or 206.
        size: the header `Content-Length`.
        key: the object concerned.
        ranged: whether only a range was asked for.

    Raises:
        BackendSetupError: the store does not say how long its answer is, or answers a range with everything.
    """
    if ranged and status != 206:
        raise BackendSetupError(
            "the store ignores ranges: something between here and there may not be up to it", key=key
        )
    if size is None or not size.isdecimal():
        raise BackendSetupError("the store does not say how long its answers are; a cut would go unnoticed", key=key)
    return int(size)


class Answer:
    """The body of an answer in blocks of at most 1 MiB, all of it or an error.

    Args:
        blocks: the bytes as they arrive, in pieces of any size.
        size: how many there must be.
        key: the object concerned.
        close: lets go of the connection; called once, at the end or when the answer is dropped.
        translate: turns an error of the connection into a BackendError.
        errors: what the connection raises.
    """

    def __init__(
        self,
        blocks: Iterator[bytes],
        size: int,
        key: str,
        *,
        close: Callable[[], object],
        translate: Callable[[Exception], Exception],
        errors: tuple[type[Exception], ...],
    ) -> None:
        self._blocks = blocks
        self._left = size
        self._size = size
        self._key = key
        self._close: Callable[[], object] | None = close
        self._translate = translate
        self._errors = errors
        self._block = memoryview(b"")

    def __iter__(self) -> Iterator[Buffer]:
        return self

    def __next__(self) -> Buffer:
        if not self._block.nbytes:
            self._block = memoryview(self._receive())
        taken, self._block = self._block[:BLOCK], self._block[BLOCK:]
        return taken

    def read(self) -> bytes:
        """Return all that is left."""
        return b"".join(self)

    def close(self) -> None:
        """Let go of the connection; the answer ends here."""
        if self._close is not None:
            close, self._close = self._close, None
            close()

    def __del__(self) -> None:
        self.close()

    def _receive(self) -> bytes:
        """Return the next bytes from the connection.

        Raises:
            StopIteration: the answer was complete.
            TransientError: the connection ended before or after its size.
        """
        try:
            block = b""
            while self._close is not None and not block:
                block = next(self._blocks)
        except StopIteration:
            self.close()
            if self._left:
                raise self._wrong_size() from None
            raise
        except self._errors as error:
            self.close()
            raise self._translate(error) from error
        if not block:
            raise StopIteration
        self._left -= len(block)
        if self._left < 0:
            self.close()
            raise self._wrong_size()
        return block

    def _wrong_size(self) -> TransientError:
        received = self._size - self._left
        return TransientError(f"{self._key} came cut off: {received} of {self._size} bytes", key=self._key)
