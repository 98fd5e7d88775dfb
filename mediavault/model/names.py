"""Which names may stand in a tree or name a ref. What a name is attached to is left to others."""

import re
import unicodedata
from collections.abc import Callable

from mediavault.errors import FormatError, UsageError

MAX_NAME_BYTES = 255
MAX_PATH_BYTES = 4096
MAX_DEPTH = 128
MAX_REF_KEY_BYTES = 240
"""A ref name as one percent-encoded key segment, with room for what a store adds."""

REF_ROOTS = ("heads/", "tags/", "remotes/")

_DEVICES = r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$|clock\$)"
_PRIVATE = (".git", ".mediagit")
# Nearly every name is plain ASCII of this form, and one match decides it; the rest is examined rule by rule.
_ORDINARY = re.compile(
    rf"(?!{_DEVICES} *(?:\.|$))(?!\.(?:git|mediagit)$)[A-Za-z0-9_.()+,@#%&=!$' \[\]-]{{0,254}}[A-Za-z0-9_()+,@#%&=!$'\[\]-]",
    re.IGNORECASE | re.ASCII,
)
_DEVICE = re.compile(rf"{_DEVICES} *(?:\..*)?", re.IGNORECASE | re.DOTALL)
# 8.3 names that NTFS gives to `.git` and `.mediagit`, in its plain and its hashed form.
_SHORT_PRIVATE = re.compile(r"(?:git|mediag|(?:gi|me)[0-9a-f]{4})~[0-9]+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Code points that some file systems and most eyes skip: category Cf and the other default-ignorable ones.
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]",
)
_REF_REFUSED = re.compile(r"[\x00-\x20\x7f-\x9f~^:?*\[\\]")
_KEY_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789._-")


def entry_name_problem(name: str) -> str | None:
    """Say why `name` cannot stand in a tree, as the end of a sentence that begins with the name; None when it can.

    The rules hold on every system, so that a tree made on one can be checked out on all.
    """
    if _ORDINARY.fullmatch(name):
        return None
    return next((reason for refuses, reason in _NAME_RULES if refuses(name)), None)


def _not_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def is_private_name(name: str) -> bool:
    """Say whether some file system may take a name for a private folder: `.git` or `.mediagit`."""
    visible = unicodedata.normalize("NFC", _IGNORABLE.sub("", name)).rstrip(". ")
    folded = (visible.casefold(), visible.upper().casefold())
    return any(form in _PRIVATE for form in folded) or _SHORT_PRIVATE.fullmatch(visible) is not None


# In this order: the later rules may rely on the earlier ones.
_NAME_RULES: tuple[tuple[Callable[[str], object], str], ...] = (
    (lambda name: name in {"", ".", ".."}, "is not a name"),
    (_not_utf8, "is not valid UTF-8"),
    (lambda name: len(name.encode()) > MAX_NAME_BYTES, f"is longer than {MAX_NAME_BYTES} bytes"),
    (lambda name: "/" in name, "contains a slash"),
    (lambda name: "\\" in name, "contains a backslash"),
    (lambda name: ":" in name, "contains a colon"),
    (_CONTROL.search, "contains a control character"),
    (lambda name: name.endswith((".", " ")), "ends with a dot or a space"),
    (_DEVICE.fullmatch, "is a device name on Windows"),
    (is_private_name, "is, or is read by some file systems as, a private folder of a version control system"),
)


def check_entry_name(name: str) -> None:
    """Refuse what may not stand in a tree.

    Raises:
        FormatError: naming the name and the rule.
    """
    if not _ORDINARY.fullmatch(name) and (problem := entry_name_problem(name)):
        raise FormatError(f"A tree holds a name that is refused: {_shown(name)} {problem}.")


def check_path(path: str) -> None:
    """Refuse a path that is not relative, `/`-separated and made of names that may stand in a tree.

    Raises:
        FormatError: naming the path and the rule.
    """
    names = path.split("/")
    if len(names) > MAX_DEPTH:
        raise FormatError(f"A path is refused: {_shown(path)} is deeper than {MAX_DEPTH} folders.")
    for name in names:
        if problem := entry_name_problem(name):
            raise FormatError(f"A path is refused: in {_shown(path)}, {_shown(name)} {problem}.")
    if len(path.encode()) > MAX_PATH_BYTES:
        raise FormatError(f"A path is refused: {_shown(path)} is longer than {MAX_PATH_BYTES} bytes.")


def collision_key(name: str) -> str:
    """Return what file systems that fold case or normalise may see: names with equal keys collide.

    Works on a name as on a whole path.
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def check_ref_name(name: str) -> None:
    """Refuse what cannot name a ref: one of `heads/`, `tags/`, `remotes/`, then one or more segments.

    Raises:
        UsageError: naming the name and the rule.
    """
    if problem := _ref_name_problem(name):
        raise UsageError(
            f"Not a ref name: {_shown(name)} {problem}.", hint="Letters, digits, '-', '_' and '/' are fine."
        )


def _ref_name_problem(name: str) -> str | None:
    whole = next((reason for refuses, reason in _REF_RULES if refuses(name)), None)
    return whole or next(filter(None, map(_segment_problem, name.split("/"))), None)


_REF_RULES: tuple[tuple[Callable[[str], object], str], ...] = (
    (lambda name: not name.startswith(REF_ROOTS), "does not start with heads/, tags/ or remotes/"),
    (_not_utf8, "is not valid UTF-8"),
    (lambda name: sum(1 if byte in _KEY_PLAIN else 3 for byte in name.encode()) > MAX_REF_KEY_BYTES, "is too long"),
    (lambda name: not unicodedata.is_normalized("NFC", name), "is not in Unicode normal form C"),
    (_REF_REFUSED.search, "contains a space, a control character or one of ~^:?*[\\"),
    (lambda name: ".." in name or "@{" in name, "contains '..' or '@{'"),
)


def _segment_problem(segment: str) -> str | None:
    if not segment:
        return "has an empty segment"
    if segment.startswith((".", "-")):
        return "has a segment that starts with '.' or '-'"
    if segment.endswith((".", ".lock")):
        return "has a segment that ends with '.' or '.lock'"
    if segment in {"@", "HEAD"}:
        return f"has {segment!r} as a segment"
    return None


def _shown(name: str) -> str:
    return repr(name if len(name) <= 200 else name[:200] + "…")
