"""show, diff, ls and cat."""

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from mediavault.ops import outline
from tests.film import Film, new_film

MEDIAGIT = str(Path(sys.executable).parent / "mediagit")
LARGE = random.Random(5).randbytes(3_000_000)
EDITED = LARGE[:1_500_000] + b"a new scene" + LARGE[1_500_000:]


@pytest.fixture(scope="module", params=["plain", "encrypted"])
def made(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Return a folder with a repository and its user's home: a passphrase is slow on purpose."""
    folder = tmp_path_factory.mktemp("made")
    flags = ["--no-encryption"] if request.param == "plain" else []
    with mock.patch.dict(os.environ, {"MEDIAGIT_HOME": str(folder / "home"), "MEDIAGIT_PASSPHRASE": "clear as day"}):
        film = new_film(folder / "film", *flags)
        film.write("movie.mov", LARGE)
        film.write("notes/todo.txt", "cut\n")
        commit(film, "First cut")
    (folder / "home").mkdir(exist_ok=True)
    return folder


@pytest.fixture
def film(made: Path, own_user: Path, tmp_path: Path) -> Film:
    shutil.copytree(made / "home", own_user, dirs_exist_ok=True)
    return Film(shutil.copytree(made / "film", tmp_path / "film", symlinks=True))


@pytest.fixture
def plain(tmp_path: Path) -> Film:
    made = new_film(tmp_path / "film", "--no-encryption")
    made.write("a.txt", "one")
    made.write("shots/b.txt", "two")
    made("add", ".")
    made("commit", "-m", "First cut")
    return made


def changes(document: dict[str, Any]) -> dict[str, str]:
    return {file["path"]: file["change"] for file in document["files"]}


def commit(film: Film, message: str) -> str:
    film("add", "-A")
    return str(film.json("commit", "-m", message)["id"])


def test_diff_of_a_working_file_tells_sizes_and_the_chunks_that_are_new(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outline, "_WINDOW_BYTES", 300_000)  # so that the file takes several
    film.write("movie.mov", EDITED)
    (file,) = film.json("diff")["files"]
    assert (file["path"], file["change"]) == ("movie.mov", "modified")
    assert (file["size_before"], file["size_after"]) == (len(LARGE), len(EDITED))
    assert file["chunks_shared"] > file["chunks_new"] >= 1
    assert file["bytes_shared"] + file["bytes_new"] == len(EDITED)
    assert 0 < file["bytes_new"] < len(EDITED) / 3
    working = film.json("diff", "main")
    commit(film, "Second cut")
    # What a working file would be stored as is what it is stored as.
    assert film.json("diff", "main~1", "main")["files"] == working["files"] == film.json("show")["files"]


def test_diff_compares_the_stage_the_working_files_and_commits(plain: Film) -> None:
    plain.write("a.txt", "edited")
    plain.write("new.txt", "new")
    plain("add", "a.txt", "new.txt")
    plain.write("a.txt", "edited again")
    (plain.root / "shots" / "b.txt").unlink()
    unstaged = plain.json("diff")
    assert changes(unstaged) == {"a.txt": "modified", "shots/b.txt": "deleted"}
    assert (unstaged["files"][0]["size_before"], unstaged["files"][0]["size_after"]) == (6, 12)
    staged = plain.json("diff", "--staged")
    assert changes(staged) == {"a.txt": "modified", "new.txt": "added"}
    assert (staged["files"][0]["size_before"], staged["files"][0]["size_after"]) == (3, 6)
    against = plain.json("diff", "main")
    assert changes(against) == {"a.txt": "modified", "new.txt": "added", "shots/b.txt": "deleted"}
    assert (against["files"][0]["size_before"], against["files"][0]["size_after"]) == (3, 12)
    assert plain.status()["modified"] == ["a.txt"]


def test_diff_sees_a_file_that_was_edited_back_to_what_a_commit_has_as_unchanged(plain: Film) -> None:
    plain.write("a.txt", "edited")
    plain("add", ".")
    plain.write("a.txt", "one")
    assert changes(plain.json("diff")) == {"a.txt": "modified"}
    assert plain.json("diff", "main")["files"] == []


def test_diff_exit_code_tells_whether_something_differs(plain: Film) -> None:
    assert "Nothing differs" in plain("diff", "--exit-code")
    plain.write("a.txt", "edited")
    plain("diff")
    assert plain("diff", "--exit-code", exit_code=1) == ""
    plain("diff", "--exit-code", "--", "shots")


def test_diff_of_two_commits_in_every_spelling(plain: Film) -> None:
    plain("switch", "-c", "grade")
    plain.write("a.txt", "graded")
    commit(plain, "Grade")
    plain("switch", "main")
    plain.write("shots/b.txt", "recut")
    commit(plain, "Recut")
    both = {"a.txt": "modified", "shots/b.txt": "modified"}
    assert changes(plain.json("diff", "main", "grade")) == both
    assert changes(plain.json("diff", "main..grade")) == both
    assert changes(plain.json("diff", "..grade")) == both
    assert changes(plain.json("diff", "main...grade")) == {"a.txt": "modified"}
    assert changes(plain.json("diff", "main", "grade", "--", "shots")) == {"shots/b.txt": "modified"}
    assert changes(plain.json("diff", "main", "grade", "a.txt")) == {"a.txt": "modified"}
    assert changes(plain.json("diff", "b.txt", cwd=plain.root / "shots")) == {}
    assert "two sides" in plain("diff", "main", "grade", "main~1", exit_code=2)
    assert "two sides" in plain("diff", "--staged", "main..grade", exit_code=2)
    assert "Nothing is called 'mian'" in plain("diff", "mian", exit_code=1)


def test_a_word_that_is_a_file_and_a_branch_has_to_be_told_apart(plain: Film) -> None:
    plain("branch", "shots")
    assert "also a revision" in plain("diff", "shots", exit_code=2)
    assert plain.json("diff", "shots", "--")["from"] == "shots"
    plain.write("a.txt", "edited")
    plain.write("shots/b.txt", "edited")
    assert changes(plain.json("diff", "--", "shots")) == {"shots/b.txt": "modified"}


def test_diff_knows_renames_modes_links_and_empty_files(plain: Film) -> None:
    (plain.root / "a.txt").rename(plain.root / "z.txt")
    plain.write("empty", b"")
    (plain.root / "link").symlink_to("z.txt")
    (plain.root / "shots" / "b.txt").chmod(0o755)
    assert changes(plain.json("diff")) == {"a.txt": "deleted", "shots/b.txt": "mode"}
    commit(plain, "Tidy up")
    document = plain.json("diff", "HEAD~1", "HEAD")
    assert changes(document) == {"empty": "added", "link": "added", "shots/b.txt": "mode", "z.txt": "renamed"}
    (renamed,) = (file for file in document["files"] if file["path"] == "z.txt")
    assert (renamed["old_path"], renamed["chunks_shared"], renamed["chunks_new"]) == ("a.txt", 1, 0)
    text = plain("diff", "HEAD~1", "HEAD")
    assert "a.txt -> z.txt" in text
    assert "link to z.txt" in text
    assert "now an executable" in text
    (plain.root / "link").unlink()
    (plain.root / "link").symlink_to("a.txt")
    assert changes(plain.json("diff")) == {"link": "modified"}


def test_diff_before_the_first_commit(tmp_path: Path) -> None:
    film = new_film(tmp_path / "film", "--no-encryption")
    film.write("a.txt", "one")
    assert "1 file that you never added" in (film("diff"), film.errors)[1]
    film("add", ".")
    assert changes(film.json("diff", "--staged")) == {"a.txt": "added"}
    assert "no commit yet" in film("diff", "HEAD", exit_code=1)


def test_show_tells_a_commit_and_what_it_changed(film: Film) -> None:
    film.write("movie.mov", EDITED)
    (film.root / "notes" / "todo.txt").unlink()
    oid = commit(film, "Second cut\n\nWith a new scene.")
    document = film.json("show")
    assert (document["id"], document["message"]) == (oid, "Second cut\n\nWith a new scene.")
    assert document["parents"] == [film.json("show", "HEAD~1")["id"]]
    assert changes(document) == {"movie.mov": "modified", "notes/todo.txt": "deleted"}
    assert changes(film.json("show", "main~1")) == {"movie.mov": "added", "notes/todo.txt": "added"}
    text = film("show", oid[:12])
    assert "With a new scene." in text
    assert "2 files: 1 changed, 1 deleted." in text
    assert "does not have" in film("show", "main^2", exit_code=1)


def test_show_of_an_annotated_tag_tells_the_tag_too(plain: Film) -> None:
    plain("tag", "-a", "v1", "-m", "Delivered", env={"MEDIAGIT_AUTHOR_NAME": "Ada"})
    document = plain.json("show", "v1")
    assert (document["tag"]["name"], document["tag"]["message"]) == ("v1", "Delivered")
    assert document["tag"]["tagger"].startswith("Ada <")
    assert "Tagger:  Ada" in plain("show", "v1")
    assert plain.json("show", "main")["tag"] is None


def test_ls_lists_any_commit_whole_or_in_part(plain: Film) -> None:
    plain.write("shots/c.txt", "three")
    (plain.root / "a.txt").unlink()
    (plain.root / "link").symlink_to("shots")
    commit(plain, "More")
    assert plain("ls").split() == ["link", "shots/b.txt", "shots/c.txt"]
    assert plain("ls", "main~1").split() == ["a.txt", "shots/b.txt"]
    assert plain("ls", "shots").split() == ["shots/b.txt", "shots/c.txt"]
    assert plain("ls", "main~1", "a.txt", "shots").split() == ["a.txt", "shots/b.txt"]
    assert plain("ls", "c.txt", cwd=plain.root / "shots").split() == ["shots/c.txt"]
    document = plain.json("ls")
    assert document["commit"] == plain.json("show")["id"]
    assert [(file["path"], file["mode"], file["size"], file["target"]) for file in document["files"]] == [
        ("link", "symlink", 5, "shots"),
        ("shots/b.txt", "file", 3, None),
        ("shots/c.txt", "file", 5, None),
    ]
    assert "link -> shots" in plain("ls", "--long")
    assert "3 files, 13 B" in plain("ls", "-l")
    assert "There is no a.txt in HEAD" in plain("ls", "--", "a.txt", exit_code=1)
    assert "One commit at a time" in plain("ls", "main", "HEAD", exit_code=2)


def cat(film: Film, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [MEDIAGIT, "cat", *arguments]
    return subprocess.run(command, cwd=film.root, env=os.environ, capture_output=True, check=False)


def test_cat_writes_exact_bytes_of_any_commit(film: Film) -> None:
    film.write("movie.mov", EDITED)
    commit(film, "Second cut")
    assert cat(film, "movie.mov").stdout == EDITED
    assert cat(film, "movie.mov", "--source", "HEAD~1").stdout == LARGE
    assert cat(film, "main~1:movie.mov").stdout == LARGE
    assert cat(film, ":notes/todo.txt").stdout == b"cut\n"
    document = film.json("cat", "main:movie.mov")
    assert (document["path"], document["size"], document["mode"]) == ("movie.mov", len(EDITED), "file")
    assert "is a folder" in film("cat", "notes", exit_code=2)
    assert "is a folder" in film("cat", "main:", exit_code=2)
    assert "There is no gone.mov in main" in film("cat", "main:gone.mov", exit_code=1)


def test_cat_of_damaged_content_exits_5_and_says_that_it_was_not_whole(film: Film) -> None:
    packs = film.root / ".mediagit" / "store" / "packs"
    pack = max((path for path in packs.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    data = bytearray(pack.read_bytes())
    data[len(data) * 3 // 4] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(data)
    result = cat(film, "movie.mov")
    assert result.returncode == 5
    assert b"not the whole file" in result.stderr
    assert LARGE.startswith(result.stdout)
    assert len(result.stdout) < len(LARGE)


def patch_of(text: str) -> list[str]:
    """Return the lines of a patch, from its first header on."""
    return text[text.index("--- ") :].splitlines()


def test_text_files_are_compared_line_by_line(plain: Film) -> None:
    lines = [f"line {number}\n" for number in range(12)]
    plain.write("list.txt", "".join(lines))
    commit(plain, "List")
    plain.write("list.txt", "".join([*lines[:5], "changed\n", *lines[6:], "last"]))
    wanted = [
        "--- a/list.txt",
        "+++ b/list.txt",
        "@@ -5,3 +5,3 @@",
        " line 4",
        "-line 5",
        "+changed",
        " line 6",
        "@@ -12 +12,2 @@",
        " line 11",
        "+last",
        "\\ No newline at end of file",
    ]
    assert patch_of(plain("diff", "-U", "1")) == wanted
    assert patch_of(plain("diff", "main", "--unified=1")) == wanted
    assert patch_of(plain("diff"))[2] == "@@ -3,10 +3,11 @@"
    assert patch_of(plain("diff", "-U0"))[2:5] == ["@@ -6 +6 @@", "-line 5", "+changed"]
    plain("add", ".")
    assert patch_of(plain("diff", "--staged", "-U", "1")) == wanted
    commit(plain, "Edited")
    assert patch_of(plain("show", "-U", "1")) == wanted
    assert patch_of(plain("diff", "main~1", "main", "-U1")) == wanted
    backwards = patch_of(plain("diff", "main", "main~1", "-U1"))
    assert [line for line in backwards if line[0] in "+-"][2:] == ["-changed", "+line 5", "-last"]


def patched(old: list[str], patch: list[str]) -> list[str]:
    """Apply a patch of one file as the program `patch` does."""
    result: list[str] = []
    at = 0
    for line in patch[2:]:
        if place := re.fullmatch(r"@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@", line):
            start = int(place[1]) - (place[2] != "0")
            result += old[at:start]
            at = start
        elif line[0] in " -":
            assert old[at] == line[1:]
            at += 1
        if line[0] in " +":
            result.append(line[1:])
    return result + old[at:]


@pytest.mark.parametrize("context", ["0", "1", "3"])
def test_a_patch_makes_the_newer_file_of_the_older_one(plain: Film, context: str) -> None:
    order = random.Random(8)
    old = [str(order.randrange(30)) for _ in range(300)]
    new = ["start", *(line for line in old if order.random() > 0.1), "end"]
    plain.write("a.txt", "\n".join(old) + "\n")
    commit(plain, "Old")
    plain.write("a.txt", "\n".join(new) + "\n")
    assert patched(old, patch_of(plain("diff", "-U", context))) == new


def test_added_and_deleted_text_files_are_shown_whole(plain: Film) -> None:
    plain.write("new.txt", "one\ntwo\n")
    (plain.root / "a.txt").unlink()
    (plain.root / "shots" / "b.txt").rename(plain.root / "shots" / "c.txt")
    commit(plain, "Tidy")
    assert patch_of(plain("show")) == [
        "--- a/a.txt",
        "+++ /dev/null",
        "@@ -1 +0,0 @@",
        "-one",
        "\\ No newline at end of file",
        "",
        "--- /dev/null",
        "+++ b/new.txt",
        "@@ -0,0 +1,2 @@",
        "+one",
        "+two",
    ]
    assert "--- " not in plain("show", "--", "shots")
    assert "None of these files changed." in plain("show", "--", "new.txt/x")


def test_media_files_and_files_with_nul_or_other_encodings_keep_the_list(film: Film) -> None:
    film.write("movie.mov", EDITED)
    film.write("notes/todo.txt", b"cut\0\n")
    film.write("latin.txt", "Caf\xe9".encode("latin-1"))
    film("add", "latin.txt")
    commit(film, "Second cut")
    text = film("show")
    assert "movie.mov" in text
    assert "--- " not in text
    assert "not compared line by line" not in text


def test_control_characters_of_contents_and_names_do_not_reach_the_terminal(plain: Film) -> None:
    plain.write("a.txt", "one\x1b]0;owned\x07\n\x9b31mred\r\n\ttab\u202e\n")
    text = plain("diff")
    assert "+one\\u001b]0;owned\\u0007\n" in text
    assert "+\\u009b31mred\\r\n" in text
    assert "+\ttab\\u202e\n" in text
    assert not set(text) & {"\x1b", "\x07", "\x9b", "\r", "\u202e"}


def test_line_ends_of_windows_are_shown_only_where_they_change(plain: Film) -> None:
    plain.write("a.txt", "one\r\ntwo\r\n")
    commit(plain, "Windows")
    plain.write("a.txt", "one\r\n2\r\n")
    assert patch_of(plain("diff"))[3:] == [" one", "-two", "+2"]
    plain.write("a.txt", "one\r\ntwo\n")
    assert patch_of(plain("diff"))[3:] == [" one\\r", "-two\\r", "+two"]


def test_a_text_file_that_is_too_large_says_so(plain: Film) -> None:
    plain.write("a.txt", "line\n" * 250_000)
    plain.write("shots/b.txt", "line\n" * 200_000)
    commit(plain, "Large")
    assert "+line" in plain("show", "--", "shots")
    assert "+line" not in plain("show", "--", "a.txt")
    plain.write("a.txt", "line\n" * 250_000 + "more\n")
    working = plain("diff")
    assert "a.txt: not compared line by line, since it is larger than 1.0 MiB." in working
    commit(plain, "More")
    assert "not compared line by line" in plain("show")
    assert "not compared" not in plain("show", "--stat")


def test_how_much_diff_shows(plain: Film) -> None:
    plain.write("a.txt", "edited\n")
    plain.write("new.txt", "new\n")
    plain("add", "new.txt", "a.txt")
    plain("mv", "shots/b.txt", "moved.txt")
    assert plain("diff", "--staged", "--name-only").split() == ["a.txt", "moved.txt", "new.txt"]
    assert plain("diff", "--staged", "--name-status").splitlines() == [
        "M\ta.txt",
        "R\tshots/b.txt\tmoved.txt",
        "A\tnew.txt",
    ]
    stat = plain("diff", "--staged", "--stat")
    assert "3 files: 1 added, 1 changed, 1 renamed." in stat
    assert "+edited" not in stat
    assert "+edited" in plain("diff", "--staged")
    assert plain("diff", "--staged", "--stat", "--exit-code", exit_code=1) == ""
    assert "exclude each other" in plain("diff", "--stat", "--name-only", exit_code=2)
    plain("diff", "-U", "-1", exit_code=2)
    commit(plain, "All")
    assert plain("show", "--name-only").split()[-3:] == ["a.txt", "moved.txt", "new.txt"]
    assert (plain("diff", "--name-only"), plain("diff", "--name-status")) == ("", "")


def test_show_of_a_part_of_a_commit(plain: Film) -> None:
    plain.write("a.txt", "edited")
    plain.write("shots/b.txt", "edited")
    commit(plain, "Both")
    assert changes(plain.json("show", "--", "shots")) == {"shots/b.txt": "modified"}
    assert changes(plain.json("show", "main", "a.txt")) == {"a.txt": "modified"}
    assert changes(plain.json("show", "b.txt", cwd=plain.root / "shots")) == {"shots/b.txt": "modified"}
    assert "One commit at a time" in plain("show", "main", "main~1", exit_code=2)
