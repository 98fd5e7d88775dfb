"""Refs in a database beside a bucket that ignores conditions: what is kept where, what is read back, and who belongs to whom."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mediavault_backends.api import Absent, Body, Condition, Matches, Version, signing_of
from mediavault_backends.errors import BackendSetupError, NotFoundError, OutcomeUnknownError, PreconditionFailedError
from mediavault_backends.keys import SERVER_MARK
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.probe import check_conditions
from mediavault_backends.registry import open_backend
from mediavault_backends.split import BINDING, SplitBackend, in_bucket
from mediavault_backends.sql import SqlBackend
from tests.careless import CarelessBackend

PACK = f"studio/film/packs/ab/{'ab' * 32}"
INDEX = f"studio/film/index/{'cd' * 32}"
LOG = "studio/film/logs/refs/heads%2Fmain/3-0123456789abcdef"
REF = "studio/film/refs/heads%2Fmain"


@pytest.fixture
def bucket() -> CarelessBackend:
    return CarelessBackend()


@pytest.fixture
def database(tmp_path: Path) -> SqlBackend:
    return SqlBackend(f"sqlite:///{tmp_path}/refs.db")


@pytest.fixture
def split(bucket: CarelessBackend, database: SqlBackend) -> SplitBackend:
    return SplitBackend(bucket, database)


def keys(store: MemoryBackend | SqlBackend | SplitBackend) -> list[str]:
    return [stat.key for stat in store.scan()]


@pytest.mark.parametrize(
    ("key", "bucket"),
    [
        (PACK, True),
        (INDEX, True),
        (LOG, True),
        (SERVER_MARK, True),
        (PACK.removeprefix("studio/film/"), True),
        (REF, False),
        ("studio/film/config", False),
        ("studio/film/keys/recovery", False),
        ("config", False),
        ("index/film/config", False),
        ("packs/ab/config", False),
        (f"studio/film/quarantine/{'0' * 32}/0-{'ab' * 32}", False),
        ("studio/film/condemned/1", False),
        ("studio/film/anything/new", False),
    ],
)
def test_what_names_its_content_is_in_the_bucket_and_all_else_in_the_database(key: str, bucket: bool) -> None:
    assert in_bucket(key) is bucket


def test_each_object_is_in_one_place(split: SplitBackend, bucket: CarelessBackend, database: SqlBackend) -> None:
    for key in (REF, PACK, LOG, "studio/film/config", INDEX):
        split.put(key, key.encode(), when=Absent())
    assert keys(bucket) == sorted([PACK, INDEX, LOG])
    assert keys(database) == sorted([REF, "studio/film/config"])
    assert keys(split) == sorted([PACK, INDEX, LOG, REF, "studio/film/config"])
    assert all(split.get(key).data == key.encode() for key in keys(split))
    split.delete(PACK)
    split.delete(REF)
    assert {PACK, REF}.isdisjoint(keys(split))


def test_a_pack_that_is_there_is_not_written_again(split: SplitBackend, bucket: CarelessBackend) -> None:
    version = split.put(PACK, b"pack", when=Absent())
    with pytest.raises(PreconditionFailedError):
        split.put(PACK, b"pack", when=Absent())
    assert bucket.get(PACK).version == version


class _Forgetful(CarelessBackend):
    """Keeps something else than it was given."""

    def __init__(self, keep: Callable[[bytes], bytes | None]) -> None:
        super().__init__()
        self._keep = keep

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        kept = self._keep(bytes(body) if isinstance(body, bytes) else b"".join(map(bytes, body.blocks())))  # type: ignore[union-attr]
        return Version("none") if kept is None else super().put(key, kept, when=when)


@pytest.mark.parametrize("size", [4, (1 << 20) + 1], ids=["small", "large"])
@pytest.mark.parametrize("keep", [lambda data: data[:-1], lambda _: None], ids=["cut", "lost"])
def test_what_is_not_read_back_is_not_called_stored(
    database: SqlBackend, size: int, keep: Callable[[bytes], bytes | None]
) -> None:
    split = SplitBackend(_Forgetful(keep), database)
    with pytest.raises(OutcomeUnknownError) as caught:
        split.put(PACK, bytes(size), when=Absent())
    assert caught.value.key == PACK


def test_a_flipped_byte_of_a_small_object_is_found(database: SqlBackend) -> None:
    split = SplitBackend(_Forgetful(lambda data: bytes([data[0] ^ 1]) + data[1:]), database)
    with pytest.raises(OutcomeUnknownError):
        split.put(INDEX, b"index", when=Absent())


def test_the_bucket_alone_is_refused_and_the_way_out_is_named(bucket: CarelessBackend, split: SplitBackend) -> None:
    with pytest.raises(BackendSetupError, match='refs = "sql"'):
        check_conditions(bucket)
    split.make_ready()
    split.make_ready()
    assert keys(split) == []


def test_a_bucket_that_forgets_is_refused_all_the_same(database: SqlBackend) -> None:
    for keep in (lambda data: data[:-1], lambda _: None):
        split = SplitBackend(_Forgetful(keep), database)
        with pytest.raises((BackendSetupError, NotFoundError)):
            split.make_ready()
    assert keys(database) == []


def test_a_database_that_ignores_conditions_is_refused(bucket: CarelessBackend) -> None:
    with pytest.raises(BackendSetupError, match="If-None-Match"):
        SplitBackend(bucket, CarelessBackend()).make_ready()


def test_another_database_is_refused(split: SplitBackend, bucket: CarelessBackend, tmp_path: Path) -> None:
    split.make_ready()
    with pytest.raises(BackendSetupError, match="keeps its refs in another database"):
        SplitBackend(bucket, SqlBackend(f"sqlite:///{tmp_path}/other.db")).make_ready()
    other = SplitBackend(CarelessBackend(), SqlBackend(f"sqlite:///{tmp_path}/third.db"))
    other.make_ready()
    with pytest.raises(BackendSetupError, match="belongs to another store"):
        SplitBackend(bucket, other.database).make_ready()


def test_a_bucket_that_was_emptied_is_refused(split: SplitBackend, database: SqlBackend) -> None:
    split.make_ready()
    split.put(REF, b"value", when=Absent())
    with pytest.raises(BackendSetupError, match="emptied"):
        SplitBackend(CarelessBackend(), database).make_ready()


def test_a_process_that_died_while_it_bound_them_is_no_obstacle(database: SqlBackend, bucket: CarelessBackend) -> None:
    database.put(BINDING, b"0" * 32, when=Absent())
    SplitBackend(bucket, database).make_ready()
    assert bucket.stat(f"{BINDING}/{'0' * 32}").size == 0


def test_a_bucket_with_refs_of_its_own_is_refused(bucket: CarelessBackend, split: SplitBackend) -> None:
    bucket.put(REF, b"value", when=Absent())
    with pytest.raises(BackendSetupError, match=r"holds refs itself.*storage copy"):
        split.make_ready()


def test_the_mark_is_there_only_while_both_stores_are(
    split: SplitBackend, bucket: CarelessBackend, database: SqlBackend
) -> None:
    split.make_ready()
    split.put(SERVER_MARK, b"1", when=Absent())
    assert split.stat(SERVER_MARK).size == 1
    (bound,) = [key for key in keys(bucket) if key.startswith(BINDING)]
    bucket.delete(bound)
    with pytest.raises(NotFoundError):
        split.stat(SERVER_MARK)
    bucket.put(bound, b"", when=Absent())
    database.delete(BINDING)
    with pytest.raises(NotFoundError):
        split.stat(SERVER_MARK)


def test_nobody_gets_a_signed_request_for_what_changes(split: SplitBackend) -> None:
    assert signing_of(split, REF) is None
    assert split.below(PACK) == (split.bucket, PACK)
    assert split.below(REF) == (split.database, REF)


def test_a_replaced_object_in_the_bucket_keeps_its_condition(database: SqlBackend) -> None:
    split = SplitBackend(MemoryBackend(), database)
    version = split.put(PACK, b"1", when=Absent())
    split.put(PACK, b"2", when=Matches(version))
    with pytest.raises(PreconditionFailedError):
        split.put(PACK, b"3", when=Matches(version))


def table(tmp_path: Path, **changes: object) -> Mapping[str, object]:
    return {
        "backend": "local",
        "local": {"path": str(tmp_path / "store")},
        "refs": "sql",
        "sql": {"url": f"sqlite:///{tmp_path}/refs.db"},
        **changes,
    }


def test_the_table_of_the_settings(tmp_path: Path) -> None:
    store = open_backend(table(tmp_path), create=True)
    assert isinstance(store, SplitBackend)
    store.put(REF, b"1", when=Absent())
    store.put(PACK, b"2", when=Absent())
    assert keys(SqlBackend(f"sqlite:///{tmp_path}/refs.db")) == [REF]
    assert (tmp_path / "store" / PACK).exists()
    pair = {"path": str(tmp_path / "pair")}
    for changes, words in (
        ({"refs": "sqll"}, '"store" or "sql"'),
        ({"sql": {}}, "storage.sql.url is missing"),
        ({"backend": "multi"}, "not for a pair"),
    ):
        with pytest.raises(BackendSetupError, match=words):
            open_backend(
                table(tmp_path, **{"multi": {"primary": "local", "secondary": "memory", "local": pair}, **changes}),
                create=True,
            )


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mediavault_backends.sql")
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(BackendSetupError, match=r"\(sqlalchemy\): pip install 'mediavault\[sql\]'"):
        open_backend(table(tmp_path), create=True)
