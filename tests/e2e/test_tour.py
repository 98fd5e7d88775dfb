"""The contract of the README's tour, word for word, by the installed commands."""

import filecmp
import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PASSPHRASE, installed, server_address


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[str]:
    """Start the server exactly as the tour does, but on a port that is free, and return its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [installed("mediagit-server"), "--storage", "./srv", "--no-auth", "--port", port]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert server_address(process) == f"http://127.0.0.1:{port}"
        yield port
        process.terminate()
        assert process.wait(timeout=20) == 0


def shell(script: str, cwd: Path, *, exit_code: int = 0) -> str:
    """Run a line of the tour in a shell that finds the installed commands."""
    path = f"{Path(installed('mediagit')).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["sh", "-ec", script],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        text=True,
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert result.returncode == exit_code, f"{script}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def document(script: str, cwd: Path) -> Any:
    return json.loads(shell(script, cwd))


def same_files(one: Path, other: Path) -> bool:
    compared = filecmp.dircmp(one, other, ignore=[".mediagit"])
    if compared.left_only or compared.right_only or compared.funny_files:
        return False
    if any((one / name).read_bytes() != (other / name).read_bytes() for name in compared.common_files):
        return False
    return all(same_files(one / name, other / name) for name in compared.common_dirs)


def test_the_tour(tmp_path: Path, studio: str, media_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIAGIT_PASSPHRASE", PASSPHRASE)
    url = f"http://127.0.0.1:{studio}/studio/film"
    film = tmp_path / "film"

    made = shell("mediagit init film && cd film", tmp_path)
    assert re.search(r"\b(?:[A-Z2-7]{4}-){13}[A-Z2-7]{4}\b", made), "the recovery code is printed once"
    shutil.copytree(media_project, film, dirs_exist_ok=True)
    paths = sorted(str(file.relative_to(film)) for file in film.rglob("*") if _counts(file, film))

    status = document("mediagit status --json", film)
    assert status["branch"] == "main"
    assert sorted(status["untracked"]) == paths
    shell('mediagit add .   &&   mediagit commit -m "First cut"', film)
    status = document("mediagit status --json", film)
    assert [status[key] for key in ("staged", "modified", "deleted", "untracked")] == [[], [], [], []]

    shell(f"mediagit remote add origin {url}", film)
    shell("mediagit push -u origin main", film)
    shell(f"mediagit clone {url} ../copy", film)
    assert same_files(film, tmp_path / "copy")

    (commit,) = document("mediagit -C ../copy log --json", film)
    assert re.fullmatch(r"[0-9a-f]{64}", commit["id"])
    assert commit["parents"] == []
    assert commit["message"] == "First cut"
    assert commit["author"]
    assert datetime.fromisoformat(commit["time"]).tzinfo is not None
    stats = document("mediagit stats --json", film)
    logical = sum((film / path).lstat().st_size for path in paths)
    assert stats["logical_bytes"] == logical
    assert stats["unique_chunks"] > 0
    assert stats["stored_bytes"] > 0
    assert stats["dedup_ratio"] >= 1
    assert stats["compression_ratio"] > 1

    shell("mediagit verify   &&   mediagit verify --remote origin", film)
    _grade_and_bring_back(film, tmp_path / "copy")


def _counts(file: Path, root: Path) -> bool:
    return ".mediagit" not in file.relative_to(root).parts and (file.is_symlink() or not file.is_dir())


def _grade_and_bring_back(film: Path, copy: Path) -> None:
    edited = max((file for file in film.rglob("*") if _counts(file, film)), key=lambda file: file.lstat().st_size)
    path = edited.relative_to(film).as_posix()
    before = edited.read_bytes()

    shell("mediagit switch -c grade", film)
    edited.write_bytes(before[:5000] + b"graded" * 100 + before[5000:])
    assert document("mediagit status --json", film)["modified"] == [path]
    shell(f"mediagit add '{path}'", film)
    assert document("mediagit status --json", film)["staged"] == [path]
    shell("mediagit commit -m 'Graded'", film)
    assert path in shell("mediagit diff main", film)
    shell(f"mediagit restore --source main -- '{path}'", film)
    assert edited.read_bytes() == before
    assert document("mediagit status --json", film)["modified"] == [path]
    shell(f"mediagit restore -- '{path}'", film)
    assert edited.read_bytes() != before

    sent = document("mediagit push --json origin grade:main", film)
    assert sent["bytes_sent"] < len(before) / 2, "only what is new goes over the wire"
    shell("mediagit fetch", copy)
    assert not same_files(film, copy)
    assert document("mediagit status --json", copy)["behind"] == 1
    shell("mediagit pull", copy)
    assert same_files(film, copy)
    assert len(document("mediagit log --json", copy)) == 2


def test_the_server_and_the_store_hold_no_plaintext(
    tmp_path: Path, studio: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIAGIT_PASSPHRASE", PASSPHRASE)
    film = tmp_path / "film"
    secret, name = b"the plot of the film, in clear words " * 50, "a-telling-name.txt"
    shell("mediagit init film", tmp_path)
    (film / name).write_bytes(secret)
    shell("mediagit add . && mediagit commit -m 'a telling message'", film)
    shell(f"mediagit remote add origin http://127.0.0.1:{studio}/studio/film && mediagit push -u origin main", film)
    for folder in (tmp_path / "srv", film / ".mediagit"):
        for file in folder.rglob("*"):
            if not file.is_file() or file.name == "state.sqlite":
                continue
            data = file.read_bytes()
            for words in (secret[:30], name.encode(), b"a telling message", PASSPHRASE.encode()):
                assert words not in data, file


def test_a_plain_repository_says_so_and_clones_only_on_request(
    tmp_path: Path, studio: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDIAGIT_PASSPHRASE", PASSPHRASE)
    film = tmp_path / "film"
    assert "WITHOUT encryption" in shell("mediagit init --no-encryption film", tmp_path)
    (film / "a.txt").write_text("words")
    url = f"http://127.0.0.1:{studio}/studio/plain"
    shell(
        f"mediagit add . && mediagit commit -m x && mediagit remote add origin {url} && mediagit push -u origin main",
        film,
    )
    shell(f"mediagit clone {url} refused", tmp_path, exit_code=2)
    assert not (tmp_path / "refused").exists()
    shell(f"mediagit clone --no-encryption {url} copy", tmp_path)
    assert (tmp_path / "copy" / "a.txt").read_text() == "words"
