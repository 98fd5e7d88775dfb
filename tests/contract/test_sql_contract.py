"""The Backend protocol, clause by clause, over a database, and over a bucket that ignores conditions beside one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mediavault_backends.api import Backend
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.prefix import prefixed
from mediavault_backends.split import SplitBackend
from mediavault_backends.sql import SqlBackend
from tests.careless import CarelessBackend
from tests.contract.clauses import Clauses


def database(folder: Path) -> SqlBackend:
    return SqlBackend(f"sqlite:///{folder}/refs.db", page_size=3)


MAKERS: dict[str, Callable[[Path], Backend]] = {
    "sqlite": database,
    "split": lambda folder: SplitBackend(CarelessBackend(), database(folder)),
    "split-memory": lambda _: SplitBackend(CarelessBackend(), MemoryBackend()),
    "prefixed-split": lambda folder: prefixed(SplitBackend(CarelessBackend(), database(folder)), "team/project/"),
}


@pytest.fixture(params=list(MAKERS))
def backend(request: pytest.FixtureRequest, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Backend:
    del tmp_path  # of the clauses, which count the files in it
    return MAKERS[request.param](tmp_path_factory.mktemp("database"))


class TestSqlContract(Clauses):
    pass
