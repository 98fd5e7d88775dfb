"""The worked examples of docs/formats and the committed fixtures, each built by today's code from fixed values.

`python -m tests.golden.samples` writes the fixtures that are not there yet; it never replaces one, since a fixture
is a promise to whoever stored such bytes.
"""

from pathlib import Path

from blake3 import blake3

from mediavault.formats import config, frame, index, metadata, pack, payload, ref, slot
from mediavault.model.ids import PLAIN_ID_SECRET, Kind, Link, Namer
from mediavault.model.objects import (
    Branch,
    Commit,
    ManifestEntry,
    ManifestNode,
    Mode,
    Moment,
    Person,
    Tag,
    TreeEntry,
    TreeNode,
)

FOLDER = Path(__file__).parent / "formats"

REPOSITORY = bytes(range(16))
NONCE = bytes(range(0xA0, 0xB0))
SALT = bytes(range(0x60, 0x80))
WRITTEN_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
SECONDS = 1_767_225_600
NAMER = Namer(PLAIN_ID_SECRET)
ADA = Person("Ada", "ada@example.org")
THEN = Moment(SECONDS, 60)

HELLO = b"hello"
WORLD = b"world"
HELLO_ID = NAMER.chunk(HELLO)
WORLD_ID = NAMER.chunk(WORLD)


def _filled(byte: int) -> bytes:
    return bytes((byte,)) * 32


TREE_LEAF = TreeNode(
    0,
    (
        TreeEntry("empty", Mode.FILE, 0, metadata.EMPTY_DIGEST, None),
        TreeEntry("hello.txt", Mode.FILE, 5, blake3(HELLO).digest(), Link(Kind.CHUNK, HELLO_ID)),
        TreeEntry("latest", Mode.SYMLINK, 9, blake3(b"hello.txt").digest(), None, "hello.txt"),
        TreeEntry("render", Mode.EXECUTABLE, 300_000, _filled(0x51), Link(Kind.MANIFEST, _filled(0x61))),
        TreeEntry("shots", Mode.TREE, 0, b"", Link(Kind.TREE, _filled(0x71))),
    ),
)
TREE_BRANCHES = TreeNode(1, (Branch(_filled(0x22), "m.exr"), Branch(_filled(0x11), "z.exr")))
MANIFEST_LEAF = ManifestNode(
    0,
    (
        ManifestEntry(_filled(0x0B), 131_072),
        ManifestEntry(_filled(0x0A), 65_536),
        ManifestEntry(_filled(0x0B), 131_072),
    ),
)
MANIFEST_BRANCHES = ManifestNode(2, (Branch(_filled(0x22), 5_000_000_000), Branch(_filled(0x11), 70_000)))
COMMIT = Commit(_filled(0x31), (_filled(0x42), _filled(0x41)), ADA, THEN, ADA, Moment(SECONDS + 60, -90), 8, "Grade\n")
FIRST_COMMIT = Commit(_filled(0x31), (), ADA, THEN, ADA, THEN, 1, "First cut")
TAG = Tag(Link(Kind.COMMIT, _filled(0x41)), "v1", ADA, THEN, "Locked picture")


def frame_of(kind: Kind, links: tuple[Link, ...], raw: bytes, generation: int = 0) -> bytes:
    """Return a plain frame of a raw payload."""
    body = payload.encode_payload(payload.Codec.RAW, len(raw), raw, padded=False)
    oid = NAMER.chunk(raw) if kind == Kind.CHUNK else NAMER.metadata(kind, links, raw)
    return frame.build_frame(frame.make_header(kind, oid, len(body), links=links, generation=generation), [body])


HELLO_FRAME = frame_of(Kind.CHUNK, (), HELLO)
WORLD_FRAME = frame_of(Kind.CHUNK, (), WORLD)
SEALED_HEADER = frame.make_header(
    Kind.COMMIT,
    _filled(0xC1),
    9 + 100 + 16,
    links=(Link(Kind.TREE, _filled(0x31)), Link(Kind.COMMIT, _filled(0x41))),
    generation=8,
    suite=frame.SUITE_AES_GCM,
    epoch=2,
    salt=SALT,
)
# Not really sealed: to this layer the stored bytes are opaque.
SEALED_FRAME = frame.build_frame(SEALED_HEADER, [bytes(range(125))])
PADDED = payload.encode_payload(payload.Codec.RAW, 100, bytes(range(100)), padded=True)


def pack_of(frames: list[bytes], *, plain: bool) -> tuple[bytes, bytes, list[pack.PackRow]]:
    """Return a pack's id, bytes and rows."""
    rows = []
    at = pack.PACK_HEADER_BYTES
    for one in frames:
        rows.append(pack.row_of(frame.parse_frame(one), at, plain=plain))
        at += len(one)
    table = pack.encode_table(rows, plain=plain)
    whole = b"".join(
        [pack.encode_pack_header(NONCE, plain=plain), *frames, table, pack.encode_footer(at, len(rows), table)],
    )
    return pack.pack_id(NONCE, table), whole, rows


PLAIN_PACK_ID, PLAIN_PACK, PLAIN_ROWS = pack_of([HELLO_FRAME, WORLD_FRAME], plain=True)
SEALED_PACK_ID, SEALED_PACK, SEALED_ROWS = pack_of([SEALED_FRAME], plain=False)
INDEX = index.encode_index(
    {PLAIN_PACK_ID: PLAIN_ROWS, _filled(0xF2): [PLAIN_ROWS[0]]},
    WRITTEN_NS,
    condemned={_filled(0xF2)},
)
LARGE_INDEX_ROWS = {
    _filled(pack_number): [
        pack.PackRow(
            blake3(bytes((pack_number, at >> 8, at & 255))).digest(), Kind.CHUNK, 24 + 1000 * at, 1000, bytes(16)
        )
        for at in range(400)
    ]
    for pack_number in (1, 2, 3)
}

PLACEHOLDER = ref.placeholder_value(REPOSITORY, "heads/main")
MOVED = ref.RefValue(
    REPOSITORY,
    "heads/main",
    epoch=2,
    seq=1,
    target=Link(Kind.COMMIT, _filled(0x41)),
    previous=ref.value_hash(ref.encode_ref_value(PLACEHOLDER)),
    time=SECONDS,
    mac=_filled(0xEE),
)
DELETED = ref.RefValue(
    REPOSITORY,
    "tags/Größe-2",
    epoch=0,
    seq=7,
    target=None,
    previous=_filled(0xDD),
    time=SECONDS,
    signature=b"signed",
)

PLAIN_CONFIG = config.RepositoryConfig(REPOSITORY, 0)
SEALED_CONFIG = config.RepositoryConfig(REPOSITORY, 1)
PASSPHRASE_SLOT = slot.PassphraseSlot(
    slot="passphrase-1",
    created="2026-01-01T00:00:00Z",
    label="Ada's",
    repository=REPOSITORY.hex(),
    epoch=0,
    time=3,
    memory=262_144,
    lanes=4,
    salt=NONCE,
    commitment=_filled(0x0C),
    wrap_salt=SALT,
    wrapped=_filled(0x0D) + NONCE,
)
RECOVERY_SLOT = slot.RecoverySlot(
    slot="recovery",
    created="2026-01-01T00:00:00Z",
    label="",
    repository=REPOSITORY.hex(),
    epoch=0,
    public=_filled(0x01) * 38,
    sealed=_filled(0x02) * 36 + NONCE,
    root=_filled(0x03),
    mac=_filled(0x04),
)


def _node(encoded: tuple[tuple[Link, ...], bytes], kind: Kind, generation: int = 0) -> bytes:
    return frame_of(kind, *encoded, generation)


EXAMPLES: dict[str, bytes] = {
    "frame-chunk": HELLO_FRAME,
    "frame-sealed-header": frame.encode_header(SEALED_HEADER),
    "payload-padded": PADDED,
    "pack": PLAIN_PACK,
    "index": INDEX,
    "commit": metadata.encode_commit(COMMIT)[1],
    "tag": metadata.encode_tag(TAG)[1],
    "tree-leaf": metadata.encode_tree_node(TREE_LEAF)[1],
    "tree-branches": metadata.encode_tree_node(TREE_BRANCHES)[1],
    "manifest-leaf": metadata.encode_manifest_node(MANIFEST_LEAF)[1],
    "manifest-branches": metadata.encode_manifest_node(MANIFEST_BRANCHES)[1],
    "ref-placeholder": ref.encode_ref_value(PLACEHOLDER),
    "ref-moved": ref.encode_ref_value(MOVED),
    "config-plain": config.encode_config(PLAIN_CONFIG),
    "config-fingerprint": config.fingerprint(config.encode_config(PLAIN_CONFIG)),
    "slot-passphrase": slot.encode_slot(PASSPHRASE_SLOT),
}
"""What a fenced block in docs/formats shows, by the name in the comment above the block."""

FIXTURES: dict[str, bytes] = {
    "chunk.frame": HELLO_FRAME,
    "sealed.frame": SEALED_FRAME,
    "commit.frame": _node(metadata.encode_commit(COMMIT), Kind.COMMIT, 8),
    "first-commit.frame": _node(metadata.encode_commit(FIRST_COMMIT), Kind.COMMIT, 1),
    "tag.frame": _node(metadata.encode_tag(TAG), Kind.TAG),
    "tree-leaf.frame": _node(metadata.encode_tree_node(TREE_LEAF), Kind.TREE),
    "empty-tree.frame": _node(metadata.encode_tree_node(TreeNode(0, ())), Kind.TREE),
    "tree-branches.frame": _node(metadata.encode_tree_node(TREE_BRANCHES), Kind.TREE),
    "manifest-leaf.frame": _node(metadata.encode_manifest_node(MANIFEST_LEAF), Kind.MANIFEST),
    "manifest-branches.frame": _node(metadata.encode_manifest_node(MANIFEST_BRANCHES), Kind.MANIFEST),
    "padded.payload": PADDED,
    "plain.pack": PLAIN_PACK,
    "sealed.pack": SEALED_PACK,
    "small.index": INDEX,
    "large.index": index.encode_index(LARGE_INDEX_ROWS, WRITTEN_NS),
    "placeholder.ref": ref.encode_ref_value(PLACEHOLDER),
    "moved.ref": ref.encode_ref_value(MOVED),
    "deleted.ref": ref.encode_ref_value(DELETED),
    "plain.config": config.encode_config(PLAIN_CONFIG),
    "sealed.config": config.encode_config(SEALED_CONFIG),
    "passphrase.slot": slot.encode_slot(PASSPHRASE_SLOT),
    "recovery.slot": slot.encode_slot(RECOVERY_SLOT),
}
"""What stands in the files beside this one."""


def main() -> None:
    """Write the fixtures that are missing."""
    FOLDER.mkdir(exist_ok=True)
    for name, data in FIXTURES.items():
        path = FOLDER / name
        if not path.exists():
            path.write_bytes(data)
            print(f"wrote {name}, {len(data)} bytes")


if __name__ == "__main__":
    main()
