"""Push and fetch, over real HTTP and straight to a store: what arrives was sent, only what is missing is sent, refs move last."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mediavault.errors import DivergedError, IntegrityError, NeedsDecisionError, NotFoundError, RefMovedError
from mediavault.formats.ref import decode_ref_value
from mediavault.refs.signing import KeyedSigner
from mediavault.sync import fetch
from mediavault.sync.direct import DirectRemote
from mediavault.sync.push import RefUpdate, plan_push
from mediavault.sync.remote import Remote
from mediavault.sync.survey import check_same_repository
from mediavault.wire.client import HttpRemote
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from tests.integration.conftest import Server
from tests.integration.studio import Studio, noise

Start = Callable[..., Server]
Connect = Callable[..., HttpRemote]
MIB = 1 << 20


@pytest.fixture
def ann(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "ann")


@pytest.fixture
def ben(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "ben")


@pytest.fixture(params=["server", "folder", "bucket"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    """The other side: a server, a shared folder, or a store that adopts no files."""
    if request.param == "server":
        start, connect = request.getfixturevalue("start_server"), request.getfixturevalue("connect")
        opened: Remote = connect(start().url)
        return opened
    if request.param == "folder":
        return DirectRemote(
            "file:///film",
            lambda create: (
                LocalBackend(tmp_path / "film", create=create) if create or (tmp_path / "film").is_dir() else None
            ),
            tmp_path / "scratch",
        )
    bucket = MemoryBackend()
    return DirectRemote("s3://film", lambda create: bucket, tmp_path / "scratch")  # noqa: ARG005 -- it is there


@pytest.mark.parametrize("secret", [b"s" * 32, None], ids=["encrypted", "plain"])
def test_what_was_pushed_is_fetched(tmp_path: Path, remote: Remote, secret: bytes | None) -> None:
    ann, ben = Studio(tmp_path / "ann", secret=secret), Studio(tmp_path / "ben", secret=secret)
    files = {"film.mov": noise(3 * MIB, 1), "note.txt": b"scene one\n" * 900, "empty": b"", "small": b"x"}
    commit = ann.commit(files)
    sent = ann.push(remote, commit)
    assert sent.moves[0].new == commit
    assert sent.chunks == 26
    received = ben.fetch(remote)
    assert received.objects == sent.objects
    assert ben.files(commit.id) == files


def test_second_push_sends_only_what_is_new(ann: Studio, remote: Remote) -> None:
    film = noise(4 * MIB, 1)
    first = ann.commit({"a.mov": film, "b.mov": noise(2 * MIB, 2)})
    ann.push(remote, first)
    edited = film[: 2 * MIB] + noise(131072, 3) + film[2 * MIB + 131072 :]
    second = ann.commit({"a.mov": edited, "b.mov": noise(2 * MIB, 2)}, [first.id])
    report = ann.push(remote, second)
    assert report.chunks == 1
    assert report.bytes_sent < 1.1 * 131072 + 8192


def test_second_fetch_brings_only_what_is_new(ann: Studio, ben: Studio, remote: Remote) -> None:
    film = noise(4 * MIB, 1)
    first = ann.commit({"a.mov": film})
    ann.push(remote, first)
    ben.fetch(remote)
    second = ann.commit({"a.mov": film + noise(100_000, 4)}, [first.id])
    ann.push(remote, second)
    report = ben.fetch(remote, [first.id])
    assert report.bytes_received < 200_000
    assert ben.files(second.id) == {"a.mov": film + noise(100_000, 4)}


def test_chunks_are_received_in_slices(
    ann: Studio, ben: Studio, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "CHUNKS_AT_ONCE", 5)
    files = {"film.mov": noise(3 * MIB, 1), "small": b"x"}
    commit = ann.commit(files)
    sent = ann.push(remote, commit)
    received = ben.fetch(remote)
    assert received.chunks == sent.chunks > 10
    assert ben.files(commit.id) == files


def test_nothing_new_transfers_nothing(ann: Studio, ben: Studio, remote: Remote) -> None:
    commit = ann.commit({"a": noise(MIB, 1)})
    ann.push(remote, commit)
    again = ann.push(remote, commit)
    assert (again.packs, again.moves, again.unchanged) == (0, [], ["heads/main"])
    ben.fetch(remote)
    assert ben.fetch(remote).objects == 0


def test_many_commits_and_more_metadata_than_one_answer(
    ann: Studio, ben: Studio, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = ann.commit({"n": b"0"})
    for number in range(1, 40):
        commit = ann.commit({"n": str(number).encode(), f"file-{number}": noise(1000, number)}, [commit.id])
    ann.push(remote, commit)
    # The client follows links in small steps, as it must where an answer cannot hold everything.
    monkeypatch.setattr("mediavault.sync.fetch.ASKED_AT_ONCE", 1)
    ben.fetch(remote)
    assert ben.files(commit.id) == {"n": b"39", "file-39": noise(1000, 39)}
    assert ben.frames.missing([ann.reader.commit(commit.id).parents[0]]) == []


def test_push_that_would_lose_commits_is_refused_unless_forced(ann: Studio, ben: Studio, remote: Remote) -> None:
    base = ann.commit({"a": b"1"})
    ann.push(remote, base)
    ben.fetch(remote)
    theirs = ann.commit({"a": b"2"}, [base.id])
    ann.push(remote, theirs)
    mine = ben.commit({"a": b"3"}, [base.id])
    with pytest.raises(DivergedError, match="lose"):
        ben.push(remote, mine)
    assert ben.push(remote, mine, force=True).moves[0].forced
    with pytest.raises(DivergedError):
        ann.push(remote, ann.commit({"a": b"4"}, [theirs.id]))


def test_server_refuses_what_a_client_should_have_refused(ann: Studio, remote: Remote) -> None:
    base = ann.commit({"a": b"1"})
    ann.push(remote, base)
    other = ann.commit({"a": b"2"})
    ann.push(remote, other, "heads/other")
    value, etag = ann.ref_value(remote, "heads/main", other)
    with pytest.raises(DivergedError, match="lacks"):
        remote.put_ref(value, etag)
    remote.put_ref(value, etag, force=True)


def test_lease_is_held_against_what_is_there(ann: Studio, remote: Remote) -> None:
    base = ann.commit({"a": b"1"})
    ann.push(remote, base)
    update = RefUpdate("heads/main", ann.commit({"a": b"2"}), force=True, expected=None)
    with pytest.raises(RefMovedError):
        plan_push(ann.frames, remote, [update], repository=ann.repository, signer=ann.signer, observed=ann.observed)


def test_tags_travel_and_do_not_move(ann: Studio, ben: Studio, remote: Remote) -> None:
    commit = ann.commit({"a": b"1"})
    tag = ann.tag(commit, "v1")
    ann.push(remote, tag, "tags/v1")
    ben.fetch(remote)
    assert ben.reader.tag(tag.id).target == commit
    assert ben.files(commit.id) == {"a": b"1"}
    with pytest.raises(DivergedError):
        ann.push(remote, ann.commit({"a": b"2"}, [commit.id]), "tags/v1")


def test_deleted_ref_is_nil_and_may_come_back(ann: Studio, ben: Studio, remote: Remote) -> None:
    commit = ann.commit({"a": b"1"})
    ann.push(remote, commit)
    ann.push(remote, None)
    assert ann.observed["heads/main"].seq == 2
    with pytest.raises(NotFoundError):
        ann.push(remote, None)
    assert ben.fetch(remote).objects == 0
    ann.push(remote, commit)
    ben.fetch(remote)
    assert ben.files(commit.id) == {"a": b"1"}
    assert [decode_ref_value(value).seq for value in remote.ref_log("heads/main")] == [0, 1, 2]


def test_ref_names_with_slashes_case_and_accents_stay_apart(ann: Studio, ben: Studio, remote: Remote) -> None:
    names = ["heads/a", "heads/a-b/c", "heads/Main", "heads/main", "heads/Zürich 100%".replace(" ", "-")]
    commits = {name: ann.commit({"name": name.encode()}) for name in names}
    for name, commit in commits.items():
        ann.push(remote, commit, name)
    ben.fetch(remote)
    assert {name: ref.value_bytes for name, ref in remote.refs().items()}.keys() == set(names)
    for name, commit in commits.items():
        assert ben.files(commit.id) == {"name": name.encode()}


def test_another_repository_is_never_mixed_in(ann: Studio, tmp_path: Path, remote: Remote) -> None:
    ann.push(remote, ann.commit({"a": b"1"}))
    stranger = Studio(tmp_path / "stranger", repository=b"other-repository", secret=b"t" * 32)
    with pytest.raises(NeedsDecisionError, match=ann.repository.hex()):
        stranger.push(remote, stranger.commit({"a": b"1"}))
    with pytest.raises(NeedsDecisionError, match=stranger.repository.hex()):
        remote.create(stranger.config, {})
    with pytest.raises(IntegrityError):
        check_same_repository(remote, stranger.config)
    check_same_repository(remote, ann.config)


def test_restored_backup_of_the_server_is_an_alarm(
    ann: Studio, storage: Path, tmp_path: Path, start_server: Start, connect: Connect
) -> None:
    server = start_server()
    remote = connect(server.url)
    first = ann.commit({"a": b"1"})
    ann.push(remote, first)
    shutil.copytree(storage, tmp_path / "backup")
    ann.push(remote, ann.commit({"a": b"2"}, [first.id]))
    server.stop()
    shutil.rmtree(storage)
    shutil.copytree(tmp_path / "backup", storage)
    restored = connect(start_server().url)
    with pytest.raises(IntegrityError, match="went back"):
        ann.fetch(restored)
    ann.observed.clear()
    ann.fetch(restored)


def test_values_signed_with_another_key_are_refused(ann: Studio, ben: Studio, remote: Remote) -> None:
    ann.signer = KeyedSigner({0: b"f" * 32})
    commit = ann.commit({"a": b"1"})
    ann.push(remote, commit)
    with pytest.raises(IntegrityError, match="not written by anyone"):
        ben.fetch(remote)
    assert ben.frames.missing([commit.id])


def test_default_repository_answers_at_the_root(ann: Studio, start_server: Start, connect: Connect) -> None:
    server = start_server(env={"MEDIAGIT_SERVER__DEFAULT_REPOSITORY": "studio/film"})
    commit = ann.commit({"a": b"1"})
    ann.push(connect(server.url, project=""), commit)
    assert connect(server.url).refs().keys() == {"heads/main"}
