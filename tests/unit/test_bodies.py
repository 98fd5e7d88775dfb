"""Bodies cut into parts on their way out, and counted on their way in."""

import gc
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mediavault_backends.api import Buffer, FileSource
from mediavault_backends.bodies import BLOCK, Answer, check_answer, check_range, give_up_adopted, parts_of, size_of
from mediavault_backends.errors import BackendSetupError, StorageFullError, TransientError


@dataclass(frozen=True)
class Blocks:
    size: int
    parts: tuple[Buffer, ...]
    error: BaseException | None = None

    def blocks(self) -> Iterator[Buffer]:
        yield from self.parts
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    "body",
    [
        b"0123456789",
        bytearray(b"0123456789"),
        memoryview(b"0123456789"),
        Blocks(10, (b"0123456789",)),
        Blocks(10, (b"01", b"", bytearray(b"23456"), memoryview(b"789"))),
        Blocks(10, tuple(b"%d" % number for number in range(10))),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 5, 9, 10, 11])
def test_a_body_is_cut_into_parts_of_one_size(body: Buffer | Blocks, size: int) -> None:
    parts = [bytes(part) for part in parts_of(body, size, "key")]
    assert b"".join(parts) == b"0123456789"
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert 0 < len(parts[-1]) <= size
    assert size_of(body) == 10


def test_wide_items_are_bytes_too() -> None:
    body = memoryview(bytes(range(8))).cast("I")
    assert size_of(body) == 8
    assert [bytes(part) for part in parts_of(body, 5, "key")] == [bytes(range(5)), bytes(range(5, 8))]


@pytest.mark.parametrize("body", [b"", Blocks(0, ()), Blocks(0, (b"", b""))])
def test_an_empty_body_has_no_parts(body: Buffer | Blocks) -> None:
    assert list(parts_of(body, 4, "key")) == []


@pytest.mark.parametrize(
    ("declared", "parts"),
    [(9, (b"01234567",)), (9, (b"0123", b"4567")), (8, (b"0123", b"4567", b"8")), (8, (b"0123456", b"7", b"8"))],
)
def test_the_last_part_comes_only_when_the_length_is_right(declared: int, parts: tuple[bytes, ...]) -> None:
    cut = parts_of(Blocks(declared, parts), 4, "key")
    found = [next(cut)]
    with pytest.raises(ValueError, match="bytes it declares"):
        found.extend(cut)
    assert sum(map(len, found)) < declared


def test_a_source_that_cannot_be_read_is_an_error_about_the_key() -> None:
    with pytest.raises(StorageFullError) as caught:
        list(parts_of(Blocks(9, (b"1",), OSError(28, "full")), 4, "packs/x"))
    assert caught.value.key == "packs/x"
    with pytest.raises(KeyboardInterrupt):
        list(parts_of(Blocks(9, (b"1",), KeyboardInterrupt()), 4, "packs/x"))


def test_one_part_is_held_at_a_time() -> None:
    body = Blocks(64 << 20, (memoryview(bytes(1 << 20)),) * 64)
    tracemalloc.start()
    try:
        assert sum(len(bytes(part)) for part in parts_of(body, 2 << 20, "key")) == 64 << 20
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20


def test_an_adopted_file_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "spool"
    path.write_bytes(b"x")
    give_up_adopted(FileSource(path, 1))
    give_up_adopted(b"x")
    assert path.exists()
    for _ in range(2):
        give_up_adopted(FileSource(path, 1, adopt=True))
        assert not path.exists()


def test_a_range_starts_in_the_object_and_has_a_length() -> None:
    for start, length in ((0, 0), (5, None), (0, 1 << 70)):
        check_range(start, length)
    for start, length in ((-1, 2), (0, -1), (-1, None)):
        with pytest.raises(ValueError, match="not a range"):
            check_range(start, length)


def test_an_answer_says_how_long_it_is() -> None:
    assert check_answer(200, "5", "x", ranged=False) == 5
    assert check_answer(206, "0", "x", ranged=True) == 0
    for status, size, ranged in ((200, "5", True), (200, None, False), (206, "many", True)):
        with pytest.raises(BackendSetupError):
            check_answer(status, size, "x", ranged=ranged)


class Connection:
    """Counts how often it is closed."""

    def __init__(self, *blocks: bytes | Exception) -> None:
        self.blocks = blocks
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self.blocks:
            if isinstance(block, Exception):
                raise block
            yield block

    def close(self) -> None:
        self.closed += 1

    def answer(self, size: int) -> Answer:
        def translate(error: Exception) -> Exception:
            return TransientError(f"broke: {error}", key="x")

        return Answer(iter(self), size, "x", close=self.close, translate=translate, errors=(ConnectionError,))


def test_an_answer_comes_in_blocks_and_closes_its_connection_at_the_end() -> None:
    connection = Connection(bytes(BLOCK + 1), b"", b"tail")
    blocks = list(connection.answer(BLOCK + 5))
    assert [memoryview(block).nbytes for block in blocks] == [BLOCK, 1, 4]
    assert connection.closed == 1
    assert Connection(b"ab", b"c").answer(3).read() == b"abc"
    assert Connection().answer(0).read() == b""


@pytest.mark.parametrize("size", [0, 4, 6, 1000])
def test_an_answer_of_another_size_is_an_error(size: int) -> None:
    connection = Connection(b"12", b"345")
    with pytest.raises(TransientError, match=f"of {size} bytes") as caught:
        connection.answer(size).read()
    assert caught.value.key == "x"
    assert connection.closed == 1


def test_bytes_beyond_the_end_are_not_handed_out() -> None:
    answer = Connection(b"12", b"345").answer(4)
    assert next(answer) == b"12"
    with pytest.raises(TransientError, match="5 of 4 bytes"):
        next(answer)


def test_an_error_of_the_connection_is_translated() -> None:
    connection = Connection(b"12", ConnectionError("reset"))
    answer = connection.answer(5)
    assert next(answer) == b"12"
    with pytest.raises(TransientError, match="broke: reset"):
        next(answer)
    assert connection.closed == 1
    assert list(answer) == []


def test_an_answer_that_is_dropped_closes_its_connection() -> None:
    connection = Connection(b"12", b"345")
    answer = connection.answer(5)
    next(answer)
    del answer
    gc.collect()
    assert connection.closed == 1
