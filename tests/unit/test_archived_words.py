"""What is archived, in words: from a store's refusal through a server or a direct remote to the person who asked."""

import pytest

from mediavault.cli.exit_codes import exit_code, explain
from mediavault.sync.direct import _failure
from mediavault.wire import problems
from mediavault.wire.client import error_for
from mediavault.wire.http import RETRIED, Answer
from mediavault_backends.errors import ArchivedError, RestoringError
from mediavault_server.problems import problem_for, problem_response

KEY = f"packs/ab/ab{'0' * 62}"


@pytest.mark.parametrize(
    ("error", "words", "retry_after"),
    [
        (
            ArchivedError("InvalidObjectState (403)", key=KEY),
            f"{KEY} is in an archive class; an operator runs `mediagit-server storage restore`.",
            None,
        ),
        (
            RestoringError("on its way", key=KEY),
            f"{KEY} is on its way out of an archive class, which takes hours.",
            "3600",
        ),
    ],
)
def test_a_server_says_so_and_the_client_does_not_ask_again(
    error: ArchivedError, words: str, retry_after: str | None
) -> None:
    response = problem_response(problem_for(error))
    assert response.headers.get("Retry-After") == retry_after
    assert response.status_code == problems.ARCHIVED.status not in RETRIED
    answer = Answer(response.status_code, {"Content-Type": response.media_type or ""}, bytes(response.body))
    told = error_for(answer, "https://media.example.com")
    assert told.message == f"The server https://media.example.com says: {words}"
    assert "Then run the command again: it continues." in told.hint
    assert exit_code(told) == 4


@pytest.mark.parametrize("kind", [ArchivedError, RestoringError])
def test_a_direct_remote_says_so(kind: type[ArchivedError]) -> None:
    told = _failure(kind(f"{KEY} is archived", key=KEY), "s3://media/film")
    assert told.message == f"s3://media/film: {KEY} is archived."
    assert "has to restore it, which takes hours" in told.hint
    assert exit_code(told) == 4


@pytest.mark.parametrize("kind", [ArchivedError, RestoringError])
def test_a_store_of_ones_own_says_so(kind: type[ArchivedError]) -> None:
    told = explain(kind(f"{KEY} is archived", key=KEY))
    assert told is not None
    assert f"{KEY} is archived" in told.message
    assert told.hint
