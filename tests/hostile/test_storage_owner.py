"""A storage owner who exchanges frames, packs, indexes, refs, the config and key slots, all in their right form.

Each attack is met by someone who clones, and by someone who has the repository and fetches: both are told, with the exit
codes of docs/cli.md, no file is written, no local ref moves, and `verify --remote` tells as well.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import pytest

from mediavault.formats.config import RepositoryConfig, decode_config, encode_config, fingerprint
from mediavault.formats.frame import SUITE_PLAIN, parse_frame
from mediavault.formats.pack import PACK_FOOTER_BYTES, PACK_HEADER_BYTES
from mediavault.formats.payload import Codec, encode_payload
from mediavault.formats.ref import decode_ref_value
from mediavault.formats.slot import PassphraseSlot, decode_slot, encode_slot
from mediavault.keys import passphrase as stretching
from mediavault.keys.hierarchy import RepositoryKeys
from mediavault.keys.passphrase import FLOOR
from mediavault.keys.slots import make_passphrase_slot
from mediavault.model.ids import Kind, Link
from mediavault.store.verify import scrub
from mediavault_backends.local import LocalBackend
from tests.bad_input import IMPATIENT, PROJECT, with_remote
from tests.conftest import PASSPHRASE
from tests.film import Film
from tests.hostile.owner import Owner, Rows, frames_of, kind_of, retouched
from tests.hostile.reading import read_project
from tests.hostile.served import Served, served
from tests.hostile.tiny import CHUNKS, CREATED, REPOSITORY, SECRET, Tiny, blobs_of, make_tiny
from tests.snapshot import snapshot

pytestmark = pytest.mark.usefixtures("remembered_argon2")

DAMAGED, DENIED, USAGE = 5, 6, 2


@pytest.fixture(autouse=True)
def quiet_server() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def owner(tiny: Tiny) -> Owner:
    return Owner(tiny.hosted, plain=not tiny.encrypted)


@pytest.fixture
def server(tiny: Tiny) -> Iterator[Served]:
    with served(LocalBackend(tiny.storage)) as running:
        with_remote(tiny.project, running.url)
        yield running


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Mapping[bool, Tiny]:
    """Other repositories with the same files and even the same key, by whether they are encrypted."""
    return {
        encrypted: make_tiny(
            tmp_path_factory.mktemp("foreign"), encrypted=encrypted, repository=b"another one.....", secret=SECRET
        )
        for encrypted in (True, False)
    }


def behind(tiny: Tiny, folder: Path) -> Film:
    """Give a project that has seen the remote, and has no object and no ref yet; a file of the user's own stands in it."""
    film = Film(folder / "behind")
    private = film.root / ".mediagit"
    shutil.copytree(tiny.project / ".mediagit/remotes", private / "remotes")
    (private / "store").mkdir()
    shutil.copy(tiny.store / "config", private / "store/config")
    if tiny.encrypted:
        shutil.copytree(tiny.store / "keys", private / "store/keys")
    shutil.copy(tiny.project / ".mediagit/mediagit.toml", private / "mediagit.toml")
    (private / "HEAD").write_text("ref: heads/main\n")
    film.write("mine.txt", "my own\n")
    return film


def met(tiny: Tiny, server: Served, folder: Path, *, clone: int = DAMAGED, fetch: int = DAMAGED) -> str:
    """Let someone clone, and someone who saw the remote before fetch; each ends with the code that is given.

    Where it is not 0, nothing was written and no ref was made; where it is, all that came is right. Returns what the
    fetch said.
    """
    server.forget()
    folder.mkdir(exist_ok=True)
    flags = () if tiny.encrypted else ("--no-encryption",)
    newcomer, copy = Film(folder), folder / "copy"
    ended(newcomer, clone, "clone", *flags, server.url + PROJECT, copy, env={"MEDIAGIT_HOME": str(folder / "alone")})
    tree = snapshot(copy) if copy.exists() else {}
    assert tree == ({} if clone else tiny.trees["main"])
    film = behind(tiny, folder)
    ended(film, fetch, "fetch")
    assert set(snapshot(film.root)) == {"mine.txt"}
    assert (film.root / ".mediagit/remotes/origin.json").read_bytes() == (
        tiny.project / ".mediagit/remotes/origin.json"
    ).read_bytes()
    if fetch:
        assert read_project(film.root).refs == {}
        return film.errors
    refs, objects, files = (getattr(read_project(film.root), part) for part in ("refs", "objects", "files"))
    right = read_project(tiny.project)
    assert (objects, files) == (right.objects, right.files)
    assert {name for name in refs if not name.startswith("remotes/")} == {"tags/rushes", "tags/v1"}
    return film.errors


def ended(film: Film, expected: int, *arguments: str | Path, env: Mapping[str, str] | None = None) -> None:
    """Run a command that ends with a code; in words and with what to do next if it is an error."""
    code = film.attempt(*arguments, env={**IMPATIENT, **(env or {})})
    assert code == expected, f"{arguments} exited {code}\n{film.output}\n{film.errors}"
    if expected:
        assert "error: " in film.errors
        assert "next: " in film.errors
        assert "should not have happened" not in film.errors


def each(change: Callable[[bytes], bytes]) -> Callable[[Owner], None]:
    """Return an attack that changes every frame."""
    return lambda owner: owner.change(lambda frames: [change(frame) for frame in frames])


def only(kind: Kind, change: Callable[[bytes], bytes]) -> Callable[[Owner], None]:
    """Return an attack that changes every frame of a kind."""
    return each(lambda frame: change(frame) if kind_of(frame) is kind else frame)


def swapped(kind: Kind) -> Callable[[Owner], None]:
    """Return an attack that lets the first two frames of a kind change their ids, and so their places."""

    def attack(owner: Owner) -> None:
        packs = owner.packs()
        one, two = [frame for frames in packs for frame in frames if kind_of(frame) is kind][:2]
        a, b = (parse_frame(frame).header for frame in (one, two))
        forged = {one: retouched(one, id=b.id), two: retouched(two, id=a.id)}
        owner.file([[forged.get(frame, frame) for frame in frames] for frames in packs])

    return attack


def bodies_swapped(owner: Owner) -> None:
    """Exchange the sealed bodies of two chunks, and leave their headers."""
    packs = owner.packs()
    one, two = packs[0][:2]
    first, second = (bytes(parse_frame(frame).body) for frame in (one, two))
    packs[0][:2] = [retouched(one, body=second), retouched(two, body=first)]
    owner.file(packs)


def without_a_link(frame: bytes) -> bytes:
    """Take the last link away from a commit with a parent, from others nothing."""
    data = parse_frame(frame).header.link_data
    return retouched(frame, link_data=data[:33]) if len(data) > 33 else frame


def with_another_link(frame: bytes) -> bytes:
    data = parse_frame(frame).header.link_data
    return retouched(frame, link_data=data[:-1] + bytes((data[-1] ^ 1,)))


def in_clear(frame: bytes) -> bytes:
    """Pose with an unsealed chunk under the id of a sealed one."""
    payload = encode_payload(Codec.RAW, 5, b"wrong", padded=False)
    return retouched(frame, suite=SUITE_PLAIN, salt=b"", body=payload)


def altered(frame: bytes) -> bytes:
    """Change a chunk's content where it can be changed without its key: in clear, or blindly."""
    body = bytearray(parse_frame(frame).body)
    body[-1] ^= 1
    return retouched(frame, body=bytes(body))


FRAME_ATTACKS: Mapping[str, Callable[[Owner], None]] = {
    "chunks under each other's ids": swapped(Kind.CHUNK),
    "trees under each other's ids": swapped(Kind.TREE),
    "commits under each other's ids": swapped(Kind.COMMIT),
    "bodies of chunks exchanged": bodies_swapped,
    "contents altered": only(Kind.CHUNK, altered),
    "commits altered": only(Kind.COMMIT, altered),
    "a tree poses as a manifest": only(Kind.TREE, lambda f: retouched(f, kind=Kind.MANIFEST, link_data=one_kind(f))),
    "a tag poses as a commit": only(
        Kind.TAG, lambda f: retouched(f, kind=Kind.COMMIT, generation=1, link_data=b"\x03" + bytes(32))
    ),
    "a chunk poses as an empty tree": only(Kind.CHUNK, lambda f: retouched(f, kind=Kind.TREE)),
    "a parent taken away": only(Kind.COMMIT, without_a_link),
    "links to something else": only(Kind.COMMIT, with_another_link),
    "trees with other links": only(Kind.TREE, with_another_link),
    "generations raised": only(Kind.COMMIT, lambda f: retouched(f, generation=parse_frame(f).header.generation + 1)),
}
SEALED_ATTACKS: Mapping[str, Callable[[Owner], None]] = {
    "chunks in clear": only(Kind.CHUNK, in_clear),
    "other salts": each(lambda frame: retouched(frame, salt=os.urandom(32))),
}


def one_kind(frame: bytes) -> bytes:
    """Return links that a manifest may have."""
    return bytes((Kind.CHUNK,)) + parse_frame(frame).header.id


@pytest.mark.parametrize("attack", FRAME_ATTACKS.values(), ids=FRAME_ATTACKS)
def test_frames_changed_and_filed_anew(
    tiny: Tiny, owner: Owner, server: Served, tmp_path: Path, attack: Callable[[Owner], None]
) -> None:
    attack(owner)
    met(tiny, server, tmp_path)
    assert tiny.film.attempt("verify", "--remote", "origin", env=IMPATIENT) == DAMAGED


@pytest.mark.parametrize("tiny", ["encrypted"], indirect=True)
@pytest.mark.parametrize("attack", SEALED_ATTACKS.values(), ids=SEALED_ATTACKS)
def test_suite_or_salt_of_frames_changed(
    tiny: Tiny, owner: Owner, server: Served, tmp_path: Path, attack: Callable[[Owner], None]
) -> None:
    attack(owner)
    met(tiny, server, tmp_path)


@pytest.mark.parametrize("tiny", ["encrypted"], indirect=True)
def test_frames_of_another_epoch(tiny: Tiny, owner: Owner, server: Served, tmp_path: Path) -> None:
    each(lambda frame: retouched(frame, epoch=1))(owner)
    met(tiny, server, tmp_path, clone=DENIED, fetch=DENIED)


@pytest.mark.parametrize("tiny", ["encrypted"], indirect=True)
@pytest.mark.parametrize("relabelled", [False, True])
def test_frames_replayed_from_another_repository(
    tiny: Tiny, owner: Owner, server: Served, tmp_path: Path, foreign: Mapping[bool, Tiny], *, relabelled: bool
) -> None:
    """It has the same files and the same key; only its id is another."""
    theirs = Owner(foreign[True].hosted, plain=False).packs()
    ours = owner.packs()
    ids = [[parse_frame(frame).header for frame in frames] for frames in ours]
    if relabelled:
        theirs = [
            [
                retouched(one, id=header.id, kind=header.kind, link_data=header.link_data, generation=header.generation)
                for one, header in zip(frames * len(headers), headers, strict=False)
            ]
            for frames, headers in zip(theirs, ids, strict=True)
        ]
    owner.file(theirs)
    met(tiny, server, tmp_path)


@pytest.mark.parametrize("tiny", ["plain"], indirect=True)
def test_frames_of_another_plain_repository_are_the_same_ones(
    tiny: Tiny, owner: Owner, server: Served, tmp_path: Path, foreign: Mapping[bool, Tiny]
) -> None:
    """Plain repositories share their ids: equal chunks are equal, and anything else has another name."""
    chunks = Owner(foreign[False].hosted, plain=True).packs()[0]
    packs = owner.packs()
    owner.file([chunks, *packs[1:]])
    met(tiny, server, tmp_path, clone=0, fetch=0)


def test_order_and_number_of_frames_mean_nothing(tiny: Tiny, owner: Owner, server: Served, tmp_path: Path) -> None:
    packs = owner.packs()
    owner.file([frame for frames in packs for frame in ([frames[::-1]] + [[one] for one in frames])])
    met(tiny, server, tmp_path, clone=0, fetch=0)


def test_a_good_copy_is_found_behind_a_bad_one(tiny: Tiny, owner: Owner, server: Served, tmp_path: Path) -> None:
    """Of nodes and history; of chunks the server names one place, and who fetches takes that."""
    packs = owner.packs()
    bad = [[altered(frame) for frame in frames] for frames in packs[1:]]
    owner.file([*packs, *bad])
    film = behind(tiny, tmp_path)
    server.forget()
    code = film.attempt("fetch", env=IMPATIENT)
    assert code in {0, DAMAGED}, film.errors
    if not code:
        assert read_project(film.root).objects == read_project(tiny.project).objects


def test_packs_cut_at_every_boundary(tiny: Tiny, owner: Owner, server: Served, tmp_path: Path) -> None:
    for path in blobs_of(owner.folder / "packs"):
        data = path.read_bytes()
        ends = [PACK_HEADER_BYTES]
        for frame in frames_of(data):
            ends.append(ends[-1] + len(frame))
        for end in (0, *ends, len(data) - PACK_FOOTER_BYTES, len(data) - 1):
            path.write_bytes(data[:end])
            server.forget()
            film = behind(tiny, tmp_path)
            if film.attempt("fetch", env=IMPATIENT):
                assert read_project(film.root).refs == {}
            else:
                assert end >= ends[-1], "frames are missing"
                assert read_project(film.root).objects == read_project(tiny.project).objects
            shutil.rmtree(film.root)
        path.write_bytes(data)


def test_tables_exchanged_between_packs(tiny: Tiny, owner: Owner, server: Served, tmp_path: Path) -> None:
    paths = blobs_of(owner.folder / "packs")
    datas = [path.read_bytes() for path in paths]
    ends = [PACK_HEADER_BYTES + sum(map(len, frames_of(data))) for data in datas]
    for number, path in enumerate(paths):
        other = (number + 1) % len(paths)
        path.write_bytes(datas[number][: ends[number]] + datas[other][ends[other] :])
    # Who follows the index needs no tables, and gets what is right; who checks the store reads them.
    met(tiny, server, tmp_path, clone=0, fetch=0)
    assert list(scrub(LocalBackend(owner.folder)))


def shifted(rows: Rows) -> Rows:
    return {
        name: [msgspec.structs.replace(row, offset=row.offset + 1) for row in table] for name, table in rows.items()
    }


def far_away(rows: Rows) -> Rows:
    """Let every object stand beyond the end of any file."""
    return {name: [msgspec.structs.replace(row, offset=2**63 + 5) for row in table] for name, table in rows.items()}


def longer(rows: Rows) -> Rows:
    return {
        name: [msgspec.structs.replace(row, length=row.length + 1) for row in table] for name, table in rows.items()
    }


def in_packs_that_are_not(rows: Rows) -> Rows:
    return {name[::-1]: table for name, table in rows.items()}


def in_each_others_places(rows: Rows) -> Rows:
    return {
        name: [
            msgspec.structs.replace(row, id=other.id) for row, other in zip(table, (*table[1:], table[0]), strict=True)
        ]
        for name, table in rows.items()
    }


def without(kind: Kind) -> Callable[[Rows], Rows]:
    return lambda rows: {name: [row for row in table if row.kind is not kind] for name, table in rows.items()}


INDEXES: Mapping[str, Callable[[Rows], Rows]] = {
    "shifted": shifted,
    "far away": far_away,
    "longer": longer,
    "in packs that are not there": in_packs_that_are_not,
    "in each other's places": in_each_others_places,
    "without chunks": without(Kind.CHUNK),
    "without trees": without(Kind.TREE),
    "without commits": without(Kind.COMMIT),
    "empty": lambda _: {},
}


@pytest.mark.parametrize("index", INDEXES.values(), ids=INDEXES)
def test_indexes_that_hide_or_misplace(
    tiny: Tiny, owner: Owner, server: Served, tmp_path: Path, index: Callable[[Rows], Rows]
) -> None:
    owner.misfile(index)
    met(tiny, server, tmp_path)
    assert tiny.film.attempt("verify", "--remote", "origin", env=IMPATIENT) == DAMAGED


def values_of(owner: Owner, *names: str) -> list[bytes]:
    return [owner.ref(name).read_bytes()[:-16] for name in names]


def swap_names(owner: Owner) -> None:
    main, side = values_of(owner, "heads/main", "heads/side")
    owner.set_ref("heads/main", side)
    owner.set_ref("heads/side", main)


def rename_values(owner: Owner) -> None:
    """Exchange what two branches point at, under their right names."""
    main, side = (decode_ref_value(value).target for value in values_of(owner, "heads/main", "heads/side"))
    owner.retouch_ref("heads/main", target=side)
    owner.retouch_ref("heads/side", target=main)


REF_ATTACKS: Mapping[str, Callable[[Owner], None]] = {
    "under each other's names": swap_names,
    "of another repository": lambda owner: owner.retouch_ref("heads/main", repository=b"another one....."),
}
SEALED_REF_ATTACKS: Mapping[str, Callable[[Owner], None]] = {
    "with each other's targets": rename_values,
    "at a commit of the owner's choice": lambda owner: owner.retouch_ref(
        "heads/main", target=Link(Kind.COMMIT, bytes(32))
    ),
    "deleted by the owner": lambda owner: owner.retouch_ref("heads/main", target=None),
    "in a later epoch": lambda owner: owner.retouch_ref("heads/main", epoch=1),
    "with another number": lambda owner: owner.retouch_ref("heads/main", seq=9),
    "without a MAC": lambda owner: owner.retouch_ref("heads/main", mac=bytes(32)),
    "with a MAC from elsewhere": lambda owner: owner.retouch_ref(
        "heads/main", mac=decode_ref_value(values_of(owner, "heads/side")[0]).mac
    ),
}


@pytest.mark.parametrize("attack", REF_ATTACKS.values(), ids=REF_ATTACKS)
def test_refs_exchanged(
    tiny: Tiny, owner: Owner, server: Served, tmp_path: Path, attack: Callable[[Owner], None]
) -> None:
    attack(owner)
    met(tiny, server, tmp_path)


@pytest.mark.parametrize("tiny", ["encrypted"], indirect=True)
@pytest.mark.parametrize("attack", SEALED_REF_ATTACKS.values(), ids=SEALED_REF_ATTACKS)
def test_refs_forged(tiny: Tiny, owner: Owner, server: Served, tmp_path: Path, attack: Callable[[Owner], None]) -> None:
    attack(owner)
    met(tiny, server, tmp_path)


@pytest.mark.parametrize("tiny", ["encrypted"], indirect=True)
@pytest.mark.parametrize("log", [False, True])
def test_refs_of_another_repository_with_the_same_key(
    tiny: Tiny, owner: Owner, server: Served, tmp_path: Path, foreign: Mapping[bool, Tiny], *, log: bool
) -> None:
    theirs = Owner(foreign[True].hosted, plain=False).ref("heads/main")
    owner.ref("heads/main").write_bytes(theirs.read_bytes())
    if log:
        owner.retouch_ref("heads/main", repository=REPOSITORY)
    met(tiny, server, tmp_path)


def went_back(tiny: Tiny, server: Served, folder: Path, words: str) -> None:
    """Check that who saw more is told, and that who comes anew has nothing to compare with."""
    assert words in met(tiny, server, folder, clone=0)
    before, files = read_project(tiny.project), snapshot(tiny.project)
    ended(tiny.film, DAMAGED, "fetch")
    ended(tiny.film, DAMAGED, "pull")
    ended(tiny.film, DAMAGED, "push")
    ended(tiny.film, DAMAGED, "verify", "--remote", "origin")
    assert (read_project(tiny.project), snapshot(tiny.project)) == (before, files)


@pytest.mark.parametrize("fork", [False, True])
def test_a_branch_rolled_back_or_forked(
    tiny: Tiny, owner: Owner, server: Served, tmp_path: Path, *, fork: bool
) -> None:
    main = owner.ref("heads/main").read_bytes()
    tiny.film.write("credits.txt", "The end, again\n")
    tiny.film("add", ".")
    tiny.film("commit", "-m", "Fourth")
    tiny.film("push")
    if fork:
        # Somebody with the key goes on from the old state, which the owner shows to them alone.
        newer = owner.ref("heads/main").read_bytes()
        owner.ref("heads/main").write_bytes(main)
        server.forget()
        other = Film(tmp_path / "other")
        flags = () if tiny.encrypted else ("--no-encryption",)
        Film(tmp_path)("clone", *flags, server.url + PROJECT, "other")
        other.write("theirs.txt", "forked\n")
        other("add", ".")
        other("commit", "-m", "A fork")
        other("push")
        assert owner.ref("heads/main").read_bytes() != newer
        tiny.trees["main"] = snapshot(other.root)
        words = "is not the one that was seen"
    else:
        owner.ref("heads/main").write_bytes(main)
        words = "after move 2 was seen"
    went_back(tiny, server, tmp_path / "met", words)


def test_a_branch_that_vanishes(tiny: Tiny, owner: Owner, server: Served, tmp_path: Path) -> None:
    """Deleting leaves a signed mark; without it, it was the storage's owner."""
    owner.ref("heads/side").unlink()
    went_back(tiny, server, tmp_path, "heads/side went back on its history: it was there and is gone")


def with_config(tiny: Tiny, **fields: object) -> None:
    path = tiny.hosted / "config"
    path.write_bytes(encode_config(msgspec.structs.replace(decode_config(path.read_bytes()), **fields)))


def test_a_config_that_cuts_elsewhere(tiny: Tiny, server: Served, tmp_path: Path) -> None:
    """In a plain repository nothing but the fingerprint tells it to a newcomer; who has the repository is told."""
    chunker = decode_config((tiny.hosted / "config").read_bytes()).chunker
    with_config(tiny, chunker=msgspec.structs.replace(chunker, average=512))
    met(tiny, server, tmp_path, clone=DAMAGED if tiny.encrypted else 0)


def test_a_config_of_another_repository(tiny: Tiny, server: Served, tmp_path: Path) -> None:
    with_config(tiny, repository=b"another one.....")
    met(tiny, server, tmp_path)


def test_a_config_of_the_other_suite(tiny: Tiny, server: Served, tmp_path: Path) -> None:
    """An encrypted repository poses as plain, or the other way round: no passphrase is asked, nothing is sent."""
    with_config(tiny, suite=0 if tiny.encrypted else 1)
    met(tiny, server, tmp_path, clone=USAGE)
    held = {path: path.read_bytes() for path in blobs_of(tiny.hosted)}
    tiny.film.write("secret.txt", "for our eyes only\n")
    tiny.film("add", ".")
    tiny.film("commit", "-m", "Secret")
    assert tiny.film.attempt("push", env=IMPATIENT) in {3, DAMAGED}
    assert {path: path.read_bytes() for path in blobs_of(tiny.hosted)} == held


def test_a_plain_repository_in_the_place_of_a_sealed_one(
    sealed: Tiny, tmp_path: Path, foreign: Mapping[bool, Tiny]
) -> None:
    shutil.rmtree(sealed.hosted)
    shutil.copytree(foreign[False].hosted, sealed.hosted)
    with served(LocalBackend(sealed.storage)) as server:
        with_remote(sealed.project, server.url)
        met(sealed, server, tmp_path, clone=USAGE)


def slot_of(tiny: Tiny, name: str) -> PassphraseSlot:
    slot = decode_slot((tiny.hosted / "keys" / name).read_bytes())
    assert isinstance(slot, PassphraseSlot)
    return slot


def rewrap(tiny: Tiny, **fields: object) -> None:
    path = tiny.hosted / "keys/passphrase"
    path.write_bytes(encode_slot(msgspec.structs.replace(slot_of(tiny, "passphrase"), **fields)))


@pytest.mark.parametrize(
    "fields",
    [
        {"memory": FLOOR.memory - 1},
        {"memory": 8},
        {"time": 1},
        {"lanes": 1},
        {"memory": (4 << 20) + 1},
        {"time": 17},
        {"lanes": 17},
    ],
    ids=str,
)
@pytest.mark.parametrize("tiny", ["encrypted"], indirect=True)
def test_key_derivation_weakened_or_made_exhausting(
    tiny: Tiny, server: Served, tmp_path: Path, fields: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rewrap(tiny, **fields)
    (tiny.hosted / "keys/recovery").unlink()
    monkeypatch.setattr(stretching, "hash_secret_raw", lambda *_, **__: pytest.fail("derived all the same"))
    met(tiny, server, tmp_path, fetch=0)


@pytest.mark.parametrize("tiny", ["encrypted"], indirect=True)
def test_key_slots_exchanged(tiny: Tiny, server: Served, tmp_path: Path, foreign: Mapping[bool, Tiny]) -> None:
    keys = tiny.hosted / "keys"
    ours = {path.name: path.read_bytes() for path in blobs_of(keys)}
    attacks: list[tuple[dict[str, bytes], int]] = [
        ({"passphrase": ours["recovery"], "recovery": ours["passphrase"]}, DAMAGED),
        ({path.name: path.read_bytes() for path in blobs_of(foreign[True].hosted / "keys")}, DAMAGED),
        ({"passphrase": slot_for(b"m" * 32, PASSPHRASE)}, DAMAGED),
        ({"passphrase": slot_for(SECRET, "the owner's own")}, DENIED),
        ({}, DENIED),
    ]
    for number, (slots, code) in enumerate(attacks):
        shutil.rmtree(keys)
        keys.mkdir()
        for name, data in slots.items():
            (keys / name).write_bytes(data)
        met(tiny, server, tmp_path / str(number), clone=code, fetch=0)


def slot_for(secret: bytes, passphrase: str) -> bytes:
    """Return a slot for a key and a passphrase, bound to the config of the tiny repository's chunker."""
    mark = fingerprint(encode_config(RepositoryConfig(REPOSITORY, 1, CHUNKS)))
    keys = RepositoryKeys(REPOSITORY, {0: secret})
    return make_passphrase_slot(
        keys, "passphrase", passphrase, fingerprint=mark, created=CREATED, random=os.urandom, parameters=FLOOR
    )
