"""Knows what a power cut may leave of a folder, from the durable steps a process announced and pictures between them.

A process that is killed leaves everything it wrote. A power cut takes back what no sync brought to the disk: here that
is worked out, not tried. The rules, which are weaker than what any journaling file system promises:

* A file's bytes are safe from its `sync-file` on, as they were then. What was written later, or never synced, may be
  there, may be missing, may be cut at any multiple of 512 bytes, or may read as zeros.
* A folder's entries (names made, replaced and removed) are safe from its `sync-folder` on. Later changes may each be
  there or not, in any combination; one rename is one change, and is safe when either of its folders is.
* `sync-filesystem` makes everything safe.
* Files named `state.sqlite*` are taken as SQLite left them, since SQLite syncs for itself and announces nothing.

What can be told of a power cut at a step is an `Outage`; `variants` lists the ways in which it may have ended.
"""

import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
from blake3 import blake3

from mediavault.workspace.journal import Delete, Journal, Stamp, WriteList, read_journal, write_journal
from mediavault.workspace.scan import scanned
from mediavault_backends.fsio import Step

SECTOR: Final = 512
_SETTLED_NS: Final = 100_000_000
_OWN_SYNC: Final = "state.sqlite"

Identity: TypeAlias = int
"""Which file or folder it is, whatever its name: an inode that cannot be used again while a recorder runs."""
Data: TypeAlias = Literal["as written", "lost", "zeros", "cut"]
"""What becomes of bytes that were not synced."""


@dataclass(frozen=True)
class Node:
    """A file, folder or link as a picture shows it; `entries` of a folder, `data` of a file or the text of a link."""

    identity: Identity
    mode: int
    data: bytes = b""
    entries: Mapping[str, Identity] = field(default_factory=dict)
    mtime_ns: int = 0


@dataclass(frozen=True)
class Picture:
    """Everything below a folder at one moment."""

    root: Identity
    nodes: Mapping[Identity, Node]

    def find(self, path: Sequence[str]) -> Node | None:
        """Return what stands at a path."""
        node = self.nodes[self.root]
        for name in path:
            found = node.entries.get(name)
            if found is None:
                return None
            node = self.nodes[found]
        return node


@dataclass(frozen=True)
class Announced:
    """A durable step, the picture taken just before it, and how many steps had been announced when its sync ended."""

    step: Step
    picture: Picture
    done: int | None


@dataclass(frozen=True)
class Film:
    """A whole run: what was there and safe before it, the pictures before each step, and the one at its end."""

    folder: Path
    start: Picture
    steps: Sequence[Announced]
    end: Picture

    @cached_property
    def changes(self) -> "Sequence[Sequence[Together]]":
        """How the entries of folders changed before each step since the step before it, and at last before the end."""
        pictures = [self.start, *(one.picture for one in self.steps), self.end]
        return [_changes(before, after) for before, after in pairwise(pictures)]


class Recorder:
    """Takes a picture of a folder before each durable step; an observer for `fsio.observe`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._steps: list[tuple[Step, Picture]] = []
        self._done: dict[int, int] = {}
        self._syncing: dict[int, int] = {}
        self._held: dict[Identity, int] = {}
        self._last: dict[Identity, tuple[tuple[int, ...], Node]] = {}
        self._start = self._picture()

    def __call__(self, step: Step) -> None:
        with self._lock:
            if step.kind.startswith("sync"):
                self._syncing[threading.get_ident()] = len(self._steps)
            self._steps.append((step, self._picture()))

    def synced(self) -> None:
        """Note that the sync that this thread announced last has ended."""
        with self._lock:
            number = self._syncing.pop(threading.get_ident(), None)
            if number is not None:
                self._done[number] = len(self._steps)

    def end(self) -> Film:
        """Return what was recorded."""
        with self._lock:
            steps = [Announced(*found, self._done.get(number)) for number, found in enumerate(self._steps)]
            film = Film(self._folder, self._start, steps, self._picture())
            for fd in self._held.values():
                os.close(fd)
            return film

    def _picture(self) -> Picture:
        nodes: dict[Identity, Node] = {}
        return Picture(self._look(str(self._folder), os.lstat(self._folder), nodes), nodes)

    def _look(self, path: str, status: os.stat_result, nodes: dict[Identity, Node]) -> Identity:
        """Add what stands at a path, and all below it."""
        identity = status.st_ino
        if identity in nodes:
            return identity
        self._hold(path, identity)
        if stat.S_ISDIR(status.st_mode):
            entries: dict[str, Identity] = {}
            nodes[identity] = Node(identity, status.st_mode, entries=entries, mtime_ns=status.st_mtime_ns)
            with os.scandir(path) as found:
                for entry in found:
                    with contextlib.suppress(FileNotFoundError):  # another thread removed it
                        entries[entry.name] = self._look(entry.path, entry.stat(follow_symlinks=False), nodes)
            return identity
        stamp = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        known = self._last.get(identity)
        if known is not None and known[0] == stamp and time.time_ns() - status.st_ctime_ns > _SETTLED_NS:
            nodes[identity] = known[1]
            return identity
        data = os.fsencode(Path(path).readlink()) if stat.S_ISLNK(status.st_mode) else Path(path).read_bytes()
        node = Node(identity, status.st_mode, data, mtime_ns=status.st_mtime_ns)
        self._last[identity] = stamp, node
        nodes[identity] = node
        return identity

    def _hold(self, path: str, identity: Identity) -> None:
        """Keep an inode from being given to another file: the pictures tell files apart by it."""
        if identity not in self._held:
            self._held[identity] = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)


@dataclass(frozen=True)
class Change:
    """An entry that came to lead elsewhere: None for nothing."""

    folder: Identity
    name: str
    new: Identity | None


Together: TypeAlias = tuple[Change, ...]
"""Changes that happen all or not at all: the two names of a rename."""


@dataclass(frozen=True)
class Variant:
    """One way in which a power cut may have ended.

    Attributes:
        words: what it is, for messages.
        kept: which of the unsynced changes of folders are there, by number.
        data: what became of unsynced bytes.
    """

    words: str
    kept: frozenset[int]
    data: Data


class Outage:
    """A power cut just before a step.

    Args:
        film: the run.
        step: the number of the step, from 1; one more than there are for the time after the end.
    """

    def __init__(self, film: Film, step: int) -> None:
        self._film = film
        self._before = step - 1
        pictures = [one.picture for one in film.steps[:step]]
        self._now = film.steps[step - 1].picture if step <= len(film.steps) else film.end
        if step > len(film.steps):
            pictures.append(film.end)
        self._safe = dict(film.start.nodes)
        self._pending: list[Together] = []
        for number, picture in enumerate(pictures):
            self._pending += film.changes[number]
            self._forget_safe(number, picture)

    def _forget_safe(self, number: int, picture: Picture) -> None:
        """Take in what a step made safe, if it had ended before the power went."""
        if number >= self._before:
            return
        announced = self._film.steps[number]
        if announced.done is None or announced.done > self._before:
            return
        kind = announced.step.kind
        if kind == "sync-filesystem":
            self._safe = dict(picture.nodes)
            self._pending = []
            return
        try:
            path = announced.step.path.relative_to(self._film.folder).parts
        except ValueError:
            return
        node = picture.find(path)
        if node is None:
            return
        if kind == "sync-file":
            self._safe[node.identity] = node
        elif kind == "sync-folder":
            for together in [t for t in self._pending if any(change.folder == node.identity for change in t)]:
                self._pending.remove(together)
                for change in together:
                    self._apply(self._safe, change)

    def _apply(self, nodes: dict[Identity, Node], change: Change) -> None:
        folder = nodes.get(change.folder) or Node(change.folder, stat.S_IFDIR | 0o755)
        entries = dict(folder.entries)
        if change.new is None:
            entries.pop(change.name, None)
        else:
            entries[change.name] = change.new
        nodes[change.folder] = _with_entries(folder, entries)

    @property
    def unsynced(self) -> int:
        """How many changes of folders are not safe."""
        return len(self._pending)

    def variants(self) -> Iterator[Variant]:
        """Yield the ways in which it may have ended, the most telling first.

        Of `n` unsynced changes: none, all, each prefix, each alone, and all but one; at most 4 of a sort, evenly chosen.
        """
        count = len(self._pending)
        everything = frozenset(range(count))
        yield Variant("nothing unsynced is left", frozenset(), "lost")
        yield Variant("names are left, their bytes read as zeros", everything, "zeros")
        yield Variant("names are left, their bytes are cut", everything, "cut")
        yield Variant("names are left, their bytes are lost", everything, "lost")
        for number in _some(range(1, count)):
            yield Variant(f"the first {number} changes are left", frozenset(range(number)), "as written")
        for number in _some(range(count)):
            if count > 1:
                yield Variant(f"change {number} alone is left", frozenset({number}), "cut")
                yield Variant(f"all changes but {number} are left", everything - {number}, "as written")

    def digest(self, variant: Variant) -> bytes:
        """Return a hash that two endings share if they leave the same."""
        nodes = self._left(variant)
        hasher = blake3()

        def add(identity: Identity) -> None:
            node = nodes.get(identity) or self._newest(identity)
            if stat.S_ISDIR(node.mode):
                for name, inner in sorted((nodes[identity].entries if identity in nodes else {}).items()):
                    hasher.update(f"{name}/{inner}\0".encode())
                    add(inner)
                hasher.update(b"..")
                return
            mode, content = self._content(identity, nodes, variant.data)
            hasher.update(f"{mode} {len(content)}\0".encode() + content)

        add(self._now.root)
        return hasher.digest()

    def _left(self, variant: Variant) -> dict[Identity, Node]:
        nodes = dict(self._safe)
        for number, together in enumerate(self._pending):
            if number in variant.kept:
                for change in together:
                    self._apply(nodes, change)
        self._keep_own_syncers(nodes)
        return nodes

    def leave(self, variant: Variant, target: Path) -> None:
        """Make at `target` what this power cut leaves of the folder."""
        nodes = self._left(variant)
        made: dict[Identity, Path] = {}
        self._write(self._now.root, target, nodes, variant.data, made)
        _carry_stamps_over(target, made)

    def _keep_own_syncers(self, nodes: dict[Identity, Node]) -> None:
        """Let SQLite's files be as they stand."""
        for identity, node in self._now.nodes.items():
            own = {name: found for name, found in node.entries.items() if name.startswith(_OWN_SYNC)}
            if stat.S_ISDIR(node.mode) and identity in nodes:
                others = {n: i for n, i in nodes[identity].entries.items() if not n.startswith(_OWN_SYNC)}
                nodes[identity] = _with_entries(nodes[identity], others | own)
            for found in own.values():
                nodes[found] = self._now.nodes[found]

    def _write(
        self, identity: Identity, target: Path, nodes: Mapping[Identity, Node], data: Data, made: dict[Identity, Path]
    ) -> None:
        node = nodes.get(identity) or self._newest(identity)
        if stat.S_ISDIR(node.mode):
            target.mkdir()
            for name, inner in (nodes[identity].entries if identity in nodes else {}).items():
                self._write(inner, target / name, nodes, data, made)
            target.chmod(stat.S_IMODE(self._newest(identity).mode))
            return
        if identity in made:
            os.link(made[identity], target, follow_symlinks=False)
            return
        made[identity] = target
        if stat.S_ISLNK(node.mode):
            target.symlink_to(os.fsdecode(node.data))
            return
        mode, content = self._content(identity, nodes, data)
        target.write_bytes(content)
        target.chmod(stat.S_IMODE(mode))
        os.utime(target, ns=(node.mtime_ns, node.mtime_ns))

    def _content(self, identity: Identity, nodes: Mapping[Identity, Node], data: Data) -> tuple[int, bytes]:
        """Return mode and bytes of a file of which perhaps not all was synced."""
        safe, now = nodes.get(identity), self._newest(identity)
        if safe is not None and (safe.data, safe.mode) == (now.data, now.mode):
            return now.mode, now.data
        old = b"" if safe is None else safe.data
        match data:
            case "as written":
                return now.mode, now.data
            case "lost":
                return (now if safe is None else safe).mode, old
            case "zeros":
                return now.mode, old[: len(now.data)] + bytes(max(0, len(now.data) - len(old)))
            case "cut":
                at = len(now.data) // 2 // SECTOR * SECTOR
                return now.mode, now.data[:at] + old[at:]

    def _newest(self, identity: Identity) -> Node:
        """Return what a file or folder last looked like; it may have no name any more."""
        found = self._now.nodes.get(identity)
        if found is None:
            for one in reversed(self._film.steps[: self._before + 1]):
                found = one.picture.nodes.get(identity)
                if found is not None:
                    break
            else:
                found = self._film.start.nodes.get(identity)
        assert found is not None
        return found


def _with_entries(node: Node, entries: Mapping[str, Identity]) -> Node:
    """Return a folder with other entries."""
    return Node(node.identity, node.mode, entries=entries, mtime_ns=node.mtime_ns)


def _some(numbers: range, most: int = 4) -> list[int]:
    return list(numbers[:: max(1, -(-len(numbers) // most))])


def _changes(before: Picture, after: Picture) -> list[Together]:
    """Return how the entries of folders changed between two pictures: what is gone, then what is new, renames together."""
    gone: list[Change] = []
    new: list[Change] = []
    moved_from: dict[Identity, Change] = {}
    for identity, node in before.nodes.items():
        now = after.nodes.get(identity)
        for name, inner in node.entries.items():
            if now is not None and name not in now.entries:
                change = Change(identity, name, None)
                gone.append(change)
                moved_from[inner] = change
    for identity, node in after.nodes.items():
        old = before.nodes.get(identity)
        known = {} if old is None else old.entries
        new += [Change(identity, name, inner) for name, inner in node.entries.items() if known.get(name) != inner]
    found: list[Together] = []
    for change in new:
        source = moved_from.pop(change.new, None) if change.new is not None else None
        found.append((change,) if source is None else (source, change))
    renamed = {together[0] for together in found if len(together) == 2}
    removed: list[Together] = [(change,) for change in gone if change not in renamed]
    return [t for t in (*removed, *found) if not all(change.name.startswith(_OWN_SYNC) for change in t)]


def _carry_stamps_over(target: Path, made: Mapping[Identity, Path]) -> None:
    """Let the journal of a checkout know the files again: a power cut does not change their inodes, making them here did."""
    for path in target.rglob("checkout/journal"):
        root = path.parent.parent.parent
        with contextlib.suppress(Exception):  # a damaged one stays as it is
            journal = read_journal(path)
            if journal is not None:
                write_journal(path, _with_stamps(journal, partial(_stamp, made, root)))


def _stamp(made: Mapping[Identity, Path], root: Path, before: Stamp, name: str) -> Stamp:
    file = root / name
    if made.get(before.inode) != file:
        return before
    found = scanned(name, file.lstat())
    assert found is not None
    return Stamp(found.mode, found.size, found.mtime_ns, found.ctime_ns, found.inode)


def _with_stamps(journal: Journal, stamp: Callable[[Stamp, str], Stamp]) -> Journal:
    writes = WriteList()
    for write in journal.writes:
        writes.append(
            write if write.before is None else msgspec.structs.replace(write, before=stamp(write.before, write.path))
        )
    deletes = [Delete(one.path, stamp(one.before, one.path)) for one in journal.lists.deletes]
    lists = msgspec.structs.replace(journal.lists, deletes=deletes)
    return Journal(journal.intent, lists, writes)
