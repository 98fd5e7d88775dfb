"""What may stand in a tree, and what may name a ref."""

import pytest

from mediavault.errors import FormatError, UsageError
from mediavault.model.names import check_entry_name, check_path, check_ref_name, collision_key, entry_name_problem

GOOD_NAMES = [
    "a", "shot_010.exr", "Größe.png", "日本語.mov", "with space", " leading", "-", "--force", "...a", ".hidden", ".gitignore",
    ".gitattributes", ".mediagitignore", "git", "mediagit", "console", "com10", "comma.txt", "con-1", "nulls", "a~1", "x" * 255,
    "é" * 127, "what?", "pipe|star*", "emoji 🎬", "a\u200db", "LPT", "auxiliary.c", "~", "#1", "a\u00a0b", ".git2", "git~", "digit~1",
]  # fmt: skip
BAD_NAMES = {
    "is not a name": ["", ".", ".."],
    "is not valid UTF-8": ["a\udcff"],
    "is longer than 255 bytes": ["x" * 256, "é" * 128],
    "contains a slash": ["a/b", "/", "/etc", "../x"],
    "contains a backslash": ["a\\b", "\\\\server\\share"],
    "contains a colon": ["C:", "a:b", ".git:$DATA", "file::$INDEX_ALLOCATION"],
    "contains a control character": ["a\0b", "a\nb", "\x1b[31m", "\x7f", "\x85"],
    "ends with a dot or a space": ["a.", "a ", "...", ".git ", ".git.", "con "],
    "is a device name on Windows": [
        "con", "CON", "Nul.txt", "aux.tar.gz", "COM1", "com¹.log", "LPT9", "lpt0", "prn .txt", "conin$", "CONOUT$.x", "con.日本",
    ],
    "is, or is read by some file systems as, a private folder of a version control system": [
        ".git", ".GIT", ".Git", ".mediagit", ".MediaGit", "git~1", "GIT~12", "mediag~1", "MEDIAG~2", "gi7eba~1", "me01ab~3",
        ".g\u200cit", ".git\u200d", "\ufeff.git", ".m\u2060ediagit", ".gi\ufe0ft", ".\U000e0001git", ".media\u00adgit",
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_ordinary_names_stand_in_a_tree(name: str) -> None:
    assert entry_name_problem(name) is None
    check_entry_name(name)


@pytest.mark.parametrize(("reason", "name"), [(reason, name) for reason, names in BAD_NAMES.items() for name in names])
def test_names_that_some_system_reads_otherwise_are_refused(reason: str, name: str) -> None:
    assert entry_name_problem(name) == reason
    with pytest.raises(FormatError, match="refused"):
        check_entry_name(name)


def test_paths_are_checked_name_by_name() -> None:
    check_path("a/b c/d.exr")
    for path in ("", "/a", "a/", "a//b", "a/../b", "./a", "a/.git/config", "C:/x", "a\\b"):
        with pytest.raises(FormatError, match="A path is refused"):
            check_path(path)


def test_paths_have_a_greatest_length_and_depth() -> None:
    check_path("/".join(["d"] * 128))
    with pytest.raises(FormatError, match="deeper than 128"):
        check_path("/".join(["d"] * 129))
    check_path("/".join(["x" * 255] * 16))
    with pytest.raises(FormatError, match="longer than 4096"):
        check_path("/".join(["x" * 255] * 16 + ["y"]))


@pytest.mark.parametrize(
    ("one", "other"),
    [("Shot", "shot"), ("Größe", "GRÖSSE"), ("é", "e\u0301"), ("É", "e\u0301"), ("ﬁle", "FILE"), ("\u212b", "å")],
)
def test_names_that_fold_to_one_collide(one: str, other: str) -> None:
    assert collision_key(one) == collision_key(other)


def test_different_names_do_not_collide() -> None:
    assert len({collision_key(name) for name in ("a", "b", "a b", "é", "e", "a/b")}) == 6


@pytest.mark.parametrize(
    "name",
    [
        "heads/main",
        "tags/v1.0",
        "remotes/origin/main",
        "heads/feature/colour-grade",
        "heads/Größe",
        "heads/a_b",
        "heads/a@b",
    ],
)
def test_ref_names(name: str) -> None:
    check_ref_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "main", "heads", "heads/", "HEAD", "refs/heads/main", "heads//a", "heads/a/", "heads/.a", "heads/a.", "heads/a.lock",
        "heads/a.lock/b", "heads/a..b", "heads/../tags/x", "heads/a b", "heads/a~1", "heads/a^", "heads/a:b", "heads/a?", "heads/a*",
        "heads/a[", "heads/a\\b", "heads/a\x00", "heads/a\x7f", "heads/@", "heads/a@{1}", "heads/-a", "heads/HEAD", "heads/e\u0301",
        "heads/\udcff", "heads/" + "x" * 240, "heads/" + "X" * 80, "stash/x",
    ],
)  # fmt: skip
def test_names_that_cannot_name_a_ref(name: str) -> None:
    with pytest.raises(UsageError, match="Not a ref name"):
        check_ref_name(name)


def test_the_longest_ref_names() -> None:
    check_ref_name("heads/" + "x" * 232)  # the slash takes three bytes in a key
    with pytest.raises(UsageError, match="too long"):
        check_ref_name("heads/" + "x" * 233)
