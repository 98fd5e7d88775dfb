"""Describes what a project or a server's storage holds, without changing it: HEAD, refs with all they need, files, stage."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mediavault.cli import session
from mediavault.cli.verb import Invocation
from mediavault.errors import MediaVaultError
from mediavault.formats.config import decode_config
from mediavault.formats.ref import decode_ref_value
from mediavault.model.objects import Mode
from mediavault.refs.blobs import list_blobs
from mediavault.store.frames import FrameStore
from mediavault.store.index import ObjectIndex
from mediavault.store.reachability import collect
from mediavault.workspace.layout import Layout
from mediavault_backends.local import LocalBackend
from tests.snapshot import Snapshot, snapshot


@dataclass(frozen=True)
class Facts:
    """What stands in a project, or in a server's storage (`files` and `stage` are empty then).

    Attributes:
        exists: whether there is a repository.
        head: what HEAD says; a branch, or a commit's id.
        refs: where each ref points, in hex; deleted ones are left out.
        files: the working tree.
        stage: what is staged: path to mode and hash.
        settings: what is configured here.
        unfinished: whether a checkout waits to be finished.
        broken: what a ref needs and cannot be read, in words.
    """

    exists: bool
    head: str = ""
    refs: dict[str, str] = field(default_factory=dict)
    files: Snapshot = field(default_factory=dict)
    stage: dict[str, tuple[int, str]] = field(default_factory=dict)
    settings: str = ""
    unfinished: bool = False
    broken: tuple[str, ...] = ()


def describe(folder: Path) -> Facts:
    """Describe a project with a working tree, or the storage of one project on a server."""
    if (folder / "config").is_file():
        return _storage(folder)
    files = snapshot(folder) if folder.is_dir() else {}
    # An empty folder is no content: what an `init` that was stopped leaves of its own.
    files = {path: what for path, what in files.items() if not (path.startswith(".mediagit-new-") and what == "folder")}
    layout = Layout(folder)
    if not layout.head.is_file():
        return Facts(exists=False, files=files)
    found = _storage(layout.store)
    head = layout.read_head()
    return Facts(
        exists=True,
        head=head.branch or (head.commit or b"").hex(),
        refs=found.refs,
        files=files,
        stage=_stage(layout.stage_file),
        settings=layout.settings_file.read_text() if layout.settings_file.exists() else "",
        unfinished=layout.checkout.exists(),
        broken=(*found.broken, *_unreadable(layout)),
    )


def _storage(folder: Path) -> Facts:
    backend = LocalBackend(folder)
    frames = FrameStore(backend, ObjectIndex(backend))
    decode_config(backend.get("config").data)
    refs, broken = {}, []
    for blob in list_blobs(backend):
        target = decode_ref_value(blob.value_bytes).target
        if target is None:
            continue
        refs[blob.name] = target.id.hex()
        try:
            reached = collect(frames, [target])
            needed = [*reached.chunks, *reached.nodes, *reached.commits, *reached.tags]
            broken += [f"{blob.name} lacks {oid.hex()}" for oid in frames.missing(needed)]
            for _ in frames.read_many(needed):  # each frame is checked by its hash
                pass
        except Exception as error:  # noqa: BLE001 -- whatever it is, the ref cannot be read
            broken.append(f"{blob.name}: {error!r}")
    return Facts(exists=True, refs=refs, broken=tuple(broken))


def _unreadable(layout: Layout) -> Iterator[str]:
    """Open every commit's files with the key, as a checkout would."""
    try:
        repository = session.open_repository(Invocation(os.environ), layout)
        for state in repository.refs.list():
            if state.target is not None and not state.name.startswith("tags/"):
                for _, entry in repository.reader.walk_tree(repository.tree_of(state.target.id)):
                    if entry.mode is not Mode.SYMLINK:
                        for _ in repository.reader.file(entry):
                            pass
    except MediaVaultError as error:
        yield f"cannot be opened: {error!r}"


def _stage(path: Path) -> dict[str, tuple[int, str]]:
    if not path.exists():
        return {}
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            found = db.execute("SELECT path, mode, digest FROM rows").fetchall()
    except sqlite3.Error:
        return {"unreadable": (0, "")}
    return {path: (mode, digest.hex()) for path, mode, digest in found}


def text(found: Facts) -> str:
    """Return facts as text, for messages."""
    return msgspec.json.encode(found).decode()
