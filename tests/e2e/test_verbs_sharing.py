"""remote, push, fetch, pull and clone between checkouts and a real server."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PASSPHRASE
from tests.film import Film, new_film


@pytest.fixture
def server(serve: Callable[..., str]) -> str:
    return serve()


@pytest.fixture(params=["server", "folder"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The project's address: on a server, or in a folder that is shared without one."""
    if request.param == "folder":
        return f"file://{tmp_path}/nas/studio/film"
    server: str = request.getfixturevalue("server")
    return f"{server}/studio/film"


@pytest.fixture
def film(tmp_path: Path, url: str) -> Film:
    """A repository that was pushed once."""
    made = new_film(tmp_path / "film", "--no-encryption")
    made.write("a.txt", "one")
    made.write("shots/b.txt", "two")
    made("add", ".")
    made("commit", "-m", "First cut")
    made("remote", "add", "origin", url)
    made("push", "-u", "origin", "main")
    return made


@pytest.fixture
def copy(film: Film, url: str, tmp_path: Path) -> Film:
    film("clone", "--no-encryption", url, tmp_path / "copy")
    return Film(tmp_path / "copy")


def commit(film: Film, path: str, content: str) -> None:
    film.write(path, content)
    film("add", path)
    film("commit", "-m", f"{path}: {content}")


def test_push_makes_the_project_and_says_what_it_sent(tmp_path: Path, url: str) -> None:
    film = new_film(tmp_path / "film", "--no-encryption")
    film("remote", "add", "origin", url)
    assert "no commit yet" in film("push", "-u", "origin", "main", exit_code=1)
    commit(film, "a.txt", "x" * 5000)
    report = film.json("push", "-u", "origin", "main")
    assert report["created"]
    assert report["chunks"] == 1
    assert report["objects"] == 3
    assert report["bytes_sent"] > 0
    assert report["requests"] > 0
    assert report["refs"] == [{"name": "heads/main", "old": None, "new": film.json("log")[0]["id"], "forced": False}]
    assert film.json("status")["upstream"] == "origin/main"
    again = film.json("push")
    assert again["refs"] == []
    assert again["unchanged"] == ["heads/main"]
    assert again["objects"] == 0


def test_without_a_remote_every_verb_says_how_to_name_one(tmp_path: Path) -> None:
    film = new_film(tmp_path / "film", "--no-encryption")
    commit(film, "a.txt", "x")
    for verb in ("push", "fetch", "pull"):
        assert "mediagit remote add origin" in film(verb, exit_code=1)
    assert "no remote named nas" in film("push", "nas", exit_code=1)
    assert "mediagit remote add NAME s3://media/film" in film("push", "s3://media/film", exit_code=1)


def test_a_store_that_nobody_signed_in_to_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = new_film(tmp_path / "film", "--no-encryption")
    commit(film, "a.txt", "x")
    film("remote", "add", "origin", "s3://media/film")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    said = film("push", "-u", "origin", "main", exit_code=4)
    assert "asked: settings, environment, IAM role, profile files" in said
    assert "sign in to the store" in said


def test_remotes_are_added_renamed_and_removed(film: Film, url: str) -> None:
    assert film.json("remote") == [{"name": "origin", "url": url}]
    assert "There is a remote origin already" in film("remote", "add", "origin", url, exit_code=2)
    film("remote", "add", "bad/name", url, exit_code=2)
    film("remote", "add", "nas", "ftp://nowhere", exit_code=2)
    film("remote", "rename", "origin", "studio")
    assert film("remote", "get-url", "studio").strip() == url
    assert film.json("status")["upstream"] == "studio/main"
    assert film.json("push")["unchanged"] == ["heads/main"]
    film("remote", "set-url", "studio", "http://127.0.0.1:1/studio/film")
    film("fetch", exit_code=4)
    film("remote", "remove", "studio")
    assert film.json("remote") == []
    assert film.json("status")["upstream"] is None
    film("remote", "remove", "studio", exit_code=1)


def test_pull_brings_commits_and_files(film: Film, copy: Film) -> None:
    commit(film, "a.txt", "edited")
    commit(film, "new/c.txt", "three")
    film("rm", "shots/b.txt")
    film("commit", "-m", "without b")
    film("push")
    report = copy.json("pull")
    assert (report["written"], report["deleted"]) == (2, 1)
    assert (copy.read("a.txt"), copy.read("new/c.txt")) == ("edited", "three")
    assert not (copy.root / "shots").exists()
    assert copy.json("log") == film.json("log")
    assert "up to date" in copy("pull")


def test_fetch_changes_no_file(film: Film, copy: Film) -> None:
    commit(film, "a.txt", "edited")
    film("push")
    report = copy.json("fetch")
    assert [ref["name"] for ref in report["refs"]] == ["remotes/origin/main"]
    assert report["chunks"] == 1
    assert copy.read("a.txt") == "one"
    assert copy.json("status")["behind"] == 1
    assert [entry["message"] for entry in copy.json("log", "main..origin/main")] == ["a.txt: edited"]
    assert copy.json("fetch")["refs"] == []


def test_pull_keeps_uncommitted_work_or_refuses(film: Film, copy: Film) -> None:
    commit(film, "a.txt", "theirs")
    film("push")
    copy.write("shots/b.txt", "mine, elsewhere")
    copy.write("a.txt", "mine, in the way")
    assert "a.txt" in copy("pull", exit_code=3)
    assert copy.read("a.txt") == "mine, in the way"
    copy("restore", "a.txt")
    copy("pull")
    assert (copy.read("a.txt"), copy.read("shots/b.txt")) == ("theirs", "mine, elsewhere")


def test_a_divergence_is_reported_with_what_to_do_and_that_works(film: Film, copy: Film) -> None:
    commit(film, "a.txt", "theirs")
    film("push")
    commit(copy, "shots/b.txt", "mine")
    shown = copy("push", exit_code=3)
    assert "mediagit pull" in shown
    shown = copy("pull", exit_code=3)
    assert "1 here, 1 there" in shown
    for line in ("switch -c mine", "branch --force main origin/main", "switch main"):
        assert f"mediagit {line}" in shown
        copy(*line.split())
    assert (copy.read("a.txt"), copy.read("shots/b.txt")) == ("theirs", "two")
    copy("restore", "--source", "mine", "--", "shots/b.txt")
    copy("commit", "-am", "mine again")
    copy("push", "origin", "main")


def test_force_with_lease_replaces_only_what_was_seen(film: Film, copy: Film) -> None:
    commit(copy, "a.txt", "unseen")
    copy("push")
    film("commit", "--amend", "-m", "First cut, better words")
    film("push", exit_code=3)
    film("push", "--force-with-lease", exit_code=3)
    film("fetch")
    report = film.json("push", "--force-with-lease")
    assert report["refs"][0]["forced"]
    assert film.json("push")["unchanged"] == ["heads/main"]
    copy("pull", exit_code=3)


def test_branches_and_tags_are_pushed_and_deleted(film: Film, copy: Film) -> None:
    film("switch", "-c", "grade")
    commit(film, "a.txt", "graded")
    film("tag", "v1")
    film("tag", "-m", "The second", "v2")
    report = film.json("push", "--tags", "origin", "grade:graded")
    assert sorted(ref["name"] for ref in report["refs"]) == ["heads/graded", "tags/v1", "tags/v2"]
    copy("fetch")
    copy("switch", "graded")
    assert copy.read("a.txt") == "graded"
    assert copy.json("status")["upstream"] == "origin/graded"
    assert copy.json("log", "v2")[0]["message"] == "a.txt: graded"
    film("push", "--delete", "origin", "graded")
    film("push", "origin", ":tags/v1")
    names = {ref["name"]: ref["new"] for ref in copy.json("fetch")["refs"]}
    assert names == {"remotes/origin/graded": None}
    assert "There is no branch graded at the server." in film("push", "--delete", "origin", "graded", exit_code=1)
    film("push", "--delete", exit_code=2)
    film("push", "origin", "nowhere", exit_code=1)


def test_a_tag_that_differs_is_kept_and_named(film: Film, copy: Film) -> None:
    film("tag", "v1")
    film("push", "--tags")
    commit(copy, "a.txt", "other")
    copy("tag", "v1")
    mine = copy.json("log", "v1")[0]["id"]
    copy("fetch")
    assert "v1 is another one at origin" in copy.errors
    assert copy.json("log", "v1")[0]["id"] == mine


def test_clone_chooses_folder_and_branch(film: Film, url: str, tmp_path: Path) -> None:
    film("switch", "-c", "grade")
    commit(film, "a.txt", "graded")
    film("push", "origin", "grade")
    place = tmp_path / "elsewhere"
    place.mkdir()
    report = Film(place).json("clone", "--no-encryption", "--branch", "grade", url)
    assert (report["branch"], report["root"], report["files"]) == ("grade", str(place / "film"), 2)
    assert Film(place / "film").read("a.txt") == "graded"
    assert not report["encrypted"]
    assert len(report["fingerprint"]) == 64
    Film(place)("clone", "--no-encryption", url, exit_code=2)


def test_clone_refuses_what_it_cannot_use(film: Film, server: str, url: str, tmp_path: Path) -> None:
    place = Film(tmp_path)
    assert "no repository" in place("clone", f"{server}/studio/nothing", exit_code=1)
    place("clone", "http://127.0.0.1:1/studio/film", exit_code=4)
    place("clone", "not an address", exit_code=2)
    place("clone", url, "c", exit_code=2)
    place("clone", "--no-encryption", "--branch", "nowhere", url, "d", exit_code=1)
    place("clone", "--no-encryption", url, "d")
    assert Film(tmp_path / "d").read("a.txt") == "one"
    assert film.status() == {}


def test_clone_of_an_empty_project(film: Film, url: str, tmp_path: Path) -> None:
    film("push", "--delete", "origin", "main")
    film("clone", "--no-encryption", url, tmp_path / "empty")
    empty = Film(tmp_path / "empty")
    assert empty.json("log") == []
    assert empty.json("status")["branch"] == "main"


def test_another_repository_at_the_address_is_noticed(film: Film, url: str, tmp_path: Path) -> None:
    other = new_film(tmp_path / "other", "--no-encryption")
    commit(other, "x.txt", "x")
    other("remote", "add", "origin", url)
    assert "Another repository lives" in other("push", "-u", "origin", "main", exit_code=3)
    other("fetch", exit_code=5)
    assert film.json("push")["unchanged"] == ["heads/main"]


def test_an_unfinished_clone_is_continued(
    film: Film, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    place = Film(tmp_path)
    for where in ("mediavault.sync.fetch.run_fetch", "mediavault.ops.clone.run_move"):
        with monkeypatch.context() as patched:
            patched.setattr(where, stop)
            place("clone", "--no-encryption", url, "c", exit_code=130)
    assert "unfinished clone" in place(
        "clone",
        "--no-encryption",
        url.replace("127.0.0.1", "localhost").replace(":///", "://localhost/"),
        "c",
        exit_code=2,
    )
    place("clone", "--no-encryption", url, "c")
    assert Film(tmp_path / "c").status() == {}
    assert Film(tmp_path / "c").json("log") == film.json("log")
    place("clone", "--no-encryption", url, "c", exit_code=2)


def test_a_remote_that_goes_back_is_an_alarm(film: Film, copy: Film, url: str, tmp_path: Path) -> None:
    refs = next((tmp_path / ("nas" if url.startswith("file:") else "srv")).rglob("refs"))
    kept = {file: file.read_bytes() for file in refs.iterdir()}
    commit(film, "a.txt", "edited")
    film("push")
    copy("pull")
    for file, data in kept.items():
        file.write_bytes(data)
    assert "went back on its history" in copy("fetch", exit_code=5)
    assert copy.read("a.txt") == "edited"
    film("push", exit_code=5)


def test_credentials_go_to_the_server_they_belong_to(tmp_path: Path, serve: Callable[..., str]) -> None:
    server = serve(tmp_path / "guarded", env={"MEDIAGIT_API_KEY": "open sesame"})
    film = new_film(tmp_path / "film", "--no-encryption")
    commit(film, "a.txt", "x")
    film("remote", "add", "origin", f"{server}/studio/film")
    film("push", exit_code=6)
    film("push", exit_code=6, env={"MEDIAGIT_API_KEY": "wrong"})
    film("push", env={"MEDIAGIT_API_KEY": "open sesame"})
    film("config", "set", f"credentials.{server}.api_key", "open sesame")
    film("fetch")
    assert "open sesame" not in film("config", "list", "--show-origin")
    assert (film.root / ".mediagit" / "mediagit.toml").stat().st_mode & 0o077 == 0


def test_an_encrypted_project_needs_its_passphrase_or_code(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIAGIT_PASSPHRASE", PASSPHRASE)
    (tmp_path / "film").mkdir()
    film = Film(tmp_path / "film")
    code = film.json("init", ".")["recovery_code"]
    commit(film, "a.txt", "secret")
    film("remote", "add", "origin", url)
    film("push", "-u", "origin", "main")
    place = Film(tmp_path)
    assert "passphrase is wrong" in place("clone", url, "c", exit_code=6, env={"MEDIAGIT_PASSPHRASE": "wrong"})
    assert not (tmp_path / "c").exists()
    place("clone", "--no-encryption", url, "c", exit_code=2)
    monkeypatch.setenv("MEDIAGIT_HOME", str(tmp_path / "another-user"))
    monkeypatch.delenv("MEDIAGIT_PASSPHRASE")
    assert "MEDIAGIT_PASSPHRASE" in place("clone", url, "c", exit_code=6)
    (tmp_path / "code").write_text(code + "\n")
    place("clone", "--passphrase-file", tmp_path / "code", url, "c")
    assert Film(tmp_path / "c").read("a.txt") == "secret"
    assert Film(tmp_path / "c").status() == {}, "unlocked for this user from now on"


def test_a_dry_run_tells_what_a_push_would_send_and_sends_nothing(tmp_path: Path, url: str) -> None:
    film = new_film(tmp_path / "film", "--no-encryption")
    film("remote", "add", "origin", url)
    commit(film, "a.mov", "x" * 5000)
    first = film.json("push", "--dry-run", "origin", "main")
    assert (first["dry_run"], first["created"], first["chunks"], first["objects"]) == (True, True, 1, 3)
    assert "Would make the project" in film("push", "-n", "origin", "main")
    assert "no repository" in film("fetch", exit_code=1)
    sent = film.json("push", "-u", "origin", "main")
    assert (first["packs"], first["refs"]) == (sent["packs"], sent["refs"])
    assert 0 < first["bytes"] <= sent["bytes_sent"]
    commit(film, "a.mov", "y" * 5000)
    words = film("push", "--dry-run")
    assert "Would send" in words
    assert "Nothing was sent." in words
    head = film.json("log")[0]["id"]
    assert film.json("push", "--dry-run")["refs"][0]["new"] == head
    assert film.json("push")["refs"][0]["new"] == head
    assert "Everything is at origin already." in film("push", "--dry-run")
