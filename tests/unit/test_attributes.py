from pathlib import Path

import pytest

from mediavault.errors import ConfigError
from mediavault.workspace.attributes import ATTRIBUTES_FILE, AttributeRules


def compresses(root: Path, path: str) -> bool:
    return AttributeRules(root).of(path).compress


def test_without_rules_everything_may_be_compressed(tmp_path: Path) -> None:
    assert compresses(tmp_path, "a/b/c.mov")


def test_the_last_line_and_the_nearest_file_decide(tmp_path: Path) -> None:
    (tmp_path / ATTRIBUTES_FILE).write_text("# comment\n*.exr compress=off\nkeep.exr compress=auto\n*.raw -compress\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ATTRIBUTES_FILE).write_text("\n*.exr compress\n")
    assert not compresses(tmp_path, "a.exr")
    assert not compresses(tmp_path, "x/a.exr")
    assert compresses(tmp_path, "keep.exr")
    assert not compresses(tmp_path, "a.raw")
    assert compresses(tmp_path, "sub/a.exr")
    assert not compresses(tmp_path, "sub/a.raw")
    assert compresses(tmp_path, "a.png")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("*.x compres=off", r"line 1: unknown attribute 'compres'; did you mean 'compress'\?"),
        ("*.x filter=sh", "unknown attribute 'filter'"),
        ("*.x compress=hard", "compress is auto or off"),
        ("*.x -compress=off", "compress is auto or off"),
        ("!*.x compress=off", "cannot start with"),
    ],
)
def test_what_is_not_understood_is_an_error(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / ATTRIBUTES_FILE).write_text(line)
    with pytest.raises(ConfigError, match=message):
        compresses(tmp_path, "a.x")
