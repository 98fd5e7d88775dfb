"""The keys of a bucket in ascending order, whatever order its store has. Leaves asking for a page to `s3`.

The S3 API lists keys by their bytes. SeaweedFS keeps folders and lists one whole folder after the other: `b/x` before `b-x`.
Its buckets are walked folder by folder, where only names that begin alike have to wait for each other.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from mediavault_backends.errors import BackendSetupError

Page: TypeAlias = Mapping[str, Any]
"""An answer to ListObjectsV2."""
Ask: TypeAlias = Callable[..., Page]
"""Takes a prefix and arguments of ListObjectsV2, returns a page."""

_BY_FOLDER: Final = "seaweedfs"


def in_order(ask: Ask, prefix: str) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of all keys that start with `prefix`, keys ascending by code point.

    Raises:
        BackendSetupError: the store lists its keys in an order that is not known.
    """
    first = ask(prefix)
    server = first.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("server", "")
    entries = _walked(ask, prefix) if _BY_FOLDER in server.lower() else _flat(ask, prefix, first)
    last = ""
    for entry in entries:
        if entry["Key"].endswith("/"):
            continue  # no object of ours: the mark of a folder, which consoles and SeaweedFS make
        if entry["Key"] <= last:
            raise BackendSetupError(f"the store does not list its keys in order: {entry['Key']} after {last}")
        last = entry["Key"]
        yield entry


def _flat(ask: Ask, prefix: str, first: Page) -> Iterator[Mapping[str, Any]]:
    for page in _pages(ask, prefix, first):
        yield from page.get("Contents", ())


def _walked(ask: Ask, prefix: str) -> Iterator[Mapping[str, Any]]:
    waiting = [_folder(ask, prefix)]
    while waiting:
        entry = next(waiting[-1], None)
        if entry is None:
            waiting.pop()
        elif "Key" in entry:
            yield entry
        else:
            waiting.append(_folder(ask, entry["Prefix"]))


def _folder(ask: Ask, prefix: str) -> Iterator[Mapping[str, Any]]:
    """Yield the objects and folders directly below, ascending; in the store's order a folder's name has no slash."""
    held: list[tuple[str, int, Mapping[str, Any]]] = []
    for page in _pages(ask, prefix, ask(prefix, Delimiter="/"), Delimiter="/"):
        entries = [*page.get("Contents", ()), *page.get("CommonPrefixes", ())]
        names = sorted((_name(entry).removesuffix("/"), at) for at, entry in enumerate(entries))
        for name, at in names:
            # What is still to come has a greater name: nothing up to this one can be overtaken any more.
            while held and held[0][0] <= name:
                yield heapq.heappop(held)[2]
            heapq.heappush(held, (_name(entries[at]), len(held), entries[at]))
    while held:
        yield heapq.heappop(held)[2]


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("Key") or entry["Prefix"])


def _pages(ask: Ask, prefix: str, first: Page, **arguments: str) -> Iterator[Page]:
    page = first
    yield page
    while page.get("IsTruncated"):
        page = ask(prefix, ContinuationToken=page["NextContinuationToken"], **arguments)
        yield page
