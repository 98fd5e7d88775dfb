"""What every remote store makes of broken networks, refusals and races; the modules that use this say how theirs speaks.

A user module supplies the fixtures `relay`, a relay before the server, and `open_at`, which opens the test's own empty part
of the store at an address with bodies cut at 1 MiB and closes it at the end.
"""

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar, Protocol

import pytest

from mediavault_backends.api import Absent, Backend, Buffer, Matches, Version
from mediavault_backends.errors import (
    AccessDeniedError,
    BackendError,
    BackendSetupError,
    NotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StorageFullError,
    TransientError,
)
from tests.contract.clauses import Blocks, keys_of
from tests.services.ports import free_ports
from tests.services.relay import Alter, Cut, Hold, Lose, Relay, Reply, Request

MIB = 1 << 20
LARGE = bytes(range(256)) * (5 * MIB // 512)
"""Two and a half parts."""
CALLS = ["put", "put in parts", "replace", "get", "read", "stream", "stat", "scan", "delete"]
WRITES = {"put", "put in parts", "replace"}


class Opener(Protocol):
    """Opens the test's part of the store."""

    def __call__(self, address: str, *, part: int = MIB, page_size: int = 1000, timeout: float = 60.0) -> Backend: ...


def calls_of(backend: Backend) -> dict[str, Callable[[], object]]:
    return {
        "put": lambda: backend.put("new", b"x", when=Absent()),
        "put in parts": lambda: backend.put("new", LARGE, when=Absent()),
        "replace": lambda: backend.put("there", b"x", when=Matches(Version("1"))),
        "get": lambda: backend.get("there"),
        "read": lambda: backend.read("there", 1, 2),
        "stream": lambda: list(backend.stream("there")),
        "stat": lambda: backend.stat("there"),
        "scan": lambda: list(backend.scan()),
        "delete": lambda: backend.delete("there"),
    }


@dataclass(frozen=True)
class Zeros:
    """A body that takes no room itself."""

    size: int

    def blocks(self) -> Iterator[Buffer]:
        block = bytes(MIB)
        for _ in range(self.size // MIB):
            yield block


class FaultClauses:
    """What every remote store does."""

    page_field: ClassVar[str]
    """The query field that says how many objects a page of a listing holds."""
    token_field: ClassVar[str]
    """The query field that says where a page starts."""

    def is_step(self, request: Request) -> bool:
        """Tell whether a request belongs to an upload in parts and makes nothing visible."""
        raise NotImplementedError

    def refuse(self, status: int) -> Reply:
        """Return a refusal in the words of the store."""
        raise NotImplementedError

    @pytest.fixture
    def backend(self, relay: Relay, open_at: Opener) -> Backend:
        return open_at(relay.url)

    def counted(self, relay: Relay) -> int:
        """Return how many requests could have made something visible."""
        return len([request for request in relay.requests if not self.is_step(request)])

    # Refusals and silence

    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize("status", [429, 503, 408])
    def test_a_throttled_call_is_told_to_come_back_after_one_request(
        self, backend: Backend, relay: Relay, call: str, status: int
    ) -> None:
        relay.always(lambda _: True, self.refuse(status))
        with pytest.raises(TransientError, match=f"{status}"):
            calls_of(backend)[call]()
        assert len(relay.requests) == 1, "tried again where only the wrapper may"

    @pytest.mark.parametrize("call", CALLS)
    def test_a_failing_server_leaves_the_outcome_of_a_write_open(
        self, backend: Backend, relay: Relay, call: str
    ) -> None:
        relay.always(lambda request: not self.is_step(request), self.refuse(500))
        with pytest.raises(OutcomeUnknownError if call in WRITES else TransientError, match="500"):
            calls_of(backend)[call]()
        assert self.counted(relay) == 1

    @pytest.mark.parametrize("call", CALLS)
    def test_a_server_that_is_gone_changes_nothing(self, open_at: Opener, call: str) -> None:
        backend = open_at(f"http://127.0.0.1:{free_ports(1)[0]}")
        with pytest.raises(TransientError, match="cannot be reached"):
            calls_of(backend)[call]()

    @pytest.mark.parametrize("call", CALLS)
    def test_a_silent_server_is_given_up(self, relay: Relay, open_at: Opener, call: str) -> None:
        done = threading.Event()
        backend = open_at(relay.url, timeout=0.5)
        relay.always(lambda request: not self.is_step(request), Hold(done))
        try:
            with pytest.raises(OutcomeUnknownError if call in WRITES else TransientError):
                calls_of(backend)[call]()
        finally:
            done.set()
        assert self.counted(relay) == 1

    @pytest.mark.parametrize("call", CALLS)
    def test_refused_credentials_are_told_without_a_secret(self, backend: Backend, relay: Relay, call: str) -> None:
        relay.always(lambda _: True, self.refuse(403))
        with pytest.raises(AccessDeniedError) as caught:
            calls_of(backend)[call]()
        assert "words of the server" not in str(caught.value)
        assert "SharedKey" not in str(caught.value)

    # Answers that are lost or damaged

    @pytest.mark.parametrize("body", [b"x", LARGE], ids=["whole", "in parts"])
    @pytest.mark.parametrize("lands", [True, False])
    def test_a_lost_reply_leaves_the_outcome_open(
        self, backend: Backend, relay: Relay, body: bytes, lands: bool
    ) -> None:
        relay.once(lambda request: not self.is_step(request), Lose(forward=lands))
        with pytest.raises(OutcomeUnknownError) as caught:
            backend.put("packs/x", body, when=Absent())
        assert caught.value.key == "packs/x"
        assert self.counted(relay) == 1, "sent again"
        assert [backend.get(key).data for key in keys_of(backend)] == [body] * lands

    def test_a_lost_reply_to_a_part_changed_nothing(self, backend: Backend, relay: Relay) -> None:
        relay.once(self.is_step, Lose(forward=True))
        with pytest.raises(TransientError):
            backend.put("packs/x", LARGE, when=Absent())
        assert keys_of(backend) == []
        backend.put("packs/x", LARGE, when=Absent())
        assert backend.get("packs/x").data == LARGE

    def test_a_lost_reply_to_delete_may_be_repeated(self, backend: Backend, relay: Relay) -> None:
        backend.put("a", b"x", when=Absent())
        relay.once(lambda _: True, Lose(forward=True))
        with pytest.raises(TransientError):
            backend.delete("a")
        backend.delete("a")
        assert keys_of(backend) == []

    @pytest.mark.parametrize("after", [0, 1000, MIB + 1, len(LARGE) - 1])
    def test_a_body_that_is_cut_off_is_never_taken_for_the_whole(
        self, backend: Backend, relay: Relay, after: int
    ) -> None:
        backend.put("x", LARGE, when=Absent())
        relay.requests.clear()
        relay.always(lambda request: request.method == "GET", Cut(after))
        calls: list[Callable[[], object]] = [
            lambda: backend.get("x"),
            lambda: backend.read("x", 0, len(LARGE)),
            lambda: list(backend.stream("x")),
        ]
        for call in calls:
            with pytest.raises(TransientError):
                call()
        assert len(relay.requests) == len(calls), "asked again where only the wrapper may"

    @pytest.mark.parametrize("body", [b"some of the bytes", LARGE], ids=["whole", "in parts"])
    def test_bytes_that_change_on_the_way_are_not_stored(self, backend: Backend, relay: Relay, body: bytes) -> None:
        sent = body[:17]
        relay.once(lambda request: sent in request.body, Alter(lambda data: data.replace(sent, b"!" * 17, 1)))
        with pytest.raises(TransientError, match=r"400|damaged on its way"):
            backend.put("packs/x", body, when=Absent())
        assert keys_of(backend) == []

    # Uploads that end early

    @pytest.mark.parametrize("exists", [False, True])
    @pytest.mark.parametrize(
        "error", [KeyboardInterrupt(), OSError(28, "full"), ValueError("mine")], ids=["stop", "disk", "value"]
    )
    def test_a_cancelled_upload_shows_nothing(self, backend: Backend, exists: bool, error: BaseException) -> None:
        when = Matches(backend.put("packs/x", b"old", when=Absent())) if exists else Absent()
        expected = StorageFullError if isinstance(error, OSError) else type(error)
        cut_off = Blocks(len(LARGE), (LARGE[: 2 * MIB], LARGE[2 * MIB : 2 * MIB + 1]), error)
        with pytest.raises(expected):
            backend.put("packs/x", cut_off, when=when)
        assert [backend.get(key).data for key in keys_of(backend)] == [b"old"] * exists
        if not exists:
            with pytest.raises(NotFoundError):
                backend.stat("packs/x")
        backend.put("packs/x", LARGE, when=when)
        assert backend.get("packs/x").data == LARGE

    def test_what_is_uploaded_in_parts_is_not_seen_before_its_end(self, backend: Backend) -> None:
        seen: list[list[str]] = []

        @dataclass(frozen=True)
        class Watched:
            size: int = len(LARGE)

            def blocks(self) -> Iterator[Buffer]:
                for at in range(0, len(LARGE), MIB):
                    seen.append(keys_of(backend))
                    yield LARGE[at : at + MIB]

        backend.put("packs/x", Watched(), when=Absent())
        assert len(seen) >= 3
        assert not any(seen)
        assert keys_of(backend) == ["packs/x"]

    def test_a_large_body_keeps_its_condition(self, backend: Backend) -> None:
        first = backend.put("packs/x", b"first", when=Absent())
        second = backend.put("packs/x", b"second", when=Matches(first))
        for when in (Absent(), Matches(first)):
            with pytest.raises(PreconditionFailedError):
                backend.put("packs/x", LARGE, when=when)
        assert backend.get("packs/x").data == b"second"
        backend.put("packs/x", LARGE, when=Matches(second))
        backend.delete("packs/x")
        with pytest.raises(PreconditionFailedError):
            backend.put("packs/x", LARGE, when=Matches(second))
        assert keys_of(backend) == []

    # Races

    @pytest.mark.parametrize("size", [10, len(LARGE)], ids=["whole", "in parts"])
    @pytest.mark.parametrize("exists", [False, True])
    def test_of_many_writers_of_one_key_exactly_one_wins(self, backend: Backend, size: int, exists: bool) -> None:
        writers, rounds = (16, 8) if size == 10 else (6, 2)

        def write(number: int, key: str, when: Absent | Matches, barrier: threading.Barrier) -> bool:
            barrier.wait()
            try:
                backend.put(key, bytes([number]) * size, when=when)
            except PreconditionFailedError:
                return False
            except TransientError:  # Azure: another writer's commit throws the blocks of all others away
                assert size > 10
                return False
            return True

        for turn in range(rounds):
            key = f"refs/{turn}"
            when = Matches(backend.put(key, b"old", when=Absent())) if exists else Absent()
            barrier = threading.Barrier(writers)
            with ThreadPoolExecutor(writers) as pool:
                ended = [pool.submit(write, number, key, when, barrier) for number in range(writers)]
            (winner,) = [number for number, future in enumerate(ended) if future.result()]
            assert backend.get(key).data == bytes([winner]) * size

    def test_many_threads_may_use_one_backend(self, backend: Backend) -> None:
        def use(number: int) -> bytes:
            key = f"packs/{number}"
            backend.put(key, b"%d" % number * 1000, when=Absent())
            return backend.get(key).data

        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(use, range(64))) == [b"%d" % number * 1000 for number in range(64)]

    # Listing

    def test_a_listing_comes_in_pages(self, open_at: Opener, relay: Relay) -> None:
        backend = open_at(relay.url, page_size=2)
        keys = [f"x/{number}" for number in range(7)]
        for key in keys:
            backend.put(key, b"", when=Absent())
        relay.requests.clear()
        assert keys_of(backend, "x/") == keys
        assert [request.query[self.page_field] for request in relay.requests] == ["2"] * 4
        assert len({request.query.get(self.token_field, "") for request in relay.requests}) == 4

    def test_a_listing_that_breaks_off_says_so(self, open_at: Opener, relay: Relay) -> None:
        backend = open_at(relay.url, page_size=2)
        for number in range(5):
            backend.put(f"x/{number}", b"", when=Absent())
        found = backend.scan()
        assert next(found).key == "x/0"
        relay.always(lambda _: True, self.refuse(503))
        with pytest.raises(TransientError):
            list(found)

    @pytest.mark.parametrize("after", [0, 60])
    def test_a_listing_that_is_cut_off_is_not_taken_for_the_whole(
        self, backend: Backend, relay: Relay, after: int
    ) -> None:
        backend.put("x", b"", when=Absent())
        relay.always(lambda _: True, Cut(after))
        with pytest.raises(TransientError):
            list(backend.scan())

    def test_a_store_that_ignores_ranges_is_not_believed(self, backend: Backend, relay: Relay) -> None:
        relay.always(lambda _: True, Reply(200, b"everything"))
        assert backend.get("x").data == b"everything"
        for call in (lambda: backend.read("x", 1, 3), lambda: backend.stream("x", start=2)):
            with pytest.raises(BackendSetupError, match="ignores ranges"):
                call()

    # Memory

    def test_a_large_body_passes_through_little_memory(self, open_at: Opener, address: str) -> None:
        backend = open_at(address, part=2 * MIB)
        tracemalloc.start()
        try:
            backend.put("packs/x", Zeros(48 * MIB), when=Absent())
            _, sent = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            received = sum(memoryview(block).nbytes for block in backend.stream("packs/x"))
            _, read = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert received == 48 * MIB
        assert sent < 10 * MIB
        assert read < 10 * MIB

    def test_errors_name_the_key(self, backend: Backend, relay: Relay) -> None:
        relay.always(lambda _: True, self.refuse(500))
        for name, call in calls_of(backend).items():
            with pytest.raises(BackendError) as caught:
                call()
            assert caught.value.key == {"scan": ""}.get(name, "new" if name in {"put", "put in parts"} else "there")
