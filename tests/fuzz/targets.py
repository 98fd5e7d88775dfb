"""What is fuzzed: for each parser of foreign bytes, how to feed it, what it may raise, and good input to start from.

A check feeds one input and asserts what must hold besides "only these errors": a canonical format that was accepted
encodes to the same bytes again. Where a checksum stands between random bytes and the grammar behind it, a check mends
the checksum first. `python -m tests.fuzz` looks for new inputs, `test_corpora.py` replays those that were kept.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import msgspec
from blake3 import blake3

from mediavault import config as settings
from mediavault.codecs import zstd
from mediavault.errors import (
    ConfigError,
    FormatError,
    IntegrityError,
    MediaVaultError,
    NotAllowedError,
    NotFoundError,
    UnsupportedFormatError,
    UsageError,
)
from mediavault.formats import config, frame, index, metadata, pack, payload, ref, slot, wire
from mediavault.history.resolve import Resolver
from mediavault.keys import recovery
from mediavault.keys.hierarchy import RepositoryKeys
from mediavault.keys.keystore import KeyStore
from mediavault.keys.slots import make_recovery_slot, unlock
from mediavault.model import names
from mediavault.model.ids import Kind, Link, ObjectId, decode_links, encode_links, parse_id
from mediavault.model.objects import Commit, Mode, Moment, Person, Tag
from mediavault.store.pack_table import parse_pack
from mediavault.wire import problems
from mediavault.wire.client import HttpRemote, error_for, split_url
from mediavault.wire.http import Answer
from mediavault.workspace.attributes import ATTRIBUTES_FILE, AttributeRules
from mediavault.workspace.ignore import IGNORE_FILE, IgnoreRules
from mediavault.workspace.journal import (
    Delete,
    Intent,
    Journal,
    Lists,
    Stamp,
    Write,
    WriteList,
    decode_journal,
    encode_journal,
)
from mediavault.workspace.layout import Head, decode_head, encode_head
from mediavault.workspace.stage import StageRow
from mediavault_backends.keys import check_key, decode_segment, encode_segment
from tests.fuzz import asgi
from tests.golden import samples

Check: TypeAlias = Callable[[bytes], object]

FORMAT: Final = (FormatError, UnsupportedFormatError)


@dataclass(frozen=True, slots=True)
class Target:
    """One parser.

    Attributes:
        opened: gives the check, with whatever it stands on.
        refusals: the errors by which the parser may refuse its input.
        seeds: good input.
        longest: bytes of an input.
        memory: bytes that Python may hold at its peak, besides 2 MiB and 64 times the input.
    """

    opened: Callable[[], AbstractContextManager[Check]]
    refusals: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]
    longest: int = 4096
    memory: int = 0


def attempt(target: Target, check: Check, data: bytes) -> bool:
    """Feed an input; return whether it was accepted. Anything but a refusal comes through."""
    try:
        check(data)
    except target.refusals:
        return False
    return True


def _pure(
    check: Check, seeds: tuple[bytes, ...], *refusals: type[Exception], longest: int = 4096, memory: int = 0
) -> Target:
    return Target(lambda: nullcontext(check), refusals or FORMAT, seeds, longest, memory)


def _fixtures(ending: str) -> tuple[bytes, ...]:
    return tuple(data for name, data in samples.FIXTURES.items() if name.endswith(ending) and len(data) <= 4096)


# --- frames, payloads, compression


def _frame(data: bytes) -> None:
    size = frame.frame_size(data)
    parsed = frame.parse_frame(data)
    assert size == parsed.size == len(parsed.data)
    assert frame.encode_header(parsed.header) == parsed.aad
    assert frame.build_frame(parsed.header, [parsed.body]) == data[:size]
    assert encode_links(parsed.header.links) == parsed.header.link_data


def _mended_frame(data: bytes) -> None:
    """Give the stored length and the checksum that fit, so that the grammar behind them is reached."""
    whole = bytearray(data)
    if len(data) >= 43:
        count = int.from_bytes(data[39:43], "little")
        at = 43 + 33 * count + (40 if data[2] else 8)
        if count <= frame.MAX_LINKS and at + 4 <= len(data):
            whole[at : at + 4] = (len(data) - at - 4).to_bytes(4, "little")
    _frame(bytes(whole) + blake3(whole).digest(16))


def _payload(data: bytes) -> None:
    parsed = payload.decode_payload(data)
    padded = payload.PAYLOAD_HEAD_BYTES + len(parsed.data) != len(data)
    assert payload.encode_payload(parsed.codec, parsed.raw_length, parsed.data, padded) == data
    if parsed.codec is payload.Codec.ZSTD:
        assert len(zstd.decompress(parsed.data, parsed.raw_length)) == parsed.raw_length


def _zstd(data: bytes) -> None:
    declared = int.from_bytes(data[:4], "little") % (frame.MAX_CHUNK_RAW + 1)
    assert len(zstd.decompress(data[4:], declared)) == declared


def _zstd_seeds() -> tuple[bytes, ...]:
    texts = (b"a" * 1000, bytes(range(256)) * 8, b"frame " * 200 + bytes(range(99)), bytes(1 << 17))
    return tuple(len(text).to_bytes(4, "little") + (zstd.compress(text) or b"") for text in texts)


# --- packs and indexes


def _pack(data: bytes) -> None:
    table = parse_pack(lambda start, length: data[start : start + length], len(data))
    stored = pack.encode_table(table.rows, table.plain)
    footer = pack.encode_footer(table.end, len(table.rows), stored)
    header = pack.parse_pack_header(data)
    assert pack.encode_pack_header(header.nonce, header.plain) == data[: pack.PACK_HEADER_BYTES]
    assert stored + footer == data[table.end :]
    for row in table.rows:
        with suppress(*FORMAT):
            pack.row_of(frame.parse_frame(data, row.offset), row.offset, table.plain)


def _mended_pack(data: bytes) -> None:
    """Give a table that ends where the footer starts, and the hash that fits it."""
    if len(data) > pack.PACK_HEADER_BYTES + pack.PACK_FOOTER_BYTES:
        size = pack.row_bytes(bool(data[6] & 1))
        end = len(data) - pack.PACK_FOOTER_BYTES
        rows = min(max(1, data[end + 8]), (end - pack.PACK_HEADER_BYTES) // size)
        start = end - rows * size
        data = data[:end] + pack.encode_footer(start, rows, data[start:end])
    _pack(data)


def _walk(data: bytes) -> None:
    found = [(at, bytes(one.data)) for at, one in pack.walk_frames(data, start=0)]
    read = lambda start, length: data[start : start + length]  # noqa: E731 -- as its neighbours take it
    assert [(at, bytes(one.data)) for at, one in pack.walk_frames_in(read, start=0, end=len(data))] == found
    assert b"".join(one for _, one in found) == data[: sum(len(one) for _, one in found)]


def _index(data: bytes) -> None:
    blob = index.IndexBlob(data)
    for at in range(0, min(len(data) - 31, 600), 7):
        with suppress(FormatError):
            blob.find(data[at : at + 32])
    rows = list(blob.rows())
    assert len(rows) == len(blob)
    merged = index.IndexBlob(index.merge_indexes([blob], blob.written_ns))
    assert sorted(map(repr, merged.rows())) == sorted(map(repr, rows))
    for oid, place in rows:
        assert place in merged.find(oid)


# --- metadata: one byte counts the links, one byte each gives its kind, the rest is the payload


def _parts(data: bytes) -> tuple[tuple[Link, ...], bytes]:
    count = data[0] if data else 0
    kinds = sorted(1 + byte % len(Kind) for byte in data[1 : 1 + count])
    links = tuple(Link(Kind(kind), at.to_bytes(32, "big")) for at, kind in enumerate(kinds))
    return links, data[1 + count :]


def _joined(encoded: tuple[tuple[Link, ...], bytes]) -> bytes:
    links, stored = encoded
    return bytes((len(links),)) + bytes(link.kind - 1 for link in links) + stored


def _commit(data: bytes) -> None:
    links, stored = _parts(data)
    for generation in (1, 8):
        try:
            commit = metadata.decode_commit(links, stored, generation)
        except FormatError:
            continue
        assert metadata.encode_commit(commit) == (links, stored)
        return
    metadata.decode_commit(links, stored, 2)


def _tag(data: bytes) -> None:
    links, stored = _parts(data)
    assert metadata.encode_tag(metadata.decode_tag(links, stored)) == (links, stored)


def _tree(data: bytes) -> None:
    links, stored = _parts(data)
    node = metadata.decode_tree_node(links, stored)
    assert metadata.encode_tree_node(node) == (links, stored)
    assert len(stored) + 33 * len(links) <= 5 + sum(map(metadata.encoded_size, node.entries))


def _manifest(data: bytes) -> None:
    links, stored = _parts(data)
    node = metadata.decode_manifest_node(links, stored)
    assert metadata.encode_manifest_node(node) == (links, stored)


def _links(data: bytes) -> None:
    assert encode_links(decode_links(data)) == data


# --- refs, config, slots, messages


def _ref(data: bytes) -> None:
    value = ref.decode_ref_value(data)
    assert ref.encode_ref_value(value) == data
    assert ref.split_ref_blob(ref.encode_ref_blob(data, bytes(16))) == (data, bytes(16))


def _config(data: bytes) -> None:
    assert config.encode_config(config.decode_config(data)) == data


def _slot(data: bytes) -> None:
    assert slot.encode_slot(slot.decode_slot(data)) == data


_MESSAGES: Final[tuple[type[msgspec.Struct], ...]] = (
    wire.CheckRequest,
    wire.CheckResponse,
    wire.PackRequest,
    wire.RefList,
    wire.SlotList,
    wire.LogList,
    wire.Capabilities,
    wire.Problem,
)
_IDS: Final = '["' + "ab" * 32 + '"]'
_MESSAGE_SEEDS: Final = tuple(
    bytes((at,)) + text.encode()
    for at, text in enumerate(
        (
            f'{{"chunks":{_IDS}}}',
            f'{{"missing":{_IDS}}}',
            f'{{"want":{_IDS},"have":[]}}',
            '{"refs":[{"name":"heads/main","etag":"x","value":"AAAA"}]}',
            '{"slots":["recovery"]}',
            '{"values":["AAAA"]}',
            '{"protocol":1,"max_pack":268435456,"max_ids":65536}',
            f'{{"type":"urn:x","title":"t","status":404,"detail":"d","missing":{_IDS}}}',
        )
    )
)


def _message(data: bytes) -> None:
    kind = _MESSAGES[data[0] % len(_MESSAGES)] if data else wire.RefList
    message = wire.decode_json(data[1:], kind)
    assert wire.decode_json(wire.encode_json(message), kind) == message


def _lists(data: bytes) -> None:
    """The first byte chooses: ids, located rows, an ETag, an id in hex, located rows with URLs."""
    kind, rest = data[0] % 5 if data else 0, data[1:]
    if kind == 0:
        assert wire.encode_ids(wire.decode_ids(rest)) == rest
    elif kind == 1:
        assert wire.encode_located(wire.decode_located(rest)) == rest
    elif kind == 2:
        text = rest.decode("latin-1")
        assert wire.etag_of(wire.parse_etag(text)) == text
    elif kind == 4:
        assert wire.encode_signed_rows(wire.decode_signed_rows(rest)) == rest
    else:
        text = rest.decode("latin-1")
        assert parse_id(text).hex() == text


# --- names


def _entry_name(data: bytes) -> None:
    name = data.decode("utf-8", "surrogateescape")
    names.check_path(name)
    for part in name.split("/"):
        names.check_entry_name(part)
        assert part not in {"", ".", "..", ".git", ".mediagit"}
        assert "\0" not in part
    key = names.collision_key(name)
    assert names.collision_key(key) == key


def _ref_name(data: bytes) -> None:
    name = data.decode("utf-8", "surrogateescape")
    names.check_ref_name(name)
    segment = encode_segment(name)
    assert decode_segment(segment) == name
    check_key(f"logs/refs/{segment}/{(1 << 63) - 1}-0123456789abcdef")


def _segment(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    assert encode_segment(decode_segment(text)) == text


def _url(data: bytes) -> None:
    origin, path = split_url(data.decode("utf-8", "surrogateescape"))
    assert split_url(origin + path) == (origin, path)


# --- the checkout's own files


def _head(data: bytes) -> None:
    head = decode_head(data)
    assert decode_head(encode_head(head)) == head


def _journal(data: bytes) -> None:
    """A journal is believed only under its hash, which is given here."""
    journal = decode_journal(data + blake3(data).digest(), Path("journal"))
    for write in journal.writes:
        write.row().entry()
        assert not Path(write.path).is_absolute()
        assert ".." not in Path(write.path).parts
    again = decode_journal(b"".join(encode_journal(journal)), Path("journal"))
    assert (again.intent, again.lists, list(again.writes)) == (journal.intent, journal.lists, list(journal.writes))


def _journal_seeds() -> tuple[bytes, ...]:
    stamp = Stamp(Mode.FILE, 5, 10**18, 10**18, 77)
    chunk = b"\x01" + samples.HELLO_ID
    writes = WriteList()
    for write in (
        Write("a", Mode.FILE, 5, bytes(32), chunk, "", stamp),
        Write("b/c", Mode.EXECUTABLE, 5, bytes(32), chunk, "", None),
        Write("b/l", Mode.SYMLINK, 1, bytes(32), b"", "a", None, only_mode=True),
    ):
        writes.append(write)
    kept = [
        StageRow("k", Mode.FILE, 0, bytes(32), None),
        StageRow("l", Mode.FILE, 1, bytes(32), Link(Kind.CHUNK, bytes(32))),
    ]
    full = Lists([Delete("d/e", stamp)], ["f"], ["g"], kept, ["h"], [("", bytes(32))], keep_stage=False)
    nothing = Lists([], [], [], [], [], [], keep_stage=True)
    journals = (
        Journal(Intent("switch to 'x'", Head("x")), full, writes),
        Journal(Intent("pull", None, "heads/main", bytes(32), bytes(32)), nothing, WriteList()),
    )
    return tuple(b"".join(encode_journal(journal))[:-32] for journal in journals)


def _toml(data: bytes) -> None:
    text = data.decode("utf-8")
    values = dict(settings.parse_text(text))
    edited = dict(settings.parse_text(settings.edit_text(text, "user.name", "Ada")))
    assert edited == {**values, "user.name": "Ada"}
    removed = dict(settings.parse_text(settings.edit_text(text, "user.name", None)))
    assert removed == {key: value for key, value in values.items() if key != "user.name"}


_TOML: Final = b"""# a comment
[user]
name = "Ada"    # kept
email = 'ada@example.org'

[core]
pack_size = "64MiB"
compression_level = 3
padding = true

[remote.origin]
url = "http://127.0.0.1:3000/studio/film"

[remote."my.nas"]
url = "https://nas/a/b"

[network]
stall_timeout = 1.5
"""


def _size(data: bytes) -> None:
    assert isinstance(settings.parse_size(data.decode("latin-1")), int)


@contextmanager
def _ignore() -> Iterator[Check]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)

        def check(data: bytes) -> None:
            (root / IGNORE_FILE).write_bytes(data)
            rules = IgnoreRules(root)
            for path in ("a", "render/frame.0001.exr", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "x/y/z/tmp", "ü[1]"):
                rules.ignores(path)
                rules.ignores(path, is_folder=True)

        yield check


@contextmanager
def _attributes() -> Iterator[Check]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)

        def check(data: bytes) -> None:
            (root / ATTRIBUTES_FILE).write_bytes(data)
            rules = AttributeRules(root)
            for path in ("a", "render/frame.0001.exr", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"):
                rules.of(path)

        yield check


@contextmanager
def _key_file() -> Iterator[Check]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{samples.REPOSITORY.hex()}.json"
        path.touch(mode=0o600)
        store = KeyStore(Path(folder), "file")

        def check(data: bytes) -> None:
            path.write_bytes(data)
            assert store.load(samples.REPOSITORY, bytes(32)) is not None

        yield check


_KEY_FILE: Final = b'{"repository":"%b","fingerprint":"%b","epochs":{"0":"%b"}}' % (
    samples.REPOSITORY.hex().encode(),
    bytes(32).hex().encode(),
    b"A" * 43 + b"=",
)


# --- what a person types


class _OneRef(NamedTuple):
    name: str
    target: Link | None


class _History:
    """Two commits, a merge of them, a tag, and refs to them."""

    def __init__(self) -> None:
        self.ids = [bytes((0xA0 + at,)) * 32 for at in range(3)]
        first, second, merge = self.ids
        self._parents: dict[ObjectId, tuple[ObjectId, ...]] = {first: (), second: (first,), merge: (second, first)}

    def commit(self, oid: ObjectId) -> Commit:
        if oid not in self._parents:
            raise IntegrityError("There is no such commit.")
        generation = 1 + self.ids.index(oid)
        who, when = Person("A", "a@b"), Moment(0, 0)
        return Commit(bytes(32), self._parents[oid], who, when, who, when, generation, "m")

    def tag(self, oid: ObjectId) -> Tag:
        return Tag(Link(Kind.COMMIT, self.ids[1]), "v1", Person("A", "a@b"), Moment(0, 0), oid.hex())

    def list(self, prefix: str = "") -> list[_OneRef]:
        refs = (
            _OneRef("heads/main", Link(Kind.COMMIT, self.ids[2])),
            _OneRef("tags/v1", Link(Kind.TAG, bytes(32))),
            _OneRef("tags/tree", Link(Kind.TREE, bytes(32))),
            _OneRef("remotes/origin/main", Link(Kind.COMMIT, self.ids[0])),
            _OneRef("heads/gone", None),
        )
        return [one for one in refs if one.name.startswith(prefix)]


def _revision(data: bytes) -> None:
    history = _History()
    found = Resolver(history, history, history.ids[2]).resolve(data.decode("utf-8", "surrogateescape"))
    assert found.commit in history.ids


_CODE: Final = bytes(range(32))


def _recovery_code(data: bytes) -> None:
    code = recovery.read_code(data.decode("utf-8", "surrogateescape"))
    assert recovery.read_code(recovery.show_code(code)) == code


_KEYS: Final = RepositoryKeys(samples.REPOSITORY, {0: b"k" * 32})


def _recovery_slot(data: bytes) -> None:
    """A slot of which the sealed key and what vouches for it are replaced: sealed, root, MAC, then a bit of a label."""
    good = slot.decode_slot(_recovery_slot_blob())
    assert isinstance(good, slot.RecoverySlot)
    made = msgspec.structs.replace(
        good,
        sealed=data[:1168].ljust(1168, b"\0"),
        root=data[1168:1200].ljust(32, b"\0"),
        mac=data[1200:1232].ljust(32, b"\0"),
    )
    keys = unlock({"r": slot.encode_slot(made)}, _CODE, repository=samples.REPOSITORY, fingerprint=bytes(32))
    assert keys.epochs == _KEYS.epochs


def _recovery_slot_blob() -> bytes:
    if not _made_slot:
        created = "2026-01-01T00:00:00Z"
        _made_slot.append(make_recovery_slot(_KEYS, "r", _CODE, fingerprint=bytes(32), created=created))
    return _made_slot[0]


_made_slot: Final[list[bytes]] = []


def _recovery_slot_seed() -> bytes:
    good = slot.decode_slot(_recovery_slot_blob())
    assert isinstance(good, slot.RecoverySlot)
    return good.sealed + good.root + good.mac


# --- the wire


class _OneAnswer:
    """A connection on which every question gets the same answer."""

    origin = "http://test"

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def ask(self, *_: object) -> Answer:
        return self._answer


_STATUSES: Final = (200, 201, 204, 206, 304, 400, 401, 403, 404, 409, 412, 413, 416, 422, 428, 500, 501, 503, 507)
_CALLS: Final[tuple[Callable[[HttpRemote], object], ...]] = (
    HttpRemote.config,
    HttpRemote.refs,
    HttpRemote.slots,
    lambda remote: remote.ref_log("heads/main"),
    lambda remote: remote.missing([bytes(32)]),
    lambda remote: remote.locate([bytes(32)]),
    lambda remote: remote.put_ref(samples.FIXTURES["moved.ref"], None),
    lambda remote: remote.put_slot("r", b"", None),
    lambda remote: remote.create(b"{}", {}),
)


def _answer(data: bytes) -> None:
    """Which call, which status, which headers; the rest is the body."""
    call, status, flags = (*data[:3], 0, 0, 0)[:3]
    headers = {"Content-Type": problems.MEDIA_TYPE} if flags & 1 else {}
    if flags & 2:
        numbers = (data[3:4] or b"1").decode("latin-1"), str(flags << 20), str(flags)
        headers |= dict(zip(("X-Mediagit-Protocol", "X-Mediagit-Max-Pack", "X-Mediagit-Max-Ids"), numbers, strict=True))
    answer = Answer(_STATUSES[status % len(_STATUSES)], headers, data[3:])
    assert isinstance(error_for(answer, "http://test"), MediaVaultError)
    remote = HttpRemote("http://127.0.0.1:9/a/b")
    remote.close()
    remote._wire = _OneAnswer(answer)  # type: ignore[assignment] # it has what is asked of it
    _CALLS[call % len(_CALLS)](remote)


def _answer_seeds() -> tuple[bytes, ...]:
    value = samples.FIXTURES["moved.ref"]
    row = wire.RefRow("heads/main", wire.etag_of(ref.value_hash(value)), _base64(value))
    located = wire.encode_located([wire.LocatedRow(bytes(32), bytes(32), 24, 99)])
    refusals = [
        wire.encode_json(wire.Problem(kind.uri, kind.title, kind.status, "d", ["ab" * 32], "1" * 32, "2" * 32))
        for kind in problems.ALL
    ]
    numbers = {kind.uri: _STATUSES.index(kind.status) for kind in problems.ALL if kind.status in _STATUSES}
    return (
        b"\x00\x00\x02" + b"1",
        b"\x01\x00\x00" + wire.encode_json(wire.RefList([row])),
        b"\x02\x00\x00" + wire.encode_json(wire.SlotList(["r"])),
        b"\x03\x00\x00" + wire.encode_json(wire.LogList([_base64(value)])),
        b"\x04\x00\x00" + bytes(32),
        b"\x05\x00\x00" + located,
        b"\x06\x0a\x00" + value,
        *(
            bytes((at % len(_CALLS), numbers.get(kind.uri, 0), 1)) + body
            for at, (kind, body) in enumerate(zip(problems.ALL, refusals, strict=True))
        ),
    )


def _base64(data: bytes) -> str:
    return msgspec.to_builtins(data)  # type: ignore[no-any-return] # bytes become base64 text


def _many_payloads() -> tuple[bytes, ...]:
    raw = b"light" * 50
    packed = zstd.compress(raw) or b""
    return (
        samples.PADDED,
        payload.encode_payload(payload.Codec.RAW, 5, b"hello", padded=False),
        *(payload.encode_payload(payload.Codec.ZSTD, len(raw), packed, padded) for padded in (False, True)),
    )


TARGETS: Final[Mapping[str, Target]] = {
    "frame": _pure(_frame, _fixtures(".frame")),
    "frame-mended": _pure(_mended_frame, tuple(data[:-16] for data in _fixtures(".frame"))),
    "payload": _pure(_payload, _many_payloads(), memory=34 << 20),
    "zstd": _pure(_zstd, _zstd_seeds(), memory=34 << 20),
    "pack": _pure(_pack, _fixtures(".pack")),
    "pack-mended": _pure(_mended_pack, _fixtures(".pack")),
    "pack-walk": _pure(_walk, (samples.HELLO_FRAME + samples.WORLD_FRAME, samples.SEALED_FRAME + b"x")),
    "index": _pure(_index, _fixtures(".index"), longest=2048),
    "commit": _pure(
        _commit,
        (_joined(metadata.encode_commit(samples.COMMIT)), _joined(metadata.encode_commit(samples.FIRST_COMMIT))),
    ),
    "tag": _pure(_tag, (_joined(metadata.encode_tag(samples.TAG)),)),
    "tree": _pure(
        _tree, tuple(_joined(metadata.encode_tree_node(node)) for node in (samples.TREE_LEAF, samples.TREE_BRANCHES))
    ),
    "manifest": _pure(
        _manifest,
        tuple(
            _joined(metadata.encode_manifest_node(node)) for node in (samples.MANIFEST_LEAF, samples.MANIFEST_BRANCHES)
        ),
    ),
    "links": _pure(_links, (encode_links([Link(Kind.TREE, bytes(32)), Link(Kind.COMMIT, bytes(32))]),)),
    "ref": _pure(_ref, _fixtures(".ref")),
    "config": _pure(_config, _fixtures(".config")),
    "slot": _pure(_slot, _fixtures(".slot")),
    "message": _pure(_message, _MESSAGE_SEEDS),
    "lists": _pure(
        _lists,
        (b"\x00" + bytes(64), b"\x01" + bytes(152), b"\x02" + wire.etag_of(bytes(32)).encode(), b"\x03" + b"ab" * 32),
        FormatError,
        UsageError,
    ),
    "entry-name": _pure(_entry_name, ("a/é/render.0001.exr".encode(), b"con.txt", b"a\xff"), FormatError),
    "ref-name": _pure(_ref_name, ("heads/Größe/x".encode(), b"tags/v1.0"), UsageError),
    "segment": _pure(_segment, (b"heads%2Fmain", b"%2Ea%C3%BC"), ValueError),
    "url": _pure(_url, (b"http://127.0.0.1:3000/studio/film", b"https://[::1]/a/b"), UsageError),
    "head": _pure(_head, (b"ref: heads/main\n", b"ab" * 32 + b"\n"), IntegrityError),
    "journal": _pure(_journal, _journal_seeds(), IntegrityError),
    "toml": _pure(_toml, (_TOML, b"server.port = 80\n"), ConfigError, UnicodeDecodeError, memory=16 << 20),
    "size": _pure(_size, (b"64MiB", b"1.5 GiB"), ConfigError),
    "ignore": Target(
        _ignore, (ConfigError,), (b"*.tmp\n!keep.tmp\n/render/**/x\n[a-c]?\\#\n# note\n", b"a/**\n**/b\n"), longest=512
    ),
    "attributes": Target(_attributes, (ConfigError,), (b"*.exr compress=off\n/render/** -compress\n",), longest=512),
    "key-file": Target(_key_file, (IntegrityError, NotAllowedError), (_KEY_FILE,)),
    "revision": _pure(
        _revision, (b"HEAD~1^1", b"origin/main", b"a2a2~2", b"v1^", b"@^2"), UsageError, NotFoundError, IntegrityError
    ),
    "recovery-code": _pure(_recovery_code, (recovery.show_code(_CODE).encode(),), UsageError),
    "recovery-slot": _pure(
        _recovery_slot, (_recovery_slot_seed(),), NotAllowedError, IntegrityError, UnsupportedFormatError
    ),
    "answer": _pure(_answer, _answer_seeds(), MediaVaultError),
    "request": Target(asgi.opened, (), asgi.SEEDS, memory=24 << 20),
}
"""Every target by its name, which is also the folder of its kept inputs."""
