"""Each verb that changes something is stopped before its durable steps, by a kill and by a power cut, and looked at again.

What must come of it, whatever the point: HEAD and refs are the old or the new, each with all it needs; files are the old
or the new, and what nobody committed is untouched; `status` works; the same command finishes, and then all is as if
nothing had happened. `make test` stops at a few points of each verb, chosen by a stride; `-m deep -s` at all of them, and
prints what came of it.
"""

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.crash.facts import Facts
from tests.crash.playing import Theatre, Whole, check_again, check_old_or_new, check_user_files, stride, told
from tests.crash.power import Outage, Variant
from tests.crash.scenes import SCENES, Scene, World, noise
from tests.crash.stem import Stem

POINTS = 3
"""Crash points of each verb in a normal run."""
CUTS = 3
"""Power cuts of each verb in a normal run."""
by_name = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)


@pytest.fixture(scope="module")
def theatre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    with Stem() as stem:
        yield Theatre(tmp_path_factory.mktemp("crash"), stem)


# ------------------------------------------------------------------------------------------------- kills


def killed(theatre: Theatre, whole: Whole, number: int) -> str:
    """Stop a scene before a durable step; return what was left."""
    scene = whole.scene
    world = whole.before.copy(theatre.folder / scene.name / f"kill-{number}")
    outcome = world.begin(scene, stop_at=number)
    words = f"{scene.name}, killed before step {number} of {whole.steps}"
    assert outcome.crashed or number > whole.steps - 3, words  # threads may meet a folder that another one made
    left = check_again(whole, world, words)
    theatre.strike(world)
    return left


@by_name
def test_a_kill_leaves_the_old_or_the_new(theatre: Theatre, scene: Scene) -> None:
    whole = theatre.whole(scene.name)
    for number in stride(whole.steps, POINTS):
        killed(theatre, whole, number)


@pytest.mark.deep
@by_name
def test_a_kill_anywhere_leaves_the_old_or_the_new(theatre: Theatre, scene: Scene) -> None:
    whole = theatre.whole(scene.name)
    outcomes = Counter(killed(theatre, whole, number) for number in range(1, whole.steps + 1))
    print(f"\nkill       {scene.name:<26} {whole.steps:>4} points: {told(outcomes)}")


# -------------------------------------------------------------------------------------------- power cuts


def cut(theatre: Theatre, whole: Whole, number: int, outage: Outage, variant: Variant) -> str:
    """Let the power go before a durable step, in one way; return what was left."""
    scene = whole.scene
    world = World(theatre.folder / scene.name / "cut", whole.before.stem)
    outage.leave(variant, world.folder)
    words = f"{scene.name}, power cut before step {number} of {whole.steps}: {variant.words}"
    left = check_again(whole, world, words, known=number > whole.steps)
    theatre.strike(world)
    return left


@by_name
def test_a_power_cut_leaves_the_old_or_the_new(theatre: Theatre, scene: Scene) -> None:
    whole = theatre.whole(scene.name)
    for number in stride(whole.steps + 1, CUTS):
        outage = Outage(whole.film, number)
        variants = list(outage.variants())
        # After its end, what was done must stand though nothing unsynced does.
        chosen = 0 if number > whole.steps else number % min(4, len(variants))
        cut(theatre, whole, number, outage, variants[chosen])


@pytest.mark.deep
@by_name
def test_a_power_cut_anywhere_leaves_the_old_or_the_new(theatre: Theatre, scene: Scene) -> None:
    whole = theatre.whole(scene.name)
    outcomes: Counter[str] = Counter()
    seen: dict[tuple[bool, bytes], str] = {}
    for number in range(1, whole.steps + 2):
        outage = Outage(whole.film, number)
        for variant in outage.variants():
            # Many endings leave the same bytes; each is looked at once.
            alike = number > whole.steps, outage.digest(variant)
            if alike not in seen:
                seen[alike] = cut(theatre, whole, number, outage, variant)
            outcomes[seen[alike]] += 1
    count = sum(outcomes.values())
    print(
        f"\npower cut  {scene.name:<26} {whole.steps + 1:>4} points, {count:>5} endings, {len(seen):>4} different: "
        f"{told(outcomes)}"
    )


# ------------------------------------------------------------------------------------- a lost stage too


@pytest.mark.parametrize("scene", [scene for scene in SCENES if scene.project == "ann"], ids=lambda scene: scene.name)
def test_with_the_stage_lost_as_well_nothing_looks_deleted(theatre: Theatre, scene: Scene) -> None:
    whole = theatre.whole(scene.name)
    number = whole.steps * 2 // 3 + 1
    world = whole.before.copy(theatre.folder / scene.name / "stage")
    world.begin(scene, stop_at=number)
    stage = world.folder / "ann/.mediagit/state.sqlite"
    match SCENES.index(scene) % 3:
        case 0:
            stage.unlink()
        case 1:
            stage.write_bytes(b"")
        case _:
            stage.write_bytes(noise("stage", stage.stat().st_size))
    words = f"{scene.name}, killed before step {number} of {whole.steps}, and its stage lost"
    looked = world.stem.run(world.order(["status", "--json"], ["verify"], facts="ann"))
    assert looked.codes == [0, 0], f"{words}: {looked.errors}"
    assert "The staging index was" in looked.errors[0], words
    assert json.loads(looked.output[0])["staged"] == [], words
    assert isinstance(looked.facts, Facts)
    check_old_or_new(whole, looked.facts, words)
    check_user_files(world, words)
    again = world.begin(scene)
    assert "should not have happened" not in again.errors[0], f"{words}: {again.errors}"
    check_user_files(world, words)
