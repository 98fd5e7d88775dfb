"""Work on a body's pieces: in their order, beside the next piece's arrival, and over when the call is over."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from mediavault_server.streams import in_order


async def numbers(count: int, taken: list[int]) -> AsyncIterator[int]:
    for number in range(count):
        taken.append(number)
        yield number


def test_items_are_worked_on_one_at_a_time_and_in_order() -> None:
    done: list[int] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        assert lock.acquire(blocking=False), "two at once"
        done.append(number)
        lock.release()

    asyncio.run(in_order(work, numbers(50, [])))
    assert done == list(range(50))


def test_the_next_item_is_taken_while_one_is_worked_on() -> None:
    taken: list[int] = []
    both = threading.Event()

    def work(number: int) -> None:
        if number == 0:
            assert both.wait(timeout=30), "the second item was not taken meanwhile"

    async def items() -> AsyncIterator[int]:
        async for number in numbers(2, taken):
            if number == 1:
                both.set()
            yield number

    asyncio.run(in_order(work, items()))
    assert taken == [0, 1]


@pytest.mark.parametrize("bad", [0, 3, 9])
def test_a_failure_of_the_work_is_raised_and_ends_it(bad: int) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == bad:
            raise ValueError(number)
        done.append(number)

    with pytest.raises(ValueError, match=str(bad)):
        asyncio.run(in_order(work, numbers(10, [])))
    assert done == list(range(bad))


@pytest.mark.parametrize("fails", [False, True], ids=["work-goes-well", "work-fails-too"])
def test_when_the_items_break_off_the_work_under_way_is_over_first(*, fails: bool) -> None:
    go, over = threading.Event(), threading.Event()

    def work(number: int) -> None:
        assert number == 0
        assert go.wait(timeout=30)
        over.set()
        if fails:
            raise ValueError(number)

    async def items() -> AsyncIterator[int]:
        yield 0
        asyncio.get_running_loop().call_soon(go.set)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        asyncio.run(in_order(work, items()))
    assert over.is_set()


def test_when_it_is_cancelled_the_work_under_way_is_over_first() -> None:
    begun, go, over = threading.Event(), threading.Event(), threading.Event()

    def work(number: int) -> None:
        assert number == 0
        begun.set()
        assert go.wait(timeout=30)
        over.set()

    async def items() -> AsyncIterator[int]:
        yield 0
        await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.ensure_future(in_order(work, items()))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        asyncio.get_running_loop().call_later(0.01, go.set)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert over.is_set()

    asyncio.run(main())
