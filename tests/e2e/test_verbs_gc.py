"""gc: what it frees, what it keeps, and when it refuses."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mediavault.workspace.layout import Layout
from mediavault_backends.fsio import FileLock
from tests.film import Film, new_film

KIB = 1024
SIZE = 300 * KIB


def noise(seed: int, size: int = SIZE) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture
def film(tmp_path: Path) -> Film:
    film = new_film(tmp_path / "film", "--no-encryption")
    film.write("a.mov", noise(1))
    film("add", ".")
    film("commit", "-m", "First cut")
    return film


def packs(film: Film) -> list[Path]:
    return sorted(path for path in (film.root / ".mediagit/store/packs").rglob("*") if path.is_file())


def size(film: Film) -> int:
    return sum(path.stat().st_size for path in packs(film))


def age(film: Film, days: float) -> None:
    """Make all packs look that old."""
    past = time.time() - days * 24 * 3600
    for path in packs(film):
        os.utime(path, (past, past))


def amended(film: Film) -> str:
    """Replace the only commit; return the replaced one."""
    old = film.json("log")[0]["id"]
    film.write("a.mov", noise(2))
    film("commit", "-a", "--amend", "-m", "Second thoughts")
    return str(old)


def test_an_amended_commit_stays_for_its_days_and_goes_with_now(film: Film) -> None:
    old = amended(film)
    age(film, 15)
    report = film.json("gc")
    assert (report["done"], report["packs_deleted"], report["bytes_freed"], report["states_kept"]) == (True, 0, 0, 1)
    assert report["bytes_former"] > SIZE
    assert "1 former state" not in film("gc")
    film("restore", "--source", old, "a.mov")
    assert (film.root / "a.mov").read_bytes() == noise(1)
    before = size(film)
    report = film.json("gc", "--now")
    assert report["states_forgotten"] == 1
    assert report["bytes_freed"] == before - size(film) > SIZE
    assert film.json("verify")["ok"]
    film("show", old, exit_code=1)
    film("restore", "--source", "main", "a.mov")
    assert (film.root / "a.mov").read_bytes() == noise(2)
    assert film.json("gc", "--now")["bytes_freed"] == 0


def test_the_days_of_former_states_can_be_chosen(film: Film) -> None:
    amended(film)
    age(film, 15)
    assert film.json("gc", "--keep-days", "1")["packs_deleted"] == 0
    film("config", "set", "gc.keep_days", "0")
    report = film.json("gc")
    assert (report["keep_days"], report["grace_days"]) == (0, 14)
    assert report["packs_deleted"] > 0


def test_a_deleted_branch_can_be_brought_back_after_a_gc(film: Film) -> None:
    film("switch", "-c", "side")
    film.write("b.mov", noise(3))
    film("add", ".")
    film("commit", "-m", "Aside")
    tip = film.json("log")[0]["id"]
    film("switch", "main")
    film("branch", "-D", "side")
    age(film, 20)
    film("gc")
    film("branch", "side", tip)
    film("switch", "side")
    assert (film.root / "b.mov").read_bytes() == noise(3)
    film("switch", "main")
    film("branch", "-D", "side")
    film("gc", "--now")
    film("branch", "side", tip, exit_code=1)


def test_what_is_new_stays_for_the_days_of_grace(film: Film) -> None:
    film.write("wrong.mov", noise(4))
    film("add", ".")
    film("rm", "-f", "wrong.mov")
    assert film.json("gc")["bytes_young"] > SIZE
    assert "`mediagit gc --now`" in film("gc")
    age(film, 13)
    assert film.json("gc")["packs_deleted"] == 0
    age(film, 15)
    dry = film.json("gc", "--dry-run")
    before = size(film)
    assert dry["packs_deleted"] == 2  # its chunks and its manifest
    assert dry["done"] is False
    assert size(film) == before
    assert "Would free 3" in film("gc", "-n")
    done = film.json("gc")
    assert {**dry, "done": True} == done
    assert size(film) == before - done["bytes_freed"]


def test_what_is_added_stays_even_now(film: Film) -> None:
    film.write("b.mov", noise(5, 900 * KIB))
    film.write("c.txt", b"small")
    film("add", ".")
    age(film, 400)
    assert film.json("gc", "--now")["packs_deleted"] == 0
    (film.root / "b.mov").unlink()
    (film.root / "c.txt").unlink()
    film("commit", "-m", "Kept")
    film("restore", "b.mov", "c.txt")
    assert (film.root / "b.mov").read_bytes() == noise(5, 900 * KIB)


def test_a_checked_out_commit_on_no_branch_stays(film: Film) -> None:
    film("switch", "--detach", "main")
    film.write("a.mov", noise(6))
    film("commit", "-am", "Adrift")
    film("gc", "--now")
    assert film.json("verify")["ok"]
    assert film.json("log")[0]["message"] == "Adrift"
    film("switch", "main")
    film("gc", "--now")
    assert film.json("verify")["ok"]


def test_half_dead_packs_are_written_anew(film: Film) -> None:
    for number in range(6):
        film.write(f"shots/{number}.exr", noise(10 + number, 100 * KIB))
    film("add", ".")
    film("rm", "-f", "shots/0.exr", "shots/1.exr", "shots/2.exr")
    film("commit", "-m", "Three shots")
    report = film.json("gc", "--now")
    assert report["packs_rewritten"] == 1
    assert report["bytes_freed"] >= 300 * KIB
    assert film.json("verify")["ok"]
    assert film.json("gc", "--now")["packs_rewritten"] == 0


def test_an_interrupted_add_is_continued_after_a_gc(film: Film) -> None:
    spool = film.root / ".mediagit/store/.tmp/spool"
    spool.mkdir(parents=True, exist_ok=True)
    chunks = next(path for path in packs(film) if path.stat().st_size > SIZE)
    (spool / "chunks-0123456789abcdef.spool").write_bytes(chunks.read_bytes())
    film("gc", "--now")
    assert len(list(spool.iterdir())) == 1
    film.write("b.txt", "words")
    film("add", ".")
    assert list(spool.iterdir()) == []
    assert film.json("verify")["ok"]


def test_it_refuses_while_another_command_works(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediavault.ops.repository.LOCK_SECONDS", 0.01)
    layout = Layout(film.root)
    with FileLock(layout.lock_file).held():
        assert "Another mediagit command" in film("gc", exit_code=3)
    with FileLock(layout.collection_lock).held(shared=True):
        assert "push or fetch" in film("gc", exit_code=3)
        film("status")
        film("add", ".")
    film("gc")


def test_no_transfer_begins_while_it_works(
    film: Film, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    film("remote", "add", "origin", f"{serve()}/studio/film")
    film("push", "-u", "origin", "main")
    monkeypatch.setattr("mediavault.ops.repository.LOCK_SECONDS", 0.01)
    with FileLock(Layout(film.root).collection_lock).held():
        for verb in ("push", "fetch"):
            assert "`mediagit gc`" in film(verb, exit_code=3)
    film("gc", "--now")
    film("fetch")
    assert film.json("verify")["ok"]


def test_an_unfinished_clone_is_left_alone(film: Film) -> None:
    (film.root / ".mediagit/clone").write_bytes(b"")
    before = packs(film)
    assert "clone is not finished" in film("gc", "--now", exit_code=3)
    assert packs(film) == before


def test_damage_ends_it_with_nothing_removed(film: Film) -> None:
    amended(film)
    nodes = [path for path in packs(film) if path.stat().st_size < 10 * KIB]
    data = bytearray(nodes[0].read_bytes())
    data[60] ^= 1
    before = packs(film)
    logs = sorted((film.root / ".mediagit/store/logs").rglob("*"))
    for victim in nodes:
        whole = victim.read_bytes()
        victim.unlink()
        words = film("gc", exit_code=5)
        assert "Nothing was removed" in words
        assert "mediagit verify" in words
        victim.write_bytes(whole)
    assert packs(film) == before
    assert sorted((film.root / ".mediagit/store/logs").rglob("*")) == logs
    film("gc", "--now")


def test_it_finishes_what_an_interrupted_checkout_began_first(film: Film) -> None:
    """The commit that a checkout was moving to is needed; `gc` recovers before it looks."""
    (film.root / ".mediagit/checkout").mkdir()
    film("gc", "--now")
    assert not (film.root / ".mediagit/checkout").exists()
