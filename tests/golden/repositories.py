"""Two whole repositories as files, made once by `python -m tests.golden.repositories`; every version must open them.

It makes those that are not there yet, with the commands and fixed content, and writes down beside each what must come
out of it; it never replaces one, since whoever stored such bytes must be able to read them.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final
from unittest import mock

from blake3 import blake3

from tests.film import Film
from tests.snapshot import Snapshot, snapshot

FOLDER: Final = Path(__file__).parent / "repositories"
KINDS: Final = {"encrypted": (), "plain": ("--no-encryption",)}
PASSPHRASE: Final = "the golden gate"
AUTHOR: Final = "Ada Ölander"

_FRAMES: Final = 1500
"""Files in one folder, so that its tree takes several nodes."""


def main() -> None:
    """Make the repositories that are not there."""
    for kind, flags in KINDS.items():
        if not (FOLDER / kind).exists():
            make(kind, flags)


def make(kind: str, flags: tuple[str, ...]) -> None:
    """Make one repository in a temporary folder; keep its store, and what it holds."""
    with tempfile.TemporaryDirectory() as temporary:
        user = {
            "MEDIAGIT_HOME": str(Path(temporary) / "home"),
            "MEDIAGIT_PASSPHRASE": PASSPHRASE,
            "MEDIAGIT_AUTHOR_NAME": AUTHOR,
            "MEDIAGIT_AUTHOR_EMAIL": "ada@example.org",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        }
        with mock.patch.dict(os.environ, user):
            film = Film(Path(temporary))
            made = film.json("init", *flags, "film")
            film = Film(film.root / "film")
            expected = {"recovery_code": made["recovery_code"], "repository": made["repository"], **_shoot(film)}
        shutil.copytree(film.root / ".mediagit/store", FOLDER / kind, ignore=shutil.ignore_patterns(".tmp"))
    text = json.dumps(expected, indent=1, ensure_ascii=False, sort_keys=True)
    (FOLDER / f"{kind}.json").write_text(text + "\n", encoding="utf-8")


def summary(tree: Snapshot) -> dict[str, Any]:
    """Return what identifies a tree: its digest, and its paths but for those of the many frames."""
    everything = json.dumps(tree, sort_keys=True).encode()
    paths = {path: what for path, what in tree.items() if not path.startswith("frames/")}
    return {"count": len(tree), "blake3": blake3(everything).hexdigest(), "paths": paths}


def _shoot(film: Film) -> dict[str, Any]:
    """Make commits, branches and tags; return what each revision holds."""
    trees = {}
    log = []

    def commit(message: str) -> None:
        film("add", ".")
        log.append(film.json("commit", "-m", message)["id"])

    film.write("rushes/tag eins.mov", _blocks("day one", 700))
    film.write("sound.wav", blake3(b"sound").digest(20_000))
    film.write("notes.txt", "take\n" * 300)
    film.write("empty", "")
    film.write("Überblendung/夜 🌙.txt", "night\n")
    film.write("cafe\u0301.txt", "decomposed\n")
    film.write("render.sh", "#!/bin/sh\n").chmod(0o755)
    (film.root / "latest.mov").symlink_to("rushes/tag eins.mov")
    for number in range(_FRAMES):
        film.write(f"frames/{number:06}.exr", "" if number % 300 else f"frame {number}\n")
    commit("First cut")
    film("tag", "dailies")
    trees["dailies"] = snapshot(film.root)

    with (film.root / "rushes/tag eins.mov").open("r+b") as file:
        file.seek(300_000)
        file.write(b"an edit in the middle")
    (film.root / "notes.txt").unlink()
    (film.root / "render.sh").chmod(0o644)
    film.write("frames/000100.exr", "not empty any more\n")
    commit("Second cut\n\nWith a body, and an umlaut: ü")
    film("tag", "-a", "-m", "For the director", "v1.0")
    trees["v1.0"] = snapshot(film.root)

    film("switch", "-c", "grade/warm")
    film.write("luts/warm.cube", "1 0 0\n" * 50)
    commit("Warmer")
    trees["grade/warm"] = snapshot(film.root)
    film("switch", "main")
    film("branch", "gone")
    film("branch", "-D", "gone")
    film.write("credits.txt", "The end\n")
    commit("Credits")
    trees["main"] = snapshot(film.root)
    return {"log": log, "trees": {name: summary(tree) for name, tree in trees.items()}}


def _blocks(name: str, count: int) -> bytes:
    """Return KiB blocks that all differ, compress well, and are the same in every run."""
    return b"".join(blake3(f"{name} {number}".encode()).digest(16) * 64 for number in range(count))


if __name__ == "__main__":
    main()
