"""Who may read at a cache: how often upstream is asked, for how long its answer counts, and what an outage changes."""

from collections.abc import Iterator

import pytest

from mediavault.wire import problems
from mediavault.wire.http import Patience
from mediavault_server.problems import RequestRefusedError
from mediavault_server.upstream.admission import FRESH, MOST, OUTAGE, Admissions
from mediavault_server.upstream.origin import Caller, Origin, UpstreamAnswerError
from tests.integration.recorder import Asked, Recorder, Reply

ANN = Caller("/studio/film", "Bearer ann")
BOB = Caller("/studio/film", "Bearer bob")
ELSEWHERE = Caller("/studio/other", "Bearer ann")


GONE = -1
"""The connection ends without an answer."""


class Site:
    """A main site that lets some callers in, and a clock."""

    def __init__(self) -> None:
        self.admitted = {"Bearer ann"}
        self.now = 1000.0
        self.status = 0
        self.recorder = Recorder(self._answer)

    def _answer(self, asked: Asked) -> Reply:
        if self.status:
            return Reply(self.status, lost=self.status == GONE)
        if not asked.path.startswith("/studio/film/"):
            return Reply(404)
        return Reply(200 if asked.headers.get("authorization") in self.admitted else 401)

    @property
    def asked(self) -> int:
        return len(self.recorder.asked)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    with site.recorder:
        yield site


@pytest.fixture
def admissions(site: Site) -> Iterator[Admissions]:
    origin = Origin(site.recorder.url, Patience(connect_timeout=10.0, stall_timeout=60.0, retries=0))
    yield Admissions(origin, clock=lambda: site.now)
    origin.close()


def refused(admissions: Admissions, caller: Caller) -> int:
    with pytest.raises(UpstreamAnswerError) as error:
        admissions.check(caller)
    return error.value.answer.status


def unavailable(admissions: Admissions, caller: Caller) -> None:
    with pytest.raises((RequestRefusedError, UpstreamAnswerError)) as error:
        admissions.check(caller)
    if isinstance(error.value, RequestRefusedError):
        assert error.value.kind is problems.UNAVAILABLE
        assert int(error.value.headers["Retry-After"]) > 0
    elif isinstance(error.value, UpstreamAnswerError):
        assert error.value.answer.status in {502, 503}


def test_upstream_is_asked_once_in_a_while(site: Site, admissions: Admissions) -> None:
    for _ in range(5):
        admissions.check(ANN)
    assert site.asked == 1
    site.now += FRESH - 0.1
    admissions.check(ANN)
    assert site.asked == 1
    site.now += 0.2
    admissions.check(ANN)
    assert site.asked == 2


def test_another_key_and_another_project_are_asked_about_each_time(site: Site, admissions: Admissions) -> None:
    admissions.check(ANN)
    for _ in range(2):
        assert refused(admissions, BOB) == 401
        assert refused(admissions, Caller("/studio/film", "")) == 401
        assert refused(admissions, ELSEWHERE) == 404
    assert site.asked == 7


def test_a_key_that_was_taken_away_is_refused_within_half_a_minute(site: Site, admissions: Admissions) -> None:
    admissions.check(ANN)
    site.admitted.clear()
    site.now += FRESH
    assert refused(admissions, ANN) == 401
    site.status = 503  # an outage gives nothing back
    unavailable(admissions, ANN)


@pytest.mark.parametrize("status", [503, 502, GONE])
def test_in_an_outage_those_go_on_who_were_let_in_lately(site: Site, admissions: Admissions, status: int) -> None:
    admissions.check(ANN)
    site.status = status
    site.now += OUTAGE - 1
    admissions.check(ANN)
    unavailable(admissions, BOB)
    unavailable(admissions, ELSEWHERE)
    site.now += 2
    unavailable(admissions, ANN)


def test_few_callers_are_remembered(site: Site, admissions: Admissions) -> None:
    site.admitted |= {f"Bearer {number}" for number in range(3)}
    admissions.check(ANN)
    answer = admissions._origin.ask(ANN, "GET", "/config")
    for number in range(MOST):
        admissions.learn(Caller("/studio/film", f"Bearer {number}"), answer)
    assert len(admissions._seen) == MOST
    before = site.asked
    admissions.check(ANN)
    assert site.asked == before + 1
