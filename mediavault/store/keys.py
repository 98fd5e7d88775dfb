"""Knows where packs and index blobs stand in a Backend; their bytes are the business of `mediavault.formats`."""

from mediavault.model.ids import ID_BYTES, ObjectId

PACKS = "packs/"
INDEX = "index/"
TARGET_BYTES = 64 << 20
"""How long packs are made: closed before they would pass it."""
MAX_PACK_ROWS = 65_536
"""How many frames one pack may hold, so that the table of a pack always fits in a little memory."""


def pack_key(pack: ObjectId) -> str:
    """Return the key of a pack."""
    name = pack.hex()
    return f"{PACKS}{name[:2]}/{name}"


def index_key(index: ObjectId) -> str:
    """Return the key of an index blob."""
    return INDEX + index.hex()


def named_by(key: str) -> ObjectId | None:
    """Return the id that is the last segment of `key`, or None where that is no id."""
    name = key.rpartition("/")[2]
    if len(name) != 2 * ID_BYTES or name != name.lower():
        return None
    try:
        return bytes.fromhex(name)
    except ValueError:
        return None
