"""The client's rules without a server: addresses, what refusals mean, what is repeated and how long it waits."""

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.cli.exit_codes import exit_code
from mediavault.errors import FormatError, MediaVaultError, UsageError
from mediavault.formats.wire import Problem, encode_json
from mediavault.sync.transfer import Stop, run_several
from mediavault.wire import problems
from mediavault.wire.client import NotClosedError, error_for, split_url
from mediavault.wire.http import Answer, Patience, Traffic, UnreachableError, Wire, retry_after


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:3000/studio/film", ("http://127.0.0.1:3000", "/studio/film")),
        ("https://media.example/studio/film/", ("https://media.example", "/studio/film")),
        ("http://[::1]:3000/s/f", ("http://[::1]:3000", "/s/f")),
        ("http://localhost", ("http://localhost", "")),
    ],
)
def test_url_of_a_remote(url: str, expected: tuple[str, str]) -> None:
    assert split_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "studio/film",
        "ftp://host/studio/film",
        "http:///studio/film",
        "http://host/film",
        "http://host/a/b/c",
        "http://host/../film",
        "http://host/studio/.film",
        "http://user:secret@host/studio/film",
        "http://host/studio/film?key=1",
        "http://host/studio/film#x",
        "http://host:port/studio/film",
        "http://host:99999/studio/film",
    ],
)
def test_url_that_is_none(url: str) -> None:
    with pytest.raises(UsageError):
        split_url(url)


def refusal(kind: problems.ProblemType, **more: object) -> Answer:
    body = encode_json(Problem(kind.uri, kind.title, kind.status, **more))  # type: ignore[arg-type] # checked by the struct
    return Answer(kind.status, {"Content-Type": problems.MEDIA_TYPE}, body)


CODES = {
    problems.UNAUTHENTICATED: 6,
    problems.FORBIDDEN: 6,
    problems.OTHER_REPOSITORY: 3,
    problems.SLOT_TAKEN: 3,
    problems.NOT_FAST_FORWARD: 3,
    problems.PRECONDITION: 3,
    problems.MISMATCH: 5,
    problems.DAMAGED: 5,
    problems.BAD_RANGE: 5,
    problems.NOT_FOUND: 1,
    problems.NO_REPOSITORY: 1,
    problems.NOT_CLOSED: 1,
    problems.NEWER_FORMAT: 1,
    problems.STORAGE_FULL: 1,
}
"""Exit codes of the refusals; all others are 4."""


@pytest.mark.parametrize("kind", problems.ALL, ids=lambda kind: kind.slug)
def test_every_refusal_has_its_exit_code_and_tells_the_reason(kind: problems.ProblemType) -> None:
    error = error_for(refusal(kind, detail="because of this", repository="aa", given="bb"), "http://host")
    assert exit_code(error) == CODES.get(kind, 4)
    assert "because of this" in error.message or "aa" in error.message


def test_slugs_are_unique() -> None:
    assert len({kind.slug for kind in problems.ALL}) == len(problems.ALL) == len(problems.BY_URI)


def test_missing_ids_are_named_and_nonsense_among_them_is_dropped() -> None:
    error = error_for(refusal(problems.NOT_CLOSED, missing=["ab" * 32, "..", "AB" * 32]), "http://host")
    assert isinstance(error, NotClosedError)
    assert error.missing == [bytes.fromhex("ab" * 32)]


@given(st.integers(300, 599), st.binary(max_size=200), st.sampled_from(["text/html", problems.MEDIA_TYPE, ""]))
def test_any_answer_becomes_an_error_a_person_can_read(status: int, body: bytes, media_type: str) -> None:
    error = error_for(Answer(status, {"Content-Type": media_type}, body), "http://host")
    assert isinstance(error, MediaVaultError)
    assert error.message


@pytest.mark.parametrize(("text", "seconds"), [("3", 3.0), ("0", 0.0), ("", None), ("-1", None), ("soon", None)])
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": text}) == seconds


class Scripted:
    """A server of one connection a request that answers from a list."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for answer in self.answers:
            client, _ = self._listener.accept()
            with client:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += client.recv(1)
                self.requests.append(head)
                client.sendall(answer)

    def close(self) -> None:
        self._thread.join(timeout=5)
        self._listener.close()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def wires() -> Iterator[list[Wire]]:
    opened: list[Wire] = []
    yield opened
    for wire in opened:
        wire.close()


def wire_to(url: str, waits: list[float], wires: list[Wire], retries: int = 3) -> Wire:
    patience = Patience(connect_timeout=2, stall_timeout=2, retries=retries)
    wires.append(Wire(url, {}, patience, sleep=waits.append, jitter=lambda: 0.5))
    return wires[-1]


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\nok"


def test_waits_grow_and_honour_what_the_server_asks(waits: list[float], wires: list[Wire]) -> None:
    server = Scripted(b"", CUT, BUSY, OK)
    wire = wire_to(server.url, waits, wires)
    assert wire.ask("GET", "/x").body == b"ok"
    server.close()
    assert waits == [0.25, 0.5, pytest.approx(7.1)]
    assert wire.traffic.requests == 4


def test_what_may_not_be_repeated_is_not(waits: list[float], wires: list[Wire]) -> None:
    server = Scripted(b"")
    with pytest.raises(UnreachableError):
        wire_to(server.url, waits, wires).ask("GET", "/x", repeat=False)
    server.close()
    assert waits == []


def test_a_pack_is_sent_once(waits: list[float], wires: list[Wire]) -> None:
    server = Scripted(BUSY)
    answer = wire_to(server.url, waits, wires).send("PUT", "/x", [b"ab", b"cd"], 4, {})
    server.close()
    assert (answer.status, retry_after(answer.headers), waits) == (503, 7.0, [])
    assert b"content-length: 4" in server.requests[0].lower()
    assert b"transfer-encoding" not in server.requests[0].lower()


def test_retries_end(waits: list[float], wires: list[Wire]) -> None:
    server = Scripted(*[BUSY] * 3)
    answer = wire_to(server.url, waits, wires, retries=2).ask("GET", "/x")
    server.close()
    assert (answer.status, len(waits)) == (503, 2)


def test_traffic_counts_bodies(waits: list[float], wires: list[Wire]) -> None:
    server = Scripted(OK)
    wire = wire_to(server.url, waits, wires)
    wire.ask("POST", "/x", b"12345")
    server.close()
    assert wire.traffic == Traffic(1, 5, 2)


def test_transfers_under_way_are_broken_off(waits: list[float], wires: list[Wire]) -> None:
    """One transfer fails while another waits for a server that says nothing: nobody waits for its timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        patience = Patience(connect_timeout=2, stall_timeout=600, retries=0)
        wire = Wire(f"http://127.0.0.1:{silent.getsockname()[1]}", {}, patience, sleep=waits.append)
        wires.append(wire)

        accepted: list[socket.socket] = []

        def work(item: str, stop: Stop) -> None:
            stop.check()
            if item == "asks":
                wire.ask("GET", "/x")
            accepted.append(silent.accept()[0])
            accepted[0].recv(1)  # the other one waits by now
            raise FormatError("broken")

        with pytest.raises(FormatError, match="broken"):
            run_several(work, ["asks", "fails"], 2, wire.abort)
        accepted[0].close()


def test_reasons_are_told_in_words(waits: list[float], wires: list[Wire]) -> None:
    for answer, reason in ((b"", "aborted"), (CUT, "Connection broken"), (b"nonsense\r\n\r\n", "aborted")):
        server = Scripted(answer)
        with pytest.raises(UnreachableError, match=reason) as caught:
            wire_to(server.url, waits, wires, retries=0).ask("GET", "/x")
        server.close()
        assert "Error" not in caught.value.message
    with pytest.raises(UnreachableError, match="Connection refused"):
        wire_to("http://127.0.0.1:9", waits, wires, retries=0).ask("GET", "/x")
