"""Trees and chunks made to harm whoever checks them out: refused, with nothing written anywhere."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import zstandard
from blake3 import blake3
from msgspec.structs import replace

from mediavault.cli import session
from mediavault.cli.verb import Invocation
from mediavault.formats import metadata
from mediavault.formats.payload import Codec
from mediavault.model.ids import Kind, Link, ObjectId
from mediavault.model.objects import Commit, Mode, Moment, Person, TreeEntry
from mediavault.objects.nodes import NodeWriter
from mediavault.ops.repository import Repository
from mediavault.store.pack_writer import PackWriter
from mediavault.workspace.layout import Layout
from tests.bad_input import Serve, refused, whole
from tests.e2e.conftest import Made
from tests.film import Film
from tests.prepared import MIB
from tests.snapshot import snapshot

pytestmark = pytest.mark.slow

MALLORY = Person("Mallory", "mallory@example.org")
NOW = Moment(1_700_000_000, 0)


def opened(project: Path) -> Repository:
    """Open a project inside this process, to write into it what no command writes."""
    return session.open_repository(Invocation(os.environ), Layout(project))


@contextlib.contextmanager
def crafting(repository: Repository) -> Iterator[tuple[NodeWriter, PackWriter]]:
    """Give writers that do not check what names and links they are given."""
    with pytest.MonkeyPatch.context() as patch, repository.writer() as writer:
        patch.setattr(metadata, "_check_names", lambda _: None)
        yield NodeWriter(repository.codec, repository.splitter, repository.frames, writer), writer


def file_entry(name: str, repository: Repository, writer: PackWriter, content: bytes = b"evil") -> TreeEntry:
    """Store a small file, and return its entry."""
    oid = repository.codec.name_chunk(content)
    if not (repository.frames.has(oid) or writer.has(oid)):
        writer.append(repository.codec.encode_chunk(oid, content), len(content))
    return TreeEntry(name, Mode.FILE, len(content), blake3(content).digest(), Link(Kind.CHUNK, oid))


def link_entry(name: str, target: str) -> TreeEntry:
    return TreeEntry(name, Mode.SYMLINK, len(target.encode()), blake3(target.encode()).digest(), None, target)


def folder_entry(name: str, tree: ObjectId) -> TreeEntry:
    return TreeEntry(name, Mode.TREE, 0, b"", Link(Kind.TREE, tree))


def offer(nodes: NodeWriter, entries: Sequence[TreeEntry]) -> Link:
    """Write a commit of some entries."""
    commit = Commit(nodes.tree(entries), (), MALLORY, NOW, MALLORY, NOW, 1, "Trust me")
    return Link(Kind.COMMIT, nodes.commit(commit))


def branch(repository: Repository, name: str, target: Link) -> None:
    repository.refs.move(repository.refs.read(f"heads/{name}"), target, NOW.seconds)


HOSTILE_NAMES = [
    "..",
    ".",
    "",
    "../evil",
    "/tmp/evil",
    "shots/evil",
    "shots\\evil",
    "C:evil",
    "nul.txt",
    "evil.",
    "evil\x00",
    "evil\n",
    ".mediagit",
    ".MediaGit",
    ".med\u200ciagit",
    "MEDIAG~1",
    ".git",
    "e" * 256,
]


def test_hostile_names_in_a_tree(plain: Film, made: Made, tmp_path: Path) -> None:
    repository = opened(plain.root)
    inside = dict.fromkeys((plain.root / ".mediagit").iterdir())
    with crafting(repository) as (nodes, writer):
        bad = file_entry("x", repository, writer)
        targets = [offer(nodes, [replace(bad, name=name)]) for name in HOSTILE_NAMES]
        evil = folder_entry("deep", nodes.tree([replace(bad, name="..")]))
        targets.append(offer(nodes, [evil]))
        targets.append(offer(nodes, [replace(evil, name=".mediagit")]))
    for number, target in enumerate(targets):
        branch(repository, f"evil-{number}", target)
        refused(plain, "switch", f"evil-{number}", exit_code=5)
        refused(plain, "restore", "--source", f"evil-{number}", ".", exit_code=5)
        plain("verify", exit_code=5)
    assert dict.fromkeys((plain.root / ".mediagit").iterdir()) == inside
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]
    assert snapshot(plain.root) == made.tree
    assert plain.status() == {}


def test_hostile_tree_from_a_server(plain: Film, serve: Serve, tmp_path: Path) -> None:
    repository = opened(plain.root)
    with crafting(repository) as (nodes, writer):
        entries = [file_entry("../../evil", repository, writer), file_entry("good", repository, writer)]
        branch(repository, "main", offer(nodes, entries))
    url = serve() + "/studio/trap"
    plain("remote", "add", "origin", url)
    plain("push", "origin", "main")
    refused(Film(tmp_path), "clone", "--no-encryption", url, "copy", exit_code=5)
    assert snapshot(tmp_path / "copy") == {}
    assert not list(tmp_path.rglob("evil"))


def test_a_tree_does_not_go_through_a_symbolic_link(plain: Film, made: Made, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    repository = opened(plain.root)
    with crafting(repository) as (nodes, writer):
        evil = file_entry("evil", repository, writer)
        folder = folder_entry("latest", nodes.tree([evil]))
        through = offer(nodes, [folder])
        twice = offer(nodes, [link_entry("latest", "shots"), folder])
        shots = offer(nodes, [folder_entry("shots", nodes.tree([evil]))])
    # `latest` is a link here: the folder of that name takes its place, nothing is written where it led.
    for name, target in (("through", through), ("twice", twice), ("shots", shots)):
        branch(repository, name, target)
    refused(plain, "switch", "twice", exit_code=5)
    assert snapshot(plain.root) == made.tree
    plain("switch", "through")
    assert snapshot(plain.root) == {"latest/evil": f"file {blake3(b'evil').hexdigest()}"}
    plain("switch", "main")
    assert snapshot(plain.root) == made.tree
    # The user has put a link to elsewhere in the place of a folder: that is work of theirs, and stays.
    shutil.rmtree(plain.root / "shots")
    (plain.root / "shots").symlink_to(outside)
    refused(plain, "switch", "shots", exit_code=3)
    assert not list(outside.iterdir())
    assert (plain.root / "shots").is_symlink()


@pytest.mark.parametrize("target", ["../outside", "/etc", "a/../../outside", ".mediagit/store", ".GIT/hooks"])
def test_links_out_of_a_tree_are_not_made(plain: Film, made: Made, target: str) -> None:
    repository = opened(plain.root)
    with crafting(repository) as (nodes, _):
        branch(repository, "evil", offer(nodes, [link_entry("link", target)]))
    refused(plain, "switch", "evil", exit_code=5)
    whole(plain, made.tree)


def test_names_that_are_one_elsewhere(plain: Film, made: Made) -> None:
    repository = opened(plain.root)
    with crafting(repository) as (nodes, writer):
        entries = [file_entry(name, repository, writer) for name in ("Main", "main")]
        branch(repository, "fold", offer(nodes, entries))
        entries = [file_entry(name, repository, writer) for name in ("u\u0308", "\u00fc")]
        branch(repository, "norm", offer(nodes, entries))
    for name in ("fold", "norm"):
        refused(plain, "switch", name, exit_code=3)
    whole(plain, made.tree)


def test_a_bottomless_tree(plain: Film, made: Made) -> None:
    repository = opened(plain.root)
    with crafting(repository) as (nodes, writer):
        entry = file_entry("f", repository, writer)
        for _ in range(3000):
            entry = folder_entry("d", nodes.tree([entry]))
        branch(repository, "deep", offer(nodes, [entry]))
    refused(plain, "switch", "deep", exit_code=5)
    assert snapshot(plain.root) == made.tree


def bomb(payload_says: int, frame_says: int) -> bytes:
    """Return a payload around a zstd frame of 512 MiB of zeros; both say that they hold as much as is given."""
    packed = bytearray(zstandard.ZstdCompressor(write_checksum=False).compress(bytes(512 * MIB)))
    assert packed[4] >> 6 == 2, "the frame's size stands in four bytes"
    at = 5 if packed[4] & 0x20 else 6
    packed[at : at + 4] = frame_says.to_bytes(4, "little")
    return bytes((Codec.ZSTD,)) + payload_says.to_bytes(4, "little") + len(packed).to_bytes(4, "little") + packed


@pytest.mark.parametrize(
    ("tree_says", "payload_says", "frame_says"),
    [
        (MIB, MIB, MIB),
        (MIB, MIB, 512 * MIB),
        (MIB, 16 * MIB, 16 * MIB),
        (512 * MIB, 512 * MIB, 512 * MIB),
    ],
)
def test_decompression_bomb(plain: Film, made: Made, tree_says: int, payload_says: int, frame_says: int) -> None:
    repository = opened(plain.root)
    oid = blake3(b"bomb").digest()
    with crafting(repository) as (nodes, writer):
        frame = repository.codec._sealer.seal(Kind.CHUNK, oid, bomb(payload_says, frame_says))
        writer.append(frame, tree_says)
        digest = blake3(bytes(tree_says)).digest()
        entry = TreeEntry("rushes.mov", Mode.FILE, tree_says, digest, Link(Kind.CHUNK, oid))
        branch(repository, "bomb", offer(nodes, [entry]))
    for arguments in (("switch", "bomb"), ("verify",)):
        assert measured(*arguments, cwd=plain.root, exit_code=5) < 200 * MIB
    assert snapshot(plain.root) == made.tree
    assert plain.status() == {}


MEASURED = """
import resource, sys
from mediavault.cli.main import main
try:
    main()
finally:
    if sys.platform == "linux":  # what getrusage says there includes the process that started this one
        peak = int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) << 10
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("peak", peak)
"""


def measured(*arguments: str, cwd: Path, exit_code: int) -> int:
    """Run mediagit in a process of its own, which must fail; return its peak of memory in bytes."""
    command = [sys.executable, "-c", MEASURED, *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == exit_code, result.stderr
    return int(result.stdout.rpartition("peak ")[2])
