"""What a server refuses, from paths to packs, and that nothing of it is stored. Requests are written byte by byte."""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from blake3 import blake3

from mediavault.errors import IntegrityError, NotAllowedError
from mediavault.formats.config import RepositoryConfig, encode_config
from mediavault.model.ids import Kind, Link
from mediavault.refs.ref_store import RefState, next_value
from mediavault.store.assemble import PackSource, plan_packs
from mediavault.store.reachability import collect
from mediavault.wire.client import HttpRemote, NotClosedError
from mediavault_backends.api import Buffer
from tests.integration.conftest import Server
from tests.integration.studio import Studio, noise

Start = Callable[..., Server]
Connect = Callable[..., HttpRemote]
ID = "ab" * 32


@pytest.fixture
def ann(tmp_path: Path) -> Studio:
    return Studio(tmp_path / "ann")


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project of the test's own."""
    return f"/studio/film-{blake3(request.node.nodeid.encode()).hexdigest()[:16]}"


@pytest.fixture
def remote(server: Server, connect: Connect, ann: Studio, project: str) -> HttpRemote:
    found = connect(server.url, project)
    found.create(ann.config, {})
    return found


def raw(server: Server, data: bytes) -> bytes:
    """Send bytes, and return the answer until the server closes."""
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as sock:
        with contextlib.suppress(ConnectionError):  # it may refuse what is too large before all of it is sent
            sock.sendall(data)
        answer = b""
        try:
            while block := sock.recv(65536):
                answer += block
        except ConnectionResetError:
            pass
        return answer


Ask = Callable[..., tuple[int, dict[str, str], bytes]]


@pytest.fixture
def ask(server: Server, remote: HttpRemote, project: str) -> Ask:
    """Send a request to a path below the repository exactly as written; returns status, headers and body."""
    assert remote.config()

    def send(method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        lines = [f"{method} {project}{path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
        if "Content_Length" not in headers:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        answer = raw(server, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        head, _, rest = answer.partition(b"\r\n\r\n")
        status, *fields = head.decode().split("\r\n")
        found = dict(field.lower().split(": ", 1) for field in fields)
        return int(status.split()[1]), found, unchunked(rest) if "transfer-encoding" in found else rest

    return send


def unchunked(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return body


def problem(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    """Return status and type of a refusal."""
    status, headers, body = answer
    assert headers["content-type"] == "application/problem+json"
    document = json.loads(body)
    assert document["status"] == status
    return status, str(document["type"]).removeprefix("urn:mediavault:problem:")


@pytest.mark.parametrize(
    "path",
    [
        "/packs/..",
        "/packs/../config",
        "/packs/%2e%2e/config",
        "/packs/.%2E",
        f"/packs/%2f{ID}",
        f"/packs/..%2F..%2F{ID}",
        f"/packs/{ID}%00",
        f"/packs/{ID}%5c",
        "/refs/heads/../../config",
        "/refs/heads//main",
        "/refs/heads/main/",
        "/refs/heads/%ff",
        "/refs/heads/%",
        "/refs/heads/%zz",
        "/refs/heads/a;b",
        "/refs/heads/" + "a" * 3000,
        "//config",
    ],
)
def test_path_in_another_than_its_one_form_is_refused(ask: Ask, path: str) -> None:
    assert problem(ask("GET", path)) == (400, "bad-path")


@pytest.mark.parametrize(
    "path", [f"/packs/{ID.upper()}", f"/packs/{ID[:-1]}", f"/chunks/{ID}0", "/packs/x", "/chunks/*"]
)
def test_id_in_another_than_its_one_form_is_refused(ask: Ask, path: str) -> None:
    assert problem(ask("GET", path)) == (400, "bad-request")


@pytest.mark.parametrize(
    "name",
    [
        "heads",
        "main",
        "heads/a..b",
        "heads/.hidden",
        "heads/a.lock",
        "heads/a%20b",
        "heads/a%7Eb",
        "HEAD",
        "heads/@%7B",
    ],
)
def test_ref_outside_the_grammar_is_refused(ask: Ask, name: str) -> None:
    assert problem(ask("GET", f"/refs/{name}")) == (400, "bad-request")


@pytest.mark.parametrize("root", ["/..", "/.x/film", "/a%20b/film", "/studio/" + "f" * 101])
def test_team_and_project_follow_their_grammar(server: Server, root: str) -> None:
    answer = raw(server, f"GET {root}/config HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))


@pytest.mark.parametrize("path", ["/refs/film/config", "/packs/film/keys", "/keys/film/refs", "/nothing", "/"])
def test_names_of_calls_are_no_teams(server: Server, path: str) -> None:
    answer = raw(server, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404")


def test_method_that_a_path_does_not_take(ask: Ask) -> None:
    assert problem(ask("DELETE", "/config")) == (405, "method-not-allowed")


def test_two_ways_to_end_a_body_are_refused(server: Server) -> None:
    request = (
        b"POST /studio/film/chunks/check HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n"
    )
    assert raw(server, request).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("twice", ["Host: 127.0.0.1", "Content-Length: 0", "Range: bytes=0-1"])
def test_header_that_stands_twice_is_refused(server: Server, twice: str) -> None:
    request = f"GET /healthz HTTP/1.1\r\n{twice}\r\n{twice}\r\nConnection: close\r\n\r\n"
    assert raw(server, request.encode()).startswith(b"HTTP/1.1 400")


def test_head_without_end_is_refused(server: Server) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-Long: " + b"a" * 8000 + b"\r\n"
    answer = raw(server, request + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 8000) for n in range(9)) + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 431")


def test_foreign_host_name_is_refused_without_authentication(server: Server) -> None:
    request = b"GET /studio/film/config HTTP/1.1\r\nHost: studio.example\r\nConnection: close\r\n\r\n"
    assert raw(server, request).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize(
    "header", ["bytes=0-1,4-5", "bytes=5-4", "bytes=-", "bytes=99999999-", "lines=0-1", "bytes=-0"]
)
def test_range_that_is_not_one_range(ask: Ask, remote: HttpRemote, ann: Studio, header: str) -> None:
    pack = send_chunks(ann, remote, {"a": noise(1000, 1)})
    assert problem(ask("GET", f"/packs/{pack.id.hex()}", Range=header)) == (416, "bad-range")


def test_one_range_is_served(ask: Ask, remote: HttpRemote, ann: Studio) -> None:
    pack = send_chunks(ann, remote, {"a": noise(1000, 1)})
    whole = b"".join(pack.blocks())
    status, headers, body = ask("GET", f"/packs/{pack.id.hex()}", Range="bytes=10-19")
    assert (status, headers["content-range"], body) == (206, f"bytes 10-19/{len(whole)}", whole[10:20])
    assert ask("GET", f"/packs/{pack.id.hex()}", Range="bytes=-5")[2] == whole[-5:]
    assert ask("GET", f"/packs/{pack.id.hex()}", Range="bytes=0-0", If_Range='"other"')[0] == 200
    status, headers, body = ask("HEAD", f"/packs/{pack.id.hex()}")
    assert (status, headers["content-length"], body) == (200, str(len(whole)), b"")
    assert ask("GET", f"/packs/{pack.id.hex()}", If_None_Match=headers["etag"])[0] == 304


def test_chunk_is_served_whole_and_in_ranges(ask: Ask, remote: HttpRemote, ann: Studio) -> None:
    pack = send_chunks(ann, remote, {"a": noise(1000, 1)})
    row = pack.rows[0]
    frame = b"".join(pack.blocks())[row.offset : row.offset + row.length]
    status, headers, body = ask("GET", f"/chunks/{row.id.hex()}")
    assert (status, body) == (200, frame)
    assert ask("GET", f"/chunks/{row.id.hex()}", Range="bytes=3-6")[2] == frame[3:7]
    assert ask("GET", f"/chunks/{row.id.hex()}", If_None_Match=headers["etag"])[0] == 304
    assert problem(ask("GET", f"/chunks/{ID}")) == (404, "not-found")


def test_ids_in_json_and_in_binary(ask: Ask, remote: HttpRemote, ann: Studio) -> None:
    pack = send_chunks(ann, remote, {"a": noise(1000, 1)})
    known = pack.rows[0].id.hex()
    body = json.dumps({"chunks": [known, ID]}).encode()
    status, _, answer = ask("POST", "/chunks/check", body, Content_Type="application/json")
    assert (status, json.loads(answer)) == (200, {"missing": [ID]})
    assert ask("POST", "/chunks/check", bytes.fromhex(known + ID))[2] == bytes.fromhex(ID)


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"x" * 33, "application/octet-stream", (400, "bad-request")),
        (b"{}", "application/json", (400, "bad-request")),
        (b'{"chunks": ["xy"]}', "application/json", (400, "bad-request")),
        (b'{"chunks": [], "more": 1}', "application/json", (400, "bad-request")),
        (b"\xff", "application/json", (400, "bad-request")),
        (json.dumps({"chunks": [ID] * 10_001}).encode(), "application/json", (413, "too-large")),
        (b"x" * 32 * 65_537, "application/octet-stream", (413, "too-large")),
    ],
)
def test_list_of_ids_that_is_none(ask: Ask, body: bytes, content_type: str, expected: tuple[int, str]) -> None:
    assert problem(ask("POST", "/chunks/check", body, Content_Type=content_type)) == expected


@pytest.mark.parametrize("path", [f"/packs/{ID}", f"/chunks/{ID}", "/config", "/refs/heads/main"])
def test_body_that_declares_too_much_is_refused_before_it_comes(ask: Ask, path: str) -> None:
    answer = ask("PUT", path, Content_Length=str(1 << 40), If_None_Match="*")
    assert problem(answer) == (413, "too-large")


@pytest.mark.parametrize("length", ["-1", "1e3", "", "9" * 30])
def test_length_that_is_no_number(ask: Ask, length: str) -> None:
    assert ask("PUT", f"/packs/{ID}", Content_Length=length)[0] == 400


def test_chunked_body_has_a_limit_too(start_server: Start, connect: Connect, ann: Studio) -> None:
    server = start_server(env={"MEDIAGIT_SERVER__MAX_PACK_SIZE": "1MiB"})
    connect(server.url).create(ann.config, {})
    head = f"PUT /studio/film/packs/{ID} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    block = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    assert b" 413 " in raw(server, head + block + block + b"0\r\n\r\n").partition(b"\r\n")[0]


def packs_of(ann: Studio, commit: Link, *, metadata: bool) -> list[PackSource]:
    """Return new packs of a commit's chunks, or of the rest."""
    reached = collect(ann.frames, [commit])
    ids = [*reached.nodes, *reached.commits] if metadata else reached.chunks
    return list(plan_packs(ann.frames, ids, plain=ann.plain, ordered=True))


def send_chunks(ann: Studio, remote: HttpRemote, files: dict[str, bytes]) -> PackSource:
    (pack,) = packs_of(ann, ann.commit(files), metadata=False)
    assert remote.put_pack(pack)
    return pack


class Changed:
    """A pack with other bytes than its name promises."""

    def __init__(self, pack: PackSource, change: Callable[[bytearray], object], name: bytes = b"") -> None:
        data = bytearray(b"".join(pack.blocks()))
        change(data)
        self.id = name or pack.id
        self.size = len(data)
        self._data = bytes(data)

    def blocks(self) -> Iterator[Buffer]:
        yield self._data


def flip(at: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[at] ^= 0x40

    return change


def cut(data: bytearray) -> None:
    del data[len(data) // 2 :]


@pytest.mark.parametrize(
    "change",
    [flip(0), flip(4), flip(8), flip(24), flip(30), flip(700), flip(-60), flip(-1), cut, bytearray.clear],
    ids=["magic", "version", "nonce", "frame-version", "frame", "payload", "table", "footer", "half", "empty"],
)
def test_pack_that_is_not_what_its_name_says(
    ann: Studio, remote: HttpRemote, server: Server, project: str, change: Callable[[bytearray], object]
) -> None:
    (pack,) = packs_of(ann, ann.commit({"a": noise(1000, 1)}), metadata=False)
    with pytest.raises(IntegrityError):
        remote.put_pack(Changed(pack, change))
    with pytest.raises(IntegrityError):
        remote.put_pack(Changed(pack, bytearray.copy, bytes.fromhex(ID)))
    assert remote.missing([pack.rows[0].id])
    stored = [path for path in (server.storage / project[1:]).rglob("*") if path.is_file()]
    assert [path.name for path in stored] == ["config"]


def test_pack_that_is_there_is_not_new(ann: Studio, remote: HttpRemote) -> None:
    pack = send_chunks(ann, remote, {"a": noise(1000, 1)})
    assert remote.put_pack(pack) is False


def test_metadata_before_what_it_links_to_is_refused(ann: Studio, remote: HttpRemote) -> None:
    commit = ann.commit({"a": noise(1000, 1), "b": noise(1000, 2)})
    (pack,) = packs_of(ann, commit, metadata=True)
    with pytest.raises(NotClosedError) as caught:
        remote.put_pack(pack)
    chunks = collect(ann.frames, [commit]).chunks
    assert sorted(caught.value.missing) == sorted(chunks)
    assert remote.missing([commit.id])


def test_ref_to_what_is_not_there_is_refused(ann: Studio, remote: HttpRemote) -> None:
    value, etag = ann.ref_value(remote, "heads/main", ann.commit({"a": b"1"}))
    with pytest.raises(NotClosedError):
        remote.put_ref(value, etag)
    assert remote.refs() == {}


def test_ref_to_another_kind_is_refused(ann: Studio, remote: HttpRemote) -> None:
    pack = send_chunks(ann, remote, {"a": noise(1000, 1)})
    value, etag = ann.ref_value(remote, "heads/main", Link(Kind.COMMIT, pack.rows[0].id))
    with pytest.raises(IntegrityError, match="kind"):
        remote.put_ref(value, etag)


def test_ref_value_under_another_name_or_of_another_repository(
    ann: Studio, remote: HttpRemote, tmp_path: Path, ask: Ask
) -> None:
    commit = ann.commit({"a": b"1"})
    ann.push(remote, commit)
    value, _ = ann.ref_value(remote, "heads/new", commit)
    assert problem(ask("PUT", "/refs/heads/other", value, If_None_Match="*")) == (422, "content-mismatch")
    stranger = Studio(tmp_path / "stranger", repository=b"other-repository")
    foreign = next_value(stranger.repository, stranger.signer, RefState("heads/new"), commit, 1)
    assert problem(ask("PUT", "/refs/heads/new", foreign, If_None_Match="*")) == (422, "content-mismatch")
    assert problem(ask("PUT", "/refs/heads/new", b"x" * 200, If_None_Match="*")) == (422, "content-mismatch")


def test_move_needs_exactly_one_condition(ann: Studio, remote: HttpRemote, ask: Ask) -> None:
    commit = ann.commit({"a": b"1"})
    ann.push(remote, commit, "heads/old")
    value, _ = ann.ref_value(remote, "heads/main", commit)
    path = "/refs/heads/main"
    assert problem(ask("PUT", path, value)) == (428, "precondition-required")
    both = {"If_Match": f'"{ID}"', "If_None_Match": "*"}
    assert problem(ask("PUT", path, value, **both)) == (400, "bad-request")
    assert problem(ask("PUT", path, value, If_Match="*")) == (400, "bad-request")
    assert problem(ask("PUT", path, value, If_Match=f'"{ID}"')) == (412, "precondition-failed")
    assert ask("PUT", path, value, If_None_Match="*")[0] == 201
    assert problem(ask("PUT", path, value, If_Match=f'"{ID}"', X_Mediagit_Force="yes")) == (400, "bad-request")


def test_frame_of_the_other_suite_is_refused(remote: HttpRemote, tmp_path: Path) -> None:
    plain = Studio(tmp_path / "plain", secret=None)
    (pack,) = packs_of(plain, plain.commit({"a": noise(1000, 1)}), metadata=False)
    with pytest.raises(IntegrityError, match="suite"):
        remote.put_pack(pack)


def test_single_frames_go_in_children_first(ann: Studio, remote: HttpRemote, ask: Ask) -> None:
    commit = ann.commit({"a": noise(1000, 1)})
    reached = collect(ann.frames, [commit])
    frames = {oid: bytes(ann.frames.read(oid).data) for oid in (*reached.chunks, *reached.nodes, commit.id)}
    chunk, tree = reached.chunks[0], reached.nodes[0]
    status, _, body = ask("PUT", f"/manifests/{tree.hex()}", frames[tree])
    assert (status, json.loads(body)["missing"]) == (409, [chunk.hex()])
    assert problem(ask("PUT", f"/chunks/{ID}", frames[chunk])) == (422, "content-mismatch")
    assert problem(ask("PUT", f"/manifests/{chunk.hex()}", frames[chunk])) == (422, "content-mismatch")
    assert problem(ask("PUT", f"/chunks/{chunk.hex()}", frames[chunk][:-1])) == (422, "content-mismatch")
    assert problem(ask("PUT", f"/chunks/{chunk.hex()}", b"\x09" + frames[chunk][1:])) == (422, "content-mismatch")
    assert ask("PUT", f"/chunks/{chunk.hex()}", frames[chunk])[0] == 201
    assert ask("PUT", f"/chunks/{chunk.hex()}", frames[chunk])[0] == 200
    assert ask("PUT", f"/manifests/{tree.hex()}", frames[tree])[0] == 201
    assert ask("PUT", f"/manifests/{commit.id.hex()}", frames[commit.id])[0] == 201
    assert remote.missing(frames) == []
    assert ask("POST", "/objects/get", commit.id + chunk)[2] == frames[commit.id] + frames[chunk]
    assert problem(ask("POST", "/objects/get", commit.id + bytes.fromhex(ID))) == (404, "not-found")


def test_metadata_by_want_and_have(ann: Studio, remote: HttpRemote, ask: Ask) -> None:
    first = ann.commit({"a": noise(300_000, 1), "b": b"1"})
    second = ann.commit({"a": noise(300_000, 1), "b": b"2"}, [first.id])
    ann.push(remote, second)
    status, headers, body = ask("GET", f"/objects/pack?want={second.id.hex()}")
    assert (status, headers["x-chunked-objects"]) == (200, "1")
    assert len(body) == int(headers["content-length"])
    _, _, less = ask("GET", f"/objects/pack?want={second.id.hex()}&have={first.id.hex()}&have={ID}")
    assert len(less) < len(body)
    assert problem(ask("GET", "/objects/pack")) == (400, "bad-request")
    assert problem(ask("GET", f"/objects/pack?want={ID}")) == (404, "not-found")
    assert problem(ask("GET", f"/objects/pack?want={second.id.hex()}&deep=1")) == (400, "bad-request")


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"format":1}', b"x" * 70_000])
def test_config_that_is_none(ask: Ask, body: bytes) -> None:
    status, _ = problem(ask("PUT", "/config", body))
    assert status in {413, 422}


def test_newer_format_and_other_spelling_are_refused(ask: Ask, ann: Studio) -> None:
    newer = ann.config.replace(b'"format":1', b'"format":2')
    assert b"newer" in ask("PUT", "/config", newer)[2] or b"format 2" in ask("PUT", "/config", newer)[2]
    assert problem(ask("PUT", "/config", ann.config + b"\n")) == (422, "content-mismatch")


def test_server_that_makes_no_projects(start_server: Start, connect: Connect, ann: Studio) -> None:
    server = start_server(env={"MEDIAGIT_SERVER__CREATE_PROJECTS": "false"})
    with pytest.raises(NotAllowedError):
        connect(server.url).create(ann.config, {})


def test_another_repository_in_the_same_place(ask: Ask) -> None:
    other = encode_config(RepositoryConfig(b"other-repository", 1))
    status, _, body = ask("PUT", "/config", other)
    document = json.loads(body)
    assert status == 409
    assert (document["given"], document["repository"]) == (b"other-repository".hex(), b"film-repository!".hex())
