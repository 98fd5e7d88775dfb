"""An answer of the server gets lost, or the server dies: the command says so or tries again, and never claims too much.

For each request of each verb that talks to a server: the connection breaks before the server acted, after it did, or in
the middle of its answer. And the server alone dies before each of its durable steps. Either the command fails with the
code for remotes, or what it reports is there; the same command finishes.
"""

from collections import Counter
from collections.abc import Iterator

import pytest

from mediavault.cli.exit_codes import ExitCode
from tests.crash.playing import Theatre, Whole, check_again, hosted, stride, told
from tests.crash.scenes import SCENES, Scene, World
from tests.crash.stem import Stem

WAYS = ("before", "after", "half")
SERVED = [scene for scene in SCENES if scene.serves]
IN_A_PROJECT = [scene for scene in SERVED if scene.where == "ann"]
served = pytest.mark.parametrize("scene", SERVED, ids=lambda scene: scene.name)
in_a_project = pytest.mark.parametrize("scene", IN_A_PROJECT, ids=lambda scene: scene.name)


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with Stem() as stem:
        yield Theatre(tmp_path_factory.mktemp("lost"), stem)


def check_report(whole: Whole, world: World, codes: tuple[int, ...], errors: str, words: str) -> str:
    """What the command says is true: success where all is there, else that the remote failed, and what to do."""
    if codes == (0,):
        assert world.facts(whole.scene.project) == whole.new, f"{words}: reported, and not so"
        assert hosted(whole.scene, world) == whole.new_hosted, f"{words}: reported, and not at the server"
        return "went on by itself"
    assert codes == (ExitCode.REMOTE,), f"{words}: {codes} {errors}"
    assert "next:" in errors, words
    return "said that the server failed"


def lose(theatre: Theatre, whole: Whole, number: int, way: str, retries: int) -> str:
    """Lose the answer to a request; return what the command did."""
    scene = whole.scene
    world = whole.before.copy(theatre.folder / scene.name / f"{way}-{number}-{retries}")
    words = f"{scene.name}, answer {number} of {whole.requests} lost {way}, {retries} retries"
    outcome = world.begin(scene, lose=number, lose_how=way, retries=retries)
    did = check_report(whole, world, tuple(outcome.codes), outcome.errors[0], words)
    if retries:
        assert outcome.codes == [0], f"{words}: {outcome.errors}"
    check_again(whole, world, words)
    theatre.strike(world)
    return did


@served
def test_a_lost_answer_is_told_or_asked_for_again(theatre: Theatre, scene: Scene) -> None:
    whole = theatre.whole(scene.name)
    for at, number in enumerate(stride(whole.requests, 3)):
        lose(theatre, whole, number, WAYS[(at + len(scene.name)) % 3], retries=at % 2)


@pytest.mark.deep
@served
def test_every_lost_answer_is_told_or_asked_for_again(theatre: Theatre, scene: Scene) -> None:
    whole = theatre.whole(scene.name)
    for retries in (0, 1):
        did = Counter(
            lose(theatre, whole, number, way, retries) for number in range(1, whole.requests + 1) for way in WAYS
        )
        print(f"\nanswer lost, {retries} retries  {scene.name:<24} {whole.requests:>3} requests, 3 ways: {told(did)}")


def outlive(theatre: Theatre, whole: Whole, number: int) -> tuple[str, int]:
    """Let the server die before one of its durable steps; return what the command did, and its steps if it lived."""
    scene = whole.scene
    world = whole.before.copy(theatre.folder / scene.name / f"dies-{number}")
    words = f"{scene.name}, the server died before its step {number}"
    outcome = world.begin(scene, stop_at=number, apart=True)
    did = check_report(whole, world, tuple(outcome.codes), outcome.errors[0], words)
    if number and not outcome.server_crashed:
        # Uploads side by side share some steps, such as the making of a folder: a run may take fewer than the one before.
        assert outcome.server_steps < number, words
    check_again(whole, world, words)
    theatre.strike(world)
    return did, outcome.server_steps


@in_a_project
def test_a_server_that_dies_loses_nothing_it_acknowledged(theatre: Theatre, scene: Scene) -> None:
    whole = theatre.whole(scene.name)
    _, steps = outlive(theatre, whole, 0)
    for number in stride(steps, 2):
        outlive(theatre, whole, number)


@pytest.mark.deep
@in_a_project
def test_a_server_that_dies_anywhere_loses_nothing_it_acknowledged(theatre: Theatre, scene: Scene) -> None:
    whole = theatre.whole(scene.name)
    _, steps = outlive(theatre, whole, 0)
    did = Counter(outlive(theatre, whole, number)[0] for number in range(1, steps + 1))
    print(f"\nserver dies  {scene.name:<24} {steps:>3} points: {told(did)}")
