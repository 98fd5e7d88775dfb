"""Whole stores with repositories in them, made as clients make them, for tests of what copies and checks stores."""

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mediavault.formats.slot import PassphraseSlot, encode_slot
from mediavault.hosting.contents import Place, find_repositories
from mediavault.hosting.copying import Copied, copy_store
from mediavault.model.ids import Link
from mediavault.sync.direct import DirectRemote
from mediavault_backends.api import Absent, Backend, Blob, Body, Buffer, Condition, Stat, Version
from mediavault_backends.keys import encode_segment
from mediavault_backends.memory import MemoryBackend
from tests.integration.studio import Studio, noise

FILM, PLAIN = "studio/film", "Studio-B/raw"
MARK = "-storage"
Hook = Callable[[int, str, str], None]


class Watched:
    """Another store; `hook` is called before each call with its number from 1, its method and its key."""

    def __init__(self, inner: Backend, hook: Hook) -> None:
        self.inner = inner
        self._hook = hook
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self.inner.name

    def put(self, key: str, body: Body, *, when: Condition) -> Version:
        self._call("put", key)
        return self.inner.put(key, body, when=when)

    def get(self, key: str) -> Blob:
        self._call("get", key)
        return self.inner.get(key)

    def read(self, key: str, start: int, length: int) -> bytes:
        self._call("read", key)
        return self.inner.read(key, start, length)

    def stream(self, key: str, *, start: int = 0, length: int | None = None) -> Iterator[Buffer]:
        self._call("stream", key)
        return self.inner.stream(key, start=start, length=length)

    def stat(self, key: str) -> Stat:
        self._call("stat", key)
        return self.inner.stat(key)

    def scan(self, prefix: str = "") -> Iterator[Stat]:
        self._call("scan", prefix)
        return self.inner.scan(prefix)

    def delete(self, key: str) -> None:
        self._call("delete", key)
        self.inner.delete(key)

    def _call(self, method: str, key: str) -> None:
        with self._lock:
            number = next(self._numbers)
        self._hook(number, method, key)


class Filled(NamedTuple):
    """Two people's repositories in one store, and what the last commit of each holds."""

    ann: Studio
    tip: Link
    files: dict[str, bytes]
    ben: Studio


def prefix_of(name: str) -> str:
    return "".join(f"{encode_segment(segment)}/" for segment in name.split("/"))


def part(store: Backend, name: str = FILM) -> Backend:
    return Place(prefix_of(name), name).within(store)


def remote_of(store: Backend, scratch: Path, name: str = FILM) -> DirectRemote:
    """Return a project of a store as a remote, without a server."""
    return DirectRemote(f"s3://bucket/{name}", lambda create: part(store, name), scratch / "uploads", probed=False)  # noqa: ARG005 -- it is there


def fill(store: Backend, folder: Path) -> Filled:
    """Push to two projects: an encrypted one with branches, a tag, a deleted branch and key slots; and a plain one."""
    ann = Studio(folder / "ann")
    film = remote_of(store, folder)
    files = {"rushes.mov": noise(500_000, 1), "notes.txt": b"first"}
    first = ann.commit(files)
    ann.push(film, first, pack_size=200_000)
    files = {**files, "sound.wav": noise(300_000, 2), "notes.txt": b"second"}
    tip = ann.commit(files, [first.id])
    ann.push(film, tip, pack_size=200_000)
    ann.push(film, ann.tag(tip, "v1"), "tags/v1")
    ann.push(film, first, "heads/old")
    ann.push(film, None, "heads/old")
    for name in ("anns-phrase", "config"):
        film.put_slot(name, slot(ann.repository, name), None)
    ben = Studio(folder / "ben", repository=b"raw-repository!!", secret=None)
    ben.push(remote_of(store, folder, PLAIN), ben.commit({"raw.dng": noise(200_000, 3)}))
    store.put(MARK, b'{"storage":1}', when=Absent())
    return Filled(ann, tip, files, ben)


def slot(repository: bytes, name: str, label: str = "") -> bytes:
    """Return a slot that parses; nothing opens it."""
    made = PassphraseSlot(
        name,
        "2026-01-01T00:00:00Z",
        label,
        repository.hex(),
        epoch=0,
        time=1,
        memory=65536,
        lanes=1,
        salt=bytes(16),
        commitment=bytes(32),
        wrap_salt=bytes(32),
        wrapped=bytes(48),
    )
    return encode_slot(made)


def held(store: Backend) -> dict[str, bytes]:
    """Return everything that a store has of its repositories."""
    prefixes = tuple(place.prefix for place in find_repositories(store))
    return {stat.key: store.get(stat.key).data for stat in store.scan() if stat.key.startswith(prefixes)}


def everything(store: Backend) -> dict[str, bytes]:
    return {stat.key: store.get(stat.key).data for stat in store.scan()}


def overwrite(store: Backend, key: str, data: bytes) -> None:
    """Do what no program does: put other bytes in an object's place."""
    store.delete(key)
    store.put(key, data, when=Absent())


def twin(store: Backend) -> MemoryBackend:
    """Return another store with the same objects."""
    copy = MemoryBackend()
    for key, data in everything(store).items():
        copy.put(key, data, when=Absent())
    return copy


def flip(store: Backend, key: str, at: int = -1) -> None:
    """Change one bit of an object; in its middle unless told otherwise."""
    data = bytearray(store.get(key).data)
    data[len(data) // 2 if at < 0 else at] ^= 1
    overwrite(store, key, bytes(data))


def keys(store: Backend, prefix: str) -> list[str]:
    return [stat.key for stat in store.scan(prefix)]


def largest(store: Backend, prefix: str) -> str:
    """Return the key of the largest object: of packs, one full of chunks."""
    return max(store.scan(prefix), key=lambda stat: stat.size).key


def copied(source: Backend, target: Backend, scratch: Path, **options: object) -> list[Copied]:
    """Copy a store without waiting for anything."""
    return list(copy_store(source, target, scratch / "copies", sleep=lambda _: None, **options))  # type: ignore[arg-type] # named by the tests
