"""Which targets a symbolic link in a tree may have; making and reading links is for others."""

import re
from typing import Final

from mediavault.model.names import is_private_name

_DRIVE: Final = re.compile(r"[A-Za-z]:")
_MAX_TARGET: Final = 4095

LINK_HINT: Final = "Make it a link to something inside the project, or name it in .mediagitignore."
"""What to do about a link that may not be versioned."""


def target_problem(path: str, target: str) -> str | None:
    """Say why a link may not be versioned or made, as the end of a sentence about it; None when it may.

    A target may start with `..` parts, as many as the link has folders above it, and then only goes down. Since no
    checkout ever goes through a link, such targets stay inside the tree whatever other links are in it; a `..` that
    comes later could go up from behind another link.

    Args:
        path: where the link stands, relative to the root.
        target: its text.
    """
    return _problem_of_text(target) or _problem_of_parts([p for p in target.split("/") if p not in {"", "."}], path)


def _problem_of_text(target: str) -> str | None:
    try:
        length = len(target.encode())
    except UnicodeEncodeError:
        return "is a link whose target is not valid UTF-8"
    if not 0 < length <= _MAX_TARGET or "\0" in target:
        return "is a link without a usable target"
    if target.startswith("/") or "\\" in target or _DRIVE.match(target):
        return "is a link with an absolute target"
    return None


def _problem_of_parts(parts: list[str], path: str) -> str | None:
    ups = next((at for at, part in enumerate(parts) if part != ".."), len(parts))
    if ups > path.count("/"):
        return "is a link to outside the project"
    if ".." in parts[ups:]:
        return "is a link that goes down and up again"
    if any(map(is_private_name, parts)):
        return "is a link into a private folder"
    return None
