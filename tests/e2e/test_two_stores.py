"""Commands at a server that keeps two stores as one, whose second one is away for a while."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mediavault_backends.errors import TransientError
from mediavault_backends.memory import MemoryBackend
from tests.bad_input import IMPATIENT, refused, with_remote
from tests.contract.pairs import Cable, contents, cut, mend, pair_of
from tests.film import Film
from tests.hostile.served import served


@dataclass(frozen=True)
class Pair:
    """A server over two stores, each of which has everything before a push succeeds."""

    url: str
    first: MemoryBackend
    second: Cable

    def cut_at_refs(self) -> None:
        """Let the second store go away when a ref is put there."""

        def cut_off(method: str, key: str) -> None:
            if method == "put" and "/refs/" in key and "/logs/" not in key:
                cut(self.second)
                raise TransientError("cut off", key=key)

        self.second.before = cut_off

    def mend(self) -> None:
        """Let it come back."""
        self.second.before = lambda *_: None
        mend(self.second)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Start the server; nothing is copied later there."""
    first, second = MemoryBackend(), Cable(MemoryBackend())
    storage = pair_of(tmp_path / "journal", first, second, mode="mirror")
    with served(storage) as server:
        yield Pair(server.url, first, second)
    storage.close()


@pytest.mark.parametrize("command", ["push", "mirror"])
def test_what_only_one_store_has_is_never_said_to_be_there(
    plain: Film, pair: Pair, tmp_path: Path, command: str
) -> None:
    with_remote(plain.root, pair.url)
    words = ["push"]
    plain("push")
    if command == "mirror":
        plain("remote", "add", "nas", f"file://{tmp_path / 'nas'}")
        plain("push", "nas")
        words = ["mirror", "nas", "origin"]
    plain.write("more.mov", b"more")
    plain("add", ".")
    plain("commit", "-m", "More")
    if command == "mirror":
        plain("push", "nas")
    pair.cut_at_refs()
    for _ in range(3):
        refused(plain, *words, exit_code=4, env=IMPATIENT)
    assert contents(pair.first) != contents(pair.second.inner)
    pair.mend()
    plain(*words)
    assert contents(pair.first) == contents(pair.second.inner)


def test_a_push_of_nothing_does_not_wait_for_a_store_that_has_everything(plain: Film, pair: Pair) -> None:
    with_remote(plain.root, pair.url)
    plain("push")
    cut(pair.second)
    assert "already" in plain("push", env=IMPATIENT)
    plain("tag", "v1")
    refused(plain, "push", "origin", "v1", exit_code=4, env=IMPATIENT)
