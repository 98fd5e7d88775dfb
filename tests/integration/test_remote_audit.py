"""Checking a remote: what is damaged or gone on the server is named; a sound remote has nothing to tell."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mediavault.errors import IntegrityError
from mediavault.model.ids import Kind, Link
from mediavault.store.keys import pack_key
from mediavault.sync.audit import Audit, audit
from mediavault.wire.client import HttpRemote
from tests.integration.conftest import Server
from tests.integration.meddler import Exchange, Meddler
from tests.integration.studio import Studio, noise

Start = Callable[..., Server]
Connect = Callable[..., HttpRemote]
FILES = {"a.mov": noise(900_000, 1), "b.txt": b"words " * 2000}


@pytest.fixture
def ann(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "ann")


@pytest.fixture
def server(start_server: Start) -> Server:
    return start_server()


@pytest.fixture
def remote(server: Server, connect: Connect) -> HttpRemote:
    return connect(server.url)


@pytest.fixture
def commit(ann: Studio, remote: HttpRemote) -> Link:
    first = ann.commit({"a.mov": noise(900_000, 1)})
    second = ann.commit(FILES, [first.id])
    ann.push(remote, second)
    return second


def check(studio: Studio, remote: HttpRemote, *, quick: bool = False) -> Audit:
    return audit(
        remote,
        studio.codec,
        repository=studio.repository,
        signer=studio.signer,
        observed=studio.observed,
        quick=quick,
    )


def flip(server: Server, remote: HttpRemote, oid: bytes, *, at: float = 0.5) -> tuple[bytes, int]:
    """Change one byte of an object where the server keeps it."""
    (row,) = remote.locate([oid])
    path = server.storage / "studio" / "film" / pack_key(row.pack)
    data = bytearray(path.read_bytes())
    data[row.offset + int(row.length * at)] ^= 2
    path.write_bytes(data)
    return row.pack, row.offset


@pytest.mark.parametrize("quick", [False, True])
def test_sound_remote(ann: Studio, remote: HttpRemote, commit: Link, *, quick: bool) -> None:
    assert commit
    found = check(ann, remote, quick=quick)
    assert list(found) == []
    chunks = 8
    assert found.objects == chunks + 5  # two commits, two trees, one manifest
    assert (found.bytes > 900_000) is not quick
    assert found.observed.keys() == {"heads/main"}
    assert found.requests < 12 + 2 * 3  # the three packs' tables


def test_long_history_takes_few_requests(ann: Studio, remote: HttpRemote) -> None:
    commit = ann.commit({"n": b"0"})
    for number in range(1, 60):
        commit = ann.commit({"n": str(number).encode()}, [commit.id])
    ann.push(remote, commit)
    found = check(ann, remote, quick=True)
    assert list(found) == []
    assert found.requests < 20 + 2 * 3


@pytest.mark.parametrize("at", [0, 0.5], ids=["version", "content"])
def test_damaged_chunk_is_named(ann: Studio, server: Server, remote: HttpRemote, commit: Link, at: float) -> None:
    oid = ann.codec.name_chunk(FILES["a.mov"][131072 : 2 * 131072])
    pack, offset = flip(server, remote, oid, at=at)
    (damage,) = check(ann, remote)
    assert commit
    assert (damage.object, damage.pack, damage.offset) == (oid, pack, offset)
    assert list(check(ann, remote, quick=True)) == []


def test_damaged_tree_is_named_and_the_rest_is_checked(
    ann: Studio, server: Server, remote: HttpRemote, commit: Link
) -> None:
    tree = ann.reader.commit(commit.id).tree
    flip(server, remote, tree)
    found = check(ann, remote)
    assert [damage.object for damage in found] == [tree]
    assert found.objects > 8


def test_missing_pack_is_named_with_all_that_was_in_it(
    ann: Studio, server: Server, remote: HttpRemote, commit: Link
) -> None:
    chunk = ann.codec.name_chunk(FILES["b.txt"])
    (row,) = remote.locate([chunk])
    (server.storage / "studio" / "film" / pack_key(row.pack)).unlink()
    found = list(check(ann, remote))
    assert commit
    assert chunk in {damage.object for damage in found}
    assert all("missing" in damage.reason for damage in found)


@pytest.mark.parametrize("keep", [0, 3], ids=["nothing", "three"])
def test_cut_pack_is_damage_where_it_is_cut(
    ann: Studio, server: Server, remote: HttpRemote, commit: Link, keep: int
) -> None:
    assert commit
    chunks = {ann.codec.name_chunk(FILES["a.mov"][at : at + 131072]) for at in range(0, 900_000, 131072)}
    rows = sorted(remote.locate(chunks), key=lambda row: row.offset)
    cut = rows[keep].offset if keep else 0
    with (server.storage / "studio" / "film" / pack_key(rows[0].pack)).open("r+b") as file:
        file.truncate(cut)
    found = list(check(ann, remote))
    assert {damage.object for damage in found} & chunks == {row.id for row in rows if row.offset >= cut}
    assert {damage.pack for damage in found} == {rows[0].pack}


@pytest.mark.parametrize("what", ["nonce", "table", "footer"])
def test_pack_whose_name_does_not_hold_is_named(
    ann: Studio, server: Server, remote: HttpRemote, commit: Link, what: str
) -> None:
    assert commit
    (row,) = remote.locate([ann.codec.name_chunk(FILES["b.txt"])])
    path = server.storage / "studio" / "film" / pack_key(row.pack)
    data = bytearray(path.read_bytes())
    data[{"nonce": 10, "table": len(data) - 60, "footer": len(data) - 20}[what]] ^= 4
    path.write_bytes(data)
    (damage,) = check(ann, remote)
    assert (damage.object, damage.pack) == (None, row.pack)
    assert "table" in damage.reason


def test_pack_made_of_other_frames_than_its_table_says_is_damage(
    ann: Studio, server: Server, remote: HttpRemote, commit: Link
) -> None:
    assert commit
    oid = ann.codec.name_chunk(FILES["b.txt"])
    (row,) = remote.locate([oid])
    path = server.storage / "studio" / "film" / pack_key(row.pack)
    data = bytearray(path.read_bytes())
    other = ann.codec.encode_chunk(oid, FILES["b.txt"])  # the same chunk, sealed anew: as good, and not what was sent
    assert len(other) == row.length
    data[row.offset : row.offset + row.length] = other
    path.write_bytes(data)
    (damage,) = check(ann, remote)
    assert (damage.object, damage.pack, damage.offset) == (oid, row.pack, row.offset)


@pytest.mark.parametrize("quick", [False, True])
def test_what_the_server_no_longer_knows_is_damage(
    ann: Studio, server: Server, connect: Connect, commit: Link, *, quick: bool
) -> None:
    assert commit
    chunk = ann.codec.name_chunk(FILES["b.txt"])

    def forget(exchange: Exchange) -> Exchange:
        if exchange.path.endswith("/chunks/locate"):
            rows = [exchange.body[at : at + 76] for at in range(0, len(exchange.body), 76)]
            return Exchange(**{**vars(exchange), "body": b"".join(row for row in rows if row[:32] != chunk)})
        if exchange.path.endswith("/chunks/check"):
            return Exchange(**{**vars(exchange), "body": chunk})
        return exchange

    with Meddler(server.url, forget) as meddler:
        (damage,) = check(ann, connect(meddler.address), quick=quick)
    assert damage.object == chunk


def test_refs_without_authenticity_end_it(remote: HttpRemote, commit: Link, tmp_path: Path) -> None:
    assert commit.kind is Kind.COMMIT
    forger = Studio(tmp_path / "forger", secret=b"f" * 32)
    with pytest.raises(IntegrityError):
        list(check(forger, remote))
