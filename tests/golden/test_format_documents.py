"""The worked examples in docs/formats are what the code produces."""

import re
from pathlib import Path

import pytest

from mediavault.formats.metadata import encoded_size
from mediavault.model.ids import Kind
from mediavault.model.splitting import Splitter
from tests.golden import samples

DOCS = Path(__file__).resolve().parents[2] / "docs" / "formats"
BLOCK = re.compile(r"<!-- example: ([\w-]+) -->\n```(hex|json)\n(.*?)\n```", re.DOTALL)


def _read(language: str, text: str) -> bytes:
    if language == "json":
        return text.encode()
    return bytes.fromhex("".join(line.partition(";")[0] for line in text.splitlines()))


SHOWN = [
    (path.name, name, _read(language, text))
    for path in sorted(DOCS.glob("*.md"))
    for name, language, text in BLOCK.findall(path.read_text("utf-8"))
]


def test_every_example_is_shown_once() -> None:
    assert sorted(name for _, name, _ in SHOWN) == sorted(samples.EXAMPLES)


def test_every_block_is_an_example() -> None:
    fences = sum(path.read_text("utf-8").count("```hex\n") for path in DOCS.glob("*.md"))
    assert fences == sum(1 for _, name, _ in SHOWN if name not in {"config-plain", "slot-passphrase"})


@pytest.mark.parametrize(("page", "name", "data"), SHOWN, ids=[f"{page}:{name}" for page, name, _ in SHOWN])
def test_example_is_what_the_code_makes(page: str, name: str, data: bytes) -> None:
    assert data.hex() == samples.EXAMPLES[name].hex(), page


def test_the_measures_and_the_split_value_in_the_text() -> None:
    text = (DOCS / "metadata.md").read_text("utf-8")
    empty, hello = samples.TREE_LEAF.entries[:2]
    measured = [encoded_size(entry) for entry in (empty, hello, samples.MANIFEST_LEAF.entries[0])]
    assert "`empty` {}, `hello.txt` {}, a chunk of 131,072 bytes {}.".format(*measured) in text
    assert f"the value of `hello.txt` is {Splitter(bytes(32)).leaf_value('hello.txt')}." in text


def test_the_kinds_in_the_overview() -> None:
    text = (DOCS / "README.md").read_text("utf-8")
    for kind in Kind:
        assert f"| {kind.name.lower()} | {kind} |" in text


def test_links_between_the_pages_lead_somewhere() -> None:
    for path in DOCS.glob("*.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text("utf-8")):
            assert (path.parent / target).is_file(), f"{path.name}: {target}"
