"""What a whole store holds: which repositories, the parts of each, and what a small object has to be to belong there."""

import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from blake3 import blake3

from mediavault.errors import FormatError, UnsupportedFormatError
from mediavault.formats.config import decode_config
from mediavault.formats.index import IndexBlob
from mediavault.formats.ref import decode_ref_value, split_ref_blob
from mediavault.formats.slot import decode_slot
from mediavault.hosting.repository import CONFIG_KEY
from mediavault.hosting.slots import PREFIX as SLOTS
from mediavault.refs.blobs import LOGS, REFS, log_key, ref_key
from mediavault.store.keys import INDEX, PACKS, index_key, named_by
from mediavault_backends.api import Backend, Buffer, Stat
from mediavault_backends.errors import NotFoundError, TransientError
from mediavault_backends.keys import decode_segment
from mediavault_backends.prefix import prefixed

ATTEMPTS: Final = 5
"""How often in a row a broken transfer is asked for again without having brought a byte."""
BROKEN_PAUSE: Final = 1.0
"""Seconds before a broken transfer is asked for again; each further time in a row twice as long."""

_PARTS: Final = frozenset(part.partition("/")[0] for part in (PACKS, INDEX, LOGS, SLOTS, REFS))


class Place(NamedTuple):
    """Where a repository is in a store: what its keys start with, and what people call it."""

    prefix: str
    name: str

    def within(self, store: Backend) -> Backend:
        """Return the repository's part of a store."""
        return prefixed(store, self.prefix) if self.prefix else store


def find_repositories(store: Backend) -> list[Place]:
    """Return the repositories of a store, by key; a store may also be one itself. Lists all of it once."""
    found: dict[str, Place] = {}
    for stat in store.scan():
        folder, _, name = stat.key.rpartition("/")
        if name == CONFIG_KEY and not _is_part(stat.key, found) and _may_be_config(store, stat.key):
            prefix = f"{folder}/" if folder else ""
            found[prefix] = Place(prefix, _shown(folder))
    return list(found.values())


def _is_part(key: str, found: dict[str, Place]) -> bool:
    """Tell whether a key that ends in `config` is a key slot or a ref of a repository that was found before it."""
    segments = key.split("/")
    return any(
        segment in _PARTS and "".join(f"{outer}/" for outer in segments[:at]) in found
        for at, segment in enumerate(segments[:-1])
    )


def _may_be_config(store: Backend, key: str) -> bool:
    """Tell whether a key may hold a config; in a repository that is not whole yet, a slot or a ref may be called so."""
    if key.split("/")[-2:-1] not in (["keys"], ["refs"]):
        return True
    try:
        decode_config(store.get(key).data)
    except (FormatError, NotFoundError):
        return False
    except UnsupportedFormatError:
        return True
    return True


def _shown(folder: str) -> str:
    try:
        return "/".join(decode_segment(segment) for segment in folder.split("/")) if folder else "/"
    except ValueError:  # not made by a server
        return folder


def paired(first: Iterator[Stat], second: Iterator[Stat]) -> Iterator[tuple[Stat | None, Stat | None]]:
    """Walk two listings side by side; yield what stands under each key in the one and in the other."""
    one, other = next(first, None), next(second, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.key < other.key):
            yield one, None
            one = next(first, None)
        elif one is None or other.key < one.key:
            yield None, other
            other = next(second, None)
        else:
            yield one, other
            one, other = next(first, None), next(second, None)


def resumed(
    backend: Backend, key: str, size: int, *, sleep: Callable[[float], object] = time.sleep
) -> Iterator[Buffer]:
    """Yield `size` bytes of an object; a transfer that breaks off goes on at the byte where it broke.

    Ends early where the object does: whoever reads on knows what it has to be.

    Raises:
        NotFoundError: it is gone.
        TransientError: several tries in a row brought nothing.
    """
    done = failures = 0
    while done < size:
        before = done
        try:
            for block in backend.stream(key, start=done, length=size - done):
                done += len(block)
                yield block
        except TransientError:
            failures = 0 if done > before else failures + 1
            if failures >= ATTEMPTS:
                raise
            sleep(BROKEN_PAUSE * 2.0**failures)
            continue
        if done < size:
            return


def fault_of(key: str, data: Buffer, repository: bytes) -> str:
    """Return what is wrong with an object that is no pack; empty when it is what its key promises.

    Args:
        key: within the repository.
        data: its bytes.
        repository: the 16 bytes of the repository's id.
    """
    try:
        return _fault_of(key, data, repository)
    except (FormatError, UnsupportedFormatError) as error:
        return error.message


def _fault_of(key: str, data: Buffer, repository: bytes) -> str:
    fits = True
    if key == CONFIG_KEY:
        fits = decode_config(data).repository == repository
    elif key.startswith(INDEX):
        name = named_by(key)
        fits = name is not None and key == index_key(name) and blake3(data).digest() == name
        IndexBlob(memoryview(data)).packs  # noqa: B018 -- a blob that does not parse raises here
    elif key.startswith(REFS):
        value = decode_ref_value(split_ref_blob(data)[0])
        fits = ref_key(value.name) == key and value.repository == repository
    elif key.startswith(LOGS):
        value = decode_ref_value(data)
        fits = log_key(value.name, bytes(data)) == key and value.repository == repository
    elif key.startswith(SLOTS) and "/" not in key.removeprefix(SLOTS):
        slot = decode_slot(data)
        fits = SLOTS + slot.slot == key and slot.repository == repository.hex()
    return "" if fits else "It is not what its name says, or belongs to another repository."
