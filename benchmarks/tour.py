"""The main job from end to end, with the installed commands and real media: what `make run` shows.

Makes a media project, starts a server on local storage, commits, pushes, edits, commits, pushes, clones elsewhere and
compares the two checkouts byte for byte. Exits 1 on any difference. Touches nothing outside its own temporary folder.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Never

from benchmarks import trees
from benchmarks.trees import differences
from tests import media

COMMANDS = Path(sys.executable).parent


class Tour:
    """One user with a folder of their own, running commands and remembering what they answered."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDIAGIT_")}
        self._environment = {
            **kept,
            "HOME": str(scratch / "home"),
            "MEDIAGIT_HOME": str(scratch / "home" / "mediagit"),
            "MEDIAGIT_PASSPHRASE": secrets.token_urlsafe(18),
            "MEDIAGIT_AUTHOR_NAME": "An artist of the tour",
            "MEDIAGIT_AUTHOR_EMAIL": "artist@example.org",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        }
        (scratch / "home").mkdir()

    def run(self, *arguments: str, cwd: Path) -> Any:
        """Run one `mediagit` command with `--json`, show it with its time, and return its document.

        `--json` follows the verb's own arguments, but stands before a `--` that ends the options.
        """
        options, dashes, paths = _split(arguments)
        command = ["mediagit", *options, "--json", *dashes, *paths]
        started = time.perf_counter()
        result = subprocess.run(
            [str(COMMANDS / command[0]), *command[1:]],
            cwd=cwd, env=self._environment, text=True, capture_output=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        print(f"  {cwd.name + '$ mediagit ' + shlex.join(arguments):<76.76} {seconds:6.2f} s", flush=True)
        if result.returncode:
            fail(f"{shlex.join(command)} exited {result.returncode}:\n{result.stdout}{result.stderr}")
        return json.loads(result.stdout) if result.stdout.strip() else None

    @contextlib.contextmanager
    def server(self, storage: Path) -> Iterator[str]:
        """Run `mediagit-server` on a free port; yields its address."""
        command = [str(COMMANDS / "mediagit-server"), "--storage", str(storage), "--no-auth", "--port", "0"]
        log: list[str] = []
        with subprocess.Popen(
            command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                yield _address(process, log)
            finally:
                process.terminate()
                process.wait(timeout=30)
        if process.returncode not in {0, -15}:
            fail(f"mediagit-server exited {process.returncode}:\n{''.join(log)}")


def main() -> None:
    """Take the tour and print what it showed."""
    parser = argparse.ArgumentParser(prog="benchmarks.tour", description=__doc__)
    parser.add_argument("--detail", type=float, default=1.0, help="size of the media project; 1.0 is about 165 MB")
    options = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="mediavault-tour-"))
    studio = scratch / "studio"
    studio.mkdir()
    try:
        take(studio, options.detail)
    finally:
        shutil.rmtree(scratch)


def take(scratch: Path, detail: float) -> None:
    """Run every step in `scratch`, which is empty."""
    tour = Tour(scratch)
    film, copy, storage = scratch / "film", scratch / "copy", scratch / "srv"

    print("A media project from real encoders")
    project = media.make_project(film, detail=detail)
    size, kinds, count = trees.total_bytes(film), media.formats(film), len(trees.entries(film))
    largest = max(path.stat().st_size for path in film.rglob("*") if path.is_file())
    print(f"  {count} files, {_mb(size)}, the largest {_mb(largest)}: {' '.join(kinds)}")

    print("Commit and push, encrypted")
    with tour.server(storage) as address:
        url = f"{address}/studio/film"
        tour.run("init", "film", cwd=scratch)
        tour.run("add", ".", cwd=film)
        tour.run("commit", "-m", "First cut", cwd=film)
        tour.run("remote", "add", "origin", url, cwd=film)
        first_push = tour.run("push", "-u", "origin", "main", cwd=film)
        held_first = trees.total_bytes(storage)

        print("An artist repaints a part of one layer of the largest file")
        before = _sha256(film / project.layered)
        edit = media.edit(project)
        print(f"  {edit.path}, layer “{edit.layer}”: {_kb(edit.changed_bytes)} of its bytes are new")
        status = tour.run("status", cwd=film)
        tour.run("commit", "-a", "-m", "Repaint " + edit.layer, cwd=film)
        second_push = tour.run("push", cwd=film)
        held_second = trees.total_bytes(storage)

        print("Clone elsewhere, check everything, and look back")
        clone = tour.run("clone", url, "copy", cwd=scratch)
        found = differences(film, copy)
        _expect(not found, "the clone differs:\n" + "\n".join(found))
        log = tour.run("log", cwd=copy)
        stats = tour.run("stats", cwd=copy)
        tour.run("verify", cwd=copy)
        tour.run("verify", "--remote", "origin", cwd=copy)
        tour.run("restore", "--source", "main~1", "--", str(edit.path), cwd=copy)
        earlier = _sha256(copy / edit.path)

    _expect(status["modified"] == [edit.path.as_posix()], f"status named {status['modified']}, not only {edit.path}")
    _expect(
        [row["message"].strip() for row in log] == ["Repaint " + edit.layer, "First cut"], "the clone's log differs"
    )
    _expect(earlier == before, "the version before the edit did not come back")
    leaks = [needle for needle in _needles(film) if _holds(storage, needle)]
    _expect(not leaks, f"the server's storage holds plaintext: {leaks}")

    print()
    print(
        f"Stored    {_mb(stats['stored_bytes'])} for {_mb(stats['logical_bytes'])} in two versions, {stats['unique_chunks']} chunks"
    )
    print(f"Saved     {stats['dedup_ratio']:.2f} x by deduplication, {stats['compression_ratio']:.2f} x by compression")
    print(f"Sent      first push {_mb(first_push['bytes_sent'])} in {first_push['requests']} requests")
    print(f"          second push {_kb(second_push['bytes_sent'])} in {second_push['requests']} requests")
    print(f"Received  clone {_mb(clone['bytes_received'])} in {clone['requests']} requests")
    print(
        f"Server    holds {_mb(held_first)}, after the edit {_mb(held_second)}; no name or content of a file in clear"
    )
    print(f"Identical {count} files: bytes, executable bits, links; and the version before the edit came back")


def fail(reason: str) -> Never:
    """End the tour with exit code 1."""
    print(f"\nFAILED: {reason}", file=sys.stderr)
    raise SystemExit(1)


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        fail(otherwise)


def _split(arguments: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    if "--" not in arguments:
        return arguments, (), ()
    at = arguments.index("--")
    return arguments[:at], ("--",), arguments[at + 1 :]


def _address(process: subprocess.Popen[str], log: list[str]) -> str:
    for line in process.stdout or ():
        log.append(line)
        if found := re.search(r"Listening on (http\S+)", line):
            threading.Thread(target=lambda: log.extend(process.stdout or ()), daemon=True).start()
            return found[1]
    fail("mediagit-server ended before it listened:\n" + "".join(log))


def _needles(film: Path) -> list[bytes]:
    """Return pieces of plaintext: names, and bytes from the middle of files of several kinds."""
    pieces = [b"hero_layers.tif", b"Repaint", b"An artist of the tour", (film / "scripts/render.sh").read_bytes()]
    for name in ("textures/hero_layers.tif", "shots/sh010/plate.mov", "audio/dialogue.wav"):
        with (film / name).open("rb") as stream:
            stream.seek((film / name).stat().st_size // 2)
            pieces.append(stream.read(48))
    return [piece for piece in pieces if len(set(piece)) > 4]  # an empty stretch of a picture proves nothing


def _holds(storage: Path, needle: bytes) -> bool:
    return any(needle in path.read_bytes() for path in storage.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _kb(count: int) -> str:
    return f"{count / 1e3:.0f} kB"


if __name__ == "__main__":
    main()
