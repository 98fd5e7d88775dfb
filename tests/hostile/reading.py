"""A full read of a repository: each ref with its log, each commit, tag, tree and manifest, and the content of each file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from mediavault.cli import session
from mediavault.cli.verb import Invocation
from mediavault.model.ids import Link
from mediavault.model.objects import Commit, Mode
from mediavault.objects.reader import ObjectReader
from mediavault.ops.contents import walk_metadata
from mediavault.ops.repository import Repository
from mediavault.workspace.layout import Layout


@dataclass(frozen=True)
class Contents:
    """What a full read gives, to be compared as a whole.

    `refs` are the targets by name, former ones first; `objects` what was opened, by link; `files` mode, link target
    and BLAKE3 of the content as it was read, by commit and path.
    """

    refs: Mapping[str, tuple[Link | None, ...]]
    objects: Mapping[Link, Any]
    files: Mapping[tuple[bytes, str], tuple[int, str, bytes]]


def open_project(project: Path) -> Repository:
    """Open a project as every command does."""
    return session.open_repository(Invocation(os.environ), Layout(project))


def read_project(project: Path) -> Contents:
    """Open a project and read it whole."""
    return read_all(open_project(project))


def read_all(repository: Repository) -> Contents:
    """Read a repository whole, without any cache of an earlier read."""
    refs = {
        state.name: (*(value.target for value in repository.refs.log(state.name)), state.target)
        for state in repository.refs.list()
    }
    tips = {targets[-1] for targets in refs.values() if targets[-1] is not None}
    return Contents(refs, *read_objects(repository.reader, tips))


def read_objects(
    reader: ObjectReader, tips: set[Link]
) -> tuple[dict[Link, Any], dict[tuple[bytes, str], tuple[int, str, bytes]]]:
    """Read all that some commits and tags lead to."""
    objects: dict[Link, Any] = {visit.link: visit.body for visit in walk_metadata(reader, sorted(tips))}
    files: dict[tuple[bytes, str], tuple[int, str, bytes]] = {}
    for link, body in objects.items():
        if isinstance(body, Commit):
            for path, entry in reader.walk_tree(body.tree):
                content = b"" if entry.mode is Mode.SYMLINK else b"".join(map(bytes, reader.file(entry)))
                files[link.id, path] = (entry.mode, entry.target, blake3(content).digest())
    return objects, files
