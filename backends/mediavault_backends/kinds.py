"""What the key of a repository's object tells of it: whether it can ever change, and whose it is; leaves what is in it to the store."""

import re
from typing import Final

_IMMUTABLE: Final = re.compile(r"(?:[^/]+/[^/]+/)?(?:packs/[0-9a-f]{2}|index)/[0-9a-f]{64}")
_LOG: Final = re.compile(r"(?:[^/]+/[^/]+/)?logs/refs/[^/]+/[0-9]+-[0-9a-f]{16}")
_AT_ROOT: Final = frozenset({"config", "index", "keys", "logs", "packs", "refs"})


def is_immutable(key: str) -> bool:
    """Tell whether a key names its content, so that all objects ever under it are the same bytes: packs and indexes."""
    return _IMMUTABLE.fullmatch(key) is not None


def is_index(key: str) -> bool:
    """Tell whether a key is that of an index."""
    return is_immutable(key) and key.split("/")[-2] == "index"


def names_content(key: str) -> bool:
    """Tell whether two objects under `key` are the same bytes, though it may be gone between: those, and former refs."""
    return is_immutable(key) or _LOG.fullmatch(key) is not None


def misleads(key: str) -> bool:
    """Tell whether an object too many says something untrue by being listed; a pack or a former ref does not."""
    return is_index(key) or not names_content(key)


def repository_of(key: str) -> str:
    """Return the beginning of all keys of the repository that `key` is of; empty where it stands at the root."""
    segments = key.split("/")
    return "" if segments[0] in _AT_ROOT or len(segments) < 3 else f"{segments[0]}/{segments[1]}/"
