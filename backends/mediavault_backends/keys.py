"""The grammar of keys, one for all services; leaves what the keys mean to the store.

A key is made of segments joined by "/". No key may be the folder of another (`a` beside `a/b`): a bucket would not mind,
a folder on disk cannot hold both.
"""

import re
from typing import Final

MAX_SEGMENT: Final = 255
"""Longest segment in bytes: what file systems allow."""
MAX_KEY: Final = 1024
"""Longest key in bytes: what object stores allow."""
SERVER_MARK: Final = "-storage"
"""What a server puts beside its repositories: outside all of them, for no team's name starts with a hyphen."""

_SEGMENT = rf"(?!\.)[A-Za-z0-9._%-]{{1,{MAX_SEGMENT}}}"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_PREFIX = re.compile(rf"(?:{_SEGMENT}/)*(?:{_SEGMENT})?")
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-")
_ENCODED = tuple(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in range(256))
_ESCAPE = re.compile(r"%([0-9A-F]{2})")


def check_key(key: str) -> None:
    """Check that `key` may name an object.

    Raises:
        ValueError: it is empty, too long, or a segment is empty, starts with "." or has another character than
            `A-Z a-z 0-9 . _ % -`.
    """
    if len(key) > MAX_KEY or _KEY.fullmatch(key) is None:
        raise ValueError(f"not a key: {key!r}")


def check_prefix(prefix: str) -> None:
    """Check that `prefix` may be the beginning of a key; the empty string is.

    Raises:
        ValueError: no key starts like this.
    """
    if len(prefix) > MAX_KEY or _PREFIX.fullmatch(prefix) is None:
        raise ValueError(f"no key starts with {prefix!r}")


def encode_segment(text: str) -> str:
    """Return `text` as one segment: every UTF-8 byte outside `a-z 0-9 . _ -` becomes %XX, a leading "." too.

    Upper case is encoded as well, so that names that differ in case never meet in a folder that ignores it.

    Raises:
        ValueError: the text is empty, is not valid Unicode, or needs more than 255 bytes.
    """
    segment = "".join([_ENCODED[byte] for byte in text.encode()])
    if segment.startswith("."):
        segment = "%2E" + segment[1:]
    if not 0 < len(segment) <= MAX_SEGMENT:
        raise ValueError(f"cannot be a key segment: {text!r}")
    return segment


def decode_segment(segment: str) -> str:
    """Return the text that `encode_segment` made `segment` from.

    Raises:
        ValueError: `encode_segment` makes this segment from no text.
    """
    try:
        raw = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), segment).encode("latin-1")
        text = raw.decode()
        canonical = encode_segment(text)
    except ValueError as error:
        raise ValueError(f"not an encoded segment: {segment!r}") from error
    if canonical != segment:
        raise ValueError(f"not an encoded segment: {segment!r}")
    return text
