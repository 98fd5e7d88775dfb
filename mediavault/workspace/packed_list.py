"""Long lists of records in the little memory of their encoded form; what the records say is for others."""

from collections.abc import Iterator
from typing import Final, Generic, TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)

_BLOCK: Final = 512


class PackedList(Generic[T]):
    """A list to add to, then to iterate as often as needed; a million files take a tenth of what objects would.

    Args:
        kind: what it holds, a msgspec struct.
    """

    def __init__(self, kind: type[T]) -> None:
        self._decoder: msgspec.msgpack.Decoder[list[T]] = msgspec.msgpack.Decoder(list[kind])  # type: ignore[valid-type]  # known when it runs
        self._encoder = msgspec.msgpack.Encoder()
        self._blocks: list[bytes] = []
        self._last: list[T] = []

    def append(self, record: T) -> None:
        """Add one."""
        self._last.append(record)
        if len(self._last) == _BLOCK:
            self._blocks.append(self._encoder.encode(self._last))
            self._last = []

    def __len__(self) -> int:
        return len(self._blocks) * _BLOCK + len(self._last)

    def __iter__(self) -> Iterator[T]:
        for block in self._blocks:
            yield from self._decoder.decode(block)
        yield from self._last
