"""Every name a file system can hold: kept byte for byte through all verbs, or reported and left out, with a way out that works."""

import contextlib
import errno
import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PASSPHRASE, installed
from tests.film import Film, new_film
from tests.snapshot import snapshot

KEPT = [
    "plain.mov",
    "nfc-\u00e9.mov",
    "nfd-e\u0301.mov",
    "Größe/日本語/emoji 🎬.exr",
    "family 👨\u200d👩\u200d👧",
    "عربي",
    " leading space",
    "in the middle",
    "-dash",
    "--force",
    ".hidden",
    "~",
    "~user",
    "$HOME",
    "`id`",
    "$(id)",
    "%41",
    "#comment",
    "!not",
    "[a]",
    "star*",
    "what?",
    'quo"te',
    "apo'strophe",
    "pipe|<and>",
    "semi;colon & more",
    "HEAD",
    "main",
    "a..b",
    "@{1}",
    "right\u202eto left.mov",
    "zero\u200bwidth",
    "line\u2028separator",
    "\ufeffmark",
    "no\u00a0break",
    "console",
    "com10.txt",
    "nullify",
    "x" * 255,
    "é" * 127,
    "/".join(["deep"] * 127) + "/f",
    "/".join([letter * 250 for letter in "abcdefghijklmnop"]) + "/" + "q" * 80,
]
"""Names and paths that are kept, here and on every system: the last is 4,096 bytes long."""

REFUSED = {
    "con": "Windows",
    "CON.txt": "Windows",
    "nul.tar.gz": "Windows",
    "Aux .x": "Windows",
    "com1": "Windows",
    "lpt9.exr": "Windows",
    "com¹": "Windows",
    "prn/inside": "Windows",
    "dot.": "ends with a dot or a space",
    "space ": "ends with a dot or a space",
    "co:lon": "colon",
    "back\\slash": "backslash",
    "tab\there": "control character",
    "new\nline": "control character",
    "\x1b[31mred": "control character",
    "del\x7f": "control character",
    "c1\x9b31m": "control character",
    "git~1": "private folder",
    ".GIT": "private folder",
    ".m\u200cediagit": "private folder",
    "not utf-8 \udcff": "UTF-8",
    "surrogate \udced\udca0\udc80": "UTF-8",
    "folder \udcff/inside": "UTF-8",
}
"""Names that this system can hold and others cannot, and a word of the reason."""


def run(root: Path, *arguments: str | bytes, code: int = 0) -> bytes:
    """Run the installed command with any bytes as arguments; return what it wrote to both streams."""
    environment = {**os.environ, "MEDIAGIT_PASSPHRASE": PASSPHRASE}
    command = [installed("mediagit"), *arguments]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, check=False)
    assert done.returncode == code, (arguments, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    assert b"Traceback" not in done.stderr
    return done.stdout + done.stderr


def document(root: Path, *arguments: str) -> Any:
    return json.loads(run(root, arguments[0], "--json", *arguments[1:]))


def make(root: Path, path: str, content: bytes = b"") -> None:
    """Make a file at a path of any bytes and length."""
    place = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    *folders, name = path.split("/")
    for folder in folders:
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, dir_fd=place)
        below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY, dir_fd=place)
        os.close(place)
        place = below
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644, dir_fd=place)
    os.write(fd, content or path.encode("unicode_escape"))
    os.close(fd)
    os.close(place)


def held(root: Path) -> dict[str, bytes]:
    """Return what stands in a folder by open folders, however long the paths are."""
    found = {}
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder, folders, files, place in os.fwalk(".", dir_fd=fd):
            if folder == ".":
                folders.remove(".mediagit")
            for name in files:
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=place)
                found[os.path.normpath(f"{folder}/{name}")] = os.read(file, 1 << 16)
                os.close(file)
    finally:
        os.close(fd)
    return found


def harmless(output: bytes) -> bool:
    """Say whether output is what any terminal shows and none obeys."""
    text = output.decode()  # valid UTF-8 whatever the names are
    return all(char == "\n" or char.isprintable() for char in text)


def test_names_that_are_kept_go_through_every_verb(tmp_path: Path, serve: Callable[..., str]) -> None:
    root = tmp_path / "film"
    root.mkdir()
    run(root, "init", ".")
    for path in KEPT:
        make(root, path)
    before = held(root)
    assert before.keys() == set(KEPT)
    assert document(root, "add", ".")["added"] == sorted(KEPT)
    assert document(root, "status")["staged"] == sorted(KEPT)
    run(root, "commit", "-m", "Odd names")
    for verb in (
        ("status",),
        ("ls",),
        ("ls", "-l"),
        ("show",),
        ("diff", "HEAD", "--"),
        ("log",),
        ("stats",),
        ("verify",),
    ):
        assert harmless(run(root, *verb)), verb
    assert [file["path"] for file in document(root, "ls")["files"]] == sorted(KEPT)

    # One by one: to see, to change, to bring back, to rename.
    film = Film(root)
    for path in KEPT[1:20:3]:
        assert run(root, "cat", "--", path) == path.encode("unicode_escape")
        assert run(root, "cat", f"HEAD:{path}") == path.encode("unicode_escape")
    for path in KEPT:
        assert len(film.json("log", "--", path)) == 1
        assert [file["path"] for file in film.json("ls", "--", path)["files"]] == [path]
        assert film.json("cat", "--", path)["path"] == path
    run(root, "switch", "-c", "edited")
    for path in KEPT:
        make(root, path, b"edited")
    assert document(root, "status")["modified"] == sorted(KEPT)
    assert [change["path"] for change in document(root, "diff")["files"]] == sorted(KEPT)
    run(root, "commit", "-am", "Edited")
    run(root, "switch", "main")
    assert held(root) == before
    run(root, "rm", "-r", "--", *KEPT[:20])
    assert held(root).keys() == set(KEPT[20:])
    run(root, "restore", "-SW", ".")
    assert held(root) == before
    for number, path in enumerate(KEPT):
        film("mv", "--", path, f"moved-{number}")
        film("mv", "--", f"moved-{number}", path)
    assert document(root, "status")["staged"] == []
    assert held(root) == before

    # And elsewhere, below a folder whose own path is long.
    url = f"{serve(tmp_path / 'srv')}/studio/film"
    run(root, "remote", "add", "origin", url)
    run(root, "push", "origin", "main", "edited")
    far = tmp_path / ("f" * 200) / ("g" * 200)
    far.mkdir(parents=True)
    run(far, "clone", url, "copy")
    assert held(far / "copy") == before
    assert document(far / "copy", "status")["modified"] == []
    run(far / "copy", "switch", "edited")
    assert set(held(far / "copy").values()) == {b"edited"}
    run(far / "copy", "switch", "main")
    assert held(far / "copy") == before


@pytest.fixture
def film(tmp_path: Path) -> Film:
    made = new_film(tmp_path / "film", "--no-encryption")
    made.write("a.txt", "one")
    made("add", ".")
    made("commit", "-m", "First cut")
    return made


def problems(film: Film, *arguments: str) -> dict[str, str]:
    """Add, which must leave something out; return why, by path."""
    code = film.attempt("add", "--json", *(arguments or (".",)))
    assert code == 1, film.output
    found = json.loads(film.output)["problems"]
    assert all(problem["hint"] for problem in found), "each has a way out"
    assert [problem["path"] for problem in found] == sorted(problem["path"] for problem in found)
    return {problem["path"]: problem["reason"] for problem in found}


def test_names_that_others_cannot_hold_are_left_out_and_the_rest_is_taken(film: Film) -> None:
    for path in REFUSED:
        make(film.root, path)
    film.write("fine.txt", "fine")
    shown = {path.partition("/")[0]: word for path, word in REFUSED.items()}
    found = problems(film)
    assert len(found) == len(shown)
    for path, word in shown.items():
        assert word in found[os.fsencode(path).decode("utf-8", "backslashreplace")]
    assert film.status() == {"staged": ["fine.txt"]}
    assert {problem["path"] for problem in film.json("status")["problems"]} == found.keys()
    for verb, code in ((("add", "."), 1), (("status",), 0), (("add", "--json", "."), 1), (("status", "--json"), 0)):
        assert harmless(run(film.root, *verb, code=code))
    film("commit", "-m", "The rest")


def test_each_refused_name_is_refused_by_itself_too(film: Film) -> None:
    for path, word in REFUSED.items():
        make(film.root, path)
        assert word in film("add", "--", path, exit_code=1)
        assert harmless(film.errors.encode())
    assert film.status() == {}
    bad = os.fsencode("not utf-8 \udcff")
    assert b"not valid UTF-8" in run(film.root, "add", "--", bad, code=1)


def test_a_name_that_is_not_utf8_is_nowhere_in_a_project(film: Film) -> None:
    make(film.root, "bad \udcff/x")
    for verb in ("add", "cat", "ls", "rm", "restore", "mv"):
        more = ["elsewhere"] if verb == "mv" else []
        for path in ("bad \udcff", "bad \udcff/x", "missing \udcff"):
            film(verb, "--", path, *more, exit_code=1)
            assert "should not have happened" not in film.errors, (verb, path)
            assert harmless(film.errors.encode())
    for verb in ("status", "log", "diff"):
        film(verb, "--", "bad \udcff/x")
    for target in ("bad \udcff", "\udcff"):
        assert "not valid UTF-8" in film("mv", "a.txt", target, exit_code=2)
    for target in ("con.txt", "dot.", "co:lon", "x" * 256, "/".join(["deep"] * 129)):
        assert "Nothing was moved" in film("mv", "a.txt", target, exit_code=2)
    assert film.status() == {}


def test_what_is_refused_can_be_ignored_by_name_or_renamed(film: Film) -> None:
    patterns = []
    for path in REFUSED:
        make(film.root, path)
        name = path.partition("/")[0]
        # What a text file cannot say plainly, `?` stands for.
        patterns.append("".join("?" if c in "\\ [" or not c.isprintable() else c for c in name))
    film.write(".mediagitignore", "\n".join(patterns))
    film("add", ".")
    assert film.status() == {"staged": [".mediagitignore"]}
    assert film.json("status")["problems"] == []
    (film.root / ".mediagitignore").unlink()
    for number, path in enumerate(REFUSED):
        (film.root / path.partition("/")[0]).rename(film.root / f"renamed {number}")
    film("add", ".")
    assert len(film.status()["staged"]) == len(REFUSED)


def test_longer_and_deeper_than_a_tree_holds(film: Film) -> None:
    make(film.root, "/".join(["d" * 250] * 16) + "/" + "f" * 81)
    make(film.root, "/".join(["e"] * 128) + "/f")
    make(film.root, "fine")
    found = problems(film)
    assert sorted(reason.partition(" longer")[0] for reason in found.values()) == ["has a path", "lies too deep"]
    assert film.status() == {"staged": ["fine"]}
    with pytest.raises(OSError, match="name too long"):  # the system itself has no longer names
        make(film.root, "x" * 256)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Shot.mov", "shot.mov"),
        ("é", "e\u0301"),
        ("Größe", "GRÖSSE"),
        ("ﬁlm", "film"),
        ("Reel/1", "reel/2"),
        ("take", "Take/1"),
    ],
)
def test_names_that_are_one_elsewhere(film: Film, first: str, second: str) -> None:
    make(film.root, first)
    make(film.root, second)
    if len(list(film.root.iterdir())) < 4:
        pytest.skip("this file system folds letter case")
    film.write("fine", "x")
    top, other = first.partition("/")[0], second.partition("/")[0]
    assert problems(film).keys() == {top, other}, "of two new ones none is better"
    assert film.status()["staged"] == ["fine"]
    film("restore", "--staged", "fine")
    film("add", first)
    assert problems(film).keys() == {other}, "the one that was added stays"
    assert problems(film, second).keys() == {other}
    film("commit", "-am", "One")
    film("rm", "--cached", first)
    film("add", second)
    film("commit", "-m", "Now the other")
    (film.root / first).rename(film.root / "aside")
    film("switch", "--detach", "HEAD~1", exit_code=0)
    film("switch", "main")


def test_a_rename_of_case_alone_is_no_collision(film: Film) -> None:
    (film.root / "a.txt").rename(film.root / "A.txt")
    report = film.json("add", ".")
    assert (report["added"], report["removed"], report["problems"]) == (["A.txt"], ["a.txt"], [])
    film("commit", "-m", "Upper")
    film("switch", "--detach", "HEAD~1")
    assert [path.name for path in film.root.iterdir() if path.name != ".mediagit"] == ["a.txt"]
    film("switch", "main")
    film("mv", "A.txt", "b.txt")
    film("mv", "b.txt", "a.txt")
    film("commit", "-m", "Lower")
    assert [file["path"] for file in film.json("ls")["files"]] == ["a.txt"]


def test_restored_names_that_would_collide_are_not_committed(film: Film) -> None:
    film("rm", "a.txt")
    film.write("A.TXT", "upper")
    film("add", ".")
    film("commit", "-m", "Upper")
    before = snapshot(film.root)
    assert "one name on many file systems" in film("restore", "-SW", "--source", "HEAD~1", "--", "a.txt", exit_code=3)
    assert "one name on many file systems" in film("restore", "-S", "--source", "HEAD~1", "--", "a.txt", exit_code=3)
    assert snapshot(film.root) == before
    assert film.status() == {}
    film("restore", "--source", "HEAD~1", "--", "a.txt")
    assert film.status() == {"untracked": ["a.txt"]}


LINKS = {
    "to-file": "a.txt",
    "to-folder": "shots",
    "to-tracked-file": "shots/b.txt",
    "dangling": "nowhere/at all",
    "loop": "loop",
    "loop-a": "loop-b",
    "loop-b": "loop-a",
    "dot": ".",
    "shots/up": "../a.txt",
    "shots/self": "../shots",
    "odd": "tab\tand \x1b[31m",
    "long": "x" * 4095,
    "spaces": " . ./a",
}
LINKS_REFUSED = {
    "absolute": "/etc/passwd",
    "out": "../elsewhere",
    "out-and-in": "../film/a.txt",
    "down-and-up": "shots/../../elsewhere",
    "private": ".mediagit/HEAD",
    "windows": "C:\\Windows",
    "bytes": "\udcff",
}


def test_links_of_every_kind(film: Film, tmp_path: Path, serve: Callable[..., str]) -> None:
    film.write("shots/b.txt", "two")
    for path, target in (LINKS | LINKS_REFUSED).items():
        (film.root / path).symlink_to(target)
    assert problems(film).keys() == LINKS_REFUSED.keys()
    assert film.status() == {"staged": sorted([*LINKS, "shots/b.txt"])}
    assert {problem["path"] for problem in film.json("status")["problems"]} == LINKS_REFUSED.keys()
    film("commit", "-m", "Links")
    assert harmless(run(film.root, "ls", "-l"))
    assert run(film.root, "cat", "to-folder") == b"shots"
    for name in LINKS_REFUSED:
        (film.root / name).unlink()
    film("remote", "add", "origin", f"{serve(tmp_path / 'srv')}/studio/film")
    film("push", "origin", "main")
    Film(tmp_path)("clone", "--no-encryption", f"{film.json('remote')[0]['url']}", "copy")
    copy = tmp_path / "copy"
    assert {path: os.readlink(copy / path) for path in LINKS} == LINKS  # noqa: PTH115 -- Path would change the text
    assert snapshot(copy) == snapshot(film.root)
    assert Film(copy).status() == {}


def test_a_link_a_folder_and_a_file_take_each_others_place(film: Film) -> None:
    film.write("shots/b.txt", "two")
    (film.root / "latest").symlink_to("shots")
    film("add", ".")
    film("commit", "-m", "link")
    (film.root / "latest").unlink()
    film.write("latest/c.txt", "three")
    assert film.status() == {"deleted": ["latest"], "untracked": ["latest/c.txt"]}
    film("add", "latest/c.txt")  # the path inside is enough
    assert film.status() == {"staged": ["latest", "latest/c.txt"]}
    film("commit", "-m", "folder")
    (film.root / "latest/c.txt").unlink()
    (film.root / "latest").rmdir()
    film.write("latest", "file")
    film("add", "latest")
    film("commit", "-m", "file")
    states = ["file", "folder", "link"]
    for commit, state in ((f"main~{n}", states[n]) for n in (1, 2, 0, 2, 1, 0)):
        film("switch", "--detach", commit)
        place = film.root / "latest"
        assert ("link" if place.is_symlink() else "folder" if place.is_dir() else "file") == state
        assert film.status() == {}
    assert film.read("shots/b.txt") == "two", "nothing was written through the link"


def test_an_untracked_link_in_a_folder_that_becomes_a_file_is_somebodys_work(film: Film) -> None:
    film.write("reel", "file")
    film("add", ".")
    film("commit", "-m", "file")
    film("switch", "-c", "folder")
    (film.root / "reel").unlink()
    film.write("reel/1", "one")
    film("add", ".")
    film("commit", "-m", "folder")
    (film.root / "reel/mine").symlink_to("..")
    assert "reel/mine" in film("switch", "main", exit_code=3)
    assert film.read("reel/1") == "one"
    (film.root / "reel/mine").unlink()
    film("switch", "main")
    assert film.read("reel") == "file"


def test_what_is_no_file_is_left_out(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(film.root / "pipe")
    monkeypatch.chdir(film.root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    (film.root / "nested").mkdir()
    new_film(film.root / "nested", "--no-encryption").write("x", "x")
    film.write("fine", "x")
    assert problems(film).keys() == {"pipe", "socket", "nested"}
    assert film.status() == {"staged": ["fine"]}
    film.write(".mediagitignore", "pipe\nsocket\nnested\n")
    film("add", ".")


def test_a_special_file_in_the_way_is_somebodys_work(film: Film) -> None:
    film("switch", "-c", "other")
    film.write("pipe", "tracked")
    film("add", ".")
    film("commit", "-m", "other")
    film("switch", "main")
    os.mkfifo(film.root / "pipe")
    assert "pipe" in film("switch", "other", exit_code=3)
    assert film.json("status")["branch"] == "main"


def test_hard_links_become_files_of_their_own_and_content_is_stored_once(film: Film) -> None:
    content = os.urandom(300_000)
    film.write("one", content)
    (film.root / "two").hardlink_to(film.root / "one")
    assert film.json("add", ".")["bytes_stored"] < 400_000
    film("commit", "-m", "Both")
    (film.root / "one").unlink()
    (film.root / "two").unlink()
    film("restore", ".")
    assert (film.root / "one").read_bytes() == (film.root / "two").read_bytes() == content
    assert not (film.root / "one").samefile(film.root / "two")
    # A checkout replaces a name, and never writes into a file that has other names.
    (film.root / "outside").hardlink_to(film.root / "one")
    film.write(".mediagitignore", "outside\n")
    film("rm", "two")
    film("switch", "-c", "edited")
    (film.root / "one").unlink()
    film.write("one", "edited")
    film("commit", "-am", "Edited")
    film("switch", "main")
    film("switch", "edited")
    assert (film.root / "outside").read_bytes() == content


def test_the_executable_bit_is_kept_and_nothing_else_of_the_mode(film: Film) -> None:
    for name, mode in (("run", 0o755), ("mine", 0o700), ("shared", 0o666), ("secret", 0o600), ("group", 0o674)):
        film.write(name, name).chmod(mode)
    film("add", ".")
    film("commit", "-m", "Modes")
    modes = {file["path"]: file["mode"] for file in film.json("ls")["files"]}
    executable = {name for name, mode in modes.items() if mode == "executable"}
    assert executable == {"run", "mine"}, "what the owner may run"
    (film.root / "run").chmod(0o644)
    (film.root / "shared").chmod(0o600)
    assert film.status() == {"modified": ["run"]}
    film("restore", "run")
    assert os.access(film.root / "run", os.X_OK)


def test_empty_folders_are_not_kept_and_a_file_in_them_is_the_way(film: Film) -> None:
    (film.root / "empty/inner").mkdir(parents=True)
    film("add", ".")
    assert film.status() == {}
    film.write("empty/inner/.keep", "")
    film("add", ".")
    film("commit", "-m", "Kept")
    film("switch", "--detach", "HEAD~1")
    assert not (film.root / "empty").exists()
    film("switch", "main")
    assert (film.root / "empty/inner").is_dir()


@pytest.mark.parametrize("failure", [errno.EACCES, errno.EIO])
@pytest.mark.parametrize("step", ["open", "readv"])
@pytest.mark.parametrize("size", [10, 100_000, 3 << 20])
def test_a_file_that_cannot_be_read_is_left_out_and_the_rest_is_taken(
    film: Film, monkeypatch: pytest.MonkeyPatch, failure: int, step: str, size: int
) -> None:
    bad = film.write("bad.mov", os.urandom(size))
    film.write("good.mov", "good")
    real: Callable[..., Any] = getattr(os, step)
    opened: list[int] = []

    def refuse(first: Any, *rest: Any, **options: Any) -> Any:
        if step == "open" and str(first).endswith("/bad.mov"):
            raise OSError(failure, os.strerror(failure), first)
        if step == "readv" and os.fstat(first).st_ino == bad.stat().st_ino:
            opened.append(first)
            raise OSError(failure, os.strerror(failure))
        return real(first, *rest, **options)

    monkeypatch.setattr(os, step, refuse)
    found = problems(film)
    monkeypatch.undo()
    assert found == {"bad.mov": f"cannot be read ({os.strerror(failure)})"}
    assert film.status() == {"staged": ["good.mov"], "untracked": ["bad.mov"]}
    for fd in set(opened):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    film("add", ".")
    film("commit", "-m", "Both")
    film("verify")


def test_a_link_that_the_file_system_does_not_know_is_refused_before_anything_is_written(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    film("switch", "-c", "linked")
    (film.root / "link").symlink_to("a.txt")
    film.write("b.txt", "two")
    film("add", ".")
    film("commit", "-m", "Linked")
    film("switch", "main")
    before = snapshot(film.root)

    def refuse(_target: str, name: str, **_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", name)

    monkeypatch.setattr(os, "symlink", refuse)
    shown = film("switch", "linked", exit_code=1)
    assert "cannot hold" in shown
    assert "The working tree was not changed" in shown
    assert "restore --source" in shown
    assert snapshot(film.root) == before
    film("restore", "--source", "linked", "--", "b.txt")
    assert film.read("b.txt") == "two"


CHANGES = [
    "grows",
    "shrinks",
    "is emptied",
    "is rewritten",
    "is replaced by a file",
    "is replaced by a folder",
    "is replaced by a link",
    "is replaced by a pipe",
    "is removed",
]


def happen(change: str, path: Path) -> None:
    """Let one of CHANGES happen to a file."""
    size = path.stat().st_size
    if change.startswith(("is replaced", "is removed")):
        path.unlink()
    match change.rpartition(" ")[2]:
        case "grows":
            os.truncate(path, size + 1)
        case "shrinks":
            os.truncate(path, size - 1)
        case "emptied":
            os.truncate(path, 0)
        case "rewritten":
            path.write_bytes(bytes(size))
        case "file":
            path.write_bytes(b"other")
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to("a.txt")
        case "pipe":
            os.mkfifo(path)


@pytest.mark.parametrize("size", [1000, 200_000, 6 << 20])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("moment", ["open", "readv"])
def test_a_file_that_changes_under_the_reader(
    film: Film, monkeypatch: pytest.MonkeyPatch, change: str, size: int, moment: str
) -> None:
    """Changed between the look at it and its opening, or after its first bytes: what is stored is what stood there at one moment."""
    path = film.write("take.mov", os.urandom(size))
    inode = path.stat().st_ino
    real: Callable[..., Any] = getattr(os, moment)
    done: list[str] = []

    def meddle(first: Any, *rest: Any, **options: Any) -> Any:
        mine = str(first).endswith("/take.mov") if moment == "open" else os.fstat(first).st_ino == inode
        if moment == "open" and mine and not done:
            done.append(change)
            happen(change, path)
        result = real(first, *rest, **options)
        if moment == "readv" and mine and not done:
            done.append(change)
            happen(change, path)
        return result

    monkeypatch.setattr(os, moment, meddle)
    code = film.attempt("add", "--json", ".")
    monkeypatch.undo()
    assert done
    report = json.loads(film.output)
    assert code == (1 if report["problems"] else 0)
    if report["problems"]:
        assert "while it was added" in report["problems"][0]["reason"]
        assert report["added"] == []
    else:
        assert report["added"] == ["take.mov"]
        film("restore", "take.mov")
        assert film.status() == {"staged": ["take.mov"]}, "what was stored is what stands there"
    film("verify")


def test_a_sparse_file_comes_back_equal_and_takes_no_memory(film: Film) -> None:
    hole = film.root / "hole.raw"
    with hole.open("wb") as file:
        file.truncate(256 << 20)
        file.seek(100 << 20)
        file.write(b"island")
    report = film.json("add", ".")
    assert report["bytes_read"] >= 256 << 20
    assert report["bytes_stored"] < 4 << 20, "zeros are one chunk, stored once"
    film("commit", "-m", "Sparse")
    hole.unlink()
    film("restore", "hole.raw")
    with hole.open("rb") as file:
        assert file.seek(0, os.SEEK_END) == 256 << 20
        file.seek((100 << 20) - 1)
        assert file.read(8) == b"\0island\0"
    assert film.status() == {}


def test_many_files_named_one_by_one(film: Film) -> None:
    names = [f"f{number:04d}" for number in range(300)]
    for name in names:
        film.write(name, name)
    assert film.json("add", *names)["added"] == names
    film.write("F0007", "again")
    assert problems(film, "F0007").keys() == {"F0007"}


@pytest.fixture
def unfriendly(tmp_path: Path) -> Path:
    """Give a folder whose name a terminal would obey."""
    folder = tmp_path / "\x1b]0;owned\x07film"
    folder.mkdir()
    return folder


def test_errors_do_not_pass_on_what_a_terminal_obeys(unfriendly: Path) -> None:
    film = new_film(unfriendly, "--no-encryption")
    for arguments in (
        ("add", "\x1b[2J"),
        ("cat", "\x1b[2J"),
        ("ls", "--", "\x1b[2J"),
        ("switch", "\x1b[2J"),
        ("log", "\x1b[2J"),
        ("restore", "\x1b[2J"),
        ("rm", "\x1b[2J"),
        ("mv", "\x1b[2J", "x"),
        ("diff", "\x1b[2J"),
        ("\x1b[2J",),
        ("init", "."),
    ):
        assert film.attempt(*arguments) in {1, 2}, arguments
        assert harmless(film.errors.encode()), (arguments, film.errors)
    assert harmless(run(unfriendly, "init", ".", code=2))
