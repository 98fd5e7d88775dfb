"""A second client, written from docs/formats and docs/protocol.md alone: small repositories over the simple calls.

It imports nothing of this project. What it leaves out: packs, key slots, files of 32 chunks or more, folders of 32
entries or more, and folders within folders when it writes.
"""

import hashlib
import hmac
import http.client
import json
import os
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import zstandard
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

CHUNK, MANIFEST, TREE, COMMIT = 1, 2, 3, 4
PIECE = 200_000
NO_KEY = bytes(32)
Link = tuple[int, bytes]


class RefusedError(Exception):
    """The server said no; `status`, and `problem` as it was sent."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body.decode(errors='replace')}")
        self.status = status
        self.problem: dict[str, Any] = json.loads(body) if body else {}


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Opened:
    """A frame that was checked and opened: its kind, links, and raw payload."""

    kind: int
    links: list[Link]
    payload: bytes


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA256, 32 bytes."""
    extracted = hmac.new(salt, secret, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


class Keys:
    """docs/formats/keys.md. `secret` None: a plain repository."""

    def __init__(self, repository: bytes, secret: bytes | None) -> None:
        self.repository = repository
        self.secret = secret
        id_secret = NO_KEY if secret is None else self.derived("id", 0)
        self.names = {kind: blake3(b"mediavault/1/id" + bytes([kind]), key=id_secret).digest() for kind in range(1, 6)}

    def derived(self, purpose: str, epoch: int) -> bytes:
        assert self.secret is not None
        return hkdf(self.secret, self.repository, b"mediavault/1/" + purpose.encode() + struct.pack("<I", epoch))

    def cipher(self, kind: int, oid: bytes, epoch: int, salt: bytes) -> AESGCM:
        key = self.derived("data" if kind == CHUNK else "meta", epoch)
        return AESGCM(hkdf(key, salt, b"mediavault/1/frame\x01\x01" + self.repository + bytes([kind]) + oid))

    def name(self, kind: int, links: list[Link], payload: bytes) -> bytes:
        if kind != CHUNK:
            payload = struct.pack("<I", len(links)) + encode_links(links) + payload
        return blake3(payload, key=self.names[kind]).digest()


def encode_links(links: list[Link]) -> bytes:
    return b"".join(bytes([kind]) + oid for kind, oid in links)


def encode_frame(keys: Keys, kind: int, links: list[Link], payload: bytes, generation: int) -> tuple[bytes, bytes]:
    """Return id and frame of an object."""
    oid = keys.name(kind, links, payload)
    packed = zstandard.ZstdCompressor(level=3).compress(payload)
    codec, data = (1, packed) if len(packed) < len(payload) else (0, payload)
    stored = struct.pack("<BII", codec, len(payload), len(data)) + data
    sealed = keys.secret is not None
    head = struct.pack("<BBBI32sI", 1, kind, int(sealed), 0, oid, len(links)) + encode_links(links)
    head += struct.pack("<Q", generation)
    if sealed:
        salt = os.urandom(32)
        head += salt + struct.pack("<I", len(stored) + 16)
        stored = keys.cipher(kind, oid, 0, salt).encrypt(bytes(12), stored, head)
    else:
        head += struct.pack("<I", len(stored))
    return oid, head + stored + blake3(head + stored).digest()[:16]


def open_frame(keys: Keys, data: bytes, oid: bytes) -> Opened:
    """Check everything that a frame promises."""
    version, kind, suite, epoch, named, count = struct.unpack_from("<BBBI32sI", data)
    assert (version, suite, named) == (1, int(keys.secret is not None), oid)
    at = 43 + 33 * count
    links = [(data[n], data[n + 1 : n + 33]) for n in range(43, at, 33)]
    at += 8
    salt = data[at : at + 32 * suite]
    at += len(salt) + 4
    (size,) = struct.unpack_from("<I", data, at - 4)
    assert len(data) == at + size + 16
    assert blake3(data[:-16]).digest()[:16] == data[-16:]
    stored = data[at:-16]
    if suite:
        stored = keys.cipher(kind, oid, epoch, salt).decrypt(bytes(12), stored, data[:at])
    codec, raw_length, length = struct.unpack_from("<BII", stored)
    payload = stored[9 : 9 + length]
    assert not any(stored[9 + length :])
    if codec == 1:
        payload = zstandard.ZstdDecompressor().decompress(payload, max_output_size=raw_length)
    assert len(payload) == raw_length
    assert keys.name(kind, links, payload) == oid
    return Opened(kind, links, payload)


def frames_of(pack: bytes, name: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Check a pack against its name; yield id and frame of each row."""
    assert (pack[:4], pack[-4:]) == (b"MVPK", b"MVPE")
    version, flags, nonce = struct.unpack_from("<HH16s", pack, 4)
    start, rows, digest = struct.unpack_from("<QI32s", pack, len(pack) - 48)
    table = pack[start:-48]
    assert version == 1
    assert blake3(table).digest() == digest
    assert blake3(nonce + table).digest() == name
    width, at = 65 if flags & 1 else 61, 24
    assert len(table) == rows * width
    for row in range(0, len(table), width):
        oid, _, offset, length, checksum = struct.unpack_from("<32sBQI16s", table, row)
        assert offset == at
        at += length
        assert pack[at - 16 : at] == checksum
        yield oid, pack[offset:at]
    assert at == start


class SimpleClient:
    """One repository at `url`."""

    def __init__(self, url: str, keys: Keys, api_key: str = "") -> None:
        parts = urlsplit(url)
        self.keys = keys
        self.base = parts.path
        self.headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.calls: list[str] = []
        self.connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)

    def close(self) -> None:
        self.connection.close()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Make one call; `headers` with _ in place of -."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, self.base + path, body, {**self.headers, **sent})
        response = self.connection.getresponse()
        answer = Answer(
            response.status, {name.lower(): value for name, value in response.headers.items()}, response.read()
        )
        self.calls.append(f"{method} {path.partition('?')[0]}")
        if answer.status >= 400:
            raise RefusedError(answer.status, answer.body)
        return answer

    # ------------------------------------------------------------------------------------------ write

    def create(self, config: bytes) -> None:
        self.ask("PUT", "/config", config, Content_Type="application/json")

    def missing(self, ids: Iterable[bytes]) -> set[bytes]:
        body = json.dumps({"chunks": [oid.hex() for oid in ids]}).encode()
        answer = self.ask("POST", "/chunks/check", body, Content_Type="application/json")
        return {bytes.fromhex(text) for text in json.loads(answer.body)["missing"]}

    def push(self, files: Mapping[str, bytes], message: str, branch: str = "heads/main") -> bytes:
        """Store a commit of `files`, nothing beside them, on top of a branch; return its id."""
        former = self.ref(branch)
        parents = [] if former is None else [former.target]
        generation = 1 + max((self.generation(oid) for oid in parents), default=0)
        entries, links = [], set()
        for name in sorted(files, key=str.encode):
            link = self.put_file(files[name])
            entries.append((name, files[name], link))
            links |= {link} if link else set()
        ordered = sorted(links)
        rows = [
            [1, name, len(content), blake3(content).digest(), None if link is None else ordered.index(link)]
            for name, content, link in entries
        ]
        tree = self.put_metadata(TREE, ordered, [0, rows])
        links_of_commit = sorted([(TREE, tree), *((COMMIT, oid) for oid in parents)])
        person, moment = ["Sam", "sam@example.org"], [int(time.time()), 60]
        positions = [links_of_commit.index((COMMIT, oid)) for oid in parents]
        payload = [0, positions, person, moment, person, moment, generation, message, b""]
        commit = self.put_metadata(COMMIT, links_of_commit, payload, generation)
        self.move(branch, commit, former)
        return commit

    def put_file(self, content: bytes) -> Link | None:
        """Store a file's chunks, and its manifest where there are several; return what its entry links to."""
        pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)]
        frames = dict(encode_frame(self.keys, CHUNK, [], piece, 0) for piece in pieces)
        for oid in self.missing(frames):
            assert self.ask("PUT", f"/chunks/{oid.hex()}", frames[oid]).status == 201
        ids = [self.keys.name(CHUNK, [], piece) for piece in pieces]
        if len(ids) < 2:
            return (CHUNK, ids[0]) if ids else None
        links = sorted({(CHUNK, oid) for oid in ids})
        rows = [[links.index((CHUNK, oid)), len(piece)] for oid, piece in zip(ids, pieces, strict=True)]
        return MANIFEST, self.put_metadata(MANIFEST, links, [0, rows])

    def put_metadata(self, kind: int, links: list[Link], payload: list[Any], generation: int = 0) -> bytes:
        oid, frame = encode_frame(self.keys, kind, links, msgspec.msgpack.encode(payload), generation)
        self.ask("PUT", f"/manifests/{oid.hex()}", frame)
        return oid

    def move(self, branch: str, commit: bytes, former: "Ref | None") -> None:
        name = branch.encode()
        start = self.keys.repository + struct.pack("<H", len(name)) + name
        if former is None:
            previous = start + struct.pack("<IQB", 0, 0, 1) + bytes(32 + 8 + 2 + 32)
            condition = {"If_None_Match": "*"}
        else:
            previous = former.value
            condition = {"If_Match": former.etag}
        value = start + struct.pack("<IQB", 0, 1 + (former.seq if former else 0), 0) + bytes([COMMIT]) + commit
        value += blake3(previous).digest() + struct.pack("<qH", int(time.time()), 0)
        mac = NO_KEY if self.keys.secret is None else blake3(value, key=self.keys.derived("ref", 0)).digest()
        self.ask("PUT", f"/refs/{quote(branch)}", value + mac, **condition)

    # ------------------------------------------------------------------------------------------- read

    def ref(self, branch: str) -> "Ref | None":
        try:
            answer = self.ask("GET", f"/refs/{quote(branch)}")
        except RefusedError as error:
            if error.status == 404 and error.problem["type"] == "urn:mediavault:problem:not-found":
                return None
            raise
        value = answer.body
        (length,) = struct.unpack_from("<H", value, 16)
        assert (value[:16], value[18 : 18 + length].decode()) == (self.keys.repository, branch)
        epoch, seq, nil = struct.unpack_from("<IQB", value, 18 + length)
        at = 18 + length + 13
        mac = NO_KEY
        if self.keys.secret is not None:
            mac = blake3(value[:-32], key=self.keys.derived("ref", epoch)).digest()
        assert (nil, value[-32:]) == (0, mac)
        assert answer.headers["etag"] == f'"{blake3(value).hexdigest()}"'
        return Ref(value, answer.headers["etag"], seq, value[at + 1 : at + 33])

    def pack(self, want: Iterable[bytes], **narrow: Any) -> tuple[dict[bytes, bytes], int]:
        """Return frames by id, and what X-Chunked-Objects says."""
        query = urlencode({"want": [oid.hex() for oid in want], **narrow}, doseq=True)
        answer = self.ask("GET", f"/objects/pack?{query}")
        name = bytes.fromhex(answer.headers["etag"].strip('"'))
        return dict(frames_of(answer.body, name)), int(answer.headers["x-chunked-objects"])

    def generation(self, commit: bytes) -> int:
        frames, _ = self.pack([commit], depth=1)
        generation: int = msgspec.msgpack.decode(open_frame(self.keys, frames[commit], commit).payload)[6]
        return generation

    def files(self, commit: bytes) -> dict[str, bytes]:
        """Return every file of a commit by path, read through `objects/pack` and `chunks/{id}`."""
        frames, _ = self.pack([commit])
        opened = {oid: open_frame(self.keys, frame, oid) for oid, frame in frames.items()}
        position = msgspec.msgpack.decode(opened[commit].payload)[0]
        return dict(self._walk(opened, opened[commit].links[position][1], ""))

    def _walk(self, opened: dict[bytes, Opened], tree: bytes, prefix: str) -> Iterator[tuple[str, bytes]]:
        node = opened[tree]
        level, entries = msgspec.msgpack.decode(node.payload)
        for entry in entries:
            if level:
                yield from self._walk(opened, node.links[entry[0]][1], prefix)
            elif entry[0] == 4:
                yield from self._walk(opened, node.links[entry[2]][1], f"{prefix}{entry[1]}/")
            elif entry[0] in {1, 2}:
                _, name, size, digest, position = entry
                link = None if position is None else node.links[position]
                content = b"".join(self._content(opened, link)) if link else b""
                assert (len(content), blake3(content).digest()) == (size, digest)
                yield prefix + name, content

    def _content(self, opened: dict[bytes, Opened], link: Link) -> Iterator[bytes]:
        kind, oid = link
        if kind == CHUNK:
            yield open_frame(self.keys, self.ask("GET", f"/chunks/{oid.hex()}").body, oid).payload
            return
        node = opened[oid]
        for position, length in msgspec.msgpack.decode(node.payload)[1]:
            content = b"".join(self._content(opened, node.links[position]))
            assert len(content) == length
            yield content


@dataclass
class Ref:
    """A ref as it is now."""

    value: bytes
    etag: str
    seq: int
    target: bytes
