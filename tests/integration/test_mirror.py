"""Mirrors of repositories: from any place to any other, stopped anywhere, damaged, diverged; never with a key."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from mediavault.errors import (
    DivergedError,
    IntegrityError,
    NeedsDecisionError,
    NotFoundError,
    RefMovedError,
    RepositoryBusyError,
    UsageError,
)
from mediavault.formats.ref import decode_ref_value
from mediavault.formats.slot import decode_slot, encode_slot
from mediavault.model.ids import Link, ObjectId
from mediavault.ops.mirror import MirrorPlan, MirrorReport, check_mirror, plan_mirror, run_mirror, workroom
from mediavault.progress import SILENT
from mediavault.refs.blobs import LOGS
from mediavault.store.keys import PACKS
from mediavault.store.pack_table import PackTable
from mediavault.sync.direct import DirectRemote
from mediavault.sync.remote import Remote
from mediavault.wire.client import HttpRemote, RemoteRef
from mediavault_backends.api import Absent, Backend, Body, Condition, Version
from mediavault_backends.fault import Fault, FaultBackend
from mediavault_backends.local import LocalBackend
from mediavault_backends.memory import MemoryBackend
from mediavault_backends.throttle import Throttle
from tests.integration.conftest import Server
from tests.integration.studio import Studio, noise
from tests.integration.test_direct_remotes import slot

Place = Callable[[str], Remote]
PACK = 1 << 18


@pytest.fixture
def ann(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "ann")


@pytest.fixture
def server(shared_server: Server, connect: Callable[..., HttpRemote], tmp_path: Path) -> Place:
    """Open projects on a server that no other test uses."""
    team = f"/t{abs(hash(tmp_path)):x}"
    return lambda name: connect(shared_server.url, f"{team}/{name}")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Place]:
    """Open repositories in folders, without a server."""
    opened = []

    def place(name: str) -> Remote:
        path = tmp_path / "nas" / name
        remote = DirectRemote(
            f"file://{path}",
            lambda create: LocalBackend(path, create=True) if create or path.is_dir() else None,
            tmp_path / "scratch",
        )
        opened.append(remote)
        return remote

    yield place
    for remote in opened:
        remote.close()


def store_at(name: str, store: Backend, scratch: Path) -> DirectRemote:
    return DirectRemote(f"s3://bucket/{name}", lambda _: store, scratch, probed=False)


@dataclass(frozen=True)
class Mirroring:
    """Mirrors with small packs; the folder is that of the runs."""

    folder: Path

    def plan(self, source: Remote, mirror: Remote, *, force: bool = False) -> MirrorPlan:
        with workroom(self.folder) as room:
            return plan_mirror(
                source, mirror, room, room.store("missing"), force=force, progress=SILENT, pack_size=PACK
            )

    def __call__(
        self, source: Remote, mirror: Remote, *, force: bool = False, pace: Callable[[int], object] | None = None
    ) -> tuple[MirrorPlan, MirrorReport]:
        with workroom(self.folder) as room:
            frames = room.store("missing")
            plan = plan_mirror(source, mirror, room, frames, force=force, progress=SILENT, pack_size=PACK)
            report = run_mirror(plan, source, mirror, frames, progress=SILENT, pace=pace, pack_size=PACK, connections=2)
            return plan, report

    def damage(self, source: Remote, mirror: Remote) -> list[str]:
        with workroom(self.folder) as room:
            check = check_mirror(source, mirror, room, room.store("source"), progress=SILENT, connections=2)
            assert check.objects
            assert not check.others
            return [found.reason for found in check.damage]


@pytest.fixture
def run(tmp_path: Path) -> Mirroring:
    return Mirroring(tmp_path / "runs")


@dataclass(frozen=True)
class History:
    """What `told` pushed."""

    main: Link
    files: dict[str, bytes]
    given_up: Link


def told(ann: Studio, source: Remote) -> History:
    """Push a history with all that refs can go through: moved, replaced by force, tagged, deleted, deleted and made again."""
    files = {"a.mov": noise(700_000, 1), "b.txt": b"b"}
    first = ann.commit(files)
    ann.push(source, first)
    given_up = ann.commit({**files, "c.mov": noise(150_000, 2)}, [first.id])
    ann.push(source, given_up)
    files = {**files, "d.mov": noise(400_000, 3)}
    main = ann.commit(files, [first.id])
    ann.push(source, main, force=True)
    ann.push(source, ann.tag(first, "v1"), "tags/v1")
    ann.push(source, first, "heads/gone")
    ann.push(source, None, "heads/gone", force=True)
    ann.push(source, first, "heads/again")
    ann.push(source, None, "heads/again", force=True)
    ann.push(source, main, "heads/again")
    return History(main, files, given_up)


def state(remote: Remote) -> dict[str, tuple[bytes, list[bytes]]]:
    """Return the values of all refs with their logs."""
    return {name: (ref.value_bytes, remote.ref_log(name)) for name, ref in remote.refs().items()}


def fetched(folder: Path, mirror: Remote, commit: Link) -> dict[str, bytes]:
    reader = Studio(folder)
    reader.fetch(mirror)
    return reader.files(commit.id)


@pytest.mark.parametrize("to", ["server", "folder"])
@pytest.mark.parametrize("of", ["server", "folder"])
def test_a_mirror_has_everything(ann: Studio, tmp_path: Path, request: pytest.FixtureRequest, of: str, to: str) -> None:
    run = Mirroring(tmp_path / "runs")
    source, mirror = request.getfixturevalue(of)("film"), request.getfixturevalue(to)("copy")
    history = told(ann, source)
    plan, report = run(source, mirror)
    assert plan.created
    assert {ref.name for ref in plan.refs} == {"heads/main", "heads/again", "heads/gone", "tags/v1"}
    assert (report.packs, report.bytes) == (plan.packs, plan.bytes)
    assert report.bytes > 1_200_000
    assert mirror.config() == source.config()
    assert state(mirror) == state(source)
    assert decode_ref_value(mirror.refs()["heads/gone"].value_bytes).target is None
    assert mirror.missing([history.given_up.id]) == []
    assert fetched(tmp_path / "ben", mirror, history.main) == history.files
    assert run.damage(source, mirror) == []

    plan, report = run(source, mirror)
    assert (plan.writes, report.packs, plan.objects) == (0, 0, 0)

    files = {**history.files, "e.mov": noise(300_000, 4)}
    second = ann.commit(files, [history.main.id])
    ann.push(source, second)
    plan, report = run(source, mirror)
    assert [ref.name for ref in plan.refs] == ["heads/main"]
    assert 300_000 < report.bytes < 340_000
    assert state(mirror) == state(source)
    assert fetched(tmp_path / "cat", mirror, second) == files


def test_a_plain_repository_is_mirrored_too(tmp_path: Path, run: Mirroring, folder: Place) -> None:
    ann = Studio(tmp_path / "plain", secret=None)
    files = {"a.mov": noise(300_000, 1), "b.txt": b"word " * 9999}
    commit = ann.commit(files)
    ann.push(folder("film"), commit)
    run(folder("film"), folder("copy"))
    assert run.damage(folder("film"), folder("copy")) == []
    ben = Studio(tmp_path / "ben", secret=None)
    ben.fetch(folder("copy"))
    assert ben.files(commit.id) == files


def test_only_what_is_missing_of_a_pack_goes(ann: Studio, run: Mirroring, folder: Place) -> None:
    """Chunks that the mirror has already, from elsewhere and in other packs, are left out of those that are read."""
    source, mirror = folder("film"), folder("copy")
    parts = [noise(128 << 10, number) for number in range(8)]
    ann.push(mirror, ann.commit({"a.mov": b"".join(parts[::2])}), "heads/other")
    ann.observed = {}
    ann.push(source, ann.commit({"a.mov": b"".join(parts)}), pack_size=1 << 20)
    plan, report = run(source, mirror)
    assert plan.chunks == 4
    assert plan.kept_refs == ["heads/other"]
    assert 4 * (128 << 10) < report.bytes < 5 * (128 << 10)
    assert run.damage(source, mirror) == []


def test_a_dry_run_changes_nothing_and_tells_the_truth(
    ann: Studio, tmp_path: Path, run: Mirroring, folder: Place
) -> None:
    told(ann, folder("film"))
    planned = run.plan(folder("film"), folder("copy"))
    assert not (tmp_path / "nas" / "copy").exists()
    _, report = run(folder("film"), folder("copy"))
    assert (planned.packs, planned.bytes) == (report.packs, report.bytes)
    assert planned.writes == planned.packs + sum(ref.moves for ref in planned.refs) + 1
    assert not list(run.folder.glob("*/*"))


def puts_of(ann: Studio, tmp_path: Path, run: Mirroring) -> tuple[MemoryBackend, History, int]:
    """Return a source, what it tells, and how many puts a whole mirroring takes."""
    source = MemoryBackend()
    history = told(ann, store_at("film", source, tmp_path / "scratch"))
    counted = FaultBackend(MemoryBackend())
    run(store_at("film", source, tmp_path / "scratch"), store_at("copy", counted, tmp_path / "scratch"))
    return source, history, sum(call.method == "put" for call in counted.calls)


class PowerCutError(Exception):
    """Ends a run as a kill does: nobody handles it."""


class Cut(MemoryBackend):
    """A store of which nothing is heard from one of its puts on; that one may have landed."""

    def __init__(self, at: int, *, lands: bool) -> None:
        super().__init__()
        self.left = at
        self.lands = lands

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        self.left -= 1
        if self.left < 0 or (self.left == 0 and not self.lands):
            raise PowerCutError
        version = super().put(key, body, when=when)
        if self.left == 0:
            raise PowerCutError
        return version


@pytest.mark.parametrize("lands", [False, True])
def test_a_run_that_was_stopped_anywhere_is_continued(
    ann: Studio, tmp_path: Path, run: Mirroring, *, lands: bool
) -> None:
    store, history, puts = puts_of(ann, tmp_path, run)
    assert puts > 25
    for step in range(1, puts + 1):
        cut = Cut(step, lands=lands)
        scratch = tmp_path / f"scratch-{step}"
        with pytest.raises(PowerCutError):
            run(store_at("film", store, scratch), store_at("copy", cut, scratch))
        cut.left = 1 << 30
        mirror = store_at("copy", cut, scratch)
        if mirror.config() is not None:
            # Whatever the refs lead to is there, whole.
            targets = [decode_ref_value(ref.value_bytes).target for ref in mirror.refs().values()]
            reader = Studio(tmp_path / f"reader-{step}")
            if any(targets):
                reader.fetch(mirror)
        source, mirror = store_at("film", store, scratch), store_at("copy", cut, scratch)
        run(source, mirror)
        assert state(mirror) == state(source), step
        assert mirror.missing([history.main.id, history.given_up.id]) == []


def test_what_was_sent_is_not_sent_again(ann: Studio, tmp_path: Path, run: Mirroring) -> None:
    store, _, _ = puts_of(ann, tmp_path, run)
    whole = run.plan(store_at("film", store, tmp_path), store_at("copy", MemoryBackend(), tmp_path)).bytes
    cut = Cut(5, lands=True)
    mirror = store_at("copy", cut, tmp_path / "scratch")
    with pytest.raises(PowerCutError):
        run(store_at("film", store, tmp_path), mirror)
    cut.left = 1 << 30
    mirror.close()
    _, report = run(store_at("film", store, tmp_path), store_at("copy", cut, tmp_path / "scratch"))
    assert report.bytes < whole - PACK // 2


@pytest.mark.parametrize("which", ["largest", "smallest"])
def test_a_flipped_byte_at_the_mirror_is_found(
    ann: Studio, tmp_path: Path, run: Mirroring, folder: Place, which: str
) -> None:
    told(ann, folder("film"))
    run(folder("film"), folder("copy"))
    pack = flip(tmp_path / "nas" / "copy", largest=which == "largest")
    with workroom(run.folder) as room:
        check = check_mirror(folder("film"), folder("copy"), room, room.store("source"), progress=SILENT, connections=2)
    assert check.damage
    assert {found.pack and found.pack.hex() for found in check.damage} == {pack}


def flip(root: Path, *, largest: bool) -> str:
    """Flip a bit in the middle of a pack; return the pack's name."""
    packs = sorted((path for path in (root / PACKS).rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    path = packs[-1] if largest else packs[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.chmod(0o644)
    path.write_bytes(data)
    return path.name


def test_what_the_mirror_lacks_is_found(ann: Studio, run: Mirroring, folder: Place) -> None:
    told(ann, folder("film"))
    run(folder("film"), folder("copy"))
    second = ann.commit({"z.mov": noise(200_000, 9)})
    ann.push(folder("film"), second, "heads/new")
    found = run.damage(folder("film"), folder("copy"))
    assert found[0] == "The mirror has another value of the ref heads/new, or none."
    assert set(found[1:]) == {"The mirror lacks it."}


@pytest.mark.parametrize("which", ["largest", "smallest"])
def test_damage_at_the_source_does_not_spread(
    ann: Studio, tmp_path: Path, run: Mirroring, folder: Place, which: str
) -> None:
    told(ann, folder("film"))
    pack = flip(tmp_path / "nas" / "film", largest=which == "largest")
    with pytest.raises(IntegrityError, match=pack if which == "largest" else "damaged"):
        run(folder("film"), folder("copy"))
    mirror = folder("copy")
    assert mirror.config() is None or mirror.refs() == {}


class Liar(DirectRemote):
    """A source whose packs say of themselves what is not so."""

    lie = ""

    def pack_table(self, pack: ObjectId) -> PackTable:
        table = super().pack_table(pack)
        if self.lie == "name":
            return replace(table, pack_id=bytes(32))
        if self.lie == "place":
            return replace(table, rows=[replace(row, offset=row.offset + 1) for row in table.rows])
        return replace(table, rows=[replace(row, checksum=bytes(16)) for row in table.rows])


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ("name", "does not match its name"),
        ("place", "is not where the index says"),
        ("checksum", "is not the one in its table"),
    ],
)
def test_what_a_pack_says_is_compared(ann: Studio, tmp_path: Path, run: Mirroring, lie: str, words: str) -> None:
    store, copy = MemoryBackend(), MemoryBackend()
    told(ann, store_at("film", store, tmp_path))
    source = Liar("s3://bucket/film", lambda _: store, tmp_path / "scratch", probed=False)
    source.lie = lie
    with pytest.raises(IntegrityError, match=f"s3://bucket/film is damaged: .*{words}"):
        run(source, store_at("copy", copy, tmp_path))
    assert store_at("copy", copy, tmp_path).refs() == {}
    honest = store_at("film", store, tmp_path)
    run(honest, store_at("copy", copy, tmp_path))
    liar = Liar("s3://bucket/copy", lambda _: copy, tmp_path / "scratch", probed=False)
    liar.lie = lie
    assert run.damage(honest, liar)


def test_no_repository_is_mirrored(run: Mirroring, folder: Place) -> None:
    with pytest.raises(NotFoundError, match="no repository"):
        run(folder("film"), folder("copy"))


def test_a_place_is_no_mirror_of_itself(ann: Studio, run: Mirroring, folder: Place) -> None:
    told(ann, folder("film"))
    with pytest.raises(UsageError, match="the same"):
        run(folder("film"), folder("film"))


def test_another_repository_is_left_alone(ann: Studio, tmp_path: Path, run: Mirroring, server: Place) -> None:
    source, mirror = server("film"), server("copy")
    told(ann, source)
    other = Studio(tmp_path / "other", repository=b"another-reposit!")
    other.push(mirror, other.commit({"x": b"x"}))
    before = state(mirror)
    with pytest.raises(NeedsDecisionError) as caught:
        run(source, mirror, force=True)
    assert b"another-reposit!".hex() in caught.value.message
    assert ann.repository.hex() in caught.value.message
    assert state(mirror) == before


@pytest.mark.parametrize("to", ["server", "folder"])
def test_what_others_moved_at_the_mirror_stays(
    ann: Studio, tmp_path: Path, run: Mirroring, request: pytest.FixtureRequest, to: str
) -> None:
    source, mirror = request.getfixturevalue("folder")("film"), request.getfixturevalue(to)("copy")
    history = told(ann, source)
    run(source, mirror)
    ben = Studio(tmp_path / "ben")
    ben.fetch(mirror)
    theirs = ben.commit({"made-there": b"1"}, [history.main.id])
    ben.push(mirror, theirs)
    before = state(mirror)
    with pytest.raises(DivergedError, match="heads/main is ahead there"):
        run(source, mirror)
    ours = ann.commit({"made-here": b"2"}, [history.main.id])
    ann.push(source, ours)
    with pytest.raises(DivergedError, match="heads/main was moved by others there") as caught:
        run(source, mirror)
    assert "--force" in caught.value.hint
    assert state(mirror) == before

    plan, _ = run(source, mirror, force=True)
    assert [(ref.name, ref.lost) for ref in plan.refs] == [("heads/main", True)]
    assert mirror.refs()["heads/main"].value_bytes == source.refs()["heads/main"].value_bytes
    assert before["heads/main"][0] in mirror.ref_log("heads/main")
    # Who saw what was given up is told.
    with pytest.raises(IntegrityError, match="went back on its history"):
        ben.fetch(mirror)
    ann.push(source, ann.commit({"more": b"3"}, [ours.id]))
    plan, _ = run(source, mirror)
    assert [(ref.name, ref.moves, ref.lost) for ref in plan.refs] == [("heads/main", 1, False)]


def test_a_mirror_that_is_ahead_goes_back_by_force_alone(
    ann: Studio, tmp_path: Path, run: Mirroring, folder: Place
) -> None:
    history = told(ann, folder("film"))
    run(folder("film"), folder("copy"))
    ben = Studio(tmp_path / "ben")
    ben.fetch(folder("copy"))
    ben.push(folder("copy"), ben.commit({"made-there": b"1"}, [history.main.id]))
    run(folder("film"), folder("copy"), force=True)
    assert folder("copy").refs()["heads/main"] == folder("film").refs()["heads/main"]


def test_a_ref_that_moves_meanwhile_is_left(ann: Studio, tmp_path: Path, run: Mirroring, folder: Place) -> None:
    told(ann, folder("film"))
    run(folder("film"), folder("copy"))
    ben = Studio(tmp_path / "ben")
    ben.fetch(folder("copy"))
    tip = decode_ref_value(folder("film").refs()["heads/main"].value_bytes).target
    assert tip is not None
    ann.push(folder("film"), ann.commit({"ours": noise(99_000, 7)}, [tip.id]))
    theirs = ben.commit({"theirs": b"1"}, [tip.id])
    pushed: list[int] = []

    def push_first(_: int) -> None:
        if not pushed:
            pushed.append(1)
            ben.push(folder("copy"), theirs)

    with pytest.raises(RefMovedError, match=r"heads/main at file:.* was moved by somebody else meanwhile"):
        run(folder("film"), folder("copy"), pace=push_first)
    assert decode_ref_value(folder("copy").refs()["heads/main"].value_bytes).target == theirs


def test_who_fetches_from_a_mirror_is_not_alarmed(ann: Studio, tmp_path: Path, run: Mirroring, server: Place) -> None:
    """However many moves the mirror is behind, forced ones among them, and where the log was lost."""
    source, mirror = server("film"), server("copy")
    history = told(ann, source)
    run(source, mirror)
    ben = Studio(tmp_path / "ben")
    ben.fetch(mirror)
    tip = history.main
    for number in range(4):
        tip = ann.commit({f"{number}": b"n"}, [tip.id])
        ann.push(source, tip)
    replaced = ann.commit({"replaced": b"r"}, [history.main.id])
    ann.push(source, replaced, force=True)
    ben.fetch(mirror)
    plan, _ = run(source, mirror)
    assert [ref.moves for ref in plan.refs] == [5]
    ben.fetch(mirror)
    assert ben.files(replaced.id) == {"replaced": b"r"}


@pytest.mark.parametrize("to", ["server", "folder"])
def test_a_lost_log_keeps_no_mirror_from_following(
    ann: Studio, tmp_path: Path, run: Mirroring, request: pytest.FixtureRequest, to: str
) -> None:
    mirror = request.getfixturevalue(to)("copy")
    store = MemoryBackend()
    first = ann.commit({"a": b"1"})
    ann.push(store_at("film", store, tmp_path), first)
    run(store_at("film", store, tmp_path), mirror)
    ben = Studio(tmp_path / "ben")
    ben.fetch(mirror)
    tip = first
    for number in range(3):
        tip = ann.commit({"a": b"%d" % number}, [tip.id])
        ann.push(store_at("film", store, tmp_path), tip)
    for stat in list(store.scan(LOGS)):
        store.delete(stat.key)
    source = store_at("film", store, tmp_path)
    plan, _ = run(source, mirror)
    assert [ref.moves for ref in plan.refs] == [1]
    assert mirror.refs() == source.refs()
    ben.fetch(mirror)
    ben.push(mirror, ben.commit({"next": b"n"}, [tip.id]))

    # Where the log does not show that the mirror follows, no commit may be lost.
    other = ann.commit({"other": b"o"}, [first.id])
    for number in range(4):
        other = ann.commit({"other": b"%d" % number}, [other.id])
        ann.observed = {}
        ann.push(store_at("film", store, tmp_path), other, force=True)
    for stat in list(store.scan(LOGS)):
        store.delete(stat.key)
    before = state(mirror)
    with pytest.raises(DivergedError, match="whose log does not reach so far back"):
        run(store_at("film", store, tmp_path), mirror)
    assert state(mirror) == before


def named_slot(ann: Studio, name: str) -> bytes:
    return encode_slot(replace(decode_slot(slot(ann.repository, name)), slot=name))


def test_key_slots_follow(ann: Studio, run: Mirroring, folder: Place) -> None:
    source, mirror = folder("film"), folder("copy")
    told(ann, source)
    source.put_slot("ann", named_slot(ann, "ann"), None)
    run(source, mirror)
    assert mirror.slots() == source.slots() != {}
    mirror.put_slot("mirror-only", named_slot(ann, "mirror-only"), None)
    source.put_slot("ben", named_slot(ann, "ben"), None)
    plan, _ = run(source, mirror)
    assert (plan.slots, plan.kept_slots) == (["ben"], ["mirror-only"])
    assert mirror.slots().keys() == {"ann", "ben", "mirror-only"}


def test_a_rate_is_kept(ann: Studio, run: Mirroring, folder: Place) -> None:
    told(ann, folder("film"))
    now = itertools.count()
    waits: list[float] = []
    throttle = Throttle(1000.0, clock=lambda: 0.0 * next(now), sleep=waits.append)
    _, report = run(folder("film"), folder("copy"), pace=throttle.take)
    # Nobody really waited, so each call was told to wait until all before it had gone.
    assert max(waits) == pytest.approx(report.bytes / 1000.0, rel=0.01)


class Forgetful(DirectRemote):
    """A place that answers other things once a ref was put there."""

    forgets = ""
    moved = False

    def put_ref(self, value_bytes: bytes, expected: str | None, *, force: bool = False, adopt: bool = False) -> None:
        super().put_ref(value_bytes, expected, force=force, adopt=adopt)
        self.moved = True

    def refs(self) -> dict[str, RemoteRef]:
        return {} if self.moved and self.forgets == "refs" else super().refs()

    def slots(self) -> dict[str, bytes]:
        return {} if self.moved and self.forgets == "slots" else super().slots()

    def missing(self, ids: Iterable[ObjectId]) -> list[ObjectId]:
        found = list(ids)
        return found if self.moved and self.forgets == "objects" else super().missing(found)


@pytest.mark.parametrize(
    ("forgets", "error"), [("refs", RefMovedError), ("slots", IntegrityError), ("objects", IntegrityError)]
)
def test_a_mirror_is_asked_what_it_has_in_the_end(
    ann: Studio, tmp_path: Path, folder: Place, forgets: str, error: type[Exception]
) -> None:
    run = Mirroring(tmp_path / "runs")
    told(ann, folder("film"))
    folder("film").put_slot("ann", named_slot(ann, "ann"), None)
    store = MemoryBackend()
    mirror = Forgetful("s3://bucket/copy", lambda _: store, tmp_path / "scratch", probed=False)
    mirror.forgets = forgets
    with pytest.raises(error, match=r"does not have what it took|is not where it was put"):
        run(folder("film"), mirror)


def test_two_runs_of_the_same_do_not_meet(run: Mirroring, folder: Place) -> None:
    with workroom(run.folder), pytest.raises(RepositoryBusyError, match="mirrors the same"):
        run(folder("film"), folder("copy"))


def test_an_answer_that_is_lost_is_no_failure(ann: Studio, tmp_path: Path, run: Mirroring) -> None:
    store, _, puts = puts_of(ann, tmp_path, run)
    for step in range(1, puts + 1, 3):
        copy = FaultBackend(MemoryBackend(), [Fault("put", step, lands=True)])
        source, mirror = store_at("film", store, tmp_path / f"s{step}"), store_at("copy", copy, tmp_path / f"s{step}")
        run(source, mirror)
        assert state(mirror) == state(source), step


def test_a_wrong_header_is_refused(ann: Studio, server: Place) -> None:
    remote = server("film")
    history = told(ann, remote)
    value, etag = ann.ref_value(remote, "heads/main", history.given_up)
    assert isinstance(remote, HttpRemote)
    headers = {"If-Match": etag or "", "X-Mediagit-Adopt": "yes"}
    answer = remote._wire.ask("PUT", f"{remote._base}/refs/heads/main", value, headers)
    assert answer.status == 400
    assert b"X-Mediagit-Adopt is true or false" in answer.body


def test_nothing_stands_in_the_way_of_a_new_mirror(ann: Studio, tmp_path: Path, run: Mirroring) -> None:
    """What a stranger left in the folder of a run, or a killed run did, is removed."""
    (run.folder / "work" / "missing").mkdir(parents=True)
    LocalBackend(run.folder / "work" / "missing").put("config", b"left", when=Absent())
    store = MemoryBackend()
    told(ann, store_at("film", store, tmp_path))
    run(store_at("film", store, tmp_path), store_at("copy", MemoryBackend(), tmp_path))
    assert [path.name for path in run.folder.iterdir()] == ["lock"]
