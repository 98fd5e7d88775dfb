"""Texts compared line by line."""

import difflib
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediavault.history import text_diff
from mediavault.history.text_diff import Block, Hunk, changed_blocks, hunks, split_lines

LINES = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "d\n", "unique 1\n", "unique 2\n", "\n"]), max_size=14)


def lines(text: str) -> list[str]:
    return [f"{word}\n" for word in text.split()]


def patched(old: Sequence[str], found: Sequence[Hunk]) -> list[str]:
    """Apply hunks to a text, checking every line of theirs."""
    result: list[str] = []
    at = 0
    for hunk in found:
        result += old[at : hunk.old_start]
        assert len(result) == hunk.new_start
        before = [line for sign, line in hunk.lines if sign in " -"]
        after = [line for sign, line in hunk.lines if sign in " +"]
        assert (len(before), len(after)) == (hunk.old_count, hunk.new_count)
        assert old[hunk.old_start : hunk.old_start + hunk.old_count] == before
        result += after
        at = hunk.old_start + hunk.old_count
    return result + list(old[at:])


@given(LINES, LINES, st.integers(0, 3))
def test_hunks_make_the_newer_text_of_the_older_one(old: list[str], new: list[str], context: int) -> None:
    found = list(hunks(old, new, context))
    assert patched(old, found) == new
    assert bool(found) == (old != new)
    assert all(hunk.lines[0][0] != " " or context for hunk in found)


@given(LINES, LINES)
def test_blocks_are_in_order_and_do_not_touch(old: list[str], new: list[str]) -> None:
    before = Block(-1, -1, -1, -1)
    for block in changed_blocks(old, new):
        assert block.old_start > before.old_end or block.new_start > before.new_end
        assert block.old_start - before.old_end == block.new_start - before.new_end
        assert block.old_end > block.old_start or block.new_end > block.new_start
        before = block


@given(LINES, LINES)
def test_a_text_without_room_for_comparing_is_one_block_between_what_holds_it(old: list[str], new: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_diff, "_BUDGET", 0)
        assert patched(old, list(hunks(old, new, 1))) == new


def test_one_line_in_the_middle() -> None:
    (hunk,) = hunks(lines("a b c d e f g"), lines("a b c X e f g"), 2)
    assert (hunk.old_start, hunk.old_count, hunk.new_start, hunk.new_count) == (1, 5, 1, 5)
    assert [sign for sign, _ in hunk.lines] == [" ", " ", "-", "+", " ", " "]


def test_changes_that_stand_apart_are_hunks_of_their_own() -> None:
    old = lines("1 2 3 4 5 6 7 8 9")
    new = lines("1 X 3 4 5 6 7 Y 9")
    assert [(hunk.old_start, hunk.old_count) for hunk in hunks(old, new, 2)] == [(0, 4), (5, 4)]
    assert len(list(hunks(old, new, 3))) == 1
    assert [hunk.old_count for hunk in hunks(old, new, 0)] == [1, 1]


def test_lines_that_occur_once_hold_the_texts_together() -> None:
    # What is added is a whole function, not the half of two.
    old = lines("f { body1 } end")
    new = lines("g { body2 } f { body1 } end")
    assert list(changed_blocks(old, new)) == [Block(0, 0, 0, 4)]


def test_only_a_line_feed_ends_a_line() -> None:
    assert split_lines("a\r\nb\x0bc\u2028d\n\ne") == ["a\r\n", "b\x0bc\u2028d\n", "\n", "e"]
    assert split_lines("") == []
    assert split_lines("\n") == ["\n"]


@pytest.mark.parametrize("case", ["one line repeated", "two lines in disorder", "reversed", "nothing in common"])
def test_texts_that_difflib_would_chew_on_for_hours_stay_within_the_budget(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = random.Random(3)
    made: dict[str, tuple[list[str], list[str]]] = {
        "one line repeated": (["x\n"] * 50_000, ["y\n", *["x\n"] * 60_000, "z\n"]),
        "two lines in disorder": (
            [order.choice("ab") + "\n" for _ in range(50_000)],
            [order.choice("ab") + "\n" for _ in range(50_000)],
        ),
        "reversed": ([f"{n}\n" for n in range(50_000)], [f"{n}\n" for n in reversed(range(50_000))]),
        "nothing in common": ([f"a{n}\n" for n in range(50_000)], [f"b{n}\n" for n in range(50_000)]),
    }
    spent = 0
    original = difflib.SequenceMatcher

    def counted(junk: None, a: Sequence[str], b: Sequence[str], **options: bool) -> difflib.SequenceMatcher[str]:
        nonlocal spent
        spent += len(a) * len(b) * min(len(a), len(b))
        return original(junk, a, b, **options)

    monkeypatch.setattr(difflib, "SequenceMatcher", counted)
    old, new = made[case]
    assert patched(old, list(hunks(old, new, 3))) == new
    assert spent <= text_diff._BUDGET
