"""Tells revisions from paths on the command line as git does: `VERB [REV...] [--] [PATH...]`."""

import os
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from typer.core import TyperCommand

from mediavault.cli import session
from mediavault.cli.verb import Context
from mediavault.errors import MediaVaultError, UsageError
from mediavault.workspace.layout import Layout

_PATHS: Final = "paths after the dashes"


class DashCommand(TyperCommand):
    """A command that remembers what stands after `--`, which the parser would mix with what stands before."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the words after the first `--` out of the arguments; `revisions_and_paths` finds them again."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[_PATHS] = args[at + 1 :]
            args = args[:at]
        rest: list[str] = super().parse_args(ctx, args)
        return rest


class Arguments(NamedTuple):
    """Words as they were meant: revisions as typed, paths relative to the root."""

    revisions: list[str]
    paths: list[str]


def revisions_and_paths(
    ctx: Context, layout: Layout, words: Sequence[str], resolve: Callable[[str], object]
) -> Arguments:
    """Sort words into revisions and paths: what stands before `--` is a revision, what stands behind it a path.

    Without `--` the first words that name revisions are revisions, and the rest are paths.

    Args:
        ctx: of a `DashCommand`.
        layout: the checkout.
        words: what was typed, without what stands after `--`.
        resolve: raises MediaVaultError for what is no revision.

    Raises:
        UsageError: a word is both a revision and a file, or a path is outside of the repository.
        NotFoundError: a word is neither.
    """
    behind: list[str] | None = ctx.meta.get(_PATHS)
    if behind is not None:
        for word in words:
            resolve(word)
        return Arguments(list(words), session.paths_of(layout, behind))
    count = 0
    for word in words:
        there = os.path.lexists(session.here() / word)
        try:
            resolve(word)
        except MediaVaultError:
            if there or count:
                break
            raise
        if there:
            raise UsageError(
                f"{word} is a file here and also a revision.",
                untouched="Nothing was changed.",
                hint=f"Type `-- {word}` for the file, `{word} --` for the revision.",
            )
        count += 1
    return Arguments(list(words[:count]), session.paths_of(layout, words[count:]))
