"""Many writers move one ref through two servers: one wins, all others are told."""

import threading
from collections.abc import Callable
from pathlib import Path

from mediavault.errors import RefMovedError
from mediavault.formats.ref import decode_ref_value
from mediavault.model.ids import Link
from mediavault.wire.client import HttpRemote
from tests.integration.conftest import Server
from tests.integration.studio import Studio

WRITERS = 50


def race(studio: Studio, remotes: list[HttpRemote], targets: list[Link]) -> list[Link]:
    """Let every writer move heads/main from where all of them saw it; returns the targets of those who won."""
    values = [studio.ref_value(remotes[0], "heads/main", target, number) for number, target in enumerate(targets)]
    won: list[Link] = []
    lost: list[Exception] = []
    start = threading.Barrier(len(targets))

    def write(number: int) -> None:
        value, etag = values[number]
        start.wait()
        try:
            remotes[number % len(remotes)].put_ref(value, etag)
            won.append(targets[number])
        except RefMovedError as error:
            lost.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(len(targets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) + len(lost) == len(targets)
    return won


def test_one_of_fifty_wins(
    tmp_path: Path, start_server: Callable[..., Server], connect: Callable[..., HttpRemote]
) -> None:
    studio = Studio(tmp_path / "ann")
    remotes = [connect(start_server().url), connect(start_server().url)]
    base = studio.commit({"n": b"base"})
    targets = [studio.commit({"n": str(number).encode()}, [base.id]) for number in range(WRITERS)]
    for number, target in enumerate(targets):
        studio.push(remotes[0], target, f"heads/w{number}")
    # The first race makes the ref, the second moves it.
    first = race(studio, remotes, [base] * WRITERS)
    assert first == [base]
    (winner,) = race(studio, remotes, targets)
    value = decode_ref_value(remotes[1].refs()["heads/main"].value_bytes)
    assert (value.target, value.seq) == (winner, 2)
    assert [decode_ref_value(entry).seq for entry in remotes[0].ref_log("heads/main")] == [0, 1]
