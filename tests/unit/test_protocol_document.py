"""docs/protocol.md names exactly the calls and refusals that the server has."""

import re
from pathlib import Path

from mediavault.wire import problems
from mediavault_server.app import CALLS

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


def test_every_call_is_described_and_no_other() -> None:
    described = set(re.findall(r"^\| `([A-Z]+) (/\S+)` \|", DOCUMENT, re.MULTILINE))
    assert described == {(method, path.replace(":path", "")) for path, handlers in CALLS for method in handlers}


def test_every_refusal_is_described_with_its_status_and_title() -> None:
    described = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (.+) \|$", DOCUMENT, re.MULTILINE)
    assert described == [(problem.slug, str(problem.status), problem.title) for problem in problems.ALL]
