"""Bytes that were stored once must be made again alike, and read for ever."""

import pytest

from mediavault.formats import config, frame, index, metadata, pack, payload, ref, slot
from mediavault.model.ids import Kind
from tests.golden import samples


@pytest.mark.parametrize("name", sorted(samples.FIXTURES))
def test_todays_code_makes_the_committed_bytes(name: str) -> None:
    assert samples.FIXTURES[name] == (samples.FOLDER / name).read_bytes()


def test_every_committed_file_is_a_fixture() -> None:
    assert {path.name for path in samples.FOLDER.iterdir()} == set(samples.FIXTURES)


def _frame(name: str) -> frame.Frame:
    data = (samples.FOLDER / name).read_bytes()
    parsed = frame.parse_frame(data)
    assert parsed.size == len(data)
    return parsed


def _raw(parsed: frame.Frame) -> bytes:
    return bytes(payload.decode_payload(parsed.body).data)


def test_chunk_frame_is_read() -> None:
    parsed = _frame("chunk.frame")
    assert (parsed.header.kind, parsed.header.id, _raw(parsed)) == (Kind.CHUNK, samples.HELLO_ID, b"hello")


def test_sealed_frame_is_read() -> None:
    parsed = _frame("sealed.frame")
    assert parsed.header == samples.SEALED_HEADER
    assert bytes(parsed.body) == bytes(range(125))
    assert parsed.aad == frame.encode_header(samples.SEALED_HEADER)


@pytest.mark.parametrize(("name", "commit"), [("commit", samples.COMMIT), ("first-commit", samples.FIRST_COMMIT)])
def test_commits_are_read(name: str, commit: object) -> None:
    parsed = _frame(f"{name}.frame")
    assert metadata.decode_commit(parsed.header.links, _raw(parsed), parsed.header.generation) == commit
    assert samples.NAMER.metadata(Kind.COMMIT, parsed.header.links, _raw(parsed)) == parsed.header.id


def test_tag_is_read() -> None:
    parsed = _frame("tag.frame")
    assert metadata.decode_tag(parsed.header.links, _raw(parsed)) == samples.TAG


def test_nodes_are_read() -> None:
    for name, node in (("tree-leaf", samples.TREE_LEAF), ("tree-branches", samples.TREE_BRANCHES)):
        parsed = _frame(f"{name}.frame")
        assert metadata.decode_tree_node(parsed.header.links, _raw(parsed)) == node
    for name, manifest in (("manifest-leaf", samples.MANIFEST_LEAF), ("manifest-branches", samples.MANIFEST_BRANCHES)):
        parsed = _frame(f"{name}.frame")
        assert metadata.decode_manifest_node(parsed.header.links, _raw(parsed)) == manifest
    parsed = _frame("empty-tree.frame")
    assert metadata.decode_tree_node(parsed.header.links, _raw(parsed)).entries == ()


@pytest.mark.parametrize(("name", "rows"), [("plain.pack", samples.PLAIN_ROWS), ("sealed.pack", samples.SEALED_ROWS)])
def test_packs_are_read(name: str, rows: list[pack.PackRow]) -> None:
    data = (samples.FOLDER / name).read_bytes()
    header = pack.parse_pack_header(data)
    footer = pack.parse_footer(data)
    table = data[footer.table_offset : -pack.PACK_FOOTER_BYTES]
    assert header == pack.PackHeader(samples.NONCE, plain=name == "plain.pack")
    assert pack.parse_table(table, footer, header.plain) == rows
    walked = [pack.row_of(one, at, header.plain) for at, one in pack.walk_frames(data)]
    assert walked == rows


def test_small_index_is_read() -> None:
    blob = index.IndexBlob((samples.FOLDER / "small.index").read_bytes())
    assert blob.written_ns == samples.WRITTEN_NS
    assert [entry.condemned for entry in blob.packs] == [False, True]
    places = blob.find(samples.HELLO_ID)
    assert [(place.pack_id, place.offset, place.length) for place in places] == [
        (samples.PLAIN_PACK_ID, 24, 85),
        (bytes((0xF2,)) * 32, 24, 85),
    ]
    assert len(blob.find(samples.WORLD_ID)) == 1


def test_large_index_is_read() -> None:
    blob = index.IndexBlob((samples.FOLDER / "large.index").read_bytes())
    assert len(blob) == 1200
    for pack_id, rows in samples.LARGE_INDEX_ROWS.items():
        for row in rows:
            assert blob.find(row.id) == [index.Located(pack_id, row.offset, row.length, row.kind)]


@pytest.mark.parametrize(
    ("name", "value"),
    [("placeholder.ref", samples.PLACEHOLDER), ("moved.ref", samples.MOVED), ("deleted.ref", samples.DELETED)],
)
def test_refs_are_read(name: str, value: ref.RefValue) -> None:
    assert ref.decode_ref_value((samples.FOLDER / name).read_bytes()) == value


def test_configs_are_read() -> None:
    assert config.decode_config((samples.FOLDER / "plain.config").read_bytes()) == samples.PLAIN_CONFIG
    assert config.decode_config((samples.FOLDER / "sealed.config").read_bytes()) == samples.SEALED_CONFIG


def test_slots_are_read() -> None:
    assert slot.decode_slot((samples.FOLDER / "passphrase.slot").read_bytes()) == samples.PASSPHRASE_SLOT
    assert slot.decode_slot((samples.FOLDER / "recovery.slot").read_bytes()) == samples.RECOVERY_SLOT


def test_padded_payload_is_read() -> None:
    data = (samples.FOLDER / "padded.payload").read_bytes()
    assert bytes(payload.decode_payload(data).data) == bytes(range(100))
