"""The Backend protocol over two stores; whatever was done, both hold the same in the end."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from mediavault_backends.api import Absent, Backend, Mappable, Replicating, Spooling
from mediavault_backends.kinds import is_immutable
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.multi import Mode, multi
from tests.contract.clauses import LARGE, Clauses, FolderClauses
from tests.contract.pairs import PACK, contents, journal_of, pair_of

KINDS = [f"{mode}-{primary}" for mode in get_args(Mode) for primary in ("local", "memory")]


@pytest.fixture(params=KINDS)
def backend(
    request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Backend]:
    mode: Mode = "mirror" if request.param.startswith("mirror") else "async"
    primary: Backend = (
        LocalBackend(tmp_path / "store", create=True) if request.param.endswith("local") else MemoryBackend()
    )
    secondary = MemoryBackend()
    folder = tmp_path_factory.mktemp("journal")  # the clauses count the files under tmp_path
    pair = multi(primary, secondary, journal_of(folder, primary, secondary), mode=mode, read="nearest")
    yield pair
    pair.close()
    if mode == "mirror":
        assert contents(secondary) == contents(primary)
    later = pair_of(folder, primary, secondary, mode=mode)
    assert later.catch_up()
    assert contents(secondary) == contents(primary)
    assert later.lag().pending == 0


class TestMultiContract(Clauses, FolderClauses):
    pass


def test_it_has_what_its_primary_has(backend: Backend) -> None:
    assert isinstance(backend, Replicating)
    of_files = "folder" in backend.name
    assert isinstance(backend, Spooling) == of_files
    assert isinstance(backend, Mappable) == of_files
    if isinstance(backend, Mappable):
        backend.put(PACK, LARGE, when=Absent())
        assert is_immutable(PACK)
        assert backend.map(PACK) == LARGE
        backend.delete(PACK)
