"""Disks that are full, and files that change while they are read: refused in words, continued later, nothing lost."""

import contextlib
import itertools
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from blake3 import blake3

from tests.bad_input import PROJECT, Serve, whole
from tests.conftest import installed
from tests.e2e.conftest import Made
from tests.film import Film
from tests.prepared import MIB
from tests.snapshot import snapshot

pytestmark = pytest.mark.slow


def test_a_file_that_changes_while_it_is_added(film: Film) -> None:
    path = film.root / "render.exr"
    path.write_bytes(bytes(4 * MIB))
    stop = threading.Event()

    def render() -> None:
        with path.open("ab", buffering=0) as file:
            for number in itertools.count():
                if stop.is_set():
                    return
                file.write(number.to_bytes(4, "little"))
                time.sleep(0.0002)

    writer = threading.Thread(target=render)
    writer.start()
    try:
        film("add", ".", exit_code=1)
    finally:
        stop.set()
        writer.join()
    assert "render.exr changed" in film.errors
    film("commit", "-m", "Without it", exit_code=1)
    assert film.status() == {"untracked": ["render.exr"]}
    film("add", ".")
    film("commit", "-m", "With it")
    content = path.read_bytes()
    path.unlink()
    film("restore", "render.exr")
    assert path.read_bytes() == content
    assert film.json("verify")["ok"]


FULL = """
set -u
mount -t tmpfs -o size=12m none "$1" || exit 99
cp -a "$2/." "$1/"
cd "$1"
"$3" add . 2>&1; echo "add $?"
"$3" commit -m big 2>/dev/null >&2; echo "commit $?"
rm big.exr
"$3" verify >/dev/null; echo "verify $?"
"$3" status --json
"""


def can_mount() -> bool:
    """Tell whether this user may mount a file system of their own, in a namespace."""
    command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"]
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


def test_a_full_disk_while_adding(film: Film, made: Made) -> None:
    big = film.root / "big.exr"
    big.write_bytes(blake3(b"big").digest(8 * MIB))
    words = run_limited("add", ".", cwd=film.root, size=3 * MIB)
    assert "next: " in words
    assert film.status() == {"untracked": ["big.exr"]}
    big.rename(film.root.parent / "big.exr")
    whole(film, made.tree)
    (film.root.parent / "big.exr").rename(big)
    film("add", ".")
    film("commit", "-m", "There was room")
    assert film.json("verify")["ok"]


def test_a_full_disk_while_fetching_and_checking_out(
    film: Film, made: Made, serve: Serve, storage: Path, tmp_path: Path
) -> None:
    url = serve(storage) + PROJECT
    words = run_limited("clone", url, "copy", cwd=tmp_path, size=MIB)
    assert "next: " in words
    assert snapshot(tmp_path / "copy") == {}
    Film(tmp_path)("clone", url, "copy")
    whole(Film(tmp_path / "copy"), made.tree)
    run_limited("switch", "--detach", "HEAD~1", cwd=film.root, size=MIB)
    whole(film, made.tree)
    film("switch", "--detach", "HEAD~1")
    assert snapshot(film.root) != made.tree


def run_limited(*arguments: str, cwd: Path, size: int) -> str:
    """Run mediagit where no file may grow beyond `size` bytes, as on a full disk; it must fail. Return what it said."""
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, str(size), *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert "should not have happened" not in result.stderr
    return result.stderr


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
from mediavault.cli.main import main
main()
"""


@pytest.mark.skipif(not can_mount(), reason="needs Linux with user namespaces")
def test_a_disk_that_is_full_in_truth(film: Film, tmp_path: Path) -> None:
    (film.root / "big.exr").write_bytes(blake3(b"big").digest(5 * MIB))
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["unshare", "-rm", "sh", "-c", FULL, "sh", str(disk), str(film.root), installed("mediagit")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    lines, _, status = result.stdout.partition("{")
    assert "The disk is full" in lines or "No space is left" in lines, result.stdout + result.stderr
    assert "next: " in lines
    assert "add 1" in lines
    assert "commit 1" in lines
    assert "verify 0" in lines
    found = json.loads("{" + status)
    assert not any(found[key] for key in ("staged", "modified", "deleted", "untracked"))
