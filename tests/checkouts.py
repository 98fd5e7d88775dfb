"""A small repository with a working tree for tests of the workspace and of history: real formats, no encryption."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self, TypeAlias

from blake3 import blake3

from mediavault.codecs.seal import PlainSealer
from mediavault.model.ids import PLAIN_ID_SECRET, Kind, Link, Namer, ObjectId
from mediavault.model.objects import Commit, Mode, Moment, Person, TreeEntry
from mediavault.model.splitting import Splitter
from mediavault.objects.codec import ObjectCodec
from mediavault.objects.nodes import NodeWriter
from mediavault.objects.reader import ObjectReader
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.store.pack_writer import PackWriter
from mediavault.workspace.checkout_plan import CheckoutPlan, plan_checkout
from mediavault.workspace.ignore import IgnoreRules
from mediavault.workspace.layout import Head, Layout
from mediavault.workspace.materialise import CheckoutReport, Intent, run_checkout
from mediavault.workspace.scan import Scan
from mediavault.workspace.stage import Stage
from mediavault.workspace.status import StatusReport, compare
from mediavault.workspace.trees import build_tree
from mediavault_backends.memory import MemoryBackend

PERSON = Person("A", "a@example.org")
CHUNK = 1000


class LinkTo(str):
    """A symlink in a made tree."""

    __slots__ = ()


class Program(bytes):
    """An executable file in a made tree."""

    __slots__ = ()


Content: TypeAlias = bytes | LinkTo | Program
Files: TypeAlias = Mapping[str, Content]


class Project:
    """A repository whose objects are in memory, and whose working tree is a folder."""

    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        self.root = root
        self.layout = Layout(root)
        self.layout.folder.mkdir()
        self.layout.write_head(branch="main")
        self.stage = Stage(self.layout.stage_file)
        self.backend = MemoryBackend()
        self.frames = FrameStore(self.backend, ObjectIndex(self.backend))
        self.codec = ObjectCodec(Namer(PLAIN_ID_SECRET), PlainSealer(), padded=False)
        self.reader = ObjectReader(self.frames, self.codec)
        self.rules = IgnoreRules(root)
        self._spool = root / ".mediagit" / "spool"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the stage's file: from Python 3.13 on, a connection that is only dropped warns."""
        self.stage.close()

    def writer(self) -> PackWriter:
        return PackWriter(self.backend, self.frames.index, self._spool, plain=True)

    def nodes(self, writer: PackWriter) -> NodeWriter:
        return NodeWriter(self.codec, Splitter(bytes(32)), self.frames, writer)

    def entry(self, writer: PackWriter, name: str, content: Content) -> TreeEntry:
        """Store a content in chunks of CHUNK bytes."""
        if isinstance(content, LinkTo):
            text = content.encode()
            return TreeEntry(name, Mode.SYMLINK, len(text), blake3(text).digest(), None, str(content))
        manifest = self.nodes(writer).manifest()
        for at in range(0, len(content), CHUNK):
            raw = content[at : at + CHUNK]
            oid = self.codec.name_chunk(raw)
            writer.append(self.codec.encode_chunk(oid, raw), len(raw))
            manifest.append(oid, len(raw))
        mode = Mode.EXECUTABLE if isinstance(content, Program) else Mode.FILE
        return TreeEntry(name, mode, len(content), blake3(content).digest(), manifest.finish())

    def tree(self, files: Files) -> ObjectId:
        """Store a tree; return its id."""
        with self.writer() as writer:
            return self._folder(writer, files)

    def _folder(self, writer: PackWriter, files: Files) -> ObjectId:
        inside: dict[str, dict[str, Content]] = {}
        entries = []
        for path, content in files.items():
            name, slash, rest = path.partition("/")
            if slash:
                inside.setdefault(name, {})[rest] = content
            else:
                entries.append(self.entry(writer, name, content))
        for name, below in inside.items():
            entries.append(TreeEntry(name, Mode.TREE, 0, b"", Link(Kind.TREE, self._folder(writer, below))))
        return self.nodes(writer).tree(sorted(entries, key=lambda entry: entry.name))

    def nested(self, depth: int) -> ObjectId:
        """Store folders inside each other with a file in the deepest, as no working tree could hold them."""
        with self.writer() as writer:
            nodes = self.nodes(writer)
            tree = nodes.tree([self.entry(writer, "f", b"x")])
            for _ in range(depth):
                tree = nodes.tree([TreeEntry("d", Mode.TREE, 0, b"", Link(Kind.TREE, tree))])
            return tree

    def built(self) -> ObjectId:
        """Store the tree of what is staged, and remember it."""
        with self.writer() as writer:
            built = build_tree(self.stage, self.nodes(writer).tree, self.frames.has)
        self.stage.remember_trees(built.folders)
        return built.root

    def commit(self, tree: ObjectId, *parents: ObjectId, message: str = "m", seconds: int = 0) -> ObjectId:
        generation = 1 + max((self.reader.commit(parent).generation for parent in parents), default=0)
        when = Moment(seconds, 0)
        with self.writer() as writer:
            return self.nodes(writer).commit(Commit(tree, parents, PERSON, when, PERSON, when, generation, message))

    def plan(self, base: ObjectId | None, target: ObjectId | None, *, force: bool = False) -> CheckoutPlan:
        return plan_checkout(self.layout, self.stage, self.reader, base=base, target=target, force=force)

    def run(self, plan: CheckoutPlan, head: str = "main") -> CheckoutReport:
        return run_checkout(plan, self.layout, self.stage, self.reader, Intent(f"switch to '{head}'", head=Head(head)))

    def switch(
        self, base: ObjectId | None, target: ObjectId | None, *, force: bool = False, head: str = "main"
    ) -> CheckoutReport:
        return self.run(self.plan(base, target, force=force), head)

    def status(self, head_tree: ObjectId | None, *paths: str) -> StatusReport:
        return compare(self.layout, self.stage, lambda: self.reader, head_tree, self.rules, paths=paths)

    def write(self, path: str, content: Content) -> Path:
        """Write a working file as a person would."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, LinkTo):
            target.symlink_to(content)
        else:
            target.write_bytes(content)
            target.chmod(0o755 if isinstance(content, Program) else 0o644)
        return target

    def working(self) -> dict[str, Content]:
        """Read the working tree."""
        return working_files(self.root)

    def scan(self, *paths: str) -> tuple[list[str], list[str]]:
        """Return the scanned paths and the paths with problems."""
        scan = Scan(self.root, self.rules, paths)
        return [file.path for file in scan], [problem.path for problem in scan.problems]


def working_files(root: Path) -> dict[str, Content]:
    """Read a folder, without the private one."""
    found: dict[str, Content] = {}
    for place, folders, files in os.walk(root):
        if Path(place) == root and ".mediagit" in folders:
            folders.remove(".mediagit")
        for name in [*files, *(name for name in folders if (Path(place) / name).is_symlink())]:
            path = Path(place) / name
            key = path.relative_to(root).as_posix()
            if path.is_symlink():
                found[key] = LinkTo(path.readlink())
            else:
                data = path.read_bytes()
                found[key] = Program(data) if path.stat().st_mode & 0o100 else data
    return found


def age(path: Path, seconds: float = 10.0) -> None:
    """Give a file an older modification time; its change time becomes now."""
    past = path.lstat().st_mtime_ns - int(seconds * 1e9)
    os.utime(path, ns=(past, past), follow_symlinks=False)
