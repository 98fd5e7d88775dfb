"""Words for sizes, times and names, safe to print on a terminal."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from mediavault.model.objects import Moment

SHORT: Final = 12
"""Digits of an id that are shown to people; `--json` has them all."""
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")
_ESCAPES: Final = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def byte_size(count: int) -> str:
    """Return a size in the largest unit that leaves at least one whole: `1.5 GiB`."""
    if abs(count) < 1024:
        return f"{count} B"
    size, steps = count / 1024, 0
    while abs(size) >= 999.5 and steps < len(_UNITS) - 1:
        size, steps = size / 1024, steps + 1
    return f"{size:.1f} {_UNITS[steps]}" if abs(size) < 99.95 else f"{size:.0f} {_UNITS[steps]}"


def duration(seconds: float) -> str:
    """Return a length of time in whole seconds, minutes or hours."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def counted(count: int, noun: str) -> str:
    """Return `1 file`, `2 files`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def printable(text: str) -> str:
    """Return text without characters that a terminal would obey, each shown as an escape instead."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _ESCAPES.get(c) or _escaped(c) for c in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def printable_lines(text: str) -> list[str]:
    """Return the lines of a message, each printable."""
    return [printable(line.expandtabs()) for line in text.splitlines()]


def short_id(object_id: bytes) -> str:
    """Return the first digits of an id."""
    return object_id.hex()[:SHORT]


def rfc3339(moment: Moment) -> str:
    """Return a time with its zone: `2026-01-31T12:00:00+01:00`."""
    return _local(moment).isoformat(timespec="seconds")


def plain_time(moment: Moment) -> str:
    """Return a time as people read it: `Sat 31 Jan 2026 12:00:00 +0100`."""
    return _local(moment).strftime("%a %d %b %Y %H:%M:%S %z")


def _local(moment: Moment) -> datetime:
    try:
        zone = timezone(timedelta(minutes=moment.offset))
        return datetime.fromtimestamp(moment.seconds, tz=zone)
    except (ValueError, OverflowError, OSError):  # a commit may hold any number
        return datetime.fromtimestamp(0, tz=UTC)
