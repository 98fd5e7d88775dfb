"""log: which commits, in which order, in which words, beside which drawing."""

import json
import os
import shutil
from pathlib import Path
from unittest import mock

import pytest

from mediavault.cli import session
from mediavault.cli.render import Console
from mediavault.cli.verb import Invocation
from mediavault.model.ids import Kind, Link
from mediavault.model.objects import Commit, Moment, Person
from mediavault.objects.nodes import NodeWriter
from mediavault.ops.repository import Repository
from mediavault.workspace.layout import Layout
from tests.film import Film, new_film

ADA = {"MEDIAGIT_AUTHOR_NAME": "Ada", "MEDIAGIT_AUTHOR_EMAIL": "ada@example.org"}
BO = {"MEDIAGIT_AUTHOR_NAME": "Bo", "MEDIAGIT_AUTHOR_EMAIL": "bo@example.org"}


def opened(film: Film) -> Repository:
    return session.open_repository(Invocation(os.environ, console=Console()), Layout.find(film.root))


def merge(film: Film, branch: str, other: str, *, taken: str, message: str, seconds: int = 0) -> str:
    """Merge a branch into another one, as a tool that can would do it; one file is taken from the other one."""
    repository = opened(film)
    state = repository.refs.read(f"heads/{branch}")
    target = repository.refs.read(f"heads/{other}").target
    assert state.target
    assert target
    parents = (state.target.id, target.id)
    first, second = (repository.reader.commit(parent) for parent in parents)
    who, when = Person("Max", "max@example.org"), Moment(seconds, 0)
    entries = {entry.name: entry for entry in repository.reader.tree(first.tree)}
    entries |= {entry.name: entry for entry in repository.reader.tree(second.tree) if entry.name == taken}
    with repository.writer() as writer:
        nodes = NodeWriter(repository.codec, repository.splitter, repository.frames, writer)
        tree = nodes.tree(sorted(entries.values(), key=lambda entry: entry.name))
        generation = 1 + max(first.generation, second.generation)
        oid = nodes.commit(Commit(tree, parents, who, when, who, when, generation, message))
    repository.refs.move(state, Link(Kind.COMMIT, oid), seconds)
    return oid.hex()


def commit(film: Film, message: str, env: dict[str, str] | None = None, **files: str) -> str:
    for name, text in files.items():
        film.write(f"{name}.txt", text)
    film("add", "-A")
    return str(film.json("commit", "-m", message, env=env or ADA)["id"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    r"""Return a folder with a repository and its user's home.

    main: First - Second - Merge grade - Last; grade: First - Graded - Graded again; main is tagged v1 at Second.
    """
    folder = tmp_path_factory.mktemp("made")
    with mock.patch.dict(os.environ, {"MEDIAGIT_HOME": str(folder / "home")}):
        film = new_film(folder / "film", "--no-encryption")
        commit(film, "First", a="one", b="one")
        film("switch", "-c", "grade")
        commit(film, "Graded", env=BO, b="graded")
        commit(film, "Graded again\n\nBrighter.", env=BO, b="graded twice")
        film("switch", "main")
        commit(film, "Second", a="two")
        film("tag", "-m", "Delivered", "v1", env=ADA)
        merge(film, "main", "grade", taken="b.txt", message="Merge grade", seconds=1_900_000_000)
        film("restore", "--source", "main", "-SW", ".")
        commit(film, "Last", c="new")
    (folder / "home").mkdir(exist_ok=True)
    return folder


@pytest.fixture
def film(made: Path, own_user: Path, tmp_path: Path) -> Film:
    shutil.copytree(made / "home", own_user, dirs_exist_ok=True)
    return Film(shutil.copytree(made / "film", tmp_path / "film", symlinks=True))


def subjects(film: Film, *arguments: str) -> list[str]:
    return film("log", "--format", "%s", *arguments).splitlines()


def test_everything_once_children_first(film: Film) -> None:
    listed = subjects(film)
    assert listed[:2] == ["Last", "Merge grade"]
    assert sorted(listed[2:5]) == ["Graded", "Graded again", "Second"]
    assert listed[5:] == ["First"]
    assert listed.index("Graded again") < listed.index("Graded")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("grade",), "Graded again|Graded|First"),
        (("v1..grade",), "Graded again|Graded"),
        (("^v1", "grade"), "Graded again|Graded"),
        (("v1...grade", "--reverse"), "Graded|Graded again|Second"),
        (("main~1^2..main~1",), "Merge grade|Second"),
        (("-n", "1"), "Last"),
        (("-n", "2", "--skip", "1", "grade"), "Graded|First"),
        (("-n", "2", "--reverse", "grade"), "Graded|Graded again"),
        (("--skip", "9"), ""),
        (("-n", "0"), ""),
        (("--author", "^Bo <"), "Graded again|Graded"),
        (("--author", "MAX", "-i"), "Merge grade"),
        (("--author", "MAX"), ""),
        (("--author", "Max", "--author", "ada@", "-n", "2"), "Last|Merge grade"),
        (("--grep", "^Brighter"), "Graded again"),
        (("--grep", "Last", "--grep", "First"), "Last|First"),
        (("--since", "2030-03-17", "--until", "2030-03-18"), "Merge grade"),
        (("--since", "2030-03-17T17:46:40+00:00"), "Merge grade"),
        (("--since", "2030-03-17T17:46:41+00:00"), ""),
        (("--until", "2030-03-17T17:46:40Z", "--since", "2030-03-17T18:46:40+01:00"), "Merge grade"),
        (("--until", "2000-01-01"), ""),
        (("--", "a.txt"), "Second|First"),
        (("a.txt",), "Second|First"),
        (("main", "--", "b.txt"), "Graded again|Graded|First"),  # the merge has it from one side
        (("grade", "--", "a.txt"), "First"),
        (("--", "."), "Last|Merge grade|Graded again|Graded|Second|First"),
        (("--", "gone.txt"), ""),
    ],
)
def test_a_part_of_history(film: Film, arguments: tuple[str, ...], wanted: str) -> None:
    listed = wanted.split("|") if wanted else []
    found = subjects(film, *arguments)
    # Second and Graded are of one generation and perhaps of one second: either may come first.
    assert sorted(found) == sorted(listed) if {"Second", "Graded"} <= set(listed) else found == listed


def test_all_begins_everywhere(film: Film) -> None:
    film("switch", "grade")
    assert subjects(film) == ["Graded again", "Graded", "First"]
    assert set(subjects(film, "--all")) == {"Last", "Merge grade", "Graded again", "Graded", "Second", "First"}
    assert set(subjects(film, "--all", "^v1")) == {"Last", "Merge grade", "Graded again", "Graded"}
    film("switch", "--detach", "v1")
    film("tag", "-d", "v1")
    kept = commit(film, "On no branch", d="x")
    assert subjects(film, "--all").count("On no branch") == 1
    assert film("log", "--oneline", "-n", "1") == f"{kept[:12]} (HEAD) On no branch\n"


def test_names_of_refs(film: Film) -> None:
    film("branch", "same", "main")
    text = film("log", "--format", "%s:%D", "--all")
    assert "Last:HEAD -> main, same\n" in text
    assert "Second:tag: v1\n" in text
    assert "Graded again:grade\n" in text
    assert {tuple(entry["refs"]) for entry in film.json("log")} == {("main", "same"), ("grade",), ("v1",), ()}


def test_a_drawing(film: Film) -> None:
    film("branch", "-D", "grade")
    assert film("log", "--graph", "--format", "%s") == DRAWN
    assert film("log", "--graph", "--oneline", "-n", "1").endswith(" (HEAD -> main) Last\n")
    assert film("log", "--graph", "--format", "%s", "--", "b.txt") == "* Graded again\n* Graded\n* First\n"
    assert film("log", "--graph", "--format", "%s", "v1..main") == ("* Last\n* Merge grade\n* Graded again\n* Graded\n")
    assert "newest commit on top" in film("log", "--graph", "--reverse", exit_code=2)


DRAWN = """\
* Last
*   Merge grade
|\\
| * Graded again
| * Graded
* | Second
|/
* First
"""


def test_a_drawing_beside_whole_messages(film: Film) -> None:
    lines = film("log", "--graph", "-n", "3", "--name-status").splitlines()
    at = next(number for number, line in enumerate(lines) if "Merge:" in line)
    assert lines[at - 1].startswith("*   commit ")
    assert lines[at - 2] == "|"
    assert lines[at][:4] == "|\\  "
    assert [line[:4] for line in lines[at + 1 : at + 5]] == ["| | ", "| | ", "| |", "| | "]
    assert lines[at + 4] == "| |     Merge grade"
    assert lines[at + 5 : at + 8] == ["| |", "| | M\tb.txt", "| |"]
    assert lines[at + 8].startswith("| * commit ")
    assert lines[-1] == "| | M\tb.txt"


def test_lines_of_several_branches_and_roots(film: Film) -> None:
    film("switch", "--detach", "grade~1")
    film("switch", "-c", "third")
    commit(film, "Third", d="x")
    text = film("log", "--graph", "--all", "--format", "%s")
    found = {line.strip("*|/\\_ ") for line in text.splitlines()} - {""}
    assert found == {"Last", "Merge grade", "Graded again", "Graded", "Second", "First", "Third"}
    assert text.count("*") == len(found)
    assert text.splitlines()[-1] == "* First"


def test_what_each_commit_changed(film: Film) -> None:
    assert film("log", "--name-only", "--oneline", "-n", "1", "grade").splitlines()[1:] == ["b.txt"]
    assert film("log", "--name-status", "--format", "%s", "main").splitlines()[:4] == [
        "Last",
        "A\tc.txt",
        "Merge grade",
        "M\tb.txt",
    ]
    text = film("log", "--stat", "-n", "1", "v1")
    assert "  modified  a.txt  3 B -> 3 B: 1 of 1 chunk new, 3 B\n1 file: 1 changed." in text
    (entry,) = film.json("log", "--stat", "-n", "1", "v1")
    assert entry["files"] == film.json("show", "v1")["files"]
    (entry,) = film.json("log", "--name-status", "-n", "1", "v1")
    assert entry["files"] == [{"path": "a.txt", "old_path": None, "change": "modified"}]
    assert film("log", "--name-only", "--format", "%s", "main", "--", "a.txt") == "Second\na.txt\nFirst\na.txt\n"
    assert "exclude each other" in film("log", "--stat", "--name-only", exit_code=2)


def test_one_file_through_its_renames(film: Film) -> None:
    film("mv", "a.txt", "shots.txt")
    commit(film, "Renamed")
    film.write("shots.txt", "three")
    commit(film, "Edited")
    assert subjects(film, "--", "shots.txt") == ["Edited", "Renamed"]
    assert subjects(film, "--follow", "shots.txt") == ["Edited", "Renamed", "Second", "First"]
    entries = film.json("log", "--follow", "--name-status", "shots.txt")
    assert [(entry["path"], entry["old_path"]) for entry in entries] == [
        ("shots.txt", None),
        ("shots.txt", "a.txt"),
        ("a.txt", None),
        ("a.txt", None),
    ]
    assert [file["change"] for entry in entries for file in entry["files"]] == [
        "modified",
        "renamed",
        "modified",
        "added",
    ]
    assert "Renamed [was a.txt]" in film("log", "--follow", "--oneline", "shots.txt")
    drawn = film("log", "--follow", "--graph", "--format", "%s", "shots.txt")
    assert drawn == "* Edited\n* Renamed\n* Second\n* First\n"
    assert "one file" in film("log", "--follow", exit_code=2)
    assert "one file" in film("log", "--follow", "--", "b.txt", "shots.txt", exit_code=2)
    assert "one file" in film("log", "--follow", "--", ".", exit_code=2)


def test_json_is_a_list_whatever_is_asked_for(film: Film) -> None:
    assert film.json("log", "--grep", "nowhere") == []
    (entry,) = film.json("log", "-n", "1", "--oneline", "--graph")
    assert (entry["message"], entry["author"]) == ("Last", "Ada <ada@example.org>")
    assert [len(entry["parents"]) for entry in film.json("log", "-n", "2")] == [1, 2]
    assert film.json("log", "--format", "%H", "-n", "1")[0]["id"] + "\n" == film("log", "--format", "%H", "-n", "1")


def test_what_is_no_date_or_pattern_is_refused(film: Film) -> None:
    assert "'yesterday' is not a date" in film("log", "--since", "yesterday", exit_code=2)
    assert "2026-01-31" in film("log", "--until", "2026-02-31", exit_code=2)
    assert "not a regular expression" in film("log", "--grep", "(", exit_code=2)
    assert "Unknown placeholder: %q" in film("log", "--format", "%q", exit_code=2)


def test_an_empty_list_says_why(film: Film, tmp_path: Path) -> None:
    for arguments, words in (
        (("--grep", "nowhere"), "No commit fits."),
        (("--", "gone.txt"), "No commit changed gone.txt."),
        (("--follow", "--", "gone.txt"), "No commit changed gone.txt."),
        (("main..main",), "No commit fits."),
    ):
        assert film("log", *arguments) == ""
        assert film.errors == f"{words}\n"
    fresh = new_film(tmp_path / "fresh", "--no-encryption")
    assert (fresh("log"), fresh.errors) == ("", "No commit yet.\n")
    assert (fresh("log", "--all", "--graph"), fresh.json("log", "--all")) == ("", [])


def test_damage_leaves_no_half_of_a_document(film: Film) -> None:
    packs = [path for path in (film.root / ".mediagit" / "store" / "packs").rglob("*") if path.is_file()]
    first = bytes.fromhex(film.json("log")[-1]["id"])
    place = opened(film).frames.locate(first)
    assert place
    (pack,) = (path for path in packs if path.name == place.pack_id.hex())
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    data[place.offset + place.length // 2] ^= 1
    pack.write_bytes(data)
    film("log", "--json", exit_code=5)
    assert list(json.loads(film.output)) == ["error"]
