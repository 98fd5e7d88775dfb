"""Several transfers at once, and ranges cut into chunks: bounded, stopped together, exact at every block size."""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.errors import FormatError
from mediavault.formats.wire import LocatedRow
from mediavault.sync.ranges import GAP, LONGEST, SHARE, SHORTEST, PackedRows, Span, at_once, cut, spans
from mediavault.sync.transfer import HighWater, Stop, run_several


def never() -> None:
    raise AssertionError("nothing failed")


@pytest.fixture
def aborted() -> threading.Event:
    return threading.Event()


def test_everything_is_done_with_few_threads() -> None:
    done: list[int] = []
    running, peak = [0], [0]
    lock = threading.Lock()

    def work(item: int, stop: Stop) -> None:
        stop.check()
        with lock:
            running[0] += 1
            peak[0] = max(peak[0], running[0])
        time.sleep(0.001)
        with lock:
            running[0] -= 1
            done.append(item)

    run_several(work, range(50), 3, never)
    assert sorted(done) == list(range(50))
    assert peak[0] <= 3


def test_items_are_taken_as_they_are_needed() -> None:
    taken, done = [0], [0]

    def items() -> Iterator[int]:
        for number in range(40):
            taken[0] += 1
            assert taken[0] - done[0] <= 5
            yield number

    def work(item: int, stop: Stop) -> None:
        del item
        stop.check()
        done[0] += 1

    run_several(work, items(), 2, never)
    assert taken == [40]


def test_first_failure_stops_the_rest_and_is_raised(aborted: threading.Event) -> None:
    started = []

    def work(item: int, stop: Stop) -> None:
        started.append(item)
        if item == 3:
            raise FormatError("the third")
        while item < 3:
            stop.check()
            time.sleep(0.001)

    with pytest.raises(FormatError, match="the third"):
        run_several(work, [0, 3, 1, 2, *range(4, 1000)], 2, aborted.set)
    assert len(started) < 20
    assert aborted.is_set()


def test_failure_of_the_producer_stops_the_workers(aborted: threading.Event) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise FormatError("no more")

    def work(item: int, stop: Stop) -> None:
        assert item == 1
        while True:
            stop.check()
            time.sleep(0.001)

    with pytest.raises(FormatError, match="no more"):
        run_several(work, items(), 2, aborted.set)


class Told:
    """A progress that adds up."""

    def __init__(self) -> None:
        self.total = 0

    def start(self, total: int | None, unit: str, label: str) -> None: ...

    def advance(self, amount: int) -> None:
        self.total += amount

    def done(self) -> None: ...


def test_progress_never_counts_a_byte_twice() -> None:
    told = Told()
    mark = HighWater(told)
    for position in (10, 20, 5, 15, 30):
        mark.at(position)
    assert told.total == 30


lengths = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 60)), min_size=1, max_size=30)


@given(lengths, st.integers(1, 50))
def test_chunks_are_cut_out_of_any_blocks(places: list[tuple[int, int]], block: int) -> None:
    span, at, expected = Span(b"p" * 32), 100, []
    for number, (gap, length) in enumerate(places):
        at += gap
        span.rows.append(LocatedRow(bytes([number]) * 32, span.pack, at, length))
        at += length
    pack = bytes(n % 251 for n in range(at))
    expected = [pack[row.offset : row.offset + row.length] for row in span.rows]
    data = pack[span.start : span.end]
    blocks = iter([data[n : n + block] for n in range(0, len(data), block)])
    assert [bytes(piece) for _, piece in cut(span, blocks, Stop())] == expected
    assert next(blocks, None) is None


@given(lengths)
def test_range_that_is_cut_is_refused(places: list[tuple[int, int]]) -> None:
    span, at = Span(b"p" * 32), 0
    for gap, length in places:
        span.rows.append(LocatedRow(bytes(32), span.pack, at + gap, length))
        at += gap + length
    blocks = iter([bytes(span.end - span.start - 1)])
    with pytest.raises(FormatError):
        list(cut(span, blocks, Stop()))


rows = st.lists(
    st.builds(
        LocatedRow,
        st.just(bytes(32)),
        st.sampled_from([b"a" * 32, b"b" * 32]),
        st.integers(0, LONGEST),
        st.integers(1, 1 << 20),
    ),
    max_size=40,
)


@given(rows)
def test_ranges_hold_every_chunk_and_keep_their_bounds(located: list[LocatedRow]) -> None:
    found = list(spans(located))
    total = sum(row.length for row in located)
    assert sorted(row for span in found for row in span.rows) == sorted(located)
    for span in found:
        assert len(span.rows) == 1 or span.end - span.start <= max(SHORTEST, total // SHARE)
        assert {row.pack for row in span.rows} == {span.pack}
        for one, two in zip(span.rows, span.rows[1:], strict=False):
            assert 0 <= two.offset - (one.offset + one.length) <= GAP


@given(rows)
def test_rows_that_were_packed_come_back(located: list[LocatedRow]) -> None:
    packed = PackedRows.of(located)
    assert packed.rows() == located
    assert packed.size == sum(row.length for row in located)


@given(rows)
def test_packs_are_read_in_the_order_in_which_they_are_named(located: list[LocatedRow]) -> None:
    read = [(span.pack, span.start) for span in spans(located)]
    packs = list(dict.fromkeys(row.pack for row in located))
    assert read == sorted(read, key=lambda one: (packs.index(one[0]), one[1]))


def test_large_whole_is_asked_for_in_few_ranges() -> None:
    located = [LocatedRow(bytes(32), bytes([n // 500]) * 32, n % 500 * 131_072, 131_072) for n in range(8192)]
    assert len(list(spans(located))) <= 20
    assert at_once(located, 3) == 3


def test_small_whole_is_asked_for_in_many_ranges() -> None:
    located = [LocatedRow(bytes(32), b"p" * 32, n * 131_072, 131_072) for n in range(800)]
    assert 20 <= len(list(spans(located))) <= 26  # with the calls around them no more than 32 requests
    # What is on its way when a client is killed is at most a twelfth of the whole.
    assert (at_once(located, 3), at_once(located, 1)) == (2, 1)
