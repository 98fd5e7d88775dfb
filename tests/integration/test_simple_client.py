"""The simple forms of the protocol suffice: a client that knows only the documents reads and writes what mediagit does."""

import ast
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from mediavault.formats.config import decode_config
from mediavault.keys.keystore import KeyStore
from tests.conftest import PASSPHRASE
from tests.film import Film, new_film
from tests.integration import simple_client
from tests.integration.conftest import Server
from tests.integration.simple_client import RefusedError, SimpleClient
from tests.snapshot import snapshot

FILES = {
    "empty.txt": b"",
    "grade.cube": b"0.1 0.2 0.3\n" * 5000,
    "one.wav": blake3(b"one").digest(90_000),
    "take.mov": blake3(b"take").digest(1_500_000),
    "twin.wav": blake3(b"one").digest(90_000),
}
PLAIN = (
    b'{"chunker":{"average":131072,"maximum":524288,"minimum":65536,"name":"fastcdc2020","normalisation":1},'
    b'"format":1,"repository":"000102030405060708090a0b0c0d0e0f","suite":0}'
)
SIMPLE = {
    "PUT /config", "POST /chunks/check", "PUT /chunks/", "GET /chunks/", "PUT /manifests/", "GET /objects/pack",
    "GET /refs/", "PUT /refs/",
}  # fmt: skip


@pytest.fixture
def url(request: pytest.FixtureRequest, shared_server: Server) -> str:
    """Name a project on the shared server that no other test uses."""
    return f"{shared_server.url}/studio/" + re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name).strip("-")


@pytest.fixture
def connect(url: str) -> Iterator[Callable[..., SimpleClient]]:
    """Open the test's project with the simple client."""
    opened: list[SimpleClient] = []

    def client(repository: bytes, secret: bytes | None) -> SimpleClient:
        opened.append(SimpleClient(url, simple_client.Keys(repository, secret)))
        return opened[-1]

    yield client
    for one in opened:
        one.close()
        calls = {re.sub(r"(/(?:chunks|refs|manifests)/)(?!check$).*", r"\1", call) for call in one.calls}
        assert calls <= SIMPLE


Connect = Callable[..., SimpleClient]


@pytest.fixture(params=["encrypted", "plain"])
def film(request: pytest.FixtureRequest, tmp_path: Path, url: str, own_user: Path) -> Film:
    """Make a repository with files in folders, pushed by mediagit to the test's project."""
    del own_user
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDIAGIT_PASSPHRASE", PASSPHRASE)
        flags = ("--no-encryption",) if request.param == "plain" else ()
        made = new_film(tmp_path / "film", *flags)
        for name, content in FILES.items():
            made.write(name, content)
        made.write("shots/a/deep.exr", blake3(b"deep").digest(400_000))
        for number in range(60):
            made.write(f"frames/{number:04}.dat", f"frame {number}")
        made("add", ".")
        made("commit", "-m", "First")
        made("remote", "add", "origin", url)
        made("push", "-u", "origin", "main")
    return made


def keys_of(film: Film, home: Path) -> tuple[bytes, bytes | None]:
    """Return a repository's id and its key, None for a plain one, as a user may look them up on this computer."""
    config_bytes = (film.root / ".mediagit/store/config").read_bytes()
    config = decode_config(config_bytes)
    if config.suite == 0:
        return config.repository, None
    found = KeyStore(home / "keys", "file").load(config.repository, blake3(config_bytes).digest())
    assert found is not None
    return config.repository, found.epochs[0]


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a checkout by path."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in found
        if ".mediagit" not in path.relative_to(folder).parts
    }


def test_the_client_knows_only_the_documents() -> None:
    tree = ast.parse(Path(simple_client.__file__).read_text(encoding="utf-8"))
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    roots = {name.partition(".")[0] for name in names}
    assert roots - sys.stdlib_module_names == {"blake3", "cryptography", "msgspec", "zstandard"}


def test_what_the_page_on_keys_derives_is_what_the_client_derives() -> None:
    page = (Path(__file__).parents[2] / "docs/formats/keys.md").read_text(encoding="utf-8")
    keys = simple_client.Keys(bytes(range(16)), b"k" * 32)
    shown = re.findall(r"^\| `(\w+)` \| `([0-9a-f]{64})` \|$", page, re.MULTILINE)
    assert [purpose for purpose, _ in shown] == ["id", "data", "meta", "ref"]
    assert {purpose: keys.derived(purpose, 0).hex() for purpose, _ in shown} == dict(shown)


def test_it_reads_what_mediagit_pushed_and_mediagit_what_it_pushes(
    film: Film, connect: Connect, own_user: Path, mediagit: Any, url: str
) -> None:
    client = connect(*keys_of(film, own_user))
    ref = client.ref("heads/main")
    assert ref is not None
    assert client.files(ref.target) == files_of(film.root)
    files = {**FILES, "take.mov": FILES["take.mov"][:700_000] + b"cut" + FILES["take.mov"][700_000:], "new": b"new"}
    commit = client.push(files, "Written by another program")
    assert client.ref("heads/main").target == commit  # type: ignore[union-attr]
    plain = client.keys.secret is None
    mediagit(
        "clone", *(["--no-encryption"] if plain else []), url, "copy",
        passphrase=None if plain else PASSPHRASE,
    )  # fmt: skip
    copy = film.root.parent / "copy"
    assert files_of(copy) == files
    mediagit("verify", cwd=copy)
    mediagit("verify", "--remote", "origin", cwd=copy)
    mediagit("pull", cwd=film.root)
    assert snapshot(film.root) == snapshot(copy)
    assert "Written by another program" in film("log")


def test_it_makes_a_plain_repository_that_mediagit_clones(
    connect: Connect, tmp_path: Path, mediagit: Any, url: str
) -> None:
    client = connect(bytes(range(16)), None)
    client.create(PLAIN)
    first = client.push(FILES, "First")
    second = client.push({"only": b"only"}, "Second")
    mediagit("clone", "--no-encryption", url, "copy")
    assert files_of(tmp_path / "copy") == {"only": b"only"}
    mediagit("verify", cwd=tmp_path / "copy")
    mediagit("restore", "--source", first.hex(), ".", cwd=tmp_path / "copy")
    assert FILES.items() <= files_of(tmp_path / "copy").items()
    assert client.files(first) == FILES
    assert client.files(second) == {"only": b"only"}


def test_pushing_again_sends_no_chunk(connect: Connect) -> None:
    client = connect(bytes(range(16)), None)
    client.create(PLAIN)
    client.push(FILES, "First")
    client.calls.clear()
    client.push(FILES, "The same files")
    assert not [call for call in client.calls if call.startswith("PUT /chunks/")]


def test_packs_of_metadata_are_narrowed(connect: Connect) -> None:
    client = connect(bytes(range(16)), None)
    client.create(PLAIN)
    commits = [client.push({**FILES, "version": str(n).encode()}, f"Version {n}") for n in range(4)]

    def kinds(**narrow: Any) -> list[int]:
        frames, _ = client.pack([commits[3]], **narrow)
        return sorted(frame[1] for frame in frames.values())

    whole, chunked = client.pack([commits[3]])
    assert chunked == 1
    assert sorted(frame[1] for frame in whole.values()) == [2, *4 * [3], *4 * [4]]
    assert kinds(depth=1) == [2, 3, 4]
    assert kinds(depth=2) == [2, 3, 3, 4, 4]
    assert kinds(depth=9) == kinds()
    assert kinds(have=commits[1].hex()) == [3, 3, 4, 4]
    assert kinds(have=commits[1].hex(), depth=1) == [3, 4]
    tree = next(oid for oid, frame in client.pack([commits[0]])[0].items() if frame[1] == 3)
    narrowed, _ = client.pack([commits[3]], trees=tree.hex())
    assert sorted(frame[1] for frame in narrowed.values()) == [2, 3, *4 * [4]]
    assert tree in narrowed
    assert kinds(trees=tree.hex(), depth=1) == [2, 3, 4]


@pytest.mark.parametrize(
    ("narrow", "status", "problem"),
    [
        ({"depth": "0"}, 400, "bad-request"),
        ({"depth": "-1"}, 400, "bad-request"),
        ({"depth": "1e3"}, 400, "bad-request"),
        ({"depth": ["1", "2"]}, 400, "bad-request"),
        ({"trees": "00"}, 400, "bad-request"),
        ({"trees": "COMMIT"}, 400, "bad-request"),
        ({"trees": "11" * 32}, 404, "not-found"),
        ({"wide": "1"}, 400, "bad-request"),
    ],
)
def test_narrowing_that_makes_no_sense_is_refused(
    connect: Connect, narrow: dict[str, Any], status: int, problem: str
) -> None:
    client = connect(bytes(range(16)), None)
    client.create(PLAIN)
    commit = client.push({"a": b"a"}, "First")
    if narrow.get("trees") == "COMMIT":
        narrow = {"trees": commit.hex()}
    with pytest.raises(RefusedError) as refused:
        client.pack([commit], **narrow)
    assert (refused.value.status, refused.value.problem["type"]) == (status, f"urn:mediavault:problem:{problem}")


def test_the_server_refuses_what_is_not_closed_or_not_named_right(connect: Connect) -> None:
    client = connect(bytes(range(16)), None)
    client.create(PLAIN)
    chunk, frame = simple_client.encode_frame(client.keys, simple_client.CHUNK, [], b"chunk", 0)
    link = (simple_client.CHUNK, chunk)
    with pytest.raises(RefusedError) as refused:
        client.put_metadata(simple_client.MANIFEST, [link], [0, [[0, 5], [0, 5]]])
    assert (refused.value.status, refused.value.problem["missing"]) == (409, [chunk.hex()])
    with pytest.raises(RefusedError, match="content-mismatch"):
        client.ask("PUT", f"/chunks/{bytes(32).hex()}", frame)
    with pytest.raises(RefusedError, match="content-mismatch"):
        client.ask("PUT", f"/chunks/{chunk.hex()}", frame[:-1] + bytes([frame[-1] ^ 1]))
    assert [client.ask("PUT", f"/chunks/{chunk.hex()}", frame).status for _ in range(2)] == [201, 200]
    client.put_metadata(simple_client.MANIFEST, [link], [0, [[0, 5], [0, 5]]])
    part = client.ask("GET", f"/chunks/{chunk.hex()}", Range="bytes=10-19")
    assert (part.status, part.body) == (206, frame[10:20])
