"""stats and verify."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from msgspec.structs import replace

from mediavault.formats.frame import build_frame, parse_frame
from mediavault.formats.index import IndexBlob, encode_index, index_id, merge_indexes
from mediavault.formats.pack import (
    PACK_HEADER_BYTES,
    PackRow,
    encode_footer,
    encode_pack_header,
    encode_table,
    pack_id,
    row_of,
)
from mediavault.model.ids import Kind, encode_links
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.store.pack_table import read_pack_table
from mediavault_backends.api import Absent
from mediavault_backends.local import LocalBackend
from tests.film import Film, new_film

LARGE = random.Random(6).randbytes(2_000_000)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an encrypted repository and its user's home: a passphrase is slow on purpose."""
    folder = tmp_path_factory.mktemp("made")
    with mock.patch.dict(os.environ, {"MEDIAGIT_HOME": str(folder / "home"), "MEDIAGIT_PASSPHRASE": "clear as day"}):
        film = new_film(folder / "film")
        film.write("movie.mov", LARGE)
        film.write("copy/movie.mov", LARGE)
        film.write("notes.txt", "cut here\n" * 2000)
        film.write("empty", b"")
        (film.root / "link").symlink_to("notes.txt")
        commit(film, "First cut")
    return folder


@pytest.fixture
def film(made: Path, own_user: Path, tmp_path: Path) -> Film:
    shutil.copytree(made / "home", own_user, dirs_exist_ok=True)
    return Film(shutil.copytree(made / "film", tmp_path / "film", symlinks=True))


def commit(film: Film, message: str) -> None:
    film("add", "-A")
    film("commit", "-m", message)


def store(film: Film) -> Path:
    return film.root / ".mediagit" / "store"


def packs(film: Film) -> Iterator[Path]:
    return (path for path in (store(film) / "packs").rglob("*") if path.is_file())


def rows(film: Film, kind: Kind) -> tuple[Path, list[PackRow]]:
    """Return the pack that holds the most objects of a kind, and their rows."""
    backend = LocalBackend(store(film))
    found = {
        path: [row for row in read_pack_table(backend, bytes.fromhex(path.name)).rows if row.kind is kind]
        for path in packs(film)
    }
    path = max(found, key=lambda path: len(found[path]))
    return path, found[path]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def verified(film: Film, *flags: str, exit_code: int = 5) -> Any:
    film("verify", "--json", *flags, exit_code=exit_code)
    return json.loads(film.output)


def test_stats_of_one_commit(film: Film) -> None:
    stats = film.json("stats")
    assert list(stats) == ["logical_bytes", "stored_bytes", "unique_chunks", "dedup_ratio", "compression_ratio"]
    logical, unique = 2 * len(LARGE) + 18_000, len(LARGE) + 18_000
    assert stats["logical_bytes"] == logical
    assert stats["dedup_ratio"] == pytest.approx(logical / unique)
    assert stats["compression_ratio"] == pytest.approx(unique / stats["stored_bytes"])
    on_disk = sum(path.stat().st_size for path in packs(film))
    assert 0.97 * on_disk < stats["stored_bytes"] < on_disk
    assert "1 version as full copies" in film("stats")


def test_stats_count_every_version_of_all_refs_in_full_and_every_chunk_once(film: Film) -> None:
    first = film.json("stats")
    film("switch", "-c", "grade")
    film.write("notes.txt", "another\n" * 100)
    film.write("movie.mov", LARGE[:-1] + b"x")
    commit(film, "Second cut")
    film("switch", "main")
    both = film.json("stats")
    assert both["logical_bytes"] == 2 * first["logical_bytes"] - 18_000 + 800
    assert both["unique_chunks"] == first["unique_chunks"] + 2
    # The new last chunk is as long as the key's cut points make it, at most one maximum; the text adds 800 bytes.
    before = first["logical_bytes"] / first["dedup_ratio"]
    added = both["logical_bytes"] / both["dedup_ratio"] - before
    assert 800 < added <= 800 + 524_288
    assert film.json("stats") == both
    film("branch", "-D", "grade")
    assert film.json("stats") == first


def test_stats_do_not_count_what_was_only_added(film: Film) -> None:
    before = film.json("stats")
    film.write("new.mov", LARGE[::-1])
    film("add", ".")
    assert film.json("stats") == before


def test_stats_of_nothing(tmp_path: Path) -> None:
    film = new_film(tmp_path / "film", "--no-encryption")
    assert film.json("stats") == {
        "logical_bytes": 0,
        "stored_bytes": 0,
        "unique_chunks": 0,
        "dedup_ratio": 1.0,
        "compression_ratio": 1.0,
    }
    assert "Nothing is committed" in film("stats")


def test_stats_by_type_add_up_to_the_whole(film: Film) -> None:
    film.write("Cuts.TXT", "another\n" * 100)
    film.write("movie.mov", LARGE[:-1] + b"x")
    film.write("render.0001", b"a frame without an extension")
    film.write("again.bin", LARGE)  # what two types share is split
    commit(film, "Second cut")
    plain, document = film.json("stats"), film.json("stats", "--by-type")
    types = {one["type"]: one for one in document["by_type"]}
    assert list(document) == [*plain, "metadata_bytes", "by_type"]
    assert {key: document[key] for key in plain} == plain
    assert {"", ".bin", ".mov", ".txt"} <= set(types)
    assert [types[name]["versions"] for name in (".mov", ".bin")] == [3, 1]
    assert [types[name]["files"] for name in (".mov", ".bin")] == [2, 1]
    assert types[".mov"]["logical_bytes"] == 4 * len(LARGE)
    assert types[".bin"]["logical_bytes"] == len(LARGE)
    assert types[".bin"]["unique_bytes"] == pytest.approx(len(LARGE) / 2, abs=chunks(film) + 524_288)
    assert sum(one["logical_bytes"] for one in types.values()) == plain["logical_bytes"]
    unique = sum(one["unique_bytes"] for one in types.values())
    assert plain["logical_bytes"] / unique == pytest.approx(plain["dedup_ratio"])
    assert sum(one["stored_bytes"] for one in types.values()) + document["metadata_bytes"] == plain["stored_bytes"]
    for one in types.values():
        assert one["dedup_ratio"] == pytest.approx(one["logical_bytes"] / one["unique_bytes"])
        assert one["compression_ratio"] == pytest.approx(one["unique_bytes"] / one["stored_bytes"])
    text = film("stats", "--by-type")
    assert ".mov " in text
    assert "(none)" in text
    assert "(history)" in text


def test_stats_name_the_files_whose_versions_take_most(film: Film) -> None:
    film.write("movie.mov", LARGE[::-1])
    commit(film, "Second cut")
    film.write("movie.mov", LARGE)
    commit(film, "First cut again")
    document = film.json("stats", "--largest", "2")
    first, second = document["largest"]
    assert (first["path"], first["versions"], first["logical_bytes"]) == ("movie.mov", 2, 2 * len(LARGE))
    assert (second["path"], second["versions"], second["logical_bytes"]) == ("copy/movie.mov", 1, len(LARGE))
    assert 2 * len(LARGE) < first["stored_bytes"] < 2.1 * len(LARGE)
    assert len(LARGE) < second["stored_bytes"] < 1.05 * len(LARGE)
    names = [one["path"] for one in film.json("stats", "--largest", "100")["largest"]]
    assert names[-1] == "empty"
    assert sorted(names) == ["copy/movie.mov", "empty", "movie.mov", "notes.txt"]
    assert "movie.mov" in film("stats", "--largest", "1")
    assert "copy/" not in film("stats", "--largest", "1")
    film("stats", "--largest", "0", exit_code=2)


def test_stats_by_type_of_nothing(tmp_path: Path) -> None:
    film = new_film(tmp_path / "film", "--no-encryption")
    document = film.json("stats", "--by-type", "--largest", "3")
    assert (document["by_type"], document["largest"], document["metadata_bytes"]) == ([], [], 0)
    assert "Nothing is committed" in film("stats", "--by-type")


def test_a_sound_repository_verifies_and_says_what_was_checked(film: Film) -> None:
    film("tag", "v1", "-m", "Delivered")
    document = film.json("verify")
    size = sum(path.stat().st_size for path in packs(film))
    assert document["ok"] is True
    assert document["damage"] == document["affected"] == []
    assert (document["refs"], document["packs"], document["bytes"]) == (2, len(list(packs(film))), size)
    quick = film.json("verify", "--quiet", "--quick")
    assert (quick["ok"], quick["objects"]) == (True, document["objects"] - chunks(film))
    assert "All good." in film("verify")
    assert film("verify", "--quiet") == ""


def test_a_flipped_byte_in_a_chunk_is_named_with_object_pack_offset_and_the_files_it_harms(film: Film) -> None:
    path, found = rows(film, Kind.CHUNK)
    row = max(found, key=lambda row: row.length)
    flip(path, row.offset + row.length // 2)
    document = verified(film)
    assert document["ok"] is False
    (one,) = document["damage"]
    assert (one["object"], one["pack"], one["offset"]) == (row.id.hex(), path.name, row.offset)
    assert document["affected"] == ["copy/movie.mov", "movie.mov"]
    assert verified(film, "--quick", exit_code=0)["ok"] is True


def test_damage_is_told_to_people_too(film: Film) -> None:
    path, found = rows(film, Kind.CHUNK)
    flip(path, found[0].offset + 200)
    film("verify", exit_code=5)
    assert f"object {found[0].id.hex()}" in film.output
    assert f"pack   {path.name} at {found[0].offset}" in film.output
    assert "cannot be brought back" in film.output
    assert "1 problem found." in film.output


@pytest.mark.parametrize("quick", [True, False])
def test_a_damaged_tree_or_commit_is_found_without_reading_chunks(film: Film, quick: bool) -> None:
    flags = ["--quick"] if quick else []
    for kind in (Kind.TREE, Kind.COMMIT, Kind.MANIFEST):
        path, found = rows(film, kind)
        flip(path, found[0].offset + found[0].length - 20)
        (one,) = verified(film, *flags)["damage"]
        assert (one["object"], one["pack"], one["offset"]) == (found[0].id.hex(), path.name, found[0].offset)
        flip(path, found[0].offset + found[0].length - 20)
    assert film.json("verify", *flags)["ok"] is True


@pytest.mark.parametrize("quick", [True, False])
def test_a_missing_pack_is_found_with_what_stood_in_it(film: Film, quick: bool) -> None:
    path, found = rows(film, Kind.CHUNK)
    path.unlink()
    document = verified(film, *(["--quick"] if quick else []))
    assert {one["pack"] for one in document["damage"]} == {path.name}
    assert {one["object"] for one in document["damage"]} == {None} | {row.id.hex() for row in found}
    assert document["affected"] == ["copy/movie.mov", "movie.mov", "notes.txt"]


@pytest.mark.parametrize("quick", [True, False])
def test_a_damaged_table_index_ref_and_slot_are_found(film: Film, quick: bool) -> None:
    flags = ["--quick"] if quick else []
    for path in (*packs(film), *(store(film) / "index").iterdir(), *(store(film) / "refs").iterdir()):
        at = path.stat().st_size - 60  # of a ref, the MAC; the last bytes of its blob are random
        flip(path, at)
        document = verified(film, *flags)
        assert document["damage"], path
        flip(path, at)
    slot = next((store(film) / "keys").iterdir())
    flip(slot, 0)
    assert "key slot" in verified(film, *flags)["damage"][0]["reason"]
    flip(slot, 0)
    assert film.json("verify", *flags)["ok"] is True


def test_a_lost_or_damaged_index_is_made_anew(film: Film) -> None:
    before = film.json("verify")
    blobs = sorted((store(film) / "index").iterdir())
    assert len(blobs) > 1
    flip(blobs[0], 100)
    blobs[1].unlink()
    assert "--rebuild-index" in film("log", exit_code=5)
    document = verified(film, "--quick")
    assert any("The index" in one["reason"] for one in document["damage"])
    assert document["index_lost"] is True
    assert "--rebuild-index" in film("verify", exit_code=5)
    mended = film.json("verify", "--rebuild-index")
    assert mended.pop("rebuilt") == {
        "packs": before["packs"],
        "objects": before["objects"],
        "left_out": 0,
    }
    before.pop("rebuilt")
    assert mended == before
    assert film("log", "--oneline").endswith("First cut\n")


def chunks(film: Film) -> int:
    return int(film.json("stats")["unique_chunks"])


def test_an_index_that_is_gone_is_told_by_the_objects_that_nothing_leads_to(film: Film) -> None:
    for blob in (store(film) / "index").iterdir():
        blob.unlink()
    document = verified(film, "--quick")
    assert "missing" in document["damage"][0]["reason"]
    assert document["index_lost"] is True
    film("verify", "--rebuild-index", "--quick")


Serve = Callable[..., str]


def served(film: Film, storage: Path, serve: Serve) -> None:
    film("remote", "add", "origin", f"{serve(storage)}/studio/film")
    film("push", "-u", "origin", "main")


def test_a_sound_remote_verifies(film: Film, tmp_path: Path, serve: Serve) -> None:
    served(film, tmp_path / "srv", serve)
    film("tag", "only-here")
    document = film.json("verify", "--remote", "origin")
    assert (document["ok"], document["refs"]) == (True, 1)
    assert document["place"].endswith("/studio/film")
    assert document["bytes"] > len(LARGE)
    assert film.json("verify", "--remote", "origin", "--quick")["bytes"] < len(LARGE) / 4
    assert "All good." in film("verify", "--remote", "origin")
    assert "no remote named elsewhere" in film("verify", "--remote", "elsewhere", exit_code=1)
    film("verify", "--remote", "origin", "--rebuild-index", exit_code=2)


def test_damage_at_a_remote_is_named_and_exits_5(film: Film, tmp_path: Path, serve: Serve) -> None:
    served(film, tmp_path / "srv", serve)
    large = max((tmp_path / "srv").rglob("packs/*/*"), key=lambda path: path.stat().st_size)
    flip(large, 1_000_000)
    document = verified(film, "--remote", "origin")
    (one,) = document["damage"]
    assert one["pack"] == large.name
    assert 524_288 + 1000 > 1_000_000 - one["offset"] > 0  # inside one frame
    assert document["affected"] == ["copy/movie.mov", "movie.mov"]
    film("verify", "--remote", "origin", exit_code=5)
    assert f"object {one['object']}" in film.output
    assert film.json("verify")["ok"] is True
    large.unlink()
    assert {one["reason"] for one in verified(film, "--remote", "origin")["damage"]}


def test_content_that_another_key_holder_sealed_under_a_wrong_name_is_found(tmp_path: Path) -> None:
    # Every checksum holds in a plain repository whose frame was made again with other content.
    film = new_film(tmp_path / "film", "--no-encryption")
    film.write("a.txt", LARGE[:1000])
    commit(film, "First cut")
    path, (row,) = rows(film, Kind.CHUNK)
    backend = LocalBackend(store(film))
    forged = reforged(backend.read(f"packs/{path.name[:2]}/{path.name}", row.offset, row.length))
    name = repack(backend, path, forged)
    (one,) = verified(film)["damage"]
    assert (one["object"], one["pack"]) == (row.id.hex(), name)
    assert "other content" in one["reason"]


def test_a_commit_whose_clear_link_was_redirected_is_not_looked_into(film: Film) -> None:
    # Whoever keeps the storage can write another tree into a commit's clear header, and a checksum that is right.
    first = film.json("log")[-1]["id"]
    (film.root / "empty").unlink()
    commit(film, "Without the empty file")
    second = film.json("log")[0]["id"]
    film("branch", "old", first)
    backend = LocalBackend(store(film))
    frames = FrameStore(backend, ObjectIndex(backend))
    place = frames.locate(bytes.fromhex(first))
    assert place is not None
    old, new = frames.read(bytes.fromhex(first)), frames.read(bytes.fromhex(second))
    tree = new.header.links[0]
    assert tree.kind is Kind.TREE
    header = replace(old.header, link_data=encode_links([tree]))
    path = store(film) / "packs" / place.pack_id.hex()[:2] / place.pack_id.hex()
    data = path.read_bytes()
    forged = build_frame(header, [old.body])
    path.write_bytes(data[: place.offset] + forged + data[place.offset + place.length :])
    assert frames.read(bytes.fromhex(first)).header.links == (tree,)
    files = sorted(film.root.iterdir())
    for verb in (("restore", "--source", first, "--", "."), ("switch", "old"), ("ls", first)):
        film(*verb, exit_code=5)
    assert sorted(film.root.iterdir()) == files
    assert film.json("status")["modified"] == []


def reforged(frame: bytes) -> bytes:
    """Return a frame of the same id and length with other content, its checksum right."""
    parsed = parse_frame(frame)
    body = bytearray(parsed.body)
    body[-1] ^= 1
    return bytes(build_frame(parsed.header, [bytes(body)]))


def repack(backend: LocalBackend, path: Path, frame: bytes) -> str:
    """Put a pack that holds only this frame in the place of another one, in the index too; return its name."""
    nonce = bytes(16)
    row = row_of(parse_frame(frame), PACK_HEADER_BYTES, plain=True)
    table = encode_table([row], plain=True)
    end = PACK_HEADER_BYTES + len(frame)
    data = encode_pack_header(nonce, plain=True) + frame + table + encode_footer(end, 1, table)
    name = pack_id(nonce, table)
    path.unlink()
    for stat in list(backend.scan("index/")):
        merged = merge_indexes(
            [IndexBlob(memoryview(backend.get(stat.key).data))], 0, dropped={bytes.fromhex(path.name)}
        )
        backend.delete(stat.key)
        backend.put(f"index/{index_id(merged).hex()}", merged, when=Absent())
    blob = encode_index({name: [row]}, 0)
    backend.put(f"packs/{name.hex()[:2]}/{name.hex()}", data, when=Absent())
    backend.put(f"index/{index_id(blob).hex()}", blob, when=Absent())
    return name.hex()
