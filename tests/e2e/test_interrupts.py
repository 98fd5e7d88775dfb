"""Commands that get Ctrl-C in the very step in which the main thread takes a lock or closes a file: they end as they should."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.film import Film
from tests.prepared import copy_of

pytestmark = pytest.mark.slow

COMMAND = '''
import os, signal, sys, threading

# Tests that run in the background of a shell inherit that an interrupt is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
kind, at = sys.argv[1], int(sys.argv[2])
vars(threading).update(_kill=os.kill, _process=os.getpid(), _main=threading.get_ident(), _left=at, _close=os.close)
exec("""
def _step():
    global _left
    _left -= get_ident() == _main
    return _left == 0 and get_ident() == _main

def __enter__(self):
    taken = self._lock.__enter__()
    if _step():
        _kill(_process, 2)
    return taken
""", vars(threading))


def close(fd):
    threading._close(fd)
    if threading._step():
        os.kill(os.getpid(), 2)


if kind == "lock":
    threading.Condition.__enter__ = threading.__enter__
else:
    os.close = close

from mediavault.cli.dispatch import run

code = run(sys.argv[3:])
print(at - threading._left)
sys.exit(code)
'''
"""Runs mediagit, and interrupts its main thread right after it took such a lock, or closed a file, for the Nth time.

At the end it prints how often it did.
"""
NEVER = 1 << 30
POINTS = 8
KINDS = pytest.mark.parametrize("kind", ["lock", "close"])


def run(kind: str, at: int, *words: str, cwd: Path) -> tuple[int, int]:
    """Run a command with an interrupt at the step of that number; return its exit code, and how many such steps it took."""
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, kind, str(at), *words],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail(f"{words} hangs after an interrupt at {kind} {at}")
    assert "Traceback" not in err, err
    assert ("Run the same command again" in err) == (process.returncode == 130)
    return process.returncode, int(out.splitlines()[-1])


def interrupted(kind: str, prepare: Callable[[int], Path], *words: str) -> Iterator[Path]:
    """Run a command in one new folder after another, interrupted at one step after another; yield the folders."""
    code, steps = run(kind, NEVER, *words, cwd=prepare(0))
    assert code == 0, words
    assert steps > POINTS // 2
    codes = []
    for at in sorted({1 + steps * point // POINTS for point in range(POINTS)}):
        folder = prepare(at)
        codes.append(run(kind, at, *words, cwd=folder)[0])
        yield folder
    assert set(codes) <= {0, 130}
    assert codes.count(130) > len(codes) // 2


@pytest.fixture
def takes(plain: Film, monkeypatch: pytest.MonkeyPatch) -> Film:
    """Put files into the project that are not added yet, and go in many packs."""
    monkeypatch.setenv("MEDIAGIT_CORE__PACK_SIZE", "1MiB")
    for number in range(8):
        plain.write(f"takes/{number}.mov", os.urandom(2 << 20))
    return plain


@KINDS
def test_an_add_ends(takes: Film, tmp_path: Path, kind: str) -> None:
    for folder in interrupted(kind, lambda at: copy_of(takes.root, tmp_path / f"add-{at}"), "add", "."):
        film = Film(folder)
        film("add", ".")
        assert len(film.status()["staged"]) == 8
        assert film.json("verify")["ok"]


@KINDS
def test_a_push_ends(takes: Film, tmp_path: Path, kind: str) -> None:
    takes("add", ".")
    takes("commit", "-m", "Takes")

    def prepare(at: int) -> Path:
        film = Film(copy_of(takes.root, tmp_path / f"push-{at}"))
        film("remote", "add", "nas", f"file://{tmp_path / f'nas-{at}'}")
        return film.root

    for folder in interrupted(kind, prepare, "push", "nas"):
        film = Film(folder)
        film("push", "nas")
        assert film.json("verify", "--remote", "nas")["ok"]


@KINDS
def test_a_clone_ends(takes: Film, tmp_path: Path, kind: str) -> None:
    takes("add", ".")
    takes("commit", "-m", "Takes")
    takes("remote", "add", "nas", f"file://{tmp_path / 'nas'}")
    takes("push", "nas")
    words = ["clone", "--no-encryption", f"file://{tmp_path / 'nas'}", "copy"]

    def prepare(at: int) -> Path:
        (tmp_path / f"clone-{at}").mkdir()
        return tmp_path / f"clone-{at}"

    for folder in interrupted(kind, prepare, *words):
        clone = Film(folder / "copy")
        if not clone.root.is_dir() or clone.attempt("log") or not (clone.root / "takes").is_dir():
            Film(folder)(*words)
        assert clone.status() == {}
        assert sorted((clone.root / "takes").iterdir())[7].read_bytes() == (takes.root / "takes/7.mov").read_bytes()
