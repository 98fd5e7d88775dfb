"""The table of docs/security.md that leads from statements to tests: every statement has some, and each of them exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADING = "## How each statement is tested"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def rows() -> list[str]:
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    section = text.partition(HEADING)[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| ")][2:]


def test_every_statement_has_tests() -> None:
    found = rows()
    assert {row[2] for row in found if row[2].isdecimal()} == set("123456")
    assert all(NAMED.search(row) for row in found if not row.endswith("| |"))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[2:40].strip())
def test_each_test_that_is_named_exists(row: str) -> None:
    for file, name in NAMED.findall(row):
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"
