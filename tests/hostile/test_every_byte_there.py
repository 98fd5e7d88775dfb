"""Each byte of the server's storage, and of all that goes over the wire, is changed: a client takes nothing wrong for right.

The server is the real application on a real socket; the client fetches everything, unlocks each key slot, and reads it
all. The tests marked `deep` visit every position, the others a share. `pytest -m deep -rP tests/hostile` has the figures.
"""

import logging
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from mediavault.errors import MediaVaultError, RemoteError
from mediavault.ops.repository import Repository
from mediavault.wire.client import HttpRemote
from mediavault.wire.http import Patience
from mediavault_backends.local import LocalBackend
from tests.bad_input import IMPATIENT, PROJECT
from tests.film import Film
from tests.hostile.newcomer import Newcomer, Received
from tests.hostile.parrot import Parrot
from tests.hostile.reading import open_project
from tests.hostile.served import Served, served
from tests.hostile.sweep import TYPED, Record, Tally, flips, flips_on_disk, judge, names_in, places_in, tell
from tests.hostile.tiny import Tiny, blobs_of
from tests.snapshot import snapshot

pytestmark = pytest.mark.usefixtures("remembered_argon2")

IMPATIENTLY = Patience(connect_timeout=5.0, stall_timeout=5.0, retries=0, connections=1)
ON_THE_WIRE = (*TYPED, RemoteError)
DEEP = pytest.param(1, marks=[pytest.mark.deep, pytest.mark.timeout(3600)])


@pytest.fixture(autouse=True)
def quiet_server() -> Iterator[None]:
    """Keep the server from logging thousands of tracebacks."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def server(tiny: Tiny) -> Iterator[Served]:
    with served(LocalBackend(tiny.storage)) as running:
        yield running


def receive(repository: Repository, url: str) -> Received:
    """Read a remote whole as a newcomer; check that nothing was stored that is not verified."""
    newcomer = Newcomer(repository)
    with closing(HttpRemote(url + PROJECT, patience=IMPATIENTLY)) as remote:
        try:
            return newcomer.receive(remote)
        finally:
            newcomer.check_clean()


def audited(repository: Repository, url: str) -> bool:
    """Whether `verify --remote` finds something."""
    with closing(HttpRemote(url + PROJECT, patience=IMPATIENTLY)) as remote:
        try:
            return Newcomer(repository).audit(remote) > 0
        except MediaVaultError:
            return True


@pytest.mark.parametrize("every", [127, DEEP])
def test_fetch_from_a_damaged_storage(tiny: Tiny, server: Served, every: int, record_property: Record) -> None:
    repository = open_project(tiny.project)
    read = partial(receive, repository, server.url)
    right = read()
    tally = Tally(f"server's storage, {tiny.kind}, fetch and read")
    for blob in blobs_of(tiny.hosted):
        names, place = names_in(tiny.hosted, blob), places_in(tiny.hosted, blob)
        for at in flips_on_disk(blob, tally, every):
            server.forget()
            judge(tally, read, right, what=place(at), names=names)
    assert not {"frames", "index", "logs", "config"} & tally.unseen.keys()
    server.forget()
    assert read() == right
    tell(tally, record_property)


@pytest.mark.parametrize("every", [61, DEEP])
def test_index_that_changes_under_a_running_server(
    tiny: Tiny, server: Served, every: int, record_property: Record
) -> None:
    """The server has mapped and checked it before."""
    repository = open_project(tiny.project)
    read = partial(receive, repository, server.url)
    right = read()
    tally = Tally(f"server's mapped indexes, {tiny.kind}, fetch and read")
    for blob in blobs_of(tiny.hosted / "index"):
        for _ in flips_on_disk(blob, tally, every):
            judge(tally, read, right, what="index", names=("bject ", "chunk ", "pack ", blob.name))
    tell(tally, record_property)


@pytest.mark.parametrize("every", [127, DEEP])
def test_audit_of_a_damaged_storage(tiny: Tiny, server: Served, every: int, record_property: Record) -> None:
    """`verify --remote` finds every changed byte of a frame, whatever the server says of it."""
    repository = open_project(tiny.project)
    tally = Tally(f"server's storage, {tiny.kind}, verify --remote")
    for blob in blobs_of(tiny.hosted / "packs"):
        place = places_in(tiny.hosted, blob)
        for at in flips_on_disk(blob, tally, every):
            server.forget()
            if audited(repository, server.url):
                tally.refused += 1
            else:
                assert place(at) != "frames"
                tally.harmless(place(at))
    server.forget()
    assert not audited(repository, server.url)
    tell(tally, record_property)


@pytest.mark.parametrize("every", [61, DEEP])
def test_every_byte_on_the_wire(tiny: Tiny, server: Served, every: int, record_property: Record) -> None:
    """Heads and bodies of all answers."""
    repository = open_project(tiny.project)
    tally = Tally(f"wire, {tiny.kind}, fetch and read")
    with Parrot(server.url) as parrot:
        read = partial(receive, repository, parrot.address)
        right = read()
        assert len(parrot.known) >= 8
        for request, answer in list(parrot.known.items()):
            call = request.split(b" ", 2)[1].decode().removeprefix(PROJECT).split("/")[1]
            body_at = answer.index(b"\r\n\r\n") + 4
            for at, changed in flips(answer, tally, every):
                parrot.lie = (request, changed)
                what = f"bodies of {call}" if at >= body_at else "heads"
                judge(tally, read, right, what=what, names=(parrot.address, *NAMES), typed=ON_THE_WIRE)
        parrot.lie = None
        assert read() == right
    assert not {"bodies of config", "bodies of packs"} & tally.unseen.keys()
    tell(tally, record_property)


NAMES = ("heads/", "tags/", "slot", "The passphrase is wrong", "The recovery code is wrong", "No slot")
"""What else an error may name: a ref, or a key slot."""


@pytest.mark.parametrize("every", [1999, pytest.param(101, marks=[pytest.mark.deep, pytest.mark.timeout(3600)])])
def test_clone_from_a_damaged_storage(
    tiny: Tiny, server: Served, every: int, tmp_path: Path, record_property: Record
) -> None:
    """The real command: the whole tree, or an error and no file at all."""
    tally = Tally(f"server's storage, {tiny.kind}, `clone`")
    film = Film(tmp_path)
    flags = () if tiny.encrypted else ("--no-encryption",)
    for number, blob in enumerate(blobs_of(tiny.hosted)):
        place = places_in(tiny.hosted, blob)
        for at in flips_on_disk(blob, tally, every):
            server.forget()
            copy = tmp_path / f"copy-{number}-{tally.flips}"
            code = film.attempt("clone", *flags, server.url + PROJECT, copy, env=IMPATIENT)
            tree = snapshot(copy) if copy.exists() else {}
            if code:
                assert code in {1, 5, 6} or (code == 2 and blob.name == "config"), film.errors
                assert "next: " in film.errors
                assert "should not have happened" not in film.errors
                assert tree == {}
                tally.refused += 1
            else:
                assert tree == tiny.trees["main"], f"byte {at} of {blob.name}"
                tally.harmless(place(at))
    server.forget()
    film("clone", *flags, server.url + PROJECT, tmp_path / "whole")
    assert snapshot(tmp_path / "whole") == tiny.trees["main"]
    tell(tally, record_property)
