"""Lets a person write a message in an editor; which program that is, `session` says."""

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from mediavault.cli.text import printable
from mediavault.errors import UsageError

_MOST: Final = 200
"""Changes that are listed for the writer; more help nobody."""
_HEAD: Final = (
    "Say what changed: one line, then, after an empty one, as much as you like.",
    "Lines that begin with # are left out. An empty message commits nothing.",
)


def template(branch: str | None, changes: Sequence[tuple[str, str]]) -> str:
    """Return what the editor opens with: an empty message, and in comments what the commit will hold.

    Args:
        branch: the current one; None for none.
        changes: what happened to which path.
    """
    lines = [*_HEAD, "", f"On branch {branch}:" if branch else "On no branch:"]
    lines += [f"  {what + ':':<10}{printable(path)}" for what, path in changes[:_MOST]]
    if len(changes) > _MOST:
        lines.append(f"  ... and {len(changes) - _MOST:,} more")
    return "\n" + "".join(f"# {line}".rstrip() + "\n" for line in lines)


def message_of(lines: Iterable[str]) -> str:
    """Return a message without its comments and without empty lines around it."""
    return "\n".join(line.rstrip() for line in lines if not line.startswith("#")).strip()


def edit(command: Sequence[str], file: Path, text: str) -> str:
    """Let a person edit a text; return the message.

    Args:
        command: the editor; the file's name is added.
        file: where the text is kept meanwhile; it stays when the editor fails, and is removed otherwise.
        text: what it begins with.

    Raises:
        UsageError: the editor cannot be started, or says that it failed; or what it left is no text.
    """
    file.write_text(text, encoding="utf-8")
    try:
        code = subprocess.run([*command, str(file)], check=False).returncode  # noqa: S603 -- the user's own editor
    except OSError as error:
        raise _failed(f"The editor {command[0]} cannot be started: {error.strerror}.") from error
    if code:
        raise _failed(f"The editor {command[0]} ended with code {code}.")
    try:
        message = message_of(file.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise _failed(f"What the editor left in {file} cannot be read.") from error
    file.unlink()
    return message


def _failed(message: str) -> UsageError:
    return UsageError(
        message,
        untouched="Nothing was committed.",
        hint='Say it on the command line: mediagit commit -m "...". $VISUAL names another editor.',
    )
