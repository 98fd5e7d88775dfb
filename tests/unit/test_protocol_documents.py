"""docs/protocol.md and the OpenAPI document describe exactly the calls and refusals that there are."""

import re
from pathlib import Path

from mediavault.wire import problems
from mediavault_server.app import CALLS
from mediavault_server.openapi import OPERATIONS, document

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
SERVED = {(path.replace(":path", ""), method) for path, handlers in CALLS for method in handlers}


def test_every_call_is_described_and_no_other() -> None:
    assert set(OPERATIONS) == SERVED
    rows = re.findall(r"^\| `(GET|PUT|POST|DELETE) (/\S*)` \|", TEXT, re.MULTILINE)
    assert {(path, method) for method, path in rows} == SERVED


def test_every_refusal_stands_in_the_table_with_its_status_and_title() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (.+) \|$", TEXT, re.MULTILINE)
    assert {(slug, int(status), title) for slug, status, title in rows} == {
        (problem.slug, problem.status, problem.title) for problem in problems.ALL
    }


def test_document_is_whole() -> None:
    found = document()
    count = 0
    for path, operations in found["paths"].items():
        for operation in operations.values():
            count += 1
            named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))
            assert {"400", "401", "404", "500", "503"} <= set(operation["responses"])
    assert count == len(SERVED)


def test_every_refusal_is_given_by_some_call() -> None:
    text = str(document()["paths"])
    unseen = {problem.slug for problem in problems.ALL if f"`{problem.slug}`" not in text}
    assert unseen == {"method-not-allowed"}
