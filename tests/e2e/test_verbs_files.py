"""init, add, commit, status, restore, rm, mv and switch."""

import os
from pathlib import Path

import pytest

from tests.film import Film, new_film


@pytest.fixture
def film(tmp_path: Path) -> Film:
    made = new_film(tmp_path / "film", "--no-encryption")
    made.write("a.txt", "one")
    made.write("shots/b.txt", "two")
    made("add", ".")
    made("commit", "-m", "First cut")
    return made


def test_add_takes_new_changed_and_deleted_files(film: Film) -> None:
    film.write("a.txt", "one, edited")
    film.write("c.txt", "three")
    (film.root / "shots" / "b.txt").unlink()
    assert film.status() == {"modified": ["a.txt"], "deleted": ["shots/b.txt"], "untracked": ["c.txt"]}
    report = film.json("add", ".")
    assert (report["added"], report["modified"], report["removed"]) == (["c.txt"], ["a.txt"], ["shots/b.txt"])
    assert film.status() == {"staged": ["a.txt", "c.txt", "shots/b.txt"]}
    assert film.json("add", ".")["unchanged"] == 2


def test_add_takes_paths_as_seen_from_where_one_is(film: Film) -> None:
    film.write("shots/c.txt", "three")
    film.write("d.txt", "four")
    film("add", "c.txt", cwd=film.root / "shots")
    assert film.status() == {"staged": ["shots/c.txt"], "untracked": ["d.txt"]}
    film("add", "../d.txt", cwd=film.root / "shots")
    assert film.status() == {"staged": ["d.txt", "shots/c.txt"]}
    film("add", "../../elsewhere", cwd=film.root / "shots", exit_code=2)
    film("add", ".mediagit/HEAD", exit_code=2)


def test_add_of_what_is_not_there_says_so(film: Film) -> None:
    assert "There is no nothing.mov" in film("add", "nothing.mov", exit_code=1)
    assert "mediagit add ." in film("add", exit_code=2)
    (film.root / "empty").mkdir()
    film("add", "empty")


def test_a_folder_may_become_a_file_and_back(film: Film) -> None:
    film.write("frames/3/x.txt", "x")
    film("add", ".")
    film("commit", "-m", "folder")
    (film.root / "frames/3/x.txt").unlink()
    (film.root / "frames/3").rmdir()
    film.write("frames/3", "a file now")
    film("add", ".")
    film("commit", "-m", "file")
    assert film.status() == {}
    film("switch", "--detach", "HEAD~1")
    assert film.read("frames/3/x.txt") == "x"


def test_add_update_leaves_new_files_alone(film: Film) -> None:
    film.write("a.txt", "edited")
    film.write("new.txt", "new")
    film("add", "-u")
    assert film.status() == {"staged": ["a.txt"], "untracked": ["new.txt"]}


def test_ignored_files_stay_out_unless_forced(film: Film) -> None:
    film.write(".mediagitignore", "*.tmp\nrender/\n!keep.tmp\n")
    for name in ("a.tmp", "keep.tmp", "render/x.exr"):
        film.write(name, name)
    assert film.status() == {"untracked": [".mediagitignore", "keep.tmp"]}
    done = film("add", "a.tmp", exit_code=1)
    assert "is ignored by .mediagitignore" in done
    film("add", "-f", "a.tmp")
    assert film.status()["staged"] == ["a.tmp"]
    film.write("a.tmp", "edited: tracked files are watched though they match")
    film("add", ".")
    assert "a.tmp" not in film.status().get("modified", [])


def test_names_that_no_other_system_can_hold_are_refused_by_name(film: Film) -> None:
    film.write("con.txt", "x")
    film.write("fine.txt", "x")
    done = film("add", ".", exit_code=1)
    assert "con.txt" in done
    assert film.status()["staged"] == ["fine.txt"]


def test_two_names_that_are_one_elsewhere_are_refused(film: Film) -> None:
    film.write("B.txt", "x")
    film.write("b.txt", "x")
    if len(list(film.root.iterdir())) < 5:
        pytest.skip("this file system folds letter case")
    assert "one name on other systems" in film("add", ".", exit_code=1)
    assert "staged" not in film.status()


def test_modes_links_and_empty_files_come_back(film: Film) -> None:
    script = film.write("run.sh", "#!/bin/sh\n")
    script.chmod(0o755)
    film.write("empty", "")
    (film.root / "link").symlink_to("shots/b.txt")
    film("add", ".")
    film("commit", "-m", "odd ones")
    for name in ("run.sh", "empty", "link"):
        (film.root / name).unlink()
    film("restore", ".")
    assert os.access(film.root / "run.sh", os.X_OK)
    assert film.read("empty") == ""
    assert (film.root / "link").readlink() == Path("shots/b.txt")
    assert film.status() == {}


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", ".mediagit/HEAD"])
def test_links_out_of_the_project_are_refused(film: Film, target: str) -> None:
    (film.root / "link").symlink_to(target)
    assert "link" in film("add", ".", exit_code=1)
    assert "staged" not in film.status()


def test_the_author_is_configured_or_in_the_environment_or_the_system_user(film: Film) -> None:
    film("config", "set", "user.name", "Ada Example")
    film("config", "set", "user.email", "ada@example.org")
    film("commit", "--allow-empty", "-m", "configured")
    film(
        "commit", "--allow-empty", "-m", "given", env={"MEDIAGIT_AUTHOR_NAME": "Grace", "MEDIAGIT_AUTHOR_EMAIL": "g@h"}
    )
    authors = [entry["author"] for entry in film.json("log")]
    assert authors[:2] == ["Grace <g@h>", "Ada Example <ada@example.org>"]
    assert "@" in authors[2]


def test_commit_all_takes_changed_and_deleted_files_but_no_new_ones(film: Film) -> None:
    film.write("a.txt", "edited")
    (film.root / "shots" / "b.txt").unlink()
    film.write("new.txt", "new")
    report = film.json("commit", "-a", "-m", "all")
    assert (report["added"], report["modified"], report["deleted"]) == (0, 1, 1)
    assert film.status() == {"untracked": ["new.txt"]}


def test_commit_without_anything_new_or_without_words_is_refused(film: Film) -> None:
    assert "nothing new to commit" in film("commit", "-m", "again", exit_code=1)
    film.write("a.txt", "edited")
    film("add", ".")
    assert 'mediagit commit -m "..."' in film("commit", exit_code=2)
    assert "needs a message" in film("commit", "-m", "  ", exit_code=2)
    assert len(film.json("log")) == 1


def test_amend_replaces_the_last_commit(film: Film) -> None:
    film.write("c.txt", "forgotten")
    film("add", ".")
    (before,) = film.json("log")
    film("commit", "--amend")
    (after,) = film.json("log")
    assert after["id"] != before["id"]
    assert (after["message"], after["parents"], after["time"]) == (before["message"], [], before["time"])
    film("commit", "--amend", "-m", "Better words")
    assert film.json("log")[0]["message"] == "Better words"
    assert film.status() == {}


def test_the_log_has_ranges_limits_and_paths(film: Film) -> None:
    for number in range(3):
        film.write("a.txt", f"take {number}")
        film("commit", "-am", f"Take {number}")
    messages = [entry["message"] for entry in film.json("log")]
    assert messages == ["Take 2", "Take 1", "Take 0", "First cut"]
    assert [entry["message"] for entry in film.json("log", "-n", "1", "HEAD~1")] == ["Take 1"]
    assert [entry["message"] for entry in film.json("log", "HEAD~2..main")] == ["Take 2", "Take 1"]
    assert [entry["message"] for entry in film.json("log", "shots")] == ["First cut"]
    assert [entry["message"] for entry in film.json("log", "main", "shots/b.txt")] == ["First cut"]
    assert film.json("log", "-n", "0") == []
    assert film("log", "--oneline").splitlines()[0].endswith("Take 2")
    assert film.json("log")[0]["parents"] == [film.json("log")[1]["id"]]
    film("log", "nowhere", exit_code=1)


def test_restore_takes_from_the_stage_or_a_commit(film: Film) -> None:
    film.write("a.txt", "staged")
    film("add", "a.txt")
    film.write("a.txt", "edited")
    film("restore", "a.txt")
    assert film.read("a.txt") == "staged"
    film("restore", "--source", "HEAD", "--", "a.txt")
    assert film.read("a.txt") == "one"
    assert film.status() == {"staged": ["a.txt"], "modified": ["a.txt"]}
    film("restore", "--staged", "a.txt")
    assert film.status() == {}
    film.write("a.txt", "again")
    film("add", ".")
    film("restore", "-SW", "a.txt")
    assert film.read("a.txt") == "one"
    assert film.status() == {}


def test_restore_brings_back_deleted_files_and_folders(film: Film) -> None:
    (film.root / "shots" / "b.txt").unlink()
    (film.root / "shots").rmdir()
    film("restore", "shots")
    assert film.read("shots/b.txt") == "two"
    film.write("new.txt", "new")
    film("add", "new.txt")
    film("restore", "--staged", "new.txt")
    assert film.status() == {"untracked": ["new.txt"]}
    assert "new.txt" in film("restore", "new.txt", exit_code=1)


def test_rm_removes_what_no_work_is_lost_with(film: Film) -> None:
    film("rm", "a.txt")
    assert not (film.root / "a.txt").exists()
    assert film.status() == {"staged": ["a.txt"]}
    assert "mediagit rm -r shots" in film("rm", "shots", exit_code=2)
    film.write("shots/b.txt", "edited")
    assert "shots/b.txt" in film("rm", "-r", "shots", exit_code=3)
    assert film.read("shots/b.txt") == "edited"
    film("rm", "--cached", "-r", "shots")
    assert film.read("shots/b.txt") == "edited"
    assert film.status() == {"staged": ["a.txt", "shots/b.txt"], "untracked": ["shots/b.txt"]}
    film("rm", "never.txt", exit_code=1)


def test_rm_force_gives_changes_up(film: Film) -> None:
    film.write("a.txt", "edited")
    film("rm", "-f", "a.txt")
    assert not (film.root / "a.txt").exists()


def test_mv_renames_files_and_folders(film: Film) -> None:
    film("mv", "a.txt", "z.txt")
    film("mv", "shots", "cuts")
    assert film.status() == {"staged": ["a.txt", "cuts/b.txt", "shots/b.txt", "z.txt"]}
    film("mv", "z.txt", "cuts")
    assert film.read("cuts/z.txt") == "one"
    film.write("cuts/b.txt", "edited before it moved")
    film("mv", "cuts/b.txt", "cuts/z.txt", ".")
    assert film.status()["modified"] == ["b.txt"]


def test_mv_never_replaces_anything(film: Film) -> None:
    film("mv", "a.txt", "shots/b.txt", exit_code=2)
    film.write("there.txt", "mine")
    film("mv", "a.txt", "there.txt", exit_code=2)
    assert film.read("there.txt") == "mine"
    film("mv", "shots", "shots/inner", exit_code=2)
    film("mv", "there.txt", "x.txt", exit_code=1)
    film("mv", "a.txt", exit_code=2)
    assert film.status() == {"untracked": ["there.txt"]}


def test_switch_carries_work_along_or_refuses(film: Film) -> None:
    film("switch", "-c", "grade")
    film.write("a.txt", "graded")
    film("commit", "-am", "Graded")
    film.write("shots/b.txt", "work in progress")
    film("switch", "main")
    assert (film.read("a.txt"), film.read("shots/b.txt")) == ("one", "work in progress")
    film.write("a.txt", "other work")
    assert "a.txt" in film("switch", "grade", exit_code=3)
    assert film.read("a.txt") == "other work"
    assert film.json("status")["branch"] == "main"
    film("switch", "--discard-changes", "grade")
    assert (film.read("a.txt"), film.read("shots/b.txt")) == ("graded", "two")


def test_switch_to_a_commit_and_back(film: Film) -> None:
    film.write("a.txt", "later")
    film("commit", "-am", "Later")
    film("switch", "--detach", "HEAD~1")
    status = film.json("status")
    assert status["branch"] is None
    assert film.read("a.txt") == "one"
    film.write("a.txt", "aside")
    film("commit", "-am", "Aside")
    film("switch", "-c", "aside")
    assert [entry["message"] for entry in film.json("log")] == ["Aside", "First cut"]
    film("switch", "main")
    assert film.read("a.txt") == "later"


def test_switch_refuses_what_makes_no_sense(film: Film) -> None:
    assert "mediagit switch -c grade" in film("switch", "grade", exit_code=1)
    assert "There is a branch main" in film("switch", "-c", "main", exit_code=2)
    film("switch", "-c", "a..b", exit_code=2)
    film("switch", "-c", "new", "nowhere", exit_code=1)
    film("switch", "main", "extra", exit_code=2)
    assert film.json("status")["branch"] == "main"


def test_a_new_repository_can_change_its_first_branch(tmp_path: Path) -> None:
    film = new_film(tmp_path, "--no-encryption")
    assert "before its first commit" in film("status")
    assert film.json("log") == []
    film("switch", "-c", "cut")
    film.write("a", "x")
    film("add", "a")
    film("commit", "-m", "x")
    assert film.json("status")["branch"] == "cut"


def test_init_refuses_to_make_a_second_one(tmp_path: Path) -> None:
    film = new_film(tmp_path, "--no-encryption")
    film("init", "--no-encryption", ".", exit_code=2)
    film.write("file", "")
    film("init", "--no-encryption", "file", exit_code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mediagit", "file"]


def test_a_repository_inside_another_is_left_out(film: Film) -> None:
    film("init", "--no-encryption", "inner")
    film.write("inner/x.txt", "x")
    assert "repository of its own" in film("add", ".", exit_code=1)
    assert film.status() == {}


def test_several_paths_are_restored_together_whatever_their_order(film: Film) -> None:
    for path in ("cut/x", "cut-b", "cut0", "z"):
        film.write(path, path)
    film("add", ".")
    film("commit", "-m", "cuts")
    for path in ("cut/x", "cut-b", "cut0", "z"):
        (film.root / path).unlink()
    assert "Nothing called nowhere was added" in film("restore", "z", "nowhere", exit_code=1)
    assert not (film.root / "z").exists()
    film("restore", "z", "cut0", "cut", "cut-b")
    assert [(film.root / path).read_text() for path in ("cut/x", "cut-b", "cut0", "z")] == [
        "cut/x",
        "cut-b",
        "cut0",
        "z",
    ]
    assert film.status() == {}
