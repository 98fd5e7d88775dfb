"""How bad-input tests damage what is stored, and what they ask of a command that must fail."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from mediavault.model.ids import Kind
from tests.film import Film
from tests.integration.meddler import flipped
from tests.snapshot import Snapshot, snapshot

Serve: TypeAlias = Callable[..., str]
Damage: TypeAlias = Callable[[bytes], bytes]

PROJECT = "/studio/film"
IMPATIENT = {"MEDIAGIT_NETWORK__RETRIES": "0", "MEDIAGIT_NETWORK__STALL_TIMEOUT": "5"}


def refused(film: Film, *arguments: str | Path, exit_code: int, env: Mapping[str, str] | None = None) -> str:
    """Run a command that must fail: in words, with what to do next, and not as a defect. Return the words."""
    words = film(*arguments, exit_code=exit_code, env=dict(env or {}))
    assert words.startswith("error: ") or "\nerror: " in words
    assert "next: " in words, words
    assert "should not have happened" not in words
    return words


def whole(film: Film, tree: Snapshot) -> None:
    """Check that a project has its files and that everything stored is intact."""
    assert snapshot(film.root) == tree
    assert film.json("verify")["ok"]
    assert film.status() == {}


def failed(film: Film, *arguments: str, exit_codes: Sequence[int], env: Mapping[str, str]) -> str:
    """Run a command that must fail with one of some codes, and return its words."""
    for code in exit_codes:
        with contextlib.suppress(AssertionError):
            return film(*arguments, exit_code=code, env=dict(env))
    return refused(film, *arguments, exit_code=exit_codes[0], env=env)


def flip(data: bytes) -> bytes:
    """Change one bit in the middle."""
    return flipped(data, len(data) // 2)


def cut(data: bytes) -> bytes:
    """Leave the first half."""
    return data[: len(data) // 2]


CHUNKS, NODES, HISTORY = (Kind.CHUNK,), (Kind.MANIFEST, Kind.TREE), (Kind.COMMIT, Kind.TAG)


def packs_of(store: Path, kinds: Sequence[Kind]) -> list[Path]:
    """Return the packs of a store for a class of kinds, the oldest first."""
    found = [path for path in store.glob("packs/*/*") if path.read_bytes()[25] in kinds]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns)


def overwrite(path: Path, data: bytes) -> None:
    """Give a file other bytes, and leave those that share its inode alone."""
    path.unlink()
    path.write_bytes(data)


@contextlib.contextmanager
def damaged(path: Path, damage: Damage) -> Iterator[None]:
    """Damage a file, and put its bytes back at the end."""
    data = path.read_bytes()
    overwrite(path, damage(data))
    yield
    overwrite(path, data)


def with_remote(project: Path, url: str) -> Path:
    """Let `origin` be the project on a server."""
    settings = project / ".mediagit/mediagit.toml"
    settings.write_text(f'[remote.origin]\nurl = "{url}{PROJECT}"\n')
    return project
