"""branch and tag."""

from pathlib import Path

import pytest

from tests.film import Film, new_film


@pytest.fixture
def film(tmp_path: Path) -> Film:
    made = new_film(tmp_path / "film", "--no-encryption")
    made.write("a.txt", "one")
    commit(made, "First cut")
    return made


def commit(film: Film, message: str) -> str:
    film("add", "-A")
    return str(film.json("commit", "-m", message)["id"])


def branches(film: Film, *flags: str) -> list[str]:
    return [entry["name"] for entry in film.json("branch", *flags)]


def test_a_branch_is_made_listed_and_left(film: Film) -> None:
    first = film.json("show")["id"]
    film.write("a.txt", "two")
    second = commit(film, "Second cut")
    film("branch", "grade")
    film("branch", "old", "main~1")
    film("branch", "team/sound", "grade")
    listed = {entry["name"]: entry for entry in film.json("branch")}
    assert {name: entry["commit"] for name, entry in listed.items()} == {
        "grade": second,
        "main": second,
        "old": first,
        "team/sound": second,
    }
    assert [name for name, entry in listed.items() if entry["current"]] == ["main"]
    assert film("branch").splitlines() == ["  grade", "* main", "  old", "  team/sound"]
    assert "Second cut" in film("branch", "-v")
    assert film.status() == {}
    assert "already" in film("branch", "grade", exit_code=2)
    for name in ("two..dots", "-", "a b", "HEAD", "x.lock", "../up"):
        film("branch", "--", name, exit_code=2)
    assert "Nothing is called" in film("branch", "new", "nowhere", exit_code=1)
    assert branches(film) == ["grade", "main", "old", "team/sound"]


def test_a_branch_before_the_first_commit(tmp_path: Path) -> None:
    film = new_film(tmp_path / "film", "--no-encryption")
    assert film.json("branch")[0]["commit"] is None
    assert "before its first commit" in film("branch", "-v")
    assert "no commit yet" in film("branch", "grade", exit_code=1)
    film("branch", "-m", "trunk")
    film.write("a.txt", "one")
    assert film("add", ".")
    assert film.json("commit", "-m", "First cut")["branch"] == "trunk"


def test_a_branch_is_moved_by_force_unless_it_is_checked_out(film: Film) -> None:
    first = film.json("show")["id"]
    film("branch", "grade")
    film.write("a.txt", "two")
    second = commit(film, "Second cut")
    assert film.json("branch", "-f", "grade", "main") == [
        {"name": "grade", "old_name": None, "old": first, "new": second}
    ]
    assert "checked out" in film("branch", "-f", "main", "main~1", exit_code=3)
    assert film.json("show", "main")["id"] == second


def test_a_branch_is_renamed_with_head_and_what_it_follows(film: Film) -> None:
    film("config", "set", "branch.main.remote", "origin")
    film("config", "set", "branch.main.merge", "main")
    film("branch", "taken")
    assert "already" in film("branch", "-m", "taken", exit_code=2)
    assert film("branch", "-m", "trunk") == "main is now called trunk\n"
    assert film.json("status")["branch"] == "trunk"
    assert film.json("branch")[1]["upstream"] == "origin/main"
    assert branches(film) == ["taken", "trunk"]
    film("branch", "-m", "taken", "grade")
    assert branches(film) == ["grade", "trunk"]
    assert "no branch taken" in film("branch", "-m", "taken", "other", exit_code=1)
    text = (film.root / ".mediagit" / "mediagit.toml").read_text()
    assert "branch.main" not in text


def test_a_branch_is_deleted_only_where_its_commits_are_kept(film: Film) -> None:
    film("branch", "same")
    film("switch", "-c", "grade")
    film.write("a.txt", "graded")
    lost = commit(film, "Grade")
    assert "is checked out" in film("branch", "-d", "grade", exit_code=3)
    film("switch", "main")
    assert "branch -D grade" in film("branch", "-d", "same", "grade", exit_code=3)
    assert branches(film) == ["grade", "main", "same"]
    film("branch", "-d", "same")
    assert lost in film("branch", "-D", "grade")
    assert branches(film) == ["main"]
    film("branch", "grade", lost)
    assert film.json("show", "grade")["message"] == "Grade"
    assert "no branch same" in film("branch", "-d", "same", exit_code=1)


def test_branches_of_servers_are_listed_with_all_and_make_a_branch_safe_to_delete(
    film: Film, tmp_path: Path, serve: "object"
) -> None:
    assert callable(serve)
    film("remote", "add", "origin", f"{serve(tmp_path / 'srv')}/studio/film")
    film("switch", "-c", "grade")
    film.write("a.txt", "graded")
    commit(film, "Grade")
    film("push", "-u", "origin", "grade")
    film.write("a.txt", "graded again")
    commit(film, "Grade more")
    entry = film.json("branch")[0]
    assert (entry["upstream"], entry["ahead"], entry["behind"]) == ("origin/grade", 1, 0)
    assert "[origin/grade: 1 to push] Grade more" in film("branch", "-v")
    assert branches(film) == ["grade", "main"]
    assert branches(film, "-a") == ["grade", "main", "origin/grade"]
    film("switch", "main")
    film("branch", "-d", "grade", exit_code=3)
    film("switch", "grade")
    film("push")
    film("switch", "main")
    film("branch", "-d", "grade")
    assert branches(film, "-a") == ["main", "origin/grade"]


def test_flags_of_branch_that_do_not_go_together(film: Film) -> None:
    for arguments in (["-d"], ["-m"], ["-f"], ["-d", "-m", "x"], ["a", "b", "c"]):
        film("branch", *arguments, exit_code=2)


def test_tags_plain_and_annotated(film: Film) -> None:
    first = film.json("show")["id"]
    film.write("a.txt", "two")
    second = commit(film, "Second cut")
    film("tag", "v1", "main~1")
    film("tag", "-a", "v2", "-m", "Delivered", "-m", "To the client.", env={"MEDIAGIT_AUTHOR_EMAIL": "ada@x"})
    listed = film.json("tag")
    assert [(tag["name"], tag["target"], tag["annotated"]) for tag in listed] == [
        ("v1", first, False),
        ("v2", second, True),
    ]
    assert listed[1]["message"] == "Delivered\n\nTo the client."
    assert "<ada@x>" in listed[1]["tagger"]
    assert film("tag").split() == ["v1", "v2"]
    assert "Delivered" in film("tag", "-v")
    assert film.json("show", "v2")["id"] == film.json("show", "v2~0")["id"] == second
    assert "already" in film("tag", "v1", exit_code=2)
    assert "needs a message" in film("tag", "-a", "v3", exit_code=2)
    assert "message is empty" in film("tag", "v3", "-m", " ", exit_code=2)
    assert "Not a ref name" in film("tag", "v..3", exit_code=2)
    film("verify")


def test_tags_are_deleted_all_or_none(film: Film) -> None:
    film("tag", "v1")
    film("tag", "v2", "-m", "Delivered")
    assert "no tag v3" in film("tag", "-d", "v1", "v3", exit_code=1)
    assert film("tag").split() == ["v1", "v2"]
    assert [tag["annotated"] for tag in film.json("tag", "-d", "v1", "v2")] == [False, True]
    assert film("tag") == ""
    film("tag", "v1")
    assert "takes no message" in film("tag", "-d", "v1", "-m", "x", exit_code=2)
