"""Each byte of the client's store is changed, one after another: a read gives the right bytes, or names what is damaged.

The tests marked `deep` visit every position by a full read of the repository; the others visit every position by what
parses and opens that blob, and a share of them by a full read. `pytest -m deep -rP tests/hostile` shows the figures.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from blake3 import blake3

from mediavault.errors import IntegrityError, MediaVaultError
from mediavault.formats.config import decode_config, fingerprint
from mediavault.formats.frame import CHECKSUM_BYTES, parse_frame
from mediavault.formats.pack import row_of
from mediavault.keys.keystore import KeyStore
from mediavault.keys.slots import unlock
from mediavault.objects.codec import ObjectCodec
from mediavault.ops.unlock import known_keys
from mediavault.ops.verify import verify
from mediavault.progress import SILENT
from mediavault.refs.ref_store import check_value
from mediavault.store import index as store_index
from mediavault.store.pack_table import parse_pack
from mediavault_backends.keys import decode_segment
from tests.conftest import PASSPHRASE
from tests.hostile.reading import open_project, read_project
from tests.hostile.sweep import (
    Record,
    Tally,
    check_names,
    flips,
    flips_on_disk,
    judge,
    names_in,
    objects_in,
    places_in,
    tell,
)
from tests.hostile.tiny import CODE, REPOSITORY, Tiny, blobs_of, remove_working_files
from tests.snapshot import snapshot

SHARE = 17
"""One position in so many is visited by a full read in every run of the tests."""

EVERY = [SHARE, pytest.param(1, marks=pytest.mark.deep)]


@pytest.mark.parametrize("every", EVERY)
def test_full_read_of_a_damaged_store(tiny: Tiny, every: int, record_property: Record) -> None:
    right = read_project(tiny.project)
    tally = Tally(f"client's store, {tiny.kind}, full read")
    for blob in blobs_of(tiny.store):
        names, place = names_in(tiny.store, blob), places_in(tiny.store, blob)
        for at in flips_on_disk(blob, tally, every):
            judge(tally, partial(read_project, tiny.project), right, what=place(at), names=names)
    assert read_project(tiny.project) == right
    assert not {"frames", "index", "logs"} & tally.unseen.keys()
    tell(tally, record_property)


@pytest.mark.parametrize("every", EVERY)
def test_verify_of_a_damaged_store(tiny: Tiny, every: int, record_property: Record) -> None:
    """`verify` finds every changed byte of what it can check without a secret: all packs, indexes and logs."""
    tally = Tally(f"client's store, {tiny.kind}, verify")
    for blob in blobs_of(tiny.store):
        part, place = blob.relative_to(tiny.store).parts[0], places_in(tiny.store, blob)
        for at in flips_on_disk(blob, tally, every):
            if found_by_verify(tiny.project):
                tally.refused += 1
            else:
                assert part in {"refs", "keys", "config"}, f"verify overlooks byte {at} of {blob.name}"
                tally.harmless(place(at))
    assert not found_by_verify(tiny.project)
    tell(tally, record_property)


def found_by_verify(project: Path) -> bool:
    """Whether verify finds something; nothing but an error of ours may end it."""
    try:
        return not verify(open_project(project), SILENT).ok
    except MediaVaultError:
        return True


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.deep)])
def test_index_that_is_too_long_to_be_hashed(
    tiny: Tiny, every: int, monkeypatch: pytest.MonkeyPatch, record_property: Record
) -> None:
    """Indexes above 4 MiB are mapped and not compared with their names: they can hide or misplace, and not deceive."""
    monkeypatch.setattr(store_index, "_HASHED_BYTES", -1)
    right = read_project(tiny.project)
    tally = Tally(f"client's store, {tiny.kind}, indexes believed")
    for blob in blobs_of(tiny.store / "index"):
        for _ in flips_on_disk(blob, tally, every):
            judge(tally, partial(read_project, tiny.project), right, what="index", names=(blob.name, "Object "))
    tell(tally, record_property)


def test_every_byte_of_every_pack(tiny: Tiny, record_property: Record) -> None:
    """What takes a pack whole finds every change, wherever it is."""
    codec = open_project(tiny.project).codec
    tally = Tally(f"packs, {tiny.kind}, checked whole")
    for blob in blobs_of(tiny.store / "packs"):
        data = blob.read_bytes()
        assert pack_is_whole(codec, data, blob.name)
        for at, changed in flips(data, tally):
            with pytest.raises(MediaVaultError):
                pytest.fail(f"{at} of {blob.name}: {pack_is_whole(codec, changed, blob.name)}")
            tally.refused += 1
    tell(tally, record_property)


def pack_is_whole(codec: ObjectCodec, data: bytes, name: str) -> bool:
    """Check a pack as whoever receives it does, and open all that is in it."""
    table = parse_pack(lambda start, length: data[start : start + length], len(data))
    if table.pack_id.hex() != name:
        raise IntegrityError("another pack")
    for row in table.rows:
        frame = parse_frame(data, row.offset)
        if row_of(frame, row.offset, table.plain) != row:
            raise IntegrityError("another frame")
        codec.open(frame, row.id, row.kind)
    return True


def test_every_byte_of_every_frame_behind_a_right_checksum(sealed: Tiny, record_property: Record) -> None:
    """Whoever changes a frame can make its checksum anew; the seal still holds."""
    codec = open_project(sealed.project).codec
    tally = Tally("frames with checksums made anew, encrypted, opened")
    for blob in blobs_of(sealed.store / "packs"):
        data = blob.read_bytes()
        for oid, where in objects_in(data).items():
            frame = data[where.start : where.stop]
            kind = parse_frame(frame).header.kind
            assert codec.open(parse_frame(frame), oid, kind)
            for at, changed in flips(frame[:-CHECKSUM_BYTES], tally):
                forged = changed + blake3(changed).digest(CHECKSUM_BYTES)
                with pytest.raises(MediaVaultError):
                    pytest.fail(f"{at}: {codec.open(parse_frame(forged), oid, kind)!r}")
                tally.refused += 1
    tell(tally, record_property)


def test_every_byte_of_refs_and_their_logs(tiny: Tiny, record_property: Record) -> None:
    repository = open_project(tiny.project)
    tally = Tally(f"refs, {tiny.kind}, parsed")
    for blob in blobs_of(tiny.store / "refs"):
        name = decode_segment(blob.name)
        data = blob.read_bytes()
        right = check_value(repository.id, repository.signer, name, data[:-16])
        for at, changed in flips(data, tally):
            what = "the random tail of refs" if at >= len(data) - 16 else "refs without a MAC"
            try:
                found = check_value(repository.id, repository.signer, name, changed[:-16])
            except IntegrityError as error:
                check_names(error, [name])
                tally.refused += 1
                continue
            if tiny.encrypted:
                assert found == right
                assert at >= len(data) - 16
            else:
                assert (found.name, found.repository) == (right.name, right.repository)
            tally.harmless(what)
    tell(tally, record_property)


def test_every_byte_of_the_config(tiny: Tiny, record_property: Record) -> None:
    """Another config is never taken for the one that the keys were unlocked under."""
    store = KeyStore(tiny.home / "keys", "file")
    data = (tiny.store / "config").read_bytes()
    tally = Tally(f"config, {tiny.kind}, opened")
    assert known_keys(decode_config(data), data, store) is not None
    for _, changed in flips(data, tally):
        try:
            config = decode_config(changed)
            keys = known_keys(config, changed, store)
        except MediaVaultError:
            tally.refused += 1
            continue
        if tiny.encrypted:
            # Of another repository nothing is known here; of this one under another suite neither.
            assert keys is None or config.suite == 0
            assert (config.repository, config.suite) != (REPOSITORY, 1)
        tally.harmless("what is another repository, or cuts new files elsewhere")
    tell(tally, record_property)


SLOT_WORDS = ("slot", "The passphrase is wrong", "The recovery code is wrong", "keys were rotated")
"""What is said of a slot: a flipped salt cannot be told from a wrong passphrase."""


@pytest.mark.parametrize(("name", "secret"), [("passphrase", PASSPHRASE), ("recovery", CODE)])
@pytest.mark.usefixtures("remembered_argon2")
def test_every_byte_of_the_key_slots(sealed: Tiny, name: str, secret: str | bytes, record_property: Record) -> None:
    mark = fingerprint((sealed.store / "config").read_bytes())
    slots = {path.name: path.read_bytes() for path in blobs_of(sealed.store / "keys")}
    right = open_slots(slots, secret, mark)
    other: str | bytes = CODE if secret == PASSPHRASE else PASSPHRASE
    tally = Tally(f"key slot {name!r}, opened")
    for _, changed in flips(slots[name], tally):
        read = partial(open_slots, {name: changed}, secret, mark)
        judge(tally, read, right, what="labels and dates", names=SLOT_WORDS)
        assert open_slots({**slots, name: changed}, other, mark) == right, "a slot keeps the others from opening"
    tell(tally, record_property)


def open_slots(slots: Mapping[str, bytes], secret: str | bytes, mark: bytes) -> Mapping[int, bytes]:
    return unlock(slots, secret, repository=REPOSITORY, fingerprint=mark).epochs


@pytest.mark.parametrize("every", [331, pytest.param(23, marks=pytest.mark.deep)])
def test_restore_from_a_damaged_store(tiny: Tiny, every: int, record_property: Record) -> None:
    """The real command, from a store with one byte changed: the whole tree, or an error and nothing that is not right."""
    tally = Tally(f"client's store, {tiny.kind}, `restore`")
    film = tiny.film
    for blob in blobs_of(tiny.store):
        names, place = names_in(tiny.store, blob), places_in(tiny.store, blob)
        for at in flips_on_disk(blob, tally, every):
            remove_working_files(tiny.project)
            code = film.attempt("restore", "--source", "side", ".")
            if code:
                assert code in {1, 5, 6}, film.errors
                assert "next: " in film.errors
                assert "should not have happened" not in film.errors
                assert any(name in film.errors for name in names), film.errors
                assert snapshot(tiny.project) == {}
                tally.refused += 1
            else:
                assert snapshot(tiny.project) == tiny.trees["side"], f"byte {at} of {blob.name}"
                tally.harmless(place(at))
    tell(tally, record_property)
