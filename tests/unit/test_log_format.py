"""How a commit is worded: named formats and templates."""

from collections.abc import Sequence

import pytest

from mediavault.cli.log_format import wording
from mediavault.cli.patch import visible
from mediavault.cli.render import Console
from mediavault.errors import UsageError
from mediavault.model.objects import Commit, Moment, Person
from mediavault.ops.log import LogEntry

ONE, TWO = b"\x01" * 32, b"\x02" * 32
COMMIT = Commit(
    b"\x03" * 32,
    (ONE, TWO),
    Person("Ada", "ada@example.org"),
    Moment(1_000_000_000, 60),
    Person("Bo\x1b[31m", "bo@example.org"),
    Moment(1_100_000_000, 0),
    2,
    "Cut\n\nLouder.\x1b[2J\nLonger.",
)
ENTRY = LogEntry(b"\xab" * 32, COMMIT, ["main", "v1"], ["HEAD -> main", "tag: v1"])
BARE = LogEntry(b"\xab" * 32, COMMIT, [])


def worded(form: str, entry: LogEntry = ENTRY) -> Sequence[str]:
    console = Console()
    console.color = False
    return wording(form)(console, entry)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("%H", "ab" * 32),
        ("%h", "ab" * 6),
        ("%P", f"{'01' * 32} {'02' * 32}"),
        ("%p", f"{'01' * 6} {'02' * 6}"),
        ("%T %t", f"{'03' * 32} {'03' * 6}"),
        ("%an <%ae>", "Ada <ada@example.org>"),
        ("%ad", "Sun 09 Sep 2001 02:46:40 +0100"),
        ("%aI %at", "2001-09-09T02:46:40+01:00 1000000000"),
        ("%cn %ce", "Bo\\u001b[31m bo@example.org"),
        ("%cI %ct", "2004-11-09T11:33:20+00:00 1100000000"),
        ("%s", "Cut"),
        ("%b", "Louder.\\u001b[2J\nLonger."),
        ("%B", "Cut\n\nLouder.\\u001b[2J\nLonger."),
        ("%h%d", f"{'ab' * 6} (HEAD -> main, tag: v1)"),
        ("%D", "HEAD -> main, tag: v1"),
        ("a%nb%%n", "a\nb%n"),
        ("%x41%x09.", "A\t."),
        ("%sx %Hx", f"Cutx {'ab' * 32}x"),
        ("format:%s", "Cut"),
        ("tformat:words", "words"),
    ],
)
def test_placeholders(template: str, text: str) -> None:
    assert "\n".join(worded(template)) == text


def test_without_refs_nothing_is_added() -> None:
    assert worded("%s%d|%D", BARE) == ["Cut|"]
    assert worded("oneline", BARE) == [f"{'ab' * 6} Cut"]


@pytest.mark.parametrize(
    ("form", "message", "hint"),
    [
        ("%h %ar", "Unknown placeholder: %ar", "Did you mean %a"),
        ("%Cred", "Unknown placeholder: %Cr", "%h id"),
        ("100%", "Unknown placeholder: %", "percent"),
        ("%xZZ", "Unknown placeholder: %xZ", "byte"),
        ("onelin", "no format 'onelin'", "Did you mean 'oneline'?"),
        ("words", "no format 'words'", "templates such as"),
    ],
)
def test_what_is_unknown_is_refused_with_the_nearest_one(form: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=r"There is|Unknown") as raised:
        wording(form)
    assert message in raised.value.message
    assert hint in raised.value.hint
    assert raised.value.untouched


def test_named_formats() -> None:
    assert worded("oneline") == [f"{'ab' * 6} (HEAD -> main, tag: v1) Cut"]
    assert worded("medium") == [
        f"commit {'ab' * 32} (HEAD -> main, tag: v1)",
        f"Merge:   {'01' * 6} {'02' * 6}",
        "Author:  Ada <ada@example.org>",
        "Date:    Sun 09 Sep 2001 02:46:40 +0100",
        "",
        "    Cut",
        "",
        "    Louder.\\u001b[2J",
        "    Longer.",
    ]
    assert worded("full")[2:6] == [
        "Author:      Ada <ada@example.org>",
        "AuthorDate:  Sun 09 Sep 2001 02:46:40 +0100",
        "Commit:      Bo\\u001b[31m <bo@example.org>",
        "CommitDate:  Tue 09 Nov 2004 11:33:20 +0000",
    ]


def test_a_renamed_file_tells_its_former_name() -> None:
    entry = LogEntry(b"\xab" * 32, COMMIT, [], path="b.mov", old_path="a.mov")
    assert worded("oneline", entry) == [f"{'ab' * 6} Cut [was a.mov]"]
    assert "File:    b.mov, renamed from a.mov" in worded("medium", entry)


def test_text_keeps_what_is_harmless_and_escapes_what_a_terminal_obeys() -> None:
    assert visible("tab\there, ideographic\u3000space, no\u00a0break") == (
        "tab\there, ideographic\u3000space, no\u00a0break"
    )
    assert visible("a\x1b[2Jb\x07\rc\x9bd\u202ee\u2028") == "a\\u001b[2Jb\\u0007\\rc\\u009bd\\u202ee\\u2028"
