"""Plays a scene once undisturbed, and knows what must hold after it was disturbed; how it is disturbed is for the tests."""

import json
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tests.crash.facts import Facts
from tests.crash.power import Film
from tests.crash.scenes import SCENES, USER, Scene, World, first_world
from tests.crash.stem import Outcome, Stem


@dataclass(frozen=True)
class Whole:
    """A scene without a disturbance: the state before, what is true before and after, and what was recorded."""

    scene: Scene
    before: World
    old: Facts
    new: Facts
    old_hosted: Facts | None
    new_hosted: Facts | None
    film: Film
    requests: int

    @property
    def steps(self) -> int:
        """How many durable steps it takes."""
        return len(self.film.steps)


class Theatre:
    """Plays scenes, each once whole; the rest is up to the tests."""

    def __init__(self, folder: Path, stem: Stem) -> None:
        self.folder = folder
        self.first = first_world(folder / "first", stem)
        self.whole = cache(self._whole)

    def _whole(self, name: str) -> Whole:
        scene = next(scene for scene in SCENES if scene.name == name)
        before = self.first.copy(self.folder / name / "world")
        scene.prepare(before)
        old, old_hosted = before.facts(scene.project), hosted(scene, before)
        after = before.copy(self.folder / name / "whole")
        outcome = after.begin(scene, film=True)
        assert outcome.codes == [0], outcome.errors
        assert isinstance(outcome.film, Film)
        return Whole(
            scene,
            before,
            old,
            after.facts(scene.project),
            old_hosted,
            hosted(scene, after),
            outcome.film,
            outcome.requests,
        )

    def strike(self, world: World) -> None:
        """Remove what a scene was played on."""
        shutil.rmtree(world.folder)


def hosted(scene: Scene, world: World) -> Facts | None:
    """Describe what the server holds of a scene's project; None where it holds nothing."""
    folder = world.storage / scene.hosted
    return world.facts(f"srv/{scene.hosted}") if scene.serves and (folder / "config").exists() else None


def check_old_or_new(whole: Whole, found: Facts, words: str) -> None:
    """Refs, HEAD and files are each the old or the new."""
    old, new = whole.old, whole.new
    assert not found.broken, words
    if found.exists:
        assert found.head in {old.head, new.head, *(("main",) if not old.exists else ())}, words
        check_refs(old, new, found, words)
    for path in old.files.keys() | new.files.keys() | found.files.keys():
        allowed = {old.files.get(path), new.files.get(path)}
        if len(allowed) == 2:  # where one of a file and a folder comes in the other's place
            allowed |= {None, "folder"}
        if path.startswith(".mediagit-new-") and not found.exists:
            continue  # a repository in the making, which the next `init` removes
        if path not in old.files and path not in new.files:
            assert found.files[path] == "folder", f"{words}: {path}"
        else:
            assert found.files.get(path) in allowed, f"{words}: {path}"


def check_refs(old: Facts, new: Facts, found: Facts, words: str) -> None:
    for name in old.refs.keys() | new.refs.keys() | found.refs.keys():
        assert found.refs.get(name) in {old.refs.get(name), new.refs.get(name)}, f"{words}: {name}"


def check_user_files(world: World, words: str) -> None:
    for path, content in USER.items():
        if (world.folder / "ann" / path).parent.exists():
            assert (world.folder / "ann" / path).read_text() == content, words


def check_hosted(whole: Whole, world: World, words: str) -> Facts | None:
    """Each ref at the server is the old or the new, with all it needs; one that the client knows to be moved is moved."""
    if not whole.scene.serves:
        return None
    old = whole.old_hosted or Facts(exists=False)
    new = whole.new_hosted
    found = hosted(whole.scene, world)
    assert new is not None
    if found is None:
        assert not old.exists, words
        return None
    assert not found.broken, words
    check_refs(old, new, found, words)
    return found


def check_again(whole: Whole, world: World, words: str, *, known: bool = False) -> str:
    """Look at a project after a crash, then run the command again; return what the crash had left.

    Args:
        whole: the undisturbed run.
        world: where the crash was.
        words: for messages.
        known: whether the command had ended and said so.
    """
    scene = whole.scene
    found = world.facts(scene.project)
    check_old_or_new(whole, found, words)
    check_user_files(world, words)
    there = check_hosted(whole, world, words)
    if known:
        # The folder of a finished checkout may come back, empty.
        assert replace(found, unfinished=False) == whole.new, f"{words}: what was done is not there"
        assert there == whole.new_hosted, f"{words}: what the server acknowledged is not there"
    left = "nothing yet"
    if found.exists:
        looked = world.stem.run(
            world.order(["status", "--json"], ["verify", "--json"], where=scene.project, facts=scene.project)
        )
        assert looked.codes == [0, 0], f"{words}: {looked.errors}"
        assert isinstance(looked.facts, Facts)
        settled = looked.facts
        assert not settled.unfinished, words
        check_old_or_new(whole, settled, words)
        left = state_of(whole, settled)
        if scene.whole_tree and scene.project == "ann":
            assert settled.files in (whole.old.files, whole.new.files), f"{words}: neither tree is whole"
        check_words(whole, looked, left, words)
    again = world.begin(scene)
    assert is_done(scene, again), f"{words}, again: {again.codes} {again.errors}"
    check_user_files(world, words)
    end = world.stem.run(world.order(["status", "--json"], ["verify"], where=scene.project, facts=scene.project))
    assert end.codes == [0, 0], f"{words}: {end.errors}"
    assert end.facts == whole.new, f"{words}: in the end"
    assert hosted(scene, world) == whole.new_hosted, words
    return left


def is_done(scene: Scene, outcome: Outcome) -> bool:
    (code,), (errors,) = outcome.codes, outcome.errors
    return code == 0 or any(code == done and part in errors for done, part in scene.done)


def state_of(whole: Whole, found: Facts) -> str:
    if found == whole.new:
        return "new"
    return "old" if found == whole.old else "between"


def check_words(whole: Whole, looked: Outcome, left: str, words: str) -> None:
    """Where a command is half done, and its traces are not all in the lists of `status`, it is said in words."""
    if whole.scene.name == "clone" and left != "new":
        assert "mediagit clone" in looked.errors[0], words
        assert json.loads(looked.output[0])["unfinished"], words


def stride(count: int, points: int) -> list[int]:
    """Choose from 1..count, the first and the last among them."""
    if count <= points:
        return list(range(1, count + 1))
    return sorted({1 + round(number * (count - 1) / (points - 1)) for number in range(points)})


def told(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} {words}" for words, count in sorted(outcomes.items()))
