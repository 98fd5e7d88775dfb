"""What is tracked configures nothing and runs nothing, and what is huge is refused before it is taken in."""

from pathlib import Path

import pytest

from mediavault.objects import reader
from mediavault_backends.local import LocalBackend
from tests.bad_input import PROJECT, with_remote
from tests.film import Film
from tests.full_disk import say_full
from tests.hostile.served import served
from tests.hostile.tiny import Tiny, remove_working_files
from tests.snapshot import snapshot

pytestmark = pytest.mark.usefixtures("remembered_argon2")

HOOKS = ("pre-commit", "post-checkout", "post-merge", "pre-push", "post-add")
HOOK_FOLDERS = ("hooks", ".hooks", ".githooks", "mediagit/hooks")


def test_hooks_filters_and_settings_never_come_from_content(tiny: Tiny, tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    film = tiny.film
    for folder in HOOK_FOLDERS:
        for hook in HOOKS:
            film.write(f"{folder}/{hook}", f"#!/bin/sh\ntouch '{mark}'\n").chmod(0o755)
    film.write("mediagit.toml", '[user]\nname = "Mallory"\n[remote.origin]\nurl = "http://evil.example/a/b"\n')
    film.write("mediagit.toml.example", '[user]\nname = "Mallory"\n')
    film.write(".gitattributes", f"* filter=evil\n[filter]\nclean = touch '{mark}'\n")
    film.write(".lfsconfig", "[lfs]\nurl = http://evil.example\n")
    film("add", ".")
    film("commit", "-m", "Trust me")
    with served(LocalBackend(tiny.storage)) as server:
        with_remote(tiny.project, server.url)
        film("push", "origin", "main")
        flags = () if tiny.encrypted else ("--no-encryption",)
        Film(tmp_path)("clone", *flags, server.url + PROJECT, "copy")
        copy = Film(tmp_path / "copy")
        assert snapshot(copy.root) == snapshot(film.root)
        copy.write("clip.mov", "another take\n")
        for command in (
            ("add", "."),
            ("commit", "-m", "Mine"),
            ("pull",),
            ("push",),
            ("switch", "side"),
            ("switch", "main"),
        ):
            copy(*command)
        settings = {row["key"]: row["value"] for row in copy.json("config", "list")}
        assert copy.json("log")[0]["author_name"] != "Mallory"
    assert settings["remote.origin.url"] == server.url + PROJECT
    assert not any("Mallory" in str(value) or "evil" in str(value) for value in settings.values())
    assert not mark.exists()


def test_a_folder_of_too_many_entries(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_FOLDER_ENTRIES", 2)
    files = snapshot(tiny.project)
    film = tiny.film
    assert film.attempt("switch", "side") == 5
    assert "more than 2 entries" in film.errors
    assert snapshot(tiny.project) == files


def test_free_space_is_asked_for_before_anything_is_written(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    remove_working_files(tiny.project)
    say_full(monkeypatch)
    film = tiny.film
    assert film.attempt("restore", "--source", "main", ".") == 1
    assert "the disk has" in film.errors
    assert "The working tree was not changed." in film.errors
    assert snapshot(tiny.project) == {}
